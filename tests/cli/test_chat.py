"""ponder chat over a pipe and at a terminal (a pty)."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from command import Run, said
from toy_folder import write_toy

from ponder.core.errors import EXIT_CODES


def test_over_a_pipe_only_answers_go_to_stdout(ponder: Run, toy: Path, tmp_path: Path) -> None:
    chat = ("chat", "--model", toy, "--max-tokens", "72", "--budget", "3", "--seed", "2")
    lines = [
        "hello",
        "/think off",
        "/budget 5",
        "/system Be brief.",
        '"""',
        "two",
        "lines",
        '"""',
        "/save talk.json",
        "/save talk.md",
        "/undo",
        "/retry",
        f"/model {toy}",
        "/help",
        "/save after.json",
    ]
    done = ponder(*chat, stdin="\n".join(lines).encode())
    assert done.returncode == 0, said(done)
    assert "/retry            ask the last question again" in said(done)
    assert ">>>" not in said(done)
    saved = json.loads((tmp_path / "talk.json").read_text())
    roles = [message["role"] for message in saved["messages"]]
    assert roles == ["system", "user", "assistant", "user", "assistant"]
    assert saved["messages"][3]["content"] == "two\nlines"
    assert saved["messages"][2]["content"] in done.stdout.decode()
    assert saved["messages"][2]["reasoning"]
    assert "reasoning" not in saved["messages"][4]
    assert "## User\n\ntwo\nlines" in (tmp_path / "talk.md").read_text()
    after = json.loads((tmp_path / "after.json").read_text())
    assert after == saved

    lines = ["/nonsense", "/budget many", "/undo", "/save /dev/null/x.md", "/save talk.json"]
    wrong = ponder(*chat, stdin="\n".join(lines).encode())
    assert wrong.returncode == EXIT_CODES["storage"]
    assert wrong.stdout == b""
    for words in (
        "There is no command '/nonsense'.",
        "/budget was given 'many'.",
        "There is nothing to undo.",
        "could not be written: Not a directory",
        "'talk.json' exists already.",
    ):
        assert words in said(wrong)
    assert not list(tmp_path.glob(".talk*"))


class Terminal:
    """A process on a pseudo-terminal, as a person uses it."""

    def __init__(
        self,
        arguments: list[str],
        environ: dict[str, str],
        program: Sequence[str] = (sys.executable, "-m", "ponder"),
    ) -> None:
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [*program, *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**environ, "TERM": "xterm"},
            start_new_session=True,
        )
        os.close(slave)
        self.text = ""

    def until(self, words: str, limit_s: float = 30) -> str:
        """Read until `words` come; returns what was read since the last call."""
        end_s = time.monotonic() + limit_s
        while words not in self.text:
            ready, _, _ = select.select([self.master], [], [], end_s - time.monotonic())
            assert ready, f"{words!r} did not come; the terminal shows {self.text!r}"
            self.text += os.read(self.master, 4096).decode("utf-8", "replace")
        before, _, self.text = self.text.partition(words)
        return before

    def type(self, line: str) -> None:
        os.write(self.master, line.encode())

    def press_ctrl_c(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def press_ctrl_c_until(self, words: str) -> None:
        """Press again each second: Python misses a signal between readline's prompt and its wait for a key."""
        for _ in range(30):
            self.press_ctrl_c()
            if words in self.text or select.select([self.master], [], [], 1.0)[0]:
                self.until(words)
                return
        raise AssertionError(f"{words!r} did not come; the terminal shows {self.text!r}")

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)


