"""tasks/equations: linear equations in one unknown, solved by moving terms and dividing."""

from __future__ import annotations

import random
import re
from fractions import Fraction

from ponder.core.types import Band, Problem, Verdict
from ponder.tasks.columns import is_direct, operation_lines
from ponder.tasks.family import Trace, TraceWriter
from ponder.verify.equation import check_equation

FRAMES = (
    "Solve {e}.", "Solve for {u}: {e}", "Solve {e} for {u}.", "Find {u} if {e}.", "What is {u} if {e}?",
    "What is {u} in {e}?", "{e}, what is {u}?", "Solve the equation {e}.", "Find {u}: {e}", "If {e}, what is {u}?",
    "{e}", "Which {u} solves {e}?", "solve {e}", "Solve {e}", "solve for {u}: {e}", "what is {u} if {e}",
    "What is the value of {u} if {e}?", "Find the value of {u}: {e}",
)  # fmt: skip
UNKNOWNS = "xxxxxxxxyyzntabk"
_TERM = re.compile(r"([-+]?)(?:(\d{0,9})\*?([a-z])|(\d{1,9}))")


def side_text(coefficient: int, constant: int, unknown: str) -> str:
    """`5x+3`, `x-4`, `-2x`, `18`."""
    text = ""
    if coefficient:
        text = {1: unknown, -1: f"-{unknown}"}.get(coefficient, f"{coefficient}{unknown}")
    if constant or not text:
        text += f"{constant:+d}" if text else str(constant)
    return text


def spread(text: str) -> str:
    """Spaces around every sign between terms: `5x+3=18` → `5x + 3 = 18`."""
    return re.sub(r"(?<=[\w])([-+=])", r" \1 ", text).replace("=  ", "= ")


def signed(a: int, op: str, b: int) -> list[str]:
    """Lines for a±b where a may be negative: one table look-up when small, else columns."""
    value = a + b if op == "+" else a - b
    if a < 0 or value < 0 or is_direct(a, op, b):
        return [f"{a}{op}{b}={value}"]
    return operation_lines(a, op, b)


