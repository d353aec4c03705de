"""evals/table: a model's accuracy on the frozen held-out problems of each family, greedy; and declining, both ways.

The caller gives the client, so that the number is that of the road every answer takes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ponder.core.errors import ConfigError, PromptError
from ponder.core.protocols import ChatClient, ChatStream
from ponder.core.types import Band, Completion, Message, Problem, SamplingParams, Verdict
from ponder.evals.interval import wilson
from ponder.tasks import FAMILIES, held_out, verify

DECLINE = "decline"
"""The family of questions outside all others."""
WINDOW = 96
"""Requests under way at a time; more would only queue."""
NUM_EXAMPLES = 5
"""Wrong answers kept of each family, for people to read."""


@dataclass(frozen=True, slots=True)
class Example:
    """One answer that was not right, or a declined question of a family."""

    question: str
    answer: str
    thinking: str
    reason: str


@dataclass(slots=True)
class Row:
    """One family's result."""

    family: str
    band: Band
    count: int = 0
    right: int = 0
    undecided: int = 0
    declined: int = 0
    """Answers that say "I was not trained for this"."""
    cut: int = 0
    """Answers that ended by their length or whose thinking was cut."""
    tokens: int = 0
    """Completion tokens, thinking included."""
    examples: list[Example] = field(default_factory=list[Example])

    @property
    def accuracy(self) -> float:
        """Share of right answers; an undecided verdict is left out."""
        return self.right / max(1, self.count - self.undecided)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of the accuracy."""
        return wilson(self.right, self.count - self.undecided)


@dataclass(frozen=True, slots=True)
class Table:
    """Every family's row, and what was measured on what."""

    rows: tuple[Row, ...]
    facts: Mapping[str, Any]
    """The model, its weights format, the machine: whatever the caller knows."""

    @property
    def declined_inside(self) -> tuple[int, int]:
        """(declined, asked) over the families' own questions: these should be answered."""
        inside = [row for row in self.rows if row.family != DECLINE]
        return sum(row.declined for row in inside), sum(row.count for row in inside)

    def text(self) -> str:
        """The table for a terminal."""
        lines = [f"{'family':<12} band  right    of  share  95 % interval   tokens  cut  declined"]
        for row in self.rows:
            low, high = row.interval
            lines.append(
                f"{row.family:<12} {row.band:<4} {row.right:>6} {row.count:>5} {_percent(row.accuracy)}  "
                f"{_percent(low)} – {_percent(high)} {row.tokens / max(1, row.count):>7.0f} {row.cut:>4} "
                f"{row.declined:>9}"
            )
        declined, asked = self.declined_inside
        if asked:
            low, high = wilson(declined, asked)
            lines.append(
                f"declined though inside a family: {declined} of {asked}, {_percent(declined / asked).strip()} "
                f"({_percent(low).strip()} – {_percent(high).strip()})"
            )
        return "\n".join(lines)

    def values(self) -> dict[str, Any]:
        """The table as JSON values."""
        rows: list[dict[str, Any]] = []
        for row in self.rows:
            low, high = row.interval
            rows.append(asdict(row) | {"accuracy": row.accuracy, "low": low, "high": high})
        declined, asked = self.declined_inside
        inside = {"declined": declined, "asked": asked}
        return {"facts": dict(self.facts), "rows": rows, "declined_inside": inside}


def evaluate(
    client: ChatClient,
    families: Sequence[str] = (),
    *,
    band: Band = "S",
    count: int = 500,
    max_tokens: int = 1024,
    facts: Mapping[str, Any] | None = None,
    done: Callable[[Row], None] = lambda row: None,
) -> Table:
    """Greedy answers to the first `count` held-out problems of each family, judged by its verifier.

    Raises ConfigError for an unknown family. `done` is told each row as it is finished.
    """
    rows: list[Row] = []
    for name in families or tuple(FAMILIES):
        if name not in FAMILIES:
            raise ConfigError(f"unknown family {name!r}", f"allowed are {', '.join(FAMILIES)}")
        row = Row(name, band)
        for problem, completion in answers(client, held_out(name, band, count), max_tokens):
            _count(row, problem, completion)
        rows.append(row)
        done(row)
    return Table(tuple(rows), dict(facts or {}))


def answers(
    client: ChatClient, problems: Sequence[Problem], max_tokens: int
) -> Iterator[tuple[Problem, Completion]]:
    """Each problem with its greedy answer, in order; `WINDOW` of them are computed together."""
    sampling = SamplingParams(temperature=0.0, max_tokens=max_tokens, seed=0)
    waiting: deque[tuple[Problem, ChatStream]] = deque()
    coming = iter(problems)
    while True:
        while len(waiting) < WINDOW and (problem := next(coming, None)) is not None:
            waiting.append((problem, client.stream([Message("user", problem.question)], sampling)))
        if not waiting:
            return
        problem, stream = waiting.popleft()
        for _ in stream:
            pass
        if not stream.completions:
            raise PromptError(
                f"no answer came to {problem.question!r}", "the stream ended without one"
            )
        yield problem, stream.completions[0]


def is_declined(answer: str) -> bool:
    """True for the sentence of the decline family."""
    return verify(_OUTSIDE, answer).status == "right"


_OUTSIDE = Problem(DECLINE, "S", "", "I was not trained for this.", "")


def _count(row: Row, problem: Problem, completion: Completion) -> None:
    answer = completion.message.content or ""
    verdict: Verdict = verify(problem, answer)
    declined = is_declined(answer)
    row.count += 1
    row.right += verdict.status == "right"
    row.undecided += verdict.status == "undecided"
    row.declined += declined
    row.cut += completion.finish_reason == "length" or completion.thinking_end not in (None, "self")
    row.tokens += completion.usage.completion_tokens
    if verdict.status != "right" and len(row.examples) < NUM_EXAMPLES:
        thinking = completion.message.reasoning or ""
        row.examples.append(Example(problem.question, answer, thinking, verdict.reason))


def _percent(share: float) -> str:
    return f"{100 * share:>5.1f} %"
