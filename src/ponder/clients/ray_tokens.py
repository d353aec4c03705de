"""clients/ray_tokens: token ids in, token events out, by engines in Ray workers; satisfies `core.TokenEngine`.

    submit:  the request to the worker with the fewest under way, whose engine batches what it holds
    events:  all of an answer at once; a worker that is lost or late is replaced and its request made once more

A request's answer depends on (weights, ids, sampling) alone: it is the same from any worker, and the second time.
Limits: a request lost twice ends with `error`; Ray moves pickled objects, so the cluster must be one's own.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from ponder.core.errors import BackendError, ConfigError
from ponder.core.protocols import TokenEngine
from ponder.core.types import TokenEvent, TokenRequest

MOST_RUNNING = 240
"""Requests that one worker takes at a time, fewer than its engine's queue; more wait in Ray."""


class Opened(Protocol):
    """A model that is ready to answer, e.g. `ponder.load(…)`."""

    @property
    def worker(self) -> TokenEngine: ...


class Answering:
    """What one actor holds."""

    def __init__(self, open_model: Callable[[], Opened], facts: Callable[[Any], Any]) -> None:
        self._open_model, self._facts = open_model, facts
        self._lock = threading.Lock()
        self._opened: Opened | None = None

    def facts(self) -> Any:
        return self._facts(self._model())

    def answer(self, request: TokenRequest) -> list[TokenEvent]:
        """Every event of one request; an error of ours is raised in the caller."""
        return list(self._model().worker.submit(request))

    def _model(self) -> Opened:
        """Opened by the first call, so that what is wrong with it is that call's error."""
        with self._lock:
            if self._opened is None:
                self._opened = self._open_model()
            return self._opened


class RayTokenEngine:
    """Engines side by side on a cluster. `close` when done."""

    def __init__(
        self,
        open_model: Callable[[], Opened],
        num_workers: int,
        address: str = "",
        *,
        threads: int = 1,
        timeout_s: float = 600.0,
        facts: Callable[[Any], Any] = lambda opened: None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        """`open_model` and `facts` run in the workers and are pickled; every machine needs the model at its path.

        Returns when every worker is ready. Raises ConfigError without ray or a cluster, what `open_model` raises, and
        BackendError for a worker that does not come up.
        """
        self._ray = connected(address, num_workers * threads)
        kind = self._ray.remote(Answering).options(num_cpus=threads, max_concurrency=MOST_RUNNING)
        self._new: Callable[[], Any] = lambda: kind.remote(open_model, facts)
        self._timeout_s, self._say, self._lock = timeout_s, say, threading.Lock()
        self._actors = [self._new() for _ in range(num_workers)]
        self._loads = [0] * num_workers
        self.num_replaced = 0
        """Workers lost and replaced so far."""
        self.facts, *_ = [self._ready(actor) for actor in self._actors]
        """What `facts` said of the model."""

    def submit(self, request: TokenRequest) -> RayTokenStream:
        return RayTokenStream(self, request)

    def start(self, request: TokenRequest) -> tuple[int, Any, Any]:
        """(worker, actor, call) that the request was given to."""
        with self._lock:
            number = self._loads.index(min(self._loads))
            self._loads[number] += 1
            actor = self._actors[number]
        return number, actor, actor.answer.remote(request)

    def result(self, number: int, actor: Any, call: Any) -> list[TokenEvent] | None:
        """The events of a call; None when its worker was lost or late, which then has been replaced."""
        errors = self._ray.exceptions
        try:
            return self._ray.get(call, timeout=self._timeout_s)
        except (errors.RayActorError, errors.GetTimeoutError, errors.ObjectLostError):
            with self._lock:
                if self._actors[number] is actor:
                    self._say(f"worker {number} was lost or late; it is replaced")
                    self.num_replaced += 1
                    self._ray.kill(actor)
                    self._actors[number] = self._new()
            return None
        except errors.RayTaskError as error:
            raise error.cause from None
        finally:
            with self._lock:
                self._loads[number] -= 1

    def _ready(self, actor: Any) -> Any:
        errors = self._ray.exceptions
        try:
            return self._ray.get(actor.facts.remote(), timeout=self._timeout_s)
        except errors.RayTaskError as error:
            raise error.cause from None
        except (errors.RayActorError, errors.GetTimeoutError) as error:
            raise BackendError(
                f"a worker did not come up within {self._timeout_s:g} s\n"
                "look at the cluster (`ray status`): it may have too few CPUs"
            ) from error

    def close(self) -> None:
        """End the workers; a cluster that was started here ends with this process."""
        for actor in self._actors:
            self._ray.kill(actor)
        self._actors = []


class RayTokenStream:
    """The events of one request, which come together."""

    def __init__(self, engine: RayTokenEngine, request: TokenRequest) -> None:
        self._engine, self._request = engine, request
        self._call = engine.start(request)
        self._is_aborted = False

    @property
    def request_id(self) -> str:
        return self._request.request_id

    def abort(self) -> None:
        """No event is given any more; the worker ends what it has begun."""
        self._is_aborted = True

    def answer_now(self) -> None:
        """Raises ConfigError: an answer comes whole."""
        raise ConfigError("A Ray worker cannot be told to answer now.", "Stop the request instead.")

    def __iter__(self) -> Iterator[TokenEvent]:
        events = None if self._is_aborted else self._engine.result(*self._call)
        if events is None and not self._is_aborted:
            self._call = self._engine.start(self._request)
            events = self._engine.result(*self._call)
        finish, error = (
            ("abort", "") if self._is_aborted else ("error", "its worker was lost twice")
        )
        lost = TokenEvent(self.request_id, 0, (), "answering", finish_reason=finish, error=error)
        yield from [lost] if events is None else events


def connected(address: str, num_cpus: int) -> Any:
    """The ray module, connected to the cluster at `address`, or to one of `num_cpus` that is started here.

    No usage report leaves a cluster that is started here. Raises ConfigError.
    """
    try:
        ray = importlib.import_module("ray")
        usage = importlib.import_module("ray._common.usage.usage_lib")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "ray":
            raise
        raise ConfigError(
            "workers need ray, which is not installed",
            "install it with: pip install 'ponder[cluster]'",
        ) from error
    if ray.is_initialized():
        return ray
    if address:
        try:
            ray.init(address=address, logging_level="warning")
        except (ConnectionError, ValueError) as error:
            raise ConfigError(
                f"no Ray cluster answers at {address!r}",
                "start one with `ray start --head`, or leave the address out",
            ) from error
        return ray
    usage.set_usage_stats_enabled_via_env_var(False)
    ray.init(num_cpus=num_cpus, include_dashboard=False, logging_level="warning")
    return ray
