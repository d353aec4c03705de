"""verify/numbers: is this answer that number? Integers, decimals, fractions, grouping commas."""

from __future__ import annotations

import re
from fractions import Fraction

from ponder.core.types import Verdict
from ponder.verify.rational import RationalError, evaluate

_NUMBER = re.compile(r"[-+]?[0-9]+(?:\.[0-9]+| ?/ ?[0-9]+)?", re.ASCII)
_ASKED = re.compile(r"\bHow many (?:more |fewer )?([a-z]+)\b(?!.*\bHow many )", re.DOTALL)
_GROUPED = re.compile(r"[-+]?[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?", re.ASCII)


def clip(text: str, limit: int = 40) -> str:
    """The text as a reason may quote it: one line, at most `limit` characters."""
    flat = " ".join(text.split())
    return repr(flat if len(flat) <= limit else flat[: limit - 1] + "…")


def read_number(text: str) -> Fraction:
    """The value of a plain number, never of an expression. Raises RationalError."""
    plain = text.strip().removesuffix(".").replace("−", "-")
    if _GROUPED.fullmatch(plain):
        plain = plain.replace(",", "")
    if not _NUMBER.fullmatch(plain):
        raise RationalError(f"not a number: {clip(text)}")
    return evaluate(plain)


def check_number(answer: str, expected: Fraction, shown: str = "", question: str = "") -> Verdict:
    """Right when `answer` is a plain number equal to `expected`; `shown` is what the reason sets it equal to.

    Where the question asks `How many pens …`, `3 pens` is 3.
    """
    asked = _ASKED.search(question)
    try:
        value = read_number(
            answer.strip().removesuffix(".").removesuffix(f" {asked[1]}" if asked else "")
        )
    except RationalError as error:
        return Verdict("wrong", str(error))
    if value == expected:
        return Verdict("right", f"{value} = {shown}" if shown else f"{value}")
    return Verdict("wrong", f"{value} is not {shown + ' = ' if shown else ''}{expected}")
