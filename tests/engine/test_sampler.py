"""The sampler against plain definitions: supports exact, frequencies by chi-square, rows independent."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ponder.core.errors import BackendError
from ponder.core.types import SamplingParams
from ponder.engine.sampler import (
    RowSampler,
    candidates,
    sample_rows,
    top_logprobs,
    uniforms,
)
from ponder.model.ops import scalar
from ponder.model.ops.reference import ReferenceOps

ROWS = st.lists(st.integers(-20, 20), min_size=2, max_size=40).map(
    lambda values: np.array(values, np.float32) / 4
)


def uniform(seed: int, choice: int, position: int) -> float:
    return float(uniforms([(seed, choice, position)])[0])


def draw(row, temperature: float, at: float) -> int:
    return int(scalar.draw(row[None], np.array([1 / temperature], np.float32), np.array([at]))[0])


def by_likelihood(row) -> list[int]:
    return sorted(range(len(row)), key=lambda i: (-row[i], i))


def probabilities(row):
    weights = np.exp(row.astype(np.float64) - row.max())
    return weights / weights.sum()


def support(row, top_k: int, top_p: float, min_p: float) -> list[int]:
    """Sort, keep k, keep the shortest head that reaches p, drop what is far below the best."""
    kept = by_likelihood(row)[: top_k or None]
    if top_p < 1:
        shares = probabilities(row[kept])
        reached = np.cumsum(shares)
        assume(np.abs(reached - top_p).min() > 1e-6)  # no verdict on a knife's edge
        kept = kept[: int((reached < top_p).sum()) + 1]
    ratios = np.exp(row[kept].astype(np.float64) - row.max())
    assume(np.abs(ratios - min_p).min() > 1e-6)
    return sorted(i for i, ratio in zip(kept, ratios) if ratio >= min_p)


@given(
    ROWS,
    st.integers(0, 45),
    st.sampled_from([1.0, 0.95, 0.5, 0.01]),
    st.sampled_from([0.0, 0.05, 0.7]),
)
@settings(max_examples=200, deadline=None)
def test_the_support_is_exact(row, top_k, top_p, min_p):
    expected = support(row, top_k, top_p, min_p)
    found = candidates(row, top_k, top_p, min_p)
    assert (list(range(len(row))) if found is None else found.tolist()) == expected


def test_the_support_is_exact_in_a_large_vocabulary():
    rng = np.random.default_rng(0)
    row = (rng.standard_normal(50_000) * 3).astype(np.float32)
    order = by_likelihood(row)
    for top_k, top_p in ((0, 0.9), (0, 0.999), (100, 0.95), (20, 1.0)):
        kept = candidates(row, top_k, top_p, 0).tolist()
        assert kept == sorted(order[: len(kept)])
        shares = probabilities(row[order[: top_k or None]])
        assert shares[: len(kept)].sum() >= top_p - 1e-6
        assert top_p == 1 or shares[: len(kept) - 1].sum() < top_p + 1e-6


def test_draws_follow_the_distribution():
    """Chi-square over 12 outcomes that span blocks; 40 is far above the 0.9999 quantile of 11 degrees (37.4)."""
    rng = np.random.default_rng(1)
    row = np.full(1000, -30, np.float32)
    outcomes = np.array([0, 1, 63, 64, 65, 300, 301, 511, 640, 959, 960, 999])
    row[outcomes] = rng.standard_normal(12) * 1.5
    for temperature in (0.5, 1.0, 2.0):
        count = 5000
        drawn = [draw(row, temperature, uniform(7, 0, i)) for i in range(count)]
        expected = probabilities(row.astype(np.float64) / temperature)
        seen = np.bincount(drawn, minlength=1000)
        rest = 1 - expected[outcomes].sum()
        assert rest < 1e-3
        assert seen.sum() - seen[outcomes].sum() <= count * rest * 5 + 5
        want = expected[outcomes] * count
        assert ((seen[outcomes] - want) ** 2 / want).sum() < 40, temperature


@given(ROWS, st.floats(0, 1, exclude_max=True), st.sampled_from([0.01, 0.7, 1.0, 3.0]))
@settings(max_examples=200, deadline=None)
def test_a_draw_is_the_inverse_of_the_distribution_function(row, at, temperature):
    shares = probabilities(row.astype(np.float64) / temperature)
    index = draw(row, temperature, at)
    sums = np.concatenate(([0], np.cumsum(shares)))
    assert sums[index] - 1e-5 <= at <= sums[index + 1] + 1e-5
    assert shares[index] > 0


def test_long_rows_draw_as_the_definition_does():
    rng = np.random.default_rng(2)
    for size in (255, 256, 257, 2048, 5003):
        row = (rng.standard_normal(size) * 2).astype(np.float32)
        sums = np.concatenate(([0], np.cumsum(probabilities(row))))
        for at in [0.0, 1 - 2.0**-53, *rng.random(200)]:
            index = draw(row, 1.0, float(at))
            assert sums[index] - 1e-6 <= at <= sums[index + 1] + 1e-6


def test_uniform_numbers_are_uniform_and_keyed():
    numbers = np.array([uniform(s, c, p) for s in range(8) for c in range(4) for p in range(300)])
    assert len(set(numbers)) == len(numbers)
    counts = np.histogram(numbers, 20, (0, 1))[0]
    want = len(numbers) / 20
    assert ((counts - want) ** 2 / want).sum() < 55
    assert abs(np.corrcoef(numbers[:-1], numbers[1:])[0, 1]) < 0.04
    assert uniform(1, 2, 3) == uniform(1, 2, 3) != uniform(1, 3, 2)
    assert uniform((1 << 64) - 1, 0, 0) < 1


PENALTIES = SamplingParams(
    temperature=0,
    presence_penalty=0.5,
    frequency_penalty=0.25,
    repetition_penalty=1.5,
    logit_bias={3: 2.0, 4: -100.0},
)


@given(
    ROWS.filter(lambda row: len(row) >= 8),
    st.lists(st.integers(0, 7), max_size=9),
    st.none() | st.integers(0, 7),
)
@settings(max_examples=100, deadline=None)
def test_penalties_and_bias_follow_their_definitions(row, said, banned):
    prompt = (1, 2, 2)
    sampler = RowSampler(PENALTIES, len(row), prompt, 0)
    for token_id in said:
        sampler.observe(token_id)
    adjusted = row.copy()
    for i in range(len(row)):
        if i in prompt or i in said:
            adjusted[i] = (
                adjusted[i] / np.float32(1.5) if adjusted[i] > 0 else adjusted[i] * np.float32(1.5)
            )
        if i in said:
            adjusted[i] = adjusted[i] - np.float32(0.25) * said.count(i) - np.float32(0.5)
        adjusted[i] += {3: 2, 4: -100}.get(i, 0)
    if banned is not None:
        adjusted[banned] = -np.inf
    assume(len(np.unique(adjusted.round(4))) == len(adjusted))
    before = row.copy()
    assert sampler.sample(row, 0, 0, banned) == int(np.argmax(adjusted))
    assert np.array_equal(row, before)


def test_a_row_is_sampled_the_same_in_any_company():
    rng = np.random.default_rng(3)
    logits_NV = (rng.standard_normal((32, 777)) * 3).astype(np.float32)
    ways = [
        SamplingParams(temperature=t, top_k=k, top_p=p, min_p=m)
        for t, k, p, m in ((0, 0, 1, 0), (1, 0, 1, 0), (0.6, 20, 0.95, 0), (0.8, 0, 0.9, 0.02))
    ]
    samplers = [RowSampler(ways[i % 4], 777, (), i) for i in range(32)]
    positions = list(range(32))
    ops = ReferenceOps()
    ids, logprobs = sample_rows(ops, samplers, logits_NV, [5] * 32, positions, [None] * 32)
    logprobs_NV = ops.log_softmax(logits_NV)
    for i in range(32):
        alone = sample_rows(ops, [samplers[i]], logits_NV[i : i + 1].copy(), [5], [i], [None])
        assert alone == ([ids[i]], [logprobs[i]])
        assert logprobs[i] == (logprobs_NV[i, ids[i]] if i % 4 == 1 else None)


def test_logits_that_are_no_numbers_are_an_error():
    row = np.zeros((1, 9), np.float32)
    row[0, 4] = np.nan
    for temperature in (0.0, 1.0):
        sampler = RowSampler(SamplingParams(temperature=temperature), 9, (), 0)
        with pytest.raises(BackendError, match="logit nan for token 4"):
            sample_rows(ReferenceOps(), [sampler], row, [0], [0], [None])


def test_alternatives_are_the_likeliest_first_and_ties_by_lower_id():
    row = np.array([-3, -1, -2, -1, -5, -2], np.float32)
    assert top_logprobs(row, 4) == ((1, -1.0), (3, -1.0), (2, -2.0), (5, -2.0))
    assert len(top_logprobs(row, 99)) == 6
