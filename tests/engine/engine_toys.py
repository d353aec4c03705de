"""Toys of the engine's tests: models small enough to compute by hand, and a loop that drives an engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache

import numpy as np

from ponder.core.types import TokenEvent, TokenLogprob, TokenRequest
from ponder.engine import Engine
from ponder.model.config import ModelConfig
from ponder.model.folder import random_model
from ponder.model.model import Model
from ponder.model.ops.reference import ReferenceOps
from ponder.model.shapes import SHAPES
from ponder.model.view import KVPool

VOCAB = 64
TOY = replace(
    SHAPES["micro"], hidden_size=32, num_layers=2, num_heads=2, num_kv_heads=1, head_dim=16,
    intermediate_size=64, vocab_size=96, max_positions=512, end_ids=(95,),
)  # fmt: skip


@cache
def toy_model(weights: str, ops: str, threads: int = 1) -> Model:
    """A real transformer with random weights."""
    return random_model(TOY, weights=weights, ops=ops, threads=threads, seed=3)


class Letters:
    """Token i is the letter number i of the alphabet, over and over; some tokens hold two bytes of a character."""

    def token_bytes(self, token_id: int) -> bytes:
        return b"" if token_id == 0 else bytes([96 + (token_id - 1) % 26 + 1])


class HistoryModel:
    """Its next token is a checksum of all earlier ones, read back through the page table.

    The keys of its pool hold token ids, so a page that is lost, shared or overwritten changes what it says.
    """

    def __init__(self, next_of: Callable[[list[int]], int], end_ids: tuple[int, ...] = ()) -> None:
        self.config: ModelConfig = replace(
            TOY, vocab_size=VOCAB, max_positions=4096, end_ids=end_ids
        )
        self.ops = ReferenceOps()
        self.token_bytes = 1
        self.next_of = next_of

    def new_pool(self, num_pages: int, page_len: int) -> KVPool:
        empty = np.full((num_pages, page_len), -1)
        return KVPool(empty, empty, num_pages, page_len)

    def forward(self, tokens_T, positions_T, view):
        hidden_TD = np.empty((len(tokens_T), 1), np.float32)
        keys, page_len = view.pool.keys, view.pool.page_len
        for s, (start, end) in enumerate(zip(view.starts_S1[:-1], view.starts_S1[1:])):
            first = int(view.lengths_S[s])
            assert list(positions_T[start:end]) == list(range(first, first + end - start))
            for row in range(start, end):
                slot = first + row - start
                keys[view.pages_SP[s, slot // page_len], slot % page_len] = tokens_T[row]
            pages = view.pages_SP[s][view.pages_SP[s] >= 0]
            history = keys[pages].reshape(-1).tolist()
            for row in range(start, end):
                hidden_TD[row] = self.next_of(history[: first + row - start + 1])
        return hidden_TD

    def logits(self, hidden_ND):
        logits_NV = np.full((len(hidden_ND), VOCAB), -8, np.float32)
        logits_NV[np.arange(len(hidden_ND)), hidden_ND[:, 0].astype(int)] = 8
        return logits_NV

    def log_softmax(self, logits_NV):
        return self.ops.log_softmax(logits_NV)


def checksum(history: list[int]) -> int:
    """The truth about `HistoryModel`: any two differing histories most likely differ here."""
    total = 0
    for token_id in history:
        total = (total * 31 + token_id + 7) % 1_000_003
    return total % (VOCAB - 8) + 1


def greedy_truth(
    next_of: Callable[[list[int]], int], prompt: Iterable[int], count: int
) -> list[int]:
    ids = list(prompt)
    start = len(ids)
    for _ in range(count):
        ids.append(next_of(ids))
    return ids[start:]


class Answer:
    """All that one choice said."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.phases: list[str] = []
        self.logprobs: list[TokenLogprob] = []
        self.forced: list[int] = []
        self.last: TokenEvent | None = None

    def add(self, event: TokenEvent) -> None:
        assert self.last is None, f"an event after the end: {event}"
        self.forced.extend(len(self.ids) + index for index in event.forced)
        self.ids.extend(event.token_ids)
        self.phases.extend([event.phase] * len(event.token_ids))
        self.logprobs.extend(event.logprobs)
        if event.finish_reason is not None:
            self.last = event

    @property
    def end(self) -> TokenEvent:
        assert self.last is not None, "the choice has not ended"
        return self.last


def collect(events: Iterable[TokenEvent], answers: dict[tuple[str, int], Answer]) -> None:
    for event in events:
        answers.setdefault((event.request_id, event.choice), Answer()).add(event)


def drive(engine: Engine, *requests: TokenRequest) -> list[Answer]:
    """Run requests to their end; one answer a choice, in order of request and choice."""
    answers: dict[tuple[str, int], Answer] = {}
    ids = [engine.add(request) for request in requests]
    while not engine.is_idle:
        collect(engine.step(), answers)
    engine.check_pages()
    return [
        answers[name, index]
        for name, request in zip(ids, requests)
        for index in range(request.sampling.n)
    ]
