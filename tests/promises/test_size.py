"""Promise: the size budget. Growth is a decision, not an accident."""

from __future__ import annotations

import pytest
from package_source import REPOSITORY, functions, modules

FILE_LINES = 500
FUNCTION_LINES = 60
LONG_FUNCTION_LINES = 100
PACKAGE_LINES = 29_200
CPP_LINES = 4_800
REASON = "# long:"
"""A function over 60 lines says why on the line before it, or on its first line: `# long: …`."""


def lines(text: str) -> int:
    return len(text.splitlines())


@pytest.mark.parametrize("name", sorted(modules()))
def test_file(name: str) -> None:
    module = modules()[name]
    assert lines(module.text) <= FILE_LINES, f"{module.where}: {lines(module.text)} lines"


@pytest.mark.parametrize("name", sorted(modules()))
def test_functions(name: str) -> None:
    module = modules()[name]
    source = module.text.splitlines()
    for function in functions(module.tree):
        assert function.end_lineno is not None, f"{module.where}: no end of {function.name}"
        length = function.end_lineno - function.lineno + 1
        first = min([function.lineno, *(d.lineno for d in function.decorator_list)])
        stated = any(REASON in line for line in source[first - 2 : function.body[0].lineno + 1])
        limit = LONG_FUNCTION_LINES if stated else FUNCTION_LINES
        assert length <= limit, (
            f"{module.where}:{function.lineno} {function.name} has {length} lines, limit {limit}"
        )


def test_package() -> None:
    total = sum(lines(module.text) for module in modules().values())
    assert total <= PACKAGE_LINES, f"src/ponder has {total} lines of Python"


def test_cpp() -> None:
    sources = [p for p in (REPOSITORY / "native").rglob("*") if p.suffix in {".cpp", ".h", ".inc"}]
    assert sources, "native/ holds no C++ source"
    total = sum(lines(path.read_text(encoding="utf-8")) for path in sources)
    assert total <= CPP_LINES, f"native/ has {total} lines of C++"
