"""verify/symbolic: the program of the worker process; run as a script, it imports nothing of Ponder.

One line says that it is ready; then one JSON object a line in, one out. `{"left": tree, "right": tree}` asks whether
two formulas are equal (sympy); `{"expected": text, "answer": text}` asks Math-Verify. The reply is
`{"equal": true | false | null, "reason": text}`. The process limits its own memory at the start; its parent kills
it when a reply takes too long.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import resource
import sys
from typing import Any

MEMORY_BYTES = 1 << 30
CPU_S = 60
"""For one question; its parent waits less, but where that was killed nobody else ends this process."""
DIGITS = 50
FUNCTIONS = {
    "arcsin": "asin", "arccos": "acos", "arctan": "atan", "ceil": "ceiling", "abs": "Abs", "ln": "log",
}  # fmt: skip
POINTS = ((7, 5), (13, 11), (-11, 7), (29, 3))
"""Where formulas with variables are compared: numerator and denominator, shifted for each variable."""


def main() -> None:
    """Answer requests until the input ends."""
    sys.setrecursionlimit(3000)
    with contextlib.suppress(ImportError):
        importlib.import_module("sympy")
    sys.stdout.write('{"equal": null, "reason": "ready"}\n')
    sys.stdout.flush()
    for line in sys.stdin:
        used = resource.getrusage(resource.RUSAGE_SELF)
        limit = int(used.ru_utime + used.ru_stime) + CPU_S
        resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))
        request = json.loads(line)
        try:
            equal, reason = (
                _with_sympy(request) if "left" in request else _with_math_verify(request)
            )
        except ImportError as error:
            equal, reason = None, f"{error.name} is not installed"
        except (
            ValueError,
            TypeError,
            ArithmeticError,
            RuntimeError,
            MemoryError,
            AttributeError,
        ) as error:
            equal, reason = None, f"{type(error).__name__}: {str(error)[:80]}"
        sys.stdout.write(json.dumps({"equal": equal, "reason": reason}) + "\n")
        sys.stdout.flush()


def _with_sympy(request: dict[str, Any]) -> tuple[bool | None, str]:
    sympy: Any = importlib.import_module("sympy")
    left: Any = _expression(sympy, request["left"])
    right: Any = _expression(sympy, request["right"])
    gap: Any = left - right
    if gap == 0:
        return True, "sympy: the same expression"
    names: list[Any] = sorted(left.free_symbols | right.free_symbols, key=str)
    is_zero = True
    tried = 0
    for top, bottom in POINTS if names else POINTS[:1]:
        point = {name: sympy.Rational(top + 2 * k, bottom) for k, name in enumerate(names)}
        near: Any = sympy.N(gap.subs(point), DIGITS)
        size: Any = sympy.N(left.subs(point), DIGITS)
        if not (near.is_number and near.is_finite and size.is_finite):
            continue
        tried += 1
        is_zero = is_zero and bool(
            sympy.Abs(near) < sympy.Float(10) ** (10 - DIGITS) * (1 + sympy.Abs(size))
        )
    if not tried:
        return None, "sympy: no value at any point tried"
    if not is_zero:
        return False, "sympy: different values"
    return True, f"sympy: equal to {DIGITS - 10} digits" + (f" at {tried} points" if names else "")


def _expression(sympy: Any, tree: Any) -> Any:
    """The sympy expression of a tree `[op, name, number, arguments]`; no text is ever evaluated."""
    op, name, number, children = tree
    name = str(name)
    args: list[Any] = [_expression(sympy, child) for child in children]
    if op == "num":
        return sympy.Rational(number)
    if op == "sym":
        constants = {"pi": sympy.pi, "e": sympy.E, "i": sympy.I, "oo": sympy.oo}
        return constants.get(name, sympy.Symbol(name))
    if op == "unit":
        return args[0] * {"%": sympy.Rational(1, 100), "degree": sympy.pi / 180}[name]
    if op == "fn":
        if name == "sqrt":
            return sympy.sqrt(args[0]) if len(args) == 1 else sympy.real_root(args[0], args[1])
        if name in ("log", "lg"):
            return sympy.log(args[0], args[1] if len(args) > 1 else 10)
        if name == "binom":
            return sympy.binomial(*args)
        return getattr(sympy, FUNCTIONS.get(name, name))(*args)
    if op == "neg":
        return -args[0]
    a, b = args
    return {"+": lambda: a + b, "*": lambda: a * b, "/": lambda: a / b, "^": lambda: a**b}[op]()


def _with_math_verify(request: dict[str, Any]) -> tuple[bool | None, str]:
    judge: Any = importlib.import_module("math_verify")
    parsed: list[list[Any]] = [
        judge.parse(f"\\boxed{{{request[side]}}}", parsing_timeout=None)
        for side in ("expected", "answer")
    ]
    if any(len(values) < 2 for values in parsed):
        return None, "Math-Verify reads no value"
    if judge.verify(parsed[0], parsed[1], timeout_seconds=None):
        return True, "Math-Verify: equal"
    return None, "Math-Verify: not equal"


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()
