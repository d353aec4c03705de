"""verl 0.9.1: its core algorithms on the same float64 log-probabilities give our losses, gradients and advantages.

What differs by convention: a mean over tokens divides by their number + 1e-8 (a sequence's mean here, REINFORCE++'s
mean and variance), so those agree to that; the dual clip is always on, at 3 by default; k3 is clamped to ±10 and
log-ratios to ±20, beyond what these batches hold; a group of one has advantage r in verl and 0 in ours.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from aggregates import aggregate
from batches import MAX_TOKENS, Batch, assert_same

from ponder.train.rl import loss as our_loss
from ponder.train.rl.algorithms import leave_one_out, standardised, whitened

pytestmark = pytest.mark.slow
EPS = 1e-8


@pytest.fixture(scope="module")
def verl() -> Any:
    import verl.trainer.ppo.core_algos as core_algos

    return core_algos


def actor(batch: Batch, dual_clip: float) -> Any:
    from verl.workers.config import ActorConfig

    low = batch.term.clip_low
    return ActorConfig(
        strategy="fsdp", rollout_n=1, ppo_micro_batch_size_per_gpu=1, use_dynamic_bsz=True,
        clip_ratio_low=0.0 if low is None else low, clip_ratio_high=batch.term.clip_high, clip_ratio_c=dual_clip,
        global_batch_info={"loss_scale_factor": MAX_TOKENS},
    )  # fmt: skip


def exact_BT(batch: Batch) -> torch.Tensor:
    """Weights that turn verl's division by length + 1e-8 into one by length."""
    lens_B1 = batch.mask_BT.sum(1, keepdim=True)
    return (lens_B1 + EPS) / lens_B1


CASES: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "ppo, token mean": ("dapo", {"dual_clip": 3.0}, "vanilla", "token-mean"),
    "ppo, dual clip": ("dapo", {"dual_clip": 1.1}, "vanilla", "token-mean"),
    "ppo, sequence mean": ("grpo", {"dual_clip": 3.0}, "vanilla", "seq-mean-token-mean"),
    "ppo, constant": ("dr_grpo", {"dual_clip": 3.0}, "vanilla", "seq-mean-token-sum-norm"),
    "gspo": ("gspo", {}, "gspo", "seq-mean-token-mean"),
    "cispo, both sides": ("cispo", {"clip_low": 0.2}, "cispo", "token-mean"),
}


@pytest.mark.parametrize("tools", [False, True], ids=["plain", "tool mask"])
@pytest.mark.parametrize("case", CASES)
def test_loss_and_gradient_are_verl_s(verl, case, tools):
    name, changes, policy, how = CASES[case]
    batch = Batch(name, tools, **changes)
    values_BT = batch.advantages_B[:, None].expand_as(batch.mask_BT)
    if how == "seq-mean-token-mean":
        values_BT = values_BT * exact_BT(batch)
    loss, _ = getattr(verl, f"compute_policy_loss_{policy}")(
        old_log_prob=batch.old_BT,
        log_prob=batch.logps_BT(),
        advantages=values_BT,
        response_mask=batch.mask_BT,
        loss_agg_mode=how,
        config=actor(batch, changes.get("dual_clip", 3.0)),
    )
    assert_same(batch.ours(), batch.theirs(loss))


@pytest.mark.parametrize("how", ["token-mean", "seq-mean-token-mean", "seq-mean-token-sum-norm"])
def test_aggregations_are_verl_s(verl, how):
    batch = Batch("grpo", True)
    losses_BT = batch.old_BT.sin() * (exact_BT(batch) if how == "seq-mean-token-mean" else 1)
    found = verl.agg_loss(losses_BT, batch.mask_BT, how, loss_scale_factor=MAX_TOKENS)
    kept = batch.mask_BT.bool()
    sequences = torch.arange(len(kept))[:, None].expand_as(kept)[kept]
    names = {"token-mean": "token", "seq-mean-token-mean": "sequence"}
    ours = aggregate(batch.old_BT.sin()[kept], sequences, names.get(how, "constant"), MAX_TOKENS)
    assert abs(float(found) - float(ours)) < 1e-10


@pytest.mark.parametrize("kind", ["k1", "k2", "k3"])
def test_kl_estimators_are_verl_s(verl, kind):
    generator = torch.Generator().manual_seed(0)
    p, q = (torch.rand(50, generator=generator, dtype=torch.float64) * 2 for _ in range(2))
    p.requires_grad_()
    ours, theirs = our_loss.kl(p, q, kind), verl.kl_penalty(p, q, kind)
    assert torch.allclose(ours, theirs, atol=1e-12)
    (a,), (b,) = (torch.autograd.grad(x.sum(), p) for x in (ours, theirs))
    assert torch.allclose(a, b, atol=1e-12)


def test_advantages_are_verl_s(verl):
    rng = np.random.default_rng(0)
    lens_PG = rng.integers(3, 12, (5, 8))
    rewards_PG = rng.random((5, 8))
    mask_BT = torch.tensor(np.arange(12) < lens_PG.reshape(-1, 1), dtype=torch.float64)
    rewards_BT = torch.zeros(40, 12, dtype=torch.float64)
    rewards_BT[torch.arange(40), torch.tensor(lens_PG.reshape(-1)) - 1] = torch.tensor(
        rewards_PG.reshape(-1)
    )
    index = np.repeat(np.arange(5), 8)
    for ours, theirs in (
        (standardised, verl.compute_grpo_outcome_advantage),
        (leave_one_out, verl.compute_rloo_outcome_advantage),
    ):
        found_BT, _ = theirs(rewards_BT.clone(), mask_BT, index)
        expected = [value for rewards_G in rewards_PG.tolist() for value in ours(rewards_G)]
        assert torch.allclose(
            found_BT[:, 0], torch.tensor(expected, dtype=torch.float64), atol=1e-10
        )
    from verl.trainer.config import AlgoConfig

    found_BT, _ = verl.compute_reinforce_plus_plus_outcome_advantage(
        rewards_BT.clone(), mask_BT, config=AlgoConfig(gamma=1.0)
    )
    expected = whitened(rewards_PG.reshape(-1).tolist(), lens_PG.reshape(-1).tolist())
    assert torch.allclose(found_BT[:, 0], torch.tensor(expected, dtype=torch.float64), atol=1e-9)
