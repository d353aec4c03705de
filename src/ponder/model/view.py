"""model/view: where the keys and values of a forward pass live. Layers pass a view on and never look inside.

Index arrays are of the op set's own kind (`Ops.from_numpy`).

Letters: T tokens of all sequences, S sequences, P pages of the longest, L layers, K key/value heads, C head size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

KVFormat = Literal["fp32", "bf16"]
"""How attention takes queries, keys, values and weights, and how a pool stores keys and values."""
ATTENTION_CHUNK = 256
"""Attention is summed in chunks of this many absolute positions, so that its bits depend on nothing else."""


@dataclass(frozen=True, slots=True)
class PackedView:
    """Whole sequences side by side, no cache: training and scoring.

    Sequence s owns rows `starts_S1[s]:starts_S1[s + 1]`; its first row is at cache slot 0 and every row sees itself and
    the rows before it.
    """

    starts_S1: Any
    """int32, S + 1 row offsets, from 0 up to T."""
    parents_S: tuple[int, ...] = ()
    """For each sequence the earlier one that it goes on from and sees whole, or −1; empty: none does.

    So that samples of one prompt share its rows, in training. A parent has no parent of its own.
    """


@dataclass(slots=True)
class KVPool:
    """Keys and values of every layer in pages of `page_len` slots. The op set writes it; the engine owns the pages."""

    keys: Any
    """[L, num_pages, K, page_len, C], after RoPE; how a page of bf16 numbers is laid out is the op set's own."""
    values: Any
    num_pages: int
    page_len: int


@dataclass(frozen=True, slots=True)
class PagedView:
    """New rows of S sequences whose keys and values live in the pages of a pool: the engine.

    Sequence s owns rows `starts_S1[s]:starts_S1[s + 1]`; row r of it goes to slot `lengths_S[s] + r`, that is to page
    `pages_SP[s, slot // page_len]`, and sees slots 0 up to its own.
    """

    pool: KVPool
    starts_S1: Any
    """int32, S + 1 row offsets, from 0 up to T."""
    lengths_S: Any
    """int32, slots already filled before this step."""
    pages_SP: Any
    """int32 page table, padded with −1; it must cover `lengths_S[s]` plus the new rows."""


View = PackedView | PagedView
