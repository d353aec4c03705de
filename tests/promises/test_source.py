"""Promise: rules of the house that a program can check in the source text."""

from __future__ import annotations

import ast
import re

import pytest
from package_source import REPOSITORY, functions, modules, tracked_files

BROAD_EXCEPTS = {
    ("ponder.engine.worker", "_attempt"),
    # the engine's thread: a fault ends requests, not the thread
    ("ponder.text.tokenizer", "_from_tokenizer_json"),
    # the tokenizers library raises bare Exception for a bad file
    ("ponder.verify.code_judge", "answer"),
    # whatever an untrusted program raises is its answer
    ("ponder.verify.code_judge", "judge"),
    # test code may raise anything
}
"""File and function of every `except Exception` in the package: at process edges, at most five."""

ENVIRONMENT = "ponder.core.environment"
DRAWERS = {"utils", "util", "common", "helpers", "misc"}


def broad_excepts() -> set[tuple[str, str]]:
    found: set[tuple[str, str]] = set()
    for module in modules().values():
        for function in functions(module.tree):
            for node in ast.walk(function):
                if isinstance(node, ast.ExceptHandler):
                    kinds = ast.unparse(node.type) if node.type else "BaseException"
                    if re.search(r"\b(Base)?Exception\b", kinds):
                        found.add((module.name, function.name))
    return found


def test_broad_excepts_are_few_and_listed() -> None:
    assert broad_excepts() == BROAD_EXCEPTS, "the list in this file and the source differ"
    assert len(BROAD_EXCEPTS) <= 5, f"{len(BROAD_EXCEPTS)} broad excepts"


def test_environment_is_read_in_one_file() -> None:
    wrong = [
        f"{module.where}:{node.lineno} {ast.unparse(node)}"
        for module in modules().values()
        if module.name != ENVIRONMENT
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute | ast.Name)
        and ast.unparse(node) in {"os.environ", "os.getenv", "environ", "getenv"}
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", sorted(modules()))
def test_public_functions_are_annotated(name: str) -> None:
    module = modules()[name]
    for function in functions(module.tree):
        if function.name.startswith("_") and not function.name.startswith("__"):
            continue
        arguments = function.args
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        every += [a for a in (arguments.vararg, arguments.kwarg) if a]
        bare = [a.arg for a in every if a.annotation is None and a.arg not in {"self", "cls"}]
        where = f"{module.where}:{function.lineno} {function.name}"
        assert not bare, f"{where}: no annotation on {bare}"
        assert function.returns is not None, f"{where}: no annotation on the result"


def test_asserts_carry_messages() -> None:
    bare = [
        f"{module.where}:{node.lineno}"
        for module in modules().values()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Assert) and node.msg is None
    ]
    assert not bare, "\n".join(bare)


def test_every_module_says_what_it_is() -> None:
    bare = [m.where for m in modules().values() if not ast.get_docstring(m.tree)]
    assert not bare, "\n".join(bare)


def test_no_drawers() -> None:
    wrong = [m.where for m in modules().values() if DRAWERS & set(m.name.split("."))]
    assert not wrong, "\n".join(wrong)


UNFINISHED = re.compile(
    r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"]) + r")\b"
)
INDEX_HOST = re.compile("py" + r"pi\.org|python" + r"hosted\.|index" + r"-url|/sim" + "ple/")
ABSOLUTE = re.compile(r"""(?<=[\s"'`(=])/([a-z]+)/[\w.]""")
SYSTEM_FOLDERS = set(
    "tmp proc dev sys run var lib usr bin etc no path api models datasets chat".split()
)
"""First parts of absolute paths that mean the same on every machine, or that are routes of a hub."""


def test_no_unfinished_work_no_package_index_no_private_paths() -> None:
    wrong: list[str] = []
    for path in tracked_files():
        if path.name in {"tokenizer.json", "LICENSE"}:
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            strange = [p for p in ABSOLUTE.findall(line) if p not in SYSTEM_FOLDERS]
            if strange or UNFINISHED.search(line) or INDEX_HOST.search(line):
                wrong.append(f"{path.relative_to(REPOSITORY)}:{number}: {line.strip()[:100]}")
    assert not wrong, "\n".join(wrong)
