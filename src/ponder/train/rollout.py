"""train/rollout: many episodes at once on the engine in this process, judged; the same bits whatever runs beside them.

An episode depends on (weights, problem, seed, sample) alone: its draws are keyed by them, and the arithmetic contract
makes logits independent of the batch. So a group run again, alone or among others, is the same, and a run that was
killed needs only the groups that had not been finished.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ponder.agent import Episode, Limits, Reply, episode_steps, run_episodes
from ponder.agent.loop import Steps
from ponder.clients.session import TokenSession
from ponder.core.errors import ConfigError
from ponder.core.protocols import TokenEngine, Tool
from ponder.core.types import Message, Problem, SamplingParams, TokenEvent, TokenRequest, Verdict
from ponder.engine import Engine, EngineConfig
from ponder.model.config import ModelConfig
from ponder.model.model import Model
from ponder.model.ops import make_ops
from ponder.model.ops.protocol import Ops, WeightsFormat
from ponder.model.weights import prepare_weights
from ponder.tasks import verify
from ponder.tasks.catalogue import tools_of
from ponder.text import ChatTemplate
from ponder.train.restricted import Restricted


@dataclass(frozen=True, slots=True)
class RolloutConfig:
    """How episodes are sampled."""

    max_tokens: int = 512
    """Most tokens of one turn, thinking included."""
    total_tokens: int | None = None
    """Most tokens of an episode, prompt and tool results included; None: what the engine's context holds."""
    thinking_budget: int | None = None
    temperature: float = 1.0
    banned_ids: tuple[int, ...] = ()
    """Ids that are never sampled, nor have a share in the log-probabilities."""
    weights: WeightsFormat = "fp32"
    """What linear layers compute with."""
    max_turns: int = 8
    max_calls: int = 16
    max_running: int = 256
    """Most sequences in one step of the engine."""
    step_tokens: int = 2048
    cache_mib: int = 1024


@dataclass(frozen=True, slots=True)
class Ask:
    """One group to be run: `samples` episodes of a problem, numbered from 0."""

    problem: Problem
    seed: int
    samples: int


@dataclass(frozen=True, slots=True)
class Scored:
    """One judged episode. Whether a limit cut it is `episode.is_truncated`."""

    problem: Problem
    episode: Episode
    verdict: Verdict
    reward: float | None
    """1 for right, 0 for wrong; None where nobody could decide or the episode was lost: left out of the loss."""


Group = tuple[Scored, ...]


