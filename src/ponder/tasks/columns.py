"""tasks/columns: written arithmetic as lines of text, one column a line, every step local.

Each line restates what is left of the numbers, works out one column from its last digits, and ends with the digits of
the result so far, so that the next token always follows from a few tokens nearby:

    456+78: 6+8=14 4
    45+7+1: 5+7+1=13 34
    4+1=5 534
    456+78=534
"""

from __future__ import annotations

import random
import re

_EQUATION = re.compile(r"\d+[-+*/]\d+=\d+")


def is_direct(a: int, op: str, b: int) -> bool:
    """True when one table look-up gives the result and no columns are written."""
    if op == "*":
        return (a <= 12 and b <= 12) or a in (0, 1, 10) or b in (0, 1, 10)
    if op == "/":
        return (b <= 12 and a <= 12 * b) or b == 10
    if op == "-":
        return a <= 20 or (a <= 99 and b <= 12)
    return max(a, b) <= 20 or (max(a, b) <= 99 and min(a, b) <= 12)


def apply(a: int, op: str, b: int) -> int:
    """The integer result; division must be exact."""
    if op == "+":
        return a + b
    if op == "-":
        return a - b
    if op == "*":
        return a * b
    return a // b


def operation_lines(a: int, op: str, b: int) -> list[str]:
    """The lines that work out `a op b`; the last one is always the equation `a op b=result`."""
    last = f"{a}{op}{b}={apply(a, op, b)}"
    if op == "-" and a < b:
        return [f"{a}-{b}=-({b}-{a})", *operation_lines(b, "-", a), last]
    if is_direct(a, op, b):
        return [last]
    if op == "+":
        return [*_add(a, b), last]
    if op == "-":
        return [*_subtract(a, b), last]
    if op == "*":
        return [*_multiply(a, b), last]
    return [*_divide(a, b), last]


def _line(state: str, work: str, tail: str) -> str:
    return f"{work} {tail}" if work.startswith(state + "=") else f"{state}: {work} {tail}"


def _add(a: int, b: int) -> list[str]:
    top, bottom, carry, tail = str(a), str(b), "", ""
    lines: list[str] = []
    while top or bottom:
        parts = [part for part in (top, bottom, carry) if part]
        if len(parts) == 1:
            lines.append(f"{parts[0]} {tail}")
            break
        digits = [part[-1] for part in parts]
        total = sum(int(digit) for digit in digits)
        top, bottom = top[:-1], bottom[:-1]
        carry = "1" if total > 9 else ""
        tail = f"{total % 10 if top or bottom else total}{tail}"
        lines.append(_line("+".join(parts), f"{'+'.join(digits)}={total}", tail))
    return lines


def _subtract(a: int, b: int) -> list[str]:
    top, bottom, borrow, tail = str(a), str(b), "", ""
    lines: list[str] = []
    while top:
        parts = [part for part in (top, bottom, borrow) if part]
        if len(parts) == 1:
            lines.append(f"{top} {tail}")
            break
        digits = [part[-1] for part in parts]
        value = int(digits[0]) - sum(int(digit) for digit in digits[1:])
        top, bottom, borrow = top[:-1], bottom[:-1], "1" if value < 0 else ""
        if borrow:
            value += 10
            digits[0] = "1" + digits[0]
        tail = f"{value}{tail}"
        lines.append(_line("-".join(parts), f"{'-'.join(digits)}={value}", tail))
    return lines


def _multiply_digit(a: int, digit: int) -> list[str]:
    if is_direct(a, "*", digit):
        return [f"{a}*{digit}={a * digit}"]
    top, carry, tail = str(a), 0, ""
    lines: list[str] = []
    while top:
        product = int(top[-1]) * digit
        total = product + carry
        plus = f"+{carry}" if carry else ""
        work = f"{top[-1]}*{digit}{plus}={product}{plus}" + (f"={total}" if carry else "")
        state = f"{top}*{digit}{plus}"
        top, carry = top[:-1], total // 10
        tail = f"{total % 10 if top else total}{tail}"
        lines.append(_line(state, work, tail))
    return [*lines, f"{a}*{digit}={a * digit}"]


def _multiply(a: int, b: int) -> list[str]:
    if len(str(a)) < len(str(b)):
        return [f"{a}*{b}={b}*{a}", *operation_lines(b, "*", a)]
    if b < 10:
        return _multiply_digit(a, b)[:-1]
    lines: list[str] = []
    total: int | None = None
    places = [
        (int(digit), 10**place) for place, digit in enumerate(reversed(str(b))) if digit != "0"
    ]
    if len(places) > 1:
        lines.append(f"{a}*{b}=" + "+".join(f"{a}*{digit * place}" for digit, place in places))
    for digit, place in places:
        if digit > 1 or place == 1:
            lines += _multiply_digit(a, digit)
        part = a * digit * place
        if place > 1 and len(places) > 1:
            lines.append(f"{a}*{digit * place}={part}")
        if total is not None:
            lines += operation_lines(total, "+", part)
        total = part if total is None else total + part
    return lines


def _divide(a: int, b: int) -> list[str]:
    """Long division: each line restates remainder and digits left, `952/7: 9=7*1+2 1`."""
    left, quotient = str(a), ""
    width = 1
    lines: list[str] = []
    while True:
        head = int(left[:width])
        count, rest = divmod(head, b)
        quotient += str(count)
        lines.append(f"{left}/{b}: {head}={b}*{count}+{rest} {quotient}")
        digits = left[width:]
        if not digits:
            return lines
        left, width = f"{rest}{digits}", len(str(rest)) + 1


def with_slip(lines: list[str], rng: random.Random) -> list[str]:
    """The lines with one equation first written wrong, taken back with [BACK], and written right."""
    places = [at for at, line in enumerate(lines) if _EQUATION.fullmatch(line)]
    lines = list(lines)
    if places:
        at = rng.choice(places)
        left, right = lines[at].split("=")
        slip = str(max(0, int(right) + rng.choice((-10, -2, -1, 1, 2, 10))))
        if slip != right:
            lines[at] = f"{left}={slip} [BACK] {left}={right}"
    return lines
