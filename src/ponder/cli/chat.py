"""cli/chat: a conversation at the terminal or over a pipe.

At a terminal: line editing and history (readline), Ctrl-C once = answer now, twice = stop this answer.
Over a pipe: each line is a message; the answers alone go to stdout.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from types import FrameType

from ponder.api import LoadedModel
from ponder.cli.answering import (
    larger_model,
    open_model,
    sampling_given,
    show,
)
from ponder.cli.save import save_conversation
from ponder.cli.screen import Screen
from ponder.core.environment import Environment
from ponder.core.errors import EXIT_CODES, PromptError, UserError
from ponder.core.types import Message
from ponder.evals.table import is_declined

BLOCK = '"""'

HELP = f"""\
/think on|off     think before answering, or not
/budget N|off     most tokens of thinking
/system [TEXT]    set the system message; alone: remove it
/model [NAME]     change to another model; alone: name this one
/undo             forget the last question and its answer
/retry            ask the last question again
/save FILE        write the conversation to a new .md or .json file
/help             this list
/quit             leave (or Ctrl-D)
Several lines: between lines of {BLOCK}, or end a line with \\ to go on.
Ctrl-C once: answer now; twice: stop."""


class Conversation:
    """The turns so far and the settings of the next one. Its commands are the methods `do_…`."""

    def __init__(
        self, options: argparse.Namespace, environment: Environment, screen: Screen
    ) -> None:
        self.options, self.environment, self.screen = options, environment, screen
        self.loaded: LoadedModel = open_model(options, environment, screen)
        self.turns: list[Message] = []
        self.system: str | None = options.system
        self.thinking: bool = options.think is not False
        self.budget: int | None = options.budget
        self.last_question: str | None = None
        self.is_over = False

    def say(self, line: str) -> int:
        """One command or question; returns 0, or the exit code of what went wrong."""
        try:
            if line.startswith("/"):
                self.command(line)
            else:
                self.ask(line)
        except UserError as error:
            self.screen.warn(f"{error.problem}\n  {error.advice}")
            return error.exit_code
        return EXIT_CODES["ok"]

    def command(self, line: str) -> None:
        name, _, rest = line[1:].partition(" ")
        known: dict[str, Callable[[str], None]] = {
            command: getattr(self, f"do_{command}")
            for command in (
                *("think", "budget", "system", "model", "undo", "retry", "save", "help", "quit"),
            )
        }
        if name not in known:
            raise PromptError(
                f"There is no command {'/' + name!r}.",
                f"Commands: {' '.join('/' + command for command in known)}.",
            )
        known[name](rest.strip())

    def ask(self, question: str) -> None:
        """Answer `question` and keep both turns; a stopped or refused one leaves none."""
        if not question.strip():
            raise PromptError("The question is empty.", "Type a question, or /help.")
        self.last_question = question
        head = [Message("system", self.system)] if self.system else []
        asked = [*self.turns, Message("user", question)]
        stream = self.loaded.client.stream(
            head + asked,
            sampling_given(self.options, self.loaded.sampling),
            thinking=self.thinking,
            thinking_budget=self.budget,
        )
        answered = show(stream, self.screen, not self.options.hide_thinking)
        self.screen.answer("\n")
        if answered.stopped:
            self.screen.note("(stopped; /retry asks again)")
            return
        message = answered.completions[0].message
        self.turns = [*asked, message]
        if is_declined(message.content or ""):
            self.screen.note(larger_model(question))
        if self.options.stats:
            self.screen.note(answered.statistics())

    def do_think(self, rest: str) -> None:
        if rest not in ("on", "off"):
            raise PromptError(f"/think was given {rest!r}.", "Say /think on or /think off.")
        self.thinking = rest == "on"
        self.screen.note(f"(thinking is {rest})")

    def do_budget(self, rest: str) -> None:
        if rest != "off" and not (rest.isascii() and rest.isdigit() and len(rest) < 10):
            raise PromptError(
                f"/budget was given {rest!r}.",
                "Say /budget 200 (tokens of thinking) or /budget off.",
            )
        self.budget = None if rest == "off" else int(rest)
        self.screen.note(f"(thinking budget: {rest})")

    def do_system(self, rest: str) -> None:
        self.system = rest or None
        self.screen.note(f"(system message {'set' if rest else 'removed'})")

    def do_model(self, rest: str) -> None:
        if rest:
            new = open_model(self.options, self.environment, self.screen, rest)
            self.loaded.close()
            self.loaded = new
        self.screen.note(f"(model: {self.loaded.name})")

    def do_undo(self, rest: str) -> None:
        if not self.turns:
            raise PromptError("There is nothing to undo.", "Ask something first.")
        self.turns = self.turns[:-2]
        self.screen.note(f"(forgotten; {len(self.turns) // 2} questions remain)")

    def do_retry(self, rest: str) -> None:
        if self.last_question is None:
            raise PromptError("There is nothing to retry.", "Ask something first.")
        if self.turns and self.turns[-2].content == self.last_question:
            self.turns = self.turns[:-2]
        self.ask(self.last_question)

    def do_save(self, rest: str) -> None:
        head = [Message("system", self.system)] if self.system else []
        path = save_conversation(rest, self.loaded.name, head + self.turns)
        self.screen.note(f"(saved: {path})")

    def do_help(self, rest: str) -> None:
        self.screen.note(HELP)

    def do_quit(self, rest: str) -> None:
        self.is_over = True


