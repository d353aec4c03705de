"""cli/edge: from arguments to an exit status; the edge where every error becomes two lines."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import io
import os
import sys
from collections.abc import Sequence
from typing import TextIO

from ponder import __version__
from ponder.cli.parser import COMMANDS, build_parser
from ponder.core.environment import read_environment
from ponder.core.errors import EXIT_CODES, ModelError, UserError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status; a fault of Ponder's own keeps its traceback."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    _prepare_streams()
    try:
        status = _run(given)
        sys.stdout.flush()
        return status
    except UserError as error:
        _say(error.problem, error.advice)
        return error.exit_code
    except ModelError as error:
        _say(str(error), "The model broke its contract; ask again, or take another model.")
        return error.exit_code
    except KeyboardInterrupt:
        return EXIT_CODES["interrupted"]
    except BrokenPipeError:
        _quiet(sys.stderr, 0)
        return _quiet(sys.stdout, EXIT_CODES["ok"])
    except OSError as error:
        where = f" at {error.filename!r}" if error.filename else ""
        _quiet(sys.stdout, 0)
        _say(
            f"The system refused{where}: {error.strerror or error}.",
            "Free some space, or give a file or folder that can be read and written.",
        )
        return EXIT_CODES["storage"]


def _run(given: list[str]) -> int:
    if given and given[0] not in COMMANDS and not given[0].startswith("-"):
        given = _command_or_question(given)
    parser = build_parser()
    options = parser.parse_all(given)
    if options.version:
        print(f"ponder {__version__}")
        return EXIT_CODES["ok"]
    if options.command is None:
        parser.print_help()
        return EXIT_CODES["ok"]
    module, function = COMMANDS[options.command][0].split(":")
    return getattr(importlib.import_module(module), function)(options, read_environment())


def _command_or_question(given: list[str]) -> list[str]:
    """A first argument with a space in it is a question; any other must name a command."""
    if len(given[0].split()) > 1:
        return ["ask", *given]
    nearest = difflib.get_close_matches(given[0], list(COMMANDS), 1)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    raise UserError(
        f"There is no command {given[0]!r}.{hint}",
        f"Commands: {', '.join(COMMANDS)}.",
    )


def _prepare_streams() -> None:
    """A stream that was closed swallows what is written; a character it cannot carry becomes `?`."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _say(problem: str, advice: str) -> None:
    """Two lines on stderr, never more than the terminal can show."""
    lines = [f"ponder: {problem}"] + ([f"  {advice}"] if advice else [])
    try:
        print("\n".join(lines), file=sys.stderr)
    except OSError:
        _quiet(sys.stderr, 0)


def _quiet(stream: TextIO, status: int) -> int:
    """Send what is left of `stream` nowhere, so that closing it cannot fail again."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return status
