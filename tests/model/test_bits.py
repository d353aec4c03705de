"""The arithmetic contract for `reference`: a sequence's numbers are the same bits however it is computed."""

from __future__ import annotations

import numpy as np
import pytest
from toy import toy_config

from ponder.core.errors import PromptError
from ponder.model.folder import random_model
from ponder.model.view import PackedView, PagedView

LENGTHS = [1, 2, 17, 40, 255, 256, 257, 300]


@pytest.fixture(scope="module", params=["fp32", "bf16", "int8", "int4"])
def model(request):
    config = toy_config(architectures=["Qwen3ForCausalLM"], head_dim=16, hidden_size=136)
    return random_model(config, request.param, "reference", seed=5)


@pytest.fixture(scope="module")
def sequences():
    rng = np.random.default_rng(9)
    lengths = LENGTHS + rng.integers(1, 30, 24).tolist()
    return [rng.integers(0, 131, length).astype(np.int32) for length in lengths]


@pytest.fixture(scope="module")
def alone(model, sequences):
    return [model.log_softmax(model.logits(forward_packed(model, [ids]))) for ids in sequences]


def forward_packed(model, sequences):
    starts = np.cumsum([0, *(len(ids) for ids in sequences)]).astype(np.int32)
    positions = np.concatenate([np.arange(len(ids)) for ids in sequences]).astype(np.int32)
    return model.forward(np.concatenate(sequences), positions, PackedView(starts))


def test_packed_batch_of_32(model, sequences, alone):
    assert len(sequences) == 32
    batch = model.log_softmax(model.logits(forward_packed(model, sequences)))
    assert np.array_equal(batch, np.concatenate(alone))


@pytest.mark.parametrize(("page_len", "chunk"), [(16, 1000), (16, 64), (32, 13)])
def test_paged_batch_in_chunks(model, sequences, alone, page_len, chunk):
    """All sequences advance together by ragged chunks, their pages scattered over the pool."""
    rng = np.random.default_rng(page_len)
    most = -(-max(LENGTHS) // page_len)
    need = [-(-len(ids) // page_len) for ids in sequences]
    free = rng.permutation(sum(need) + 3)
    pages = np.full((len(sequences), most), -1, np.int32)
    for s, count in enumerate(need):
        pages[s, :count], free = free[:count], free[count:]
    pool = model.new_pool(sum(need) + 3, page_len)
    for kept in (pool.keys, pool.values):  # what an earlier user left is no number
        kept.view(np.uint8)[:] = 255
    done = np.zeros(len(sequences), np.int32)
    results = [[] for _ in sequences]
    while True:
        active = [s for s, ids in enumerate(sequences) if done[s] < len(ids)]
        if not active:
            break
        parts = [sequences[s][done[s] : done[s] + chunk + 5 * (s % 3)] for s in active]
        starts = np.cumsum([0, *(len(part) for part in parts)]).astype(np.int32)
        positions = np.concatenate(
            [np.arange(done[s], done[s] + len(p)) for s, p in zip(active, parts)]
        )
        view = PagedView(pool, starts, done[active].copy(), pages[active])
        hidden = model.forward(np.concatenate(parts), positions.astype(np.int32), view)
        logprobs = model.log_softmax(model.logits(hidden))
        for s, first, last in zip(active, starts, starts[1:]):
            results[s].append(logprobs[first:last])
            done[s] += last - first
    for s, parts in enumerate(results):
        assert np.array_equal(np.concatenate(parts), alone[s]), f"sequence of {len(sequences[s])}"


def test_score_is_the_same_numbers(model, sequences, alone):
    for ids, logprobs in zip(sequences, alone):
        expected = logprobs[np.arange(len(ids) - 1), ids[1:]]
        scores = model.score(ids.tolist())
        assert scores.dtype == np.float32
        assert np.array_equal(scores, expected)


@pytest.mark.parametrize(
    ("ids", "sentence"),
    [
        ([], "0 token ids"),
        ([1, 131], "token id 131 at position 1"),
        ([-1], "allowed are 0 to 130"),
        ([1] * 513, "513"),
    ],
)
def test_score_refuses(model, ids, sentence):
    with pytest.raises(PromptError, match=sentence):
        model.score(ids)


def test_random_model_is_seeded():
    config = toy_config()
    first, again, other = (random_model(config, "fp32", "reference", seed=s) for s in (1, 1, 2))
    ids = [3, 1, 4, 1, 5]
    assert np.array_equal(first.score(ids), again.score(ids))
    assert not np.array_equal(first.score(ids), other.score(ids))
