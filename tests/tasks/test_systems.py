"""tasks/systems: every line of a trace holds for the solution; answers by substitution."""

from __future__ import annotations

import random
import re
from fractions import Fraction

import pytest

from ponder.core.types import Band
from ponder.tasks import FAMILIES, generate, recognise, verify
from ponder.tasks.family import TraceWriter
from ponder.verify import evaluate

FAMILY = FAMILIES["systems"]
ROW = re.compile(r"(?:\d: |^)([-+\da-z]*[a-z][-+\da-z]*)=([-+\da-z]+)$")


def value_at(side: str, values: dict[str, Fraction]) -> Fraction:
    """The value of a linear side, e.g. `2x-y`, read apart from the family's own reader."""
    text = re.sub(r"(\d)([a-z])", r"\1*\2", side)
    return evaluate(re.sub(r"[a-z]", lambda m: f"({values[m[0]]})", text))


def solution_of(answer: str) -> dict[str, Fraction]:
    return {part.split(" = ")[0]: Fraction(part.split(" = ")[1]) for part in answer.split(", ")}


@pytest.mark.parametrize("writer", FAMILY.writers, ids=lambda writer: writer.name)
def test_every_equation_of_a_trace_holds_for_the_solution(writer: TraceWriter) -> None:
    checked = 0
    for index in range(60):
        problem = generate("systems", "S", 4, index)
        values = solution_of(problem.answer)
        for line in writer.write(problem, random.Random(index)).thinking.split("\n"):
            match = ROW.search(line)
            if match and not line.startswith(("check", "try")):
                assert value_at(match[1], values) == value_at(match[2], values), (
                    problem.question,
                    line,
                )
                checked += 1
            wrong = line.endswith("no [BACK]")
            assert not wrong or writer.name == "tried"
    assert checked > 150


@pytest.mark.parametrize("band", ["S", "R", "O"])
def test_the_answer_solves_the_question_and_nothing_near_it_does(band: Band) -> None:
    for index in range(60):
        problem = generate("systems", band, 8, index)
        values = solution_of(problem.answer)
        rows = re.findall(
            r"([-\da-z +]*[a-z]) ?= ?(-?\d+)",
            re.sub(r"(^|[.,] |and |if |Solve |system )[a-zA-Z]{2,}", r"\1", problem.question),
        )
        assert len(rows) == len(values)
        first = sorted(values)[0]
        moved = ", ".join(f"{k} = {v + (k == first)}" for k, v in values.items())
        assert verify(problem, moved).status == "wrong"
        assert verify(problem, ", ".join(reversed(problem.answer.split(", ")))).status == "right"


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ("x = 6, y = 4", "right"), ("x=6 and y=4", "right"), ("x = 6\ny = 4", "right"),
        ("y = 4; x = 6.", "right"), ("x = 12/2, y = 4.0", "right"),
        ("x = 6", "wrong"), ("x = 6, y = 4, x = 6", "wrong"), ("x = 6, y = 4, z = 0", "wrong"),
        ("x = 4, y = 6", "wrong"),
        ("6, 4", "wrong"), ("x = y, y = 4", "wrong"), ("x = 10-y, y = 4", "wrong"), ("x + y = 10, x - y = 2", "wrong"),
        ("x = ٦, y = 4", "wrong"), ("x = 6, y = 4 or y = 5", "wrong"), ("", "wrong"), ("x = 1/0, y = 4", "wrong"),
        ("x = " + "9" * 4000 + ", y = 4", "wrong"), ("x = 1e99, y = 4", "wrong"),
    ],
)  # fmt: skip
def test_answers_are_judged_by_substitution(answer: str, status: str) -> None:
    problem = recognise("Solve x + y = 10 and x - y = 2.")
    assert problem is not None and problem.family == "systems"
    assert verify(problem, answer).status == status


@pytest.mark.parametrize(
    "question",
    ["Solve x + y = 10 and 2x + 2y = 20.", "Solve x + y = 10 and x + y = 9.", "Solve x + y = 10.",
     "Solve x + y = 10 and x - z = 2.", "Solve x^2 + y = 10 and x - y = 2.", "Solve x + y = 1e5 and x - y = 2."],
)  # fmt: skip
def test_systems_without_one_solution_are_not_read(question: str) -> None:
    assert recognise(question) is None
