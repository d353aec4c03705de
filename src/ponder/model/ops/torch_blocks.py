"""model/ops/torch_blocks: sequences of a packed view as padded blocks, for attention by batched products in torch."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ponder.model.view import PackedView


@dataclass(frozen=True, slots=True)
class Block:
    """Sequences of like length attended to in one call; what fills up repeats row 0 of the batch and is never seen."""

    query_SQ: Tensor
    """Rows of the batch, each sequence's own."""
    real_SQ: Tensor
    """Which of them are there."""
    key_SL: Tensor
    """Rows seen: the parent's, then the own."""
    parent_S: Tensor
    """Rows of the parent."""

    def hidden(self) -> Tensor:
        """[S, 1, Q, L]: True where a query row does not see a key."""
        slots_SQ = self.parent_S[:, None] + torch.arange(self.query_SQ.shape[1])
        hidden = torch.arange(self.key_SL.shape[1]) > slots_SQ[:, :, None]
        return hidden[:, None]


def key_rows(starts_S1: NDArray[np.int32], parents_S: tuple[int, ...]) -> list[NDArray[np.int32]]:
    """For each sequence the rows it sees: its parent's, if any, then its own."""
    own = [np.arange(a, b, dtype=np.int32) for a, b in pairwise(starts_S1)]
    if not parents_S:
        return own
    return [
        rows if parent < 0 else np.concatenate([own[parent], rows])
        for rows, parent in zip(own, parents_S, strict=True)
    ]


def blocks_of(view: PackedView) -> tuple[Block, ...]:
    """The blocks of a view."""
    return _blocks(tuple(view.starts_S1.tolist()), view.parents_S)


@functools.lru_cache(maxsize=32)
def _blocks(starts: tuple[int, ...], parents: tuple[int, ...]) -> tuple[Block, ...]:
    """Cuts consecutive sequences into blocks whose padding stays below a quarter."""
    starts_S1 = np.array(starts, np.int32)
    keys, lengths = key_rows(starts_S1, parents), np.diff(starts_S1)
    blocks: list[Block] = []
    begin = 0
    while begin < len(lengths):
        end, queries, seen = begin, 0, 0
        area = 0
        while end < len(lengths):
            q, k = max(queries, int(lengths[end])), max(seen, len(keys[end]))
            wider = area + int(lengths[end]) * len(keys[end])
            if 4 * wider < 3 * q * k * (end + 1 - begin):
                break
            queries, seen, area, end = q, k, wider, end + 1
        end = max(end, begin + 1)
        if area:
            blocks.append(_block(starts_S1, lengths, keys, begin, end))
        begin = end
    return tuple(blocks)


def _block(
    starts_S1: NDArray[np.int32],
    lengths: NDArray[np.int32],
    keys: list[NDArray[np.int32]],
    begin: int,
    end: int,
) -> Block:
    own: NDArray[Any] = lengths[begin:end]
    seen = np.array([len(rows) for rows in keys[begin:end]])
    slots = np.arange(int(own.max()))
    real: NDArray[np.bool_] = slots < own[:, None]
    query: NDArray[np.int64] = np.where(real, starts_S1[begin:end, None] + slots, 0)
    key = np.zeros((end - begin, int(seen.max())), np.int64)
    for row, rows in enumerate(keys[begin:end]):
        key[row, : len(rows)] = rows
    parent: NDArray[np.int64] = seen - own
    return Block(
        torch.from_numpy(query),
        torch.from_numpy(real),
        torch.from_numpy(key),
        torch.from_numpy(parent),
    )
