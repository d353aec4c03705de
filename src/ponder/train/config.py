"""train/config: what a recipe may say; read by `core.config`. Needs no torch."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ponder.core.errors import ConfigError
from ponder.tasks import FAMILIES
from ponder.train.cluster_config import ClusterConfig
from ponder.train.documents import DocumentsConfig
from ponder.train.rl.algorithms import algorithm_of

MOST = sys.float_info.max
SEED = (0, 2**63 - 1)
BELOW_1 = 1 - 1e-9
BATCH = (1, 1e9)
"""Rows of one step."""


def check_ranges(section: object, **ranges: tuple[float, float]) -> None:
    """Every field that is given lies within its (least, most). Raises ConfigError."""
    for name, (least, most) in ranges.items():
        value = getattr(section, name)
        if value is not None and not least <= value <= most:
            allowed = f"{least:g} or more" if most == MOST else f"{least:g} to {most:g}"
            raise ConfigError(f"{name} is {value}", f"allowed is {allowed}")


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
    matrices: Literal["muon", "adamw"] = "muon"
    """What moves the matrices inside the blocks; `adamw` moves everything with `adam_lr`."""

    def __post_init__(self) -> None:
        check_ranges(
            self, muon_lr=(0, 1e9), adam_lr=(0, 1e9), momentum=(0, BELOW_1), beta1=(0, BELOW_1),
            beta2=(0, BELOW_1), weight_decay=(0, 1e9), clip_norm=(0, 1e9),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class ScheduleConfig:
    """Warm-up, stable, decay: linear up, 1, linear to 0. Give `steps`, `flops` or `stop_after_s`."""

    warmup_steps: int = 50
    steps: int | None = None
    """Optimizer steps in all."""
    flops: float | None = None
    """FLOP in all, as the metrics count them, rollouts included; the first step that reaches them is the last."""
    stop_after_s: float | None = None
    """Seconds of training in all, resumed ones counted together; the decay's steps are planned, and written into the
    checkpoint, when it begins."""
    decay_share: float = 0.25
    """Last part of the run in which the factor falls; the checkpoint before it is kept, to extend the run."""

    def __post_init__(self) -> None:
        ends = {"steps": self.steps, "flops": self.flops, "stop_after_s": self.stop_after_s}
        if sum(value is not None for value in ends.values()) != 1:
            raise ConfigError(
                ", ".join(f"{name} is {value}" for name, value in ends.items()),
                "give exactly one of them",
            )
        if self.flops is not None and not 0 < self.flops < math.inf:
            raise ConfigError(f"flops is {self.flops}", "allowed is a number above 0")
        check_ranges(
            self,
            warmup_steps=(0, MOST),
            steps=(0, MOST),
            stop_after_s=(0, MOST),
            decay_share=(0, 1),
        )


TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""Matrices of a block that may carry an adapter."""
Direction = Literal["forward", "reverse"]
"""`forward`: KL(teacher ‖ student), covers all it does; `reverse`: KL(student ‖ teacher), keeps to its best."""


@dataclass(frozen=True, slots=True)
class LoraConfig:
    """Low-rank adapters are trained, and the weights stay: on which matrices, and how much they may change."""

    rank: int = 16
    alpha: float = 32.0
    """The product is multiplied by alpha / rank."""
    targets: tuple[str, ...] = TARGETS
    """Names of matrices, in every block."""

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ConfigError(f"lora rank is {self.rank}", "allowed is a whole number from 1")
        if not (math.isfinite(self.alpha) and self.alpha > 0):
            raise ConfigError(f"lora alpha is {self.alpha}", "allowed is a number above 0")
        unknown = [name for name in self.targets if name not in TARGETS]
        if unknown or not self.targets or len(set(self.targets)) < len(self.targets):
            raise ConfigError(
                f"lora targets are {list(self.targets)}",
                f"allowed are {', '.join(TARGETS)}, each once",
            )


