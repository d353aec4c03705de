"""tasks/systems: two or three linear equations at once, by elimination, substitution, determinants or trying."""

from __future__ import annotations

import random
import re
from fractions import Fraction
from math import gcd

from ponder.core.types import Band, Problem, Verdict
from ponder.tasks.columns import operation_lines, with_slip
from ponder.tasks.equations import signed, spread
from ponder.tasks.family import Trace, TraceWriter
from ponder.verify.numbers import clip, read_number
from ponder.verify.rational import RationalError

Row = tuple[tuple[int, ...], int]
"""Coefficients and the constant on the right."""
FRAMES = (
    "Solve {e}.", "Solve {e} for {u}.", "Find {u} if {e}.", "Solve the system {e}.", "What are {u} if {e}?",
    "{e}. Find {u}.",
)  # fmt: skip
UNKNOWNS = ("xy", "xy", "xy", "ab", "mn", "pq", "xyz", "abc")
_ROW = re.compile(
    r"(?<![\w+*/-])(-? ?\d{0,6}[a-z](?: ?[-+] ?\d{0,6}[a-z])+) ?= ?(-? ?\d{1,9})(?![\w/^*])(?!\.\d)"
)
_TERM = re.compile(r"([-+]?)(\d*)([a-z])")
_VALUE = re.compile(r"([a-z]) ?= ?(\S+(?: ?/ ?\d+)?)")


def term(number: int, letter: str) -> str:
    """`3x`, `x`, `-x`; empty for 0."""
    return {0: "", 1: letter, -1: f"-{letter}"}.get(number, f"{number}{letter}")


def row_text(row: Row, letters: str) -> str:
    """`2x-y=3`."""
    text = ""
    for number, letter in zip(row[0], letters, strict=True):
        text += ("+" if number > 0 and text else "") + term(number, letter)
    return f"{text}={row[1]}"


def solve_rows(rows: tuple[Row, ...]) -> tuple[Fraction, ...] | None:
    """The only solution, exact; None when there is none or more than one."""
    size = len(rows)
    table = [[Fraction(n) for n in (*row, right)] for row, right in rows]
    for at in range(size):
        pivot = next((i for i in range(at, size) if table[i][at]), None)
        if pivot is None:
            return None
        table[at], table[pivot] = table[pivot], table[at]
        table[at] = [n / table[at][at] for n in table[at]]
        for i in range(size):
            if i != at:
                table[i] = [n - table[i][at] * m for n, m in zip(table[i], table[at], strict=True)]
    return tuple(row[-1] for row in table)


def minus(a: int, b: int) -> list[str]:
    """Lines of a-b, written as a sum where b is negative."""
    return signed(a, "-", b) if b >= 0 else signed(a, "+", -b)


def times(a: int, b: int) -> list[str]:
    """Lines of a*b; columns for the sizes where they are needed, then the sign."""
    lines = operation_lines(abs(a), "*", abs(b))
    return lines if a >= 0 and b >= 0 else [*(lines if len(lines) > 1 else []), f"{a}*{b}={a * b}"]


def divide(number: int, by: int, letter: str) -> list[str]:
    """From `-5y=-10` to `y=2`."""
    lines = [f"{term(by, letter)}={number}"]
    if by < 0:
        by, number = -by, -number
        lines.append(f"{term(by, letter)}={number}")
    value = Fraction(number, by)
    return lines if by == 1 else [*lines, f"{number}/{by}={value}", f"{letter}={value}"]


