"""train/documents: an endless, numbered stream of chat documents as token ids with loss weights. Needs no torch.

Document n depends on the configuration and n alone, so the cursor of a run is one number.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ponder.core.errors import ConfigError
from ponder.tasks import FAMILIES, MIXTURE, document
from ponder.text.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class DocumentsConfig:
    """What the stream holds."""

    mixture: Mapping[str, float] = field(default_factory=lambda: dict(MIXTURE))
    """Share of documents by task family; shares need not sum to 1."""
    prompt_weight: float = 0.0
    """Loss weight of a token of the question; the assistant's tokens have 1."""
    no_thinking: float = 0.05
    """Share of documents that answer at once, after an empty thinking block."""
    earlier_turns: float = 0.05
    """Share of documents that follow one or two other questions with their answers."""
    max_len: int = 1024
    """Longer documents are left out, in tokens."""

    def __post_init__(self) -> None:
        for name in self.mixture:
            if name not in FAMILIES:
                raise ConfigError(
                    f"unknown task family {name!r}", f"allowed are {', '.join(FAMILIES)}"
                )
        if not sum(self.mixture.values()) > 0 or min(self.mixture.values()) < 0:
            raise ConfigError(
                f"mixture is {dict(self.mixture)}", "allowed are shares ≥ 0, one above 0"
            )


@dataclass(frozen=True, slots=True)
class TokenDocument:
    """Token ids, and for each the weight of its loss when it is the one to predict."""

    ids: tuple[int, ...]
    weights: tuple[float, ...]


class DocumentStream:
    """Documents by number, from the task families."""

    def __init__(self, config: DocumentsConfig, tokenizer: Tokenizer | None, seed: int) -> None:
        """Without a tokenizer only `texts` can be used."""
        self.config = config
        self._tokenizer = tokenizer
        self._seed = seed
        self._names = [name for name, share in config.mixture.items() if share > 0]
        self._shares = [config.mixture[name] for name in self._names]

    def document(self, index: int) -> TokenDocument:
        """Document number `index`."""
        tokenizer = self._tokenizer
        assert tokenizer is not None, "this stream has texts only"
        rng = random.Random(f"{self._seed}/{index}")
        ids: list[int] = []
        weights: list[float] = []

        def add(text: str, weight: float, marks: bool = False) -> None:
            piece = tokenizer.encode(text, allow_special=marks)
            ids.extend(piece)
            weights.extend([weight] * len(piece))

        prompt = self.config.prompt_weight
        turns = rng.randint(1, 2) if rng.random() < self.config.earlier_turns else 0
        for turn in range(turns):
            question, _, answer = self._draw(rng, 4 * index + turn + 1)
            add("<|im_start|>user\n", prompt, True)
            add(question, prompt)
            add("<|im_end|>\n<|im_start|>assistant\n", prompt, True)
            add(answer, prompt)
            add("<|im_end|>\n", prompt, True)
        question, thinking, answer = self._draw(rng, 4 * index)
        add("<|im_start|>user\n", prompt, True)
        add(question, prompt)
        add("<|im_end|>\n<|im_start|>assistant\n<think>\n", prompt, True)
        if rng.random() < self.config.no_thinking:
            add("\n</think>\n\n", 0.0, True)
        else:
            add(thinking, 1.0)
            add("\n</think>\n\n", 1.0, True)
        add(answer, 1.0)
        add("<|im_end|>", 1.0, True)
        return TokenDocument(tuple(ids), tuple(weights))

    def _draw(self, rng: random.Random, number: int) -> tuple[str, str, str]:
        family = rng.choices(self._names, self._shares)[0]
        return document(family, self._seed, number)

    def texts(self, count: int) -> Iterator[str]:
        """Plain texts of the first `count` documents, for training a tokenizer."""
        for index in range(count):
            question, thinking, answer = self._draw(
                random.Random(f"{self._seed}/{index}"), 4 * index
            )
            yield "\n".join(("user", question, "assistant", thinking, answer))


@dataclass(frozen=True, slots=True)
class Packed:
    """Documents side by side: inputs, targets, positions and weights of T rows, and where each document begins."""

    inputs_T: list[int]
    targets_T: list[int]
    weights_T: list[float]
    positions_T: list[int]
    starts_S1: list[int]


def pack_step(
    stream: DocumentStream, cursor: int, batch_tokens: int, micro_tokens: int
) -> tuple[list[Packed], int]:
    """The micro-batches of one optimizer step from document `cursor` on, and the next cursor.

    Documents are taken in order until they hold `batch_tokens` rows, then sorted by length, so that those attended to
    together pad each other little.
    """
    documents: list[TokenDocument] = []
    rows = 0
    while rows < batch_tokens:
        taken = stream.document(cursor)
        cursor += 1
        if len(taken.ids) <= stream.config.max_len:
            documents.append(taken)
            rows += len(taken.ids) - 1
    documents.sort(key=lambda each: len(each.ids))
    batches: list[Packed] = []
    batch = Packed([], [], [], [], [0])
    for taken in documents:
        length = len(taken.ids) - 1
        if batch.inputs_T and len(batch.inputs_T) + length > micro_tokens:
            batches.append(batch)
            batch = Packed([], [], [], [], [0])
        batch.inputs_T.extend(taken.ids[:-1])
        batch.targets_T.extend(taken.ids[1:])
        batch.weights_T.extend(taken.weights[1:])
        batch.positions_T.extend(range(length))
        batch.starts_S1.append(len(batch.inputs_T))
    batches.append(batch)
    return batches, cursor