def run(options: argparse.Namespace, environment: Environment) -> int:
    """`ponder chat`. Over a pipe the exit status is that of the last thing that went wrong."""
    screen = Screen(environment.color)
    is_person = sys.stdin.isatty()
    conversation = Conversation(options, environment, screen)
    name = conversation.loaded.name
    status = EXIT_CODES["ok"]
    history = None if options.no_history or not is_person else environment.home / "chat_history"
    try:
        if is_person:
            screen.note(f"{name} · /help lists the commands · Ctrl-D leaves")
        with CtrlC.of(is_person) as ctrl_c:
            for line in read_turns(is_person, history, screen, ctrl_c):
                try:
                    with ctrl_c.heard:
                        status = conversation.say(line) or status
                except KeyboardInterrupt:  # before the answer began, or just after its end
                    if not is_person:
                        raise
                    screen.note("\n(stopped; /retry asks again)")
                if conversation.is_over:
                    break
    finally:
        conversation.loaded.close()
        if history is not None:
            _write_history(history)
    return EXIT_CODES["ok"] if is_person else status


class CtrlC:
    """At a terminal Ctrl-C is a KeyboardInterrupt once each time it is `heard`, and nothing elsewhere, so that none
    falls between two turns and ends the conversation."""

    def __init__(self) -> None:
        self._is_heard = False

    @classmethod
    @contextlib.contextmanager
    def of(cls, is_person: bool) -> Generator[CtrlC]:
        """Over a pipe Ctrl-C stays what it is."""
        ctrl_c = cls()
        before = signal.signal(signal.SIGINT, ctrl_c._handle) if is_person else None
        try:
            yield ctrl_c
        finally:
            if is_person:
                signal.signal(signal.SIGINT, before)

    @property
    @contextlib.contextmanager
    def heard(self) -> Generator[None]:
        """To be entered inside the `try` that catches it."""
        self._is_heard = True
        try:
            yield
        finally:
            self._is_heard = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._is_heard:
            self._is_heard = False
            raise KeyboardInterrupt


def read_turns(
    is_person: bool, history: Path | None, screen: Screen, ctrl_c: CtrlC
) -> Iterator[str]:
    """What was typed, one message each: blocks and continued lines joined."""
    read_line = _typed_lines(history) if is_person else _piped_line
    kept: list[str] = []
    in_block = False
    while True:
        try:
            with ctrl_c.heard:
                line = read_line("... " if kept or in_block else ">>> ")
        except (KeyboardInterrupt, PromptError) as error:
            if not is_person:
                raise
            kept, in_block = [], False
            told = str(error) if isinstance(error, PromptError) else "(Ctrl-D or /quit leaves)"
            screen.note(f"\n{told}")
            continue
        if line is None:
            break
        if line.strip() == BLOCK:
            if in_block:
                yield "\n".join(kept)
                kept = []
            in_block = not in_block
        elif in_block:
            kept.append(line)
        elif line.endswith("\\"):
            kept.append(line[:-1])
        elif kept or line.strip():
            yield "\n".join([*kept, line])
            kept = []
    if kept:
        yield "\n".join(kept)


def _piped_line(prompt: str) -> str | None:
    data = sys.stdin.buffer.readline()
    if not data:
        return None
    try:
        return data.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise PromptError(
            f"A line on standard input is not UTF-8 (byte {data[error.start]:#04x}).",
            "Convert it, for example with iconv.",
        ) from None


def _typed_lines(history: Path | None) -> Callable[[str], str | None]:
    """A reader of lines with editing and history where the platform has readline."""
    try:
        import readline
    except ImportError:
        pass
    else:
        if history is not None and history.is_file():
            try:
                readline.read_history_file(history)
            except OSError:
                readline.clear_history()

    def read(prompt: str) -> str | None:
        if not sys.stdout.isatty():
            print(prompt, end="", file=sys.stderr, flush=True)
            prompt = ""
        try:
            return input(prompt)
        except EOFError:
            print(file=sys.stderr)
            return None
        except UnicodeDecodeError:
            raise PromptError("That line is not UTF-8.", "Set the terminal to UTF-8.") from None

    return read


def _write_history(path: Path) -> None:
    """Keep the last thousand typed lines, readable by their owner alone; a full disk is no reason to fail."""
    try:
        import readline

        path.parent.mkdir(parents=True, exist_ok=True)
        readline.set_history_length(1000)
        readline.write_history_file(path)
        os.chmod(path, 0o600)
    except (ImportError, OSError):
        return