class Systems:
    """Values of two or three unknowns."""

    name = "systems"

    def generate(self, rng: random.Random, band: Band = "S") -> Problem:
        """S: two unknowns, coefficients up to 3, values 0–9; R: up to 9, signs and fractions; O: three unknowns."""
        top = {"S": 3, "R": 9, "O": 4}[band]
        size = 3 if band == "O" else 2
        letters = rng.choice([names for names in UNKNOWNS if len(names) == size])
        while True:
            low, high = {"S": (0, 9), "R": (-9, 12), "O": (-5, 9)}[band]
            values = [rng.randint(low, high) for _ in letters]
            rows: list[Row] = []
            for _ in letters:
                numbers = [rng.randint(1, top) * (1 if rng.random() < 0.6 else -1) for _ in letters]
                numbers[0] = abs(numbers[0])
                right = sum(n * value for n, value in zip(numbers, values, strict=True))
                if band == "R" and rng.random() < 0.15:
                    right += rng.randint(1, 3)
                rows.append((tuple(numbers), right))
            answer = solve_rows(tuple(rows))
            if answer is None or max(value.denominator for value in answer) > 12:
                continue
            texts = [row_text(row, letters) for row in rows]
            last = rng.choice((" and ", ", ") if len(texts) == 2 else (" and ",))
            listed = ", ".join(texts[:-1]) + last + texts[-1]
            shown = spread(listed) if rng.random() < 0.7 else listed
            named = ", ".join(letters[:-1]) + " and " + letters[-1]
            question = rng.choice(FRAMES).format(e=shown, u=named)
            return self._problem(question, letters, tuple(rows), band)

    def _problem(self, question: str, letters: str, rows: tuple[Row, ...], band: Band) -> Problem:
        values = solve_rows(rows)
        assert values is not None, "callers pass rows with one solution"
        answer = ", ".join(
            f"{letter} = {value}" for letter, value in zip(letters, values, strict=True)
        )
        names = "xyz"[: len(letters)]
        canonical = " ".join(row_text(row, names) for row in rows)
        structure = " ".join(row_text((row, 0), names) for row, _ in rows)
        data = {"letters": letters, "rows": rows, "values": values}
        return Problem(self.name, band, question, answer, canonical, len(letters), data, structure)

    def verify(self, problem: Problem, answer: str) -> Verdict:
        """`x = 2, y = 3` in any order, each unknown once; checked by substitution in every equation."""
        letters, rows = problem.data["letters"], problem.data["rows"]
        values: dict[str, Fraction] = {}
        incomplete = f"wanted one value each of {', '.join(letters)}, got {clip(answer)}"
        for part in re.split(r"[,;\n] *| and ", answer.strip().removesuffix(".")):
            match = _VALUE.fullmatch(part.strip())
            if match is None or match[1] in values or match[1] not in letters:
                return Verdict("wrong", incomplete)
            try:
                values[match[1]] = read_number(match[2])
            except RationalError as error:
                return Verdict("wrong", str(error))
        if len(values) != len(letters):
            return Verdict("wrong", incomplete)
        for numbers, right in rows:
            left = sum(n * values[letter] for n, letter in zip(numbers, letters, strict=True))
            if left != right:
                row = row_text((numbers, right), letters)
                return Verdict("wrong", f"{row} fails: its left side is {left}")
        return Verdict("right", f"every equation holds for {clip(answer, 80)}")

    def recognise(self, question: str) -> Problem | None:
        """Two or three equations over as many letters."""
        found = _ROW.findall(question)
        if len(found) not in (2, 3) or question.count("=") != len(found):
            return None
        parsed: list[tuple[dict[str, int], int]] = []
        for left, right in found:
            numbers: dict[str, int] = {}
            for sign, number, letter in _TERM.findall(left.replace(" ", "")):
                numbers[letter] = numbers.get(letter, 0) + int(f"{sign}{number or 1}")
            parsed.append((numbers, int(right.replace(" ", ""))))
        letters = "".join(sorted({letter for numbers, _ in parsed for letter in numbers}))
        rows = tuple(
            (tuple(numbers.get(letter, 0) for letter in letters), right)
            for numbers, right in parsed
        )
        if len(letters) != len(rows) or solve_rows(rows) is None:
            return None
        return self._problem(question, letters, rows, "S")

    def _head(self, problem: Problem) -> tuple[str, tuple[Row, Row], list[str]]:
        letters, (one, two) = problem.data["letters"], problem.data["rows"]
        return letters, (one, two), [f"1: {row_text(one, letters)}", f"2: {row_text(two, letters)}"]

    def _back(self, row: Row, letters: str, known: int, value: int) -> list[str]:
        """The other unknown from one row once one is known."""
        (number, other), right = (row[0][known], row[0][1 - known]), row[1]
        product = number * value
        return [
            *times(number, value),
            *minus(right, product),
            *divide(right - product, other, letters[1 - known]),
        ]

    def _eliminated(self, problem: Problem) -> list[str]:
        """Both rows made to start alike, subtracted, divided; then back."""
        letters, (one, two), lines = self._head(problem)
        (a, b), c = one
        (d, e), f = two
        one_by, two_by = d // gcd(a, d), a // gcd(a, d)
        for number, (p, q), right, by in ((1, (a, b), c, one_by), (2, (d, e), f, two_by)):
            if by > 1:
                lines += [f"{number} times {by}", *times(p, by), *times(q, by), *times(right, by)]
                lines.append(row_text(((p * by, q * by), right * by), letters))
        b, c, e, f = b * one_by, c * one_by, e * two_by, f * two_by
        lines += ["minus", *minus(b, e), *minus(c, f), *divide(c - f, b - e, letters[1])]
        return lines + self._back(one, letters, 1, int(problem.data["values"][1]))

    def _substituted(self, problem: Problem) -> list[str]:
        """One unknown out of a row where it stands alone; elimination where none does."""
        letters, rows, lines = self._head(problem)
        place = next(((i, j) for i in (0, 1) for j in (0, 1) if rows[i][0][j] == 1), None)
        if place is None:
            return self._eliminated(problem)
        i, j = place
        (b, c), (p, q, r) = (
            (rows[i][0][1 - j], rows[i][1]),
            (rows[1 - i][0][j], rows[1 - i][0][1 - j], rows[1 - i][1]),
        )
        u, v = letters[j], letters[1 - j]
        lines.append(f"{u}={c}{'+' if b < 0 else ''}{term(-b, v)}")
        lines += [f"put in {2 - i}", *times(p, c), *times(p, b), *minus(q, p * b), *minus(r, p * c)]
        lines += divide(r - p * c, q - p * b, v)
        return lines + self._back(rows[i], letters, 1 - j, int(problem.data["values"][1 - j]))

    def _crossed(self, problem: Problem) -> list[str]:
        """Cramer's rule, one product at a time."""
        letters, (((a, b), c), ((d, e), f)), lines = self._head(problem)

        def cross(p: int, q: int, r: int, s: int) -> int:
            lines.extend([*times(p, q), *times(r, s), *minus(p * q, r * s)])
            return p * q - r * s

        below = cross(a, e, d, b)
        for letter, (p, q, r, s) in zip(letters, ((c, e, f, b), (a, f, d, c)), strict=True):
            above = cross(p, q, r, s)
            lines += [f"{above}/{below}={above // below}", f"{letter}={above // below}"]
        return lines

    def _tried(self, problem: Problem) -> list[str]:
        """Values of the first unknown in order, each with what the first row then says; dead ends are kept."""
        letters, (((a, b), c), two), lines = self._head(problem)
        solution = int(problem.data["values"][0])
        if solution > 5:
            return self._eliminated(problem)
        for x in range(solution + 1):
            rest = c - a * x
            lines += [f"try {letters[0]}={x}", *times(a, x), *minus(c, a * x)]
            if rest % b:
                lines.append(f"{rest}/{b} no [BACK]")
                continue
            y = rest // b
            p, q = two[0]
            left = f"{p}*{x}{q:+d}*{y}={p * x}{q * y:+d}={p * x + q * y}"
            lines += [f"{rest}/{b}={y}", f"{left} {'yes' if x == solution else 'no [BACK]'}"]
        return [*lines, f"{letters[0]}={solution}", f"{letters[1]}={problem.data['values'][1]}"]

    def _checks(self, problem: Problem) -> list[str]:
        x, y = (int(value) for value in problem.data["values"])
        return [
            f"check {a}*{x}{b:+d}*{y}={a * x}{b * y:+d}={c} yes"
            for (a, b), c in problem.data["rows"]
        ]

    def _trace(
        self, problem: Problem, lines: list[str], rng: random.Random, slips: float = 0.15
    ) -> Trace:
        if rng.random() < slips:
            lines = with_slip(lines, rng)
        if rng.random() < 0.5:
            lines = lines + self._checks(problem)
        return Trace("\n".join(lines), problem.answer)

    @property
    def writers(self) -> tuple[TraceWriter, ...]:
        styles = (
            ("eliminated", 0.45, self._eliminated),
            ("substituted", 0.25, self._substituted),
            ("crossed", 0.15, self._crossed),
            ("tried", 0.15, self._tried),
        )
        return tuple(
            TraceWriter(name, weight, lambda p, rng, solve=solve: self._trace(p, solve(p), rng))
            for name, weight, solve in styles
        )
