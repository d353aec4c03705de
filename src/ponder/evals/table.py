"""evals/table: a model on the frozen held-out problems of each family and band: greedy, and over samples.

Every answer is an episode of the one loop, with the family's tools where it has some: the road that training's
rollouts take too. The caller gives the engine and how a conversation with the model is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ponder.agent import Episode, Limits, episode_steps, run_episodes
from ponder.agent.loop import Steps, turn_seed
from ponder.core.errors import ConfigError
from ponder.core.protocols import Session, TokenEngine
from ponder.core.types import Band, Message, Problem, SamplingParams, ToolSpec, Verdict
from ponder.evals.floor import Floor, guessing_floor
from ponder.evals.interval import wilson
from ponder.evals.statistics import Paired, Sampled, paired, sampled_of
from ponder.tasks import FAMILIES, MIXTURE, held_out, verify
from ponder.tasks.catalogue import tools_of

OpenSession = Callable[[Sequence[Message], Sequence[ToolSpec]], Session]

DECLINE = "decline"
"""The family of questions outside all others."""
WINDOW = 240
"""Episodes asked for at a time: several times what an engine runs at once, so that a long one at the head of the line
leaves no places empty, and fewer than its queue takes."""
NUM_EXAMPLES = 5
"""Wrong answers kept of each family, for people to read."""
_OUTSIDE = Problem(DECLINE, "S", "", "I was not trained for this.", "")
_MARKS = {"right": "1", "wrong": "0", "undecided": "?"}


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked. The same plan asks every model the same."""

    families: tuple[str, ...] = ()
    """None: those that the package's model was trained on."""
    bands: tuple[Band, ...] = ("S",)
    count: int = 500
    """Problems of each family and band."""
    samples: int = 0
    """Answers sampled to each problem beside the greedy one."""
    temperature: float = 1.0
    """Of the samples."""
    seed: int = 0
    limits: Limits = field(default_factory=lambda: Limits(max_tokens=1024))


@dataclass(frozen=True, slots=True)
class Example:
    """One answer that was not right, or a declined question of a family."""

    question: str
    answer: str
    thinking: str
    reason: str


@dataclass(slots=True)
class Row:
    """One family's result in one band."""

    family: str
    band: Band
    count: int = 0
    right: int = 0
    undecided: int = 0
    declined: int = 0
    """Answers that say "I was not trained for this"."""
    cut: int = 0
    """Answers that ended by a limit or whose thinking was cut."""
    tokens: int = 0
    """Completion tokens, thinking included."""
    calls: int = 0
    failed_calls: int = 0
    outcomes: str = ""
    """The greedy answers, one letter a problem: 1 right, 0 wrong, ? undecided."""
    floor: Floor | None = None
    sampled: Sampled | None = None
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
    engine: TokenEngine,
    open_session: OpenSession,
    plan: Plan | None = None,
    *,
    facts: Mapping[str, Any] | None = None,
    done: Callable[[Row], None] = lambda row: None,
    window: int = WINDOW,
) -> Table:
    """The plan's held-out problems, each answer judged by its family's verifier.

    Raises ConfigError for an unknown family. `done` is told each row as it is finished. `window`: episodes
    asked for at a time; it changes no answer.
    """
    plan = plan or Plan()
    names = plan.families or tuple(MIXTURE)
    for name in names:
        if name not in FAMILIES:
            raise ConfigError(f"unknown family {name!r}", f"allowed are {', '.join(FAMILIES)}")
    rows: list[Row] = []
    for name in names:
        for band in plan.bands:
            problems = held_out(name, band, plan.count)
            judged = _judged(engine, open_session, plan, problems, window)
            rows.append(_row(name, band, problems, judged, plan))
            done(rows[-1])
    return Table(tuple(rows), dict(facts or {}))


Judged = tuple[Episode, Verdict]


def _judged(
    engine: TokenEngine,
    open_session: OpenSession,
    plan: Plan,
    problems: Sequence[Problem],
    window: int,
) -> list[list[Judged]]:
    """For each problem its greedy answer and then its samples, with their verdicts."""
    width = 1 + plan.samples
    answers: list[list[Judged | None]] = [[None] * width for _ in problems]

    def begun() -> Iterator[Steps]:
        for index, problem in enumerate(problems):
            for sample in range(width):
                sampling = SamplingParams(temperature=0.0, seed=0)
                if sample:
                    place = index * plan.samples + sample
                    seed = turn_seed(plan.seed, place)
                    sampling = SamplingParams(temperature=plan.temperature, seed=seed)
                tools = tools_of(problem)
                asked = [Message("user", problem.question)]
                session = open_session(asked, [tool.spec for tool in tools])
                yield episode_steps(session, tools, plan.limits, sampling)

    for place, episode in run_episodes(engine, begun(), window):
        problem = problems[place // width]
        lost = episode.finish in ("error", "abort")
        verdict = verify(problem, episode.answer)
        if lost:
            verdict = Verdict("undecided", f"the episode was lost: {episode.error}")
        answers[place // width][place % width] = episode, verdict
    return [[each for each in of_one if each is not None] for of_one in answers]


def _row(
    family: str,
    band: Band,
    problems: Sequence[Problem],
    judged: Sequence[Sequence[Judged]],
    plan: Plan,
) -> Row:
    row = Row(family, band, floor=guessing_floor(problems))
    for problem, (greedy, *_) in zip(problems, judged, strict=True):
        _count(row, problem, *greedy)
    if plan.samples:
        decided = [[e for e in each[1:] if e[1].status != "undecided"] for each in judged]
        votes = [
            ([e.answer for e, _ in each], [v.status == "right" for _, v in each])
            for each in decided
        ]
        tokens = sum(e.usage.completion_tokens for each in judged for e, _ in each[1:])
        row.sampled = sampled_of(plan.samples, plan.temperature, votes, tokens)
    return row


def is_declined(answer: str) -> bool:
    """True for the sentence of the decline family."""
    return verify(_OUTSIDE, answer).status == "right"


def _count(row: Row, problem: Problem, episode: Episode, verdict: Verdict) -> None:
    row.count += 1
    row.right += verdict.status == "right"
    row.undecided += verdict.status == "undecided"
    row.outcomes += _MARKS[verdict.status]
    row.declined += is_declined(episode.answer)
    row.cut += episode.is_truncated
    row.tokens += episode.usage.completion_tokens
    row.calls += episode.num_calls
    row.failed_calls += episode.num_failed_calls
    if verdict.status != "right" and len(row.examples) < NUM_EXAMPLES:
        thinking = (episode.messages[-1].reasoning or "") if episode.messages else ""
        row.examples.append(Example(problem.question, episode.answer, thinking, verdict.reason))


def compare(first: Table, second: Table) -> tuple[Paired, ...]:
    """Two models on the same plan, family by family."""
    return tuple(
        paired(a.family, a.band, (a.outcomes, b.outcomes), (a.sampled, b.sampled))
        for a, b in zip(first.rows, second.rows, strict=True)
    )
