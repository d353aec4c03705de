"""train/trainer: pre-training and fine-tuning: documents → loss → gradients → optimizer → run folder."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ponder.core.errors import BackendError
from ponder.model.config import ModelConfig
from ponder.model.view import PackedView
from ponder.runs import RunFolder
from ponder.text.tokenizer import Tokenizer
from ponder.train.checkpoint import Progress, load_state, save_state
from ponder.train.config import ModelRecipe, ScheduleConfig
from ponder.train.distill import FromDocuments, FromTeacher, TokenLosses
from ponder.train.documents import DocumentStream, Packed, pack_step
from ponder.train.flops import forward_flops
from ponder.train.lora import Adapters
from ponder.train.network import Network, best_kernels
from ponder.train.optimizer import Optimizer
from ponder.train.samples import sample
from ponder.train.sharded import OneProcess, Place, settle_thread

Report = Callable[[Mapping[str, Any]], None]


class Trainer:
    """One run of a model recipe. `train` continues from wherever `progress` stands."""

    def __init__(
        self,
        recipe: ModelRecipe,
        config: ModelConfig,
        run: RunFolder,
        start: Mapping[str, torch.Tensor] | None = None,
        report: Report = lambda record: None,
        place: Place | None = None,
    ) -> None:
        """`start`: weights to fine-tune from, by their Hugging Face names; None: random ones from the seed.

        `place`: where gradients are computed; None: in this process, on the recipe's threads.
        """
        self.recipe = recipe
        self.run = run
        # FSDP gathers parameters for each use; the kernels keep matrices packed between uses.
        kernels = best_kernels() if place is None else "torch"
        self.network = Network(config, recipe.seed, kernels, recipe.weights)
        if start is not None:
            self.network.load_state_dict(dict(start))
        self._place = place or OneProcess(recipe.threads)
        self._place.settle(self.network)
        if recipe.lora is not None:
            Adapters(self.network, recipe.lora, recipe.seed)
        self._parameters = self.network.trained()
        self._token_losses: TokenLosses = (
            FromDocuments() if recipe.teacher is None else FromTeacher(recipe.teacher, config)
        )
        self.optimizer = Optimizer(
            recipe.optimizer,
            self._parameters,
            self._place.map,
            self._place,
            self.network.polynomial,
        )
        self.stream = DocumentStream(
            recipe.documents, Tokenizer.from_folder(recipe.tokenizer), recipe.seed
        )
        self.progress = Progress()
        self._recent_s: deque[float] = deque(maxlen=100)
        self._report = report

    def weights(self) -> dict[str, torch.Tensor]:
        """The weights of this moment as they are used: whole, adapters merged. Every process must ask."""
        return {name: self._place.whole(t) for name, t in self.network.tensors().items()}

    def resume(self, from_step: int | None = None) -> None:
        """Go back to the run's newest complete checkpoint, or to that of `from_step`.

        A finished run whose schedule now asks for more goes on at full step size. Raises StorageError.
        """
        checkpoint = self.run.checkpoint(from_step)
        self.progress = load_state(checkpoint, self.network, self.optimizer, self._place)
        if is_finished(self.recipe.schedule, self.progress) and is_extended(
            self.recipe.schedule, self.progress
        ):
            self.progress.decay_from, self.progress.decay_steps = None, 0
        self.run.rewind(self.progress.step)

    def train(self, max_steps: int | None = None) -> None:
        """Steps until the schedule ends, or `max_steps` of them; checkpoints on the way and at the end."""
        settle_thread()
        progress, recipe = self.progress, self.recipe
        last_saved, last_time = time.monotonic(), time.monotonic()
        done = 0
        while not is_finished(recipe.schedule, progress) and done != max_steps:
            if begins_decay(recipe.schedule, progress):
                self._begin_decay()
            record = self._step(factor_at(recipe.schedule, progress))
            now = time.monotonic()
            step_s = self._place.agree(now - last_time)
            progress.elapsed_s += step_s
            self._recent_s.append(step_s)
            last_time = now
            done += 1
            self.run.log(record)
            if recipe.sample_steps and progress.step % recipe.sample_steps == 0:
                self._sample()
            self._report(record)
            if self._is_checkpoint_due(self._place.agree(now - last_saved)):
                self.save()
                last_saved = time.monotonic()
        self.save(keep=is_finished(recipe.schedule, progress))

    def _is_checkpoint_due(self, since_s: float) -> bool:
        every = self.recipe.checkpoint_steps
        return (
            self.progress.step % every == 0
            if every is not None
            else since_s > self.recipe.checkpoint_s
        )

    def _sample(self) -> None:
        families = list(self.recipe.documents.mixture)
        config = self.network.config
        recipe = self.recipe
        samples = sample(config, self.weights(), recipe.weights, recipe.tokenizer, families)
        for record in samples:
            self.run.add_sample({"step": self.progress.step, **record})

    def _begin_decay(self) -> None:
        self.save(keep=True)
        plan_decay(self.recipe.schedule, self.progress, pace_s(self._recent_s, self.progress))
        self.run.log(
            {"step": self.progress.step, "event": "decay", "steps": self.progress.decay_steps}
        )

    def save(self, keep: bool = False) -> Path:
        """Write a checkpoint of this moment."""
        path = self.run.save_checkpoint(
            self.progress.step,
            lambda folder: save_state(
                folder, self.network, self.optimizer, self.progress, self._place
            ),
            keep,
        )
        self._place.agree(0.0)  # nobody goes on before it is there
        return path

    def _step(self, factor: float) -> dict[str, Any]:
        began = time.monotonic()
        recipe, progress = self.recipe, self.progress
        batches, progress.cursor = pack_step(
            self.stream, progress.cursor, recipe.batch_tokens, recipe.micro_tokens
        )
        total_weight = sum(sum(batch.weights_T) for batch in batches)
        facts = self._add_gradients(batches, total_weight)
        loss = facts["loss"]
        if not math.isfinite(loss):
            raise BackendError(
                f"the loss at step {progress.step} is {loss}\n"
                "the last checkpoint is whole; resume from it with a lower optimizer.muon_lr or adam_lr"
            )
        norm = self.optimizer.step(factor)
        rows = sum(len(batch.inputs_T) for batch in batches)
        progress.step += 1
        progress.tokens += rows
        lens = [b - a for batch in batches for a, b in pairwise(batch.starts_S1)]
        context = sum(length * length for length in lens) // rows
        progress.flops += 3 * rows * forward_flops(self.network.config, context)
        progress.flops += rows * self._token_losses.flops(context)
        return {
            "step": progress.step,
            **{name: round(value, 5) for name, value in facts.items()},
            "grad_norm": round(norm, 4),
            "lr_factor": round(factor, 5),
            "tokens": progress.tokens,
            "flops": progress.flops,
            "tokens_per_s": round(rows / (time.monotonic() - began), 1),
            "elapsed_s": round(progress.elapsed_s, 1),
        }

    def _add_gradients(self, batches: list[Packed], total_weight: float) -> dict[str, float]:
        """Sets every parameter's gradient of the weighted mean loss; returns that loss and its parts."""
        share = partial(self._loss, total_weight=total_weight)
        parts = self._place.gradients(self._parameters, share, batches)
        return {name: sum(part[name] for part in parts) for name in parts[0]}

    def _loss(self, batch: Packed, total_weight: float) -> tuple[dict[str, float], torch.Tensor]:
        """This micro-batch's share of the loss and of its parts, as numbers, and with its graph."""
        weights_T = torch.tensor(batch.weights_T)
        rows_N = weights_T.nonzero()[:, 0]
        starts = np.asarray(batch.starts_S1, np.int32)
        inputs = (
            torch.tensor(batch.inputs_T),
            torch.tensor(batch.positions_T),
            PackedView(torch.from_numpy(starts)),
            rows_N,
        )
        targets_N = torch.tensor(batch.targets_T)[rows_N]
        losses = self._token_losses(self.network(*inputs), targets_N, inputs)
        parts = {n: (each * weights_T[rows_N]).sum() / total_weight for n, each in losses.items()}
        return {name: float(part.detach()) for name, part in parts.items()}, parts["loss"]


