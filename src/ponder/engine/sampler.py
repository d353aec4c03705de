"""engine/sampler: one token id from one row of logits, under that request's parameters.

Each row's arithmetic is its own, in its own order, so what is sampled depends on nothing else in the batch: rows
are only taken together for `argmax`, elementwise operations and sums along the row. Randomness is one uniform
number a token, a pure function of (seed, choice, position). Order: penalties and bias, top_k, top_p, min_p,
temperature.

Letters: V vocabulary, N rows, M candidates left.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ponder.core.errors import BackendError
from ponder.core.types import SamplingParams

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

BLOCK = 64
TILE = 1 << 18
"""Most numbers that `draw_rows` holds at a time."""

_COUNTER = struct.Struct("<QQQ")


def uniform(seed: int, choice: int, position: int) -> float:
    """A number in [0, 1) from 53 bits of BLAKE2b over the three counters."""
    digest = hashlib.blake2b(_COUNTER.pack(seed, choice, position), digest_size=8).digest()
    return (int.from_bytes(digest, "little") >> 11) * 2.0**-53


class RowSampler:
    """How one choice is sampled, with the counts its penalties need."""

    __slots__ = (
        *("_bias", "_bias_ids", "_choice", "_counts_V", "_params", "_seen_V"),
        *("is_drawn_whole", "is_plain"),
    )

    def __init__(
        self, params: SamplingParams, vocab_size: int, prompt_ids: Sequence[int], choice: int
    ) -> None:
        self._params = params
        self._choice = choice
        self._bias_ids = np.array(list(params.logit_bias), np.int64)
        self._bias = np.array(list(params.logit_bias.values()), np.float32)
        self._counts_V: F32 | None = None
        self._seen_V: NDArray[np.bool_] | None = None
        if params.presence_penalty or params.frequency_penalty:
            self._counts_V = np.zeros(vocab_size, np.float32)
        if params.repetition_penalty != 1:
            self._seen_V = np.zeros(vocab_size, np.bool_)
            self._seen_V[np.array(prompt_ids, np.int64)] = True
        self.is_plain = not self._bias.size and self._counts_V is None and self._seen_V is None
        """Logits are used as they come."""

        plain = params.top_k == 0 and params.top_p == 1 and params.min_p == 0
        self.is_drawn_whole = self.is_plain and plain and params.temperature > 0
        """The id is drawn from the logits as they come, all of them."""

    @property
    def is_greedy(self) -> bool:
        return self._params.temperature == 0

    @property
    def temperature(self) -> float:
        return self._params.temperature

    def chance(self, seed: int, position: int) -> float:
        """The number that decides the id at `position`."""
        return uniform(seed, self._choice, position)

    def observe(self, token_id: int) -> None:
        """Count a completion token, sampled or forced."""
        if self._counts_V is not None:
            self._counts_V[token_id] += 1
        if self._seen_V is not None:
            self._seen_V[token_id] = True

    def sample(self, logits_V: F32, seed: int, position: int, banned_id: int | None) -> int:
        """The id at `position` of the completion; the row is not changed."""
        params = self._params
        if not self.is_plain or banned_id is not None:
            logits_V = self._adjusted(logits_V, banned_id)
        if params.temperature == 0:
            return int(logits_V.argmax())
        ids_M = candidates(logits_V, params.top_k, params.top_p, params.min_p)
        kept_M = logits_V if ids_M is None else logits_V[ids_M]
        index = draw(kept_M, params.temperature, self.chance(seed, position))
        return index if ids_M is None else int(ids_M[index])

    def _adjusted(self, logits_V: F32, banned_id: int | None) -> F32:
        """Penalties as the OpenAI API (presence, frequency) and CTRL (repetition) define them, and bias."""
        params = self._params
        logits_V = logits_V.copy()
        if self._seen_V is not None:
            factor = np.float32(params.repetition_penalty)
            seen = logits_V[self._seen_V]
            logits_V[self._seen_V] = np.where(seen > 0, seen / factor, seen * factor)
        if self._counts_V is not None:
            counts_V = self._counts_V
            logits_V -= np.float32(params.frequency_penalty) * counts_V
            logits_V -= np.float32(params.presence_penalty) * (counts_V > 0)
        if self._bias.size:
            logits_V[self._bias_ids] += self._bias
        if banned_id is not None:
            logits_V[banned_id] = -np.inf
        return logits_V


def candidates(logits_V: F32, top_k: int, top_p: float, min_p: float) -> I64 | None:
    """Ids that top_k, then top_p, then min_p leave, ascending; None: all. Equal logits: the lower id first."""
    ids_M: I64 | None = None
    if 0 < top_k < logits_V.size:
        ids_M = _likeliest(logits_V, top_k)
    if top_p < 1:
        ids_M = _nucleus(logits_V, ids_M, top_p)
    if min_p > 0:
        values_M = logits_V if ids_M is None else logits_V[ids_M]
        kept = np.flatnonzero(np.exp(values_M - values_M.max()) >= np.float32(min_p))
        ids_M = kept if ids_M is None else ids_M[kept]
    return ids_M


def draw(logits_M: F32, temperature: float, at: float) -> int:
    """The index whose share of exp(logits / temperature), summed in order, covers `at` in [0, 1).

    Long rows are summed in blocks first and then inside the block that is hit; one running sum over
    a vocabulary would cost several times the rest of the sampler.
    """
    weights_M = logits_M - logits_M.max()
    weights_M *= np.float32(1 / temperature)
    np.exp(weights_M, out=weights_M)
    num_blocks = weights_M.size // BLOCK
    if num_blocks < 4:
        return _cover(weights_M, at)[0]
    whole = num_blocks * BLOCK
    sums_B = weights_M[:whole].reshape(num_blocks, BLOCK).sum(axis=1)
    if whole < weights_M.size:
        sums_B = np.append(sums_B, weights_M[whole:].sum())
    block, share = _cover(sums_B, at)
    return block * BLOCK + _cover(weights_M[block * BLOCK : (block + 1) * BLOCK], share)[0]


def _cover(weights: F32, at: float) -> tuple[int, float]:
    """The index whose share of the total covers `at`, and where in that share `at` lies, both in [0, 1)."""
    sums = weights.cumsum(dtype=np.float64)
    total = float(sums[-1])
    target = min(at * total, math.nextafter(total, 0))
    index = int(sums.searchsorted(target, side="right"))
    start = float(sums[index - 1]) if index else 0.0
    return index, (target - start) / (float(sums[index]) - start)


def draw_rows(logits_NV: F32, temperatures_N: Sequence[float], at_N: Sequence[float]) -> list[int]:
    """`draw` of every row, the same ids to the bit, for rows of whole blocks."""
    num_rows, size = logits_NV.shape
    num_blocks = size // BLOCK
    assert size % BLOCK == 0 and num_blocks >= 4, f"rows of {size} are not whole blocks"
    found: list[int] = []
    tile = max(1, TILE // size)
    for first in range(0, num_rows, tile):
        logits_RV = logits_NV[first : first + tile]
        weights_RV = logits_RV - logits_RV.max(axis=1, keepdims=True)
        inverse_R = [np.float32(1 / value) for value in temperatures_N[first : first + tile]]
        weights_RV *= np.array(inverse_R, np.float32)[:, None]
        np.exp(weights_RV, out=weights_RV)
        weights_RBK = weights_RV.reshape(-1, num_blocks, BLOCK)
        block_R, share_R = _cover_rows(
            weights_RBK.sum(axis=2), np.array(at_N[first : first + tile])
        )
        hit_RK = weights_RBK[np.arange(len(block_R)), block_R]
        found += (block_R * BLOCK + _cover_rows(hit_RK, share_R)[0]).tolist()
    return found


def _cover_rows(weights_RM: F32, at_R: F64) -> tuple[I64, F64]:
    """`_cover` of every row."""
    sums_RM = weights_RM.cumsum(axis=1, dtype=np.float64)
    total_R = sums_RM[:, -1]
    target_R = np.minimum(at_R * total_R, np.nextafter(total_R, 0))
    index_R = (sums_RM <= target_R[:, None]).sum(axis=1)
    rows = np.arange(len(index_R))
    start_R = np.where(index_R > 0, sums_RM[rows, index_R - 1], 0.0)
    return index_R, (target_R - start_R) / (sums_RM[rows, index_R] - start_R)


def sample_rows(
    samplers: Sequence[RowSampler],
    logits_NV: F32,
    seeds: Sequence[int],
    positions: Sequence[int],
    banned_ids: Sequence[int | None],
) -> list[int]:
    """One id a row. BackendError when a row holds no finite maximum: the model is broken, not the request."""
    ids: list[int] = logits_NV.argmax(axis=1).tolist()
    tops = logits_NV[np.arange(len(ids)), ids]
    if not np.isfinite(tops).all():
        row = int(np.flatnonzero(~np.isfinite(tops))[0])
        raise BackendError(f"the model gave the logit {tops[row]} for token {ids[row]}")
    is_blocked = logits_NV.shape[1] % BLOCK == 0 and logits_NV.shape[1] >= 4 * BLOCK
    together: list[int] = []
    for row, sampler in enumerate(samplers):
        is_free = banned_ids[row] is None
        if is_free and sampler.is_drawn_whole and is_blocked:
            together.append(row)
        elif not (is_free and sampler.is_plain and sampler.is_greedy):
            ids[row] = sampler.sample(logits_NV[row], seeds[row], positions[row], banned_ids[row])
    if together:
        drawn = draw_rows(
            logits_NV if len(together) == len(ids) else logits_NV[together],
            [samplers[row].temperature for row in together],
            [samplers[row].chance(seeds[row], positions[row]) for row in together],
        )
        for row, token_id in zip(together, drawn, strict=True):
            ids[row] = token_id
    return ids


def top_logprobs(logprobs_V: F32, num_top: int) -> tuple[tuple[int, float], ...]:
    """The likeliest ids with their log-probabilities, likeliest first."""
    ids = _likeliest(logprobs_V, num_top)
    order = np.argsort(-logprobs_V[ids], kind="stable")
    return tuple((int(i), float(logprobs_V[i])) for i in ids[order])


def _likeliest(values_V: F32, count: int) -> I64:
    """The ids of the `count` largest values, ascending; of equal values the lower ids."""
    size = values_V.size
    if count >= size:
        return np.arange(size)
    least = np.partition(values_V, size - count)[size - count]
    ids = np.flatnonzero(values_V >= least)
    if ids.size == count:
        return ids
    above = np.flatnonzero(values_V > least)
    level = np.flatnonzero(values_V == least)[: count - above.size]
    return np.sort(np.concatenate((above, level)))


def _nucleus(logits_V: F32, ids_M: I64 | None, top_p: float) -> I64:
    """The smallest set of likeliest ids whose share reaches `top_p`; never empty.

    Ids whose share is below (1 − top_p) / M together hold less than 1 − top_p, so the set is found
    among the others, which are few: sorting a whole large vocabulary would cost milliseconds.
    """
    values_M = logits_V if ids_M is None else logits_V[ids_M]
    weights_M = np.exp(values_M - values_M.max())
    total = float(weights_M.sum(dtype=np.float64))
    if weights_M.size > 4 * BLOCK:
        least = np.float32((1 - top_p) * total / weights_M.size * 0.999)
        near = np.flatnonzero(weights_M >= least)
        order = near[np.argsort(-values_M[near], kind="stable")]
    else:
        order = np.argsort(-values_M, kind="stable")
    sums = weights_M[order].cumsum(dtype=np.float64)
    length = int(sums.searchsorted(top_p * total)) + 1
    kept = np.sort(order[:length])
    return kept if ids_M is None else ids_M[kept]
