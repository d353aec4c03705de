"""runs/curves: metrics of any number of steps as curves of at most a few hundred points, in one pass over the file."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ponder.runs.lines import number, offsets, whole

MOST_POINTS = 600
"""Points of one curve; beyond, neighbours are joined two and two."""
MOST_CURVES = 400
MOST_EVENTS = 500


@dataclass(slots=True)
class Point:
    """`count` neighbouring values as one: where they begin, their sum, least and greatest."""

    step: int
    total: float
    low: float
    high: float
    count: int = 1

    def join(self, later: Point) -> None:
        self.total += later.total
        self.low, self.high = min(self.low, later.low), max(self.high, later.high)
        self.count += later.count


@dataclass(slots=True)
class Curve:
    """One number over the steps; `width` values make a point."""

    width: int = 1
    points: list[Point] = field(default_factory=list[Point])
    last: float = 0.0

    def add(self, step: int, value: float) -> None:
        self.last = value
        point = Point(step, value, value, value)
        if self.points and self.points[-1].count < self.width:
            self.points[-1].join(point)
        else:
            self.points.append(point)
        if len(self.points) > MOST_POINTS:
            self.width *= 2
            for left, right in zip(self.points[::2], self.points[1::2], strict=False):
                left.join(right)
            self.points = self.points[::2]

    def values(self) -> dict[str, Any]:
        """As the page wants it: steps, means, and where points are joined the band they lie in."""
        kept: dict[str, Any] = {
            "width": self.width,
            "x": [point.step for point in self.points],
            "y": [_short(point.total / point.count) for point in self.points],
        }
        if self.width > 1:
            kept["low"] = [_short(point.low) for point in self.points]
            kept["high"] = [_short(point.high) for point in self.points]
        return kept


@dataclass(slots=True)
class Metrics:
    """What metrics.jsonl holds, made small."""

    curves: dict[str, Curve] = field(default_factory=dict[str, Curve])
    events: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    steps: int = 0
    """The last step."""
    notes: list[str] = field(default_factory=list[str])
    """What was left out, for the page to say."""


def read_metrics(path: Path) -> Metrics:
    """Every number of every line as a curve under its own name; a line with `event` is an event."""
    found, broken, left_out, more_events = Metrics(), 0, set[str](), 0
    strange: dict[str, int] = {}
    for _, record in offsets(path):
        step = whole(record.get("step")) if record is not None else None
        if record is None or step is None:
            broken += 1
            continue
        found.steps = max(found.steps, step)
        if "event" in record:
            more_events += len(found.events) >= MOST_EVENTS
            found.events[MOST_EVENTS - 1 :] = [_event(step, record)]
            continue
        for name, value in record.items():
            read = number(value)
            if name == "step":
                continue
            if read is None:
                strange.setdefault(name, step)
            elif name in found.curves or len(found.curves) < MOST_CURVES:
                found.curves.setdefault(name, Curve()).add(step, read)
            else:
                left_out.add(name)
    for name, step in strange.items():
        about = "is not a number here for the first time"
        found.events.append({"step": step, "event": "not a number", "about": f"{name} {about}"})
    found.events.sort(key=lambda event: event["step"])
    found.notes = [
        note
        for count, note in (
            (broken, f"{broken} lines of metrics.jsonl could not be read"),
            (len(left_out), f"{len(left_out)} curves beyond the first {MOST_CURVES} are left out"),
            (more_events, f"{more_events} events between the first and the last are left out"),
        )
        if count
    ]
    return found


def _event(step: int, record: dict[str, Any]) -> dict[str, Any]:
    rest = {name: value for name, value in record.items() if name not in ("step", "event")}
    about = " ".join(
        f"{name}: {value if isinstance(value, str) else json.dumps(value)}"
        for name, value in rest.items()
    )
    return {"step": step, "event": str(record["event"])[:200], "about": about[:2000]}


def _short(value: float) -> float:
    """Six figures: what a picture shows."""
    return float(f"{value:.6g}")
