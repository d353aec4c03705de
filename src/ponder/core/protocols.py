"""core/protocols: the seams between rooms. Implementations satisfy them by shape; nobody inherits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from ponder.core.types import (
    Completion,
    Delta,
    FinishReason,
    Message,
    SamplingParams,
    TokenEvent,
    TokenRequest,
    ToolSpec,
)


class TokenStream(Protocol):
    """The events of one request, in order; iteration ends after every choice has finished."""

    @property
    def request_id(self) -> str: ...
    def __iter__(self) -> Iterator[TokenEvent]: ...
    def abort(self) -> None:
        """End the request at once; safe at any moment, from any thread, any number of times."""
        ...

    def answer_now(self) -> None:
        """End the thinking of every choice; no effect once answering."""
        ...


class TokenEngine(Protocol):
    """Token ids in, token events out."""

    def submit(self, request: TokenRequest) -> TokenStream:
        """Raises PromptError for a prompt that can never fit, BusyError when the queue is full."""
        ...


class Detokenizer(Protocol):
    """What the engine needs to know of text: the bytes of one token, for stop strings."""

    def token_bytes(self, token_id: int) -> bytes: ...


class ChatStream(Protocol):
    """Deltas of one answer; `completions` holds one result a choice once iteration has ended."""

    def __iter__(self) -> Iterator[Delta]: ...
    @property
    def completions(self) -> Sequence[Completion]: ...
    def abort(self) -> None: ...
    def answer_now(self) -> None: ...


class ChatClient(Protocol):
    """Messages in, messages out: the in-process engine, an HTTP endpoint, or a script."""

    def stream(
        self,
        messages: Sequence[Message],
        sampling: SamplingParams | None = None,
        *,
        tools: Sequence[ToolSpec] = (),
        thinking: bool = True,
        thinking_budget: int | None = None,
    ) -> ChatStream: ...


class Tool(Protocol):
    """Something a model may call, e.g. a calculator. One object serves one episode and may keep state."""

    @property
    def spec(self) -> ToolSpec: ...
    def call(self, arguments: Mapping[str, Any]) -> str:
        """The result, as the model reads it. A `ToolError` is told to the model; any other error is ours."""
        ...


class Session(Protocol):
    """One conversation as token ids that only ever grow; what a model wrote is never tokenized again."""

    @property
    def ids(self) -> tuple[int, ...]:
        """All ids so far: prompt, what the model wrote, what was given to it."""
        ...

    def request(self, sampling: SamplingParams) -> TokenRequest:
        """The model's next turn."""
        ...

    def receive(self, token_ids: Sequence[int], finish: FinishReason) -> Message:
        """Append what the model wrote, forced ids included; the message it is."""
        ...

    def extend(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Append tool results or a user's message, and the opening of the next turn; the ids appended."""
        ...
