"""train/rl/pools: which problem is drawn next: fresh ones, and known ones at the edge of competence. Needs no torch.

Every choice is a function of (seed, step, round, slot) and of the pools, whose whole state is plain data: nothing
depends on the order in which answers finish.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ponder.train.config import PoolsConfig
from ponder.train.rl.answers import Draw, Group


@dataclass(slots=True)
class Pool:
    """Problems of one kind."""

    cursor: int = 0
    """Number of the next fresh problem."""
    edge: dict[str, float] = field(default_factory=dict[str, float])
    """Problem number (as text, for JSON) → smoothed pass rate, oldest first."""
    hard: list[int] = field(default_factory=list[int])
    """Seen, and too hard."""
    retry: list[int] = field(default_factory=list[int])
    """Once too hard, to be tried again."""
    useful: float = 1.0
    """Smoothed share of drawn problems that had something to tell apart."""


class Pools:
    """All kinds' pools. `draw`, then `record` what came of it."""

    def __init__(
        self, weights: Mapping[str, float], config: PoolsConfig, seed: int, count: int | None
    ) -> None:
        """`count`: how many problems of a kind there are; None: endlessly many."""
        self._weights = {kind: weight for kind, weight in weights.items() if weight > 0}
        self._config = config
        self._seed = seed
        self._count = count
        self.pools = {kind: Pool() for kind in self._weights}

    def draw(self, step: int, round_: int, slots: range) -> list[Draw]:
        """One problem a slot, all different if the supply allows."""
        drawn: list[Draw] = []
        for slot in slots:
            rng = random.Random(f"{self._seed}/{step}/{round_}/{slot}")
            shares = [
                weight * max(self._config.least_share, self.pools[kind].useful)
                for kind, weight in self._weights.items()
            ]
            kind = rng.choices(list(self._weights), shares)[0]
            drawn.append(Draw(kind, self._index(self.pools[kind], kind, rng, drawn)))
        return drawn

    def _index(self, pool: Pool, kind: str, rng: random.Random, drawn: list[Draw]) -> int:
        taken = {draw.index for draw in drawn if draw.kind == kind}
        known = [int(each) for each in pool.edge if int(each) not in taken]
        is_out = self._count is not None and pool.cursor >= self._count and not pool.retry
        if known and (is_out or rng.random() >= self._config.fresh):
            return rng.choice(known)
        if pool.retry:
            return pool.retry.pop(0)
        if is_out:
            pool.cursor = 0
        pool.cursor += 1
        return pool.cursor - 1

    def record(self, group: Group) -> None:
        """Sort a problem by its pass rate: kept at the edge, put aside as too hard, or forgotten as easy."""
        pool, name = self.pools[group.draw.kind], str(group.draw.index)
        counted = [answer for answer in group.answers if answer.reward is not None]
        if not counted:
            return
        rate = sum(answer.is_right for answer in counted) / len(counted)
        pool.useful += 0.05 * ((0 < rate < 1) - pool.useful)
        rate = (rate + pool.edge.pop(name, rate)) / 2
        if self._config.low <= rate <= self._config.high:
            pool.edge[name] = rate
            if len(pool.edge) > self._config.size:
                del pool.edge[next(iter(pool.edge))]
        elif rate < self._config.low:
            pool.hard = [*pool.hard[-self._config.size :], group.draw.index]

    def refresh(self, step: int) -> None:
        """Every `refresh_steps`: what was too hard may not be so any more."""
        if step and step % self._config.refresh_steps == 0:
            for pool in self.pools.values():
                pool.retry, pool.hard = list(dict.fromkeys(pool.hard)), []

    def state(self) -> dict[str, Any]:
        """Everything, as JSON values."""
        return {kind: asdict(pool) for kind, pool in self.pools.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Back to such a state; kinds the recipe no longer has are dropped, new ones start empty."""
        for kind in self.pools:
            if kind in state:
                self.pools[kind] = Pool(**state[kind])
