"""train/estimate: what a recipe will take: tokens, FLOP, memory, and time from steps measured here and now."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from ponder.core.types import Problem
from ponder.model.config import ModelConfig, read_model_config
from ponder.model.ops import available_threads, make_ops
from ponder.model.shapes import named_shape
from ponder.model.view import PackedView
from ponder.model.weights import tensor_shapes
from ponder.tasks import generate
from ponder.text import ChatTemplate
from ponder.train.checkpoint import start_weights
from ponder.train.config import (
    LoraConfig,
    ModelRecipe,
    Recipe,
    RlRecipe,
    ScheduleConfig,
    TrainedFormat,
)
from ponder.train.distill import check_teacher, teach
from ponder.train.flops import forward_flops, num_parameters
from ponder.train.lora import Adapters, carries, num_trained
from ponder.train.network import Network, best_kernels, token_logprobs
from ponder.train.rollout import Ask, RolloutConfig, Rollouts

PROMPT_LEN = 64
"""Tokens of a prompt, about."""
_MEASURED = 256
"""Tokens of the micro-batch that is timed, at most."""


def estimate(recipe: Recipe) -> Iterator[str]:
    """Lines for people. Nothing is written; a few seconds of computing. Raises as reading the recipe's folders does."""
    stage = recipe.stage
    if isinstance(stage, RlRecipe):
        yield from _rl(stage)
    elif isinstance(stage, ModelRecipe):
        yield from _supervised(stage)


