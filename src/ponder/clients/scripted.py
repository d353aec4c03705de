"""clients/scripted: a client that answers from a script; for the tests of programs that use Ponder.

    client = ScriptedClient([Message("assistant", "391", reasoning="17 * 23 = 340 + 51")])
    client.stream([Message("user", "What is 17 * 23?")])

No model, no threads, no clock: the same script gives the same deltas.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from ponder.core.errors import ConfigError
from ponder.core.types import (
    Completion,
    Delta,
    FinishReason,
    Message,
    SamplingParams,
    ThinkingEnd,
    ToolSpec,
    Usage,
)

Reply = str | Message | Completion | Callable[[Sequence[Message]], "str | Message | Completion"]
"""A text, a message, a whole completion, or a function from the conversation to one of these."""


@dataclass(frozen=True, slots=True)
class ScriptedCall:
    """What one call of `stream` was given."""

    messages: tuple[Message, ...]
    sampling: SamplingParams
    tools: tuple[ToolSpec, ...]
    thinking: bool
    thinking_budget: int | None


class ScriptedClient:
    """A ChatClient over a list of replies, one a call; `calls` keeps what it was asked."""

    def __init__(self, replies: Sequence[Reply]) -> None:
        self._replies = list(replies)
        self._next = 0
        self.calls: list[ScriptedCall] = []

    def stream(
        self,
        messages: Sequence[Message],
        sampling: SamplingParams | None = None,
        *,
        tools: Sequence[ToolSpec] = (),
        thinking: bool = True,
        thinking_budget: int | None = None,
    ) -> ScriptedStream:
        """The next reply; a choice each when `sampling.n` > 1. Raises ConfigError past the script's end."""
        params = sampling or SamplingParams()
        start, end = self._next, self._next + params.n
        if end > len(self._replies):
            raise ConfigError(
                f"The script has {len(self._replies)} replies and reply {end} was asked for.",
                "Give ScriptedClient one reply for every choice of every call.",
            )
        self._next = end
        self.calls.append(
            ScriptedCall(tuple(messages), params, tuple(tools), thinking, thinking_budget)
        )
        chosen = self._replies[start:end]
        return ScriptedStream([_completion(reply, messages, thinking) for reply in chosen])


class ScriptedStream:
    """Deltas a word at a time, choice after choice."""

    def __init__(self, planned: Sequence[Completion]) -> None:
        self._planned = planned
        self._done: list[Completion] = []
        self._aborted = self._answer_now = False

    @property
    def completions(self) -> Sequence[Completion]:
        return self._done

    def abort(self) -> None:
        self._aborted = True

    def answer_now(self) -> None:
        self._answer_now = True

    def __iter__(self) -> Iterator[Delta]:
        for choice, planned in enumerate(self._planned):
            message, said = planned.message, {"reasoning": "", "content": ""}
            for kind, text in (("reasoning", message.reasoning), ("content", message.content)):
                for word in re.findall(r"\s*\S+|\s+", text or ""):
                    if self._aborted or (kind == "reasoning" and self._answer_now):
                        break
                    said[kind] += word
                    yield Delta(
                        "reasoning" if kind == "reasoning" else "content", word, None, choice
                    )
            for call in () if self._aborted else message.tool_calls:
                yield Delta("tool_call", "", call, choice)
            self._done.append(self._finished(planned, said["reasoning"], said["content"]))

    def _finished(self, planned: Completion, reasoning: str, content: str) -> Completion:
        if self._aborted:
            message = Message("assistant", content or None, reasoning or None)
            return replace(planned, message=message, finish_reason="abort")
        if planned.message.reasoning is None or reasoning == planned.message.reasoning:
            return planned
        message = replace(planned.message, reasoning=reasoning)
        return replace(planned, message=message, thinking_end="user")


def _completion(reply: Reply, messages: Sequence[Message], thinking: bool) -> Completion:
    made = reply(messages) if callable(reply) else reply
    if isinstance(made, Completion):
        return made
    message = Message("assistant", made) if isinstance(made, str) else made
    if not thinking:
        message = replace(message, reasoning=None)
    thoughts = len((message.reasoning or "").split())
    words = thoughts + len((message.content or "").split())
    asked = sum(len((turn.content or "").split()) for turn in messages)
    finish: FinishReason = "tool_calls" if message.tool_calls else "stop"
    end: ThinkingEnd | None = "self" if message.reasoning is not None else None
    usage = Usage(asked, 0, words, thoughts)
    return Completion(message, finish, usage, end)
