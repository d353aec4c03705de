"""engine/sampler: one token id from one row of logits, under that request's parameters.

Each row's arithmetic is its own, in its own order, so what is sampled depends on nothing else in the batch: rows
are only taken together for `argmax` and by the op set's `sample`. Randomness is one uniform
number a token, a pure function of (seed, choice, position). Order: penalties and bias, top_k, top_p, min_p,
temperature.

Letters: V vocabulary, N rows, M candidates left.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from ponder.core.errors import BackendError
from ponder.core.types import SamplingParams
from ponder.model.ops import scalar
from ponder.model.ops.protocol import Ops
from ponder.model.ops.scalar import F32, F64, I64

_COUNTER = struct.Struct("<QQQ")


def uniforms(keys: Iterable[tuple[int, int, int]]) -> F64:
    """For each (seed, choice, position) a number in [0, 1) from 53 bits of BLAKE2b over the three counters."""
    pack = _COUNTER.pack
    digests = b"".join([blake2b(pack(*key), digest_size=8).digest() for key in keys])
    return (np.frombuffer(digests, "<u8") >> np.uint64(11)).astype(np.float64) * 2.0**-53


class RowSampler:
    """How one choice is sampled, with the counts its penalties need."""

    __slots__ = (
        *("_bias", "_bias_ids", "_counts_V", "_is_plain", "_params", "_seen_V"),
        *("choice", "counts", "inverse", "is_drawn_whole", "is_greedy"),
    )

    def __init__(
        self, params: SamplingParams, vocab_size: int, prompt_ids: Sequence[int], choice: int
    ) -> None:
        self._params = params
        self.choice = choice
        self._bias_ids = np.array(list(params.logit_bias), np.int64)
        self._bias = np.array(list(params.logit_bias.values()), np.float32)
        self._counts_V: F32 | None = None
        self._seen_V: NDArray[np.bool_] | None = None
        if params.presence_penalty or params.frequency_penalty:
            self._counts_V = np.zeros(vocab_size, np.float32)
        if params.repetition_penalty != 1:
            self._seen_V = np.zeros(vocab_size, np.bool_)
            self._seen_V[np.array(prompt_ids, np.int64)] = True
        self.counts = self._counts_V is not None or self._seen_V is not None
        """Completion tokens matter: `observe` them."""
        self._is_plain = not self._bias.size and not self.counts
        is_hot = params.temperature > 0
        self.inverse = 1 / params.temperature if is_hot else 1.0
        whole = params.top_k == 0 and params.top_p == 1 and params.min_p == 0
        self.is_drawn_whole = self._is_plain and whole and is_hot
        """The id is drawn from the logits as they come, all of them."""
        self.is_greedy = self._is_plain and not is_hot
        """The id is the likeliest by the logits as they come."""

    def observe(self, token_id: int) -> None:
        """Count a completion token, sampled or forced."""
        if self._counts_V is not None:
            self._counts_V[token_id] += 1
        if self._seen_V is not None:
            self._seen_V[token_id] = True

    def sample(self, logits_V: F32, seed: int, position: int, banned_id: int | None) -> int:
        """The id at `position` of the completion; the row is not changed."""
        params = self._params
        if not self._is_plain or banned_id is not None:
            logits_V = self._adjusted(logits_V, banned_id)
        if params.temperature == 0:
            return int(logits_V.argmax())
        ids_M = candidates(logits_V, params.top_k, params.top_p, params.min_p)
        kept_M = logits_V if ids_M is None else logits_V[ids_M]
        at_N = uniforms([(seed, self.choice, position)])
        inverse_N = np.array([self.inverse], np.float32)
        index = int(scalar.draw(kept_M[None], inverse_N, at_N)[0])
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


def sample_rows(
    ops: Ops,
    samplers: Sequence[RowSampler],
    logits_NV: F32,
    seeds: Sequence[int],
    positions: Sequence[int],
    banned_ids: Sequence[int | None],
) -> tuple[list[int], list[float | None]]:
    """One id a row, and its raw log-probability where that fell out: where `ops` drew it from the logits as they came.

    BackendError when a row holds no finite maximum: the model is broken, not the request.
    """
    num_rows = len(samplers)
    ids = [0] * num_rows
    logprobs: list[float | None] = [None] * num_rows
    drawn = [
        row
        for row, (sampler, banned_id) in enumerate(zip(samplers, banned_ids, strict=True))
        if sampler.is_drawn_whole and banned_id is None
    ]
    if drawn:
        drawn_NV = logits_NV if len(drawn) == num_rows else logits_NV[drawn]
        inverse_N = np.array([samplers[row].inverse for row in drawn], np.float32)
        keys = [(seeds[row], samplers[row].choice, positions[row]) for row in drawn]
        ids_N, logprobs_N = ops.sample(drawn_NV, inverse_N, uniforms(keys))
        if np.isnan(logprobs_N).any():
            _greediest(drawn_NV)
        if len(drawn) == num_rows:
            return ids_N.tolist(), logprobs_N.tolist()
        for row, token_id, logprob in zip(drawn, ids_N.tolist(), logprobs_N.tolist(), strict=True):
            ids[row], logprobs[row] = token_id, logprob
    others = sorted(set(range(num_rows)).difference(drawn))
    for row, greediest in zip(others, _greediest(logits_NV[others]), strict=True):
        sampler, banned_id = samplers[row], banned_ids[row]
        ids[row] = (
            greediest
            if sampler.is_greedy and banned_id is None
            else sampler.sample(logits_NV[row], seeds[row], positions[row], banned_id)
        )
    return ids, logprobs


def _greediest(logits_NV: F32) -> list[int]:
    """The likeliest id of each row; BackendError where there is none."""
    ids: list[int] = logits_NV.argmax(axis=1).tolist()
    tops = logits_NV[np.arange(len(ids)), ids]
    if not np.isfinite(tops).all():
        row = int(np.flatnonzero(~np.isfinite(tops))[0])
        raise BackendError(f"the model gave the logit {tops[row]} for token {ids[row]}")
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
    if weights_M.size > 256:
        least = np.float32((1 - top_p) * total / weights_M.size * 0.999)
        near = np.flatnonzero(weights_M >= least)
        order = near[np.argsort(-values_M[near], kind="stable")]
    else:
        order = np.argsort(-values_M, kind="stable")
    sums = weights_M[order].cumsum(dtype=np.float64)
    length = int(sums.searchsorted(top_p * total)) + 1
    kept = np.sort(order[:length])
    return kept if ids_M is None else ids_M[kept]
