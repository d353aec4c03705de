"""runs/progress: how far a run is and how long it will take, from its schedule and its recent pace; a line for people.

In a terminal one line, written over; elsewhere a plain line now and then. Feed it the records that metrics.jsonl gets.
"""

from __future__ import annotations

import shutil
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, TextIO

from ponder.runs.lines import number, whole

RECENT = 50
"""Steps whose pace is the recent one."""
PLAIN_S = 30.0
"""Seconds between lines where nobody watches a terminal."""
SHOWN = ("loss", "reward", "entropy", "tokens_per_s")
"""Numbers of a record that the line shows when they are there."""


class ProgressLine:
    """`show` a record of metrics; `say` anything else; `end` when done."""

    def __init__(
        self,
        stream: TextIO,
        *,
        steps: int | None = None,
        stop_after_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`steps` and `stop_after_s`: when the schedule ends; None: unknown, and no time left is shown."""
        self._stream = stream
        self._steps = steps
        self._stop_after_s = stop_after_s
        self._flops: float | None = None
        self._clock = clock
        self._recent: deque[tuple[int, float]] = deque(maxlen=RECENT + 1)
        self._is_terminal = stream.isatty()
        self._width = 0
        """Characters of the line that now stands in the terminal."""
        self._next_s = float("-inf")
        self._last = ""

    def expect(
        self, steps: int | None, stop_after_s: float | None, flops: float | None = None
    ) -> None:
        """When the schedule ends, for a line that was made before it was known; of `flops` the steps are a guess."""
        self._steps, self._stop_after_s, self._flops = steps, stop_after_s, flops

    def show(self, record: Mapping[str, Any]) -> None:
        """Take note of a step; a record with `event` is said at once, whole."""
        step = whole(record.get("step"))
        if step is None:
            return
        if "event" in record:
            rest = " ".join(f"{k} {v}" for k, v in record.items() if k not in ("step", "event"))
            self.say(f"step {step}: {record['event']} {rest}".rstrip())
            return
        if self._flops is not None and (spent := number(record.get("flops"))):
            self._steps = max(step, round(step * self._flops / spent))
        now = self._clock()
        self._recent.append((step, now))
        self._last = self._line(step, record)
        if self._is_terminal:
            self._write_over(self._last)
        elif now >= self._next_s:
            self._write(self._last + "\n")
            self._next_s, self._last = now + PLAIN_S, ""

    def say(self, line: str) -> None:
        """A line that stays."""
        self._clear()
        self._write(line + "\n")

    def end(self) -> None:
        """Leave the last line standing."""
        if self._last and (self._width or not self._is_terminal):
            self._write("\n" if self._is_terminal else self._last + "\n")
        self._width, self._last = 0, ""

    def left_s(self, elapsed_s: float | None = None) -> float | None:
        """Seconds left by the schedule and the recent pace; None while nothing is known.

        `elapsed_s`: seconds of training counted so far, for a schedule in seconds.
        """
        if self._stop_after_s is not None and elapsed_s is not None:
            return max(0.0, self._stop_after_s - elapsed_s)
        if self._steps is None or len(self._recent) < 2:
            return None
        (first, began), (last, now) = self._recent[0], self._recent[-1]
        return max(0, self._steps - last) * (now - began) / max(1, last - first)

    def _line(self, step: int, record: Mapping[str, Any]) -> str:
        parts = [f"step {step}"]
        if self._steps:
            parts = [f"step {step}/{self._steps}", f"{100 * step / self._steps:.0f} %"]
        for name in SHOWN:
            if (value := number(record.get(name))) is not None:
                parts.append(f"{name.replace('_per_s', '/s')} {value:.4g}")
        left_s = self.left_s(number(record.get("elapsed_s")))
        return "  ".join(parts if left_s is None else [*parts, f"{spoken(left_s)} left"])

    def _write_over(self, line: str) -> None:
        line = line[: max(10, shutil.get_terminal_size().columns - 1)]
        self._write("\r" + line + " " * (self._width - len(line)))
        self._width = len(line)

    def _clear(self) -> None:
        if self._width:
            self._write("\r" + " " * self._width + "\r")
            self._width = 0

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def spoken(seconds: float) -> str:
    """A length of time as people say it, e.g. `2 h 05 min`."""
    if seconds < 60:
        return f"{round(seconds)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
