"""cli/reference: docs/cli.md, written from the parser, so that the page and `--help` cannot differ."""

from __future__ import annotations

from ponder.cli.parser import build_parser
from ponder.core.environment import FOREIGN_VARIABLES, VARIABLES

HEAD = """# The `ponder` command

Written by `python -m ponder.cli.reference > docs/cli.md`; a test compares it with `--help`.

The answer goes to stdout; thinking, progress and statistics go to stderr. Every error is two lines on stderr
(what was given and what is allowed; what to do) and one of the exit codes below.
"""

EVENTS = """## Forms for programs

`ponder ask --json` prints one object: `model`, `question`, `answer`, `thinking`, `finish_reason` (`stop`, `length`,
`abort`, `error`), `thinking_end` (`self`, `budget`, `loop`, `user`, `length` or null), `usage` (tokens), `seed`,
`check` (`status`: `right`, `wrong`, `undecided` or `not checked`; `reason`), `timing` (seconds), and with `--votes`
`votes` (`answer`, `count`, `choices`) and `vote_note`. With `--logprobs`, `logprobs` has one entry a token.

`ponder ask --jsonl` prints one event a line: `{"type": "start"}`, then
`{"type": "reasoning" | "content", "text", "choice"}` as they come, then `{"type": "done"}` with the fields above.
"""


def reference() -> str:
    """The whole page."""
    parser = build_parser()
    parts = [HEAD, _block(parser.format_help())]
    for name, command in parser.commands.items():
        parts += [f"## `ponder {name}`\n", _block(command.format_help())]
    rows = [f"| `{name}` | {text} |" for name, text in (VARIABLES | FOREIGN_VARIABLES).items()]
    parts += [EVENTS, "## Environment\n", "| variable | meaning |\n|---|---|", *rows]
    return "\n".join(parts) + "\n"


def _block(text: str) -> str:
    return f"```text\n{text.rstrip()}\n```\n"


if __name__ == "__main__":
    print(reference(), end="")
