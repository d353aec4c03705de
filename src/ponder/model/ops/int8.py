"""model/ops/int8: the definition, to the bit, of linear layers with int8 weights and int8 activations (W8A8).

Columns (the summed axis, K of them) fall into groups of 128 in ascending order; the last may be shorter. A weight row
and an activation row are quantised alike, group by group, from their float32 values:

    s = max|x| / 127                 one fp32 division
    q = rint(x / s) clipped to ±127  one fp32 division an element, half to even;  q = 0 where s is 0

and the product of one row with one weight row is

    y = 0;  for g ascending:  y = y + float32(dot_g) · (s_w[g] · s_x[g])
    y = y + bias                     when there is one

with dot_g the exact integer dot product of the group (below 2²⁴, so exact in fp32) and every · and + rounded to fp32
on its own. No value of a finite model overflows; a row with NaN or infinity gives unspecified numbers, never a crash.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ponder.model.ops.scalar import F32

GROUP = 128
QMAX = np.float32(127.0)


def num_groups(columns: int) -> int:
    """Groups of a row of this many columns."""
    return -(-columns // GROUP)


def quantise(x_NK: F32) -> tuple[NDArray[np.int8], F32]:
    """(q [N, groups, 128] with zeros beyond K, scales [N, groups])."""
    rows, columns = x_NK.shape
    groups = num_groups(columns)
    if groups * GROUP != columns:
        padded = np.zeros((rows, groups * GROUP), np.float32)
        padded[:, :columns] = x_NK
        x_NK = padded
    grouped = x_NK.reshape(rows, groups, GROUP)
    scales = np.abs(grouped).max(axis=-1) / QMAX
    with np.errstate(divide="ignore", invalid="ignore"):
        q = np.clip(np.rint(grouped / scales[..., None]), -QMAX, QMAX)
        q = np.where(scales[..., None] == 0, np.float32(0.0), q).astype(np.int8)
    return q, scales


def linear(x_TK: F32, weight_GKN: F32, scales_GN: F32, bias_N: F32 | None) -> F32:
    """The product above; `weight_GKN` holds the integers q as float32, [groups, 128, N], in which BLAS is exact."""
    q, scales_TG = quantise(x_TK)
    dots_GTN = np.matmul(q.transpose(1, 0, 2).astype(np.float32), weight_GKN)
    y = np.zeros((x_TK.shape[0], scales_GN.shape[1]), np.float32)
    for g in range(scales_GN.shape[0]):
        y += dots_GTN[g] * (scales_GN[g] * scales_TG[:, g, None])
    return y if bias_N is None else y + bias_N
