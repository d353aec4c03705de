"""train/rl: advantages by hand, estimators against a bandit whose gradient is known, losses against closed forms."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from aggregates import aggregate

from ponder.core.errors import ConfigError
from ponder.train.rl.algorithms import (
    ALGORITHMS,
    advantages,
    algorithm_of,
    centred,
    is_flat,
    leave_one_out,
    standardised,
    streams,
    whitened,
)
from ponder.train.rl.loss import kl, policy_loss, ratios, truncated_importance

F64 = torch.float64


@dataclass(frozen=True)
class Done:
    """An answer of `length` sampled ids after two given ones."""

    reward: float | None
    length: int = 3

    @property
    def ids(self):
        return tuple(range(2 + self.length))

    @property
    def logprobs(self):
        return (0.0,) * 2 + (-1.0,) * self.length

    @property
    def sampled(self):
        return (False,) * 2 + (True,) * self.length

    @property
    def is_right(self):
        return bool(self.reward)


def test_advantages_by_hand():
    assert centred([1, 0, 0, 0]) == [0.75, -0.25, -0.25, -0.25]
    assert leave_one_out([1, 0, 0, 0]) == pytest.approx([1, -1 / 3, -1 / 3, -1 / 3])
    assert standardised([1, 0, 0, 0], 0) == pytest.approx([1.5, -0.5, -0.5, -0.5])  # std 1/2, n − 1
    assert standardised([1, 1]) == [0, 0] and standardised([1]) == leave_one_out([1]) == [0]
    tokens = torch.tensor([1.0] * 2 + [0.0] * 6, dtype=F64)  # rewards 1 and 0 on 2 and 6 tokens
    wanted = (tokens - tokens.mean()) / (tokens.var() + 1e-8).sqrt()
    assert whitened([1, 0], [2, 6]) == pytest.approx([float(wanted[0]), float(wanted[-1])])


def test_undecided_answers_carry_no_loss_and_move_no_mean():
    groups = [[Done(1.0), Done(None), Done(0.0)]]
    assert advantages(ALGORITHMS["centred"], groups) == [[0.5, None, -0.5]]
    rows = streams(ALGORITHMS["centred"], groups, max_tokens=9)
    assert [row.streams["rl"].weights for row in rows] == [
        (0, 0, 0.5, 0.5, 0.5),
        (0, 0, -0.5, -0.5, -0.5),
    ]


@pytest.mark.parametrize(("name", "flat"), [("centred", True), ("grpo", False), ("dapo", True)])
def test_flat_groups(name, flat):
    for reward in (0.0, 1.0):
        assert is_flat(algorithm_of(name), [Done(reward)] * 4) == flat
    assert not is_flat(algorithm_of(name), [Done(0.0), Done(1.0)])


def test_expert_iteration_is_cross_entropy_on_right_answers():
    rows = streams(ALGORITHMS["expert"], [[Done(1.0, 2), Done(0.0)]], max_tokens=9)
    assert len(rows) == 1 and set(rows[0].streams) == {"ce"}
    assert rows[0].streams["ce"].weights == (0, 0, 1, 1) and rows[0].streams["ce"].norm == 2
    assert is_flat(ALGORITHMS["expert"], [Done(0.0)]) and not is_flat(
        ALGORITHMS["expert"], [Done(1.0)]
    )


@pytest.mark.parametrize(
    ("name", "how"), [("centred", "token"), ("grpo", "sequence"), ("dr_grpo", "constant")]
)
def test_streams_add_up_to_the_aggregation(name, how):
    """Σ scale · f / Σ norm is the plain mean that each paper writes."""
    groups = [[Done(1.0, 2), Done(0.0, 5)], [Done(0.0, 1), Done(1.0, 4)]]
    rows = streams(ALGORITHMS[name], groups, max_tokens=8)
    taken = [row.streams["rl"] for row in rows]
    total = sum(s.scale * w * m for s in taken for w, m in zip(s.weights, s.mask, strict=True))
    losses = torch.tensor(
        [w for s in taken for w, m in zip(s.weights, s.mask, strict=True) if m], dtype=F64
    )
    sequences = torch.tensor([i for i, s in enumerate(taken) for m in s.mask if m])
    wanted = aggregate(losses, sequences, how, 8)
    assert total / sum(s.norm for s in taken) == pytest.approx(float(wanted), abs=1e-12)


def test_an_unknown_algorithm_lists_those_there_are():
    with pytest.raises(ConfigError, match="allowed are centred, grpo"):
        algorithm_of("ppo")


def loss(at, advantage, **options):
    logp = torch.tensor(at, dtype=F64).log().requires_grad_()
    values = policy_loss(
        logp, torch.zeros_like(logp), torch.tensor(advantage, dtype=F64), **options
    )
    (gradient,) = torch.autograd.grad(values.sum(), logp)
    return values.detach().tolist(), gradient.tolist()


def test_clipping_by_hand():
    values, gradients = loss([2.0, 0.5, 2.0, 0.5], [1.0, 1.0, -1.0, -1.0])
    assert values == pytest.approx([-1.28, -0.5, 2.0, 0.8])
    assert gradients == pytest.approx([0, -0.5, 2.0, 0])
    values, _ = loss([2.0, 2.0, 0.5], [2.0, -2.0, 2.0], clip_high=0.2, dual_clip=1.5)
    assert values == pytest.approx([-2.4, 3.0, -1.0])  # the case of slime's tests
    values, gradients = loss([2.0, 0.1], [3.0, 1.0], ratio="cispo", clip_low=None, clip_high=0.28)
    assert gradients == pytest.approx(
        [-1.28 * 3, -0.1]
    )  # the clamped ratio is a constant, never a wall


def test_sequence_ratio_is_the_geometric_mean():
    logp = torch.tensor([0.1, 0.3, -0.2], dtype=F64)
    found = ratios(logp, torch.zeros(3, dtype=F64), "sequence", torch.tensor([0, 0, 1]))
    assert found.tolist() == pytest.approx([math.exp(0.2), math.exp(0.2), math.exp(-0.2)])


def test_kl_estimates_average_to_the_divergence():
    """k1 and k3 are unbiased: their expectation under p is Σ p log p/q."""
    p = torch.tensor([0.5, 0.3, 0.2], dtype=F64)
    q = torch.tensor([0.2, 0.3, 0.5], dtype=F64)
    true = float((p * (p / q).log()).sum())
    for kind in ("k1", "k3"):
        assert float((p * kl(p.log(), q.log(), kind)).sum()) == pytest.approx(true, abs=1e-12)
    assert (kl(p.log(), q.log(), "k3") >= 0).all() and (kl(p.log(), p.log(), "k3") == 0).all()


def test_truncated_importance_is_capped_and_carries_no_gradient():
    trainer = torch.tensor([0.0, 1.0], dtype=F64, requires_grad=True)
    found = truncated_importance(trainer, torch.zeros(2, dtype=F64), 2.0)
    assert found.tolist() == pytest.approx([1.0, 2.0]) and not found.requires_grad


GROUP = 4


def bandit(name: str, chance: float) -> float:
    """The exact expected gradient of an estimator for one coin: right with probability `chance` = σ(θ), reward 0 or 1.

    Summed over all 2^G groups with their probabilities; d log p(right)/dθ = 1 − chance, d log p(wrong)/dθ = −chance.
    """
    total = 0.0
    for outcome in range(1 << GROUP):
        rewards = [float(outcome >> index & 1) for index in range(GROUP)]
        right = sum(rewards)
        probability = chance**right * (1 - chance) ** (GROUP - right)
        (values,) = advantages(ALGORITHMS[name], [[Done(reward, 1) for reward in rewards]])
        slopes = [1 - chance if reward else -chance for reward in rewards]
        total += probability * sum(a * s for a, s in zip(values, slopes, strict=True)) / GROUP
    return total


@pytest.mark.parametrize("chance", [0.1, 0.5, 0.8])
def test_bandit_with_a_known_gradient(chance):
    true = chance * (1 - chance)
    assert bandit("rloo", chance) == pytest.approx(true, rel=1e-12)
    assert bandit("centred", chance) == pytest.approx(true * (1 - 1 / GROUP), rel=1e-12)
    factor = sum(  # standardising: every mixed group counts √(k(n−k)(n−1)/n)/n whatever it weighs in truth
        math.comb(GROUP, k) * chance**k * (1 - chance) ** (GROUP - k)
        * math.sqrt(k * (GROUP - k) * (GROUP - 1) / GROUP) / GROUP
        for k in range(1, GROUP)
    )  # fmt: skip
    assert bandit("grpo", chance) == pytest.approx(factor, rel=1e-5)
    assert bandit("grpo", chance) > 1.2 * true
