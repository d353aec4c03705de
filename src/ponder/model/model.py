"""model/model: a config, its weights and an op set as one object that turns token ids into logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ponder.core.errors import PromptError
from ponder.model import transformer
from ponder.model.config import ModelConfig
from ponder.model.ops.protocol import Array, Ops, WeightsFormat
from ponder.model.view import KVPool, PackedView, View
from ponder.model.weights import Weights

_SCORE_ROWS = 64
"""Rows whose logits `score` holds at a time."""


class Model:
    """One loaded model. It keeps no state between calls: caches live in the views the caller passes."""

    __slots__ = ("config", "ops", "weights", "weights_format")

    def __init__(
        self, config: ModelConfig, ops: Ops, weights: Weights, weights_format: WeightsFormat
    ) -> None:
        self.config = config
        self.ops = ops
        self.weights = weights
        self.weights_format: WeightsFormat = weights_format

    def forward(self, tokens_T: NDArray[Any], positions_T: NDArray[Any], view: View) -> Array:
        """Hidden states after the final norm, [T, D], as the op set's array; index arrays are numpy int32."""
        from_numpy = self.ops.from_numpy
        return transformer.forward(
            self.ops, self.weights, from_numpy(tokens_T), from_numpy(positions_T), view
        )

    def logits(self, hidden_ND: Array) -> Array:
        """Logits of these rows, fp32 [N, V]."""
        return transformer.logits(self.ops, self.weights, hidden_ND)

    def log_softmax(self, logits_NV: Array) -> Array:
        """Log-probabilities, fp32 [N, V]; the one function for rollout, scoring and training."""
        return self.ops.log_softmax(logits_NV)

    @property
    def token_bytes(self) -> int:
        """Of one token's keys and values in all layers."""
        config, size = self.config, 2 if self.weights.kv_format == "bf16" else 4
        return 2 * config.num_layers * config.num_kv_heads * config.head_dim * size

    def new_pool(self, num_pages: int, page_len: int) -> KVPool:
        """An empty pool of pages for this model."""
        return self.ops.new_pool(self.config, num_pages, page_len, self.weights.kv_format)

    def score(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Log-probability of each next token: element i is that of `ids[i + 1]` after `ids[: i + 1]`.

        PromptError for no ids, an id outside the vocabulary, or more ids than the model has positions.
        """
        tokens = self._checked(ids)
        if len(tokens) < 2:
            return np.zeros(0, np.float32)
        inputs, targets = tokens[:-1], tokens[1:]
        starts = np.array([0, len(inputs)], np.int32)
        view = PackedView(self.ops.from_numpy(starts))
        hidden_TD = self.forward(inputs, np.arange(len(inputs), dtype=np.int32), view)
        scores = np.empty(len(inputs), np.float32)
        for first in range(0, len(inputs), _SCORE_ROWS):
            rows = slice(first, first + _SCORE_ROWS)
            logprobs_NV = self.ops.to_numpy(self.log_softmax(self.logits(hidden_TD[rows])))
            scores[rows] = logprobs_NV[np.arange(len(logprobs_NV)), targets[rows]]
        return scores

    def _checked(self, ids: Sequence[int]) -> NDArray[np.int32]:
        limit = self.config.max_positions
        if not 1 <= len(ids) <= limit:
            raise PromptError(f"{len(ids)} token ids", f"this model takes from 1 to {limit}")
        vocab = self.config.vocab_size
        for position, token in enumerate(ids):
            if not 0 <= token < vocab:
                raise PromptError(
                    f"token id {token!r} at position {position}", f"allowed are 0 to {vocab - 1}"
                )
        return np.asarray(ids, np.int32)
