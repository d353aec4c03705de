"""verify/countdown: does this expression use exactly these numbers and reach the target? By syntax tree, exact."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

from ponder.core.types import Verdict
from ponder.verify.numbers import clip
from ponder.verify.rational import RationalError, has_sign, leaves, parse


def check_countdown(answer: str, numbers: Sequence[int], target: int) -> Verdict:
    """Each number exactly once, + - * / and parentheses only, no signs; `= target` may follow."""
    text = answer.strip().removesuffix(".")
    left, equals, right = text.partition("=")
    if equals and right.strip() != str(target):
        if left.strip() != str(target) or "=" in right:
            return Verdict("wrong", f"not one expression: {clip(answer)}")
        left = right
    left = left.strip()
    try:
        tree = parse(left)
    except RationalError as error:
        return Verdict("wrong", f"not an expression: {clip(answer)} ({error})")
    if has_sign(tree):
        return Verdict("wrong", f"a sign before a number or parenthesis: {clip(left)}")
    used, given = Counter(leaves(tree)), Counter(Fraction(number) for number in numbers)
    if used != given:
        extra, missing = used - given, given - used
        parts = [f"{number} is not left to use" for number in extra] + [
            f"{number} is not used" for number in missing
        ]
        return Verdict("wrong", "; ".join(parts[:4]))
    if tree.value != target:
        return Verdict("wrong", f"{left} = {tree.value}, not {target}")
    return Verdict("right", f"{target} = {left}")
