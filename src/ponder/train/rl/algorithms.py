"""train/rl/algorithms: finished groups of answers → per-token (component, weight) streams. Needs no torch.

The trainer knows no algorithm: it adds up `f(component, weight)` over the tokens of every stream, times the stream's
`scale`, and divides each component by the sum of its streams' `norm` over the whole batch:

    loss = Σ_component  Σ_tokens scale · f_component(weight, token)  /  Σ_streams norm

`rl`: f is the policy term with weight as advantage; `ce`: −weight · log p; `ref_kl`: weight · KL to the reference.

| name | advantage | averaging | ratio | clip low, high | flat groups |
|---|---|---|---|---|---|
| centred (default) | r − group mean | all tokens alike | token | 0.2, 0.28 | dropped |
| grpo | (r − mean) / (std + eps) | mean of sequence means | token | 0.2, 0.2 | kept |
| dr_grpo | r − mean | sum / (sequences · max_tokens) | token | 0.2, 0.2 | kept |
| dapo | (r − mean) / (std + eps) | all tokens alike | token | 0.2, 0.28 | dropped |
| gspo | (r − mean) / (std + eps) | mean of sequence means | sequence | 3e-4, 4e-4 | dropped |
| cispo | (r − mean) / (std + eps) | all tokens alike | cispo | none, 0.28 | dropped |
| rloo | r − mean of the others | all tokens alike | token | 0.2, 0.2 | dropped |
| reinforce_pp | whitened over the batch's tokens | all tokens alike | token | 0.2, 0.2 | kept |
| expert | – (`ce` on right answers) | all tokens alike | – | – | all-wrong dropped |

std has n − 1 under the root; eps is 1e-6 for groups. Whitening: (r − mean) / √(var + 1e-8), mean and var (n − 1) over
sampled tokens. Limits: no critic, no per-step rewards, one reward an answer; a group of one has no advantage (0).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from ponder.core.errors import ConfigError

Component = Literal["rl", "ce", "ref_kl"]
COMPONENTS: tuple[Component, ...] = ("rl", "ce", "ref_kl")
GROUP_EPS, BATCH_EPS = 1e-6, 1e-8


class Answered(Protocol):
    """What an algorithm needs of a finished, scored episode."""

    @property
    def ids(self) -> Sequence[int]: ...
    @property
    def logprobs(self) -> Sequence[float]:
        """The sampler's record; 0.0 where the token was given."""
        ...

    @property
    def sampled(self) -> Sequence[bool]:
        """False for the prompt, tool results and forced tags."""
        ...

    @property
    def reward(self) -> float | None:
        """None: undecided or lost; left out."""
        ...

    @property
    def is_right(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Stream:
    """One component's weights over the tokens of one sequence."""

    weights: tuple[float, ...]
    """One a token, the loss when that token is the one to predict."""
    mask: tuple[bool, ...]
    """False: the token is no part of the component."""
    scale: float
    """Factor of every token's term."""
    norm: float
    """What this sequence adds to the component's denominator."""


@dataclass(frozen=True, slots=True)
class Row:
    """A sequence to train on."""

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    streams: Mapping[Component, Stream]
    group: int | None = None
    """Number of the group it belongs to; None for a worked solution."""


Averaging = Literal["token", "sequence", "constant"]


def centred(rewards_G: Sequence[float]) -> list[float]:
    """r − mean."""
    mean = sum(rewards_G) / len(rewards_G)
    return [reward - mean for reward in rewards_G]


def standardised(rewards_G: Sequence[float], eps: float = GROUP_EPS) -> list[float]:
    """(r − mean) / (std + eps), std with n − 1; zeros for a group of one."""
    if len(rewards_G) < 2:
        return [0.0] * len(rewards_G)
    away_G = centred(rewards_G)
    std = math.sqrt(sum(each * each for each in away_G) / (len(away_G) - 1))
    return [each / (std + eps) for each in away_G]


def leave_one_out(rewards_G: Sequence[float]) -> list[float]:
    """r − mean of the other rewards of the group; zeros for a group of one."""
    others = len(rewards_G) - 1
    if not others:
        return [0.0]
    total = sum(rewards_G)
    return [reward - (total - reward) / others for reward in rewards_G]


def whitened(rewards_B: Sequence[float], lens_B: Sequence[int]) -> list[float]:
    """Rewards whitened over the tokens they reach, as REINFORCE++ (arXiv 2501.03262) does with one reward an answer."""
    count = sum(lens_B)
    if count < 2:
        return [0.0] * len(rewards_B)
    mean = sum(r * n for r, n in zip(rewards_B, lens_B, strict=True)) / count
    var = sum(n * (r - mean) ** 2 for r, n in zip(rewards_B, lens_B, strict=True)) / (count - 1)
    return [(reward - mean) / math.sqrt(var + BATCH_EPS) for reward in rewards_B]


@dataclass(frozen=True, slots=True)
class Algorithm:
    """One line of the table above."""

    advantage: Callable[[Sequence[float]], list[float]] | None
    """Of one group; None: over the batch."""
    averaging: Averaging
    ratio: Literal["token", "sequence", "cispo"]
    clip_low: float | None
    clip_high: float
    drops_flat: bool
    """A group whose answers are all right, or all wrong, teaches nothing and is replaced by another."""
    component: Literal["rl", "ce"] = "rl"

    @property
    def unused(self) -> tuple[str, ...]:
        """Options of a recipe that would change nothing."""
        if self.component == "ce":
            return ("clip_low", "clip_high", "dual_clip", "kl_weight", "importance_cap")
        return ("dual_clip",) if self.ratio == "cispo" else ()


ALGORITHMS: dict[str, Algorithm] = {
    "centred": Algorithm(centred, "token", "token", 0.2, 0.28, True),
    "grpo": Algorithm(standardised, "sequence", "token", 0.2, 0.2, False),
    "dr_grpo": Algorithm(centred, "constant", "token", 0.2, 0.2, False),
    "dapo": Algorithm(standardised, "token", "token", 0.2, 0.28, True),
    "gspo": Algorithm(standardised, "sequence", "sequence", 3e-4, 4e-4, True),
    "cispo": Algorithm(standardised, "token", "cispo", None, 0.28, True),
    "rloo": Algorithm(leave_one_out, "token", "token", 0.2, 0.2, True),
    "reinforce_pp": Algorithm(None, "token", "token", 0.2, 0.2, False),
    "expert": Algorithm(None, "token", "token", 0.2, 0.2, True, "ce"),
}


def algorithm_of(name: str) -> Algorithm:
    """The algorithm of this name. Raises ConfigError."""
    if name not in ALGORITHMS:
        raise ConfigError(f"unknown algorithm {name!r}", f"allowed are {', '.join(ALGORITHMS)}")
    return ALGORITHMS[name]


def is_flat(algorithm: Algorithm, answers_G: Sequence[Answered]) -> bool:
    """True for a group the algorithm replaces: nothing in it is better than the rest, or nothing is right."""
    counted = [answer for answer in answers_G if answer.reward is not None]
    num_right = sum(answer.is_right for answer in counted)
    if algorithm.component == "ce":
        return num_right == 0
    return algorithm.drops_flat and num_right in (0, len(counted))


def advantages(
    algorithm: Algorithm, groups_PG: Sequence[Sequence[Answered]]
) -> list[list[float | None]]:
    """The advantage of every answer, [P][G]; None for one that is left out."""
    kept = [[a for a in group if a.reward is not None] for group in groups_PG]
    rewards = [[a.reward for a in group if a.reward is not None] for group in kept]
    if algorithm.advantage is None:
        lens = [[sum(a.sampled) for a in group] for group in kept]
        flat = whitened([r for group in rewards for r in group], [n for g in lens for n in g])
        values = iter(flat)
    else:
        values = iter([v for group in rewards if group for v in algorithm.advantage(group)])
    return [[None if a.reward is None else next(values) for a in group] for group in groups_PG]


def streams(
    algorithm: Algorithm,
    groups_PG: Sequence[Sequence[Answered]],
    *,
    max_tokens: int,
    kl_weight: float = 0.0,
    ce_weight: float = 1.0,
) -> list[Row]:
    """Rows of the answers that count. `max_tokens` is the constant of `constant` averaging."""
    rows: list[Row] = []
    values_PG = advantages(algorithm, groups_PG)
    for number, (group, values) in enumerate(zip(groups_PG, values_PG, strict=True)):
        for answer, value in zip(group, values, strict=True):
            length = sum(answer.sampled)
            if value is None or not length:
                continue
            if algorithm.component == "ce":
                if not answer.is_right:
                    continue
                made: dict[Component, Stream] = {"ce": _stream(answer, ce_weight, 1.0, length)}
            else:
                scale, norm = _share(algorithm.averaging, length, max_tokens)
                made = {"rl": _stream(answer, value, scale, norm)}
                if kl_weight:
                    made["ref_kl"] = _stream(answer, kl_weight, scale, norm)
            rows.append(Row(tuple(answer.ids), tuple(answer.logprobs), made, number))
    return rows


def _stream(answer: Answered, weight: float, scale: float, norm: float) -> Stream:
    weights = tuple(weight if sampled else 0.0 for sampled in answer.sampled)
    return Stream(weights, tuple(answer.sampled), scale, norm)


def _share(averaging: Averaging, length: int, max_tokens: int) -> tuple[float, float]:
    if averaging == "token":
        return 1.0, float(length)
    return 1.0 / (length if averaging == "sequence" else max_tokens), 1.0
