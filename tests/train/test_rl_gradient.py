"""train/rl: what the gradient depends on, and what it does not: masks, packing, micro-batches, shared prompts."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch
from toy import toy_config

from ponder.train.network import Network
from ponder.train.rl.algorithms import Row, Stream
from ponder.train.rl.gradient import PolicyTerm, batch_loss, pack
from ponder.train.rl.records import Stats

TERM = PolicyTerm("token", 0.2, 0.28, None, "k3", None)
CONFIG = toy_config()


def network() -> Network:
    made = Network(CONFIG, seed=3)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(
                0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
            )
    return made.double()


def rows() -> list[Row]:
    """Groups with common prompts and tool tokens in the middle, and two worked solutions."""
    rng = random.Random(5)
    made: list[Row] = []
    for group in range(3):
        prompt = [rng.randrange(CONFIG.vocab_size) for _ in range(4 + group)]
        for _ in range(3):
            length = rng.randint(6, 15)
            ids = (*prompt, *(rng.randrange(CONFIG.vocab_size) for _ in range(length)))
            at = len(prompt)
            mask = tuple(at <= i and not at + 2 <= i < at + 4 for i in range(len(ids)))
            value = rng.uniform(-1, 1)
            logprobs = tuple(rng.uniform(-6, -3) if m else 0.0 for m in mask)
            policy = Stream(tuple(value * m for m in mask), mask, 1.0, sum(mask))
            anchor = Stream(tuple(0.1 * m for m in mask), mask, 1.0, sum(mask))
            made.append(Row(ids, logprobs, {"rl": policy, "ref_kl": anchor}, group))
    for _ in range(2):
        ids = tuple(rng.randrange(CONFIG.vocab_size) for _ in range(9))
        mask = (False,) * 3 + (True,) * 6
        made.append(
            Row(ids, (0.0,) * 9, {"ce": Stream(tuple(0.1 * m for m in mask), mask, 1.0, 6)})
        )
    return made


def gradient(model: Network, taken: list[Row], micro: int, shares: bool = True, term=TERM):
    total, stats = torch.zeros((), dtype=torch.float64), Stats()
    for batch in pack(taken, micro, shares):
        loss, part = batch_loss(model, batch, term, reference=ANCHOR)
        total = total + loss
        stats.add(part)
    return total, torch.autograd.grad(total, tuple(model.parameters())), stats


ANCHOR = Network(CONFIG, seed=4).double()


@pytest.mark.parametrize("ratio", ["token", "sequence", "cispo"])
def test_independent_of_micro_batches_packing_and_order(ratio):
    model, taken, term = network(), rows(), replace(TERM, ratio=ratio)
    want, wanted, seen = gradient(model, taken, 1, shares=False, term=term)
    shuffled = random.Random(1).sample(taken, len(taken))
    for micro, shares, order in ((40, False, taken), (60, True, shuffled), (10_000, True, taken)):
        loss, found, stats = gradient(model, order, micro, shares, term)
        assert abs(loss - want) < 1e-10
        assert max((a - b).abs().max() for a, b in zip(found, wanted, strict=True)) < 1e-10
        assert stats.tokens == seen.tokens and stats.clipped == seen.clipped > 0
        assert stats.ratio_max == pytest.approx(seen.ratio_max, abs=1e-10)


def test_a_shared_prompt_is_computed_once():
    alone, shared = (sum(len(b.inputs_T) for b in pack(rows(), 10_000, s)) for s in (False, True))
    assert alone - shared == 2 * (
        3 + 4 + 5
    )  # three samples a group, prompts of 4, 5, 6 ids but the last


def test_masked_tokens_have_exactly_no_gradient():
    """What stands at a masked place changes no bit; a row with nothing but masked tokens adds nothing at all."""
    model, taken = network(), rows()
    _, wanted, _ = gradient(model, taken, 10_000)

    def spoilt(row: Row) -> Row:
        streams = {
            name: replace(
                s, weights=tuple(w if m else 1e30 for w, m in zip(s.weights, s.mask, strict=True))
            )
            for name, s in row.streams.items()
        }
        mask = next(iter(row.streams.values())).mask
        logprobs = tuple(p if m else -1e30 for p, m in zip(row.logprobs, mask, strict=True))
        return replace(row, logprobs=logprobs, streams=streams)

    nothing = Stream((1.0,) * 5, (False,) * 5, 1.0, 0.0)
    more = [*map(spoilt, taken), Row((1, 2, 3, 4, 5), (0.0,) * 5, {"rl": nothing}, 0)]
    _, found, _ = gradient(model, more, 10_000)
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


def test_a_token_is_weighed_by_its_own_advantage_alone():
    """The gradient of one row is its advantages times ∇ log p, by plain autograd."""
    model = network()
    ids = torch.arange(8)
    mask = (False,) * 4 + (True,) * 4
    hidden = model(ids[:-1], torch.arange(7), _alone(7), torch.arange(3, 7))
    logp = hidden.log_softmax(-1).gather(1, ids[4:, None])[:, 0]
    want = torch.autograd.grad(-0.7 * logp.mean(), tuple(model.parameters()))
    recorded = (0.0,) * 4 + tuple(logp.tolist())
    row = Row(tuple(range(8)), recorded, {"rl": Stream((0.7,) * 8, mask, 1.0, 4.0)}, 0)
    _, found, stats = gradient(model, [row], 100)
    assert stats.gap < 1e-12
    assert max((a - b).abs().max() for a, b in zip(found, want, strict=True)) < 1e-10


def _alone(length: int):
    from ponder.model.view import PackedView

    return PackedView(torch.tensor([0, length], dtype=torch.int32))
