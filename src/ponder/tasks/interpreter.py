"""tasks/interpreter: a tiny language of whole numbers and lists, run under limits; never eval, exec or Python objects.

    s = 0; for x in [3, 1, 4] { if x > 2 { s = s + x * x } }; show s

Statements are parted by `;` or newlines: `name = value`, `show value`, `for name in list { … }`,
`repeat number { … }`, `if value { … } else { … }`. Values: numbers, lists, names, `+ - * / // %`, comparisons (1 or 0),
`list[i]` from 0, and FUNCTIONS. Every loop is over something finite, and MAX_STEPS bounds them all together.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ponder.core.errors import ToolError

MAX_CHARS, MAX_DEPTH, MAX_STEPS, MAX_ITEMS, MAX_DIGITS, MAX_SHOWN = 2000, 16, 20_000, 1000, 40, 1000
_BOUND = 10**MAX_DIGITS
_TOKEN = re.compile(
    r"[ \t\r]*(?:([0-9]+)|([a-z_][a-z0-9_]*)|(//|[=!<>]=|[-+*/%=<>()\[\]{},;\n]))", re.ASCII
)
_LEVELS = (("==", "!=", "<", ">", "<=", ">="), ("+", "-"), ("*", "/", "//", "%"))

Value = int | list[int]
Node = tuple[Any, ...]
"""("num", 3), ("name", "x"), ("list", nodes), ("chain", a, [("+", b), …]), ("call", "len", nodes), ("at", list, index);
statements: ("set", name, value), ("show", value), ("for", name, list, block),
("repeat", number, block), ("if", value, block, block)."""


FUNCTIONS: dict[str, Callable[[list[int]], Value]] = {
    "len": len,
    "sum": sum,
    "max": max,
    "min": min,
    "sort": sorted,
    "reverse": lambda items: items[::-1],
}
"""Functions of one list; beside them `range(a, b)`, which stops before b."""
_RESERVED = {"show", "for", "in", "repeat", "if", "else", "range", *FUNCTIONS}


def _items(value: Value, wanting: str) -> list[int]:
    if isinstance(value, int):
        raise ToolError(f"{wanting} wants a list")
    return value


class _Parser:
    """Text → statements. Raises ToolError."""

    def __init__(self, text: str) -> None:
        if len(text) > MAX_CHARS:
            raise ToolError(f"a program longer than {MAX_CHARS} characters")
        self._tokens: list[str] = []
        self._at = 0
        at, text = 0, text.rstrip()
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None:
                raise ToolError(f"cannot read {text[at : at + 8].strip()!r}")
            self._tokens.append(match[1] or match[2] or match[3])
            at = match.end()

    def program(self) -> tuple[Node, ...]:
        block = self._block(0)
        if self._peek():
            raise ToolError(f"unexpected {self._peek()!r}")
        return block

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _next(self) -> str:
        self._at += 1
        return self._tokens[self._at - 1] if self._at <= len(self._tokens) else ""

    def _expect(self, token: str) -> None:
        if (found := self._next()) != token:
            raise ToolError(f"wanted {token!r}, found {found or 'the end'!r}")

    def _name(self) -> str:
        name = self._next()
        if not name[:1].isalpha() or name in _RESERVED:
            raise ToolError(f"{name or 'the end'!r} cannot be a name")
        return name

    def _block(self, depth: int) -> tuple[Node, ...]:
        if depth > MAX_DEPTH:
            raise ToolError(f"nested deeper than {MAX_DEPTH}")
        statements: list[Node] = []
        while True:
            while self._peek() in (";", "\n"):
                self._at += 1
            if self._peek() in ("", "}"):
                return tuple(statements)
            statements.append(self._statement(depth))
            if self._peek() not in (";", "\n", "", "}") and self._tokens[self._at - 1] != "}":
                raise ToolError(f"unexpected {self._peek()!r}")

    def _braced(self, depth: int) -> tuple[Node, ...]:
        while self._peek() == "\n":
            self._at += 1
        self._expect("{")
        block = self._block(depth + 1)
        self._expect("}")
        return block

    def _statement(self, depth: int) -> Node:
        match self._peek():
            case "show":
                self._at += 1
                return ("show", self._value(depth))
            case "repeat":
                self._at += 1
                return ("repeat", self._value(depth), self._braced(depth))
            case "for":
                self._at += 1
                name = self._name()
                self._expect("in")
                return ("for", name, self._value(depth), self._braced(depth))
            case "if":
                self._at += 1
                test, yes = self._value(depth), self._braced(depth)
                if self._peek() != "else":
                    return ("if", test, yes, ())
                self._at += 1
                return ("if", test, yes, self._braced(depth))
            case _:
                name = self._name()
                self._expect("=")
                return ("set", name, self._value(depth))

    def _value(self, depth: int, level: int = 0) -> Node:
        if level == len(_LEVELS):
            return self._unit(depth)
        first, rest = self._value(depth, level + 1), list[Node]()
        while self._peek() in _LEVELS[level]:
            rest.append((self._next(), self._value(depth, level + 1)))
        return ("chain", first, rest) if rest else first

    def _values(self, depth: int, end: str) -> tuple[Node, ...]:
        values: list[Node] = []
        while self._peek() != end:
            values.append(self._value(depth + 1))
            if self._peek() != end:
                self._expect(",")
        self._at += 1
        return tuple(values)

    def _unit(self, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise ToolError(f"nested deeper than {MAX_DEPTH}")
        token = self._next()
        if token == "-":
            return ("chain", ("num", 0), [("-", self._unit(depth + 1))])
        if token.isdigit():
            if len(token) > MAX_DIGITS:
                raise ToolError(f"a number of more than {MAX_DIGITS} digits")
            return ("num", int(token))
        if token == "(":
            node = self._value(depth + 1)
            self._expect(")")
        elif token == "[":
            node = ("list", self._values(depth, "]"))
        elif token in FUNCTIONS or token == "range":
            self._expect("(")
            node = ("call", token, self._values(depth, ")"))
            wanted = 2 if token == "range" else 1
            if len(node[2]) != wanted:
                raise ToolError(f"{token} wants {wanted} values, not {len(node[2])}")
        else:
            self._at -= 1
            node = ("name", self._name())
        if self._peek() != "[":
            return node
        self._at += 1
        node = ("at", node, self._value(depth + 1))
        self._expect("]")
        return node


@dataclass(slots=True)
class Machine:
    """Variables that stay between programs, and what the running program has shown."""

    variables: dict[str, Value] = field(default_factory=dict[str, Value])
    _shown: list[str] = field(default_factory=list[str])
    _left: int = 0

    def run(self, program: str) -> str:
        """What the program shows, a line each. Raises ToolError; what it had set until then stays set."""
        block = _Parser(program).program()
        self._shown, self._left = [], MAX_STEPS
        self._run(block)
        return "\n".join(self._shown)

    def _spend(self, steps: int) -> None:
        self._left -= steps
        if self._left < 0:
            raise ToolError(f"stopped after {MAX_STEPS} steps")

    def _run(self, block: tuple[Node, ...]) -> None:
        for node in block:
            self._spend(1)
            match node:
                case ("set", str(name), value):
                    self.variables[name] = self._value(value)
                case ("show", value):
                    self._shown.append(str(self._value(value)))
                    if sum(map(len, self._shown)) + len(self._shown) > MAX_SHOWN:
                        raise ToolError(f"more than {MAX_SHOWN} characters shown")
                case ("repeat", count, inner):
                    for _ in range(min(self._whole(count), MAX_STEPS + 1)):
                        self._spend(1)
                        self._run(inner)
                case ("for", str(name), items, inner):
                    for item in list(_items(self._value(items), "for")):
                        self._spend(1)
                        self.variables[name] = item
                        self._run(inner)
                case ("if", test, yes, no):
                    self._run(yes if self._value(test) else no)
                case _:
                    raise AssertionError(f"no such statement: {node!r}")

    def _whole(self, node: Node) -> int:
        value = self._value(node)
        if not isinstance(value, int):
            raise ToolError("wanted a number, found a list")
        return value

    def _value(self, node: Node) -> Value:
        self._spend(1)
        match node:
            case ("num", int(value)):
                return value
            case ("name", str(name)):
                if name not in self.variables:
                    raise ToolError(f"{name} has no value")
                return self.variables[name]
            case ("list", items):
                return [self._whole(item) for item in items]
            case ("at", inner, index):
                items, at = _items(self._value(inner), "[ ]"), self._whole(index)
                if not 0 <= at < len(items):
                    raise ToolError(f"no item {at} in a list of {len(items)}")
                return items[at]
            case ("call", str(name), given):
                return self._checked(self._call(name, given))
            case ("chain", first, rest):
                result = self._value(first)
                for op, right in rest:
                    result = self._checked(self._operate(op, result, self._value(right)))
                return result
            case _:
                raise AssertionError(f"no such value: {node!r}")

    def _checked(self, result: Value) -> Value:
        if isinstance(result, int):
            if abs(result) >= _BOUND:
                raise ToolError(f"a number of more than {MAX_DIGITS} digits")
            return result
        self._spend(len(result))
        if len(result) > MAX_ITEMS:
            raise ToolError(f"a list longer than {MAX_ITEMS}")
        return result

    def _call(self, name: str, given: tuple[Node, ...]) -> Value:
        if name == "range":
            a, b = (self._whole(node) for node in given)
            return list(range(a, min(b, a + MAX_ITEMS + 1)))
        items = _items(self._value(given[0]), name)
        self._spend(len(items))
        if not items and name in ("max", "min"):
            raise ToolError(f"{name} of an empty list")
        return FUNCTIONS[name](items)

    def _operate(self, op: str, a: Value, b: Value) -> Value:
        if op in ("==", "!="):
            return int((a == b) == (op == "=="))
        if isinstance(a, list) and isinstance(b, list) and op == "+":
            return a + b
        if isinstance(a, list) or isinstance(b, list):
            raise ToolError(f"{op} wants numbers")
        if op in ("/", "//", "%") and b == 0:
            raise ToolError("division by zero")
        if op == "/" and a % b:
            raise ToolError(f"{a} / {b} is not whole: use //")
        return int(_OPERATORS[op](a, b))


_OPERATORS: dict[str, Callable[[int, int], int]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.floordiv, "//": operator.floordiv,
    "%": operator.mod, "<": operator.lt, ">": operator.gt, "<=": operator.le, ">=": operator.ge,
}  # fmt: skip
