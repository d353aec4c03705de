"""tasks/arithmetic: chains of + - * / with precedence and parentheses, worked in columns."""

from __future__ import annotations

import random
import re
from fractions import Fraction
from typing import TypeAlias, TypeVar

from ponder.core.types import Band, Problem, Verdict
from ponder.tasks.columns import apply, operation_lines, with_slip
from ponder.tasks.family import Trace, TraceWriter
from ponder.verify.numbers import check_number, clip
from ponder.verify.rational import RationalError, evaluate

Item: TypeAlias = "int | str | list[Item]"
"""A number, an operator, or a parenthesis."""
FRAMES = (
    "What is {}?", "What is {}?", "What is {}?", "Compute {}.", "Calculate {}.", "{}", "{} = ?", "How much is {}?",
    "What is the result of {}?", "Evaluate {}.", "Work out {}.", "What does {} equal?", "what is {}", "{} =",
    "Please compute {}.", "Can you work out {}?", "Find the value of {}.", "Solve {}.", "What's {}?", "what is {}?",
    "calculate {}", "compute {}", "Tell me what {} is.", "How much is {}", "{}?", "Calculate {}", "What is {}",
)  # fmt: skip
_FRAMES = [
    (before.lower(), after.strip().lower())
    for before, after in (frame.split("{}") for frame in sorted(FRAMES, key=len, reverse=True))
]
WORDS = {"+": "plus", "-": "minus", "*": "times", "/": "divided by"}
SIZES = {
    "S": ((1, 20), (2, 36), (3, 24), (4, 10), (5, 6), (6, 4)),
    "R": ((7, 50), (8, 30), (9, 20)),
    "O": ((10, 40), (11, 35), (12, 25)),
}
PRODUCTS = {
    "S": (((1, 1), 20), ((2, 1), 32), ((3, 1), 14), ((2, 2), 24), ((3, 2), 10)),
    "R": (((4, 2), 30), ((3, 3), 70)),
    "O": (((4, 3), 100),),
}
TERMS = {"S": (3, 4), "R": (5, 6), "O": (7, 8)}


T = TypeVar("T")


def pick(rng: random.Random, weighted: tuple[tuple[T, int], ...]) -> T:
    """One value of a table of (value, weight)."""
    point = rng.random() * sum(weight for _, weight in weighted)
    for value, weight in weighted:
        point -= weight
        if point < 0:
            return value
    return weighted[-1][0]


def number(rng: random.Random, digits: int) -> int:
    """A number of exactly this many digits."""
    return rng.randrange(10 ** (digits - 1) if digits > 1 else 0, 10**digits)


def show(items: list[Item], spaced: bool = False, marks: dict[str, str] | None = None) -> str:
    """The expression as text, e.g. `(3+4)*5`."""
    parts: list[str] = []
    for item in items:
        if isinstance(item, list):
            parts.append(f"({show(item, spaced, marks)})")
        else:
            parts.append((marks or {}).get(str(item), str(item)))
    return (" " if spaced else "").join(parts)


def next_step(items: list[Item]) -> tuple[list[Item], int]:
    """The innermost leftmost operation to do: the list it stands in, and the operator's index there."""
    for item in items:
        if isinstance(item, list):
            return next_step(item)
    for index in range(1, len(items), 2):
        if items[index] in ("*", "/"):
            return items, index
    return items, 1


def unwrap(items: list[Item]) -> list[Item]:
    """Replaces every parenthesis that holds one number by the number."""
    return [
        (item[0] if len(item) == 1 else unwrap(item)) if isinstance(item, list) else item
        for item in items
    ]


def work(items: list[Item]) -> tuple[list[str], int | None]:
    """Lines of the whole solution and its value; None when a step leaves the non-negative integers."""
    lines: list[str] = []
    simple = len(items) == 3 and not any(isinstance(item, list) for item in items)
    if not simple:
        lines.append(show(items))
    while len(items) > 1:
        inner, at = next_step(items)
        a, op, b = int(str(inner[at - 1])), str(inner[at]), int(str(inner[at + 1]))
        if op == "/" and (b == 0 or a % b):
            return lines, None
        if not simple and op == "-" and a < b:
            return lines, None
        lines += operation_lines(a, op, b)
        inner[at - 1 : at + 2] = [apply(a, op, b)]
        items = unwrap(items)
        if len(items) > 3 or any(isinstance(item, list) for item in items):
            lines.append(show(items))
    return lines, int(str(items[0]))


def parse_items(text: str) -> list[Item]:
    """The nested list of an expression's text (already known to be well formed)."""
    stack: list[list[Item]] = [[]]
    for token in re.findall(r"\d+|[-+*/()]", text):
        if token == "(":
            stack.append([])
        elif token == ")":
            inner = stack.pop()
            stack[-1].append(inner)
        else:
            stack[-1].append(int(token) if token.isdigit() else token)
    return stack[0]


