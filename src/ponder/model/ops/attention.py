"""model/ops/attention: the definition of attention in numpy, and how rows and pages reach it.

Letters: T rows of a sequence, R rows of a block, P slots, K key/value heads, G query heads that share one, C head size.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ponder.model.ops.scalar import F32, bf16_linear, exp32, lane_sum, rounded
from ponder.model.view import ATTENTION_CHUNK, KVFormat, KVPool, PagedView, View

_ROWS = 16
"""Rows done at a time, aligned to absolute slots: they divide a chunk, so a block's rows see equally many chunks."""


def attend(q_THC: F32, k_TKC: F32, v_TKC: F32, view: View, layer: int, kv: KVFormat) -> F32:
    """Attention of all sequences of a view; writes the pool of a `PagedView` first."""
    if kv == "bf16":
        q_THC, k_TKC, v_TKC = map(rounded, (q_THC, k_TKC, v_TKC))
    out = np.empty(q_THC.shape, np.float32)
    starts = [int(start) for start in view.starts_S1]
    for s, (first, last) in enumerate(itertools.pairwise(starts)):
        rows = slice(first, last)
        if isinstance(view, PagedView):
            cached = int(view.lengths_S[s])
            pages = np.asarray(view.pages_SP[s])
            write_rows(view.pool, layer, pages, cached, k_TKC[rows], v_TKC[rows])
            k_PKC, v_PKC = read_rows(view.pool, layer, pages, cached + last - first)
        else:
            parent = view.parents_S[s] if view.parents_S else -1
            before = slice(starts[parent], starts[parent + 1]) if parent >= 0 else slice(0)
            k_PKC, v_PKC = (np.concatenate([x[before], x[rows]]) for x in (k_TKC, v_TKC))
            cached = len(k_PKC) - (last - first)
        out[rows] = attend_sequence(q_THC[rows], k_PKC, v_PKC, cached, kv)
    return out


def write_rows(
    pool: KVPool, layer: int, pages: NDArray[Any], first: int, k_TKC: F32, v_TKC: F32
) -> None:
    """Rows into slots `first`, `first` + 1, … of the sequence that owns these pages."""
    slots = np.arange(first, first + len(k_TKC))
    page, offset = pages[slots // pool.page_len], slots % pool.page_len
    pool.keys[layer, page, :, offset] = k_TKC
    pool.values[layer, page, :, offset] = v_TKC


def read_rows(pool: KVPool, layer: int, pages: NDArray[Any], length: int) -> tuple[F32, F32]:
    """(k_PKC, v_PKC) of slots 0 … length − 1."""
    used = pages[: -(-length // pool.page_len)]

    def gather(stored: NDArray[Any]) -> F32:
        paged = stored[layer, used].transpose(0, 2, 1, 3)
        return paged.reshape(-1, *paged.shape[2:])[:length]

    return gather(pool.keys), gather(pool.values)


def attend_sequence(q_THC: F32, k_PKC: F32, v_PKC: F32, cached: int, kv: KVFormat) -> F32:
    """Rows at slots `cached` … of one sequence over its slots 0 …; with bf16 all three hold rounded numbers."""
    rows, heads, size = q_THC.shape
    kv_heads = k_PKC.shape[1]
    q_TKGC = q_THC.reshape(rows, kv_heads, heads // kv_heads, size)
    k_KPC = np.ascontiguousarray(k_PKC.transpose(1, 0, 2))
    v_PKC = np.ascontiguousarray(v_PKC)
    out = np.empty(q_TKGC.shape, np.float32)
    row = 0
    while row < rows:
        slot = cached + row
        stop = min(rows, row + _ROWS - slot % _ROWS)
        out[row:stop] = _attend_block(q_TKGC[row:stop], k_KPC, v_PKC, slot, kv == "bf16")
        row = stop
    return out.reshape(rows, heads, size)


def _weighted(w_RKGP: F32, v_PKC: F32) -> F32:
    """Sums of values, [R, K, G, C], slot by slot."""
    w_PRKG = np.ascontiguousarray(np.moveaxis(w_RKGP, -1, 0))
    terms = np.multiply(w_PRKG[..., None], v_PKC[:, None, :, None], order="C")
    return np.add.reduce(terms, axis=0, initial=0.0)  # outer axis: in ascending order of slots


def _bf16_products(x_RKGI: F32, weight_KIE: F32) -> F32:
    """A linear layer for each key/value head, [R, K, G, E]."""
    rows, _, group, width = x_RKGI.shape
    found = [
        bf16_linear(x_RKGI[:, head].reshape(-1, width), weight_IE, None)
        for head, weight_IE in enumerate(weight_KIE)
    ]
    return np.stack([each.reshape(rows, group, -1) for each in found], 1)


def _attend_block(q_RKGC: F32, k_KPC: F32, v_PKC: F32, slot: int, is_bf16: bool) -> F32:
    scale = np.float32(q_RKGC.shape[-1] ** -0.5)
    rows = len(q_RKGC)
    visible = slot + rows
    high = total = o = None
    for start in range(0, visible, ATTENTION_CHUNK):
        end = min(start + ATTENTION_CHUNK, visible)
        k_KXC, v_XKC = k_KPC[:, start:end], v_PKC[start:end]
        if is_bf16:
            score = _bf16_products(q_RKGC, k_KXC.transpose(0, 2, 1)) * scale
        else:
            score = lane_sum(q_RKGC[:, :, :, None] * k_KXC[None, :, None]) * scale
        if end > slot + 1:
            seen = np.arange(start, end) <= slot + np.arange(rows)[:, None]
            score = np.where(seen[:, None, None], score, np.float32(-np.inf))
        high_c = score.max(axis=-1)
        w = exp32(score - high_c[..., None])
        total_c = lane_sum(w)
        if is_bf16:
            o_c = _bf16_products(rounded(w), v_XKC.transpose(1, 0, 2))
        else:
            o_c = _weighted(w, v_XKC)
        if high is None or total is None or o is None:
            high, total, o = high_c, total_c, o_c
            continue
        higher = np.maximum(high, high_c)
        a, b = exp32(high - higher), exp32(high_c - higher)
        total = total * a + total_c * b
        o = o * a[..., None] + o_c * b[..., None]
        high = higher
    assert total is not None and o is not None, f"no slot is visible to {rows} rows at slot {slot}"
    return o / total[..., None]