class Equations:
    """Values of an unknown."""

    name = "equations"

    def generate(self, rng: random.Random, band: Band = "S") -> Problem:
        """S: coefficients up to 12, integer solution; R: up to 60, some fractions; O: up to 200, half fractions."""
        top = {"S": 12, "R": 60, "O": 200}[band]
        while True:
            a, c = rng.randint(1, top), 0
            b = rng.randint(-top, top)
            two = rng.random() < 0.4
            if two:
                c = rng.randint(1, top)
            x = rng.randint(0, top) if rng.random() < 0.85 else -rng.randint(1, top)
            d = (a - c) * x + b
            if a == c or (not two and a == 1 and b == 0) or (band == "S" and abs(d) > 150):
                continue
            if two and band == "S" and abs(d) > 60:
                continue
            if band != "S" and rng.random() < (0.25 if band == "R" else 0.5):
                d += rng.randint(1, 9)
            unknown = rng.choice(UNKNOWNS)
            left, right = side_text(a, b, unknown), side_text(c, d, unknown)
            if rng.random() < (0.2 if two else 0.1):
                left, right, a, b, c, d = right, left, c, d, a, b
            text = f"{left}={right}"
            shown = spread(text) if rng.random() < 0.7 else text
            question = rng.choice(FRAMES).format(e=shown, u=unknown)
            return self._problem(question, unknown, (a, b), (c, d), band)

    def _problem(
        self, question: str, unknown: str, left: tuple[int, int], right: tuple[int, int], band: Band
    ) -> Problem:
        x = Fraction(right[1] - left[1], left[0] - right[0])
        text = f"{side_text(*left, 'x')}={side_text(*right, 'x')}"
        data = {"unknown": unknown, "left": left, "right": right}
        difficulty = 2 if left[0] and right[0] else 1
        structure = "" if band == "S" else f"{side_text(*left, 'x')}={side_text(right[0], 0, 'x')}"
        return Problem(
            self.name, band, question, f"{unknown} = {x}", text, difficulty, data, structure
        )

    def verify(self, problem: Problem, answer: str) -> Verdict:
        (a, b), (c, d) = problem.data["left"], problem.data["right"]
        left, right = (Fraction(a), Fraction(b)), (Fraction(c), Fraction(d))
        return check_equation(answer, problem.data["unknown"], left, right)

    def recognise(self, question: str) -> Problem | None:
        """Finds one `…=…` over one letter in the question."""
        if "^" in question:
            return None
        for text in re.findall(r"(?:(?<=\s)|^)(-? ?(?:\d+|\d*\*?[a-z])(?: ?[-+] ?(?:\d+\*?[a-z]?|[a-z]))* ?= ?"
                               r"-? ?(?:\d+\*?[a-z]?|[a-z])(?: ?[-+] ?(?:\d+\*?[a-z]?|[a-z]))*)(?![\w])",
                               question.replace("−", "-")):  # fmt: skip
            parsed = self._parse(text.replace(" ", ""))
            if parsed:
                unknown, left, right = parsed
                return self._problem(question, unknown, left, right, "S")
        return None

    def _parse(self, text: str) -> tuple[str, tuple[int, int], tuple[int, int]] | None:
        sides: list[tuple[int, int]] = []
        letters: set[str] = set()
        for side in text.split("="):
            coefficient = constant = at = 0
            while at < len(side):
                match = _TERM.match(side, at)
                if match is None or (at and not match[1]):
                    return None
                sign = -1 if match[1] == "-" else 1
                if match[3]:
                    letters.add(match[3])
                    coefficient += sign * int(match[2] or 1)
                else:
                    constant += sign * int(match[4])
                at = match.end()
            sides.append((coefficient, constant))
        if len(letters) != 1 or len(sides) != 2 or sides[0][0] == sides[1][0]:
            return None
        return letters.pop(), sides[0], sides[1]

    def _solve(self, problem: Problem, words: bool) -> tuple[list[str], int]:
        u = problem.data["unknown"]
        (a, b), (c, d) = problem.data["left"], problem.data["right"]
        lines = [f"{side_text(a, b, u)}={side_text(c, d, u)}"]
        if a < c:
            a, b, c, d = c, d, a, b
            lines.append(f"{side_text(a, b, u)}={side_text(c, d, u)}")
        if c:
            if words:
                lines.append(f"take away {side_text(c, 0, u)}")
            lines += [f"{a}-{c}={a - c}"]
            a -= c
            lines.append(f"{side_text(a, b, u)}={d}")
        if b:
            op, size = ("-", b) if b > 0 else ("+", -b)
            if words:
                lines.append(f"take away {b}" if b > 0 else f"add {-b}")
            lines += signed(d, op, size)
            d -= b
            lines.append(f"{side_text(a, 0, u)}={d}")
        if a > 1:
            if words:
                lines.append(f"divide by {a}")
            lines.append(f"{d}/{a}={d // a}" if d % a == 0 else f"{d}/{a}={Fraction(d, a)}")
            lines.append(f"{u}={Fraction(d, a)}")
        return lines, d // a

    def _check(self, problem: Problem, x: int) -> list[str]:
        (a, b), (c, d) = problem.data["left"], problem.data["right"]
        if (c and a) or x < 0:
            return []
        if not a:
            a, b, d = c, d, b
        plus = f"{b:+d}" if b else ""
        middle = f"={a * x}{plus}={a * x + b}" if b else f"={a * x}"
        return [f"check {a}*{x}{plus}{middle}"]

    def _plain(self, problem: Problem, rng: random.Random) -> Trace:
        lines, x = self._solve(problem, words=False)
        if rng.random() < 0.4:
            lines += self._check(problem, x)
        return Trace("\n".join(lines), problem.answer)

    def _worded(self, problem: Problem, rng: random.Random) -> Trace:
        lines, _ = self._solve(problem, words=True)
        return Trace("\n".join(lines), problem.answer)

    @property
    def writers(self) -> tuple[TraceWriter, ...]:
        return (TraceWriter("plain", 0.88, self._plain), TraceWriter("worded", 0.12, self._worded))
