"""engine/worker: one thread around an `Engine`, so that many threads may ask. Satisfies `core.TokenEngine`.

Callers leave requests and signals under a lock and read events from their own stream; only the thread touches
the engine. It sleeps while there is nothing to do.
"""

from __future__ import annotations

import logging
import signal as signals
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from queue import SimpleQueue
from types import TracebackType
from typing import Literal

from ponder.core.errors import BackendError, BusyError, ConfigError
from ponder.core.types import TokenEvent, TokenRequest
from ponder.engine.engine import Engine

_log = logging.getLogger(__name__)

Signal = Literal["abort", "answer_now"]
RETRY_LIMITS_S = (1.0, 60.0)


class WorkerStream:
    """The events of one request, for one reader. Iteration ends after every choice has finished."""

    def __init__(self, worker: EngineWorker, request: TokenRequest) -> None:
        self.request = request
        self._worker = worker
        self._num_unread = request.sampling.n
        self._num_running = request.sampling.n
        self._events: SimpleQueue[TokenEvent | BackendError] = SimpleQueue()

    @property
    def request_id(self) -> str:
        return self.request.request_id

    def __iter__(self) -> Iterator[TokenEvent]:
        """BackendError only when the engine itself broke; a failed step gives `error` events."""
        while self._num_unread:
            event = self._events.get()
            if isinstance(event, BackendError):
                self._num_unread = 0
                raise event
            self._num_unread -= event.finish_reason is not None
            yield event

    def abort(self) -> None:
        self._worker.signal(self, "abort")

    def answer_now(self) -> None:
        self._worker.signal(self, "answer_now")

    def put(self, event: TokenEvent) -> bool:
        """For the worker's thread: pass an event on; True after the last."""
        self._num_running -= event.finish_reason is not None
        self._events.put(event)
        return self._num_running == 0

    def break_off(self, error: str) -> None:
        """For the worker's thread: nothing more will come."""
        self._events.put(BackendError(error))


class EngineWorker:
    """Runs an engine, which nobody else may use, until `close`. A context manager."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._wake = threading.Condition()
        self._arrivals: list[WorkerStream] = []
        self._signals: list[tuple[WorkerStream, Signal]] = []
        self._streams: dict[str, WorkerStream] = {}
        """Every stream that has not had its last event."""
        self._queued: dict[str, None] = {}
        """Ids of requests that have had no event yet; at most `max_queue`."""
        self._num_submitted = 0
        self._start_gap_s = RETRY_LIMITS_S[0]
        """Running mean of the time between first events: how long until a place is free."""
        self._started_at_s = time.monotonic()
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="ponder-engine", daemon=True)
        self._thread.start()

    @property
    def context_len(self) -> int:
        """Most tokens of prompt and completion."""
        return self._engine.context_len

    def __enter__(self) -> EngineWorker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def submit(self, request: TokenRequest) -> WorkerStream:
        """Start a request. PromptError or ConfigError if it cannot run, BusyError if the queue is full."""
        self._engine.check(request)
        with self._wake:
            if self._is_closing:
                raise BackendError("the engine is closed")
            limit = self._engine.config.max_queue
            if len(self._queued) >= limit:
                raise BusyError(
                    f"{limit} requests are waiting, which is the limit",
                    f"try again in {self._start_gap_s:.0f} s, or raise max_queue",
                    self._start_gap_s,
                )
            stream = WorkerStream(self, self._named(request))
            self._streams[stream.request_id] = stream
            self._queued[stream.request_id] = None
            self._arrivals.append(stream)
            self._wake.notify()
        return stream

    def signal(self, stream: WorkerStream, signal: Signal) -> None:
        """Pass a reader's wish on to the engine; nothing if the request has ended."""
        with self._wake:
            self._signals.append((stream, signal))
            self._wake.notify()

    def close(self) -> None:
        """End every request with `abort` and stop the thread; safe to call again."""
        with self._wake:
            self._is_closing = True
            self._wake.notify()
        self._thread.join()

    def _named(self, request: TokenRequest) -> TokenRequest:
        if request.request_id:
            if request.request_id in self._streams:
                raise ConfigError(
                    f"request id {request.request_id!r} is in use",
                    "leave it empty to get a free one",
                )
            return request
        while True:
            self._num_submitted += 1
            name = f"request-{self._num_submitted}"
            if name not in self._streams:
                return replace(request, request_id=name)

    def _run(self) -> None:
        # Ctrl-C must wake the main thread, also out of its wait for a key; kernel threads started here inherit this.
        signals.pthread_sigmask(signals.SIG_BLOCK, {signals.SIGINT, signals.SIGTERM})
        engine = self._engine
        is_closing = False
        while not (is_closing and engine.is_idle):
            with self._wake:
                while engine.is_idle and not (self._arrivals or self._signals or self._is_closing):
                    self._wake.wait()
                arrivals, self._arrivals = self._arrivals, []
                wishes, self._signals = self._signals, []
                if self._is_closing:
                    is_closing = True
                    wishes.extend((stream, "abort") for stream in self._streams.values())
            error = self._attempt(lambda a=arrivals, w=wishes: self._advance(a, w))
            if error and not self._recover(error, arrivals):
                return

    def _attempt(self, work: Callable[[], list[TokenEvent]]) -> str:
        """Do a piece of the engine's work and pass its events on; what failed, or nothing."""
        try:
            self._dispatch(work())
        except Exception as error:  # noqa: BLE001 the thread's edge: every reader must learn of it
            _log.exception("the engine failed")
            return f"{type(error).__name__}: {error}"
        return ""

    def _advance(
        self, arrivals: Sequence[WorkerStream], wishes: Sequence[tuple[WorkerStream, Signal]]
    ) -> list[TokenEvent]:
        for stream in arrivals:
            self._engine.add(stream.request)
        for stream, signal in wishes:
            if self._streams.get(stream.request_id) is not stream:
                continue
            if signal == "abort":
                self._engine.abort(stream.request_id)
            else:
                self._engine.answer_now(stream.request_id)
        return self._engine.step()

    def _fail(self, error: str) -> list[TokenEvent]:
        self._engine.fail(error)
        return self._engine.step()

    def _dispatch(self, events: list[TokenEvent]) -> None:
        for event in events:
            request_id = event.request_id
            if request_id in self._queued:
                self._note_start(request_id)
            if self._streams[request_id].put(event):
                with self._wake:
                    del self._streams[request_id]

    def _note_start(self, request_id: str) -> None:
        now_s = time.monotonic()
        low, high = RETRY_LIMITS_S
        gap_s = 0.8 * self._start_gap_s + 0.2 * (now_s - self._started_at_s)
        with self._wake:
            del self._queued[request_id]
            self._start_gap_s = min(max(gap_s, low), high)
            self._started_at_s = now_s

    def _recover(self, error: str, arrivals: Sequence[WorkerStream]) -> bool:
        """End every request after a failure; False if the engine cannot even do that, and the worker is over."""
        is_whole = not self._attempt(lambda: self._fail(error))
        lost = arrivals if is_whole else list(self._streams.values())
        with self._wake:
            self._is_closing = self._is_closing or not is_whole
            for stream in lost:
                if self._streams.get(stream.request_id) is stream:
                    del self._streams[stream.request_id]
                    self._queued.pop(stream.request_id, None)
                    stream.break_off(error)
        return is_whole
