"""train/rl/trainer: groups of answers → streams → gradient → optimizer → run folder. Knows no algorithm and no task.

    pools.draw → Rollouts.run (journal) → reward → algorithm's streams → pack → loss → optimizer → next weights version

A step is a function of (weights, optimizer, pools, cursor, step, seed) alone; the clock, the order in which answers
finish and the number of threads change nothing. A checkpoint holds all of these; the journal holds what came since.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch

from ponder.core.errors import BackendError, ConfigError
from ponder.core.types import Band
from ponder.model.config import ModelConfig
from ponder.model.ops import make_ops
from ponder.runs import RunFolder
from ponder.tasks import generate
from ponder.text import ChatTemplate, Tokenizer
from ponder.train.checkpoint import Progress, load_state, save_state
from ponder.train.cluster import RayRollouts
from ponder.train.config import RlRecipe, TrainedFormat
from ponder.train.documents import DocumentStream
from ponder.train.endpoint import EndpointRollouts
from ponder.train.flops import forward_flops
from ponder.train.lora import Adapters
from ponder.train.network import Network, best_kernels
from ponder.train.optimizer import Optimizer
from ponder.train.restricted import banned_ids
from ponder.train.rl.algorithms import Row, Stream, advantages, algorithm_of, is_flat, streams
from ponder.train.rl.answers import Draw, Group, answer_of
from ponder.train.rl.gradient import Batch, PolicyTerm, batch_loss, pack
from ponder.train.rl.health import Health, find_faults
from ponder.train.rl.journal import Journal
from ponder.train.rl.pools import Pools
from ponder.train.rl.records import Stats, group_metrics, sample_records
from ponder.train.rollout import Ask, RolloutConfig, Rollouts
from ponder.train.rollout import Group as Judged
from ponder.train.sharded import add_gradients, settle_thread
from ponder.train.trainer import (
    Report,
    begins_decay,
    factor_at,
    is_finished,
    plan_decay,
)

RL_STATE = "rl.json"
"""File of a checkpoint: pools, health, rejected steps."""
PROBLEM_SEED = 1_000_003
"""Added to the recipe's seed, so that problems differ from those of worked solutions of the same seed."""
MOST_REJECTED = 3
"""Steps rejected in a row before the run gives up."""


