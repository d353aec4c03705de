"""Rewrites the generated parts of the documentation; `--check` only says which are out of date.

A generated part stands between `<!-- name -->` and `<!-- /name -->`. docs/cli.md is generated whole.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ponder.cli.reference import reference
from ponder.core import errors

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "src" / "ponder"
RESULTS = REPOSITORY / "benchmarks" / "results"

LEVELS = [
    ["core"],
    ["text", "model", "sandbox", "runs"],
    ["engine", "verify", "agent"],
    ["tasks", "clients"],
    ["evals", "train"],
    ["cli"],
]
KNOWN = {room for rooms in LEVELS for room in rooms}


def room_map() -> str:
    """Every room with its sentence, the rooms it may open, and its lines of code."""
    native = sum(count(REPOSITORY / "native", f"*.{kind}") for kind in ("cpp", "h"))
    table = [
        (str(level), f"[`{room}`](docs/{room}.md)", *said_by(room), count(PACKAGE / room, "*.py"))
        for level, rooms in enumerate(LEVELS)
        for room in rooms
    ] + [
        ("", "`ponder.load`", "the door: what `import ponder` gives", "all", door_lines()),
        ("", "all of `src/`", "Python", "", count(PACKAGE, "*.py")),
        ("", "`native/`", "C++ of the native op set", "", native),
    ]
    shown = shown_counts()
    rows = ["| level | room | what it is | may open | lines |", "|---:|---|---|---|---:|"]
    for level, name, what, opened, number in table:
        rows.append(
            f"| {level} | {name} | {what} | {opened} | {about(number, shown.get(name, ''))} |"
        )
    return "\n".join(rows)


def said_by(room: str) -> tuple[str, str]:
    """A room's own sentence, and the rooms it may open that exist."""
    text = ast.get_docstring(ast.parse((PACKAGE / room / "__init__.py").read_text())) or ""
    sentence = text.split("\n\n")[0].split(":", 1)[1].strip().replace("\n", " ").rstrip(".")
    opened = re.search(r"May open: ([^.]+)\.", text)
    assert opened, f"{room}/__init__.py has no line `May open: …`"
    said = opened[1].split(", ")
    return sentence, ", ".join([name for name in said if name in KNOWN] or said)


def about(number: int, shown: str) -> str:
    """To the nearest fifty; what is shown stays while it is near, so that few changes rewrite the table."""
    if shown and abs(number - int(shown.replace(",", ""))) <= max(50, number // 10):
        return shown
    return f"{50 * max(1, round(number / 50)):,}"


def shown_counts() -> dict[str, str]:
    """Lines that the README shows now, by the second cell of the row."""
    table = [
        line.split(" | ") for line in (REPOSITORY / "README.md").read_text("utf-8").splitlines()
    ]
    return {
        row[1]: row[-1].rstrip(" |") for row in table if len(row) == 5 and row[-1][:1].isdigit()
    }


def door_lines() -> int:
    return sum(lines(path) for path in PACKAGE.glob("*.py"))


def count(folder: Path, pattern: str) -> int:
    return sum(lines(path) for path in folder.rglob(pattern))


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def exit_codes() -> str:
    """The error tree with the exit code of each branch."""
    rows = ["| error | who must act, and when | exit code |", "|---|---|---:|"]
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, errors.PonderError):
            depth = len(kind.__mro__) - len(errors.PonderError.__mro__)
            text = (kind.__doc__ or "").split(".")[0].replace("\n", " ")
            rows.append(f"| {'· ' * depth}`{name}` | {text} | {kind.exit_code} |")
    other = ", ".join(f"{errors.EXIT_CODES[k]} ({k})" for k in ("ok", "interrupted"))
    return "\n".join([*rows, "", f"Ends that are not errors: {other}."])


