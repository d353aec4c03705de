"""train/cluster: `Rollouts` on Ray: the same groups, to the bit, sampled by workers that may be on other machines.

    load:  weights once into Ray's object store, and from there to every worker, with their version
    run:   groups in small calls to whichever worker is free; a worker that dies or does not answer in time is replaced
           and its call made once more; groups lost twice come back as episodes that are lost, without reward

An episode depends on (weights, problem, seed, sample) alone, so neither the number of workers nor a loss changes one.
Limits: judges run in the workers; Ray moves pickled objects, so the cluster must be one's own. Extra: `cluster`.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ponder.agent import Episode
from ponder.clients.ray_tokens import connected
from ponder.core.errors import BackendError, ConfigError
from ponder.model.config import ModelConfig
from ponder.model.ops import make_ops
from ponder.text import ChatTemplate
from ponder.train.cluster_config import ClusterConfig
from ponder.train.rollout import Ask, Group, RolloutConfig, Rollouts, judge

Tensors = Mapping[str, NDArray[np.float32]]


class Worker:
    """What one actor holds: rollouts of its own. Every call says which weights it is meant for."""

    def __init__(self, model: ModelConfig, folder: str, threads: int) -> None:
        self._model = model
        self._folder = Path(folder)
        self._threads = threads
        self._rollouts: Rollouts | None = None
        self._version = 0

    def load(self, version: int, tensors: Tensors, config: RolloutConfig) -> int:
        """Take these weights; the version now held."""
        if self._rollouts is None:
            template = ChatTemplate.from_folder(self._folder)
            ops = make_ops(threads=self._threads)
            self._rollouts = Rollouts(self._model, template, config, ops=ops)
        self._rollouts.config = config
        self._rollouts.load(version, tensors)
        self._version = version
        return version

    def run(self, version: int, asks: Sequence[Ask]) -> list[Group]:
        """The groups of these asks, sampled with exactly this version."""
        if self._rollouts is None or version != self._version:
            raise BackendError(f"asked for weights version {version}, but {self._version} is held")
        return self._rollouts.run(asks)


@dataclass(slots=True)
class _Call:
    """Groups that one worker has been handed."""

    asks: list[tuple[int, Ask]]
    actor: Any
    deadline: float = 0.0
    tries: int = 1


class RayRollouts:
    """As `Rollouts`: `load` weights first, then `run` any number of times; `close` when done."""

    def __init__(
        self,
        model: ModelConfig,
        folder: Path,
        config: RolloutConfig | None = None,
        cluster: ClusterConfig | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        """`folder`: tokenizer and chat template, at the same path on every machine. Raises ConfigError."""
        self.config = config or RolloutConfig()
        self._cluster = cluster or ClusterConfig(rollout_workers=1)
        if self._cluster.rollout_workers < 1:
            raise ConfigError("rollout_workers is 0", "give cluster.rollout_workers, 1 or more")
        cpus = self._cluster.rollout_workers * self._cluster.worker_threads
        self._ray = connected(self._cluster.address, cpus)
        kind = self._ray.remote(Worker)
        self._new: Callable[..., Any] = kind.options(num_cpus=self._cluster.worker_threads).remote
        self._arguments = (model, str(folder.resolve()), self._cluster.worker_threads)
        self._actors: list[Any] = []
        self._weights: tuple[int, Any] | None = None
        self._say = say
        self.num_replaced = 0
        """Workers lost and replaced so far."""
        self.num_lost = 0
        """Episodes lost with a worker twice."""

    def load(self, weights_version: int, tensors: Tensors) -> None:
        """Send weights to every worker and wait until all hold them. Raises BackendError."""
        whole = {name: np.ascontiguousarray(values) for name, values in tensors.items()}
        self._weights = (weights_version, self._ray.put(whole))
        missing = self._cluster.rollout_workers - len(self._actors)
        self._actors += [self._new(*self._arguments) for _ in range(missing)]
        pending = {self._send(actor): number for number, actor in enumerate(self._actors)}
        wait_s = self._cluster.start_timeout_s
        _, late = self._ray.wait(list(pending), num_returns=len(pending), timeout=wait_s)
        for call, number in pending.items():
            if call in late or not self._is_whole(call):
                self._replace(self._actors[number], f"took no weights of version {weights_version}")

    def run(
        self, asks: Iterable[Ask], on_done: Callable[[int, Group], None] = lambda index, group: None
    ) -> list[Group]:
        """As `Rollouts.run`; `asks` is read a call ahead of each worker."""
        if self._weights is None:
            raise ConfigError("rollouts have no weights yet", "call load before run")
        coming = _batches(asks, self._cluster.groups_a_call)
        done: dict[int, Group] = {}
        free, again = deque(self._actors), deque[_Call]()
        under_way: dict[Any, _Call] = {}
        while True:
            while free:
                batch = again.popleft().asks if again else next(coming, None)
                if batch is None:
                    break
                self._start(_Call(batch, free.popleft()), under_way)
            if not under_way:
                break
            for future in self._ended(under_way):
                call = under_way.pop(future)
                groups = self._groups(future)
                if groups is None:
                    call.actor = self._replace(call.actor, f"did not end {len(call.asks)} groups")
                    if call.tries == 1:
                        call.tries = 2
                        self._start(call, under_way)
                        continue
                    groups = [self._lost(ask) for _, ask in call.asks]
                free.append(call.actor)
                for (index, _), group in zip(call.asks, groups, strict=True):
                    done[index] = group
                    on_done(index, group)
        return [done[index] for index in sorted(done)]

    def close(self) -> None:
        """End the workers; a cluster that was started here ends with this process."""
        for actor in self._actors:
            self._ray.kill(actor)
        self._actors = []

    def _start(self, call: _Call, under_way: dict[Any, _Call]) -> None:
        assert self._weights is not None, "run without load"
        call.deadline = time.monotonic() + self._cluster.timeout_s
        asks = [ask for _, ask in call.asks]
        under_way[call.actor.run.remote(self._weights[0], asks)] = call

    def _ended(self, under_way: Mapping[Any, _Call]) -> list[Any]:
        """Calls that ended, or whose time is up; at least one."""
        left_s = min(call.deadline for call in under_way.values()) - time.monotonic()
        ready, waiting = self._ray.wait(list(under_way), num_returns=1, timeout=max(0.0, left_s))
        now = time.monotonic()
        return [*ready, *(each for each in waiting if under_way[each].deadline <= now)]

    def _groups(self, future: Any) -> list[Group] | None:
        """The groups of an ended call; None when its worker was lost or late. An error of ours is raised."""
        errors = self._ray.exceptions
        try:
            return self._ray.get(future, timeout=0)
        except (errors.RayActorError, errors.GetTimeoutError, errors.ObjectLostError):
            return None

    def _is_whole(self, call: Any) -> bool:
        return self._groups(call) is not None

    def _send(self, actor: Any) -> Any:
        assert self._weights is not None, "send before load"
        return actor.load.remote(*self._weights, self.config)

    def _replace(self, actor: Any, why: str) -> Any:
        """A new worker with the same weights in this one's place. Raises BackendError when none comes up."""
        number = self._actors.index(actor)
        self._say(f"rollout worker {number} {why}; it is replaced")
        self.num_replaced += 1
        self._ray.kill(actor)
        self._actors[number] = self._new(*self._arguments)
        call, wait_s = self._send(self._actors[number]), self._cluster.start_timeout_s
        ready, _ = self._ray.wait([call], timeout=wait_s)
        if not ready or not self._is_whole(call):
            raise BackendError(
                f"rollout worker {number} was lost, and no other took its weights within {wait_s:g} s\n"
                "look at the cluster (`ray status`), or raise cluster.start_timeout_s"
            )
        return self._actors[number]

    def _lost(self, ask: Ask) -> Group:
        self.num_lost += ask.samples
        episode = Episode((), (), "error", error="its rollout worker was lost twice")
        return tuple(judge(ask.problem, episode) for _ in range(ask.samples))


def _batches(asks: Iterable[Ask], size: int) -> Iterator[list[tuple[int, Ask]]]:
    batch: list[tuple[int, Ask]] = []
    for numbered in enumerate(asks):
        batch.append(numbered)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
