"""train/documents: an endless, numbered stream of chat documents as token ids with loss weights. Needs no torch.

Document n depends on the configuration and n alone, so the cursor of a run is one number. A document is the text that
the model's chat template renders for the same messages, token for token; tool results and the template's own tokens
between turns have weight 0, for the model never writes them.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ponder.core.errors import ConfigError
from ponder.core.types import Message, Problem, ToolSpec
from ponder.tasks import FAMILIES, MIXTURE, generate
from ponder.tasks.catalogue import solve, tools_of
from ponder.tasks.family import Trace
from ponder.text.tokenizer import Tokenizer

MOST_MISSED = 500
"""Documents longer than `max_len` in a row, after which no other is expected."""


@dataclass(frozen=True, slots=True)
class DocumentsConfig:
    """What the stream holds."""

    mixture: Mapping[str, float] = field(default_factory=lambda: dict(MIXTURE))
    """Share of documents by task family; shares need not sum to 1."""
    prompt_weight: float = 0.0
    """Loss weight of a token of the prompt: tools, questions, earlier answers; the assistant's tokens have 1."""
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
        if self.max_len < 64:  # below, a step could wait for a document that never comes
            raise ConfigError(f"max_len is {self.max_len}", "allowed is 64 or more")
        for name in ("prompt_weight", "no_thinking", "earlier_turns"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is {getattr(self, name)}", "allowed is 0 to 1")
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
        assert self._tokenizer is not None, "this stream has texts only"
        rng = random.Random(f"{self._seed}/{index}")
        page = _Page(self._tokenizer, self.config.prompt_weight)
        turns = rng.randint(1, 2) if rng.random() < self.config.earlier_turns else 0
        earlier = [self._draw(rng, 4 * index + turn + 1) for turn in range(turns)]
        problem, trace = self._draw(rng, 4 * index)
        page.tools([tool.spec for tool in tools_of(problem)])
        for other, answered in earlier:
            if not tools_of(other):  # those tools are not at hand
                page.earlier(other.question, answered.answer)
        page.question(problem.question)
        thinks = rng.random() >= self.config.no_thinking
        for message in trace.earlier:
            page.message(message, thinks)
        page.answer(trace.thinking, trace.answer, thinks)
        return TokenDocument(tuple(page.ids), tuple(page.weights))

    def _draw(self, rng: random.Random, number: int) -> tuple[Problem, Trace]:
        family = rng.choices(self._names, self._shares)[0]
        problem = generate(family, "S", self._seed, number)
        return problem, solve(problem, self._seed, number)

    def texts(self, count: int) -> Iterator[str]:
        """Plain texts of the first `count` documents, for training a tokenizer."""
        for index in range(count):
            problem, trace = self._draw(random.Random(f"{self._seed}/{index}"), 4 * index)
            tools = tools_of(problem)
            parts = ["system", tools_text([tool.spec for tool in tools])] if tools else []
            parts += ["user", problem.question, "assistant"]
            for message in trace.earlier:
                parts += [message.reasoning or "", message.content or "", *_calls(message)]
            yield "\n".join((*parts, trace.thinking, trace.answer))


def tools_text(tools: Sequence[ToolSpec]) -> str:
    """What stands in the system turn."""
    lines = [
        f"{tool.name}({', '.join(tool.parameters.get('properties', {}))}): {tool.description}"
        for tool in tools
    ]
    return "\n".join(["Tools:", *lines])


def _calls(message: Message) -> list[str]:
    return [
        f'{{"name": {json.dumps(call.name)}, "arguments": {call.arguments}}}'
        for call in message.tool_calls
    ]


class _Page:
    """A document being written, turn by turn."""

    def __init__(self, tokenizer: Tokenizer, prompt_weight: float) -> None:
        self.ids: list[int] = []
        self.weights: list[float] = []
        self._tokenizer = tokenizer
        self._prompt = prompt_weight
        self._in_results = False

    def _add(self, text: str, weight: float, marks: bool = False) -> None:
        piece = self._tokenizer.encode(text, allow_special=marks)
        self.ids.extend(piece)
        self.weights.extend([weight] * len(piece))

    def tools(self, tools: Sequence[ToolSpec]) -> None:
        if tools:
            self._add("<|im_start|>system\n", self._prompt, True)
            self._add(tools_text(tools), self._prompt)
            self._add("<|im_end|>\n", self._prompt, True)

    def earlier(self, question: str, answer: str) -> None:
        """A question of before with its answer, which stands without its thinking."""
        self._add("<|im_start|>user\n", self._prompt, True)
        self._add(question, self._prompt)
        self._add("<|im_end|>\n<|im_start|>assistant\n", self._prompt, True)
        self._add(answer, self._prompt)
        self._add("<|im_end|>\n", self._prompt, True)

    def question(self, text: str) -> None:
        self._add("<|im_start|>user\n", self._prompt, True)
        self._add(text, self._prompt)
        self._add("<|im_end|>\n<|im_start|>assistant\n<think>\n", self._prompt, True)

    def message(self, message: Message, thinks: bool) -> None:
        """A turn that calls tools, or one of its results."""
        if message.role == "tool":
            self._add("\n<tool_response>", 0.0, True)
            self._add(message.content or "", 0.0)
            self._add("</tool_response>", 0.0, True)
            self._in_results = True
            return
        self._thinking(message.reasoning or "", thinks)
        self._add(message.content or "", 1.0)
        for at, call in enumerate(_calls(message)):
            self._add("\n<tool_call>" if at or message.content else "<tool_call>", 1.0, True)
            self._add(call, 1.0)
            self._add("</tool_call>", 1.0, True)
        self._add("<|im_end|>", 1.0, True)
        self._add("\n<|im_start|>user", 0.0, True)

    def answer(self, thinking: str, answer: str, thinks: bool) -> None:
        self._thinking(thinking, thinks)
        self._add(answer, 1.0)
        self._add("<|im_end|>", 1.0, True)

    def _thinking(self, thinking: str, thinks: bool) -> None:
        if self._in_results:
            self._add("<|im_end|>\n<|im_start|>assistant\n<think>\n", 0.0, True)
            self._in_results = False
        if thinks:
            self._add(thinking, 1.0)
            self._add("\n</think>\n\n", 1.0, True)
        else:
            self._add("\n</think>\n\n", 0.0, True)


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
    together pad each other little. ConfigError where they are too long throughout.
    """
    documents: list[TokenDocument] = []
    rows = missed = 0
    while rows < batch_tokens:
        taken = stream.document(cursor)
        cursor += 1
        if len(taken.ids) <= stream.config.max_len:
            documents.append(taken)
            rows += len(taken.ids) - 1
            missed = 0
        elif (missed := missed + 1) == MOST_MISSED:
            raise ConfigError(
                f"{missed} documents in a row are longer than max_len = {stream.config.max_len}",
                "give a larger documents.max_len",
            )
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
