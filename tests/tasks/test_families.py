"""tasks: every family's problems, traces, splits and recognition, over many seeds."""

from __future__ import annotations

import random
import re

import pytest

from ponder.core.errors import ConfigError
from ponder.core.types import Band, Problem
from ponder.tasks import FAMILIES, MIXTURE, document, generate, held_out, recognise, verify
from ponder.tasks.catalogue import FULL_MIXTURE, solve, split_of
from ponder.tasks.columns import operation_lines
from ponder.tasks.decline import SENTENCE
from ponder.verify import evaluate

SEEDS = 120
CASES = [(name, writer.name) for name, family in FAMILIES.items() for writer in family.writers]
EQUATION = re.compile(r"(?<![\w.+*/)-])[-(]*\d[-+*/()\d.]*(?:=[-(]*\d[-+*/()\d.]*)+(?![\w+*/(=-])")

WORDY = ("procedures", "decline", "logic", "compositions", "reading", "formats", "tools")
"""Families whose traces hold few equations."""
UNREAD = ("decline", "reading", "formats", "tools")
"""Families that read no free question."""


def equations_in(thinking: str) -> list[str]:
    """Chains of equal numeric expressions; what [BACK] takes back is left out."""
    kept = re.sub(r"\S+ \[BACK\] ", "", thinking)
    return [match[0] for match in EQUATION.finditer(kept)]


@pytest.mark.parametrize(("name", "writer_name"), CASES)
def test_every_writer_is_right_in_every_step(name: str, writer_name: str) -> None:
    family = FAMILIES[name]
    writer = next(writer for writer in family.writers if writer.name == writer_name)
    counted = 0
    for index in range(SEEDS):
        problem = generate(name, "S", 11, index)
        trace = writer.write(problem, random.Random(index))
        verdict = family.verify(problem, trace.answer)
        assert verdict.status == "right", (problem.question, trace, verdict)
        assert len(trace.thinking) < 1000
        for chain in equations_in(trace.thinking):
            values = {evaluate(part) for part in chain.split("=")}
            assert len(values) == 1, (chain, trace.thinking)
            counted += 1
    assert counted > SEEDS or name in WORDY


@pytest.mark.parametrize("name", FAMILIES)
def test_the_family_answer_is_right_and_a_changed_one_is_wrong(name: str) -> None:
    bands: tuple[Band, ...] = ("S", "R", "O")
    for band in bands:
        for index in range(25):
            problem = generate(name, band, 3, index)
            assert verify(problem, problem.answer).status == "right", problem
            assert verify(problem, problem.answer + "1").status == "wrong", problem
            assert verify(problem, "").status == "wrong"


@pytest.mark.parametrize("name", FAMILIES)
def test_generation_is_deterministic_and_splits_are_disjoint(name: str) -> None:
    train = [generate(name, "S", 5, index) for index in range(SEEDS)]
    assert train[:50] == [generate(name, "S", 5, index) for index in range(50)]
    test = held_out(name, "S", 30)
    assert {split_of(problem) for problem in train} == {"train"}
    assert {split_of(problem) for problem in test} == {"test"}
    assert not {p.canonical for p in train} & {p.canonical for p in test}
    assert len({problem.question for problem in test}) == 30
    assert document(name, 5, 7)[0] == train[7].question


@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in UNREAD])
def test_questions_are_read_back_into_the_same_problem(name: str) -> None:
    bands: tuple[Band, ...] = ("S", "R", "O")
    for band in bands:
        for index in range(400 if band == "S" else 20):
            problem = generate(name, band, 9, index)
            read = recognise(problem.question)
            assert read is not None and read.family == name, problem.question
            assert read.canonical == problem.canonical, problem.question
            assert verify(read, problem.answer).status == "right"
            assert verify(read, "-98765").status == "wrong"


