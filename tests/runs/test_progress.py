"""runs/progress: the time left follows from the schedule and the pace; a terminal gets one line, a log plain ones."""

from __future__ import annotations

import io

import pytest

from ponder.runs.progress import ProgressLine, spoken


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def screen(text: str) -> list[str]:
    """What a terminal shows after these characters."""
    lines = [""]
    column = 0
    for character in text:
        if character == "\r":
            column = 0
        elif character == "\n":
            lines.append("")
            column = 0
        else:
            lines[-1] = lines[-1][:column].ljust(column) + character + lines[-1][column + 1 :]
            column += 1
    return [line.rstrip() for line in lines]


def test_the_pace_of_recent_steps_gives_the_time_left():
    clock, out = Clock(), io.StringIO()
    line = ProgressLine(out, steps=1000, clock=clock)
    line.show({"step": 1})
    assert line.left_s() is None
    for step in range(2, 101):
        clock.now += 10.0 if step < 40 else 2.0  # slow at first: only the recent pace counts
        line.show({"step": step, "loss": 0.5})
    assert line.left_s() == pytest.approx(900 * 2.0)
    line.end()
    assert "step 100/1000  10 %  loss 0.5  30 min left" in out.getvalue()


def test_a_schedule_in_seconds_counts_what_was_trained_before():
    line = ProgressLine(io.StringIO(), stop_after_s=3600)
    line.show({"step": 7, "elapsed_s": 600.0})
    assert line.left_s(600.0) == 3000
    assert line.left_s(4000.0) == 0
    assert ProgressLine(io.StringIO()).left_s(5.0) is None


def test_in_a_terminal_one_line_is_written_over_and_messages_stay():
    out = Terminal()
    line = ProgressLine(out, steps=3, clock=Clock())
    line.say("resumed at step 0")
    line.show({"step": 1, "loss": 123.456})
    line.show({"step": 2, "loss": 1.0, "reward": float("nan")})
    line.show({"step": 2, "event": "decay", "steps": 1})
    line.show({"step": 3, "loss": 0.5, "reward": 1})
    line.end()
    line.say("model: run/model")
    assert screen(out.getvalue()) == [
        "resumed at step 0",
        "step 2: decay steps 1",
        "step 3/3  100 %  loss 0.5  reward 1  0 s left",
        "model: run/model",
        "",
    ]


def test_a_log_gets_plain_lines_now_and_then_and_always_the_last():
    clock, out = Clock(), io.StringIO()
    line = ProgressLine(out, steps=100, clock=clock)
    for step in range(1, 101):
        clock.now += 1
        line.show({"step": step})
    line.end()
    lines = out.getvalue().splitlines()
    assert "\r" not in out.getvalue()
    assert [each.split("/")[0] for each in lines] == [
        "step 1",
        "step 31",
        "step 61",
        "step 91",
        "step 100",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "0 s"), (59, "59 s"), (61, "1 min"), (7500, "2 h 05 min")]
)
def test_times_are_said(seconds, text):
    assert spoken(seconds) == text
