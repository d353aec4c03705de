"""clients/http: a client of any OpenAI-compatible endpoint (`/chat/completions`), by the standard library.

Thinking is read from `reasoning` or `reasoning_content`, whichever the endpoint sends. A stream that ends
without a finish reason is an error, never a short answer.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import urlsplit

from ponder.core.errors import BusyError, ConfigError, NetworkError, PromptError
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
FINISH: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "stop",
}


@dataclass(frozen=True, slots=True)
class HttpConfig:
    """One endpoint, e.g. `HttpConfig("http://127.0.0.1:8000/v1", "nano")`."""

    base_url: str
    """Up to and without `/chat/completions`."""
    model: str
    api_key: str | None = None
    timeout_s: float = 600.0
    """Longest silence before the request is given up."""
    max_bytes: int = 256_000_000
    """Most bytes of one response."""
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Fields added to every request body, for what one server calls its own way."""
    budget_field: str = "thinking_budget"
    """The endpoint's name for the thinking budget."""


class HttpClient:
    """A ChatClient over an endpoint."""

    def __init__(self, config: HttpConfig) -> None:
        """Raises ConfigError for an address that is not http(s)."""
        self.config = config
        self._wire = Wire(config, "/chat/completions")

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
            body["tools"] = [{"type": "function", "function": _wire_tool(tool)} for tool in tools]
        if not thinking:
            body["chat_template_kwargs"] = {"enable_thinking": False}
        if thinking_budget is not None:
            body[self.config.budget_field] = thinking_budget
        sock, connection = self._wire.send(body)
        response = self._wire.answer(connection)
        return HttpStream(sock, response, self._wire, sampling.n if sampling else 1)


