"""verify: each checker against right answers, wrong answers and answers made to trick it."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ponder.verify import check_countdown, check_equation, check_number, check_sequence
from ponder.verify.sequence import check_sentence


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ("(3 + 5) * 6", "right"),
        ("6 * (5 + 3)", "right"),
        ("48 = (3 + 5) * 6", "right"),
        ("(3+5)*6 = 48.", "right"),
        ("(3 + 5) * 6 = 49", "wrong"),
        ("48", "wrong"),
        ("6 * 5 + 3", "wrong"),
        ("(3 + 5) * 6 * 1", "wrong"),
        ("(3 + 5) * 6 + 3 - 3", "wrong"),
        ("35 + 13", "wrong"),
        ("5 * 6", "wrong"),
        ("-(3 + 5) * -6", "wrong"),
        ("(3 + 5) * (+6)", "wrong"),
        ("(3 + 5) × 6", "wrong"),
        ("(3.0 + 5) * 6", "right"),
        ("(3 + 5) * 6; import os", "wrong"),
        ("(3 + 5) * 6 = 48 = 48", "wrong"),
        ("3 + 5 * 6", "wrong"),
        ("(3 + 5) ** 6", "wrong"),
        ("8 * 6", "wrong"),
        ("3 / 0 + 5 * 6", "wrong"),
        ("", "wrong"),
        ("=", "wrong"),
        ("(" * 5000, "wrong"),
        ("(٣ + 5) * 6", "wrong"),
    ],
)
def test_countdown(answer: str, status: str) -> None:
    verdict = check_countdown(answer, (3, 5, 6), 48)
    assert verdict.status == status, verdict
    assert verdict.reason and "\n" not in verdict.reason and len(verdict.reason) < 200


def test_countdown_says_what_is_true_and_what_is_wrong() -> None:
    assert check_countdown("(25 + 26) * 15", (15, 25, 26), 765).reason == "765 = (25 + 26) * 15"
    assert check_countdown("3 + 5 + 6", (3, 5, 6), 48).reason == "3 + 5 + 6 = 14, not 48"
    assert (
        check_countdown("3 + 3 + 5", (3, 5, 6), 48).reason == "3 is not left to use; 6 is not used"
    )


def test_countdown_counts_equal_numbers() -> None:
    assert check_countdown("6 * 6 + 1", (6, 6, 1), 37).status == "right"
    assert check_countdown("6 * 6 + 1", (6, 1), 37).status == "wrong"


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ("391", "right"),
        (" 391 ", "right"),
        ("391.", "right"),
        ("391.0", "right"),
        ("782/2", "right"),
        ("+391", "right"),
        ("−391", "wrong"),
        ("392", "wrong"),
        ("17*23", "wrong"),
        ("3 9 1", "wrong"),
        ("391 or 392", "wrong"),
        ("1e9999999", "wrong"),
        ("nan", "wrong"),
        ("inf", "wrong"),
        ("٣٩١", "wrong"),
        ("391/0", "wrong"),
        ("9" * 100_000, "wrong"),
        ("", "wrong"),
        ("three hundred ninety-one", "wrong"),
    ],
)
def test_number(answer: str, status: str) -> None:
    verdict = check_number(answer, Fraction(391), "17*23")
    assert verdict.status == status, verdict
    assert verdict.reason and len(verdict.reason) < 200


def test_number_accepts_grouping_commas_only_where_they_group() -> None:
    assert check_number("1,234,567", Fraction(1234567)).status == "right"
    assert check_number("12,34", Fraction(1234)).status == "wrong"


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ("x = 3", "right"),
        ("x=3", "right"),
        ("3", "right"),
        ("6/2", "right"),
        ("x = 3.0", "right"),
        ("x = 4", "wrong"),
        ("y = 3", "wrong"),
        ("x", "wrong"),
        ("x = x", "wrong"),
        ("5x + 3 = 18", "wrong"),
        ("x = 1e9", "wrong"),
        ("x = 3 or x = 4", "wrong"),
    ],
)
def test_equation_by_substitution(answer: str, status: str) -> None:
    sides = ((Fraction(5), Fraction(3)), (Fraction(0), Fraction(18)))
    verdict = check_equation(answer, "x", *sides)
    assert verdict.status == status, verdict


def test_equation_reason_shows_both_sides() -> None:
    sides = ((Fraction(5), Fraction(3)), (Fraction(1), Fraction(7)))
    assert (
        check_equation("x = 1", "x", *sides).reason
        == "x = 1 gives 8 on the left and 8 on the right"
    )


def test_sequences_and_sentences() -> None:
    for answer in ("1 3 5", "1, 3, 5", "[1, 3, 5]", "1,3,5.", " 1  3\n5 "):
        assert check_sequence(answer, ["1", "3", "5"]).status == "right", answer
    for answer in ("1 3", "1 3 5 5", "5 3 1", "135", "", "1 3 5 " * 1000):
        assert check_sequence(answer, ["1", "3", "5"]).status == "wrong", answer
    assert check_sentence(" No. ", "No.").status == "right"
    assert check_sentence("No", "No.").status == "wrong"


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=80))
def test_no_text_breaks_a_checker(text: str) -> None:
    sides = ((Fraction(5), Fraction(3)), (Fraction(0), Fraction(18)))
    for verdict in (
        check_number(text, Fraction(7)),
        check_countdown(text, (3, 4), 7),
        check_equation(text, "x", *sides),
        check_sequence(text, ["7"]),
    ):
        assert verdict.status in ("right", "wrong", "undecided")
        assert verdict.reason
