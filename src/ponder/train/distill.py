"""train/distill: token losses: the documents' own tokens, or these and a teacher's next-token distribution.

The teacher's side is whole or its k likeliest ids; then all other ids count as one, so that both sides stay
distributions: a lower bound of the whole KL, exact when k + 1 reaches the vocabulary. Where one model pads its
embedding further than the other, both are distributions over the ids that both have.

Letters: N rows that are learned from, K ids kept, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from ponder.core.errors import ConfigError
from ponder.model.config import ModelConfig, read_model_config
from ponder.model.view import PackedView
from ponder.text import Tokenizer
from ponder.train.checkpoint import start_weights
from ponder.train.config import Direction, TeacherConfig
from ponder.train.flops import forward_flops
from ponder.train.network import Network, best_kernels

Inputs = tuple[Tensor, Tensor, PackedView, Tensor]
"""What a network's forward takes: tokens, positions, view, rows."""


class TokenLosses(Protocol):
    """What is learned from a row."""

    def __call__(self, logits_NV: Tensor, targets_N: Tensor, inputs: Inputs) -> dict[str, Tensor]:
        """`loss` [N], with gradients; beside it the numbers it was made of, without."""
        ...

    def flops(self, context: int) -> float:
        """FLOP of one token beside those of the model in training."""
        ...


class FromDocuments:
    """The documents' next tokens."""

    def __call__(self, logits_NV: Tensor, targets_N: Tensor, inputs: Inputs) -> dict[str, Tensor]:
        return {"loss": functional.cross_entropy(logits_NV, targets_N, reduction="none")}

    def flops(self, context: int) -> float:
        return 0.0


class FromTeacher:
    """(1 − weight) · the documents' next tokens + weight · KL between teacher and student."""

    def __init__(self, config: TeacherConfig, student: ModelConfig) -> None:
        """Loads the teacher. It is read anew by every process and on resuming: no checkpoint holds it."""
        self.config = config
        model, weights = start_weights(config.model)
        self.network = Network(model, kernels=best_kernels())
        self.network.load_state_dict(weights)
        self.network.requires_grad_(False)
        self._size = min(student.vocab_size, model.vocab_size)

    def __call__(self, logits_NV: Tensor, targets_N: Tensor, inputs: Inputs) -> dict[str, Tensor]:
        config = self.config
        said = teach(self.network, inputs, config.top_k, self._size)
        ce_N = functional.cross_entropy(logits_NV, targets_N, reduction="none")
        student_NV = functional.log_softmax(logits_NV[:, : self._size], -1)
        kl_N = divergence(student_NV, said, config.direction)
        loss_N = (1 - config.weight) * ce_N + config.weight * kl_N
        return {"loss": loss_N, "ce": ce_N.detach(), "kl": kl_N.detach()}

    def flops(self, context: int) -> float:
        return forward_flops(self.network.config, context)


@dataclass(frozen=True, slots=True)
class Teacher:
    """A teacher's log-probabilities at N rows."""

    logprobs_NK: Tensor
    ids_NK: Tensor | None = None
    """Which ids they are of; None: of all, K = V."""


@torch.no_grad()
def teach(
    network: Network, inputs: Inputs, top_k: int | None = None, size: int | None = None
) -> Teacher:
    """What a network says at these rows of its first `size` ids; `top_k` None keeps all."""
    logprobs_NV = functional.log_softmax(network(*inputs)[:, :size], -1)
    if top_k is None:
        return Teacher(logprobs_NV)
    kept = logprobs_NV.topk(top_k)
    return Teacher(kept.values, kept.indices)


def divergence(logprobs_NV: Tensor, teacher: Teacher, direction: Direction = "forward") -> Tensor:
    """KL of each row [N] between a student's log-probabilities and its teacher's."""
    student, other = logprobs_NV, teacher.logprobs_NK
    if teacher.ids_NK is not None:
        student = _with_rest(logprobs_NV.gather(1, teacher.ids_NK))
        other = _with_rest(other)
    p, q = (other, student) if direction == "forward" else (student, other)
    return (p.exp() * (p - q)).sum(1)


def _with_rest(logprobs_NK: Tensor) -> Tensor:
    """One more column: the logarithm of what is left of 1, never below that of the format's resolution."""
    left_N1 = 1 - logprobs_NK.exp().sum(1, keepdim=True)
    smallest = torch.finfo(logprobs_NK.dtype).eps
    return torch.cat([logprobs_NK, left_N1.clamp(min=smallest).log()], 1)


def check_teacher(
    config: TeacherConfig, student: ModelConfig, tokenizer: Path, max_len: int
) -> ModelConfig:
    """The teacher's config, when the student can learn from it. Raises ConfigError or ModelFolderError."""
    teacher = read_model_config(config.model)
    where = f"the teacher in {str(config.model)!r}"
    size = min(student.vocab_size, teacher.vocab_size)
    if config.top_k is not None and config.top_k >= size:
        raise ConfigError(
            f"teacher top_k is {config.top_k}", f"allowed are 1 to {size - 1}, or none for all ids"
        )
    if teacher.max_positions < max_len:
        raise ConfigError(
            f"{where} takes {teacher.max_positions} positions, documents have up to {max_len}",
            f"set documents.max_len to {teacher.max_positions} at the most",
        )
    ours, theirs = (Tokenizer.from_folder(folder) for folder in (tokenizer, config.model))
    difference = _difference(ours, theirs)
    if difference:
        raise ConfigError(
            f"{where} has another tokenizer than {str(tokenizer)!r}: {difference}",
            "take a teacher with the student's tokenizer: its distribution is over the same ids",
        )
    return teacher


_PROBE = "<think>\nLet x1 = 3.50; then 12·x1 isn't 42,000?\n\n</think>\n\nÉtude № 7 — 日本語 \t end"
"""Text that tokenizers of one vocabulary and other merges cut in another way, all but surely."""


def _difference(ours: Tokenizer, theirs: Tokenizer) -> str:
    if ours.vocab_size != theirs.vocab_size:
        return f"{theirs.vocab_size} ids, not {ours.vocab_size}"
    for each in range(ours.vocab_size):
        a, b = ours.token_bytes(each), theirs.token_bytes(each)
        if a != b:
            return f"id {each} is {b!r}, not {a!r}"
    if ours.added.keys() != theirs.added.keys():
        return "other added tokens"
    if ours.encode(_PROBE, True) != theirs.encode(_PROBE, True):
        return "it cuts the same text in another way"
    return ""
