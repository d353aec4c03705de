"""clients/local: messages in, messages out, over any token engine in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ponder.core.errors import BackendError
from ponder.core.protocols import TokenEngine, TokenStream
from ponder.core.types import (
    Completion,
    Delta,
    FinishReason,
    Message,
    SamplingParams,
    TokenEvent,
    TokenLogprob,
    TokenRequest,
    ToolSpec,
    Usage,
)
from ponder.text import ChatTemplate, StreamRouter


class LocalClient:
    """A ChatClient over a TokenEngine: renders with the model's template, routes what comes back."""

    def __init__(
        self,
        engine: TokenEngine,
        template: ChatTemplate,
        sampling: SamplingParams | None = None,
    ) -> None:
        """`sampling` holds where a call gives none: the model's recommended values."""
        self.engine = engine
        self.template = template
        self.sampling = sampling or SamplingParams()

    def stream(
        self,
        messages: Sequence[Message],
        sampling: SamplingParams | None = None,
        *,
        tools: Sequence[ToolSpec] = (),
        thinking: bool = True,
        thinking_budget: int | None = None,
    ) -> LocalStream:
        """Raises PromptError for messages that do not fit the template or the context, BusyError when full."""
        params = self.sampling if sampling is None else sampling
        prompt = self.template.render(messages, tools, thinking=thinking)
        state = self.template.thinking_params(prompt, thinking=thinking, budget=thinking_budget)
        tokens = self.engine.submit(TokenRequest(prompt.ids, params, state))
        routers = [
            StreamRouter(
                self.template.format,
                prompt.thinking_open,
                token_bytes=self.template.tokenizer.token_bytes,
                stop=params.stop,
                tools=bool(tools),
                choice=choice,
            )
            for choice in range(params.n)
        ]
        return LocalStream(tokens, routers)


@dataclass(slots=True)
class _Choice:
    """What one choice has given so far."""

    router: StreamRouter
    token_ids: list[int] = field(default_factory=list[int])
    logprobs: list[TokenLogprob] = field(default_factory=list[TokenLogprob])
    done: Completion | None = None


class LocalStream:
    """The deltas of one request. Ids and log-probabilities are kept as the engine recorded them."""

    def __init__(self, tokens: TokenStream, routers: Sequence[StreamRouter]) -> None:
        self._tokens = tokens
        self._choices = [_Choice(router) for router in routers]

    @property
    def completions(self) -> Sequence[Completion]:
        """The choices that have finished, in order."""
        return [choice.done for choice in self._choices if choice.done is not None]

    def abort(self) -> None:
        self._tokens.abort()

    def answer_now(self) -> None:
        self._tokens.answer_now()

    def __iter__(self) -> Iterator[Delta]:
        """Raises BackendError when the engine failed. Leaving early aborts the request."""
        try:
            for event in self._tokens:
                if event.finish_reason == "error":
                    raise BackendError(event.error)
                yield from self._deltas(event)
        finally:
            if any(choice.done is None for choice in self._choices):
                self._tokens.abort()

    def _deltas(self, event: TokenEvent) -> Iterator[Delta]:
        choice = self._choices[event.choice]
        choice.token_ids += event.token_ids
        choice.logprobs += event.logprobs
        pieces = choice.router.feed(event.token_ids)
        if event.finish_reason is not None:
            pieces += choice.router.finish(event.finish_reason)
            choice.done = _completion(choice, event, event.finish_reason)
        yield from pieces


def _completion(choice: _Choice, event: TokenEvent, reason: FinishReason) -> Completion:
    message = choice.router.message()
    return Completion(
        message=message,
        finish_reason="tool_calls" if reason == "stop" and message.tool_calls else reason,
        usage=event.usage or Usage(),
        thinking_end=event.thinking_end,
        token_ids=tuple(choice.token_ids),
        logprobs=tuple(choice.logprobs),
        seed=event.seed,
        stop=event.stop,
    )