def results(*names: str) -> str:
    """Records of `benchmarks/results`, as far as they are there, each with its machine, command and commit."""
    paths = [path for name in names if (path := RESULTS / f"{name}.json").is_file()]
    records = [json.loads(path.read_text("utf-8")) for path in paths]
    tables = [eval_table(r) if "declined_inside" in r else bench_table(r) for r in records]
    return "\n\n".join(tables) if tables else "No results are recorded yet."


def eval_table(record: dict[str, Any]) -> str:
    """What `ponder eval --json` printed."""
    rows = ["| family | right | of | share | 95 % interval |", "|---|---:|---:|---:|---|"]
    for row in record["rows"]:
        share, low, high = (f"{100 * row[key]:.1f} %" for key in ("accuracy", "low", "high"))
        rows.append(
            f"| {row['family']} | {row['right']} | {row['count']} | {share} | {low} – {high} |"
        )
    inside = record["declined_inside"]
    if inside["asked"]:
        share = f"{100 * inside['declined'] / inside['asked']:.1f} %"
        rows.append(
            f"| declined, though inside | {inside['declined']} | {inside['asked']} | {share} | |"
        )
    facts = record["facts"]
    title = f"**{facts['model']}, held-out problems, greedy, {facts['weights']} weights**"
    return "\n".join([title, "", *rows, "", source_line(facts)])


def bench_table(record: dict[str, Any]) -> str:
    """A benchmark's own table: `title`, `columns` and `rows` beside its facts."""
    head = ["| " + " | ".join(record["columns"]) + " |", "|---" * len(record["columns"]) + "|"]
    body = ["| " + " | ".join(map(str, row)) + " |" for row in record["rows"]]
    parts = [f"**{record['title']}**", "", *head, *body]
    for table in record.get("tables", ()):
        parts += ["", bench_table(table)]
    if "claims" in record:
        parts += ["", "| claim | holds |", "|---|---|"]
        parts += [
            f"| {each['text']} | {'yes' if each['holds'] else 'no'} |" for each in record["claims"]
        ]
    return "\n".join([*parts, "", source_line(record["facts"])] if "facts" in record else parts)


def source_line(facts: dict[str, Any]) -> str:
    machine = facts["machine"]
    if isinstance(machine, dict):
        machine = ", ".join(f"{key} {value}" for key, value in machine.items())
    return f"`{facts['command']}` · {machine} · commit {facts['commit']}"


PARTS: dict[str, dict[str, Callable[[], str]]] = {
    "README.md": {
        "rooms": room_map,
        "results": lambda: results("nano", "qwen2.5-0.5b-int8"),
    },
    "docs/tasks.md": {"results": lambda: results("tasks_speed")},
    "docs/numbers.md": {"results": lambda: results("grpo_step")},
    "docs/thesis.md": {"results": lambda: results("thesis")},
    "docs/sandbox.md": {"results": lambda: results("sandbox")},
    "docs/errors.md": {"errors": exit_codes},
}


def page(path: Path, parts: dict[str, Callable[[], str]]) -> str:
    text = path.read_text(encoding="utf-8")
    for name, make in parts.items():
        pattern = re.compile(rf"<!-- {name} -->\n.*?<!-- /{name} -->", re.DOTALL)
        assert pattern.search(text), f"{path.name} has no part {name!r}"
        new = f"<!-- {name} -->\n{make()}\n<!-- /{name} -->"
        text = pattern.sub(lambda _, new=new: new, text)
    return text


def main() -> int:
    wanted = {REPOSITORY / name: page(REPOSITORY / name, parts) for name, parts in PARTS.items()}
    wanted[REPOSITORY / "docs" / "cli.md"] = reference()
    stale = [p for p, text in wanted.items() if not p.exists() or p.read_text("utf-8") != text]
    if "--check" in sys.argv[1:]:
        for path in stale:
            print(
                f"{path.relative_to(REPOSITORY)} is out of date: run `make docs`", file=sys.stderr
            )
        return 1 if stale else 0
    for path in stale:
        path.write_text(wanted[path], encoding="utf-8")
        print(f"wrote {path.relative_to(REPOSITORY)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
