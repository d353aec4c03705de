"""verify/code: does this program do what its tests ask? Decided in the sandbox, without believing the program.

Input and output cases: the program runs once a case in a sandbox of its own; what it should print never enters one.
Test code (asserts, `check(candidate)`): runs in a judge process inside the sandbox. The program runs in another one,
made before the tests are read. Calls and plain values cross a pipe, one by one; the tests, the expected values and
the comparison stay with the judge (`verify/code_judge.py`), and the verdict leaves by a pipe the program never held.
"""

from __future__ import annotations

import ast
import builtins
import functools
import marshal
import math
import re
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ponder.core.errors import SandboxError
from ponder.core.types import Verdict
from ponder.sandbox import Limits, Result

PROGRAM_CHARS = 1 << 16
"""A longer answer is no program that anyone asked for."""


class Runner(Protocol):
    """What is needed of a `ponder.sandbox.Sandbox`."""

    def run(
        self, argv: Sequence[str], *, files: Mapping[str, bytes | str], stdin: bytes, limits: Limits
    ) -> Result: ...


@dataclass(frozen=True, slots=True)
class CodeTests:
    """What a program must do: `cases`, or `check`, or both.

    Examples: `CodeTests(cases=(("2 3\\n", "5\\n"),))`; `CodeTests(check="assert add(2, 3) == 5", names=("add",))`.
    """

    cases: tuple[tuple[str, str], ...] = ()
    """(stdin, expected stdout) pairs, for whole programs."""
    check: str = ""
    """Test code. It calls the functions of `names`, and the program is right when it ends without an error."""
    names: tuple[str, ...] = ()
    """The functions (or classes) of the program that `check` uses."""
    setup: str = ""
    """Code put before the program and before the tests alike, e.g. the imports and helpers of a prompt."""
    time_s: float = 5.0
    """CPU time of the program, for each case and for the whole of `check`. The clock on the wall allows twice that
    and a second; it stands still while the program waits for a busy core."""
    memory_bytes: int = 512 << 20
    tolerance: float | None = None
    """In `cases`: numbers this close (relative or absolute) are equal; None: the same words."""

    @classmethod
    def of_asserts(cls, asserts: Sequence[str], setup: str = "", time_s: float = 5.0) -> CodeTests:
        """Tests from `assert f(…) == …` lines (MBPP), with `setup` before them. SyntaxError where they are not."""
        tree = ast.parse("\n".join([setup, *asserts]))
        used = [n for n in ast.walk(tree) if isinstance(n, ast.Name)]
        used.sort(key=lambda n: (n.lineno, n.col_offset))
        made = {n.id for n in used if isinstance(n.ctx, ast.Store)} | set(_defined(tree))
        read = dict.fromkeys(n.id for n in used if isinstance(n.ctx, ast.Load))
        free = [name for name in read if name not in made and not hasattr(builtins, name)]
        modules = [name for name in free if name in sys.stdlib_module_names]
        imports = "".join(f"import {name}\n" for name in modules)
        names = tuple(name for name in free if name not in modules)
        if not names:  # a function under test that is named like a built-in one, e.g. `assert sum(10, 15) == 6`
            called = (n.func for n in ast.walk(tree) if isinstance(n, ast.Call))
            names = tuple(dict.fromkeys(f.id for f in called if isinstance(f, ast.Name)))[:1]
        return cls(check="\n".join([imports, setup, *asserts]), names=names, time_s=time_s)

    @classmethod
    def of_check(
        cls, test: str, entry_point: str, setup: str = "", time_s: float = 5.0
    ) -> CodeTests:
        """Tests from a `check(candidate)` function (HumanEval); `setup` is the prompt."""
        return cls(
            check=f"{test}\n\ncheck({entry_point})\n",
            names=(entry_point,),
            setup=setup,
            time_s=time_s,
        )

    @classmethod
    def of_reference(
        cls, entry_point: str, reference: str, inputs: Sequence[Sequence[Any]], *,
        setup: str = "", tolerance: float = 0.0, time_s: float = 5.0,
    ) -> CodeTests:  # fmt: skip
        """The program must agree with the function `entry_point` of `reference` on every input (HumanEval+, MBPP+)."""
        values = [list(arguments) for arguments in inputs]
        check = f"{_AGREE}_r = {{}}\nexec({reference!r}, _r)\n_inputs = {values!r}\n"
        check += f"for _args in _inputs:\n    _want = _r[{entry_point!r}](*_copy(_args))\n"
        check += f"    assert _agree({entry_point}(*_copy(_args)), _want, {tolerance!r}), 'expected ' + repr(_want)\n"
        return cls(check=check, names=(entry_point,), setup=setup, time_s=time_s)


_AGREE = """
from copy import deepcopy as _copy
inf, nan = float('inf'), float('nan')
def _agree(got, want, tolerance):
    if isinstance(want, (list, tuple)) and isinstance(got, (list, tuple)):
        return len(got) == len(want) and all(_agree(g, w, tolerance) for g, w in zip(got, want))
    if isinstance(want, float) and isinstance(got, (int, float)):
        close = abs(got - want) <= max(tolerance, 1e-7 * abs(want)) if tolerance else got == want
        return close or got == want or (got != got and want != want)
    return got == want
"""


