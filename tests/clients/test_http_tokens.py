"""clients/http_tokens against a server on loopback that speaks vLLM's completions by hand, over our own engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from test_http import endpoint, served, sse
from toy_folder import write_toy

import ponder
from ponder.agent import Limits, Reply, run_episode
from ponder.clients.http import HttpConfig
from ponder.clients.http_tokens import HttpTokenEngine
from ponder.clients.session import TokenSession
from ponder.core.errors import BusyError, ConfigError, NetworkError, PromptError
from ponder.core.types import Message, SamplingParams, ThinkingParams, TokenRequest

SAMPLING = SamplingParams(temperature=1.0, seed=(1 << 62) + 3, max_tokens=40, logprobs=0)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy(tmp_path_factory.mktemp("tokens") / "toy")


@contextmanager
def serving(model: ponder.LoadedModel) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server of `/v1/completions` with ids both ways, and the requests it saw."""
    seen: list[dict[str, Any]] = []

    def answer(handler: BaseHTTPRequestHandler, asked: dict[str, Any]) -> None:
        seen.append(asked)
        assert handler.path == "/v1/completions" and asked["stream"] and asked["return_token_ids"]
        wanted = 0 if "logprobs" in asked else None
        sampling = SamplingParams(
            temperature=asked["temperature"], top_p=asked["top_p"], seed=asked.get("seed"),
            max_tokens=asked["max_tokens"], logprobs=wanted,
        )  # fmt: skip
        stream = model.worker.submit(TokenRequest(tuple(asked["prompt"]), sampling))
        handler.send_response(200)
        handler.end_headers()
        for event in stream:
            choice = {"index": 0, "token_ids": list(event.token_ids), "text": "…"}
            choice["finish_reason"] = event.finish_reason
            if wanted is not None:
                values = [each.logprob for each in event.logprobs]
                choice["logprobs"] = {"token_logprobs": values, "tokens": ["…"] * len(values)}
            usage = event.usage and {
                "prompt_tokens": event.usage.prompt_tokens,
                "completion_tokens": event.usage.completion_tokens,
            }
            handler.wfile.write(sse({"choices": [choice], "usage": usage}).encode())
        handler.wfile.write(b"data: [DONE]\n\n")

    with served(answer) as url:
        yield url, seen


def test_ids_and_logprobs_are_the_servers_own(toy):
    with ponder.load(toy, threads=1) as model, serving(model) as (url, seen):
        engine = HttpTokenEngine(HttpConfig(url, "toy"))
        prompt = model.template.render([Message("user", "hello")])
        state = model.template.thinking_params(prompt)
        for sampling in (SAMPLING, replace(SAMPLING, temperature=0.0, logprobs=None)):
            bare = TokenRequest(prompt.ids, sampling)
            truth = Reply.of(list(model.worker.submit(bare)))
            got = Reply.of(list(engine.submit(replace(bare, thinking=state))))
            assert (got.ids, got.logprobs, got.finish) == (truth.ids, truth.logprobs, truth.finish)
            assert got.usage.completion_tokens == len(truth.ids) and got.forced == ()
        assert seen[0]["seed"] == SAMPLING.seed and seen[0]["prompt"] == list(prompt.ids)

        streams = [
            engine.submit(TokenRequest(prompt.ids, replace(SAMPLING, seed=s))) for s in range(4)
        ]
        replies = [Reply.of(list(stream)) for stream in streams]
        assert len({reply.ids for reply in replies}) == 4
        gone = engine.submit(TokenRequest(prompt.ids, SAMPLING))
        gone.abort()
        assert Reply.of(list(gone)).finish == "abort"

        session = TokenSession(model.template, [Message("user", "hello")])
        done = run_episode(engine, session, (), Limits(), SAMPLING)
        assert done.ids == (*prompt.ids, *Reply.of(list(model.worker.submit(bare_of(prompt)))).ids)


def bare_of(prompt: Any) -> TokenRequest:
    return TokenRequest(prompt.ids, SAMPLING)


def chunk(ids: list[int], finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "token_ids": ids, "finish_reason": finish, **more}]}


def events(*chunks: dict[str, Any], **sampling: Any):
    thinking = ThinkingParams(close_ids=(7, 8), starts_open=True)
    with endpoint(sse(*chunks) + "data: [DONE]\n\n") as (url, _):
        engine = HttpTokenEngine(HttpConfig(url, "m"))
        params = SamplingParams(max_tokens=9, **sampling)
        return list(engine.submit(TokenRequest((1, 2), params, thinking)))


def test_the_phase_turns_after_the_closing_tag_wherever_chunks_end():
    whole = [events(chunk([5, 7]), chunk([8, 6]), chunk([], "stop"))]
    whole.append(events(chunk([5, 7, 8, 6], "stop")))
    for got in whole:
        phases = [(i, e.phase) for e in got for i in e.token_ids]
        assert phases == [(5, "thinking"), (7, "thinking"), (8, "thinking"), (6, "answering")]
        assert got[-1].thinking_end == "self" and got[-1].usage is not None
        assert (got[-1].usage.thinking_tokens, got[-1].usage.completion_tokens) == (1, 4)
    cut = events(chunk([5, 7, 7], "length"))
    assert (cut[-1].finish_reason, cut[-1].thinking_end, cut[-1].phase) == (
        "length",
        "length",
        "thinking",
    )


@pytest.mark.parametrize(
    ("chunks", "asked", "told"),
    [
        ([chunk([5])], {}, "broke off"),
        ([{"choices": [{"text": "five", "finish_reason": "stop"}]}], {}, "text without token_ids"),
        ([chunk([5], "stop")], {"logprobs": 0}, "log-probabilities"),
        ([chunk([5], "stop", logprobs={"token_logprobs": [float("nan")]})], {"logprobs": 0}, "nan"),
        (
            [chunk([5], "stop", logprobs={"token_logprobs": [-float("inf")]})],
            {"logprobs": 0},
            "inf",
        ),
        ([chunk([5], "stop", logprobs=[1])], {"logprobs": 0}, "where an object belongs"),
        ([chunk([1.7], "stop")], {}, r"token_ids \[1.7\]"),
        ([chunk([True, -1], "stop")], {}, "token_ids"),
        ([chunk([5] * 10, "stop")], {}, "10 token_ids of 9"),
        ([{"choices": [{"index": 5, "token_ids": [1]}]}], {}, "choice 5 of 1"),
        ([{"error": {"message": "out of memory"}}], {}, "out of memory"),
    ],
)
def test_what_is_no_answer_is_an_error(chunks, asked, told):
    with pytest.raises(NetworkError, match=told):
        events(*chunks, **asked)


def test_what_cannot_be_asked_is_refused():
    engine = HttpTokenEngine(HttpConfig("http://127.0.0.1:9/v1", "m"))
    good = SamplingParams(max_tokens=5)
    for sampling in (SamplingParams(), replace(good, n=2), replace(good, logprobs=3)):
        with pytest.raises(ConfigError, match="cannot be asked of an endpoint"):
            engine.submit(TokenRequest((1,), sampling))
    with pytest.raises(ConfigError, match="a thinking budget"):
        engine.submit(TokenRequest((1,), good, ThinkingParams((2,), True, budget=3)))
    for status, error in ((400, PromptError), (429, BusyError), (500, NetworkError)):
        with endpoint('{"error": {"message": "no"}}', status) as (url, _), pytest.raises(error):
            list(HttpTokenEngine(HttpConfig(url, "m")).submit(TokenRequest((1,), good)))
