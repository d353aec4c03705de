"""clients/http against a server on loopback that speaks the wire by hand."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from ponder.clients.http import HttpClient, HttpConfig
from ponder.core.errors import BusyError, ConfigError, NetworkError, PromptError
from ponder.core.types import Message, SamplingParams, ToolCall, ToolSpec, Usage

ASK = [Message("user", "What is 17 * 23?")]


@contextmanager
def served(answer: Callable[[BaseHTTPRequestHandler, dict[str, Any]], None]) -> Iterator[str]:
    """The address of a server whose answers `answer(handler, request body)` writes."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            answer(self, json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def handle(self):
            with suppress(OSError):  # the client may leave
                super().handle()

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def endpoint(body: str, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> Iterator:
    """(address, list of request bodies) of a server that gives every request the same answer."""
    seen: list[dict] = []

    def answer(handler: BaseHTTPRequestHandler, asked: dict[str, Any]) -> None:
        key = handler.headers.get("Authorization")
        seen.append(asked | {"__path": handler.path, "__key": key})
        handler.send_response(status)
        for name, value in headers:
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body.encode())

    with served(answer) as url:
        yield url, seen


def sse(*events: dict) -> str:
    return "".join(f"data: {json.dumps(event)}\n\n" for event in events)


def delta(finish: str | None = None, index: int = 0, **fields) -> dict:
    return {"choices": [{"index": index, "delta": fields, "finish_reason": finish}]}


def test_thinking_answer_and_usage_under_both_field_names():
    usage = {
        "prompt_tokens": 9,
        "completion_tokens": 4,
        "completion_tokens_details": {"reasoning_tokens": 2},
    }
    for name in ("reasoning", "reasoning_content"):
        body = ": keep-alive\n\n" + sse(
            delta(role="assistant", content=""),
            delta(**{name: "17 * 20"}),
            delta(**{name: " = 340"}),
            delta(content="39"),
            delta(content="1"),
            delta("stop"),
            {"choices": [], "usage": usage},
        )
        with endpoint(body + "data: [DONE]\n\n") as (url, seen):
            client = HttpClient(HttpConfig(url, "m", api_key="k", extra={"service_tier": "auto"}))
            sampling = SamplingParams(temperature=0.0, top_k=3, stop=("x",), logit_bias={5: -1.0})
            stream = client.stream(ASK, sampling, thinking=False, thinking_budget=7)
            kinds = [(piece.kind, piece.text) for piece in stream]
        assert kinds[0] == ("reasoning", "17 * 20")
        (done,) = stream.completions
        assert done.message == Message("assistant", "391", "17 * 20 = 340")
        assert (done.finish_reason, done.usage) == ("stop", Usage(9, 0, 4, 2))
        sent = seen[0]
        assert sent["__path"] == "/v1/chat/completions"
        assert sent["__key"] == "Bearer k"
        assert sent["temperature"] == 0.0
        assert sent["top_k"] == 3
        assert sent["thinking_budget"] == 7
        assert sent["chat_template_kwargs"] == {"enable_thinking": False}
        assert sent["logit_bias"] == {"5": -1.0}
        assert "min_p" not in sent


def test_tool_calls_are_joined_whole():
    def piece(**function) -> dict:
        return delta(tool_calls=[{"index": 0, "id": "c1", "function": function}])

    events = (piece(name="add", arguments='{"a"'), piece(name="add", arguments=": 1}"))
    tool = ToolSpec("add", "adds", {"type": "object"})
    with endpoint(sse(*events, delta("tool_calls"))) as (url, seen):
        stream = HttpClient(HttpConfig(url, "m")).stream(ASK, tools=[tool])
        pieces = list(stream)
    assert [piece.kind for piece in pieces] == ["tool_call"]
    assert stream.completions[0].message.tool_calls == (ToolCall("c1", "add", '{"a": 1}'),)
    assert seen[0]["tools"][0]["function"]["name"] == "add"


def test_what_goes_wrong_is_named():
    cases = [
        (sse(delta(content="39")), 200, (), NetworkError, "broke off"),
        ("data: {oops\n\n", 200, (), NetworkError, "could not be read"),
        (sse({"error": {"message": "no memory"}}), 200, (), NetworkError, "no memory"),
        (sse(delta("stop", index=3)), 200, (), NetworkError, "choice 3 of 1"),
        ('{"error": {"message": "too long"}}', 400, (), PromptError, "too long"),
        ("slow down", 429, (("Retry-After", "7"),), BusyError, "429: slow down"),
        ("no such page", 404, (), NetworkError, "404"),
    ]
    for body, status, headers, kind, words in cases:
        with endpoint(body, status, headers) as (url, _), pytest.raises(kind, match=words) as info:
            list(HttpClient(HttpConfig(url, "m")).stream(ASK))
        if kind is BusyError:
            assert info.value.retry_after_s == 7.0
    with pytest.raises(NetworkError, match="could not be read"):
        HttpClient(HttpConfig("http://127.0.0.1:1/v1", "m", timeout_s=2)).stream(ASK)