def _defined(tree: ast.AST) -> list[str]:
    """Names that functions, classes and imports make."""
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.append(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found += [(alias.asname or alias.name).partition(".")[0] for alias in node.names]
        elif isinstance(node, ast.arg):
            found.append(node.arg)
    return found


def extract_program(answer: str) -> str:
    """The last fenced block marked as Python, or else the last unmarked one, or else the whole answer.

    A fence left open, as in an answer that was cut, runs to the end.
    """
    labelled: list[str] = []
    plain: list[str] = []
    block: list[str] | None = None
    kept = plain
    for line in [*answer.replace("\r\n", "\n").split("\n"), "```"]:
        mark = line.strip()
        if block is None and mark.startswith("```"):
            block, language = [], mark.strip("`").strip().lower().partition(" ")[0]
            is_python = re.fullmatch(r"\{?(?:py|python[0-9.]*)\}?", language)
            kept = labelled if is_python else [] if language else plain
        elif block is not None and mark == "```":
            kept.append(textwrap.dedent("\n".join(block)))
            block = None
        elif block is not None:
            block.append(line)
    found = labelled or [text for text in plain if text]
    return found[-1] if found else answer


def check_code(answer: str, tests: CodeTests, sandbox: Runner) -> Verdict:
    """Right when the program in `answer` passes all of `tests`; undecided when the sandbox or the tests fail."""
    program = extract_program(answer)
    if not program.strip():
        return Verdict("wrong", "no program in the answer")
    if len(program) > PROGRAM_CHARS:
        return Verdict(
            "wrong", f"the program has {len(program)} characters; at most {PROGRAM_CHARS} are read"
        )
    try:
        program.encode()
    except UnicodeEncodeError:
        return Verdict("wrong", "the program is not valid text")
    if not tests.cases and not tests.check:
        return Verdict("undecided", "there are no tests")
    try:
        for number, (given, expected) in enumerate(tests.cases, 1):
            wrong = _case(program, given, expected, tests, sandbox)
            if wrong:
                return Verdict("wrong", f"case {number} of {len(tests.cases)}: {wrong}")
        if tests.check:
            return _judged(program, tests, sandbox)
    except SandboxError as error:
        return Verdict("undecided", f"no sandbox: {error.problem}")
    return Verdict("right", f"{len(tests.cases)} of {len(tests.cases)} cases")


def _limits(tests: CodeTests) -> Limits:
    return Limits(
        wall_s=2 * tests.time_s + 1,
        cpu_s=max(1, math.ceil(tests.time_s)),
        memory_bytes=tests.memory_bytes,
    )


def _case(program: str, given: str, expected: str, tests: CodeTests, sandbox: Runner) -> str:
    """What is wrong with the program on one input, or ''."""
    source = f"{tests.setup}\n{program}" if tests.setup else program
    result = sandbox.run(
        ["python", "program.py"],
        files={"program.py": source},
        stdin=given.encode(),
        limits=_limits(tests),
    )
    stopped = _stopped(result, tests)
    if stopped:
        return stopped
    got = result.stdout.decode(errors="replace")
    if result.status:
        return f"exit status {result.status}: {_last_line(result.stderr)}"
    if same_output(got, expected, tests.tolerance):
        return ""
    return f"expected {_short(expected)}, got {_short(got)}"


def same_output(got: str, expected: str, tolerance: float | None = None) -> bool:
    """True when the words agree in order; with a tolerance, numbers need only be near."""
    words, wanted = got.split(), expected.split()
    if words == wanted or tolerance is None or len(words) != len(wanted):
        return words == wanted
    return all(a == b or _near(a, b, tolerance) for a, b in zip(words, wanted))


def _near(a: str, b: str, tolerance: float) -> bool:
    try:
        return math.isclose(float(a), float(b), rel_tol=tolerance, abs_tol=tolerance)
    except ValueError:
        return False


@functools.cache
def _judge_program() -> bytes:
    """`code_judge.py` as the sandbox's interpreter takes it; the file stands beside this one in every install."""
    source = Path(__file__).with_name("code_judge.py")
    return marshal.dumps(compile(source.read_bytes(), source.name, "exec"))


def _judged(program: str, tests: CodeTests, sandbox: Runner) -> Verdict:
    """The judge's verdict on the test code."""
    judge = {"judge.marshal": _judge_program()}
    first = marshal.dumps((tests.setup, program, list(tests.names)))
    then = marshal.dumps((tests.setup, tests.check, list(tests.names)))
    stdin = len(first).to_bytes(8, "little") + first + then
    limits = _limits(tests)
    result = sandbox.run(["python", "judge.marshal"], files=judge, stdin=stdin, limits=limits)
    status, _, reason = result.stdout.decode(errors="replace").partition("\n")
    if status not in ("right", "wrong", "undecided"):
        if result.limit:
            return Verdict("wrong", _stopped(result, tests))
        if result.signal:
            return Verdict("wrong", f"the program ended its judge: signal {result.signal}")
        return Verdict("undecided", f"the judge failed: {_last_line(result.stderr)}")
    return Verdict(status, _short(reason, 400))


def _stopped(result: Result, tests: CodeTests) -> str:
    """Which limit ended the program, or ''."""
    if result.limit in ("wall", "cpu"):
        return f"time limit ({tests.time_s:g} s)"
    if result.limit:
        return f"{result.limit} limit"
    return f"ended by signal {result.signal}" if result.signal else ""


def _last_line(text: bytes) -> str:
    lines = text.decode(errors="replace").strip().splitlines()
    return _short(lines[-1]) if lines else "no message"


def _short(text: str, most: int = 80) -> str:
    text = "".join(
        c if c.isprintable() else f"\\x{ord(c):02x}"
        for c in text.strip()[: most + 1].replace("\n", "⏎")
    )
    return text if len(text) <= most else f"{text[:most]}…"
