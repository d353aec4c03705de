"""clients/http: a client of any OpenAI-compatible endpoint (`/chat/completions`), by the standard library.

Thinking is read from `reasoning` or `reasoning_content`, whichever the endpoint sends. A stream that ends
without a finish reason is an error, never a short answer; so is an event of another shape than the protocol's.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import SplitResult, urlsplit

from ponder.core.errors import BusyError, ConfigError, NetworkError, PromptError, UserError
from ponder.core.types import (
    Completion,
    Delta,
    FinishReason,
    Message,
    SamplingParams,
    ToolCall,
    ToolSpec,
    Usage,
)

MAX_LINE_BYTES = 4_000_000
MAX_ERROR_BYTES = 100_000
MAX_WAIT_S = 3600.0
"""Longest wait that is read from `Retry-After`."""
FINISH: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "stop",
}


@dataclass(frozen=True, slots=True)
class HttpConfig:
    """One endpoint, e.g. `HttpConfig("http://127.0.0.1:8000/v1", "nano")`. ConfigError for what cannot be sent."""

    base_url: str
    """Up to and without `/chat/completions`."""
    model: str
    api_key: str | None = None
    timeout_s: float = 600.0
    """Longest silence before the request is given up."""
    total_s: float = 86_400.0
    """Longest time of a whole answer, however steadily it drips."""
    max_bytes: int = 256_000_000
    """Most bytes of one response."""
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Fields added to every request body, for what one server calls its own way."""
    budget_field: str = "thinking_budget"
    """The endpoint's name for the thinking budget."""

    def __post_init__(self) -> None:
        try:
            url = self.url
            is_address = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
        except ValueError:
            is_address = False
        if not is_address or not self.base_url.isascii() or set(self.base_url) & _UNSAFE:
            raise ConfigError(
                f"base_url is {self.base_url!r}.",
                "Give an address such as http://127.0.0.1:8000/v1.",
            )
        if "@" in self.url.netloc:
            raise ConfigError("base_url holds a name or password.", "Give a key as api_key.")
        if self.api_key is not None and (not self.api_key.isascii() or set(self.api_key) & _UNSAFE):
            raise ConfigError("api_key holds a character no key has.", "Give ASCII without blanks.")
        for name, most in (("timeout_s", 1e6), ("total_s", 1e6), ("max_bytes", 1e18)):
            if not 0 < getattr(self, name) <= most:
                raise ConfigError(
                    f"{name} is {getattr(self, name)}.", f"Give more than 0, up to {most:g}."
                )

    @property
    def url(self) -> SplitResult:
        """The address in its parts."""
        return urlsplit(self.base_url)


_UNSAFE = frozenset(map(chr, [*range(33), 127]))


