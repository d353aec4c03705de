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

import torch
from torch import Tensor

from ponder.model.view import PackedView
from ponder.train.network import Network, token_logprobs
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
    banned_ids: tuple[int, ...] = ()
    """What the sampler could not choose; has no share in the policy's nor the reference's distribution."""


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
    positions_T: list[int] = field(default_factory=list[int])
    starts_S1: list[int] = field(default_factory=lambda: [0])
    parents_S: list[int] = field(default_factory=list[int])
    """The sequence that holds the prompt of this one, or −1: a group's prompt is computed once."""
    rows_N: list[int] = field(default_factory=list[int])
    targets_N: list[int] = field(default_factory=list[int])
    recorded_N: list[float] = field(default_factory=list[float])
    is_policy_N: list[bool] = field(default_factory=list[bool])
    """True where the token was sampled and the policy is compared there with the sampler's."""
    groups_S: list[int | None] = field(default_factory=list[int | None])
    parts: dict[Component, Part] = field(default_factory=lambda: defaultdict(Part))
    prompts: dict[tuple[int, ...], int] = field(default_factory=dict[tuple[int, ...], int])
    """Ids of a prompt → the sequence that holds it."""

    def open_sequence(self, ids: Sequence[int], first: int, parent: int, group: int | None) -> None:
        """Ids side by side with the rest, at positions from `first` on."""
        self.inputs_T += ids
        self.positions_T += range(first, first + len(ids))
        self.starts_S1.append(len(self.inputs_T))
        self.parents_S.append(parent)
        self.groups_S.append(group)


def pack(rows: Sequence[Row], micro_tokens: int, shares: bool = True) -> list[Batch]:
    """Micro-batches of about `micro_tokens` tokens; a row is never cut.

    Rows of one group stand together, and with `shares` their common prompt is computed once in a micro-batch.
    """
    norms: dict[Component, float] = defaultdict(float)
    for row in rows:
        for name, stream in row.streams.items():
            norms[name] += stream.norm
    batches: list[Batch] = []
    for row in sorted(rows, key=lambda each: (each.group is None, each.group or 0, len(each.ids))):
        if not batches or len(batches[-1].inputs_T) + len(row.ids) - 1 > micro_tokens:
            batches.append(Batch())
        _add(batches[-1], row, norms, shares)
    return [batch for batch in batches if batch.rows_N]


def _add(batch: Batch, row: Row, norms: Mapping[Component, float], shares: bool) -> None:
    masks = [stream.mask for stream in row.streams.values()]
    counted = [target for target in range(1, len(row.ids)) if any(mask[target] for mask in masks)]
    if not counted:
        return
    common = row.ids[: counted[0] - 1] if shares and row.group is not None else ()
    parent = -1
    if common:
        if common not in batch.prompts:
            batch.prompts[common] = len(batch.parents_S)
            batch.open_sequence(common, 0, -1, None)
        parent = batch.prompts[common]
    before = len(batch.inputs_T) - len(common)
    sequence = len(batch.parents_S)
    batch.open_sequence(row.ids[len(common) : -1], len(common), parent, row.group)
    for target in counted:
        for name, stream in row.streams.items():
            if stream.mask[target]:
                part = batch.parts[name]
                part.at_M.append(len(batch.rows_N))
                part.weights_M.append(stream.weights[target])
                part.shares_M.append(stream.scale / norms[name])
                part.sequence_M.append(sequence)
        batch.rows_N.append(before + target - 1)
        batch.targets_N.append(row.ids[target])
        batch.recorded_N.append(row.logprobs[target])
        batch.is_policy_N.append("rl" in row.streams and row.streams["rl"].mask[target])


def forward(
    network: Network, batch: Batch, banned_ids: Sequence[int] = ()
) -> tuple[Tensor, Tensor]:
    """Log-probabilities of the targets, [N], and the entropies there, [N] without gradient."""
    starts_S1 = torch.tensor(batch.starts_S1, dtype=torch.int32)
    return token_logprobs(
        network,
        torch.tensor(batch.inputs_T),
        torch.tensor(batch.positions_T),
        PackedView(starts_S1, tuple(batch.parents_S)),
        torch.tensor(batch.rows_N),
        torch.tensor(batch.targets_N),
        banned_NV=(torch.tensor(batch.is_policy_N), banned_ids) if banned_ids else None,
    )


def batch_loss(
    network: Network, batch: Batch, term: PolicyTerm, reference: Network | None = None
) -> tuple[Tensor, Stats]:
    """This micro-batch's share of the loss, and what it saw."""
    logp_N, entropy_N = forward(network, batch, term.banned_ids)
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
        elif name == "ce":
            losses_M = -weights_M * logp_N[at_M]
            stats.ce += float((losses_M.detach() * shares_M).sum())
        else:
            assert reference is not None, "the ref_kl component needs a reference"
            with torch.no_grad():
                reference_N = forward(reference, batch, term.banned_ids)[0]
            losses_M = weights_M * kl(logp_N[at_M], reference_N[at_M], term.kl)
            stats.reference_kl += float((losses_M.detach() * shares_M).sum())
        if name != "ref_kl":
            _count_entropy(entropy_N[at_M], batch, part, stats)
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
