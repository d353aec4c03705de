"""train/restricted: ids that no answer may hold, given no share of the distribution in rollouts nor in the loss.

Marks of roles and of tool results are a template's to write: a model that samples one forges a turn that is not its
own. Their logits count as `NEVER` before sampling and before the one softmax, on both sides, so that an on-policy ratio
is exactly 1 and their logits get exactly no gradient. Worked solutions are learned from the whole distribution.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ponder.engine.runner import LanguageModel
from ponder.model.config import ModelConfig
from ponder.model.ops.protocol import Array, Ops
from ponder.model.view import KVPool
from ponder.text import ChatTemplate

NEVER = -1e30
"""A logit whose share is exactly 0 in fp32; finite, so that share · log-probability is 0 and no NaN."""


def banned_ids(template: ChatTemplate, config: ModelConfig) -> tuple[int, ...]:
    """Ids that only a template writes, but for end marks; and rows of the embedding without a token."""
    given = template.format.given_ids - set(config.end_ids)
    return (*sorted(given), *range(template.tokenizer.vocab_size, config.vocab_size))


class Restricted:
    """A model whose logits of some ids are NEVER; what the engine samples from and records."""

    def __init__(self, model: LanguageModel, banned_ids: Sequence[int]) -> None:
        self._model = model
        self._banned_ids = list(banned_ids)

    @property
    def config(self) -> ModelConfig:
        return self._model.config

    @property
    def ops(self) -> Ops:
        return self._model.ops

    @property
    def token_bytes(self) -> int:
        return self._model.token_bytes

    def forward(self, tokens_T: Any, positions_T: Any, view: Any) -> Array:
        return self._model.forward(tokens_T, positions_T, view)

    def logits(self, hidden_ND: Array) -> Array:
        logits_NV = self._model.logits(hidden_ND)
        logits_NV[:, self._banned_ids] = np.float32(NEVER)
        return logits_NV

    def log_softmax(self, logits_NV: Array) -> Array:
        return self._model.log_softmax(logits_NV)

    def new_pool(self, num_pages: int, page_len: int) -> KVPool:
        return self._model.new_pool(num_pages, page_len)
