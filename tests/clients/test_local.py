"""clients/local over a token engine that replays events, and `ponder.load` over a real one."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from toy_folder import END_ID, write_toy

import ponder
from ponder.api import recommended_sampling
from ponder.clients.local import LocalClient
from ponder.core.errors import BackendError, ConfigError, ModelFolderError, PromptError
from ponder.core.types import (
    Message,
    SamplingParams,
    TokenEvent,
    TokenLogprob,
    TokenRequest,
    Usage,
)
from ponder.text import ChatTemplate, Tokenizer

ASK = [Message("user", "What is 17 * 23?")]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy(tmp_path_factory.mktemp("local") / "toy")


class Replay:
    """A TokenEngine and its stream: gives the events of a script, keeps what it was asked."""

    request_id = "replayed"

    def __init__(self, events: list[TokenEvent]) -> None:
        self.events = events
        self.requests: list[TokenRequest] = []
        self.signals: list[str] = []

    def submit(self, request: TokenRequest) -> Replay:
        self.requests.append(request)
        return self

    def __iter__(self) -> Iterator[TokenEvent]:
        yield from self.events

    def abort(self) -> None:
        self.signals.append("abort")

    def answer_now(self) -> None:
        self.signals.append("answer_now")


def test_ids_become_thinking_and_answer_and_are_kept(toy: Path) -> None:
    tokenizer = Tokenizer.from_folder(toy)
    close = tokenizer.id_of("</think>")
    assert close is not None
    ids = [*tokenizer.encode("17·20"), close, *tokenizer.encode("\n\n39é1"), END_ID]
    usage = Usage(9, 0, len(ids), 6)
    logprob = TokenLogprob(ids[0], -0.5)
    for size in (1, 2, len(ids)):
        events = [
            TokenEvent("replayed", 0, tuple(ids[i : i + size]), "thinking", (logprob,))
            for i in range(0, len(ids), size)
        ]
        events.append(
            TokenEvent(
                "replayed", 0, (), "answering", (), "stop", "self", END_ID, usage=usage, seed=7
            )
        )
        engine = Replay(events)
        client = LocalClient(engine, ChatTemplate.from_folder(toy), SamplingParams(0.25))
        stream = client.stream(ASK, thinking_budget=50)
        pieces = list(stream)
        (done,) = stream.completions
        assert done.message == Message("assistant", "39é1", "17·20")
        for kind, text in (("reasoning", "17·20"), ("content", "39é1")):
            assert "".join(piece.text for piece in pieces if piece.kind == kind) == text
        assert done.token_ids == tuple(ids)
        assert (done.usage, done.seed, done.thinking_end, done.stop) == (usage, 7, "self", END_ID)
        assert len(done.logprobs) == len(events) - 1
        (request,) = engine.requests
        assert request.sampling.temperature == 0.25
        assert request.thinking is not None
        assert request.thinking.budget == 50
        assert request.thinking.starts_open
        assert request.thinking.close_ids == (close,)
        assert tokenizer.decode(request.prompt_ids).endswith("assistant\n<think>\n")


def test_signals_errors_and_leaving_early(toy: Path) -> None:
    template = ChatTemplate.from_folder(toy)
    failed = TokenEvent("replayed", 0, (), "thinking", finish_reason="error", error="no memory")
    with pytest.raises(BackendError, match="no memory"):
        list(LocalClient(Replay([failed]), template).stream(ASK))
    engine = Replay([TokenEvent("replayed", 0, (70, 71), "thinking")] * 3)
    stream = LocalClient(engine, template).stream(ASK)
    stream.answer_now()
    for _ in stream:
        break
    del stream
    assert engine.signals[0] == "answer_now"
    assert engine.signals[-1] == "abort"
    without = Replay([])
    LocalClient(without, template).stream(ASK, thinking=False)
    assert without.requests[0].thinking is None


def test_load_ask_stream_chat_score(toy: Path) -> None:
    with ponder.load(toy, threads=1) as model:
        assert model.sampling.temperature == 0.0
        question = "hello " * 9  # longer than a page of the cache
        done = model.ask(question, budget=4, max_tokens=80)
        assert done.usage.thinking_tokens <= 4
        again = model.ask(question, budget=4, max_tokens=80)
        assert again.token_ids == done.token_ids
        assert again.usage.cached_tokens > 0
        talk = [Message("user", question), done.message, Message("user", "more")]
        assert model.chat(talk, budget=2, max_tokens=70).usage.cached_tokens > 0

        stream = model.stream("hello", n=3, temperature=1.0, seed=5, budget=4, max_tokens=80)
        pieces = list(stream)
        assert len(stream.completions) == 3
        assert {piece.choice for piece in pieces} <= {0, 1, 2}
        with pytest.raises(ConfigError, match="n is 2"):
            model.ask("hello", n=2)
        with pytest.raises(PromptError):
            model.ask("x" * 600)

        ids = list(done.token_ids[:5])
        scores = model.score(ids)
        assert scores.dtype == np.float32
        assert scores.shape == (4,)
        named = [thread.name for thread in threading.enumerate()]
        assert "ponder-engine" in named
    assert "ponder-engine" not in [thread.name for thread in threading.enumerate()]
    with pytest.raises(ModelFolderError, match="No model or folder named 'nowhere'"):
        ponder.load("nowhere")


def test_a_model_that_nobody_closed_ends_quietly(toy: Path) -> None:
    program = f"import ponder; m = ponder.load({str(toy)!r}); print(m.ask('hi', max_tokens=5).seed)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_recommended_sampling_comes_from_the_folder(toy: Path, tmp_path: Path) -> None:
    assert recommended_sampling(tmp_path) == SamplingParams()
    file = tmp_path / "generation_config.json"
    file.write_text('{"do_sample": true, "temperature": 0.6, "top_k": 40, "top_p": 0.95}')
    assert recommended_sampling(tmp_path) == SamplingParams(temperature=0.6, top_k=40, top_p=0.95)
    file.write_text('{"do_sample": false, "temperature": 0.6}')
    assert recommended_sampling(tmp_path).temperature == 0.0
    file.write_text('{"do_sample": true, "top_p": 3}')
    with pytest.raises(ModelFolderError, match="'top_p' is 3"):
        recommended_sampling(tmp_path)