class Wire:
    """One route of an endpoint, spoken as JSON one way and server-sent events the other."""

    def __init__(self, config: HttpConfig, route: str) -> None:
        """Raises ConfigError for an address that is not http(s)."""
        self.config = config
        self._url = urlsplit(config.base_url.rstrip("/") + route)
        if self._url.scheme not in ("http", "https") or not self._url.hostname:
            raise ConfigError(
                f"base_url is {config.base_url!r}.",
                "Give an address such as http://127.0.0.1:8000/v1.",
            )

    def send(self, body: dict[str, Any]) -> tuple[socket.socket, http.client.HTTPConnection]:
        """Send a request; `answer` waits for what comes. Raises NetworkError."""
        secure, plain = http.client.HTTPSConnection, http.client.HTTPConnection
        kind = secure if self._url.scheme == "https" else plain
        connection = kind(str(self._url.hostname), self._url.port, timeout=self.config.timeout_s)
        headers = {"Content-Type": "application/json", "Accept": "text/event-stream"}
        if self.config.api_key is not None:
            headers["Authorization"] = f"Bearer {self.config.api_key}"
        target = self._url.path + (f"?{self._url.query}" if self._url.query else "")
        data = json.dumps(body | dict(self.config.extra)).encode()
        try:
            connection.request("POST", target, data, headers)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise self.broken(error) from error
        return connection.sock, connection  # `sock` is forgotten when the server says `close`

    def answer(self, connection: http.client.HTTPConnection) -> http.client.HTTPResponse:
        """The response, begun. Raises NetworkError, PromptError (the request was refused) or BusyError (429)."""
        try:
            response = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise self.broken(error) from error
        if response.status != 200:
            text = response.read(MAX_ERROR_BYTES).decode("utf-8", "replace")
            connection.close()
            raise _refused(self.config, response, text)
        return response

    def events(self, response: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
        """The objects of the `data:` lines up to `[DONE]` or the end. Raises NetworkError for one that tells of a
        failure, ValueError for what is no event."""
        total = 0
        while line := response.readline(MAX_LINE_BYTES + 1):
            total += len(line)
            if len(line) > MAX_LINE_BYTES or total > self.config.max_bytes:
                raise ValueError(f"more than {self.config.max_bytes} bytes, or a line too long")
            data = line.strip()
            if not data.startswith(b"data:"):
                continue
            data = data[5:].strip()
            if data == b"[DONE]":
                return
            event = json.loads(data)
            if not isinstance(event, dict):
                raise ValueError(f"an event that is not an object: {data[:80]!r}")
            found = cast(dict[str, Any], event)
            if found.get("error"):
                raise NetworkError(
                    f"{self.config.base_url!r} failed while answering: {found['error']}",
                    "Ask again; if it stays, look at the server's log.",
                )
            yield found

    def broken(self, error: Exception) -> NetworkError:
        """What went wrong on the way, for the caller."""
        return NetworkError(
            f"{self.config.base_url!r} could not be read: {error or type(error).__name__}.",
            "Check the address and that the server runs; then ask again.",
        )


def _refused(
    config: HttpConfig, response: http.client.HTTPResponse, text: str
) -> NetworkError | PromptError | BusyError:
    try:
        told = str(json.loads(text)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        told = " ".join(text.split())[:300]
    problem = f"{config.base_url!r} answered {response.status}: {told or response.reason}"
    if response.status in (400, 413, 422):
        return PromptError(problem, "Change the request as the endpoint says.")
    if response.status in (429, 503):
        wait = response.getheader("Retry-After") or ""
        seconds = float(wait) if wait.replace(".", "", 1).isdigit() else 1.0
        return BusyError(problem, f"Ask again in {seconds:g} s.", seconds)
    return NetworkError(problem, "Check the address, the model's name and the key.")


def _wire_message(message: Message) -> dict[str, Any]:
    wire: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.reasoning is not None:
        wire["reasoning_content"] = message.reasoning
    if message.tool_calls:
        wire["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.tool_calls
        ]
    for name in ("tool_call_id", "name"):
        if getattr(message, name) is not None:
            wire[name] = getattr(message, name)
    return wire


def _wire_tool(tool: ToolSpec) -> dict[str, Any]:
    return {
        "name": tool.name,
        "description": tool.description,
        "parameters": dict(tool.parameters),
    }


def wire_sampling(sampling: SamplingParams) -> dict[str, Any]:
    """OpenAI's fields always; the usual extensions only where they ask for something."""
    default = SamplingParams()
    wire: dict[str, Any] = {"temperature": sampling.temperature, "top_p": sampling.top_p}
    for name in (
        *("presence_penalty", "frequency_penalty", "repetition_penalty", "top_k", "min_p"),
        *("seed", "max_tokens", "n"),
    ):
        if getattr(sampling, name) != getattr(default, name):
            wire[name] = getattr(sampling, name)
    if sampling.stop:
        wire["stop"] = list(sampling.stop)
    if sampling.stop_ids:
        wire["stop_token_ids"] = list(sampling.stop_ids)
    if sampling.logit_bias:
        wire["logit_bias"] = {str(key): value for key, value in sampling.logit_bias.items()}
    if sampling.ignore_end_ids:
        wire["ignore_eos"] = True
    if sampling.logprobs is not None:
        raise ConfigError(
            "logprobs cannot be asked of an endpoint: it sends texts, not token ids.",
            "Leave logprobs out, or use a model in this process.",
        )
    return wire


@dataclass(slots=True)
class _Choice:
    content: list[str] = field(default_factory=list[str])
    reasoning: list[str] = field(default_factory=list[str])
    calls: dict[int, dict[str, str]] = field(default_factory=dict[int, dict[str, str]])
    finish: FinishReason | None = None


class HttpStream:
    """The deltas of one request; tool calls are given whole, once they are."""

    def __init__(
        self,
        sock: socket.socket,
        response: http.client.HTTPResponse,
        wire: Wire,
        num_choices: int,
    ) -> None:
        self._sock, self._response, self._wire = sock, response, wire
        self._choices = [_Choice() for _ in range(num_choices)]
        self._usage = Usage()
        self._aborted = False
        self._done: list[Completion] = []

    @property
    def completions(self) -> Sequence[Completion]:
        return self._done

    def abort(self) -> None:
        """Closes the connection; the server is expected to stop."""
        self._aborted = True
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def answer_now(self) -> None:
        """Raises ConfigError: the chat protocol has no word for it."""
        raise ConfigError(
            "An endpoint cannot be told to answer now.", "Give a thinking budget, or stop."
        )

    def __iter__(self) -> Iterator[Delta]:
        try:
            for event in self._wire.events(self._response):
                yield from self._deltas(event)
        except (OSError, http.client.HTTPException, ValueError) as error:
            if not self._aborted:
                raise self._wire.broken(error) from error
        finally:
            self._response.close()
            self._sock.close()
        for index, choice in enumerate(self._choices):
            calls = _calls(choice)
            for call in calls:
                yield Delta("tool_call", "", call, index)
            if choice.finish is None and not self._aborted:
                raise self._wire.broken(EOFError("the answer broke off"))
            message = Message(
                "assistant",
                "".join(choice.content) or None,
                "".join(choice.reasoning) or None,
                calls,
            )
            self._done.append(Completion(message, choice.finish or "abort", self._usage))

    def _deltas(self, event: dict[str, Any]) -> Iterator[Delta]:
        if isinstance(usage := event.get("usage"), dict):
            self._usage = wire_usage(cast(dict[str, Any], usage))
        for part in cast(list[dict[str, Any]], event.get("choices") or []):
            index = int(part.get("index", 0))
            if not 0 <= index < len(self._choices):
                raise ValueError(f"choice {index} of {len(self._choices)}")
            choice, delta = self._choices[index], cast(dict[str, Any], part.get("delta") or {})
            thought = delta.get("reasoning_content") or delta.get("reasoning")
            if isinstance(thought, str) and thought:
                choice.reasoning.append(thought)
                yield Delta("reasoning", thought, None, index)
            said = delta.get("content")
            if isinstance(said, str) and said:
                choice.content.append(said)
                yield Delta("content", said, None, index)
            for call in cast(list[dict[str, Any]], delta.get("tool_calls") or []):
                _join_call(choice, call)
            if part.get("finish_reason"):
                choice.finish = FINISH.get(str(part["finish_reason"]), "error")


def _join_call(choice: _Choice, piece: dict[str, Any]) -> None:
    """Arguments come in pieces; id and name count once, however often a server repeats them."""
    call = choice.calls.setdefault(
        int(piece.get("index", 0)), {"id": "", "name": "", "arguments": ""}
    )
    function = cast(dict[str, Any], piece.get("function") or {})
    call["id"] = call["id"] or str(piece.get("id") or "")
    call["name"] = call["name"] or str(function.get("name") or "")
    call["arguments"] += str(function.get("arguments") or "")


def _calls(choice: _Choice) -> tuple[ToolCall, ...]:
    ordered = sorted(choice.calls.items())
    return tuple(
        ToolCall(call["id"] or f"call_{index}", call["name"], call["arguments"])
        for index, call in ordered
    )


def wire_usage(wire: dict[str, Any]) -> Usage:
    def detail(group: str, name: str) -> int:
        details = cast(dict[str, Any], wire.get(group) or {})
        return int(details.get(name) or 0)

    return Usage(
        int(wire.get("prompt_tokens") or 0),
        detail("prompt_tokens_details", "cached_tokens"),
        int(wire.get("completion_tokens") or 0),
        detail("completion_tokens_details", "reasoning_tokens"),
    )