class HttpClient:
    """A ChatClient over an endpoint."""

    def __init__(self, config: HttpConfig) -> None:
        self.config = config

    def stream(
        self,
        messages: Sequence[Message],
        sampling: SamplingParams | None = None,
        *,
        tools: Sequence[ToolSpec] = (),
        thinking: bool = True,
        thinking_budget: int | None = None,
    ) -> HttpStream:
        """Raises NetworkError, PromptError (the endpoint refused the request) or BusyError (429)."""
        body: dict[str, Any] = {
            "model": self.config.model,
            "messages": [_wire_message(message) for message in messages],
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if sampling is not None:
            body |= wire_sampling(sampling)
        if tools:
            body["tools"] = [
                {"type": "function", "function": {
                    "name": tool.name, "description": tool.description, "parameters": dict(tool.parameters),
                }}
                for tool in tools
            ]  # fmt: skip
        if not thinking:
            body["chat_template_kwargs"] = {"enable_thinking": False}
        if thinking_budget is not None:
            body[self.config.budget_field] = thinking_budget
        exchange = Exchange(self.config, "/chat/completions", body)
        exchange.begin()
        return HttpStream(exchange, sampling.n if sampling else 1)


class Exchange:
    """One request, sent as JSON when it is made, and its answer, read as server-sent events."""

    def __init__(self, config: HttpConfig, route: str, body: dict[str, Any]) -> None:
        """Raises NetworkError, ConfigError for what is no JSON."""
        self._config = config
        self._response: http.client.HTTPResponse | None = None
        self._sock: socket.socket | None = None
        self.is_aborted = self._is_late = False
        try:
            data = json.dumps(body | dict(config.extra), allow_nan=False).encode()
        except (TypeError, ValueError) as error:
            raise ConfigError(f"The request is no JSON: {error}.", "Change `extra`.") from None
        url = config.url
        kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(str(url.hostname), url.port, timeout=config.timeout_s)
        headers = {"Content-Type": "application/json", "Accept": "text/event-stream"}
        if config.api_key is not None:
            headers["Authorization"] = f"Bearer {config.api_key}"
        target = url.path.rstrip("/") + route + (f"?{url.query}" if url.query else "")
        self._until_s = time.monotonic() + config.total_s
        with self._watched():
            self._connection.connect()
            self._sock = self._connection.sock  # which it forgets when the server says `close`
            self._connection.request("POST", target, data, headers)

    def begin(self) -> http.client.HTTPResponse:
        """Wait for the head of the answer. Raises NetworkError, PromptError (the request was refused) or BusyError."""
        if self._response is None:
            with self._watched():
                self._response = response = self._connection.getresponse()
                if response.status != 200:
                    told = response.read(MAX_ERROR_BYTES).decode("utf-8", "replace")
                    raise _refused(self._config, response, told)
        return self._response

    @contextlib.contextmanager
    def reading(self) -> Generator[None]:
        """Around all that reads the answer: what goes wrong inside, a ValueError too, is a NetworkError, or nothing
        once aborted. Ends the exchange."""
        try:
            with self._watched():
                yield
        except NetworkError:
            if not self.is_aborted:
                raise
        finally:
            self._close()

    def events(self) -> Iterator[dict[str, Any]]:
        """The objects of the `data:` lines up to `[DONE]` or the end. Raises as `begin`, NetworkError for one that
        tells of a failure, ValueError for what is no event."""
        total = 0
        response = self.begin()
        while line := response.readline(MAX_LINE_BYTES + 1):
            total += len(line)
            if len(line) > MAX_LINE_BYTES or total > self._config.max_bytes:
                raise ValueError(f"more than {self._config.max_bytes} bytes, or a line too long")
            data = line.strip()
            if not data.startswith(b"data:"):
                continue
            data = data[5:].strip()
            if data == b"[DONE]":
                return
            try:
                event = mapping(json.loads(data))
            except RecursionError:
                raise ValueError("an event nested too deeply") from None
            if event.get("error"):
                raise NetworkError(
                    f"{self._config.base_url!r} failed while answering: {str(event['error'])[:300]}",
                    "Ask again; if it stays, look at the server's log.",
                )
            yield event

    def abort(self) -> None:
        """Closes the connection; the server is expected to stop."""
        self.is_aborted = True
        self._hang_up()

    def broken(self, error: Exception) -> NetworkError:
        """What went wrong on the way, for the caller."""
        why = f"no end after {self._config.total_s:g} s" if self._is_late else error
        return NetworkError(
            f"{self._config.base_url!r} could not be read: {why or type(error).__name__}.",
            "Check the address and that the server runs; then ask again.",
        )

    @contextlib.contextmanager
    def _watched(self) -> Generator[None]:
        """The time of the whole answer, and the errors of the wire as ours."""
        timer = threading.Timer(self._until_s - time.monotonic(), self._expire)
        timer.daemon = True
        timer.start()
        try:
            yield
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._close()
            raise self.broken(error) from error
        except UserError:
            self._close()
            raise
        finally:
            timer.cancel()

    def _expire(self) -> None:
        self._is_late = True
        self._hang_up()

    def _hang_up(self) -> None:
        if self._sock is not None:
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)

    def _close(self) -> None:
        if self._response is not None:
            self._response.close()
        self._connection.close()


def _refused(
    config: HttpConfig, response: http.client.HTTPResponse, text: str
) -> NetworkError | PromptError | BusyError:
    try:
        told = str(json.loads(text)["error"]["message"])
    except (ValueError, KeyError, TypeError, RecursionError):
        told = text
    told = " ".join(told.split())[:300]
    problem = f"{config.base_url!r} answered {response.status}: {told or response.reason}"
    if response.status in (400, 413, 422):
        return PromptError(problem, "Change the request as the endpoint says.")
    if response.status in (429, 503):
        try:
            wait_s = float(response.getheader("Retry-After") or "")
        except ValueError:
            wait_s = 1.0
        wait_s = min(wait_s, MAX_WAIT_S) if wait_s >= 0 else 1.0
        return BusyError(problem, f"Ask again in {wait_s:g} s.", wait_s)
    return NetworkError(problem, "Check the address, the model's name and the key.")


def _wire_message(message: Message) -> dict[str, Any]:
    wire: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.reasoning is not None:
        wire["reasoning_content"] = message.reasoning
    if message.tool_calls:
        wire["tool_calls"] = [
            {"id": each.id, "type": "function", "function": {"name": each.name, "arguments": each.arguments}}
            for each in message.tool_calls
        ]  # fmt: skip
    for name in ("tool_call_id", "name"):
        if getattr(message, name) is not None:
            wire[name] = getattr(message, name)
    return wire


def wire_sampling(sampling: SamplingParams) -> dict[str, Any]:
    """OpenAI's fields always; the usual extensions only where they ask for something."""
    if sampling.logprobs is not None:
        raise ConfigError(
            "logprobs cannot be asked of an endpoint: it sends texts, not token ids.",
            "Leave logprobs out, or use a model in this process.",
        )
    default = SamplingParams()
    wire: dict[str, Any] = {"temperature": sampling.temperature, "top_p": sampling.top_p}
    for name in (
        *("presence_penalty", "frequency_penalty", "repetition_penalty", "top_k", "min_p"),
        *("seed", "max_tokens", "n"),
    ):
        if getattr(sampling, name) != getattr(default, name):
            wire[name] = getattr(sampling, name)
    bias = {str(key): value for key, value in sampling.logit_bias.items()}
    more = {
        "stop": list(sampling.stop),
        "stop_token_ids": list(sampling.stop_ids),
        "logit_bias": bias,
        "ignore_eos": sampling.ignore_end_ids,
    }
    return wire | {name: value for name, value in more.items() if value}


