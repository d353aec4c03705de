"""tasks/family: what a task family is. Never prints and never reads a file."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from ponder.core.protocols import Tool
from ponder.core.types import Band, Message, Problem, Verdict


@dataclass(frozen=True, slots=True)
class Trace:
    """One worked solution: what stands between the thinking tags, and the final answer."""

    thinking: str
    answer: str
    earlier: tuple[Message, ...] = ()
    """Turns before the last thinking and answer: assistant messages that call tools, and the tools' results."""


@dataclass(frozen=True, slots=True)
class TraceWriter:
    """One solver style of a family, and how often training documents use it."""

    name: str
    weight: float
    write: Callable[[Problem, random.Random], Trace]


class Family(Protocol):
    """A seeded generator, an exact verifier, a recogniser and at least two trace writers."""

    @property
    def name(self) -> str: ...
    @property
    def writers(self) -> tuple[TraceWriter, ...]: ...
    def generate(self, rng: random.Random, band: Band = "S") -> Problem:
        """One problem; every random choice comes from `rng`."""
        ...

    def verify(self, problem: Problem, answer: str) -> Verdict: ...
    def recognise(self, question: str) -> Problem | None:
        """The problem a free question states, or None when it is not this family's."""
        ...


class ToolFamily(Family, Protocol):
    """A family whose problems are solved with tools."""

    def tools(self, problem: Problem) -> tuple[Tool, ...]:
        """Fresh tools for one episode of the problem."""
        ...


def pattern_of(frame: str, holes: Mapping[str, str], flags: int = 0) -> re.Pattern[str]:
    """What matches a frame with `{name}` holes, only ASCII; a hole that comes twice holds the same text twice."""
    seen: set[str] = set()

    def group(match: re.Match[str]) -> str:
        name = match[1]
        found = f"(?P={name})" if name in seen else f"(?P<{name}>{holes[name]})"
        seen.add(name)
        return found

    return re.compile(re.sub(r"\\\{(\w+)\\\}", group, re.escape(frame)), re.ASCII | flags)
