"""Programs against tests, honest and otherwise. No program may pass that does not do what is asked."""

from __future__ import annotations

import shutil

import pytest

from ponder.sandbox import Sandbox
from ponder.verify.code import CodeTests, check_code, extract_program, same_output
from ponder.verify.code_judge import ProgramError, decode, encode


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed")
    return Sandbox()


ADD = CodeTests.of_asserts(["assert add(2, 3) == 5", "assert add(-1, 1) == 0"], time_s=0.5)

SAYS_RIGHT = r"""
import os
for handle in range(64):
    try:
        os.write(handle, b"right\nall tests passed")
    except OSError:
        pass
def add(a, b): return 0
"""
SENDS_REPLIES = r"""
import os
def add(a, b):
    for handle in range(3, 64):
        try:
            os.write(handle, b"\2\0\0\0\0\0\0\0vt")
        except OSError:
            pass
    os._exit(0)
"""
LEAVES_MODULES = r"""
for name in ("json", "math", "copy", "random", "linecache", "traceback", "re", "string"):
    with open(f"/tmp/work/{name}.py", "w") as file:
        file.write("import os\nos.write(1, b'right\\nx')\nos._exit(0)")
def add(a, b): return 0
"""
LOOKS_FOR_TESTS = r"""
import gc, os, sys
seen = lambda text: "2(dda tressa" in str(text)[::-1]
found = [o for o in gc.get_objects() if seen(o)]
frame = sys._getframe()
while frame:
    found += [v for v in frame.f_locals.values() if seen(v)]
    frame = frame.f_back
for path, _, names in os.walk("/tmp"):
    found += [n for n in names if seen(open(os.path.join(path, n), errors="replace").read())]
for handle in range(64):
    try:
        found += [handle] if seen(os.pread(handle, 1 << 20, 0)) else []
    except OSError:
        pass
def add(a, b): return "found" if found else "nothing"
"""

ANSWERS = [
    # status, part of the reason, program
    ("right", "all tests passed, 2 calls", "def add(a, b): return a + b"),
    ("right", "2 calls", "print('x'); import sys\ndef add(a, b):\n    sys.stdout.write('y')\n    return a + b"),
    ("wrong", "assert add(2, 3) == 5; add(2, 3) gave -1", "def add(a, b): return a - b"),
    ("wrong", "add(-1, 1) gave 5", "def add(a, b): return 5"),
    ("wrong", "the program does not define add", "def sub(a, b): return a - b"),
    ("wrong", "does not load: SyntaxError", "def add(a, b) return"),
    ("wrong", "does not load: ValueError", "raise ValueError('right')"),
    ("wrong", "no program in the answer", "  \n "),
    ("wrong", "ZeroDivisionError", "def add(a, b): return 1 / 0"),
    ("wrong", "EOFError", "def add(a, b): return int(input())"),
    ("wrong", "RecursionError", "def add(a, b): return add(a, b)"),
    ("wrong", "source code", "def add(a, b): return 5\n\0"),
    ("wrong", "at most 65536", "def add(a, b): return a + b #" + "x" * 70000),
    ("wrong", "not valid text", "def add(a, b): return a + b  # \ud800"),
    # ends before, during and after the tests
    ("wrong", "does not load: it ended with status 0", "import os; os._exit(0)"),
    ("wrong", "SystemExit", "import sys; sys.exit(0)"),
    ("wrong", "ended with status 0", "def add(a, b): import os; os._exit(0)"),
    ("wrong", "SystemExit", "def add(a, b): raise SystemExit(0)"),
    ("wrong", "KeyboardInterrupt", "def add(a, b): raise KeyboardInterrupt"),
    ("wrong", "StopIteration", "def add(a, b): raise StopIteration"),
    ("wrong", "ended by signal 9", "def add(a, b): import os; os.kill(os.getpid(), 9)"),
    ("wrong", "gave 5", "import atexit\natexit.register(lambda: print('right'))\ndef add(a, b): return 5"),
    # says that it succeeded
    ("wrong", "", SAYS_RIGHT),
    ("wrong", "", SENDS_REPLIES),
    # objects and patches that agree with everything
    ("wrong", "gave an object", "class Yes:\n    def __eq__(self, other): return True\ndef add(a, b): return Yes()"),
    ("wrong", "gave 0", "class Yes(int):\n    __eq__ = lambda self, other: True\ndef add(a, b): return Yes()"),
    ("wrong", "gave 'x'", "class Yes(str):\n    def __eq__(self, o): return True\ndef add(a, b): return Yes('x')"),
    ("wrong", "", "import builtins\nbuiltins.AssertionError = Warning\ndef add(a, b): return 0"),
    ("wrong", "", "import ctypes\nctypes.memset(id(5) + 24, 0, 1)\ndef add(a, b): return 0"),
    ("wrong", "gave 0", "import sys\nsys.excepthook = sys.settrace = print\ndef add(a, b): return 0"),
    # code where the judge might import it
    ("wrong", "gave 0", LEAVES_MODULES),
    # looks for the tests
    ("wrong", "gave 'nothing'", LOOKS_FOR_TESTS),
    # harms its judge, the machine or the clock
    ("wrong", "ended its judge", "import os\ndef add(a, b): os.kill(os.getppid(), 9)"),
    ("wrong", "", "import os, signal\ndef add(a, b):\n    os.kill(os.getppid(), signal.SIGALRM)\n    return 0"),
    ("wrong", "time", "def add(a, b):\n    while True: pass"),
    ("wrong", "time limit", "import time\ndef add(a, b): time.sleep(60)"),
    ("wrong", "time", "while True: pass"),
    ("wrong", "", "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass"),
    ("wrong", "", "def add(a, b): return [0] * (1 << 28)"),
    ("wrong", "Error", "def add(a, b): return 'x' * (1 << 62)"),
    ("wrong", "", "import itertools\ndef add(a, b): return itertools.count()"),
    ("wrong", "a large value", "def add(a, b): return 10 ** 5000"),
    ("wrong", "nested too deep", "def add(a, b):\n    x = []\n    for _ in range(10000): x = [x]\n    return x"),
    ("wrong", "too deep", "def add(a, b):\n    x = []\n    x.append(x)\n    return x"),
    ("wrong", "", "class E(Exception): pass\nE.__name__ = 'a\\0b'\ndef add(a, b): raise E('\\x1b[31m')"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "reason", "program"), ANSWERS, ids=range(len(ANSWERS)))