def is_finished(schedule: ScheduleConfig, progress: Progress) -> bool:
    """True when no step is left."""
    if schedule.flops is not None:
        return progress.flops >= schedule.flops
    if progress.decay_from is not None:
        return progress.step >= progress.decay_from + progress.decay_steps
    return schedule.steps is not None and progress.step >= schedule.steps


def is_extended(schedule: ScheduleConfig, progress: Progress) -> bool:
    """True when the schedule leaves steps or seconds after this moment, whatever decay was planned before."""
    if schedule.flops is not None:
        return progress.flops < schedule.flops
    if schedule.steps is not None:
        return progress.step < schedule.steps
    assert schedule.stop_after_s is not None, schedule
    return progress.elapsed_s < 0.98 * schedule.stop_after_s


def begins_decay(schedule: ScheduleConfig, progress: Progress) -> bool:
    """True at the step before which the factor starts to fall."""
    if progress.decay_from is not None or schedule.decay_share == 0:
        return False
    if schedule.flops is not None:
        return progress.flops >= schedule.flops * (1 - schedule.decay_share)
    if schedule.steps is not None:
        return progress.step >= schedule.steps - round(schedule.steps * schedule.decay_share)
    assert schedule.stop_after_s is not None, schedule
    due_s = schedule.stop_after_s * (1 - schedule.decay_share)
    return progress.step > 0 and progress.elapsed_s >= due_s


def pace_s(recent_s: Collection[float], progress: Progress) -> float:
    """Seconds a step: the mean of the steps timed in this process, or of the whole run right after a resume."""
    return sum(recent_s) / len(recent_s) if recent_s else progress.elapsed_s / max(1, progress.step)


def plan_decay(schedule: ScheduleConfig, progress: Progress, step_s: float) -> None:
    """Fixes the decay's steps: what the schedule leaves, or what fits the seconds left at `step_s` a step.

    Of a schedule in FLOP they are a guess, for people: its factor follows the FLOP themselves.
    """
    progress.decay_from = progress.step
    if schedule.flops is not None:
        spent, steps = progress.flops, progress.step
        progress.decay_steps = round((schedule.flops - spent) / spent * steps) if spent else 0
    elif schedule.steps is not None:
        progress.decay_steps = schedule.steps - progress.step
    else:
        assert schedule.stop_after_s is not None, schedule
        left_s = schedule.stop_after_s - progress.elapsed_s
        progress.decay_steps = max(1, round(left_s / step_s))


def factor_at(schedule: ScheduleConfig, progress: Progress) -> float:
    """The step size's factor for the next step."""
    warm = min(1.0, (progress.step + 1) / max(1, schedule.warmup_steps))
    if progress.decay_from is None:
        return warm
    if schedule.flops is not None:
        left = 1 - progress.flops / schedule.flops
        return min(warm, left / schedule.decay_share) if schedule.decay_share else warm
    left = progress.decay_from + progress.decay_steps - progress.step
    return min(warm, left / max(1, progress.decay_steps))