def _supervised(stage: ModelRecipe) -> Iterator[str]:
    if stage.start_from is None:
        assert stage.shape is not None, stage
        config = named_shape(stage.shape)
    else:
        config = read_model_config(stage.start_from)
    teacher, max_len = stage.teacher, stage.documents.max_len
    beside = [check_teacher(teacher, config, stage.tokenizer, max_len)] if teacher else []
    token_flops = 3 * forward_flops(config, max_len // 2)
    token_flops += sum(forward_flops(each, max_len // 2) for each in beside)
    flops = token_flops * stage.batch_tokens
    yield from _size(config, stage, beside)
    yield f"tokens a step: {stage.batch_tokens:,}; FLOP a step: {flops:.2e}"
    rate = training_rate(config, stage.lora, beside, stage.weights)
    step_s = stage.batch_tokens / (rate * _cores(stage.threads))
    steps = _steps(stage.schedule, flops, step_s)
    yield f"about {step_s:.2f} s a step: {steps:,} steps in {_span(steps * step_s)}"
    yield f"FLOP in all: {stage.schedule.flops or steps * flops:.2e}"


def _rl(stage: RlRecipe) -> Iterator[str]:
    config = read_model_config(stage.start_from)
    sampling = stage.sampling
    answers = sampling.prompts * sampling.samples
    measured = _rollout_rate(stage, config)
    sampled = answers * min(measured.mean_len, sampling.max_tokens)
    trained = sampled / (1 - stage.mix.share) + sampling.prompts * PROMPT_LEN
    flops = forward_flops(config, PROMPT_LEN + round(measured.mean_len)) * (sampled + 3 * trained)
    beside = [config] if stage.algorithm.kl_weight else []
    yield from _size(config, stage, beside)
    yield (
        f"answers a step: {answers:,}, of {measured.mean_len:.0f} tokens each (measured), "
        f"{sampling.max_tokens} at most; groups that are dropped are drawn anew, up to "
        f"{sampling.rounds} rounds"
    )
    yield (
        f"tokens a step: {sampled:,.0f} sampled, {trained:,.0f} trained on; "
        f"FLOP a step: {flops:.2e}"
    )
    rate = training_rate(config, stage.lora, beside, stage.weights)
    train_s = trained / (rate * _cores(stage.threads))
    rollout_s = sampled / measured.rate
    steps = _steps(stage.schedule, flops, rollout_s + train_s)
    yield (
        f"about {rollout_s + train_s:.1f} s a step ({rollout_s:.1f} of them rollout), and "
        f"{rollout_s:.1f} more for every further round: {steps:,} steps in "
        f"{_span(steps * (rollout_s + train_s))} or more"
    )
    yield (
        f"FLOP in all: {stage.schedule.flops or steps * flops:.2e}, "
        f"{'counted exactly' if stage.schedule.flops else 'about'}; the metrics' `flops` counts them"
    )


def _steps(schedule: ScheduleConfig, flops: float, step_s: float) -> int:
    """Optimizer steps until the schedule's end, at so many FLOP and seconds a step."""
    if schedule.steps is not None:
        return schedule.steps
    if schedule.flops is not None:
        return math.ceil(schedule.flops / flops)
    assert schedule.stop_after_s is not None, schedule
    return round(schedule.stop_after_s / step_s)


def _cores(threads: int) -> int:
    return min(threads, available_threads())


def _size(
    config: ModelConfig, stage: ModelRecipe | RlRecipe, beside: Sequence[ModelConfig]
) -> Iterator[str]:
    """Weights; of what is trained two moments, the sum of gradients and one more a thread; of matrices with adapters
    the sum and, a thread, that and its gradient; activations of the micro-batches in work; models kept beside.
    """
    parameters, threads, lora = num_parameters(config), stage.threads, stage.lora
    trained, merged, how = parameters, 0, "all trained"
    if lora is not None:
        trained = num_trained(lora, config)
        shapes = tensor_shapes(config).items()
        merged = sum(math.prod(shape) for name, shape in shapes if carries(lora, name, shape))
        how = f"{trained:,} more are trained, in adapters of rank {lora.rank} ({trained / parameters:.1%})"
    layer = 14 * config.hidden_size + 3 * config.intermediate_size
    activations = config.num_layers * layer + 3 * config.vocab_size
    activations += sum(3 * each.vocab_size for each in beside)
    total = parameters + trained * (3 + threads) + merged * (1 + 2 * threads)
    total += threads * stage.micro_tokens * activations + sum(map(num_parameters, beside))
    yield f"parameters: {parameters:,}, {how}"
    for each in beside:
        kind = "teacher" if isinstance(stage, ModelRecipe) else "reference of KL"
        yield f"{kind}: {num_parameters(each):,} parameters, not trained"
    yield f"memory: about {4 * total / 2**20:,.0f} MiB and what Python takes"


def training_rate(
    config: ModelConfig,
    lora: LoraConfig | None = None,
    beside: Sequence[ModelConfig] = (),
    weights: TrainedFormat = "fp32",
) -> float:
    """Tokens a second that one thread trains on, measured on one small micro-batch.

    `beside`: models that score the same tokens without learning.
    """
    kernels = best_kernels()
    network = Network(config, kernels=kernels, weights_format=weights)
    others = [Network(each, kernels=kernels).requires_grad_(False) for each in beside]
    if lora is not None:
        Adapters(network, lora)
    count = min(_MEASURED, config.max_positions)
    ids, rows = torch.randint(config.vocab_size, (count,)), torch.arange(count)
    view = PackedView(torch.tensor([0, count], dtype=torch.int32))
    best = math.inf
    for _ in range(3):
        began = time.monotonic()
        for other in others:
            teach(other, (ids.remainder(other.config.vocab_size), rows, view, rows))
        logp, _ = token_logprobs(network, ids, rows, view, rows, ids)
        torch.autograd.grad(-logp.mean(), tuple(network.trained().values()))
        best = min(best, time.monotonic() - began)
    return count / best


@dataclass(frozen=True, slots=True)
class _Rollout:
    rate: float
    mean_len: float


def _rollout_rate(stage: RlRecipe, config: ModelConfig) -> _Rollout:
    """Tokens a second, and of an answer, over 64 answers by the weights the run starts with."""
    _, start = start_weights(stage.start_from)
    rollouts = Rollouts(
        config,
        ChatTemplate.from_folder(stage.start_from),
        RolloutConfig(max_tokens=stage.sampling.max_tokens, weights=stage.weights),
        ops=make_ops(threads=stage.threads),
    )
    rollouts.load(0, {name: tensor.numpy() for name, tensor in start.items()})
    kinds = [kind for kind, share in stage.problems.items() if share > 0]
    asks = [Ask(_problem(kinds[i % len(kinds)], i), i, 8) for i in range(8)]
    began = time.monotonic()
    groups = rollouts.run(asks)
    took = time.monotonic() - began
    lens = [sum(each.episode.sampled) for group in groups for each in group]
    return _Rollout(sum(lens) / took, sum(lens) / len(lens))


def _problem(kind: str, index: int) -> Problem:
    family, _, band = kind.partition("/")
    return generate(family, "S" if band == "S" else "R" if band == "R" else "O", 1, index)


def _span(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min {rest % 60} s"
