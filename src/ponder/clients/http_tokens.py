"""clients/http_tokens: token ids in, token events out, over an endpoint's `/completions`; satisfies `core.TokenEngine`.

For servers that take a prompt as ids and give back the sampled ids and their log-probabilities, as vLLM (0.10.2 on)
and SGLang do: `prompt` a list of ids, `return_token_ids`, `logprobs`. The log-probabilities are the server's: they
are those of our own forward only to a tolerance, which a trainer has to measure and correct. The server has no
thinking state of ours: a thinking budget is refused, and loops are not cut.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ponder.clients.http import (
    Exchange,
    HttpConfig,
    finish_of,
    items,
    mapping,
    objects,
    text,
    whole,
    wire_sampling,
    wire_usage,
)
from ponder.core.errors import ConfigError
from ponder.core.types import FinishReason, Phase, TokenEvent, TokenLogprob, TokenRequest, Usage

LEAST = -1e9
"""A lower log-probability is none of a token that was sampled."""


class HttpTokenEngine:
    """A TokenEngine over an endpoint. Requests run side by side on the server; each has a connection of its own."""

    def __init__(self, config: HttpConfig) -> None:
        self._config = config
        self._num_requests = 0

    def submit(self, request: TokenRequest) -> HttpTokenStream:
        """Send a request. ConfigError for what the protocol cannot say; NetworkError.

        A refusal (PromptError, BusyError) is raised by the stream, when its answer is read.
        """
        sampling, thinking = request.sampling, request.thinking
        for is_wrong, what in (
            (sampling.n != 1, f"n {sampling.n}"),
            (sampling.max_tokens is None, "no max_tokens"),
            (bool(sampling.logprobs), f"{sampling.logprobs} alternatives of each token"),
            (thinking is not None and thinking.budget is not None, "a thinking budget"),
        ):
            if is_wrong:
                raise ConfigError(
                    f"{what}, which cannot be asked of an endpoint",
                    "ask for one answer with max_tokens, logprobs 0 or None, and no thinking budget",
                )
        if not request.request_id:
            self._num_requests += 1
            request = replace(request, request_id=f"request-{self._num_requests}")
        plain = replace(sampling, logprobs=None, seed=None)
        body: dict[str, Any] = wire_sampling(plain) | {
            "model": self._config.model,
            "prompt": list(request.prompt_ids),
            "return_token_ids": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if sampling.seed is not None:
            body["seed"] = sampling.seed & ((1 << 63) - 1)  # read as a signed 64-bit number
        if sampling.logprobs is not None:
            body["logprobs"] = 0
        return HttpTokenStream(request, Exchange(self._config, "/completions", body))


class HttpTokenStream:
    """The events of one request. NetworkError when the answer breaks off or holds no ids."""

    def __init__(self, request: TokenRequest, exchange: Exchange) -> None:
        self._request, self._exchange = request, exchange
        thinking = request.thinking
        self._close = thinking.close_ids if thinking else ()
        self._phase: Phase = "thinking" if thinking and thinking.starts_open else "answering"
        self._started_open = self._phase == "thinking"
        self._tail: tuple[int, ...] = ()
        self._num_thoughts = self._num_ids = 0

    @property
    def request_id(self) -> str:
        return self._request.request_id

    def abort(self) -> None:
        self._exchange.abort()

    def answer_now(self) -> None:
        """Raises ConfigError: the protocol has no word for it."""
        raise ConfigError("An endpoint cannot be told to answer now.", "Stop the request instead.")

    def __iter__(self) -> Iterator[TokenEvent]:
        finish: FinishReason | None = None
        usage = Usage()
        with self._exchange.reading():
            for event in self._exchange.events():
                usage = wire_usage(event) or usage
                for part in objects(event.get("choices")):
                    yield from self._tokens(part)
                    finish = finish_of(part) or finish
        if finish is None and not self._exchange.is_aborted:
            raise self._exchange.broken(EOFError("the answer broke off"))
        yield self._last(finish or "abort", usage)

    def _tokens(self, part: dict[str, Any]) -> Iterator[TokenEvent]:
        """An event for each run of ids of one phase."""
        if whole(part.get("index")):
            raise ValueError(f"choice {part['index']} of 1")
        ids = items(part.get("token_ids"))
        if not ids:
            if text(part.get("text")):
                raise ValueError("the endpoint gives text without token_ids")
            return
        sampling = self._request.sampling
        if not all(type(token_id) is int and token_id >= 0 for token_id in ids):
            raise ValueError(f"token_ids {ids[:8]}")
        if self._num_ids + len(ids) > (sampling.max_tokens or 0):
            raise ValueError(f"{self._num_ids + len(ids)} token_ids of {sampling.max_tokens}")
        logprobs: tuple[TokenLogprob, ...] = ()
        if sampling.logprobs is not None:
            values = items(mapping(part.get("logprobs")).get("token_logprobs"))
            if len(values) != len(ids) or not all(
                type(value) in (int, float) and LEAST <= value <= 0 for value in values
            ):
                raise ValueError(f"log-probabilities {values[:8]} for {len(ids)} token_ids")
            logprobs = tuple(TokenLogprob(i, float(v)) for i, v in zip(ids, values, strict=True))
        start = 0
        for at, token_id in enumerate(ids, 1):
            phase = self._advance(token_id)
            if at == len(ids) or self._phase != phase:
                yield TokenEvent(
                    self.request_id, 0, tuple(ids[start:at]), phase, logprobs[start:at]
                )
                start = at

    def _advance(self, token_id: int) -> Phase:
        """Count an id; its phase."""
        phase = self._phase
        self._num_ids += 1
        if phase == "thinking":
            self._num_thoughts += 1
            self._tail = (*self._tail, token_id)[-len(self._close) :]
            if self._tail == self._close:
                self._phase = "answering"
                self._num_thoughts -= len(self._close)
        return phase

    def _last(self, finish: FinishReason, usage: Usage) -> TokenEvent:
        is_open = self._phase == "thinking"
        end = (
            ("length" if is_open and finish == "length" else "self") if self._started_open else None
        )
        counted = Usage(
            usage.prompt_tokens or len(self._request.prompt_ids),
            usage.cached_tokens,
            self._num_ids,
            self._num_thoughts,
        )
        return TokenEvent(
            self.request_id,
            0,
            (),
            self._phase,
            finish_reason=finish,
            thinking_end=end,
            usage=counted,
        )