@dataclass(slots=True)
class _Call:
    """A tool call that comes in pieces; id and name count once, however often a server repeats them."""

    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list[str])


@dataclass(slots=True)
class _Choice:
    content: list[str] = field(default_factory=list[str])
    reasoning: list[str] = field(default_factory=list[str])
    calls: dict[int, _Call] = field(default_factory=dict[int, _Call])
    finish: FinishReason | None = None

    def message(self) -> Message:
        calls = tuple(
            ToolCall(call.id or f"call_{index}", call.name, "".join(call.arguments))
            for index, call in sorted(self.calls.items())
        )
        said, thought = "".join(self.content), "".join(self.reasoning)
        return Message("assistant", said or None, thought or None, calls)


class HttpStream:
    """The deltas of one request; tool calls are given whole, once they are."""

    def __init__(self, exchange: Exchange, num_choices: int) -> None:
        self._exchange = exchange
        self._choices = [_Choice() for _ in range(num_choices)]
        self._usage = Usage()
        self._done: list[Completion] = []

    @property
    def completions(self) -> Sequence[Completion]:
        return self._done

    def abort(self) -> None:
        self._exchange.abort()

    def answer_now(self) -> None:
        """Raises ConfigError: the chat protocol has no word for it."""
        raise ConfigError(
            "An endpoint cannot be told to answer now.", "Give a thinking budget, or stop."
        )

    def __iter__(self) -> Iterator[Delta]:
        with self._exchange.reading():
            for event in self._exchange.events():
                self._usage = wire_usage(event) or self._usage
                for part in objects(event.get("choices")):
                    yield from self._deltas(part)
        for index, choice in enumerate(self._choices):
            message = choice.message()
            for call in message.tool_calls:
                yield Delta("tool_call", "", call, index)
            if choice.finish is None and not self._exchange.is_aborted:
                raise self._exchange.broken(EOFError("the answer broke off"))
            self._done.append(Completion(message, choice.finish or "abort", self._usage))

    def _deltas(self, part: dict[str, Any]) -> Iterator[Delta]:
        index, delta = whole(part.get("index")), mapping(part.get("delta"))
        if index >= len(self._choices):
            raise ValueError(f"choice {index} of {len(self._choices)}")
        choice = self._choices[index]
        if thought := text(delta.get("reasoning_content")) or text(delta.get("reasoning")):
            choice.reasoning.append(thought)
            yield Delta("reasoning", thought, None, index)
        if said := text(delta.get("content")):
            choice.content.append(said)
            yield Delta("content", said, None, index)
        for piece in objects(delta.get("tool_calls")):
            call = choice.calls.setdefault(whole(piece.get("index")), _Call())
            function = mapping(piece.get("function"))
            call.id = call.id or text(piece.get("id"))
            call.name = call.name or text(function.get("name"))
            call.arguments.append(text(function.get("arguments")))
        choice.finish = finish_of(part) or choice.finish


def finish_of(part: dict[str, Any]) -> FinishReason | None:
    """Why a choice ended; None while it goes on."""
    reason = text(part.get("finish_reason"))
    return FINISH.get(reason, "error") if reason else None


def wire_usage(event: dict[str, Any]) -> Usage | None:
    """The counts of an event that holds them."""
    if event.get("usage") is None:
        return None
    wire = mapping(event["usage"])
    asked, made = (mapping(wire.get(f"{name}_tokens_details")) for name in ("prompt", "completion"))
    return Usage(
        whole(wire.get("prompt_tokens")),
        whole(asked.get("cached_tokens")),
        whole(wire.get("completion_tokens")),
        whole(made.get("reasoning_tokens")),
    )


def mapping(value: Any) -> dict[str, Any]:
    """A JSON object; empty for null. As those below, ValueError for anything else."""
    if value is not None and not isinstance(value, dict):
        raise ValueError(f"{str(value)[:80]!r} where an object belongs")
    return cast("dict[str, Any]", value or {})


def items(value: Any) -> list[Any]:
    """A JSON list; empty for null."""
    if value is not None and not isinstance(value, list):
        raise ValueError(f"{str(value)[:80]!r} where a list belongs")
    return cast("list[Any]", value or [])


def objects(value: Any) -> list[dict[str, Any]]:
    """A JSON list of objects."""
    return [mapping(each) for each in items(value)]


def whole(value: Any) -> int:
    """A JSON whole number from 0; 0 for null."""
    if value is not None and (type(value) is not int or value < 0):
        raise ValueError(f"{str(value)[:80]!r} where a whole number belongs")
    return value or 0


def text(value: Any) -> str:
    """A JSON string; empty for null; half a surrogate pair becomes a question mark."""
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{str(value)[:80]!r} where a text belongs")
    return (value or "").encode("utf-8", "replace").decode()
