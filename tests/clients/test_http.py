"""clients/http against a server on loopback that speaks the wire by hand."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ponder.clients.http import HttpClient, HttpConfig
from ponder.core.errors import BusyError, ConfigError, NetworkError, PromptError
from ponder.core.types import Message, SamplingParams, ToolCall, ToolSpec, Usage

ASK = [Message("user", "What is 17 * 23?")]


@contextmanager
def endpoint(body: str, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> Iterator:
    """(address, list of request bodies) of a server that gives every request the same answer."""
    seen: list[dict] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            seen.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            seen[-1]["__path"] = self.path
            seen[-1]["__key"] = self.headers.get("Authorization")
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


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
    with pytest.raises(ConfigError, match="base_url is 'localhost'"):
        HttpClient(HttpConfig("localhost", "m"))


def test_a_response_over_the_limit_is_refused():
    body = sse(*[delta(content="x" * 100)] * 50, delta("stop"))
    with endpoint(body) as (url, _), pytest.raises(NetworkError, match="more than 2000 bytes"):
        list(HttpClient(HttpConfig(url, "m", max_bytes=2000)).stream(ASK))


def test_abort_ends_a_stream_that_says_nothing_more():
    left = threading.Event()

    class Silent(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(sse(delta(content="39")).encode())
            self.wfile.flush()
            left.wait(20)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Silent)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/v1"
        stream = HttpClient(HttpConfig(url, "m")).stream(ASK)
        for _ in stream:
            threading.Timer(0.05, stream.abort).start()
        (done,) = stream.completions
        assert (done.finish_reason, done.message.content) == ("abort", "39")
    finally:
        left.set()
        server.shutdown()
        server.server_close()
        thread.join()
