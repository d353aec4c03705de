"""The package and its imports as syntax trees: what every promise test reads, parsed once."""

from __future__ import annotations

import ast
import re
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = REPOSITORY / "src" / "ponder"

LEVELS = {
    "core": 0,
    "text": 1, "model": 1, "sandbox": 1, "store": 1, "runs": 1,
    "engine": 2, "verify": 2, "agent": 2, "server": 2,
    "tasks": 3, "clients": 3,
    "evals": 4, "train": 4,
    "cli": 5,
}  # fmt: skip
"""The rooms of the design. A room may open rooms of a lower level only."""

DOOR = {"", "api", "__main__"}
"""Modules directly in the package that users import or run; they stand beside `cli`."""


@dataclass(frozen=True)
class Import:
    """One import of a module of the package."""

    importer: str
    target: str
    line: int
    in_function: bool
    for_types: bool

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.target}"


@dataclass(frozen=True)
class Module:
    """One source file, e.g. name `ponder.core.types`."""

    name: str
    path: Path
    text: str
    tree: ast.Module

    @property
    def room(self) -> str:
        parts = self.name.split(".")
        return parts[1] if len(parts) > 1 else ""

    @property
    def where(self) -> str:
        return self.path.relative_to(REPOSITORY).as_posix()


@cache
def modules() -> dict[str, Module]:
    found: dict[str, Module] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = ["ponder", *path.relative_to(PACKAGE).with_suffix("").parts]
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        text = path.read_text(encoding="utf-8")
        found[name] = Module(name, path, text, ast.parse(text, str(path)))
    return found


def rooms() -> list[str]:
    """The rooms that exist today, lowest first."""
    return [room for room in LEVELS if (PACKAGE / room).is_dir()]


def declared(room: str) -> set[str]:
    """The rooms that `room` says it may open."""
    text = ast.get_docstring(modules()[f"ponder.{room}"].tree) or ""
    lines = re.findall(r"May open: ([^.]+)\.", text)
    assert len(lines) == 1, f"{room}/__init__.py needs one line `May open: …`, found {lines}"
    said = {word for word in re.split(r"[,\s]+", lines[0].strip()) if word}
    if said == {"nothing"}:
        return set()
    return set(LEVELS) - {room} if said == {"all"} else said


def functions(tree: ast.AST) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def _targets(node: ast.Import | ast.ImportFrom, known: set[str]) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names if alias.name in known]
    assert node.level == 0, f"line {node.lineno}: relative imports hide the room"
    base = node.module or ""
    below = [f"{base}.{alias.name}" for alias in node.names]
    return [name if name in known else base for name in below if name in known or base in known]


@cache
def imports() -> tuple[Import, ...]:
    known = set(modules())
    found: list[Import] = []
    for module in modules().values():
        inside = {id(n) for f in functions(module.tree) for n in ast.walk(f) if n is not f}
        typing_only = {
            id(n)
            for block in ast.walk(module.tree)
            if isinstance(block, ast.If) and ast.unparse(block.test).endswith("TYPE_CHECKING")
            for statement in block.body
            for n in ast.walk(statement)
        }
        found += [
            Import(module.name, target, node.lineno, id(node) in inside, id(node) in typing_only)
            for node in ast.walk(module.tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for target in _targets(node, known)
        ]
    return tuple(found)


def tracked_files() -> list[Path]:
    """Every text file of the project that git knows or would add."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    names = listing.stdout.splitlines()
    if listing.returncode != 0:  # an unpacked archive has no git
        names = [p.relative_to(REPOSITORY).as_posix() for p in REPOSITORY.rglob("*")]
        names = [n for n in names if not n.startswith((".venv", ".git/", "build/"))]
    paths = [REPOSITORY / name for name in names]
    binary = {".safetensors", ".so", ".png", ".pyc", ".gz"}
    return [path for path in paths if path.is_file() and path.suffix not in binary]
