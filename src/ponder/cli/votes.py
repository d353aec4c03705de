"""cli/votes: several answers, one vote. Answers that are the same number count as the same answer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ponder.core.types import Completion
from ponder.verify import RationalError, evaluate

BOXED = re.compile(r"\\boxed\{([^{}]*)\}")


@dataclass(frozen=True, slots=True)
class Vote:
    """The answers in order of votes; ties stand in the order in which they were sampled."""

    counts: tuple[tuple[str, tuple[int, ...]], ...]
    """(answer as first written, choices that gave it)."""
    without: tuple[int, ...]
    """Choices that gave no answer: cut before it, or empty."""

    @property
    def winner(self) -> int | None:
        """The choice to show: the first that gave the most frequent answer; None when none answered."""
        return self.counts[0][1][0] if self.counts else None

    @property
    def note(self) -> str:
        """How the vote came out, and how a tie was broken."""
        if not self.counts:
            return "no sample reached an answer"
        best = len(self.counts[0][1])
        tied = [answer for answer, choices in self.counts if len(choices) == best]
        total = sum(len(choices) for _, choices in self.counts) + len(self.without)
        if len(tied) > 1:
            names = ", ".join(repr(answer) for answer in tied)
            return f"a tie at {best} of {total} between {names}; the one sampled first is shown"
        return f"{best} of {total} agree"


def count_votes(completions: Sequence[Completion]) -> Vote:
    """Group the finished answers; an answer cut short by the limit of tokens does not vote."""
    groups: dict[object, list[int]] = {}
    without: list[int] = []
    for choice, done in enumerate(completions):
        answer = final_answer(done.message.content or "")
        if not answer or done.finish_reason != "stop":
            without.append(choice)
            continue
        groups.setdefault(_key(answer), []).append(choice)
    ranked = sorted(groups.values(), key=lambda choices: (-len(choices), choices[0]))
    return Vote(
        tuple(
            (final_answer(completions[choices[0]].message.content or ""), tuple(choices))
            for choices in ranked
        ),
        tuple(without),
    )


def final_answer(text: str) -> str:
    """What stands in the last \\boxed{…}, or else the last line that is not blank."""
    boxed = BOXED.findall(text)
    if boxed:
        return boxed[-1].strip()
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def _key(answer: str) -> object:
    """Equal numbers have equal keys; other answers are compared without case and final full stop."""
    plain = answer.removesuffix(".").strip("$ ")
    try:
        return evaluate(plain.replace(",", ""))
    except RationalError:
        return " ".join(plain.casefold().split())
