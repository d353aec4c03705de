"""train/distill: a student learns a teacher's next-token distribution: KL a token, a stream of weights like `ce`.

The teacher's side is whole or its k likeliest ids; then all other ids count as one, so that both sides stay
distributions: a lower bound of the whole KL, exact when k + 1 reaches the vocabulary.

Letters: N rows that are learned from, K ids kept, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from ponder.core.errors import ConfigError
from ponder.model.view import PackedView
from ponder.train.network import HELD_NUMBERS, Network, scored

Direction = Literal["forward", "reverse"]
"""`forward`: KL(teacher ‖ student), covers all it does; `reverse`: KL(student ‖ teacher), keeps to its best."""


@dataclass(frozen=True, slots=True)
class Teacher:
    """A teacher's log-probabilities at N rows."""

    logprobs_NK: Tensor
    ids_NK: Tensor | None = None
    """Which ids they are of; None: of all, K = V."""

    def rows(self, index: Tensor) -> Teacher:
        """Those of some rows."""
        ids = None if self.ids_NK is None else self.ids_NK[index]
        return Teacher(self.logprobs_NK[index], ids)


def teach(
    network: Network,
    tokens_T: Tensor,
    positions_T: Tensor,
    view: PackedView,
    rows_N: Tensor,
    top_k: int | None = None,
) -> Teacher:
    """What a network says at these rows, without gradients; `top_k` None keeps all."""
    size = network.config.vocab_size
    if top_k is not None and not 1 <= top_k < size:
        raise ConfigError(
            f"distillation from the teacher's {top_k} likeliest ids",
            f"allowed are 1 to {size - 1}, or none for the whole vocabulary",
        )
    with torch.no_grad():
        logits_NV = network(tokens_T, positions_T, view, rows_N)
        logprobs_NV = network.ops.log_softmax(logits_NV)
        if top_k is None:
            return Teacher(logprobs_NV)
        kept = logprobs_NV.topk(top_k)
        return Teacher(kept.values, kept.indices)


def divergence(logprobs_NV: Tensor, teacher: Teacher, direction: Direction = "forward") -> Tensor:
    """KL of each row [N] between a student's log-probabilities and its teacher's."""
    if direction not in get_args(Direction):
        raise ConfigError(
            f"distillation direction {direction!r}", f"allowed are {', '.join(get_args(Direction))}"
        )
    student, other = logprobs_NV, teacher.logprobs_NK
    if teacher.ids_NK is not None:
        student = _with_rest(logprobs_NV.gather(1, teacher.ids_NK))
        other = _with_rest(other)
    p, q = (other, student) if direction == "forward" else (student, other)
    return (p.exp() * (p - q)).sum(1)


def distilled(
    network: Network,
    tokens_T: Tensor,
    positions_T: Tensor,
    view: PackedView,
    rows_N: Tensor,
    teacher: Teacher,
    direction: Direction = "forward",
    held_numbers: int = HELD_NUMBERS,
) -> Tensor:
    """The student's divergence at these rows [N], with gradients; weigh it, sum it, divide by the batch's norm."""

    def score(logits_NV: Tensor, index_N: Tensor) -> tuple[Tensor, Tensor]:
        logprobs_NV = network.ops.log_softmax(logits_NV)
        kl_N = divergence(logprobs_NV, teacher.rows(index_N), direction)
        return kl_N, kl_N.detach()

    return scored(network, tokens_T, positions_T, view, rows_N, score, held_numbers)[0]


def _with_rest(logprobs_NK: Tensor) -> Tensor:
    """One more column: the logarithm of what is left of 1, never below that of the format's resolution."""
    left_N1 = 1 - logprobs_NK.exp().sum(1, keepdim=True)
    smallest = torch.finfo(logprobs_NK.dtype).eps
    return torch.cat([logprobs_NK, left_N1.clamp(min=smallest).log()], 1)
