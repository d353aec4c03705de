"""train/rollout: many episodes at once on the engine in this process, judged; the same bits whatever runs beside them.

An episode depends on (weights, problem, seed, sample) alone: its draws are keyed by them, and the arithmetic contract
makes logits independent of the batch. So a group run again, alone or among others, is the same, and a run that was
killed needs only the groups that had not been finished.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ponder.agent import Episode, Limits, Reply, episode_steps
from ponder.agent.loop import Steps
from ponder.clients.session import TokenSession
from ponder.core.errors import BackendError, ConfigError
from ponder.core.protocols import Tool
from ponder.core.types import Message, Problem, SamplingParams, TokenEvent, TokenRequest, Verdict
from ponder.engine import Engine, EngineConfig
from ponder.model.config import ModelConfig
from ponder.model.model import Model
from ponder.model.ops import make_ops
from ponder.model.ops.protocol import Ops
from ponder.model.weights import prepare_weights
from ponder.tasks import verify
from ponder.tasks.catalogue import tools_of
from ponder.text import ChatTemplate


@dataclass(frozen=True, slots=True)
class RolloutConfig:
    """How episodes are sampled."""

    max_tokens: int = 512
    """Most tokens of one turn, thinking included."""
    total_tokens: int | None = None
    """Most tokens of an episode, prompt and tool results included; None: what the engine's context holds."""
    thinking_budget: int | None = None
    temperature: float = 1.0
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
    return int.from_bytes(digest, "little")


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
        weights = prepare_weights(self._ops, self._model, tensors.__getitem__, "fp32")
        model = Model(self._model, self._ops, weights, "fp32")
        if self._engine is not None:
            self._engine.replace_model(model, weights_version)
            return
        config = EngineConfig(
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
        work = _Work(self, engine, asks, on_done)
        return work.run()

    def steps(self, ask: Ask, sample: int, context_len: int) -> Steps:
        """One episode of a group, not yet begun."""
        config = self.config
        tools = tuple(self._tools(ask.problem))
        session = TokenSession(
            self._template,
            [Message("user", ask.problem.question)],
            [tool.spec for tool in tools],
            thinking_budget=config.thinking_budget,
        )
        limits = Limits(
            max_tokens=config.max_tokens,
            total_tokens=min(config.total_tokens or context_len, context_len),
            max_turns=config.max_turns,
            max_calls=config.max_calls,
        )
        sampling = SamplingParams(
            temperature=config.temperature, seed=sample_seed(ask.seed, sample), logprobs=0
        )
        return episode_steps(session, tools, limits, sampling)


class _Work:
    """One `run`: which episodes are under way, which wait, which groups are complete."""

    def __init__(
        self,
        rollouts: Rollouts,
        engine: Engine,
        asks: Iterable[Ask],
        on_done: Callable[[int, Group], None],
    ) -> None:
        self._rollouts = rollouts
        self._engine = engine
        self._coming = iter(asks)
        self._on_done = on_done
        self._asks: list[Ask] = []
        self._groups: list[list[Scored | None]] = []
        self._waiting: deque[tuple[_Place, TokenRequest]] = deque()
        self._followers: dict[int, list[int]] = {}
        """Samples of a group that wait for its first to have computed the prompt, which they then share."""
        self._running: dict[str, _Place] = {}
        self._num_open = 0
        """Episodes of opened groups that have not ended."""

    def run(self) -> list[Group]:
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
        return [tuple(each for each in group if each is not None) for group in self._groups]

    def _fill(self) -> bool:
        """Start what there is room for, older groups first; False when nothing is left to do."""
        most = self._rollouts.config.max_running
        while self._num_open < most and (ask := next(self._coming, None)) is not None:
            self._open_group(ask)
        while self._waiting and len(self._running) < most:
            place, request = self._waiting.popleft()
            self._running[self._engine.add(request)] = place
        return bool(self._running)

    def _open_group(self, ask: Ask) -> None:
        index = len(self._asks)
        self._asks.append(ask)
        self._groups.append([None] * ask.samples)
        self._followers[index] = list(range(1, ask.samples))
        self._num_open += ask.samples
        self._begin(index, 0)

    def _begin(self, group: int, sample: int) -> None:
        steps = self._rollouts.steps(self._asks[group], sample, self._engine.context_len)
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
            self._end(place, ended.value)
        except BackendError as error:
            self._end(place, Episode((), (), "error", error=str(error)))

    def _end(self, place: _Place, episode: Episode) -> None:
        group = self._groups[place.group]
        self._num_open -= 1
        group[place.sample] = judge(self._asks[place.group].problem, episode)
        done = tuple(each for each in group if each is not None)
        if len(done) == len(group):
            self._on_done(place.group, done)