def test_outside_questions_are_no_ones() -> None:
    for index in range(3000):
        problem = generate("decline", "S", 2, index)
        assert recognise(problem.question) is None, problem.question
        assert document("decline", 2, index)[2] == SENTENCE


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What is 17 * 23?", "391"),
        ("17*23", "391"),
        ("17 x 23 = ?", "391"),
        ("How much is 17 times 23?", "391"),
        ("what is 1,200 + 34", "1234"),
        ("Solve 5x + 3 = 18.", "x = 3"),
        ("Sort these numbers: 9, 3, 5, 1.", "1 3 5 9"),
        ("Ann has 4 pens. Bob has 3 more pens than Ann. How many pens does Bob have?", "7"),
        ("Tom has 12 apples. Tom gives 5 apples to Ann. How many apples does Tom have left?", "7"),
        ("Use 3, 7 and 12 to make 48. Use each number exactly once, with + - * /.", "(7 - 3) * 12"),
    ],
)
def test_free_questions_are_recognised_and_checked(question: str, answer: str) -> None:
    problem = recognise(question)
    assert problem is not None
    assert verify(problem, answer).status == "right"


@pytest.mark.parametrize(
    "question",
    ["", "   ", "What is the capital of France?", "2 + ", "1/0", "x = x", "3", "How many pens does Bob have?",
     "Ann has 2 more pens than Bob. Bob has 2 more pens than Ann. How many pens does Ann have?",
     "9" * 3999, "(" * 3999, "Sort these numbers: " + "1, " * 1200, "Solve x^2 = 4.", "What is 2^100?",
     "What is 1e999 + 1?", "Use 3 to make 4.", "a " * 1900, "1+" * 1900 + "1"],
)  # fmt: skip
def test_other_questions_are_left_alone(question: str) -> None:
    assert recognise(question) is None


@pytest.mark.parametrize("op", ["+", "-", "*", "/"])
def test_columns_end_in_the_equation(op: str) -> None:
    rng = random.Random(op)
    for _ in range(1000):
        a, b = rng.randrange(10 ** rng.randint(1, 7)), rng.randrange(10 ** rng.randint(1, 3))
        if op == "/":
            b = rng.randint(2, 9)
            a *= b
        lines = operation_lines(a, op, b)
        left, _, right = lines[-1].rpartition("=")
        assert left == f"{a}{op}{b}" and evaluate(left) == evaluate(right)


def test_mixture_covers_every_family_once() -> None:
    assert sum(MIXTURE.values()) == pytest.approx(1.0)
    assert set(MIXTURE) <= set(FAMILIES) == set(FULL_MIXTURE)


@pytest.mark.parametrize("name", ["arithmetic", "rationals"])
def test_a_division_copied_from_the_question_is_no_answer(name: str) -> None:
    copies = 0
    for band in ("S", "R", "O"):
        for index in range(60):
            problem = generate(name, band, 31, index)
            for text in re.findall(r"[\d.]+ ?(?:/|÷|divided by) ?\d+", problem.question):
                for copied in (re.sub("÷|divided by", "/", text), re.sub(r"\.0| ", "", text)):
                    fine = problem.data.get("kind", "value") != "value" or copied == problem.answer
                    assert fine or verify(problem, copied).status == "wrong", (problem, copied)
                    copies += 1
    assert copies > 20
    assert (quarters := recognise("What is 6/4?")) and verify(quarters, "6/4").status == "wrong"
    assert verify(quarters, "3/2").status == verify(quarters, "1.5").status == "right"


@pytest.mark.parametrize(
    ("answer", "status"),
    [("7", "right"), ("7 pens", "right"), ("7 pens.", "right"), ("8 pens", "wrong"), ("7 cups", "wrong"),
     ("7 pens or 8 pens", "wrong"), ("7 8 pens", "wrong"), ("pens", "wrong")],
)  # fmt: skip
def test_the_thing_that_is_counted_may_follow_its_number(answer: str, status: str) -> None:
    problem = recognise(
        "Ann has 4 pens. Bob has 3 more pens than Ann. How many pens does Bob have?"
    )
    assert problem and verify(problem, answer).status == status


def test_unknown_bands_and_splits_are_named() -> None:
    with pytest.raises(ConfigError, match=r"'X'\nknown: S, R, O"):
        generate("arithmetic", "X")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ConfigError, match="unknown split 'valid'"):
        generate("arithmetic", "S", split="valid")  # pyright: ignore[reportArgumentType]


def test_unknown_family_and_unshown_band_are_named() -> None:
    with pytest.raises(ConfigError, match=r"'poetry'.*\n.*arithmetic"):
        generate("poetry")
    hidden: Problem = generate("countdown", "R")
    with pytest.raises(ConfigError, match="no shown solutions"):
        solve(hidden)
