"""The thread at the edge: many readers, aborts, a full queue, failing steps, a clean close. Nothing ever hangs."""

from __future__ import annotations

import logging
import threading

import pytest
from engine_toys import Answer, HistoryModel, Letters, checksum, greedy_truth

from ponder.core.errors import BackendError, BusyError, ConfigError, PromptError
from ponder.core.protocols import TokenEngine
from ponder.core.types import SamplingParams, ThinkingParams, TokenRequest
from ponder.engine import Engine, EngineConfig, EngineWorker

CONFIG = EngineConfig(page_len=16, num_pages=64, max_running=8)


def worker_of(next_of=checksum, config: EngineConfig = CONFIG) -> EngineWorker:
    return EngineWorker(Engine(HistoryModel(next_of), Letters(), config))


def request_of(*prompt: int, max_tokens: int = 20, **rest) -> TokenRequest:
    return TokenRequest(prompt, SamplingParams(temperature=0, max_tokens=max_tokens), **rest)


def read(stream) -> Answer:
    answer = Answer()
    for event in stream:
        answer.add(event)
    return answer


class Gate:
    """A next-token function that waits at the doors a test holds shut."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.open = threading.Event()

    def __call__(self, history: list[int]) -> int:
        self.entered.set()
        assert self.open.wait(30)
        return checksum(history)


def test_many_readers_each_get_their_own_answer():
    with worker_of() as worker:
        engine: TokenEngine = worker
        answers: dict[int, Answer] = {}

        def reader(first: int) -> None:
            answers[first] = read(engine.submit(request_of(first, 2, 3)))

        threads = [threading.Thread(target=reader, args=(first,)) for first in range(1, 21)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    for first in range(1, 21):
        assert answers[first].ids == greedy_truth(checksum, (first, 2, 3), 20)


def test_abort_and_answer_now_from_another_thread():
    acted = threading.Event()

    def waits_for_the_reader(history: list[int]) -> int:
        if len(history) > 100:
            acted.wait(30)
        return checksum(history)

    with worker_of(waits_for_the_reader) as worker:
        thinking = ThinkingParams(close_ids=(60,), starts_open=True, answer_reserve=0)
        stream = worker.submit(request_of(1, 2, max_tokens=900, thinking=thinking))
        events = iter(stream)
        next(events)
        stream.answer_now()
        acted.set()
        seen = [event for event in events if 60 in event.token_ids or event.finish_reason]
        assert seen[0].finish_reason is None
        assert seen[-1].thinking_end == "user"
        acted.clear()
        long = worker.submit(request_of(1, 2, max_tokens=900))
        next(iter(long))
        long.abort()
        long.abort()
        acted.set()
        last = list(long)[-1]
        assert last.finish_reason == "abort"
        assert last.usage.completion_tokens < 900
        long.abort()


def test_a_full_queue_is_busy_and_says_when_to_come_back():
    gate = Gate()
    config = EngineConfig(page_len=16, num_pages=64, max_running=1, step_tokens=8, max_queue=2)
    with worker_of(gate, config) as worker:
        first = worker.submit(request_of(1))
        assert gate.entered.wait(30)
        second = worker.submit(request_of(2))
        with pytest.raises(BusyError, match="2 requests are waiting") as caught:
            worker.submit(request_of(3))
        assert 1 <= caught.value.retry_after_s <= 60
        gate.open.set()
        assert read(first).end.finish_reason == read(second).end.finish_reason == "length"
        assert read(worker.submit(request_of(3))).ids == greedy_truth(checksum, (3,), 20)


def test_a_failing_step_ends_its_requests_with_error_and_the_next_one_works(caplog):
    def fails_on_nine(history: list[int]) -> int:
        if 9 in history:
            raise RuntimeError("nine")
        return checksum(history) % 5 + 20

    with worker_of(fails_on_nine) as worker, caplog.at_level(logging.CRITICAL, "ponder"):
        params = SamplingParams(temperature=0, max_tokens=20, n=3)
        answer = [
            event for event in worker.submit(TokenRequest((9, 1), params)) if event.finish_reason
        ]
        assert [event.finish_reason for event in answer] == ["error"] * 3
        assert answer[0].error == "RuntimeError: nine"
        assert read(worker.submit(request_of(1))).end.finish_reason == "length"


def test_an_engine_that_breaks_its_own_accounts_tells_every_reader(caplog):
    worker = worker_of()
    with caplog.at_level(logging.CRITICAL, "ponder"):
        worker._engine._cache._free.pop()  # a page is lost: the books cannot be balanced any more
        with pytest.raises(BackendError, match="1 of 64 pages are lost"):
            list(worker.submit(request_of(1)))
        worker.close()
        with pytest.raises(BackendError, match="the engine is closed"):
            worker.submit(request_of(1))


def test_close_aborts_what_runs_and_refuses_what_comes():
    worker = worker_of()
    streams = [worker.submit(request_of(i, max_tokens=900)) for i in range(1, 13)]
    worker.close()
    worker.close()
    assert all(read(stream).end.finish_reason in ("abort", "length") for stream in streams)
    with pytest.raises(BackendError, match="the engine is closed"):
        worker.submit(request_of(1))


def test_bad_requests_are_refused_in_the_callers_thread():
    gate = Gate()
    with worker_of(gate) as worker:
        with pytest.raises(PromptError):
            worker.submit(request_of())
        stream = worker.submit(request_of(1, request_id="mine"))
        with pytest.raises(ConfigError, match="'mine' is in use"):
            worker.submit(request_of(2, request_id="mine"))
        gate.open.set()
        assert read(stream).end.request_id == "mine"