HOSTILE = [
    '{"choices": 5}', '{"choices": "abc"}', '{"choices": ["x"]}', '{"choices": [{"delta": [1]}]}', "5", "[" * 90_000,
    '{"choices": [{"index": 1e999}]}', '{"choices": [{"index": -1}]}', '{"choices": [{"index": true}]}',
    '{"choices": [{"delta": {"tool_calls": 7}}]}', '{"choices": [{"delta": {"tool_calls": [{"function": "f"}]}}]}',
    '{"choices": [{"delta": {"content": 7}}]}', '{"choices": [{"finish_reason": ["stop"]}]}', '{"usage": [1]}',
    '{"usage": {"prompt_tokens": 1e999}}', '{"usage": {"prompt_tokens": [1]}}', '{"choices": [{"delta": "x"}]}',
    '{"usage": {"prompt_tokens_details": 3}}', '{"error": {"message": "' + "x" * 10_000 + '"}}',
]  # fmt: skip


def test_answers_of_another_shape_are_errors_of_the_network():
    bodies = iter(HOSTILE)

    def answer(handler, asked):
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(f"data: {next(bodies)}\n\n".encode())

    with served(answer) as url:
        client = HttpClient(HttpConfig(url, "m"))
        for body in HOSTILE:
            with pytest.raises(NetworkError) as info:
                list(client.stream(ASK))
            told = str(info.value)
            assert len(told) < 600 and "broke off" not in told, (body[:80], told)


@pytest.mark.parametrize(
    ("wait", "seconds"), [("\xb2", 1), ("9" * 400, 3600), ("nan", 1), ("-5", 1), ("2.5", 2.5)]
)
def test_how_long_a_busy_server_says_to_wait(wait, seconds):
    with endpoint("", 429, (("Retry-After", wait),)) as (url, _), pytest.raises(BusyError) as info:
        HttpClient(HttpConfig(url, "m")).stream(ASK)
    assert info.value.retry_after_s == seconds


@pytest.mark.parametrize(
    "values",
    [
        *({"base_url": f"http://{each}"} for each in ("h:99999", "h:abc", "[::1", "a b/", "h/\r\nX: y", "h/é", "")),
        *({"base_url": each} for each in ("localhost", "ftp://h", "http://me:secret@h/v1")),
        *({"api_key": each} for each in ("secret\nX: y", "secreté")),
        *({"timeout_s": each} for each in (0, -1, float("nan"), float("inf"))),
    ],
)  # fmt: skip
def test_what_cannot_be_sent_is_refused_at_once_and_no_secret_shown(values):
    with pytest.raises(ConfigError) as info:
        HttpConfig(**{"base_url": "http://h", "model": "m"} | values)
    assert "secret" not in str(info.value)


def test_a_request_that_is_no_json_and_a_query_in_the_address():
    with pytest.raises(ConfigError, match="no JSON"):
        HttpClient(HttpConfig("http://h", "m", extra={"a": float("nan")})).stream(ASK)
    with endpoint(sse(delta("stop"))) as (url, seen):
        list(HttpClient(HttpConfig(f"{url}/?version=2", "m")).stream(ASK))
    assert seen[0]["__path"] == "/v1/chat/completions?version=2"


def test_a_response_over_the_limit_is_refused():
    body = sse(*[delta(content="x" * 100)] * 50, delta("stop"))
    with endpoint(body) as (url, _), pytest.raises(NetworkError, match="more than 2000 bytes"):
        list(HttpClient(HttpConfig(url, "m", max_bytes=2000)).stream(ASK))


def test_an_answer_that_drips_is_given_up():
    def drip(handler, asked):
        handler.send_response(200)
        handler.end_headers()
        for _ in range(2000):
            handler.wfile.write(b":")
            handler.wfile.flush()
            left.wait(0.01)

    left = threading.Event()
    with served(drip) as url, pytest.raises(NetworkError, match=r"no end after 0\.2 s"):
        list(HttpClient(HttpConfig(url, "m", total_s=0.2)).stream(ASK))


def test_abort_ends_a_stream_that_says_nothing_more():
    def silent(handler, asked):
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(sse(delta(content="39")).encode())
        handler.wfile.flush()
        left.wait(20)

    left = threading.Event()
    with served(silent) as url:
        stream = HttpClient(HttpConfig(url, "m")).stream(ASK)
        for _ in stream:
            threading.Timer(0.05, stream.abort).start()
        left.set()
    (done,) = stream.completions
    assert (done.finish_reason, done.message.content) == ("abort", "39")
