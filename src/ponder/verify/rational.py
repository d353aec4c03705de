"""verify/rational: exact values of + - * / expressions over decimal numbers, with limits; never eval.

Limits keep every input cheap: 400 characters, so that no value passes 1,400 bits, 24 levels of parentheses, 60 digits
a number.
Only ASCII digits count as digits, and there are no powers, no exponents and no names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

MAX_LENGTH = 400
MAX_DEPTH = 24
MAX_DIGITS = 60
_TOKEN = re.compile(r"[ \t]*(?:([0-9]+(?:\.[0-9]+)?)|([-+*/()]))", re.ASCII)


class RationalError(ValueError):
    """The text is no expression, is over a limit, or divides by zero; the message says which."""


@dataclass(frozen=True, slots=True)
class Node:
    """A number (no operator), a negation (`-` and only `right`), or a pair."""

    op: str
    value: Fraction
    left: Node | None = None
    right: Node | None = None


def leaves(node: Node) -> list[Fraction]:
    """The numbers of a tree, left to right."""
    if not node.op:
        return [node.value]
    found = leaves(node.left) if node.left else []
    return found + (leaves(node.right) if node.right else [])


def has_sign(node: Node) -> bool:
    """True when a unary minus or plus stands anywhere in the tree."""
    if not node.op or node.left is None:
        return bool(node.op)
    return has_sign(node.left) or (node.right is not None and has_sign(node.right))


def parse(text: str) -> Node:
    """The tree of an expression, values already worked out. Raises RationalError."""
    if len(text) > MAX_LENGTH:
        raise RationalError(f"longer than {MAX_LENGTH} characters")
    tokens = _tokens(text.rstrip())
    if not tokens:
        raise RationalError("empty")
    node, rest = _chain(tokens, 0, 0)
    if rest != len(tokens):
        raise RationalError(f"unexpected {tokens[rest]!r}")
    return node


def evaluate(text: str) -> Fraction:
    """The exact value of an expression. Raises RationalError."""
    return parse(text).value


def _tokens(text: str) -> list[str]:
    tokens: list[str] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise RationalError(f"unexpected {text[at : at + 12].strip()!r}")
        token = match[1] or match[2]
        if len(token) > MAX_DIGITS:
            raise RationalError(f"a number longer than {MAX_DIGITS} digits")
        tokens.append(token)
        at = match.end()
    return tokens


def _chain(tokens: list[str], at: int, depth: int, signs: str = "+-") -> tuple[Node, int]:
    """A sum of products, or with the signs `*/` a product."""

    def part(at: int) -> tuple[Node, int]:
        return _chain(tokens, at, depth, "*/") if signs == "+-" else _unit(tokens, at, depth)

    node, at = part(at)
    while at < len(tokens) and tokens[at] in signs:
        op, (right, at) = tokens[at], part(at + 1)
        node = Node(op, work_out(node.value, op, right.value), node, right)
    return node, at


def _unit(tokens: list[str], at: int, depth: int) -> tuple[Node, int]:
    if depth > MAX_DEPTH:
        raise RationalError(f"nested deeper than {MAX_DEPTH}")
    if at >= len(tokens):
        raise RationalError("ends too early")
    token = tokens[at]
    if token == "(":
        node, at = _chain(tokens, at + 1, depth + 1)
        if at >= len(tokens) or tokens[at] != ")":
            raise RationalError("a parenthesis is not closed")
        return node, at + 1
    if token in "+-":
        node, at = _unit(tokens, at + 1, depth + 1)
        return Node(token, -node.value if token == "-" else node.value, None, node), at
    if token in "*/)":
        raise RationalError(f"unexpected {token!r}")
    return Node("", Fraction(token)), at + 1


def work_out(a: Fraction, op: str, b: Fraction) -> Fraction:
    """`a op b`. Raises RationalError for a division by zero."""
    if op == "/" and not b:
        raise RationalError("division by zero")
    return a + b if op == "+" else a - b if op == "-" else a * b if op == "*" else a / b
