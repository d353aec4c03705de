"""tasks/rationals: decimals and fractions: sums, products, lowest terms, conversions, comparisons."""

from __future__ import annotations

import random
import re
from fractions import Fraction
from math import gcd, lcm

from ponder.core.types import Band, Problem, Verdict
from ponder.tasks.arithmetic import FRAMES as VALUE_FRAMES
from ponder.tasks.arithmetic import pick, strip_frame
from ponder.tasks.columns import apply, operation_lines, with_slip
from ponder.tasks.family import Trace, TraceWriter
from ponder.verify.numbers import check_number, clip
from ponder.verify.rational import work_out

FRAMES: dict[str, tuple[str, ...]] = {
    "lowest": ("Simplify {}.", "Write {} in lowest terms.", "Reduce {} to lowest terms."),
    "decimal": ("Write {} as a decimal.", "What is {} as a decimal?"),
    "fraction": ("Write {} as a fraction in lowest terms.", "What is {} as a fraction in lowest terms?"),
    "larger": ("Which is larger, {} or {}?", "Which is more, {} or {}?"),
}  # fmt: skip
KINDS = (
    ("decimals", 42),
    ("fractions", 36),
    ("lowest", 7),
    ("decimal", 4),
    ("fraction", 4),
    ("larger", 7),
)
DIGITS = {"S": (2, 3), "R": (4, 5), "O": (6, 7)}
FACTORS = {"S": (2, 1), "R": (3, 2), "O": (4, 3)}
TOPS = {"S": 9, "R": 16, "O": 30}
TERMS = {"S": (2,), "R": (2, 3), "O": (3, 4)}
TENS = {"S": (2, 4, 5, 10), "R": (8, 20, 25, 50), "O": (16, 40, 80, 125)}
"""Denominators of fractions that end as decimals."""
PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47)
_NUMBER = r"\d{1,12}(?:\.\d{1,6}|/\d{1,6})?"
_PLAIN = re.compile(rf"({_NUMBER})((?:[-+*]{_NUMBER})*)", re.ASCII)
_DIVISION = re.compile(
    r"\((\d{1,6}/\d{1,6})\)/\((\d{1,6}/\d{1,6})\)|(\d{1,12}\.\d{1,6})/(\d{1,12})", re.ASCII
)


def scaled(number: int, places: int) -> str:
    """`scaled(1575, 2)` is `15.75`; no decimals are cut."""
    text = str(number).rjust(places + 1, "0")
    return f"{text[:-places]}.{text[-places:]}" if places else text


def trimmed(text: str) -> str:
    """A decimal without zeros at its end."""
    return text.rstrip("0").rstrip(".") if "." in text else text


def places_of(text: str) -> int:
    """Digits after the point."""
    return len(text.partition(".")[2])


def whole(text: str) -> int:
    """The number without its point."""
    return int(text.replace(".", ""))


def lowest_lines(n: int, d: int, tell: bool) -> list[str]:
    """Common primes divided out one at a time; with `tell`, primes that do not divide both are named too."""
    lines: list[str] = []
    for prime in PRIMES:
        if prime > min(n, d):
            break
        if n % prime or d % prime:
            if tell and gcd(n, d) > 1:
                lines.append(f"by {prime} no")
            continue
        while n % prime == 0 and d % prime == 0:
            lines.append(f"by {prime} {n}/{d}={n // prime}/{d // prime}")
            n, d = n // prime, d // prime
    return [*lines, f"{n}/1={n}"] if d == 1 else lines


def decimal_step(a: str, op: str, b: str, tenths: bool = False) -> tuple[list[str], str]:
    """Lines of one operation on decimals, as whole numbers with the point set afterwards, and the result.

    With `tenths` every decimal is written as a fraction of a power of ten instead.
    """
    lines: list[str] = []
    places = places_of(a) + places_of(b)
    if op in "+-":
        places = max(places_of(a), places_of(b))
        for text in (a, b):
            if places_of(text) < places and not tenths:
                longer = scaled(whole(text) * 10 ** (places - places_of(text)), places)
                lines.append(f"{text}={longer}")
        x, y = (whole(text) * 10 ** (places - places_of(text)) for text in (a, b))
    else:
        x, y = whole(a), whole(b)
    if tenths:
        sum_of = op in "+-"
        for text, number in ((a, x), (b, y)):
            if "." in text or sum_of:
                lines.append(f"{text}={number}/{10 ** (places if sum_of else places_of(text))}")
    lines += operation_lines(x, op, y)
    result = scaled(apply(x, op, y), places)
    if tenths:
        lines.append(f"{apply(x, op, y)}/{10**places}={result}")
    else:
        if op == "*" and places_of(a) and places_of(b):
            lines.append(f"{places_of(a)}+{places_of(b)}={places}")
        lines.append(f"{places} places {result}")
    if trimmed(result) != result:
        lines.append(f"{result}={trimmed(result)}")
    return lines, trimmed(result)


