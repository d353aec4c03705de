"""cli/screen: where the command writes: the answer to stdout, everything else to stderr.

A stream that is no terminal gets plain text: no colour, no redrawn lines.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

DIM, PLAIN = "\x1b[2m", "\x1b[0m"


@dataclass(slots=True)
class Screen:
    """Stdout and stderr as one place; knows whether the cursor stands at the start of a line."""

    color: bool = True
    quiet: bool = False
    """True: nothing is written to stderr except warnings (`--json`, `--jsonl`)."""
    _dim: bool = False
    _open_line: bool = False
    """True when the last thing written did not end its line."""

    @property
    def is_terminal(self) -> bool:
        """True when a person reads stderr."""
        return sys.stderr.isatty()

    def thinking(self, text: str) -> None:
        """A piece of thinking: dim on a terminal."""
        if self.quiet or not text:
            return
        if not self._dim and self.color and self.is_terminal:
            sys.stderr.write(DIM)
            self._dim = True
        sys.stderr.write(text)
        sys.stderr.flush()
        self._open_line = not text.endswith("\n")

    def end_thinking(self) -> None:
        """Back to plain text, at the start of a line."""
        if self._dim:
            sys.stderr.write(PLAIN)
            self._dim = False
        self._end_line()
        sys.stderr.flush()

    def answer(self, text: str) -> None:
        """A piece of the answer, at once."""
        sys.stdout.write(text)
        sys.stdout.flush()
        if sys.stdout.isatty() and self.is_terminal:
            self._open_line = not text.endswith("\n")

    def note(self, text: str) -> None:
        """One line about the work, on stderr."""
        if not self.quiet:
            self.end_thinking()
            print(text, file=sys.stderr, flush=True)

    def warn(self, text: str) -> None:
        """One line that is shown even when quiet."""
        self.end_thinking()
        print(f"ponder: {text}", file=sys.stderr, flush=True)

    def _end_line(self) -> None:
        if self._open_line:
            sys.stderr.write("\n")
            self._open_line = False


def sized(count: float) -> str:
    """Bytes for people, e.g. `1.5 GB` (powers of ten)."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def counted(count: float) -> str:
    """Parameters for people, e.g. `3.5 M`."""
    for unit in ("", " k", " M"):
        if count < 1000:
            return f"{count:.0f}" if not unit else f"{count:.1f}{unit}"
        count /= 1000
    return f"{count:.1f} B"