class RlTrainer:
    """One reinforcement learning run. `train` continues from wherever `progress` stands."""

    def __init__(
        self,
        recipe: RlRecipe,
        config: ModelConfig,
        run: RunFolder,
        start: Mapping[str, torch.Tensor],
        report: Report = lambda record: None,
    ) -> None:
        """`start`: the weights to begin with, and the reference of a KL term."""
        self.recipe = recipe
        self.run = run
        self.network = _network(config, start, recipe.weights)
        is_compared = bool(recipe.algorithm.kl_weight)
        self.reference = _network(config, start, recipe.weights) if is_compared else None
        if recipe.lora is not None:
            Adapters(self.network, recipe.lora, recipe.seed)
        self._parameters = self.network.trained()
        self._threads = ThreadPoolExecutor(recipe.threads, initializer=settle_thread)
        self.optimizer = Optimizer(
            recipe.optimizer,
            self._parameters,
            self._threads.map,
            polynomial=self.network.polynomial,
        )
        self._tokenizer = Tokenizer.from_folder(recipe.start_from)
        self._documents = DocumentStream(recipe.mix.documents, self._tokenizer, recipe.seed)
        template = ChatTemplate.from_folder(recipe.start_from, self._tokenizer)
        self.banned_ids = banned_ids(template, config)
        how = RolloutConfig(
            max_turns=recipe.sampling.max_turns, banned_ids=self.banned_ids, weights=recipe.weights
        )
        self._rollouts = _rollouts(recipe, config, template, how, run.path, self._say)
        self._algorithm = algorithm_of(recipe.algorithm.name)
        self._term = _term(recipe, self.banned_ids)
        self.pools = self._new_pools()
        self._health = Health(recipe.health)
        self._journal = Journal(run.path / "rollouts.jsonl")
        self._rejected = 0
        """Steps rejected since the last checkpoint; part of every seed, so that the next try samples anew."""
        self._version = 0
        self.progress = Progress()
        self._report = report

    def _say(self, what: str) -> None:
        """Told of workers that come and go: on the screen alone, since it changes no result."""
        self._report({"step": self.progress.step, "event": "cluster", "what": what})

    def _new_pools(self) -> Pools:
        recipe = self.recipe
        return Pools(recipe.problems, recipe.pools, recipe.seed, recipe.problem_count)

    def resume(self, from_step: int | None = None) -> None:
        """Go back to the newest complete checkpoint, or to that of `from_step`. Raises StorageError."""
        checkpoint = self.run.checkpoint(from_step)
        self.progress = load_state(checkpoint, self.network, self.optimizer)
        state = json.loads((checkpoint / RL_STATE).read_text(encoding="utf-8"))
        self.pools.restore(state["pools"])
        self._health.restore(state["health"])
        steps = self.recipe.schedule.steps
        if self.progress.decay_from is not None and steps != state["steps"]:
            self.progress.decay_from, self.progress.decay_steps = None, 0
        self.run.rewind(self.progress.step)

    def save(self, keep: bool = False) -> Path:
        """Write a checkpoint of this moment; the journal begins anew."""

        def write(folder: Path) -> None:
            save_state(folder, self.network, self.optimizer, self.progress)
            state = {
                "pools": self.pools.state(),
                "health": self._health.state(),
                "steps": self.recipe.schedule.steps,
            }
            (folder / RL_STATE).write_text(json.dumps(state) + "\n", encoding="utf-8")

        path = self.run.save_checkpoint(self.progress.step, write, keep)
        self._journal.clear()
        self._rejected = 0
        return path

    def train(self, max_steps: int | None = None) -> None:
        """Steps until the schedule ends, or `max_steps` of them; checkpoints on the way and at the end."""
        settle_thread()
        recipe, progress = self.recipe, self.progress
        if not self.run.checkpoints():
            self._preflight()
            self._find_edge()
            self.save(keep=True)
        done = 0
        while not is_finished(recipe.schedule, progress) and done != max_steps:
            if begins_decay(recipe.schedule, progress):
                plan_decay(recipe.schedule, progress, 0.0)
            record = self._step(factor_at(recipe.schedule, progress))
            progress = self.progress
            if record is None:
                continue
            done += 1
            self.run.log(record)
            self._report(record)
            self._raise_alarms(record)
            if progress.step % recipe.checkpoint_steps == 0:
                self.save()
        self.save(keep=is_finished(recipe.schedule, progress))

    def _step(self, factor: float) -> dict[str, Any] | None:
        """The record of one step; None when it was rejected."""
        began, progress = time.monotonic(), self.progress
        self.pools.refresh(progress.step)
        groups, seen = self._collect()
        sampled, most = time.monotonic(), self._max_tokens()
        stats, norms = Stats(), [0.0]
        rows = streams(
            self._algorithm,
            [group.answers for group in groups],
            max_tokens=most,
            kl_weight=self.recipe.algorithm.kl_weight,
        )
        for part in _parts(rows, self.recipe.algorithm.updates) if rows else ():
            part_stats, norm = self._update([*part, *self._worked(part)], factor)
            if not (math.isfinite(part_stats.loss) and math.isfinite(norm)):
                self._reject(f"loss {part_stats.loss}, gradient norm {norm}")
                return None
            if len(norms) > 1:
                part_stats.gap = 0.0  # of the weights that sampled; these have moved on
            stats.add(part_stats)
            norms.append(norm)
        if not all(bool(p.isfinite().all()) for p in self._parameters.values()):
            self._reject("weights that are not finite after the update")
            return None
        progress.step += 1
        progress.tokens += sum(answer.length for group in seen for answer in group.answers)
        self._spend_rollout(seen)
        trained = time.monotonic()
        progress.elapsed_s += trained - began
        if self.recipe.sample_steps and progress.step % self.recipe.sample_steps == 0:
            self._add_samples(groups or seen)
        return {
            "step": progress.step,
            **group_metrics(seen, self._algorithm),
            **stats.metrics(groups),
            "groups": len(groups),
            "grad_norm": round(max(norms), 6),
            "lr_factor": round(factor, 5),
            "max_tokens": most,
            "tokens": progress.tokens,
            "flops": progress.flops,
            "rollout_s": round(sampled - began, 3),
            "train_s": round(trained - sampled, 3),
            "elapsed_s": round(progress.elapsed_s, 1),
        }

    def _update(self, rows: Sequence[Row], factor: float) -> tuple[Stats, float]:
        """One optimizer step. A loss that is no number changes no weight."""
        batches = pack(rows, self.recipe.micro_tokens)
        for batch in batches:
            context = sum(batch.positions_T) * 2 // len(batch.positions_T)
            self._spend(3 * len(batch.inputs_T), context)
        stats = Stats(updates=1)
        parts = self._threads.map(self._gradient, batches)
        for part in add_gradients(list(self._parameters.values()), parts):
            stats.add(part)
        gradients = [p.grad for p in self._parameters.values() if p.grad is not None]
        if not (math.isfinite(stats.loss) and all(bool(g.isfinite().all()) for g in gradients)):
            return stats, math.nan
        return stats, self.optimizer.step(factor)

    def _spend(self, tokens: int, context: int) -> None:
        """Count the FLOP of so many tokens' forward."""
        self.progress.flops += tokens * forward_flops(self.network.config, context)

    def _spend_rollout(self, groups: Sequence[Group]) -> None:
        """Count the FLOP of sampling these groups: a prompt once, every further token of each answer."""
        for group in groups:
            for number, answer in enumerate(group.answers):
                prompt = (*answer.sampled, True).index(True) if number else 0
                self._spend(len(answer.ids) - prompt, len(answer.ids) + prompt)

    def _gradient(self, batch: Batch) -> tuple[Stats, tuple[torch.Tensor, ...]]:
        loss, stats = batch_loss(self.network, batch, self._term, self.reference)
        return stats, torch.autograd.grad(loss, tuple(self._parameters.values()))

    def _worked(self, rows: Sequence[Row]) -> list[Row]:
        """Worked solutions, the recipe's share of the tokens of these rows and themselves."""
        mix = self.recipe.mix
        wanted = mix.share / (1 - mix.share) * sum(len(row.ids) for row in rows)
        worked: list[Row] = []
        while wanted > 0:
            document = self._documents.document(self.progress.cursor)
            self.progress.cursor += 1
            if len(document.ids) > mix.documents.max_len:
                continue
            wanted -= len(document.ids)
            weights = tuple(weight * mix.weight for weight in document.weights)
            mask = tuple(weight > 0 for weight in document.weights)
            stream = Stream(weights, mask, 1.0, sum(document.weights))
            worked.append(Row(document.ids, (0.0,) * len(document.ids), {"ce": stream}))
        return worked

    def _reject(self, why: str) -> None:
        """Back to the last good checkpoint; the steps since are tried again with other answers."""
        step = self.progress.step
        rejected = self._rejected + 1
        if rejected > MOST_REJECTED:
            raise BackendError(
                f"step {step} was rejected {MOST_REJECTED} times in a row: {why}\n"
                f"the checkpoint of step {self.run.checkpoint().name} is whole; resume from it with a "
                "lower optimizer.adam_lr or muon_lr"
            )
        for parameter in self._parameters.values():
            parameter.grad = None
        self._journal.clear()
        self.pools, self._health = self._new_pools(), Health(self.recipe.health)
        self.resume()
        self._rejected = rejected
        record = {
            "step": self.progress.step,
            "event": "rejected",
            "rejected_step": step + 1,
            "why": why,
        }
        self.run.log(record)
        self._report(record)

    def _collect(self) -> tuple[list[Group], list[Group]]:
        """The groups to train on, and all that were sampled; dropped ones are drawn anew, within the bound."""
        recipe = self.recipe
        kept: list[Group] = []
        seen: list[Group] = []
        weights = {name: value.numpy() for name, value in self.weights().items()}
        key = self._key(weights)
        self._load(weights)
        for round_ in range(recipe.sampling.rounds):
            slots = range(recipe.sampling.prompts - len(kept))
            draws = self.pools.draw(self._salted_step(), round_, slots)
            groups = self._sample(draws, key, round_)
            for group in groups:
                self.pools.record(group)
            seen += groups
            kept += [group for group in groups if not is_flat(self._algorithm, group.answers)]
            if len(kept) == recipe.sampling.prompts:
                break
        return kept, seen

    def _salted_step(self) -> int:
        return self.progress.step + self._rejected * 1_000_000

    def weights(self) -> dict[str, torch.Tensor]:
        """The weights of this moment as they are used, adapters merged."""
        return self.network.tensors()

    def _load(self, weights: Mapping[str, Any]) -> None:
        """The next weights version into the engine."""
        self._version += 1
        self._rollouts.config = replace(self._rollouts.config, max_tokens=self._max_tokens())
        self._rollouts.load(self._version, weights)

    def _max_tokens(self) -> int:
        sampling = self.recipe.sampling
        most, first = sampling.max_tokens, sampling.first_max_tokens
        if first is None:
            return most
        share = min(1.0, self.progress.step / max(1, sampling.length_steps))
        return round(first + (most - first) * share)

    def _key(self, weights: Mapping[str, Any]) -> str:
        """What a journal entry must have been sampled with to be used again."""
        digest = hashlib.blake2b(digest_size=16)
        for name, values in weights.items():
            digest.update(name.encode() + values.tobytes())
        place = (self._salted_step(), self.recipe.seed, self._max_tokens(), self.recipe.sampling)
        digest.update(repr((place, self.recipe.reward, self.recipe.weights)).encode())
        return digest.hexdigest()

    def _sample(self, draws: Sequence[Draw], key: str, round_: int) -> list[Group]:
        """A group for every draw, in their order; those in the journal are not sampled again."""
        found = [self._journal.get(key, round_, slot) for slot in range(len(draws))]
        found = [
            group if group is not None and group.draw == draw else None
            for group, draw in zip(found, draws, strict=True)
        ]
        missing = [slot for slot, group in enumerate(found) if group is None]
        asks = [self._ask(draws[slot], round_, slot) for slot in missing]

        def done(index: int, judged: Judged) -> None:
            slot = missing[index]
            reward, most = self.recipe.reward, self._max_tokens()
            answers = tuple(answer_of(j.episode, j.verdict, reward, most) for j in judged)
            group = Group(draws[slot], asks[index].problem.question, answers)
            self._journal.add(key, round_, slot, group)
            found[slot] = group

        self._rollouts.run(asks, done)
        groups = [group for group in found if group is not None]
        assert len(groups) == len(draws), f"{len(groups)} groups of {len(draws)} draws"
        return groups

    def _ask(self, draw: Draw, round_: int, slot: int) -> Ask:
        family, _, band = draw.kind.partition("/")
        problem = generate(family, cast(Band, band), PROBLEM_SEED + self.recipe.seed, draw.index)
        place = f"{self.recipe.seed}/{self._salted_step()}/{round_}/{slot}"
        digest = hashlib.blake2b(place.encode(), digest_size=6).digest()
        return Ask(problem, int.from_bytes(digest, "little"), self.recipe.sampling.samples)

    def probe(self, kind: str, indices: Sequence[int]) -> list[Group]:
        """Groups of these problems by the weights of this moment; nothing is learned and no pool is moved."""
        weights = {name: value.numpy() for name, value in self.weights().items()}
        self._load(weights)
        return self._sample(
            [Draw(kind, index) for index in indices], f"probe {kind} {self._key(weights)}", 0
        )

    def _find_edge(self) -> None:
        """Fills the pools before the first step."""
        for kind in self.pools.pools if self.recipe.pools.probe else ():
            groups = self.probe(kind, range(self.recipe.pools.probe))
            self._spend_rollout(groups)
            for group in groups:
                self.pools.record(group)
            self.pools.pools[kind].cursor = self.recipe.pools.probe
        self._journal.clear()

    def _preflight(self) -> None:
        """A small rollout with the first weights. Raises ConfigError when nothing could be learned from it."""
        recipe = self.recipe
        if recipe.preflight == "skip":
            return
        weights = {name: value.numpy() for name, value in self.weights().items()}
        self._load(weights)
        draws = self._new_pools().draw(0, 0, range(recipe.health.preflight_prompts))
        groups = self._sample(draws, "preflight " + self._key(weights), 0)
        self._spend_rollout(groups)
        self._journal.clear()
        faults = find_faults(groups, self._algorithm, recipe.health)
        if not faults:
            return
        problem = "; ".join(what for what, _ in faults)
        advice = "; ".join(advice for _, advice in faults)
        if recipe.preflight == "refuse":
            raise ConfigError(
                f"this run cannot learn: {problem}",
                f'{advice}; or go on all the same with --set stage.preflight="warn"',
            )
        record = {"step": 0, "event": "preflight", "problem": problem, "advice": advice}
        self.run.log(record)
        self._report(record)

    def _raise_alarms(self, record: Mapping[str, Any]) -> None:
        for alarm in self._health.check(record):
            event = {
                "step": self.progress.step,
                "event": "alarm",
                "alarm": alarm.name,
                "value": round(alarm.value, 5),
                "advice": alarm.advice,
            }
            self.run.log(event)
            self._report(event)

    def _add_samples(self, groups: Sequence[Group]) -> None:
        chosen = groups[: self.recipe.sample_groups]
        values = advantages(self._algorithm, [group.answers for group in chosen])
        for number, (group, given) in enumerate(zip(chosen, values, strict=True)):
            for record in sample_records(group, given, self._tokenizer):
                self.run.add_sample({"step": self.progress.step, "group": number, **record})


