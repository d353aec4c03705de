"""train/config: what a recipe may say; read by `core.config`. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ponder.core.errors import ConfigError
from ponder.train.documents import DocumentsConfig


@dataclass(frozen=True, slots=True)
class OptimizerConfig:
    """Step sizes before the schedule's factor."""

    muon_lr: float = 0.02
    """Matrices inside the blocks, times sqrt(max(1, rows / columns))."""
    adam_lr: float = 0.004
    """Embedding, head, norms and biases."""
    momentum: float = 0.95
    """Muon's."""
    beta1: float = 0.9
    """AdamW's, as the two below."""
    beta2: float = 0.98
    weight_decay: float = 0.01
    """Of matrices and embeddings, times the step size."""
    clip_norm: float = 1.0
    """Largest global norm of the gradient."""


@dataclass(frozen=True, slots=True)
class ScheduleConfig:
    """Warm-up, stable, decay: linear up, 1, linear to 0. Give `steps` or `stop_after_s`."""

    warmup_steps: int = 50
    steps: int | None = None
    """Optimizer steps in all."""
    stop_after_s: float | None = None
    """Seconds of training in all, resumed ones counted together; the decay's steps are planned, and written into the
    checkpoint, when it begins."""
    decay_share: float = 0.25
    """Last part of the run in which the factor falls; the checkpoint before it is kept, to extend the run."""

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.stop_after_s is None):
            raise ConfigError(
                f"steps is {self.steps} and stop_after_s is {self.stop_after_s}",
                "give exactly one of them",
            )
        if not 0 <= self.decay_share <= 1:
            raise ConfigError(f"decay_share is {self.decay_share}", "allowed is 0 to 1")


@dataclass(frozen=True, slots=True)
class TokenizerRecipe:
    """Train a tokenizer on documents and write its files."""

    type: Literal["tokenizer"]
    output: Path
    """Folder for tokenizer.json and its companions."""
    vocab_size: int = 2048
    documents: DocumentsConfig = field(default_factory=DocumentsConfig)
    count: int = 40_000
    """Documents it sees."""
    max_positions: int = 2048
    seed: int = 0


@dataclass(frozen=True, slots=True)
class ModelRecipe:
    """Train a model: pre-training from nothing, or fine-tuning from a folder."""

    type: Literal["pretrain", "sft"]
    tokenizer: Path
    """Folder with tokenizer.json and chat_template.jinja; copied into the model's folder."""
    schedule: ScheduleConfig
    shape: str | None = None
    """Pre-training: one of `model.shapes`, e.g. nano."""
    start_from: Path | None = None
    """Fine-tuning: the model folder to start from."""
    documents: DocumentsConfig = field(default_factory=DocumentsConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    batch_tokens: int = 8192
    """Rows of one optimizer step, about: the last document is not cut."""
    micro_tokens: int = 2048
    """Rows computed at a time."""
    threads: int = 2
    checkpoint_s: float = 240.0
    """Seconds between checkpoints, besides the last and the one before decay."""
    checkpoint_steps: int | None = None
    """Steps between checkpoints, instead of seconds."""
    sample_steps: int = 500
    """Steps between answers to held-out problems, written for people; 0: none."""
    seed: int = 0

    def __post_init__(self) -> None:
        given, wanted = (
            ("shape", "start_from") if self.type == "pretrain" else ("start_from", "shape")
        )
        if getattr(self, given) is None or getattr(self, wanted) is not None:
            raise ConfigError(
                f"{given!r} is {getattr(self, given)} and {wanted!r} is {getattr(self, wanted)}",
                f"a {self.type} recipe gives {given!r} and not {wanted!r}",
            )


@dataclass(frozen=True, slots=True)
class Recipe:
    """One stage of training, by `stage.type`."""

    stage: TokenizerRecipe | ModelRecipe
