"""clients/http_tokens: token ids in, token events out, over an endpoint's `/completions`; satisfies `core.TokenEngine`.

For servers that take a prompt as ids and give back the sampled ids and their log-probabilities, as vLLM (0.10.2 on)
and SGLang do: `prompt` a list of ids, `return_token_ids`, `logprobs`. The log-probabilities are the server's: they
are those of our own forward only to a tolerance, which a trainer has to measure and correct. The server has no
thinking state of ours: a thinking budget is refused, and loops are not cut.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

from ponder.clients.http import FINISH, HttpConfig, Wire, wire_sampling, wire_usage
from ponder.core.errors import ConfigError, NetworkError
from ponder.core.types import FinishReason, Phase, TokenEvent, TokenLogprob, TokenRequest, Usage


class HttpTokenEngine:
    """A TokenEngine over an endpoint. Requests run side by side on the server; each has a connection of its own."""

    def __init__(self, config: HttpConfig) -> None:
        """Raises ConfigError for an address that is not http(s)."""
        self._wire = Wire(config, "/completions")
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
            "model": self._wire.config.model,
            "prompt": list(request.prompt_ids),
            "return_token_ids": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if sampling.seed is not None:
            body["seed"] = sampling.seed & ((1 << 63) - 1)  # read as a signed 64-bit number
        if sampling.logprobs is not None:
            body["logprobs"] = 0
        return HttpTokenStream(request, self._wire, *self._wire.send(body))


class HttpTokenStream:
    """The events of one request. NetworkError when the answer breaks off or holds no ids."""

    def __init__(
        self,
        request: TokenRequest,
        wire: Wire,
        sock: socket.socket,
        connection: http.client.HTTPConnection,
    ) -> None:
        self._request, self._wire, self._sock, self._connection = request, wire, sock, connection
        thinking = request.thinking
        self._close = thinking.close_ids if thinking else ()
        self._phase: Phase = "thinking" if thinking and thinking.starts_open else "answering"
        self._started_open = self._phase == "thinking"
        self._tail: tuple[int, ...] = ()
        self._num_thoughts = self._num_ids = 0
        self._is_aborted = False

    @property
    def request_id(self) -> str:
        return self._request.request_id

    def abort(self) -> None:
        """Closes the connection; the server is expected to stop."""
        self._is_aborted = True
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def answer_now(self) -> None:
        """Raises ConfigError: the protocol has no word for it."""
        raise ConfigError("An endpoint cannot be told to answer now.", "Stop the request instead.")

    def __iter__(self) -> Iterator[TokenEvent]:
        finish: FinishReason | None = None
        usage = Usage()
        try:
            response = self._wire.answer(self._connection)
            for event in self._wire.events(response):
                if isinstance(counted := event.get("usage"), dict):
                    usage = wire_usage(cast(dict[str, Any], counted))
                for part in cast(list[dict[str, Any]], event.get("choices") or []):
                    yield from self._tokens(part)
                    if part.get("finish_reason"):
                        finish = FINISH.get(str(part["finish_reason"]), "error")
        except NetworkError:
            if not self._is_aborted:
                raise
        except (OSError, http.client.HTTPException, ValueError, TypeError) as error:
            if not self._is_aborted:
                raise self._wire.broken(error) from error
        finally:
            self._connection.close()
            self._sock.close()
        if finish is None and not self._is_aborted:
            raise self._wire.broken(EOFError("the answer broke off"))
        yield self._last(finish or "abort", usage)

    def _tokens(self, part: dict[str, Any]) -> Iterator[TokenEvent]:
        """An event for each run of ids of one phase."""
        ids = [int(token_id) for token_id in cast(list[Any], part.get("token_ids") or [])]
        if not ids:
            if part.get("text"):
                raise ValueError("the endpoint gives text without token_ids")
            return
        logprobs: tuple[TokenLogprob, ...] = ()
        if self._request.sampling.logprobs is not None:
            told = cast(dict[str, Any], part.get("logprobs") or {})
            values = [float(value) for value in cast(list[Any], told.get("token_logprobs") or [])]
            if len(values) != len(ids) or not all(value <= 0 for value in values):
                raise ValueError(f"log-probabilities {values[:8]} for {len(ids)} token_ids")
            logprobs = tuple(TokenLogprob(i, v) for i, v in zip(ids, values, strict=True))
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