def _rollouts(
    recipe: RlRecipe,
    config: ModelConfig,
    template: ChatTemplate,
    how: RolloutConfig,
    path: Path,
    say: Callable[[str], None],
) -> Rollouts | RayRollouts | EndpointRollouts:
    """In this process or on the recipe's workers, the same answers to the bit; or by its endpoint."""
    if recipe.cluster.endpoint:
        folders = recipe.start_from, path / "served"
        return EndpointRollouts(config, template, *folders, how, recipe.cluster)
    if recipe.cluster.rollout_workers:
        return RayRollouts(config, recipe.start_from, how, recipe.cluster, say)
    return Rollouts(config, template, how, ops=make_ops(threads=recipe.threads))


def _network(
    config: ModelConfig, start: Mapping[str, torch.Tensor], weights: TrainedFormat
) -> Network:
    """A network with these weights, whose forward has the bits of the engine's where the native op set is built."""
    network = Network(config, kernels=best_kernels(), weights_format=weights)
    network.load_state_dict(dict(start))
    return network


def _term(recipe: RlRecipe, banned: tuple[int, ...]) -> PolicyTerm:
    """The algorithm's own values, where the recipe gives none."""
    chosen, line = recipe.algorithm, algorithm_of(recipe.algorithm.name)
    return PolicyTerm(
        ratio=line.ratio,
        clip_low=line.clip_low if chosen.clip_low is None else chosen.clip_low,
        clip_high=line.clip_high if chosen.clip_high is None else chosen.clip_high,
        dual_clip=chosen.dual_clip,
        kl=chosen.kl,
        importance_cap=chosen.importance_cap,
        banned_ids=banned,
    )


def _parts(rows: Sequence[Row], count: int) -> list[list[Row]]:
    """The rows of each update: whole groups, dealt out in turn."""
    parts = [[row for row in rows if (row.group or 0) % count == number] for number in range(count)]
    return [part for part in parts if part]
