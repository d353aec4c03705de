"""model/ops/scalar: the bit definitions of the float arithmetic that every numpy-like op set shares.

Each operation below is one IEEE-754 binary32 operation rounded to nearest even: no fused multiply-add, no
reassociation, no flush of subnormals.
`native` does the same operations in the same order (compile with `-ffp-contract=off`).

lane_sum(x, n)   16 lanes start at +0. For i = 0 … n−1 ascending: lane[i mod 16] += x[i]. Then the lanes are folded:
                 lane[j] += lane[j + 8] for j < 8, lane[j] += lane[j + 4] for j < 4, += lane[j + 2] for j < 2, and
                 the sum is lane[0] + lane[1].
dot(x, y)        lane_sum of the products x[i]·y[i], each product rounded.
exp32(x)         0 for x < −87; +inf for x > 88; otherwise
                     n = rint(x · LOG2E);  r = (x − n·LN2_HI) − n·LN2_LO
                     p = ((((C6·r + C5)·r + C4)·r + C3)·r + C2)·r;  p = (p + 1)·r + 1
                     result p · 2ⁿ (2ⁿ built from its bits, (n + 127) << 23).
                 Relative error below 3e-7. NaN gives NaN.
silu(x)          x / (1 + exp32(−x))
rms_norm(x)      s = dot(x, x) / float(D);  r = 1 / sqrt(s + eps);  y[i] = (x[i]·r)·weight[i]
rope(a, b)       (a·cos) − (b·sin)  and  (b·cos) + (a·sin)
log_softmax(x)   m = max x;  s = lane_sum of exp32(x[i] − m);  y[i] = (x[i] − m) − float32(log(double(s)))
draw(x, t, at)   w[i] = exp32((x[i] − m)·t);  s[b] = lane_sum of the b-th 64 of them, for at in [0, 1)
                 cover(s, at) finds the block, cover of its weights the place in it; both add in float64, ascending:
                     target = min(at·Σs, the number before Σs);  the first whose running sum is above it is found;
                     the next at is (target − the sum before) / (the sum there − the sum before)
attention        per query row and head, over chunks of 256 absolute slots in ascending order, the last one ragged:
                     score[p] = dot(q, k[p]) · scale;  m_c = max score;  w[p] = exp32(score[p] − m_c)
                     l_c = lane_sum of w (lanes count from the chunk's first slot)
                     o_c[ch] starts at +0; for p ascending: o_c[ch] += w[p]·v[p, ch]
                 merged: the first chunk sets (m, l, o); each later one
                     m' = max(m, m_c);  a = exp32(m − m');  b = exp32(m_c − m')
                     l = l·a + l_c·b;  o[ch] = o[ch]·a + o_c[ch]·b;  m = m'
                 result o[ch] / l. Only slots the row may see take part.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]

LANES = 16
DRAW_BLOCK = 64
"""Weights that a draw sums before it sums the sums: one running sum over a vocabulary is slow."""

LOG2E = np.float32(1.4426950408889634)
LN2_HI = np.float32(0.693359375)
"""Has 9 significant bits, so that n·LN2_HI is exact."""
LN2_LO = np.float32(-2.12194440e-4)
C2 = np.float32(0.4999999403953552)
C3 = np.float32(0.1666652113199234)
C4 = np.float32(0.04166838899254799)
C5 = np.float32(0.00836874544620514)
C6 = np.float32(0.001381455222144723)
"""Minimax fit of exp on |r| ≤ ln(2)/2 with the first two coefficients fixed at 1."""
EXP_MIN = np.float32(-87.0)
EXP_MAX = np.float32(88.0)
_ONE = np.float32(1.0)


def lane_sum(x: NDArray[Any]) -> F32:
    """Sum over the last axis by the definition above; result has one axis less."""
    n = x.shape[-1]
    blocks = -(-n // LANES)
    if blocks * LANES != n:
        padded = np.zeros((*x.shape[:-1], blocks * LANES), np.float32)
        padded[..., :n] = x
        x = padded
    lanes = np.zeros((*x.shape[:-1], LANES), np.float32)
    if blocks <= LANES:
        for block in range(blocks):
            lanes += x[..., block * LANES : (block + 1) * LANES]
    else:  # the same sum in one call: a reduction over an outer axis adds its rows in ascending order
        lanes = np.add.reduce(x.reshape(*x.shape[:-1], blocks, LANES), axis=-2, initial=0.0)
    half = LANES // 2
    while half:
        lanes = lanes[..., :half] + lanes[..., half : 2 * half]
        half //= 2
    return lanes[..., 0]


def exp32(x: NDArray[Any]) -> F32:
    """Exponential by the definition above."""
    clipped = np.clip(x, EXP_MIN, EXP_MAX)
    n = np.rint(clipped * LOG2E)
    r = (clipped - n * LN2_HI) - n * LN2_LO
    p = ((((C6 * r + C5) * r + C4) * r + C3) * r + C2) * r
    p = (p + _ONE) * r + _ONE
    with np.errstate(
        invalid="ignore"
    ):  # a NaN has no exponent; its p is NaN whatever it is scaled by
        bits = (n.astype(np.int32) + np.int32(127)) << np.int32(23)
    result = p * bits.view(np.float32)
    result = np.where(x < EXP_MIN, np.float32(0.0), result)
    return np.where(x > EXP_MAX, np.float32(np.inf), result)


def silu(x: F32) -> F32:
    """x / (1 + exp32(−x))."""
    return np.divide(x, _ONE + exp32(-x), dtype=np.float32)


def rms_norm(x: F32, weight: F32, eps: float) -> F32:
    """Root-mean-square norm over the last axis."""
    mean = lane_sum(x * x) / np.float32(x.shape[-1])
    r: F32 = np.divide(_ONE, np.sqrt(mean + np.float32(eps)), dtype=np.float32)
    return (x * r[..., None]) * weight


def log_softmax(x: F32) -> F32:
    """Log-probabilities over the last axis."""
    shifted = x - x.max(axis=-1, keepdims=True)
    total = lane_sum(exp32(shifted))
    return shifted - np.log(total.astype(np.float64)).astype(np.float32)[..., None]


def draw(x_NV: F32, inverse_N: F32, at_N: F64) -> I64:
    """For each row the index that `at` in [0, 1) falls on among shares exp(x · inverse temperature)."""
    num_rows, size = x_NV.shape
    blocks = -(-size // DRAW_BLOCK)
    w_NBK = np.zeros((num_rows, blocks * DRAW_BLOCK), np.float32)
    shifted_NV = x_NV - x_NV.max(axis=1, keepdims=True)
    w_NBK[:, :size] = exp32(shifted_NV * inverse_N[:, None])
    w_NBK = w_NBK.reshape(num_rows, blocks, DRAW_BLOCK)
    block_N, share_N = _cover(lane_sum(w_NBK), at_N)
    index_N, _ = _cover(w_NBK[np.arange(num_rows), block_N], share_N)
    return block_N * DRAW_BLOCK + index_N


def _cover(w_NM: F32, at_N: F64) -> tuple[I64, F64]:
    sums_NM = w_NM.cumsum(axis=1, dtype=np.float64)
    total_N = sums_NM[:, -1]
    target_N = np.minimum(at_N * total_N, np.nextafter(total_N, 0))
    index_N = (sums_NM <= target_N[:, None]).sum(axis=1)
    rows = np.arange(len(index_N))
    start_N = np.where(index_N > 0, sums_NM[rows, index_N - 1], 0.0)
    return index_N, (target_N - start_N) / (sums_NM[rows, index_N] - start_N)


def float32_of(stored: NDArray[Any]) -> F32:
    """Exact float32 values of a stored tensor: float32, float16, or uint16 holding the bits of bfloat16."""
    if stored.dtype == np.uint16:
        return (stored.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return np.ascontiguousarray(stored, np.float32)


def bfloat16_bits(x: NDArray[Any]) -> NDArray[np.uint16]:
    """Bits of float32 values rounded to bfloat16, to nearest even; a NaN stays a quiet NaN."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    quiet = (bits >> np.uint32(16)) | np.uint32(0x40)
    return np.where(np.isnan(x), quiet, rounded).astype(np.uint16)


