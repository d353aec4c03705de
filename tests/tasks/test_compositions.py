"""tasks/compositions: functions against their definitions by hand, pairs held out as pairs, adversaries."""

from __future__ import annotations

import random

import pytest

from ponder.tasks import FAMILIES, generate, held_out, recognise, verify
from ponder.tasks.catalogue import split_of
from ponder.tasks.compositions import FUNCTIONS, run, words_of


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        ("reverse([3, 1, 4])", "4 1 3"), ("sort([k, a, r])", "a k r"), ("sort([10, 9, 2])", "2 9 10"),
        ("rotate([3, 1, 4])", "1 4 3"), ("tail([3, 1, 4])", "1 4"), ("front([3, 1, 4])", "3 1"),
        ("swap([3, 1, 4])", "4 1 3"), ("swap([k])", "k"), ("twin([k, a])", "k k a a"),
        ("unique([3, 1, 3, 1])", "3 1"), ("evens([3, 8, 4])", "8 4"), ("odds([3, 8, 5])", "3 5"),
        ("double([3, 8])", "6 16"), ("next([9, 19])", "10 20"), ("sum([3, 8, 20])", "31"),
        ("largest([3, 20, 8])", "20"), ("smallest([30, 20, 8])", "8"), ("length([k, a])", "2"),
        ("triple(14)", "42"), ("square(13)", "169"), ("seven(95)", "102"), ("digits(120)", "1 2 0"),
        ("sum(double(tail([5, 2, 3])))", "10"), ("digits(square(sum([3, 8])))", "1 2 1"),
        ("Let x = [5, 2]. Let y = double(x). What is sum(y)?", "14"),
        ("Apply double, then reverse, to [5, 2].", "4 10"),
    ],
)  # fmt: skip
def test_functions(call: str, answer: str) -> None:
    problem = recognise(call)
    assert problem is not None and problem.family == "compositions"
    assert problem.answer == answer and verify(problem, answer).status == "right"


def test_every_function_is_there_and_every_one_has_a_case() -> None:
    table = next(mark for mark in test_functions.pytestmark if mark.name == "parametrize").args[1]
    assert all(any(call.startswith(f"{name}(") for call, _ in table) for name in FUNCTIONS)


def test_pairs_are_held_out_as_pairs_and_no_pair_is_shown() -> None:
    train = {p.data["chain"] for p in (generate("compositions", "R", 1, i) for i in range(1500))}
    test = {p.data["chain"] for p in held_out("compositions", "R", 200)}
    assert not train & test and len(train) > 100 and len(test) > 15
    for index in range(200):
        assert len(generate("compositions", "S", 1, index).data["chain"]) == 1
        chain = generate("compositions", "O", 1, index).data["chain"]
        assert 3 <= len(chain) <= 4


def test_a_pair_goes_with_its_split_whatever_the_value() -> None:
    rng, seen = random.Random(0), dict[tuple[str, ...], str]()
    for _ in range(1500):
        problem = FAMILIES["compositions"].generate(rng, "R")
        assert seen.setdefault(problem.data["chain"], split_of(problem)) == split_of(problem)


@pytest.mark.parametrize("writer", FAMILIES["compositions"].writers, ids=lambda w: w.name)
def test_traces_name_the_function_its_input_and_its_result(writer) -> None:
    taken_back = 0
    for index in range(300):
        problem = generate("compositions", "S", 4, index)
        name = problem.data["chain"][0]
        value, result = run(problem.data["chain"], problem.data["values"][0]) or ()
        thinking = writer.write(problem, random.Random(index)).thinking
        assert thinking.startswith(f"{name} {words_of(value)}; ")
        assert thinking.endswith(f"{name} gives {words_of(result)}")
        taken_back += "[BACK]" in thinking
    assert taken_back == (300 if writer.name == "slipping" else 0)


@pytest.mark.parametrize(
    "answer",
    ["", "4 1 3 4", "413", "3 1 4", "4 1 3; 3 1 4", "reverse([3, 1, 4])", "4, 1, 3 or 3, 1, 4", "٤ ١ ٣", "4 1 3 " * 900,
     "4.0 1 3", "[[4, 1, 3", "x = 4 1 3"],
)  # fmt: skip
def test_other_answers_are_wrong(answer: str) -> None:
    problem = recognise("reverse([3, 1, 4])")
    assert problem is not None
    expected = "right" if answer == "[[4, 1, 3" else "wrong"  # brackets do not matter
    assert verify(problem, answer).status == expected


@pytest.mark.parametrize(
    "question",
    ["reverse([])", "reverse([3, a])", "nothing([3])", "sum([k, a])", "triple([3])", "reverse(", "a(" * 1900,
     "reverse(" * 400 + "[1]" + ")" * 400, "square(99999)", "Let x = y. What is reverse(x)?", "reverse([3, 1)",
     "Apply reverse to x.", "reverse(x)", "sort([" + "1, " * 900 + "1])"],
)  # fmt: skip
def test_calls_that_cannot_be_run_are_left_alone(question: str) -> None:
    assert recognise(question) is None