def strip_frame(question: str) -> str:
    """What a question asks the value of, without the frame around it."""
    text = question.strip()
    low = text.lower()
    for before, after in _FRAMES:
        if before and low.startswith(before) and low.endswith(after):
            text = text[len(before) : len(text) - len(after)]
            break
    return text.strip().rstrip("?=. ")


def draw_pair(rng: random.Random, band: Band) -> list[Item]:
    op = rng.choices("+-*/", (30, 25, 33, 12))[0]
    if op == "*":
        digits = pick(rng, PRODUCTS[band])
        a, b = number(rng, digits[0]), number(rng, digits[1])
        return [b, op, a] if rng.random() < 0.25 else [a, op, b]
    if op == "/":
        quotient = number(rng, {"S": rng.choice((1, 1, 2, 2, 3)), "R": 4, "O": 5}[band])
        b = rng.randint(2, 9 if quotient > 12 else 12)
        return [quotient * b, op, b]
    size = pick(rng, SIZES[band])
    a, b = number(rng, size), number(rng, rng.randint(max(1, size - 2), size))
    if op == "-" and a < b and rng.random() < 0.8:
        a, b = b, a
    if op == "+" and rng.random() < 0.5:
        a, b = b, a
    return [a, op, b]


def draw_chain(rng: random.Random, band: Band) -> list[Item]:
    terms = rng.choice(TERMS[band])
    items: list[Item] = []
    for index in range(terms):
        if index:
            items.append(rng.choices("+-*/", (32, 28, 30, 10))[0])
        items.append(rng.randint(1, 12) if rng.random() < 0.75 else rng.randint(1, 99))
    if rng.random() < 0.45:
        start = 2 * rng.randrange(terms - 1)
        items[start : start + 3] = [items[start : start + 3]]
    return items


class Arithmetic:
    """Numbers out of + - * / chains."""

    name = "arithmetic"

    def generate(self, rng: random.Random, band: Band = "S") -> Problem:
        """A pair in 72 % of the draws, else a chain whose steps stay among the non-negative integers."""
        limit = {"S": 999, "R": 99_999, "O": 9_999_999}[band]
        while True:
            chain = rng.random() < 0.28
            items = draw_chain(rng, band) if chain else draw_pair(rng, band)
            canonical = show(items)
            lines, value = work(parse_items(canonical))
            if value is None or (chain and value > limit):
                continue
            if chain and len(lines) > 16 and band == "S":
                continue
            return self._problem(canonical, value, band, self._question(rng, items, chain))

    def _question(self, rng: random.Random, items: list[Item], chain: bool) -> str:
        marks = {"*": rng.choice(("*", "*", "*", "x", "×")), "/": rng.choice(("/", "/", "÷"))}
        spaced = rng.random() < 0.65 or marks["*"] == "x"
        if not chain and rng.random() < 0.2:
            marks, spaced = WORDS, True
        text = rng.choice(FRAMES).format(show(items, spaced, marks))
        return text.replace(" =", "=") if not spaced and rng.random() < 0.5 else text

    def _problem(self, canonical: str, value: int | Fraction, band: Band, question: str) -> Problem:
        return Problem(self.name, band, question, str(value), canonical, len(canonical))

    def verify(self, problem: Problem, answer: str) -> Verdict:
        """By value; a fraction only in lowest terms, for the division that is asked for is no answer to itself."""
        value = evaluate(problem.canonical)
        text = answer.strip().removesuffix(".").replace(" ", "")
        if "/" in text and text != str(value):
            return Verdict("wrong", f"{clip(answer)} is not worked out")
        return check_number(answer, value, problem.canonical)

    def recognise(self, question: str) -> Problem | None:
        """Strips the known frames and reads what is left as an expression."""
        text = strip_frame(question)
        for mark, word in WORDS.items():
            text = re.sub(rf"\b{word}\b", mark, text, flags=re.IGNORECASE)
        text = re.sub(r"(?<=[\d)\s])[x×](?=[\s\d(])", "*", text).replace("÷", "/").replace("−", "-")
        text = re.sub(r"\s+", "", re.sub(r"(?<=\d),(?=\d{3})", "", text))
        if not re.fullmatch(r"[-+*/()\d.]+", text) or not re.search(r"\d\)*[-+*/]\(*\d", text):
            return None
        try:
            value = evaluate(text)
        except RationalError:
            return None
        return Problem(self.name, "S", question, str(value), text, len(text))

    def _columns(self, problem: Problem, rng: random.Random) -> Trace:
        lines, _ = work(parse_items(problem.canonical))
        return Trace("\n".join(lines), problem.answer)

    def _repaired(self, problem: Problem, rng: random.Random) -> Trace:
        """One equation is first written wrong, then taken back with [BACK] and written right."""
        lines, _ = work(parse_items(problem.canonical))
        return Trace("\n".join(with_slip(lines, rng)), problem.answer)

    @property
    def writers(self) -> tuple[TraceWriter, ...]:
        return (
            TraceWriter("columns", 0.95, self._columns),
            TraceWriter("repaired", 0.05, self._repaired),
        )
