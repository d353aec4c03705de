"""tasks/catalogue: the table of families, the split into training and held-out, the documents."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from typing import Literal

from ponder.core.errors import ConfigError
from ponder.core.protocols import Tool
from ponder.core.types import Band, Problem, Verdict
from ponder.tasks.arithmetic import Arithmetic
from ponder.tasks.compositions import Compositions
from ponder.tasks.countdown import Countdown
from ponder.tasks.decline import Decline
from ponder.tasks.equations import Equations
from ponder.tasks.family import Family, ToolFamily, Trace
from ponder.tasks.formats import Formats
from ponder.tasks.frozen import FROZEN, FrozenSet
from ponder.tasks.graph import Graph
from ponder.tasks.logic import Logic
from ponder.tasks.measures import Measures
from ponder.tasks.procedures import Procedures
from ponder.tasks.rationals import Rationals
from ponder.tasks.reading import Reading
from ponder.tasks.stories import Stories
from ponder.tasks.systems import Systems
from ponder.tasks.tools import Tools

Split = Literal["train", "test"]
TOOL_FAMILIES: dict[str, ToolFamily] = {"tools": Tools()}
"""The families whose problems come with tools."""
FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Arithmetic(), Countdown(), Equations(), Stories(), Graph(), Procedures(), Decline(), Rationals(), Systems(),
        Measures(), Logic(), Compositions(), Reading(), Formats(), *TOOL_FAMILIES.values(),
    )
}  # fmt: skip
MIXTURE: dict[str, float] = {
    "arithmetic": 0.22, "countdown": 0.18, "equations": 0.14, "stories": 0.14, "graph": 0.14, "procedures": 0.10,
    "decline": 0.08,
}  # fmt: skip
"""Share of each family among the documents that the package's model was trained on."""
FULL_MIXTURE: dict[str, float] = {
    "arithmetic": 14.0, "countdown": 12.0, "equations": 8.0, "stories": 8.0, "graph": 13.0, "procedures": 8.0,
    "decline": 4.0, "rationals": 7.0, "systems": 6.0, "measures": 6.0, "logic": 8.0, "compositions": 9.0,
    "reading": 9.0, "formats": 9.0, "tools": 9.0,
}  # fmt: skip
"""All families, relative to each other; none is above 15 % of the whole."""
HELD_OUT_ONE_IN = {"decline": 6, "countdown": 8, "compositions": 6, "logic": 10, "systems": 10}
"""One structure in this many is held out; 20 where nothing is said. Decline is split by template."""
BY_QUESTION = frozenset(MIXTURE)
"""Families whose S band was frozen as different questions."""


def family_of(name: str) -> Family:
    """The family of this name. Raises ConfigError."""
    if name not in FAMILIES:
        raise ConfigError(f"unknown task family {name!r}", f"known families: {', '.join(FAMILIES)}")
    return FAMILIES[name]


def tools_of(problem: Problem) -> tuple[Tool, ...]:
    """Fresh tools for one episode of the problem; () where its family has none."""
    family = TOOL_FAMILIES.get(problem.family)
    return family.tools(problem) if family else ()


def split_of(problem: Problem) -> Split:
    """`test` for a fixed part of the structures, chosen by their hash; the rest is `train`."""
    form = problem.structure or problem.canonical
    digest = hashlib.blake2b(f"{problem.family}|{form}".encode(), digest_size=8).digest()
    one_in = HELD_OUT_ONE_IN.get(problem.family, 20)
    return "test" if int.from_bytes(digest, "big") % one_in == 0 else "train"


def generate(
    family: str, band: Band = "S", seed: int = 0, index: int = 0, split: Split = "train"
) -> Problem:
    """Problem number `index` of a stream; the same arguments always give the same problem."""
    maker = family_of(family)
    for name, value, known in (
        ("band", band, ("S", "R", "O")),
        ("split", split, ("train", "test")),
    ):
        if value not in known:
            raise ConfigError(f"unknown {name} {value!r}", f"known: {', '.join(known)}")
    rng = random.Random(f"{family}/{band}/{split}/{seed}/{index}")
    while True:
        problem = maker.generate(rng, band)
        if split_of(problem) == split:
            return problem


def solve(problem: Problem, seed: int = 0, index: int = 0) -> Trace:
    """A worked solution in one of the family's styles, drawn by weight; band S only (ConfigError)."""
    if problem.band != "S":
        raise ConfigError(
            f"band {problem.band!r} of {problem.family} has no shown solutions", "take band 'S'"
        )
    rng = random.Random(f"trace/{problem.family}/{seed}/{index}")
    point = rng.random()
    writers = family_of(problem.family).writers
    for writer in writers:
        point -= writer.weight
        if point < 0:
            return writer.write(problem, rng)
    return writers[0].write(problem, rng)


def document(family: str, seed: int, index: int) -> tuple[str, str, str]:
    """(question, thinking, answer) of one training document, band S."""
    problem = generate(family, "S", seed, index)
    trace = solve(problem, seed, index)
    return problem.question, trace.thinking, trace.answer


def held_out(family: str, band: Band = "S", count: int | None = None) -> tuple[Problem, ...]:
    """The first `count` different held-out problems: the evaluation set of a family and band.

    None takes the number of the frozen set. Different problems differ in their canonical form, or in sets frozen
    before that was so (`BY_QUESTION`) in their question. Raises ConfigError where there are too few.
    """
    frozen = FROZEN.get((family, band))
    wanted = count if count is not None else frozen.count if frozen else 500
    found: dict[str, Problem] = {}
    by_question = family in BY_QUESTION and (band == "S" or family == "decline")
    index = 0
    while len(found) < wanted:
        problem = generate(family, band, 0, index, "test")
        found.setdefault(problem.question if by_question else problem.canonical, problem)
        index += 1
        if index > 50 * wanted:
            raise ConfigError(
                f"{wanted} held-out problems of {family} {band}", f"there are about {len(found)}"
            )
    return tuple(found.values())


def fingerprint(problems: Sequence[Problem]) -> str:
    """SHA-256 of the questions, one a line: what freezes an evaluation set."""
    return hashlib.sha256("\n".join(problem.question for problem in problems).encode()).hexdigest()


def freeze(family: str, band: Band, count: int = 500) -> FrozenSet:
    """The entry that `tasks/frozen` should hold for a family and band."""
    problems = held_out(family, band, count)
    return FrozenSet(count, fingerprint(problems[:20])[:16], fingerprint(problems)[:16])


def verify(problem: Problem, answer: str) -> Verdict:
    """The family's judgement of an answer."""
    return family_of(problem.family).verify(problem, answer)


def recognise(question: str) -> Problem | None:
    """The problem a free question states, when a family with a verifier reads it; never `decline`."""
    if len(question) > 4000:
        return None
    for family in reversed(FAMILIES.values()):
        problem = family.recognise(question)
        if problem is not None:
            return problem
    return None
