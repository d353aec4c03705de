"""Promise: what the documentation says is what the program does."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from package_source import REPOSITORY, rooms

import ponder
from ponder.cli.parser import build_parser

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
PAGES = sorted(
    [
        *REPOSITORY.glob("*.md"),
        *(REPOSITORY / "docs").glob("*.md"),
        *REPOSITORY.glob("recipes/**/*.md"),
    ]
)
MAKEFILE = (REPOSITORY / "Makefile").read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def commands(text: str) -> list[tuple[str, str]]:
    """Every `$ command` of a page's console blocks, with the output shown under it."""
    found: list[tuple[str, str]] = []
    for block in blocks(text, "console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            found.append((command.split("  #")[0].strip(), output.strip()))
    return found


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    words = shlex.split(command)
    assert words[0] in {"ponder", ".venv/bin/ponder"}, f"no way to run {command!r}"
    environment = {**os.environ, "PONDER_HOME": str(folder / "home"), "NO_COLOR": "1"}
    return subprocess.run(
        [sys.executable, "-m", "ponder", *words[1:]],
        cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(REPOSITORY).as_posix())
def test_make_targets_named_in_pages_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE))
    named = set(re.findall(r"(?:`|^\$ )make ([a-z]+)", page.read_text("utf-8"), re.MULTILINE))
    assert named <= targets, f"{page.name} names targets the Makefile lacks: {named - targets}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(REPOSITORY).as_posix())
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text("utf-8"))
    local = [link for link in links if "://" not in link]
    broken = [link for link in local if not (page.parent / link).exists()]
    assert not broken, f"{page.name}: {broken}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(REPOSITORY).as_posix())
def test_commands_shown_in_pages_are_understood(page: Path) -> None:
    for command, _ in commands(page.read_text("utf-8")):
        words = shlex.split(command)
        if words[0].rpartition("/")[2] == "ponder":
            options = build_parser().parse_all(words[1:])  # UserError for what is not a command
            assert options.command, command


SHOWN = [(p, c, o) for p in PAGES for c, o in commands(p.read_text("utf-8")) if "ponder ask" in c]


def test_readme_shows_commands() -> None:
    assert len(commands(README)) >= 3, commands(README)


@pytest.mark.parametrize(("page", "command", "output"), SHOWN, ids=lambda v: getattr(v, "name", v))
def test_questions_shown_in_pages_get_the_answers_shown(
    page: Path, command: str, output: str, tmp_path: Path
) -> None:
    done = run(command, tmp_path)
    assert done.returncode == 0, f"{page.name}: {command}\n{done.stderr}"
    shown = [line.strip() for line in output.splitlines() if line.strip() and line.strip() != "…"]
    real = [line.strip() for line in (done.stdout + done.stderr).splitlines()]
    missing = [line for line in shown if line not in real]
    assert not missing, f"{page.name}: {command} printed\n{done.stdout}{done.stderr}\nnot {missing}"


def test_python_shown_in_the_readme_runs() -> None:
    for block in blocks(README, "python"):
        run = subprocess.run(
            [sys.executable, "-c", block], capture_output=True, text=True, check=False, timeout=60
        )
        assert run.returncode == 0, f"{block}\n{run.stderr}"
        for said in re.findall(r"# → (.+)$", block, re.MULTILINE):
            assert said.strip() in run.stdout, f"{block}\nprinted {run.stdout!r}, not {said!r}"


def test_generated_parts_are_current() -> None:
    check = [sys.executable, str(REPOSITORY / "docs" / "generate.py"), "--check"]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("room", rooms())
def test_every_room_has_a_page(room: str) -> None:
    page = REPOSITORY / "docs" / f"{room}.md"
    assert page.is_file(), f"docs/{room}.md is missing"
    text = page.read_text("utf-8")
    files = set(re.findall(rf"`{room}/([\w/]+\.py)`", text))
    gone = [f for f in files if not (REPOSITORY / "src" / "ponder" / room / f).is_file()]
    assert not gone, f"docs/{room}.md names files that do not exist: {gone}"


def test_changelog_describes_this_version() -> None:
    first = re.search(r"^## (\S+)", (REPOSITORY / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert first, "CHANGELOG.md has no entry"
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    assert first[1] == ponder.__version__ == project["version"], (
        f"CHANGELOG.md says {first[1]}, the package {ponder.__version__}, pyproject.toml {project['version']}"
    )


def test_pins_are_exact_and_cover_every_requirement() -> None:
    pins = dict(
        line.lower().replace("_", "-").split("==")
        for line in (REPOSITORY / "constraints.txt").read_text("utf-8").splitlines()
        if line and not line.startswith("#")
    )
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))
    wanted = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    for extra in project["project"]["optional-dependencies"].values():
        wanted += extra
    names = {re.split(r"[=<>\[]", w)[0].lower().replace("_", "-") for w in wanted}
    assert names <= set(pins), f"no pin for {sorted(names - set(pins))}"
    for exact in (w for w in wanted if "==" in w):
        name, version = exact.lower().replace("_", "-").split("==")
        assert pins[name] == version, f"{exact} but constraints.txt pins {pins[name]}"


def test_results_name_their_machine_command_and_commit() -> None:
    for path in (REPOSITORY / "benchmarks" / "results").glob("*.json"):
        record = json.loads(path.read_text("utf-8"))
        missing = {"rows", "facts"} - set(record)
        missing |= {"command", "machine", "commit"} - set(record.get("facts", {}))
        assert not missing, f"{path.name} lacks {sorted(missing)}"


def test_ci_runs_make_check_and_make_test() -> None:
    script = REPOSITORY / ".ci" / "run"
    assert shutil.which("bash"), "no bash to read .ci/run with"
    done = subprocess.run(["bash", "-n", str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {"make check", "make test"} <= set(re.findall(r"^make \w+", script.read_text(), re.M)), (
        script.read_text()
    )
