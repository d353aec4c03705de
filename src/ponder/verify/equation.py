"""verify/equation: does this value solve the equation? By substitution on both sides, exact."""

from __future__ import annotations

import re
from fractions import Fraction

from ponder.core.types import Verdict
from ponder.verify.numbers import clip, read_number
from ponder.verify.rational import RationalError

Side = tuple[Fraction, Fraction]


def check_equation(answer: str, unknown: str, left: Side, right: Side) -> Verdict:
    """Sides are (coefficient, constant); the answer is `x = 4` or just the value."""
    text = answer.strip().removesuffix(".")
    match = re.fullmatch(rf"{re.escape(unknown)} *= *(.+)", text)
    try:
        value = read_number(match[1] if match else text)
    except RationalError as error:
        return Verdict("wrong", f"{error} (wanted a value of {unknown}, got {clip(answer)})")
    a = left[0] * value + left[1]
    b = right[0] * value + right[1]
    shown = f"{unknown} = {value} gives {a} on the left and {b} on the right"
    return Verdict("right" if a == b else "wrong", shown)
