"""cli/answering: show one answer as it comes; shared by ask and chat.

Ctrl-C once ends the thinking, twice ends the answer.
"""

from __future__ import annotations

import argparse
import shlex
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import FrameType, TracebackType
from typing import Any

from ponder.api import LoadedModel, load
from ponder.cli.screen import Screen, sized
from ponder.core.environment import Environment, find_model
from ponder.core.protocols import ChatStream
from ponder.core.types import Completion, Delta, SamplingParams
from ponder.model.ops import native_available

LARGER = "Qwen/Qwen3-0.6B"
"""The model that a declined question is told of."""
SLOW_BYTES = 500_000_000
"""Weights from here on take long enough to load for a word about it."""
ENDED = {
    "self": "ended by itself",
    "budget": "cut at its budget",
    "loop": "cut in a loop",
    "user": "ended by you",
    "length": "cut at the limit of tokens",
}


@dataclass(frozen=True, slots=True)
class Answered:
    """What came, and how long it took from the request on."""

    completions: Sequence[Completion]
    first_token_s: float
    total_s: float
    stopped: bool
    """True when the person ended the answer."""

    def statistics(self) -> str:
        """One line for `--stats`."""
        first = self.completions[0]
        made = sum(done.usage.completion_tokens for done in self.completions)
        thought = sum(done.usage.thinking_tokens for done in self.completions)
        rest_s = self.total_s - self.first_token_s
        speed = f"{(made - 1) / rest_s:.0f} tokens/s" if made > 1 and rest_s > 0 else "-"
        end = f" {ENDED[first.thinking_end]}" if first.thinking_end else ""
        return (
            f"prompt {first.usage.prompt_tokens} tokens ({first.usage.cached_tokens} cached), "
            f"output {made} ({thought} thinking{end}), first after {self.first_token_s:.3f} s, "
            f"{speed}, finish {first.finish_reason}, seed {first.seed}"
        )


class Interrupts:
    """While open, Ctrl-C acts on one stream: once answers now, twice stops, a third time kills."""

    def __init__(self, stream: ChatStream, screen: Screen) -> None:
        self.stream, self.screen, self.count = stream, screen, 0
        self._before: Any = None

    def __enter__(self) -> Interrupts:
        self._before = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        if self.count > 2:
            raise KeyboardInterrupt
        act = self.stream.answer_now if self.count == 1 else self.stream.abort
        # A thread of its own: the handler may have interrupted a holder of the stream's lock.
        threading.Thread(target=act, daemon=True).start()


def open_model(
    options: argparse.Namespace, environment: Environment, screen: Screen, name: str | None = None
) -> LoadedModel:
    """The model that the flags name, or `name`."""
    wanted: str = name or options.model or environment.model
    place = find_model(wanted, environment)
    size = sum(path.stat().st_size for path in place.folder.glob("*.safetensors"))
    if size > SLOW_BYTES:
        screen.note(f"loading {place.name} ({sized(size)}) …")
    loaded = load(
        wanted,
        weights=options.weights,
        threads=options.threads,
        environment=environment,
    )
    warn_without_native(screen)
    return loaded


def larger_model(question: str) -> str:
    """How to ask a model that may know."""
    return (
        f"A larger model may know: ponder pull {LARGER}\n"
        f"  then: ponder ask --model {LARGER} {shlex.quote(question)}"
    )


def warn_without_native(screen: Screen) -> None:
    """The one warning of an installation without a compiled op set."""
    available, reason = native_available()
    if not available:
        screen.warn(
            f"no compiled op set here ({reason.splitlines()[0]}): answers come slower from the "
            "reference one.\n  Install a C++ compiler, then reinstall Ponder."
        )


def show(
    stream: ChatStream,
    screen: Screen,
    show_thinking: bool = True,
    on_delta: Callable[[Delta], None] | None = None,
) -> Answered:
    """Print thinking and answer as they come; `on_delta` takes the pieces instead when given."""
    began_s = time.monotonic()
    first_s = 0.0
    phase = ""
    with Interrupts(stream, screen) as interrupts:
        for delta in stream:
            first_s = first_s or time.monotonic() - began_s
            if on_delta is not None:
                on_delta(delta)
            elif delta.kind == "reasoning":
                if show_thinking:
                    screen.thinking(delta.text)
            elif delta.kind == "content":
                if phase != "content":
                    screen.end_thinking()
                screen.answer(delta.text)
            phase = delta.kind
        if phase != "content":
            screen.end_thinking()
        stopped = interrupts.count > 1
    return Answered(stream.completions, first_s, time.monotonic() - began_s, stopped)


def sampling_given(options: argparse.Namespace, default: SamplingParams) -> SamplingParams:
    """The model's recommended sampling, changed by the flags that were given."""
    given: dict[str, Any] = {
        name: getattr(options, name)
        for name in (
            *("temperature", "top_k", "top_p", "min_p", "seed", "max_tokens", "ignore_end_ids"),
            *("presence_penalty", "frequency_penalty", "repetition_penalty"),
        )
        if getattr(options, name) is not None
    }
    if options.logit_bias:
        given["logit_bias"] = dict(options.logit_bias)
    if options.stop:
        given["stop"] = tuple(options.stop)
    if options.stop_id:
        given["stop_ids"] = tuple(options.stop_id)
    return replace(default, **given)