def rounded(x: NDArray[Any]) -> F32:
    """Numbers rounded to bfloat16 as float32; those below 2⁻¹²⁶ in size become 0."""
    found = float32_of(bfloat16_bits(x))
    return np.where(np.abs(found) < np.finfo(np.float32).tiny, found * np.float32(0), found)


def bf16_linear(x_TK: F32, weight_KE: F32, bias_E: F32 | None) -> F32:
    """x·W + b of numbers that were `rounded`, so that products are exact.

    A sum starts at the bias. Of each 32 columns in turn, the even ones and the odd ones are added apart, ascending, and
    their sum is added to it (the order of a tile of AMX).
    """
    if weight_KE.shape[1] == 1:  # numpy adds rows one after the other, but a lone column in pairs
        return bf16_linear(x_TK, np.repeat(weight_KE, 2, 1), bias_E)[:, :1].copy()
    y_TE = np.zeros((len(x_TK), weight_KE.shape[1]), np.float32)
    y_TE += 0 if bias_E is None else bias_E
    for first in range(0, len(weight_KE), 32):
        even, odd = (slice(at, min(first + 32, len(weight_KE)), 2) for at in (first, first + 1))
        terms = (
            np.multiply(x_TK.T[k, :, None], weight_KE[k, None], order="C") for k in (even, odd)
        )
        y_TE += sum(map(np.add.reduce, terms))
    return y_TE


def split(x_TXC: F32, sizes: tuple[int, ...]) -> tuple[F32, ...]:
    """Views cut along the second axis."""
    ends = list(itertools.accumulate(sizes))
    return tuple(x_TXC[:, end - size : end] for size, end in zip(sizes, ends, strict=True))
