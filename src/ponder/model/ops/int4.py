"""model/ops/int4: the definition, to the bit, of linear layers with four-bit weights and int8 activations (W4A8).

Columns fall into blocks of 128 as in `int8`, and blocks into groups of 32; rows are padded with zeros to whole groups.
A block has a scale S, which is a bf16 number, a group two whole numbers s ≤ 15 and m ≤ 255, a weight a code c ≤ 15:

    w ≈ S · (s·c − m)                4.5 bits a weight: 4 + (4 + 8) / 32 + 16 / 128

so that a block of weights is S times whole numbers q from −255 to 225, and the product is that of `int8` with these:
exact dot products below 2²⁴, folded block by block. A kernel may take s and m out of the sums: Σ s·(Σ c·x) − m·(Σ x).

Quantising searches, for every group, the s and m of least squared error. With u = w / S, low and high the extremes of
w in the group and 0, d = (high − low) / 15:

    S = bf16(max d of the block / 15);  s₀ = rint(d / S)
    for s in s₀ − 3 … s₀ + 1, held in 1 … 15, and for t in −1/3, 0, 1/3:
        m = rint(7.5·s − (low/S + high/S) / 2 + t·s);  c = rint((u + m) / s)      held in 0 … 255 and 0 … 15
        twice:  m = rint(Σ (s·c − u) / 32);  c = rint((u + m) / s)
        error = Σ (u − (s·c − m))²

keeps the first of the smallest errors. Every operation is one of fp32; sums are in sixteen lanes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ponder.model.ops.int8 import GROUP, num_groups
from ponder.model.ops.scalar import F32, lane_sum, rounded

SMALL_GROUP = 32
_ONE = np.float32(1)
_THIRD = np.float32(1 / 3)
_STARTS = (-_THIRD, np.float32(0), _THIRD)
_STEPS = (-3, -2, -1, 0, 1)


class Codes(NamedTuple):
    """A quantised matrix: N rows, B blocks of 128 columns, 4 groups each."""

    scales_NB: F32
    s_NBG: F32
    m_NBG: F32
    c_NBGI: F32

    def numbers(self) -> NDArray[np.float32]:
        """The whole numbers s·c − m, [N, B, 128]."""
        q_NBGI = self.s_NBG[..., None] * self.c_NBGI - self.m_NBG[..., None]
        return q_NBGI.reshape(*self.scales_NB.shape, GROUP)


def quantise(x_NK: F32) -> Codes:
    """Rows of float32 numbers; what pads the last block stands for 0."""
    rows, columns = x_NK.shape
    blocks, filled = num_groups(columns), -(-columns // SMALL_GROUP)
    w = np.zeros((rows, blocks * GROUP), np.float32)
    w[:, :columns] = x_NK
    w = w.reshape(rows, blocks, GROUP // SMALL_GROUP, SMALL_GROUP)
    low, high = np.minimum(w.min(-1), 0), np.maximum(w.max(-1), 0)
    d = (high - low) / np.float32(15)
    scales = rounded(d.max(-1) / np.float32(15))
    with np.errstate(divide="ignore", invalid="ignore"):
        s, m, c = _search(w, low, high, d, scales[..., None])
    empty = scales[..., None] == 0
    is_pad = np.arange(blocks * 4).reshape(blocks, 4) >= filled
    s, m = (np.where(empty | is_pad, np.float32(0), each) for each in (s, m))
    c = np.where((empty | is_pad)[..., None], np.float32(0), c)
    return Codes(scales, s, m, c)


def _search(w: F32, low: F32, high: F32, d: F32, scale: F32) -> tuple[F32, F32, F32]:
    u, middle = w / scale[..., None], (low / scale + high / scale) * np.float32(0.5)
    first = np.rint(d / scale)
    least: F32 | None = None
    best: tuple[F32, F32, F32] | None = None
    for step in _STEPS:
        s = np.clip(first + np.float32(step), _ONE, np.float32(15))
        for start in _STARTS:
            m = _held(np.float32(7.5) * s - middle + start * s, 255)
            c = _held((u + m[..., None]) / s[..., None], 15)
            for _ in range(2):
                mean = lane_sum(s[..., None] * c - u) * np.float32(1 / SMALL_GROUP)
                m = _held(mean, 255)
                c = _held((u + m[..., None]) / s[..., None], 15)
            away = u - (s[..., None] * c - m[..., None])
            error = lane_sum(away * away)
            if least is None or best is None:
                least, best = error, (s, m, c)
                continue
            better = error < least
            least = np.where(better, error, least)
            s_best, m_best, c_best = best
            c_best = np.where(better[..., None], c, c_best)
            best = np.where(better, s, s_best), np.where(better, m, m_best), c_best
    assert best is not None, "nothing was tried"
    return best


def _held(x: NDArray[Any], high: int) -> F32:
    return np.clip(np.rint(x), np.float32(0), np.float32(high))
