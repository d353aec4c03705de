"""model/rope: inverse frequencies and the table of angles. Float64 here, once; the op sets see float32 rows."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ponder.model.config import ModelConfig, RopeConfig

_BLOCK = 1024
"""Positions computed at a time: always this many, so that a row's bits do not depend on how far a table has grown."""


def inverse_frequencies(rope: RopeConfig, head_dim: int) -> NDArray[np.float64]:
    """Radians a position for each of head_dim / 2 angles."""
    plain = rope.theta ** (-np.arange(0, head_dim, 2, dtype=np.float64) / head_dim)
    if rope.kind == "yarn":
        return _yarn(rope, head_dim, plain)
    if rope.kind == "llama3":
        return _llama3(rope, plain)
    return plain


def yarn_bounds(rope: RopeConfig, head_dim: int) -> tuple[float, float]:
    """(low, high): the angles between which YaRN's ramp runs (Peng et al. 2023, section 3.2)."""

    def turning(rotations: float) -> float:
        length = rope.original_max_positions / (rotations * 2 * math.pi)
        return head_dim * math.log(length) / (2 * math.log(rope.theta))

    low, high = turning(rope.beta_fast), turning(rope.beta_slow)
    if rope.truncate:
        low, high = math.floor(low), math.ceil(high)
    return max(low, 0), min(high, head_dim - 1)


def _yarn(rope: RopeConfig, head_dim: int, plain: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = yarn_bounds(rope, head_dim)
    if low == high:
        high += 0.001
    ramp = np.clip((np.arange(head_dim // 2) - low) / (high - low), 0.0, 1.0)
    return plain / rope.factor * ramp + plain * (1.0 - ramp)


def _llama3(rope: RopeConfig, plain: NDArray[np.float64]) -> NDArray[np.float64]:
    """Long wavelengths slowed by the factor, short ones kept, a linear blend in rotations between (Llama 3.1)."""
    rotations = rope.original_max_positions * plain / (2 * math.pi)
    blend = (rotations - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor)
    blend = np.clip(blend, 0.0, 1.0)
    return (1.0 - blend) * plain / rope.factor + blend * plain


class RopeTable:
    """cos and sin of every position, grown in blocks when a position is first wanted. Safe to read from any thread."""

    def __init__(self, config: ModelConfig) -> None:
        self._frequencies = inverse_frequencies(config.rope, config.head_dim)
        self._factor = config.rope.attention_factor
        empty = np.zeros((0, config.head_dim // 2), np.float32)
        self._table = (empty, empty)

    def upto(self, positions: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(cos, sin), each float32 [≥ positions, R], C-contiguous; do not write to them."""
        cos, sin = self._table
        if len(cos) < positions:
            wanted = max(positions, 2 * len(cos))
            first, last = len(cos) // _BLOCK, -(-wanted // _BLOCK)
            blocks = [self._block(block) for block in range(first, last)]
            cos = np.concatenate([cos, *(block[0] for block in blocks)])
            sin = np.concatenate([sin, *(block[1] for block in blocks)])
            self._table = (cos, sin)
        return cos, sin

    def rows(
        self, positions_T: NDArray[np.integer]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(cos_TR, sin_TR) of these positions."""
        cos, sin = self.upto(int(positions_T.max()) + 1 if len(positions_T) else 0)
        return cos[positions_T], sin[positions_T]

    def _block(self, block: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        positions = np.arange(block * _BLOCK, (block + 1) * _BLOCK, dtype=np.float64)
        angles = positions[:, None] * self._frequencies
        return (
            (np.cos(angles) * self._factor).astype(np.float32),
            (np.sin(angles) * self._factor).astype(np.float32),
        )