def fraction_step(a: Fraction, op: str, b: Fraction, cross: bool) -> tuple[list[str], Fraction]:
    """Lines of one operation on fractions: over the least common denominator, or (`cross`) over the product."""
    lines = [f"{n.numerator}={n.numerator}/1" for n in (a, b) if n.denominator == 1]
    if op == "/":
        lines.append(f"({a.numerator}/{a.denominator})/({b.numerator}/{b.denominator})="
                     f"({a.numerator}/{a.denominator})*({b.denominator}/{b.numerator})")  # fmt: skip
        op, b = "*", 1 / b
    (p, q), (r, s) = (a.numerator, a.denominator), (b.numerator, b.denominator)
    if op == "*":
        n, d = p * r, q * s
        lines += [*operation_lines(p, "*", r), *operation_lines(q, "*", s)]
    else:
        d = q * s if cross else lcm(q, s)
        if cross:
            lines += operation_lines(q, "*", s)
        elif q != s:
            big, small = max(q, s), min(q, s)
            tries = [f"{m} no" for m in range(big, d, big)]
            lines.append(" ".join([f"{big} by {small}:", *tries, f"{d} yes"]))
        for top, bottom in ((p, q), (r, s)):
            if bottom != d:
                if not cross:
                    lines.append(f"{d}/{bottom}={d // bottom}")
                wider = f"{top}/{bottom}={top * d // bottom}/{d}"
                lines += [*operation_lines(top, "*", d // bottom), wider]
        x, y = p * d // q, r * d // s
        n = x + y if op == "+" else x - y
        lines += operation_lines(x, op, y)
    lines.append(f"{n}/{d}")
    return [*lines, *lowest_lines(n, d, cross)], Fraction(n, d)


class Rationals:
    """Decimals and fractions."""

    name = "rationals"

    def generate(self, rng: random.Random, band: Band = "S") -> Problem:
        """S: two terms, three digits or denominators below 10; R: up to three terms, 16; O: up to four, 30."""
        kind = pick(rng, KINDS)
        if kind in ("decimals", "fractions"):
            text = self._decimals(rng, band) if kind == "decimals" else self._fractions(rng, band)
            spaced = re.sub(r"[-+*]|(?<=\))/|(?<=\.\d)/|(?<=\.\d\d)/", lambda m: f" {m[0]} ", text)
            return self._problem(rng.choice(VALUE_FRAMES).format(spaced), "value", (text,), band)
        top = TOPS[band]
        if kind == "lowest":
            d, factor = rng.randint(2, top), rng.randint(2, top)
            texts = (f"{rng.randint(1, d - 1) * factor}/{d * factor}",)
        elif kind == "decimal":
            d = rng.choice(TENS[band])
            texts = (f"{rng.choice([n for n in range(1, d) if gcd(n, d) == 1])}/{d}",)
        elif kind == "fraction":
            texts = (self._decimal(rng, rng.randint(1, {"S": 2, "R": 3, "O": 4}[band]), band),)
        else:
            texts = ("1/2", "1/2")
            while Fraction(texts[0]) == Fraction(texts[1]):
                if rng.random() < 0.5:
                    texts = tuple(str(self._fraction(rng, top)) for _ in range(2))
                else:
                    texts = tuple(self._decimal(rng, rng.randint(1, 3), band) for _ in range(2))
        question = rng.choice(FRAMES[kind]).format(*texts)
        return self._problem(question, kind, texts, band)

    def _decimal(self, rng: random.Random, places: int, band: Band) -> str:
        digits = rng.randint(*DIGITS[band])
        number = rng.randrange(10 ** (digits - 1), 10**digits)
        return scaled(number if number % 10 else number + rng.randint(1, 9), places)

    def _decimals(self, rng: random.Random, band: Band) -> str:
        kind = rng.random()
        one, other = FACTORS[band]
        if kind < 0.25:
            sizes = (one, other)
            a, b = (
                rng.randrange(10 ** (n - 1), 10**n) // 10 * 10 + rng.randint(1, 9) for n in sizes
            )
            return f"{scaled(a, rng.randint(1, one))}*{scaled(b, rng.randint(0, min(other, 2)))}"
        if kind < 0.35:
            b = rng.randint(2, 9)
            quotient = rng.randrange(10 ** (one - 1), 10**one)
            return f"{scaled(quotient * b, rng.randint(1, 2))}/{b}"
        texts = [self._decimal(rng, rng.randint(1, 2 if band == "S" else 3), band)
                 for _ in range(rng.choice(TERMS[band]))]  # fmt: skip
        texts.sort(key=Fraction, reverse=True)
        text, rest = texts[0], Fraction(texts[0])
        for term in texts[1:]:
            op = "-" if rest > Fraction(term) and rng.random() < 0.5 else "+"
            rest += Fraction(term) if op == "+" else -Fraction(term)
            text += op + term
        return text

    def _fraction(self, rng: random.Random, top: int) -> Fraction:
        d = rng.randint(2, top)
        n = rng.randint(1, d - 1)
        return Fraction(n, d)

    def _fractions(self, rng: random.Random, band: Band) -> str:
        top = TOPS[band]
        if rng.random() < 0.35:
            a, b = self._fraction(rng, top), self._fraction(rng, top)
            if rng.random() < 0.4:
                return f"({a})/({b})"
            return f"{a}*{b if rng.random() < 0.7 else rng.randint(2, top)}"
        texts = [str(value := self._fraction(rng, top))]
        for _ in range(rng.choice(TERMS[band]) - 1):
            other = self._fraction(rng, top) if rng.random() < 0.9 else Fraction(rng.randint(1, 5))
            text = str(other)
            if band != "S" and rng.random() < 0.15:
                text = scaled(rng.choice((1, 2, 3, 5, 7)), 1)
                other = Fraction(text)
            op = "-" if value > other and rng.random() < 0.7 else "+"
            value += other if op == "+" else -other
            texts += [op, text]
        return "".join(texts)

    def _problem(self, question: str, kind: str, texts: tuple[str, ...], band: Band) -> Problem:
        parts = self._parts(texts[0]) if kind == "value" else list(texts)
        value = Fraction(parts[0])
        if kind == "value":
            for op, text in zip(parts[1::2], parts[2::2], strict=True):
                value = work_out(value, op, Fraction(text))
        elif kind == "larger":
            value = max(Fraction(text) for text in texts)
        decimals = all("/" not in text for text in parts[::2])
        answer = str(value)
        if kind == "decimal" or (kind == "value" and decimals):
            answer = self._terminating(value) or answer
        elif kind == "larger":
            answer = next(text for text in texts if Fraction(text) == value)
        shape = re.sub(r"\d+/", "n/", texts[0]) if kind == "value" and not decimals else ""
        data = {"kind": kind, "parts": parts, "value": value, "decimals": decimals}
        canonical = f"{kind} {' '.join(texts)}"
        return Problem(self.name, band, question, answer, canonical, len(parts), data, shape)

    def _terminating(self, value: Fraction) -> str | None:
        places = next((p for p in range(12) if 10**p % value.denominator == 0), None)
        return None if places is None else scaled(int(value * 10**places), places)

    def _parts(self, text: str) -> list[str]:
        """`1/2+0.5` as ["1/2", "+", "0.5"], `(1/2)/(3/4)` as ["1/2", "/", "3/4"]."""
        match = _DIVISION.fullmatch(text)
        if match:
            return [match[1] or match[3], "/", match[2] or match[4]]
        return re.split(r"([-+*])", text)

    def verify(self, problem: Problem, answer: str) -> Verdict:
        """Equal values are right; lowest terms, decimals and comparisons also ask for their form."""
        kind, value = problem.data["kind"], problem.data["value"]
        text = answer.strip().removesuffix(".").replace(" / ", "/")
        verdict = check_number(text, value, problem.canonical.partition(" ")[2])
        if "/" in text and problem.data["decimals"] and "/" in problem.data["parts"][1::2]:
            return Verdict("wrong", f"{clip(text)} is not worked out")
        if verdict.status == "right" and kind in ("lowest", "fraction") and text != str(value):
            return Verdict("wrong", f"{clip(text)} is not in lowest terms: {value}")
        if verdict.status == "right" and kind == "decimal" and "/" in text:
            return Verdict("wrong", f"{clip(text)} is not a decimal")
        return verdict

    def recognise(self, question: str) -> Problem | None:
        """The frames of the kinds, or an expression of which one number is a decimal or a fraction in lowest terms."""
        for kind, pattern in PATTERNS:
            match = pattern.fullmatch(question.strip())
            if match:
                texts = tuple(match.groups())
                if any(Fraction(text.replace("/0", "/1")) == 0 for text in texts):
                    return None
                form = {"lowest": "/", "decimal": "/", "fraction": "."}.get(kind, "")
                fine = all(form in text and not re.search(r"/0+$", text) for text in texts)
                return self._problem(question, kind, texts, "S") if fine else None
        text = strip_frame(question).replace(" ", "")
        if not (_PLAIN.fullmatch(text) or _DIVISION.fullmatch(text)):
            return None
        parts = self._parts(text)
        broken = [part for part in parts[::2] if not _readable(part)]
        if not 3 <= len(parts) <= 13 or broken or all(part.isdigit() for part in parts[::2]):
            return None
        if "*" in parts and (len(parts) > 3 or parts[0].isdigit()):
            return None
        if parts[1] == "/" and not Fraction(parts[2]):
            return None
        return self._problem(question, "value", (text,), "S")

    def _solve(self, problem: Problem, cross: bool) -> list[str]:
        kind, parts = problem.data["kind"], problem.data["parts"]
        if kind == "value":
            return self._value_lines(parts, problem.data["decimals"], cross)
        if kind == "larger":
            return self._larger_lines(parts, cross)
        if kind == "fraction":
            d = 10 ** places_of(parts[0])
            return [f"{parts[0]}={whole(parts[0])}/{d}", *lowest_lines(whole(parts[0]), d, cross)]
        n, d = (int(part) for part in parts[0].split("/"))
        if kind == "lowest":
            return [f"{n}/{d}", *lowest_lines(n, d, cross)]
        places = next(p for p in range(12) if 10**p % d == 0)
        factor = 10**places // d
        lines = [f"{d}*{factor}={10**places}", *operation_lines(n, "*", factor)]
        return [*lines, f"{n}/{d}={n * factor}/{10**places}", f"{places} places {problem.answer}"]

    def _value_lines(self, parts: list[str], decimals: bool, cross: bool) -> list[str]:
        lines = ["".join(parts)] if len(parts) > 3 else []
        if decimals:
            text = parts[0]
            for op, other in zip(parts[1::2], parts[2::2], strict=True):
                step, text = decimal_step(text, op, other, cross)
                lines += step
            return lines
        for text in parts[::2]:
            if "." in text:
                lines += [f"{text}={whole(text)}/{10 ** places_of(text)}",
                          *lowest_lines(whole(text), 10 ** places_of(text), cross)]  # fmt: skip
        value = Fraction(parts[0])
        for op, other in zip(parts[1::2], parts[2::2], strict=True):
            step, value = fraction_step(value, op, Fraction(other), cross)
            lines += step
        return lines

    def _larger_lines(self, parts: list[str], cross: bool) -> list[str]:
        if "/" not in "".join(parts):
            places = max(places_of(part) for part in parts)
            padded = [scaled(whole(p) * 10 ** (places - places_of(p)), places) for p in parts]
            lines = [f"{a}={b}" for a, b in zip(parts, padded, strict=True) if a != b]
            x, y = (whole(text) for text in padded)
        else:
            (p, q), (r, s) = (Fraction(part).as_integer_ratio() for part in parts)
            x, y = p * s, r * q
            lines = [*operation_lines(p, "*", s), *operation_lines(r, "*", q)]
            if not cross:
                lines += [
                    *operation_lines(q, "*", s),
                    f"{p}/{q}={x}/{q * s}",
                    f"{r}/{s}={y}/{q * s}",
                ]
        return [*lines, f"{x}>{y}" if x > y else f"{x}<{y}"]

    def _common(self, problem: Problem, rng: random.Random) -> Trace:
        return Trace("\n".join(self._solve(problem, cross=False)), problem.answer)

    def _cross(self, problem: Problem, rng: random.Random) -> Trace:
        return Trace("\n".join(self._solve(problem, cross=True)), problem.answer)

    def _checked(self, problem: Problem, rng: random.Random) -> Trace:
        """The common style with a slip taken back, and for two terms the inverse operation as a check."""
        lines = with_slip(self._solve(problem, cross=False), rng)
        parts = problem.data["parts"]
        two_decimals = problem.data["kind"] == "value" and problem.data["decimals"]
        if two_decimals and len(parts) == 3 and parts[1] in "+-":
            a, op, b = parts
            inverse = "-" if op == "+" else "+"
            step, _ = decimal_step(problem.answer, inverse, b)
            lines += [f"check {problem.answer}{inverse}{b}", *step, f"{a} yes"]
        return Trace("\n".join(lines), problem.answer)

    @property
    def writers(self) -> tuple[TraceWriter, ...]:
        return (
            TraceWriter("common", 0.5, self._common),
            TraceWriter("cross", 0.25, self._cross),
            TraceWriter("checked", 0.25, self._checked),
        )


def _readable(text: str) -> bool:
    """A decimal, a whole number, or a fraction in lowest terms."""
    n, slash, d = text.partition("/")
    return not slash or (int(d) > 1 and gcd(int(n), int(d)) == 1)


PATTERNS = tuple(
    (kind, re.compile(re.escape(frame).replace(r"\{\}", rf"({_NUMBER})"), re.ASCII))
    for kind, frames in FRAMES.items() for frame in frames
)  # fmt: skip
