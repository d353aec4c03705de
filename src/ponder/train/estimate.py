"""train/estimate: what a recipe will take: tokens, FLOP, memory, and time from steps measured here and now."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from ponder.core.types import Problem
from ponder.model.config import ModelConfig, read_model_config
from ponder.model.ops import available_threads, make_ops, native_available
from ponder.model.shapes import named_shape
from ponder.model.view import PackedView
from ponder.tasks import generate
from ponder.text import ChatTemplate
from ponder.train.config import ModelRecipe, Recipe, RlRecipe, ScheduleConfig
from ponder.train.flops import forward_flops, num_parameters
from ponder.train.network import Network, token_logprobs
from ponder.train.rollout import Ask, RolloutConfig, Rollouts
from ponder.train.stages import start_weights

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
    flops = 3 * forward_flops(config, stage.documents.max_len // 2) * stage.batch_tokens
    yield _size(config, stage.threads, stage.micro_tokens)
    yield f"tokens a step: {stage.batch_tokens:,}; FLOP a step: {flops:.2e}"
    step_s = stage.batch_tokens / (training_rate(config) * _cores(stage.threads))
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
    yield _size(config, stage.threads, stage.micro_tokens)
    yield (
        f"answers a step: {answers:,}, of {measured.mean_len:.0f} tokens each (measured), "
        f"{sampling.max_tokens} at most; groups that are dropped are drawn anew, up to "
        f"{sampling.rounds} rounds"
    )
    yield (
        f"tokens a step: {sampled:,.0f} sampled, {trained:,.0f} trained on; "
        f"FLOP a step: {flops:.2e}"
    )
    train_s = trained / (training_rate(config) * _cores(stage.threads))
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


def _size(config: ModelConfig, threads: int, micro_tokens: int) -> str:
    """Weights, two moments, the sum of gradients and one more a thread; activations of the micro-batches in work."""
    parameters = num_parameters(config)
    layer = 14 * config.hidden_size + 3 * config.intermediate_size
    activations = micro_tokens * (config.num_layers * layer + 3 * config.vocab_size)
    total = 4 * (parameters * (4 + threads) + threads * activations)
    return (
        f"parameters: {parameters:,}; memory: about {total / 2**20:,.0f} MiB and what Python takes"
    )


def training_rate(config: ModelConfig) -> float:
    """Tokens a second that one thread trains on, measured on one small micro-batch."""
    network = Network(config, kernels="native" if native_available()[0] else "torch")
    count = min(_MEASURED, config.max_positions)
    ids = torch.randint(config.vocab_size, (count,))
    view = PackedView(torch.tensor([0, count], dtype=torch.int32))
    best = math.inf
    for _ in range(3):
        began = time.monotonic()
        logp, _ = token_logprobs(network, ids, torch.arange(count), view, torch.arange(count), ids)
        torch.autograd.grad(-logp.mean(), tuple(network.parameters()))
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
        RolloutConfig(max_tokens=stage.sampling.max_tokens),
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
