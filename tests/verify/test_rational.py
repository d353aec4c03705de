"""verify/rational: exact values, and limits that every hostile text meets at once."""

from __future__ import annotations

import contextlib
import time
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ponder.verify import RationalError, evaluate, parse
from ponder.verify.rational import leaves

HOSTILE = {
    "empty": "",
    "blank": "   ",
    "name": "x",
    "call": "__import__('os')",
    "power": "2**9",
    "caret": "9^9^9",
    "exponent": "1e9999999",
    "nan": "nan",
    "infinity": "inf",
    "unicode digits": "١٢",
    "full-width digits": "１+１",
    "superscript": "3²",
    "underscore": "1_000",
    "hex": "0x10",
    "open": "(1+2",
    "close": "1+2)",
    "twice": "1 2",
    "operator first": "*2",
    "operator last": "2+",
    "zero": "1/0",
    "hidden zero": "1/(2-2)",
    "deep": "(" * 200 + "1" + ")" * 200,
    "signs": "-" * 300 + "1",
    "long": "1+" * 5000 + "1",
    "huge": "9" * 4000,
    "product": "*".join(["9" * 59] * 7),
    "newline": "1\n+1",
    "null": "1\0",
    "dots": "1.2.3",
    "equation": "1=1",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_text_is_refused_at_once(text: str) -> None:
    start = time.perf_counter()
    with pytest.raises(RationalError):
        evaluate(text)
    assert time.perf_counter() - start < 0.5


def test_the_largest_product_within_the_limits_is_exact() -> None:
    assert evaluate("*".join(["9" * 60] * 6)) == (10**60 - 1) ** 6


def numbers() -> st.SearchStrategy[str]:
    return st.integers(0, 999).map(str)


def joined(children: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(children, st.sampled_from("+-*/"), children).map(lambda t: f"({''.join(t)})")


@settings(max_examples=60, deadline=None)
@given(st.recursive(numbers(), joined, max_leaves=12))
def test_values_equal_pythons_own_fractions(text: str) -> None:
    wrapped = "".join(f"Fraction({c})" if c.isdigit() else c for c in split_digits(text))
    try:
        expected = eval(wrapped, {"Fraction": Fraction})
    except ZeroDivisionError:
        with pytest.raises(RationalError, match="zero"):
            evaluate(text)
        return
    assert evaluate(text) == expected


def split_digits(text: str) -> list[str]:
    parts: list[str] = []
    for char in text:
        if char.isdigit() and parts and parts[-1].isdigit():
            parts[-1] += char
        else:
            parts.append(char)
    return parts


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60))
def test_any_text_gives_a_value_or_a_rational_error(text: str) -> None:
    with contextlib.suppress(RationalError):
        assert isinstance(evaluate(text), Fraction)


def test_precedence_associativity_and_leaves() -> None:
    assert evaluate("2+3*4-6/4") == Fraction(25, 2)
    assert evaluate("20-5-3") == 12
    assert evaluate("40/4/2") == 5
    assert evaluate("-(3-5)*0.5") == 1
    assert leaves(parse("(3+4)*5-1")) == [3, 4, 5, 1]
