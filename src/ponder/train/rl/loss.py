"""train/rl/loss: per-token losses as pure functions of tensors in any float dtype; no model, no configuration.

Letters: T sampled tokens, packed; `sequence_T` is the number of the sequence a token belongs to, from 0 on.
A loss is what is minimised. Conventions: log-ratio and k3 are not clamped; clipping bounds are 1 − low and 1 + high.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Ratio = Literal["token", "sequence", "cispo"]
KlKind = Literal["k1", "k2", "k3"]


def ratios(
    logp_T: Tensor, old_T: Tensor, ratio: Ratio = "token", sequence_T: Tensor | None = None
) -> Tensor:
    """Importance ratios [T]; `sequence` (GSPO, arXiv 2507.18071): exp of the mean log-ratio of the token's sequence."""
    log_ratio_T = logp_T - old_T
    if ratio == "sequence":
        assert sequence_T is not None, "a sequence ratio needs sequence_T"
        count = int(sequence_T.max()) + 1 if sequence_T.numel() else 0
        sums_S = log_ratio_T.new_zeros(count).index_add(0, sequence_T, log_ratio_T)
        lens_S = torch.bincount(sequence_T, minlength=count).to(log_ratio_T.dtype)
        log_ratio_T = (sums_S / lens_S.clamp(min=1))[sequence_T]
    return log_ratio_T.exp()


def policy_loss(
    logp_T: Tensor,
    old_T: Tensor,
    advantages_T: Tensor,
    *,
    clip_low: float | None = 0.2,
    clip_high: float = 0.28,
    ratio: Ratio = "token",
    sequence_T: Tensor | None = None,
    dual_clip: float | None = None,
) -> Tensor:
    """The policy term of each token [T], not yet averaged.

    `token`, `sequence`: −min(r·A, clip(r, 1 − low, 1 + high)·A), PPO's with two bounds (DAPO, arXiv 2503.14476).
    `dual_clip` c > 1: where A < 0 the loss is at most −c·A (arXiv 1912.09729).
    `cispo` (arXiv 2506.13585): −clamp(r)·A·logp with the clamped ratio detached; `clip_low` None clamps above only.
    """
    r_T = ratios(logp_T, old_T, ratio, sequence_T)
    low = None if clip_low is None else 1 - clip_low
    clipped_T = r_T.clamp(min=low, max=1 + clip_high)
    if ratio == "cispo":
        return -clipped_T.detach() * advantages_T * logp_T
    loss_T = -torch.minimum(r_T * advantages_T, clipped_T * advantages_T)
    if dual_clip is not None:
        bounded_T = torch.minimum(loss_T, -dual_clip * advantages_T)
        loss_T = torch.where(advantages_T < 0, bounded_T, loss_T)
    return loss_T


def is_clipped(
    ratios_T: Tensor, advantages_T: Tensor, clip_low: float | None, clip_high: float
) -> Tensor:
    """Which tokens' ratios lie beyond the bound that stops their gradient [T]."""
    above_T = (ratios_T > 1 + clip_high) & (advantages_T > 0)
    if clip_low is None:
        return above_T
    return above_T | ((ratios_T < 1 - clip_low) & (advantages_T < 0))


def kl(logp_T: Tensor, reference_T: Tensor, kind: KlKind = "k3") -> Tensor:
    """Estimates of KL(policy ‖ reference) at each token [T], Schulman's names.

    k1 = log p/q, k2 = (log p/q)²/2, k3 = q/p − 1 − log q/p; p the policy, q the reference.
    """
    gap_T = reference_T - logp_T
    if kind == "k1":
        return -gap_T
    if kind == "k2":
        return gap_T.square() / 2
    return gap_T.exp() - gap_T - 1


def truncated_importance(trainer_T: Tensor, sampler_T: Tensor, cap: float) -> Tensor:
    """min(p_trainer / p_sampler, cap) [T], detached: corrects for a sampler whose numbers differ from the trainer's."""
    return (trainer_T - sampler_T).detach().exp().clamp(max=cap)
