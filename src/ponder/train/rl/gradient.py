"""train/rl/gradient: rows → packed micro-batches → loss and gradient. Knows components, no algorithm and no rewards.

The result does not depend on how rows are cut into micro-batches or packed: every token's share of the loss is fixed
before, and only rows that some stream counts are ever computed into a loss.

Letters: T tokens of a micro-batch, N those whose next token some stream counts, M those of one component.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import torch
from torch import Tensor

from ponder.model.view import PackedView
from ponder.train.network import Network
from ponder.train.rl.algorithms import COMPONENTS, Component, Row
from ponder.train.rl.loss import KlKind, Ratio, is_clipped, kl, policy_loss, truncated_importance
from ponder.train.rl.records import Stats


@dataclass(frozen=True, slots=True)
class PolicyTerm:
    """How the policy term is computed: an algorithm's line with the recipe's own values put in."""

    ratio: Ratio
    clip_low: float | None
    clip_high: float
    dual_clip: float | None
    kl: KlKind
    importance_cap: float | None


@dataclass(slots=True)
class Part:
    """One component within a micro-batch."""

    at_M: list[int] = field(default_factory=list[int])
    """Indices among the N."""
    weights_M: list[float] = field(default_factory=list[float])
    shares_M: list[float] = field(default_factory=list[float])
    """Each token's scale, divided by the component's norm over the whole batch."""
    sequence_M: list[int] = field(default_factory=list[int])


@dataclass(slots=True)
class Batch:
    """Rows side by side."""

    inputs_T: list[int] = field(default_factory=list[int])
    targets_T: list[int] = field(default_factory=list[int])
    positions_T: list[int] = field(default_factory=list[int])
    starts_S1: list[int] = field(default_factory=lambda: [0])
    rows_N: list[int] = field(default_factory=list[int])
    recorded_N: list[float] = field(default_factory=list[float])
    groups_S: list[int | None] = field(default_factory=list[int | None])
    parts: dict[Component, Part] = field(default_factory=lambda: defaultdict(Part))


def pack(rows: Sequence[Row], micro_tokens: int) -> list[Batch]:
    """Micro-batches of about `micro_tokens` tokens, short rows first; a row is never cut."""
    norms: dict[Component, float] = defaultdict(float)
    for row in rows:
        for name, stream in row.streams.items():
            norms[name] += stream.norm
    batches: list[Batch] = []
    for row in sorted(rows, key=lambda each: len(each.ids)):
        length = len(row.ids) - 1
        if not batches or len(batches[-1].inputs_T) + length > micro_tokens:
            batches.append(Batch())
        _add(batches[-1], row, norms)
    return batches


def _add(batch: Batch, row: Row, norms: Mapping[Component, float]) -> None:
    first, length, sequence = len(batch.inputs_T), len(row.ids) - 1, len(batch.groups_S)
    batch.inputs_T += row.ids[:-1]
    batch.targets_T += row.ids[1:]
    batch.positions_T += range(length)
    batch.starts_S1.append(first + length)
    batch.groups_S.append(row.group)
    for index in range(length):
        target = index + 1
        counted: list[Component] = [name for name, s in row.streams.items() if s.mask[target]]
        if not counted:
            continue
        for name in counted:
            stream, part = row.streams[name], batch.parts[name]
            part.at_M.append(len(batch.rows_N))
            part.weights_M.append(stream.weights[target])
            part.shares_M.append(stream.scale / norms[name])
            part.sequence_M.append(sequence)
        batch.rows_N.append(first + index)
        batch.recorded_N.append(row.logprobs[target])


def forward(network: Network, batch: Batch) -> tuple[Tensor, Tensor]:
    """Log-probability of the next token, [N], and the entropy there, [N] without gradient."""
    rows_N = torch.tensor(batch.rows_N)
    logits_NV = network(
        torch.tensor(batch.inputs_T),
        torch.tensor(batch.positions_T),
        PackedView(torch.from_numpy(np.asarray(batch.starts_S1, np.int32))),
        rows_N,
    )
    logp_NV = network.ops.log_softmax(logits_NV)
    with torch.no_grad():
        entropy_N = -(logp_NV.exp() * logp_NV).sum(dim=-1)
    targets_N = torch.tensor(batch.targets_T)[rows_N]
    return logp_NV.gather(1, targets_N[:, None])[:, 0], entropy_N


def batch_loss(
    network: Network, batch: Batch, term: PolicyTerm, reference: Network | None = None
) -> tuple[Tensor, Stats]:
    """This micro-batch's share of the loss, and what it saw."""
    logp_N, entropy_N = forward(network, batch)
    stats = Stats()
    total = logp_N.new_zeros(())
    for name in COMPONENTS:
        part = batch.parts.get(name)
        if part is None:
            continue
        at_M = torch.tensor(part.at_M)
        weights_M = torch.tensor(part.weights_M, dtype=logp_N.dtype)
        shares_M = torch.tensor(part.shares_M, dtype=logp_N.dtype)
        if name == "rl":
            losses_M = _policy(logp_N[at_M], weights_M, batch, part, at_M, term, stats)
            _count_entropy(entropy_N[at_M], batch, part, stats)
        elif name == "ce":
            losses_M = -weights_M * logp_N[at_M]
            stats.ce += float((losses_M.detach() * shares_M).sum())
        else:
            assert reference is not None, "the ref_kl component needs a reference"
            with torch.no_grad():
                reference_N = forward(reference, batch)[0]
            losses_M = weights_M * kl(logp_N[at_M], reference_N[at_M], term.kl)
            stats.reference_kl += float((losses_M.detach() * shares_M).sum())
        total = total + (losses_M * shares_M).sum()
    stats.loss = float(total.detach())
    return total, stats