@pytest.fixture(scope="module")
def long_toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy whose answer goes on until it is stopped, also on a busy machine."""
    return write_toy(tmp_path_factory.mktemp("long") / "toy", max_positions=32_768)


# Token 260 would close the thinking of its own accord.
ENDLESS = "--ignore-end-ids --temperature 1 --seed 3 --logit-bias 260:-100".split()


def test_ctrl_c_once_asks_for_the_answer(
    toy: Path, environ: dict[str, str], tmp_path: Path
) -> None:
    terminal = Terminal(["chat", "--model", str(toy), *ENDLESS], environ)
    try:
        terminal.until(">>> ")
        terminal.type("hello \\\n")
        terminal.until("... ")
        terminal.type("and again\n")
        terminal.until("\x1b[2m")
        terminal.press_ctrl_c()
        answered = terminal.until(">>> ", 60)
        assert "\x1b[0m" in answered
        assert "stopped" not in answered
        terminal.type("/undo\n")
        terminal.until("(forgotten; 0 questions remain)")
        terminal.until(">>> ")
        terminal.type("\x04")
        assert terminal.process.wait(20) == 0
    finally:
        terminal.close()
    history = tmp_path / "home" / "chat_history"
    assert re.search(r"^and again$", history.read_text(), re.MULTILINE)
    assert history.stat().st_mode & 0o777 == 0o600


def test_ctrl_c_twice_stops_and_leaves_the_prompt_alive(
    long_toy: Path, environ: dict[str, str]
) -> None:
    terminal = Terminal(["chat", "--model", str(long_toy), *ENDLESS], environ)
    try:
        for _ in range(2):
            terminal.until(">>> ")
            terminal.type("hello\n")
            terminal.until("\x1b[2m")
            terminal.press_ctrl_c()
            terminal.until("\x1b[0m")
            terminal.press_ctrl_c()
            terminal.until("(stopped; /retry asks again)")
        terminal.until(">>> ")
        terminal.press_ctrl_c_until("(Ctrl-D or /quit leaves)")
        terminal.until(">>> ")
        terminal.type("/undo\n")
        terminal.until("There is nothing to undo.")
        terminal.until(">>> ")
        terminal.type("\x04")
        assert terminal.process.wait(20) == 0
    finally:
        terminal.close()


EVERYWHERE = """
import os, signal, sys
from ponder.cli import main

wanted = count = 0  # after the n-th answer Ctrl-C falls before the n-th line that chat.py then runs

def line(frame, event, given):
    global count
    if event == "line":
        count += 1
        if count == wanted:
            signal.raise_signal(signal.SIGINT)  # whose exception also ends the tracing
    return line

def call(frame, event, given):
    return line if frame.f_code.co_filename.endswith("chat.py") else None

def between(frame, event, given):
    global wanted, count
    if frame.f_code.co_name == "show" and frame.f_code.co_filename.endswith("answering.py"):
        if event == "call":
            if count < wanted:
                print("lines", wanted, flush=True)
                os._exit(0)
        elif event == "return":
            wanted, count = wanted + 1, 0
            while frame := frame.f_back:
                frame.f_trace = call(frame, event, given)
            sys.settrace(call)

sys.setprofile(between)
main(sys.argv[1:])
print("left at", wanted, "lines")
"""


@pytest.mark.slow
def test_ctrl_c_between_two_answers_never_leaves_the_chat(
    long_toy: Path, environ: dict[str, str]
) -> None:
    chat = f"chat --model {long_toy} --max-tokens 1 --no-think --no-history --threads 1".split()
    terminal = Terminal(chat, environ, [sys.executable, "-c", EVERYWHERE])
    try:
        terminal.until(">>> ")
        terminal.type("x\n" * 300 + "/quit\n")
        assert "left" not in terminal.until("lines ", 60)
        assert terminal.process.wait(20) == 0
    finally:
        terminal.close()


@pytest.mark.parametrize("flag", [["--no-history"], []], ids=["off", "on"])
def test_history_can_be_off(
    toy: Path, environ: dict[str, str], tmp_path: Path, flag: list[str]
) -> None:
    terminal = Terminal(["chat", "--model", str(toy), *flag], environ)
    try:
        terminal.until(">>> ")
        terminal.type("/quit\n")
        assert terminal.process.wait(20) == 0
    finally:
        terminal.close()
    assert (tmp_path / "home" / "chat_history").exists() == (not flag)