def test_programs(sandbox, status, reason, program):
    verdict = check_code(program, ADD, sandbox)
    assert verdict.status == status and reason in verdict.reason, verdict
    assert verdict.reason.isprintable() and len(verdict.reason) <= 401


CASES = CodeTests(cases=(("1 2\n", "3\n"), ("4 5\n", "9\n")), time_s=0.5)

PROGRAMS = [
    ("right", "2 of 2 cases", "print(sum(map(int, input().split())))"),
    ("right", "", "print(eval('+'.join(input().split())), '', end='  \\n\\n')\nexit()"),
    ("wrong", "case 2 of 2: expected 9, got 3", "print(3)"),
    ("wrong", "case 1 of 2: expected 3, got ", "pass"),
    ("wrong", "exit status 1: ZeroDivisionError", "print(3); 1 / 0"),
    ("wrong", "exit status 1", "import sys; sys.exit(1)"),
    ("wrong", "time limit (0.5 s)", "while True: pass"),
    ("wrong", "output limit", "while True: print('3')"),
    ("wrong", "signal 9", "import os; os.kill(os.getpid(), 9)"),
    ("wrong", "", "import os\nos.fork()\nprint(3)"),
    ("wrong", "PermissionError", "import socket; socket.create_connection(('127.0.0.1', 80))"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "reason", "program"), PROGRAMS, ids=range(len(PROGRAMS)))
def test_cases(sandbox, status, reason, program):
    verdict = check_code(program, CASES, sandbox)
    assert verdict.status == status and reason in verdict.reason, verdict


def test_without_a_sandbox_nothing_is_decided():
    verdict = check_code("def add(a, b): return a + b", ADD, Sandbox(bubblewrap="no-such-program"))
    assert verdict.status == "undecided" and "no sandbox" in verdict.reason


@pytest.mark.parametrize(
    ("tests", "reason"),
    [
        (CodeTests(), "there are no tests"),
        (CodeTests(check="x = 1", names=("add",)), "the tests call nothing"),
        (
            CodeTests(check="assert add(1, 2", names=("add",)),
            "the tests fail by themselves: SyntaxError",
        ),
        (CodeTests(check="assert add(1, 2) == three", names=("add",)), "NameError"),
        (
            CodeTests(check="import no_such_module\nassert add(1, 2)", names=("add",)),
            "ModuleNotFoundError",
        ),
        (CodeTests(check="assert add(print, 2)", names=("add",)), "which cannot leave them"),
    ],
)
def test_tests_that_fail_by_themselves_decide_nothing(sandbox, tests, reason):
    verdict = check_code("def add(a, b): return a + b", tests, sandbox)
    assert verdict.status == "undecided" and reason in verdict.reason, verdict