@dataclass(frozen=True, slots=True)
class TeacherConfig:
    """Distillation: a model whose next-token distribution is learned from, at the documents' tokens."""

    model: Path
    """Its folder. Its tokenizer must be the recipe's; its shape may be any."""
    weight: float = 0.5
    """Of the divergence from the teacher; the documents' own tokens have the rest of 1."""
    direction: Direction = "forward"
    top_k: int | None = None
    """Compare the teacher's likeliest ids and all others as one; none: the whole vocabulary."""

    def __post_init__(self) -> None:
        if not 0 < self.weight <= 1:
            raise ConfigError(f"teacher weight is {self.weight}", "allowed is more than 0, up to 1")
        if self.top_k is not None and self.top_k < 1:
            raise ConfigError(f"teacher top_k is {self.top_k}", "allowed is 1 or more, or none")


TrainedFormat = Literal["fp32", "bf16"]
"""What linear layers compute with, in rollouts and in training alike; parameters and their sums are fp32 in both.
bf16 is several times faster on processors that multiply bf16 matrices (AMX), and no slower elsewhere."""


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

    def __post_init__(self) -> None:
        check_ranges(
            self, vocab_size=(300, 1e6), count=(1, MOST), max_positions=(1, MOST), seed=SEED
        )


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
    lora: LoraConfig | None = None
    """Fine-tuning: train adapters; none: train every weight."""
    teacher: TeacherConfig | None = None
    """Learn from this model too; none: from the documents alone."""
    documents: DocumentsConfig = field(default_factory=DocumentsConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    batch_tokens: int = 8192
    """Rows of one optimizer step, about: the last document is not cut."""
    micro_tokens: int = 2048
    """Rows computed at a time."""
    weights: TrainedFormat = "fp32"
    threads: int = 2
    checkpoint_s: float = 240.0
    """Seconds between checkpoints, besides the last and the one before decay."""
    checkpoint_steps: int | None = None
    """Steps between checkpoints, instead of seconds."""
    sample_steps: int = 500
    """Steps between answers to held-out problems, written for people; 0: none."""
    seed: int = 0
    cluster: ClusterConfig = field(default_factory=ClusterConfig)

    def __post_init__(self) -> None:
        check_ranges(
            self, batch_tokens=BATCH, micro_tokens=BATCH, threads=(1, 1024), checkpoint_s=(0, MOST),
            checkpoint_steps=(1, MOST), sample_steps=(0, MOST), seed=SEED,
        )  # fmt: skip
        if self.cluster.rollout_workers or self.cluster.endpoint:
            raise ConfigError(
                f"cluster.rollout_workers is {self.cluster.rollout_workers} and cluster.endpoint "
                f"{self.cluster.endpoint!r} in {self.type}",
                "leave them out: only reinforcement learning samples answers",
            )
        given, wanted = (
            ("shape", "start_from") if self.type == "pretrain" else ("start_from", "shape")
        )
        if getattr(self, given) is None or getattr(self, wanted) is not None:
            raise ConfigError(
                f"{given!r} is {getattr(self, given)} and {wanted!r} is {getattr(self, wanted)}",
                f"a {self.type} recipe gives {given!r} and not {wanted!r}",
            )
        if self.lora is not None and self.type == "pretrain":
            raise ConfigError(
                "lora in pretrain: adapters would stand on random weights that never learn",
                'take type = "sft" with start_from, or leave out lora',
            )
        if self.lora is not None and self.cluster.trainer_processes > 1:
            raise ConfigError(
                f"lora with cluster.trainer_processes = {self.cluster.trainer_processes}",
                "allowed is 1: adapters are merged with whole matrices in one process",
            )


@dataclass(frozen=True, slots=True)
class AlgorithmConfig:
    """Which line of the table in `rl/algorithms`; None takes that line's value."""

    name: str = "centred"
    clip_low: float | None = None
    clip_high: float | None = None
    dual_clip: float | None = None
    """Bound c > 1 on the loss of tokens with a negative advantage, as −c·A."""
    kl_weight: float = 0.0
    """Weight of KL to the starting weights; above 0 they are kept in memory."""
    kl: Literal["k1", "k2", "k3"] = "k3"
    importance_cap: float | None = None
    """Truncated importance sampling for a sampler whose log-probabilities differ from the trainer's."""
    updates: int = 1
    """Optimizer steps on one batch of answers, each on its own part of the groups."""

    def __post_init__(self) -> None:
        check_ranges(
            self, clip_low=(0, 1), clip_high=(0, MOST), kl_weight=(0, MOST), importance_cap=(1, MOST),
            updates=(1, MOST),
        )  # fmt: skip
        for option in algorithm_of(self.name).unused:
            if getattr(self, option):
                raise ConfigError(
                    f"{option} is {getattr(self, option)} with {self.name}, which has no use for it",
                    f"leave out algorithm.{option}, or take another algorithm",
                )
        if self.dual_clip is not None and self.dual_clip <= 1:
            raise ConfigError(f"dual_clip is {self.dual_clip}", "allowed is more than 1, or none")
        if self.importance_cap is not None and self.updates > 1:
            raise ConfigError(
                f"importance_cap with {self.updates} updates of one batch",
                "take updates = 1: the trainer's own numbers are those of the batch's weights",
            )


@dataclass(frozen=True, slots=True)
class SamplingConfig:
    """How many answers are sampled, and how long; always from the model's own distribution."""

    prompts: int = 32
    """Groups of one step."""
    samples: int = 8
    """Answers of one group."""
    max_tokens: int = 300
    """Most tokens of one turn of the model, thinking included, at the end of the length schedule."""
    first_max_tokens: int | None = None
    """Most tokens at the first step; None: `max_tokens` from the start."""
    length_steps: int = 100
    """Steps over which the limit grows, in a straight line."""
    rounds: int = 2
    """Most rounds of drawing groups in one step; from the second on, as many as were dropped."""
    max_turns: int = 6
    """Most turns of an episode with tools."""
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0

    def __post_init__(self) -> None:
        for name, wanted in (("temperature", 1), ("top_p", 1), ("top_k", 0), ("min_p", 0)):
            if getattr(self, name) != wanted:
                raise ConfigError(
                    f"{name} is {getattr(self, name)} in reinforcement learning",
                    f"allowed is {wanted}: the loss compares the model's own distribution with the "
                    "sampler's, and any other value makes the ratio wrong at every token",
                )
        check_ranges(
            self, prompts=(1, MOST), samples=(2, MOST), max_tokens=(2, MOST), length_steps=(0, MOST),
            first_max_tokens=(2, self.max_tokens), rounds=(1, MOST), max_turns=(1, MOST),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class RewardConfig:
    """1 for a right answer in the right form, else 0; then the costs."""

    call_cost: float = 0.01
    """Of one tool call, taken from a right answer's reward, which stays above 0."""
    overlong: Literal["wrong", "left_out"] = "wrong"
    """An answer cut by a limit: scored 0, or left out of the loss."""
    overlong_penalty: float = 0.0
    """Taken from an answer's reward as its length nears the limit, all of it where it was cut."""
    overlong_tokens: int = 64
    """Over how many last tokens the penalty grows, in a straight line."""

    def __post_init__(self) -> None:
        check_ranges(self, call_cost=(0, 1), overlong_penalty=(0, MOST), overlong_tokens=(1, MOST))


@dataclass(frozen=True, slots=True)
class PoolsConfig:
    """Which problems are drawn: fresh ones, and those known to lie at the edge of competence."""

    low: float = 1 / 16
    """Least pass rate of a problem at the edge."""
    high: float = 15 / 16
    fresh: float = 0.5
    """Share of draws that are new problems."""
    probe: int = 0
    """Problems of each kind tried before the first step, to find the edge."""
    size: int = 256
    """Most known problems of one kind."""
    refresh_steps: int = 50
    """Steps after which problems once too hard are tried again."""
    least_share: float = 0.25
    """A kind whose problems are all too easy or too hard is drawn this much less, at the most."""

    def __post_init__(self) -> None:
        check_ranges(
            self, low=(0, self.high), high=(0, 1), fresh=(0, 1), probe=(0, MOST), size=(1, MOST),
            refresh_steps=(1, MOST), least_share=(0, 1),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class HealthConfig:
    """When an alarm is raised, and when the pre-flight refuses."""

    truncated: float = 0.5
    """Share of answers cut by a limit."""
    flat: float = 0.95
    """Share of groups with nothing to tell apart."""
    entropy_low: float = 0.2
    """Entropy as a share of the first steps'; `entropy_high` likewise."""
    entropy_high: float = 3.0
    reward_drop: float = 0.3
    """Fall of the smoothed reward below its best."""
    reward_jump: float = 0.5
    """Rise of the smoothed reward within 10 steps: more often a hole in a verifier than a discovery."""
    ratio: float = 3.0
    """Largest importance ratio of a token."""
    gap: float = 1e-3
    """Largest difference of the sampler's and the trainer's log-probabilities before a batch's first update."""
    preflight_prompts: int = 16
    """Groups sampled before the first step."""

    def __post_init__(self) -> None:
        check_ranges(self, preflight_prompts=(1, MOST))


@dataclass(frozen=True, slots=True)
class MixConfig:
    """Worked solutions among the answers, against forgetting."""

    share: float = 0.12
    """Of a step's tokens."""
    weight: float = 0.1
    """Of their mean loss, beside the policy term's 1."""
    documents: DocumentsConfig = field(default_factory=DocumentsConfig)

    def __post_init__(self) -> None:
        check_ranges(self, weight=(0, MOST))
        if not 0 <= self.share < 1:
            raise ConfigError(f"mix.share is {self.share}", "allowed is 0 up to, not including, 1")


def _rl_optimizer() -> OptimizerConfig:
    return OptimizerConfig(matrices="adamw", adam_lr=5e-5, beta2=0.95, weight_decay=0.0)


@dataclass(frozen=True, slots=True)
class RlRecipe:
    """Reinforcement learning on answers that a program checks, from a model folder."""

    type: Literal["rl"]
    start_from: Path
    """The model folder to start from; its tokenizer and chat template are used."""
    schedule: ScheduleConfig
    """In steps or FLOP: a time limit would make the result depend on the clock."""
    problems: Mapping[str, float]
    """Share of draws by kind, `family/band`, e.g. `"countdown/R" = 0.3`; shares need not sum to 1."""
    lora: LoraConfig | None = None
    """Train adapters; none: train every weight."""
    problem_count: int | None = None
    """Draw from only this many problems of each kind; None: an endless stream."""
    algorithm: AlgorithmConfig = field(default_factory=AlgorithmConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    reward: RewardConfig = field(default_factory=RewardConfig)
    pools: PoolsConfig = field(default_factory=PoolsConfig)
    mix: MixConfig = field(default_factory=MixConfig)
    health: HealthConfig = field(default_factory=HealthConfig)
    preflight: Literal["refuse", "warn", "skip"] = "refuse"
    """What a small rollout before the first step does when the run cannot learn."""
    optimizer: OptimizerConfig = field(default_factory=_rl_optimizer)
    micro_tokens: int = 2048
    """Rows computed at a time."""
    weights: TrainedFormat = "fp32"
    threads: int = 2
    checkpoint_steps: int = 10
    """Steps between checkpoints."""
    sample_steps: int = 10
    """Steps between groups written for people; 0: none."""
    sample_groups: int = 2
    seed: int = 0
    cluster: ClusterConfig = field(default_factory=ClusterConfig)

    def __post_init__(self) -> None:
        check_ranges(
            self, problem_count=(1, MOST), micro_tokens=BATCH, threads=(1, 1024), checkpoint_steps=(1, MOST),
            sample_steps=(0, MOST), sample_groups=(1, MOST), seed=SEED,
        )  # fmt: skip
        if self.cluster.trainer_processes > 1:
            raise ConfigError(
                f"cluster.trainer_processes is {self.cluster.trainer_processes} in reinforcement learning",
                "allowed is 1: rollouts go to workers, gradients are computed in one process",
            )
        if self.schedule.stop_after_s is not None:
            raise ConfigError(
                f"stop_after_s is {self.schedule.stop_after_s} in reinforcement learning",
                "give schedule.steps or schedule.flops: a resumed run must not depend on the clock",
            )
        for kind in self.problems:
            family, slash, band = kind.partition("/")
            if family not in FAMILIES or not slash or band not in ("S", "R", "O"):
                raise ConfigError(
                    f"problems holds {kind!r}",
                    f"allowed are family/band with the bands S, R, O and {', '.join(FAMILIES)}",
                )
        if not sum(self.problems.values()) > 0 or min(self.problems.values()) < 0:
            raise ConfigError(
                f"problems is {dict(self.problems)}", "allowed are shares ≥ 0, one above 0"
            )


@dataclass(frozen=True, slots=True)
class Recipe:
    """One stage of training, by `stage.type`."""

    stage: TokenizerRecipe | ModelRecipe | RlRecipe
