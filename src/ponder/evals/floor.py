"""evals/floor: what a guess without any reasoning scores on a set of problems; a score near it is no evidence."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ponder.core.types import Problem
from ponder.tasks import verify

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


@dataclass(frozen=True, slots=True)
class Floor:
    """The best trivial rule on these problems."""

    rule: str
    """`constant`: always the commonest answer, chosen in hindsight; `first` or `last`: that number of the question."""
    share: float
    """Of the problems it gets right."""


def guessing_floor(problems: Sequence[Problem]) -> Floor:
    """The best of the trivial rules, judged by the family's own verifier."""
    common = Counter(problem.answer for problem in problems).most_common(1)
    constant = common[0][0] if common else ""
    rules: dict[str, Callable[[Problem], str]] = {
        "constant": lambda problem: constant,
        "first": lambda problem: _numbers(problem)[0],
        "last": lambda problem: _numbers(problem)[-1],
    }
    shares = {
        name: sum(verify(problem, rule(problem)).status == "right" for problem in problems)
        / max(1, len(problems))
        for name, rule in rules.items()
    }
    best = max(shares, key=lambda name: shares[name])
    return Floor(best, shares[best])


def _numbers(problem: Problem) -> list[str]:
    return _NUMBER.findall(problem.question) or [""]