def sample_seed(seed: int, sample: int) -> int:
    """The seed of one episode's draws."""
    digest = hashlib.blake2b(b"sample %d %d" % (seed, sample), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def judge(problem: Problem, episode: Episode) -> Scored:
    """The verifier's verdict on the answer; undecided for an episode that was lost."""
    if episode.finish in ("error", "abort"):
        verdict = Verdict("undecided", f"the episode was lost: {episode.error or episode.finish}")
    else:
        verdict = verify(problem, episode.answer)
    reward = None if verdict.status == "undecided" else float(verdict.status == "right")
    return Scored(problem, episode, verdict, reward)


@dataclass(slots=True)
class _Place:
    """One episode under way."""

    group: int
    sample: int
    steps: Steps
    events: list[TokenEvent] = field(default_factory=list[TokenEvent])


class Rollouts:
    """Runs groups of episodes on an engine of its own. `load` weights first, then `run` any number of times."""

    def __init__(
        self,
        model: ModelConfig,
        template: ChatTemplate,
        config: RolloutConfig | None = None,
        *,
        ops: Ops | None = None,
        tools: Callable[[Problem], Sequence[Tool]] = tools_of,
    ) -> None:
        """`ops`: the op set, by default the native one where it was built; `tools`: fresh ones for an episode."""
        self.config = config or RolloutConfig()
        self._model = model
        self._template = template
        self._ops = ops or make_ops()
        self._tools = tools
        self._engine: Engine | None = None

    def load(self, weights_version: int, tensors: Mapping[str, NDArray[np.float32]]) -> None:
        """Take these weights, by the names of a model folder; a version stands for one set of them."""
        chosen = self.config.weights
        weights = prepare_weights(self._ops, self._model, tensors.__getitem__, chosen)
        model = Restricted(Model(self._model, self._ops, weights, chosen), self.config.banned_ids)
        if self._engine is not None:
            self._engine.replace_model(model, weights_version)
            return
        config = EngineConfig(
            page_len=16,  # a group shares its prompt up to a whole page
            cache_mib=self.config.cache_mib,
            step_tokens=self.config.step_tokens,
            max_running=self.config.max_running,
        )
        self._engine = Engine(model, self._template.tokenizer, config, weights_version)

    def run(
        self, asks: Iterable[Ask], on_done: Callable[[int, Group], None] = lambda index, group: None
    ) -> list[Group]:
        """Every group in the order of `asks`; `on_done` is told each as soon as its last episode is judged.

        `asks` is read as places come free, so that it may depend on what `on_done` was told.
        """
        engine = self._engine
        if engine is None:
            raise ConfigError("rollouts have no weights yet", "call load before run")
        makes = _Makes(self._template, self.config, self._tools, engine.context_len)
        ledger = _Ledger(on_done)
        _Work(engine, makes, asks, ledger).run()
        return ledger.groups()


class RemoteRollouts:
    """The same over any `TokenEngine` (an engine's thread, an endpoint), whose weights are not ours to set."""

    def __init__(
        self,
        engine: TokenEngine,
        template: ChatTemplate,
        config: RolloutConfig | None = None,
        *,
        context_len: int,
        tools: Callable[[Problem], Sequence[Tool]] = tools_of,
    ) -> None:
        """`context_len`: most tokens the engine takes in one sequence."""
        self._engine = engine
        config = config or RolloutConfig()
        bias = dict.fromkeys(config.banned_ids, -100.0)
        self._makes = _Makes(template, config, tools, context_len, bias)

    def run(
        self, asks: Iterable[Ask], on_done: Callable[[int, Group], None] = lambda index, group: None
    ) -> list[Group]:
        """As `Rollouts.run`. BackendError or NetworkError when the engine as a whole fails."""
        ledger = _Ledger(on_done)
        places: list[tuple[int, int]] = []

        def begun() -> Iterator[Steps]:
            for ask in asks:
                group = ledger.open(ask)
                for sample in range(ask.samples):
                    places.append((group, sample))
                    yield self._makes.steps(ask, sample)

        window = self._makes.config.max_running
        for index, episode in run_episodes(self._engine, begun(), window):
            ledger.end(*places[index], episode)
        return ledger.groups()


@dataclass(frozen=True, slots=True)
class _Makes:
    """Begins episodes; the same ones for every kind of engine."""

    template: ChatTemplate
    config: RolloutConfig
    tools: Callable[[Problem], Sequence[Tool]]
    context_len: int
    logit_bias: Mapping[int, float] = field(default_factory=dict[int, float])

    def steps(self, ask: Ask, sample: int) -> Steps:
        """One episode of a group, not yet begun."""
        config, context_len = self.config, self.context_len
        tools = tuple(self.tools(ask.problem))
        session = TokenSession(
            self.template,
            [Message("user", ask.problem.question)],
            [tool.spec for tool in tools],
            thinking_budget=config.thinking_budget,
        )
        total = config.total_tokens
        limits = Limits(
            max_tokens=config.max_tokens,
            total_tokens=context_len if total is None else min(total, context_len),
            max_turns=config.max_turns,
            max_calls=config.max_calls,
        )
        sampling = SamplingParams(
            temperature=config.temperature,
            logit_bias=self.logit_bias,
            seed=sample_seed(ask.seed, sample),
            logprobs=0,
        )
        return episode_steps(session, tools, limits, sampling)


class _Ledger:
    """Which groups have been asked for, and the episodes judged so far."""

    def __init__(self, on_done: Callable[[int, Group], None]) -> None:
        self._on_done = on_done
        self._asks: list[Ask] = []
        self._scored: list[list[Scored | None]] = []
        self.num_open = 0
        """Episodes of groups asked for that have not ended."""

    def open(self, ask: Ask) -> int:
        """Note a group; its number."""
        if ask.samples < 1:
            raise ConfigError(f"a group of {ask.samples} samples", "ask for at least one")
        self._asks.append(ask)
        self._scored.append([None] * ask.samples)
        self.num_open += ask.samples
        return len(self._asks) - 1

    def ask(self, group: int) -> Ask:
        return self._asks[group]

    def end(self, group: int, sample: int, episode: Episode) -> None:
        self.num_open -= 1
        scored = self._scored[group]
        scored[sample] = judge(self._asks[group].problem, episode)
        if all(scored):
            self._on_done(group, self._group(group))

    def groups(self) -> list[Group]:
        return [self._group(group) for group in range(len(self._asks))]

    def _group(self, group: int) -> Group:
        return tuple(each for each in self._scored[group] if each is not None)


class _Work:
    """One `run` on the pure engine: which episodes are under way, and which wait for a place."""

    def __init__(self, engine: Engine, makes: _Makes, asks: Iterable[Ask], ledger: _Ledger) -> None:
        self._engine = engine
        self._makes = makes
        self._coming = iter(asks)
        self._ledger = ledger
        self._waiting: deque[tuple[_Place, TokenRequest]] = deque()
        self._followers: dict[int, range] = {}
        """Samples of a group that wait for its first to have computed the prompt, which they then share."""
        self._running: dict[str, _Place] = {}

    def run(self) -> None:
        engine = self._engine
        try:
            while self._fill():
                for event in engine.step():
                    self._take(event)
        finally:
            for request_id in list(self._running):
                engine.abort(request_id)
            while not engine.is_idle:
                engine.step()

    def _fill(self) -> bool:
        """Start what there is room for, older groups first; False when nothing is left to do."""
        most = self._makes.config.max_running
        while self._ledger.num_open < most and (ask := next(self._coming, None)) is not None:
            group = self._ledger.open(ask)
            self._followers[group] = range(1, ask.samples)
            self._begin(group, 0)
        while self._waiting and len(self._running) < most:
            place, request = self._waiting.popleft()
            self._running[self._engine.add(request)] = place
        return bool(self._running)

    def _begin(self, group: int, sample: int) -> None:
        steps = self._makes.steps(self._ledger.ask(group), sample)
        self._waiting.append((_Place(group, sample, steps), next(steps)))

    def _take(self, event: TokenEvent) -> None:
        place = self._running[event.request_id]
        place.events.append(event)
        for sample in self._followers.pop(place.group, ()):
            self._begin(place.group, sample)
        if event.finish_reason is None:
            return
        del self._running[event.request_id]
        reply = Reply.of(place.events)
        place.events = []
        try:
            self._waiting.append((place, place.steps.send(reply)))
        except StopIteration as ended:
            self._ledger.end(place.group, place.sample, ended.value)