def _policy(
    logp_M: Tensor,
    weights_M: Tensor,
    batch: Batch,
    part: Part,
    at_M: Tensor,
    term: PolicyTerm,
    stats: Stats,
) -> Tensor:
    old_M = torch.tensor(batch.recorded_N, dtype=logp_M.dtype)[at_M]
    with torch.no_grad():
        gaps_M = logp_M.detach() - old_M
        ratios_M = gaps_M.exp()
        stats.tokens += len(part.at_M)
        stats.gap = float(gaps_M.abs().max())
        stats.ratio_max, stats.ratio_min = float(ratios_M.max()), float(ratios_M.min())
        clipped_M = is_clipped(ratios_M, weights_M, term.clip_low, term.clip_high)
        stats.clipped += int(clipped_M.sum())
        stats.kl += float(kl(old_M, logp_M.detach()).sum())
    factor_M = None
    if term.importance_cap is not None:
        factor_M = truncated_importance(logp_M, old_M, term.importance_cap)
        old_M = logp_M.detach()
    losses_M = policy_loss(
        logp_M,
        old_M,
        weights_M,
        clip_low=term.clip_low,
        clip_high=term.clip_high,
        ratio=term.ratio,
        sequence_T=torch.tensor(part.sequence_M),
        dual_clip=term.dual_clip,
    )
    return losses_M if factor_M is None else losses_M * factor_M


def _count_entropy(entropy_M: Tensor, batch: Batch, part: Part, stats: Stats) -> None:
    sequences_M = torch.tensor(part.sequence_M)
    count = len(batch.groups_S)
    sums_S = torch.zeros(count, dtype=torch.float64).index_add(0, sequences_M, entropy_M.double())
    lens_S = torch.bincount(sequences_M, minlength=count)
    sums = cast(list[float], sums_S.tolist())
    lens = cast(list[int], lens_S.tolist())
    for group, total, length in zip(batch.groups_S, sums, lens, strict=True):
        if group is not None and length:
            before = stats.entropy.get(group, (0.0, 0))
            stats.entropy[group] = (before[0] + total, before[1] + length)