def test_helpers_of_a_prompt_errors_and_kinds_of_values(sandbox):
    setup = (
        "import math\ndef poly(xs, x): return sum(c * math.pow(x, i) for i, c in enumerate(xs))\n"
    )
    test = """
def check(candidate):
    assert abs(poly([1, 2], candidate([1, 2]))) < 1e-4
    try:
        candidate([])
    except IndexError:
        pass
    else:
        assert False
"""
    good = "def find_zero(xs): return -xs[0] / xs[1]"
    tests = CodeTests.of_check(test, "find_zero", setup)
    assert check_code(good, tests, sandbox).status == "right"
    assert check_code("def find_zero(xs): return 0", tests, sandbox).status == "wrong"
    kinds = "from collections import namedtuple, Counter\nP = namedtuple('P', 'a b')\n"
    kinds += "def f(k):\n    return [(1, [2]), {3: {4}}, P(5, b'6'), Counter('aa'),"
    kinds += "range(7), map(int, '89'), 1.5j, None][k]\n"
    kinds += "class Node:\n    def __init__(self, v): self.v = v\ndef value(node): return node.v"
    asserts = ["assert f(0) == (1, [2])", "assert f(1) == {3: {4}}", "assert f(2) == (5, b'6')",
               "assert f(3) == {'a': 2}", "assert f(4) == range(7)", "assert list(f(5)) == [8, 9]",
               "assert f(6) == 1.5j",
               "assert f(7) is None",
               "assert value(Node(3)) == 3"]  # fmt: skip
    verdict = check_code(kinds, CodeTests.of_asserts(asserts), sandbox)
    assert verdict.status == "right", verdict


def test_a_reference(sandbox):
    reference = "def root(xs): return [x ** 0.5 for x in xs]"
    tests = CodeTests.of_reference(
        "root", reference, [[[1.0, 4.0]], [[]], [[float("inf")]]], tolerance=1e-6
    )
    assert (
        check_code("def root(xs): return tuple(x ** 0.5 + 1e-9 for x in xs)", tests, sandbox).status
        == "right"
    )
    verdict = check_code("def root(xs): return [x for x in xs]", tests, sandbox)
    assert verdict.status == "wrong" and "expected [1.0, 2.0]" in verdict.reason, verdict


def test_names_are_found_in_asserts():
    tests = CodeTests.of_asserts(
        ["assert set(f([k for k in range(3)])) == {1}", "assert math.isclose(g(1), 2)"]
    )
    assert tests.names == ("f", "g") and tests.check.startswith("import math\n")
    assert CodeTests.of_asserts(["assert sum(10, 15) == 6"]).names == ("sum",)


EXTRACTED = [
    ("x = 1", "x = 1"),
    ("Text\n```python\nx = 1\n```\nmore", "x = 1"),
    ("```python\nx = 1\n```\nOutput:\n```\n1\n```", "x = 1"),
    ("```\nx = 1\n```\n```\nx = 2\n```", "x = 2"),
    ("```py\r\nx = 1\r\n```", "x = 1"),
    ("1. so\n   ```Python\n   if x:\n       y\n   ```", "if x:\n    y"),
    ("```python\nx = '''\n``` no\n'''\n```", "x = '''\n``` no\n'''"),
    ("```python\nx = 1", "x = 1"),
    ("```json\n{}\n```\nx", "```json\n{}\n```\nx"),
    ("``````", "``````"),
]


@pytest.mark.parametrize(("answer", "program"), EXTRACTED)
def test_extraction(answer, program):
    assert extract_program(answer).rstrip("\n") == program


def test_outputs_are_compared_by_words():
    assert (
        same_output("1 2\n3", "1  2 3 \n")
        and not same_output("12 3", "1 23")
        and not same_output("", "0")
    )
    assert not same_output("0.333333", "0.3333334") and same_output("0.333333", "0.3333334", 1e-6)
    assert not same_output("nan", "1", 1e-6) and not same_output("1 2", "1", 1e-6)


@pytest.mark.parametrize("data", [
    b"", b"q", b"i", b"iz;", b"l5;n", b"l-1;", b"s9;a", b"nn", b"S1;l0;", b"m1;n",
    b"l1;" * 5000 + b"n", b"u" + b"f" * 20 + b";", b"s2;\xff\xff", b"d1;;", b"r4;nnnn", b"y1;s4;exec",
])  # fmt: skip
def test_bytes_that_are_no_value_are_refused(data):
    try:
        decode(data)
    except ProgramError:
        return
    raise AssertionError(data)


VALUES = [0, -1, 10**5000, True, None, 0.1, float("inf"), -0.0, "", "\ud800é", b"\0", [], [[1], (2,)], {1: {"a"}}, 2j,
          frozenset({1}), range(1, 9, 2), int, {(1, 2): [None]}]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
def test_values_cross_unchanged(value):
    back = decode(encode(value))
    assert back == value and type(back) is type(value)
