"""tasks/compositions: named functions on lists of numbers, lists of letters and numbers, alone and inside each other.

S shows one function at a time; R asks for one inside another, O for three or four. Pairs are held out as pairs.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from ponder.core.types import Band, Problem, Verdict
from ponder.tasks.columns import operation_lines
from ponder.tasks.family import Trace, TraceWriter
from ponder.verify.numbers import check_number
from ponder.verify.sequence import check_sequence

Value = int | tuple[int, ...] | tuple[str, ...]
NUMBER, NUMBERS, LETTERS, LIST = "number", "numbers", "letters", "list"
DEPTHS = {"S": (1, 1), "R": (2, 2), "O": (3, 4)}


def words_of(value: Value) -> str:
    """`3 1 4`, `k a r`, `12`."""
    return str(value) if isinstance(value, int) else " ".join(map(str, value))


def source_of(value: Value) -> str:
    """`[3, 1, 4]`, `[k, a, r]`, `12`."""
    return str(value) if isinstance(value, int) else f"[{', '.join(map(str, value))}]"


def _no_steps(value: Any) -> list[str]:
    return []


@dataclass(frozen=True, slots=True)
class Function:
    """A function by name: what it takes (LIST: either kind), its definition, its meaning, and its steps in words."""

    takes: str
    definition: str
    work: Callable[[Any], Value]
    steps: Callable[[Any], list[str]] = _no_steps

    def accepts(self, value: Value) -> bool:
        """True for a value of the kind it takes."""
        if isinstance(value, int):
            return self.takes == NUMBER
        return self.takes == LIST or (self.takes == NUMBERS and isinstance(next(iter(value)), int))


def _reverse_steps(items: tuple[str, ...]) -> list[str]:
    return [f"{items[at]}: {words_of(items[at::-1])}" for at in range(len(items))]


def _sort_steps(items: tuple[int, ...]) -> list[str]:
    lines, left, order = list[str](), list(items), sorted(items)
    for at, least in enumerate(order):
        lines.append(f"{words_of(tuple(left))}: {words_of(tuple(order[: at + 1]))}")
        left.remove(least)
    return lines


def _unique_steps(items: tuple[int, ...]) -> list[str]:
    return [f"{item} {'seen' if item in items[:at] else 'new'}" for at, item in enumerate(items)]


def _sum_steps(items: tuple[int, ...]) -> list[str]:
    lines, total = list[str](), items[0]
    for item in items[1:]:
        lines += operation_lines(total, "+", item)
        total += item
    return lines


def _best_steps(best: Callable[[tuple[int, ...]], int]) -> Callable[[tuple[int, ...]], list[str]]:
    def steps(items: tuple[int, ...]) -> list[str]:
        return [f"{item}: {best(items[: at + 1])}" for at, item in enumerate(items)]

    return steps


def _kept_steps(rest: int) -> Callable[[tuple[int, ...]], list[str]]:
    def steps(items: tuple[int, ...]) -> list[str]:
        return [f"{item} {'yes' if item % 2 == rest else 'no'}" for item in items]

    return steps


def _each(op: str, by: int) -> Callable[[tuple[int, ...]], list[str]]:
    def steps(items: tuple[int, ...]) -> list[str]:
        return [line for item in items for line in operation_lines(item, op, by)]

    return steps


FUNCTIONS: dict[str, Function] = {
    "reverse": Function(LIST, "puts a list in the opposite order", lambda x: x[::-1], _reverse_steps),
    "sort": Function(LIST, "puts a list in order", lambda x: tuple(sorted(x)), _sort_steps),
    "rotate": Function(LIST, "moves the first item to the end", lambda x: (*x[1:], x[0])),
    "tail": Function(LIST, "leaves out the first item", lambda x: x[1:]),
    "front": Function(LIST, "leaves out the last item", lambda x: x[:-1]),
    "swap": Function(LIST, "changes the first and the last item", lambda x: (x[-1], *x[1:-1], *x[:1]) if x[1:] else x),
    "twin": Function(LIST, "writes each item twice", lambda x: tuple(i for i in x for _ in range(2))),
    "unique": Function(LIST, "leaves out items seen before", lambda x: tuple(dict.fromkeys(x)), _unique_steps),
    "evens": Function(NUMBERS, "keeps the even numbers", lambda x: tuple(i for i in x if i % 2 == 0), _kept_steps(0)),
    "odds": Function(NUMBERS, "keeps the odd numbers", lambda x: tuple(i for i in x if i % 2), _kept_steps(1)),
    "double": Function(NUMBERS, "takes each number times 2", lambda x: tuple(i * 2 for i in x), _each("*", 2)),
    "next": Function(NUMBERS, "adds 1 to each number", lambda x: tuple(i + 1 for i in x), _each("+", 1)),
    "sum": Function(NUMBERS, "adds the numbers of a list", sum, _sum_steps),
    "largest": Function(NUMBERS, "finds the largest number", max, _best_steps(max)),
    "smallest": Function(NUMBERS, "finds the smallest number", min, _best_steps(min)),
    "length": Function(LIST, "counts the items", len, lambda x: [f"{i} {n}" for n, i in enumerate(x, 1)]),
    "triple": Function(NUMBER, "takes a number times 3", lambda x: x * 3, lambda x: operation_lines(x, "*", 3)),
    "square": Function(NUMBER, "takes a number times itself", lambda x: x * x, lambda x: operation_lines(x, "*", x)),
    "seven": Function(NUMBER, "adds 7 to a number", lambda x: x + 7, lambda x: operation_lines(x, "+", 7)),
    "digits": Function(NUMBER, "lists the digits of a number", lambda x: tuple(int(digit) for digit in str(x))),
}  # fmt: skip
OPPOSITES = {"yes": "no", "no": "yes", "new": "seen", "seen": "new"}
LETTER_POOL = "abcdefghijklmnopqrstuvwxyz"
_VALUE = r"\[[\w, ]*\]|\d{1,9}"
_CALL = re.compile(rf"((?:[a-z]{{1,9}}\(){{1,8}})({_VALUE}|[a-z])\)+")
_LET = re.compile(rf"Let ([a-z]) = (?:((?:[a-z]{{1,9}}\(){{1,8}})([a-z])\)+|({_VALUE}))\.")
_APPLY = re.compile(rf"Apply ([a-z]+(?:, then [a-z]+)*),? to ({_VALUE})")


def run(chain: tuple[str, ...], value: Value) -> list[Value] | None:
    """The value and what each function, in order of use, makes of it; None where one does not take it."""
    values = [value]
    for name in chain:
        function = FUNCTIONS[name]
        if not function.accepts(values[-1]):
            return None
        made = function.work(values[-1])
        if made > 9999 if isinstance(made, int) else not 1 <= len(made) <= 14:
            return None
        values.append(made)
    return values


def read_value(text: str) -> Value | None:
    """A number or a list as the questions write them."""
    if text.isdigit():
        return int(text)
    items = [item.strip() for item in text.strip("[]").split(",")]
    if len(items) > 14 or text[0] != "[":
        return None
    if all(re.fullmatch("[0-9]{1,6}", item) for item in items):
        return tuple(int(item) for item in items)
    return tuple(items) if all(re.fullmatch("[a-z]", item) for item in items) else None


class Compositions:
    """Functions of functions."""

    name = "compositions"

    def generate(self, rng: random.Random, band: Band = "S") -> Problem:
        """The functions that were drawn, on a value that all of them take."""
        while True:
            chain = tuple(rng.choice(list(FUNCTIONS)) for _ in range(rng.randint(*DEPTHS[band])))
            for _ in range(4):
                value = self._value(rng, FUNCTIONS[chain[0]].takes)
                if run(chain, value) is not None:
                    return self._problem(self._question(rng, chain, value), chain, value, band)

    def _value(self, rng: random.Random, takes: str) -> Value:
        if takes == NUMBER:
            return rng.randint(2, 60 if rng.random() < 0.7 else 999)
        length = rng.randint(3, 6)
        if takes == LIST and rng.random() < 0.4:
            return tuple(rng.choice(LETTER_POOL) for _ in range(length))
        return tuple(rng.randint(1, rng.choice((9, 20, 50))) for _ in range(length))

    def _question(self, rng: random.Random, chain: tuple[str, ...], value: Value) -> str:
        known = [self._told(rng, name) for name in dict.fromkeys(chain) if rng.random() < 0.6]
        calls, ends = "".join(f"{name}(" for name in reversed(chain)), ")" * len(chain)
        nested, shown, last = f"{calls}{source_of(value)}{ends}", source_of(value), chain[-1]
        lets = [f"Let x = {shown}."]
        for name, old, new in zip(chain[:-1], "xyz", "yzw", strict=False):
            lets.append(f"Let {new} = {name}({old}).")
        known.append(rng.choice((
            f"What is {nested}?", nested, f"Work out {nested}.",
            f"Apply {', then '.join(chain)}{', to' if len(chain) > 1 else ' to'} {shown}.",
            f"Let x = {shown}. What is {calls}x{ends}?",
            f"{' '.join(lets)} What is {last}({'xyzw'[len(chain) - 1]})?",
        )))  # fmt: skip
        return " ".join(known)

    def _told(self, rng: random.Random, name: str) -> str:
        """What the function does, in words or by an example."""
        function = FUNCTIONS[name]
        if rng.random() < 0.6:
            return f"{name} {function.definition}."
        while True:
            value = self._value(rng, function.takes)
            found = run((name,), value[:3] if isinstance(value, tuple) else value)
            if found:
                return f"{name}({source_of(found[0])}) = {source_of(found[1])}."

    def _problem(self, question: str, chain: tuple[str, ...], value: Value, band: Band) -> Problem:
        values = run(chain, value)
        assert values is not None, "callers pass a value that the functions take"
        data = {"chain": chain, "values": tuple(values)}
        structure = " ".join(chain)
        return Problem(
            self.name, band, question, words_of(values[-1]), f"{structure} {source_of(value)}", len(chain), data,
            structure if len(chain) > 1 else "",
        )  # fmt: skip

    def verify(self, problem: Problem, answer: str) -> Verdict:
        result = problem.data["values"][-1]
        if isinstance(result, int):
            return check_number(answer, Fraction(result))
        return check_sequence(answer, [str(item) for item in result])

    def recognise(self, question: str) -> Problem | None:
        """Reads calls inside each other, `Let`, and `Apply … to`."""
        lets: dict[str, tuple[tuple[str, ...], str]] = {}
        for new, calls, old, shown in _LET.findall(question):
            inner, start = lets.get(old, ((), shown))
            lets[new] = ((*inner, *reversed(calls.split("(")[:-1])), start)
        applied, called = _APPLY.search(question), list(_CALL.finditer(question))
        if applied:
            chain, start = tuple(applied[1].split(", then ")), applied[2]
        elif called and called[-1][0].count("(") == called[-1][0].count(")"):
            inner, start = lets.get(called[-1][2], ((), called[-1][2]))
            chain = (*inner, *reversed(called[-1][1].split("(")[:-1]))
        else:
            return None
        value = read_value(start)
        if value is None or len(chain) > 8 or not all(name in FUNCTIONS for name in chain):
            return None
        return self._problem(question, chain, value, "S") if run(chain, value) else None

    def _lines(self, problem: Problem) -> list[str]:
        name: str = problem.data["chain"][0]
        value, result = problem.data["values"]
        steps = FUNCTIONS[name].steps(value)
        return [f"{name} {words_of(value)}", *steps, f"{name} gives {words_of(result)}"]

    def _plain(self, problem: Problem, rng: random.Random) -> Trace:
        """Every item in turn, then the result."""
        return Trace("; ".join(self._lines(problem)), problem.answer)

    def _slipping(self, problem: Problem, rng: random.Random) -> Trace:
        """The same with one line that is first wrong in its last sign, then taken back."""
        lines = self._lines(problem)
        at = rng.randrange(1, len(lines))
        head, _, last = lines[at].rpartition(" ")
        wrong = OPPOSITES.get(last)
        if wrong is None:
            pool = "0123456789" if last[-1].isdigit() else LETTER_POOL
            wrong = last[:-1] + rng.choice([sign for sign in pool if sign != last[-1]])
        lines[at] = f"{head} {wrong} [BACK] {lines[at]}".lstrip()
        return Trace("; ".join(lines), problem.answer)

    def _short(self, problem: Problem, rng: random.Random) -> Trace:
        """The result alone."""
        lines = self._lines(problem)
        return Trace(f"{lines[0]}; {lines[-1]}", problem.answer)

    @property
    def writers(self) -> tuple[TraceWriter, ...]:
        return (
            TraceWriter("plain", 0.76, self._plain),
            TraceWriter("slipping", 0.12, self._slipping),
            TraceWriter("short", 0.12, self._short),
        )
