"""tasks/rationals: values against exact expressions, where the trace sets the point, answers that are not right."""

from __future__ import annotations

import random
import re
from fractions import Fraction

import pytest

from ponder.core.types import Band
from ponder.tasks import FAMILIES, generate, recognise, verify
from ponder.tasks.family import TraceWriter
from ponder.verify import evaluate

FAMILY = FAMILIES["rationals"]
BANDS: tuple[Band, ...] = ("S", "R", "O")


@pytest.mark.parametrize("band", BANDS)
def test_values_are_those_of_the_question(band: Band) -> None:
    for index in range(150):
        problem = generate("rationals", band, 4, index)
        texts = re.findall(r"\(?\d+(?:\.\d+)?(?: ?[-+*/] ?\(?\d+(?:\.\d+)?\)?)*", problem.question)
        values = [evaluate(text) for text in texts]
        assert Fraction(problem.answer) == max(values), problem
        assert len(values) == (2 if " or " in problem.question else 1)


@pytest.mark.parametrize("writer", FAMILY.writers, ids=lambda writer: writer.name)
def test_the_point_is_set_in_a_number_that_was_worked_out(writer: TraceWriter) -> None:
    seen = 0
    for index in range(150):
        trace = writer.write(generate("rationals", "S", 6, index), random.Random(index)).thinking
        before = ""
        for line in trace.split("\n"):
            match = re.fullmatch(r"(\d+) places (\d+\.?(\d*))", line)
            if match:
                worked = [int(number) for number in re.findall(r"(?:=|/)(\d+)(?= |/|$)", before)]
                assert int(match[2].replace(".", "")) in [
                    *worked,
                    *map(int, re.findall(r"=(\d+)/", before)),
                ]
                assert len(match[3]) == int(match[1])
                seen += 1
            before += f"{line} "
    assert seen


@pytest.mark.parametrize(
    ("question", "answer", "status"),
    [
        ("Simplify 6/8.", "3/4", "right"), ("Simplify 6/8.", "6/8", "wrong"), ("Simplify 6/8.", "0.75", "wrong"),
        ("Simplify 6/8.", "-3/-4", "wrong"), ("Simplify 6/8.", "3 / 4", "right"), ("Simplify 6/8.", "¾", "wrong"),
        ("Write 3/4 as a decimal.", "0.75", "right"), ("Write 3/4 as a decimal.", "3/4", "wrong"),
        ("Write 3/4 as a decimal.", ".75", "wrong"), ("Write 3/4 as a decimal.", "7.5e-1", "wrong"),
        ("Write 0.50 as a fraction in lowest terms.", "1/2", "right"),
        ("Write 0.5 as a fraction in lowest terms.", "5/10", "wrong"),
        ("What is 1/2 + 1/3?", "5/6", "right"), ("What is 1/2 + 1/3?", "10/12", "right"),
        ("What is 1/2 + 1/3?", "5/6 or 6/5", "wrong"), ("What is 1/2 + 1/3?", "1/2 + 1/3", "wrong"),
        ("What is 1/2 + 1/3?", "5/0", "wrong"), ("What is 1/2 + 1/3?", "٥/٦", "wrong"),
        ("What is 0.1 + 0.2?", "0.3", "right"), ("What is 0.1 + 0.2?", "0.30000000000000004", "wrong"),
        ("What is 0.1 + 0.2?", "1e9999999", "wrong"), ("What is 0.1 + 0.2?", "9" * 5000, "wrong"),
        ("Which is larger, 1/2 or 2/3?", "2/3", "right"), ("Which is larger, 1/2 or 2/3?", "1/2 or 2/3", "wrong"),
        ("What is (1/2) / (3/4)?", "2/3", "right"), ("What is 4.8 / 4?", "1.2", "right"),
    ],
)  # fmt: skip
def test_answers_are_judged_by_value_and_form(question: str, answer: str, status: str) -> None:
    problem = recognise(question)
    assert problem is not None and problem.family == "rationals"
    assert verify(problem, answer).status == status


@pytest.mark.parametrize(
    "question",
    ["Simplify 1/0.", "What is 1/0 + 1/2?", "What is (1/2) / (0/3)?", "Write 0/0 as a decimal.", "What is 1.5 ^ 2?",
     "Which is larger, 1/2 or 1/0?", "What is 1.5+" + "1.5+" * 900 + "1?", "What is 1.٥ + 2?",
     "Simplify " + "9" * 900 + "/3."],
)  # fmt: skip
def test_broken_questions_are_not_read(question: str) -> None:
    problem = recognise(question)
    assert problem is None or problem.family == "arithmetic"
