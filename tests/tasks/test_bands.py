"""tasks: each band holds what it says, bands and splits share nothing, the frozen sets are the frozen ones."""

from __future__ import annotations

import re

import pytest

from ponder.core.types import Band, Problem
from ponder.tasks import FAMILIES, generate, held_out
from ponder.tasks.catalogue import FULL_MIXTURE, fingerprint, freeze, split_of
from ponder.tasks.frozen import FROZEN
from ponder.verify import evaluate

BANDS: tuple[Band, ...] = ("S", "R", "O")
SETS = sorted(FROZEN)
NUM_FIRST = 20


def numbers(problem: Problem) -> list[int]:
    return [int(text) for text in re.findall(r"\d+", problem.question)]


def steps(problem: Problem) -> int:
    """Operations a story or graph needs, counted from what its trace or rules work out."""
    data = problem.data
    if "steps" in data:
        return len(data["steps"])
    reached, waiting = set[str](), [data["asked"]]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += [part for part in data["rules"][name] if part in data["rules"]]
    return sum(1 for name in reached if data["rules"][name][1])


def within(problem: Problem, band: Band) -> bool:
    """Whether a problem has the size that docs/tasks.md gives its band."""
    given, name = numbers(problem), problem.family
    digits = max((len(str(n)) for n in given), default=0)
    if name == "arithmetic":
        low, high = {"S": (1, 6), "R": (2, 9), "O": (2, 12)}[band]
        terms = {"S": 4, "R": 6, "O": 8}[band]
        return low <= digits <= high and len(re.findall(r"\d+", problem.canonical)) <= terms
    if name == "countdown":
        given = list(problem.data["numbers"])
        sizes = {"S": (3, 12), "R": (4, 25), "O": (5, 25)}[band]
        return (
            len(given) <= sizes[0] and max(given) <= sizes[1] and (band != "O" or len(given) == 5)
        )
    if name == "equations":
        return (
            max(abs(n) for side in ("left", "right") for n in problem.data[side][:1])
            <= {"S": 12, "R": 60, "O": 200}[band]
        )
    if name in ("stories", "graph"):
        ranges = {
            "stories": {"S": (1, 3), "R": (4, 5), "O": (5, 6)},
            "graph": {"S": (1, 5), "R": (6, 8), "O": (9, 12)},
        }
        low, high = ranges[name][band]
        return low <= steps(problem) <= high
    if name == "procedures":
        low, high = {"S": (3, 6), "R": (7, 9), "O": (10, 12)}[band]
        return low <= len(problem.data["items"]) <= high
    if name == "systems":
        return len(re.findall("=", problem.question)) == {"S": 2, "R": 2, "O": 3}[band]
    if name == "logic":
        people = set(
            re.findall(r"\b(?!(?:Knights|Who|Find|List|Fill|The)\b)[A-Z]\w+", problem.question)
        )
        blanks = problem.question.count("_")
        low, high = {"S": (2, 3), "R": (3, 4), "O": (5, 5)}[band]
        span = {"S": (3, 6), "R": (7, 8), "O": (9, 10)}[band]
        return low <= len(people) <= high if people else not blanks or span[0] <= blanks <= span[1]
    if name == "measures":
        return band != "S" or (
            not re.search(r"\d{4}$", problem.question) and " before " not in problem.question
        )
    if name == "rationals":
        return len(problem.data["parts"]) <= {"S": 3, "R": 5, "O": 7}[band]
    return True


@pytest.mark.parametrize("name", FAMILIES)
def test_problems_are_of_the_size_of_their_band(name: str) -> None:
    for band in BANDS:
        for index in range(40):
            problem = generate(name, band, 21, index)
            assert within(problem, band), problem
            assert problem.band == band
            assert problem.difficulty >= 1


@pytest.mark.parametrize("name", sorted(set(FAMILIES) - {"decline"}))
def test_harder_bands_hold_nothing_that_was_shown(name: str) -> None:
    shown = {generate(name, "S", 22, index).canonical for index in range(200)}
    for band in ("R", "O"):
        hard = {generate(name, band, 22, index).canonical for index in range(25)}
        assert len(hard & shown) <= 2, hard & shown


@pytest.mark.parametrize("name", FAMILIES)
def test_a_structure_is_trained_or_held_out_never_both(name: str) -> None:
    for band in BANDS:
        trained = [generate(name, band, 23, index) for index in range(25)]
        kept = held_out(name, band, 10)
        assert {split_of(p) for p in trained} == {"train"}
        assert {split_of(p) for p in kept} == {"test"}
        assert not {p.structure or p.canonical for p in trained} & {
            p.structure or p.canonical for p in kept
        }


@pytest.mark.parametrize(("name", "band"), SETS)
def test_evaluation_sets_are_the_frozen_ones(name: str, band: Band) -> None:
    found = fingerprint(held_out(name, band, NUM_FIRST))[:16]
    assert found == FROZEN[name, band].first, f"questions of {name} {band} have changed: {found}"


@pytest.mark.slow
@pytest.mark.parametrize(("name", "band"), SETS)
def test_whole_evaluation_sets_are_the_frozen_ones(name: str, band: Band) -> None:
    assert freeze(name, band, FROZEN[name, band].count) == FROZEN[name, band]


def test_every_family_and_band_has_a_frozen_set_of_a_stated_size() -> None:
    assert set(FROZEN) == {(name, band) for name in FAMILIES for band in BANDS}


def test_no_family_is_above_fifteen_percent_of_all() -> None:
    total = sum(FULL_MIXTURE.values())
    assert max(FULL_MIXTURE.values()) <= 0.15 * total


def test_countdown_answers_use_what_is_given() -> None:
    for band in BANDS:
        for index in range(100):
            problem = generate("countdown", band, 24, index)
            assert sorted(map(int, re.findall(r"\d+", problem.answer))) == sorted(
                problem.data["numbers"]
            )
            assert evaluate(problem.answer) == problem.data["target"]
