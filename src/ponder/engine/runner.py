"""engine/runner: runs the slices of one step through the model, and gives the logits rows they want.

The only file of the engine that lays out arrays for the model. It decides nothing.
Letters: T ids of the step, S slices, P pages of the longest, N rows whose logits are wanted, V vocabulary.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ponder.engine.scheduler import Slice
from ponder.model.config import ModelConfig
from ponder.model.ops.protocol import Array, Ops
from ponder.model.view import KVPool, PagedView

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]


class LanguageModel(Protocol):
    """What the engine asks of `model.Model`. Results are arrays of its op set."""

    @property
    def config(self) -> ModelConfig: ...
    @property
    def ops(self) -> Ops: ...
    @property
    def token_bytes(self) -> int:
        """Of one token's keys and values in all layers."""
        ...

    def forward(self, tokens_T: I32, positions_T: I32, view: PagedView) -> Array: ...
    def logits(self, hidden_ND: Array) -> Array: ...
    def log_softmax(self, logits_NV: Array) -> Array: ...
    def new_pool(self, num_pages: int, page_len: int) -> KVPool: ...


class Runner:
    """One model and the pool its keys and values live in."""

    def __init__(self, model: LanguageModel, num_pages: int, page_len: int) -> None:
        self._model = model
        self._pool = model.new_pool(num_pages, page_len)
        self._logits_NV: Array = None
        """Of the latest step, as the op set's array."""

    @property
    def ops(self) -> Ops:
        return self._model.ops

    def replace_model(self, model: LanguageModel) -> None:
        """Run this one from now on; the pool stays, for its shape is the same."""
        assert model.config == self._model.config, (
            f"{model.config} differs from {self._model.config}"
        )
        assert model.token_bytes == self._model.token_bytes, (
            "its keys and values have another format"
        )
        self._model = model

    def run(self, slices: Sequence[Slice]) -> F32 | None:
        """Logits of every wanted row, slice after slice; None when no slice wants any."""
        tokens = array("i")
        starts = array("i", (0,))
        lengths = array("i")
        rows: list[int] = []
        end = 0
        for choice, count, num_wanted, _ in slices:
            done = choice.num_computed
            tokens += choice.ids[done : done + count]
            lengths.append(done)
            end += count
            starts.append(end)
            rows += range(end - num_wanted, end)
        tokens_T = np.frombuffer(tokens, np.int32)
        starts_S1 = np.frombuffer(starts, np.int32)
        lengths_S = np.frombuffer(lengths, np.int32)
        from_numpy = self._model.ops.from_numpy
        view = PagedView(
            self._pool,
            from_numpy(starts_S1),
            from_numpy(lengths_S),
            from_numpy(_page_table(slices)),
        )
        positions_T = _positions(starts_S1, lengths_S)
        hidden_TD = self._model.forward(tokens_T, positions_T, view)
        if not rows:
            return None
        hidden_ND = hidden_TD if len(rows) == end else hidden_TD[rows]
        self._logits_NV = self._model.logits(hidden_ND)
        return self._model.ops.to_numpy(self._logits_NV)

    def logprobs(self, rows: list[int]) -> F32:
        """Raw log-probabilities of rows of the latest step's logits, by the one function that makes them."""
        is_all = len(rows) == len(self._logits_NV)
        logits_NV = self._logits_NV if is_all else self._logits_NV[rows]
        return self._model.ops.to_numpy(self._model.log_softmax(logits_NV))


def _positions(starts_S1: I32, lengths_S: I32) -> I32:
    num_tokens = int(starts_S1[-1])
    if num_tokens == len(lengths_S):
        return lengths_S
    firsts_S = lengths_S - starts_S1[:-1]
    return np.arange(num_tokens, dtype=np.int32) + np.repeat(firsts_S, np.diff(starts_S1))


def _page_table(slices: Sequence[Slice]) -> I32:
    rows = [each.choice.lease.pages.tobytes() for each in slices]
    row_bytes = max(map(len, rows))
    none = b"\xff"  # four of them are -1
    table = b"".join([row.ljust(row_bytes, none) for row in rows])
    return np.frombuffer(table, np.int32).reshape(len(slices), -1)
