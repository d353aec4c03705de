"""tasks/measures: against the calendar and clock of the standard library, and unit sizes written down here."""

from __future__ import annotations

import calendar
import random
import re
from datetime import date, datetime, timedelta
from fractions import Fraction

import pytest

from ponder.core.types import Band, Problem
from ponder.tasks import FAMILIES, generate, recognise, verify
from ponder.tasks.family import TraceWriter

FAMILY = FAMILIES["measures"]
BANDS: tuple[Band, ...] = ("S", "R", "O")
SIZES = {
    "week": 604800, "day": 86400, "hour": 3600, "minute": 60, "second": 1, "year": 12, "month": 1, "kilometer": 1000000,
    "meter": 1000, "centimeter": 10, "millimeter": 1, "kilogram": 1000, "gram": 1, "liter": 1000, "milliliter": 1,
    "dollar": 100, "cent": 1, "yard": 36, "feet": 12, "foot": 12, "inche": 1, "inch": 1,
}  # fmt: skip


def day_in(text: str) -> date:
    match = re.fullmatch(r"([A-Z][a-z]+) (\d+)(?:, (\d{4}))?", text)
    assert match, text
    return date(int(match[3] or 2001), list(calendar.month_name).index(match[1]), int(match[2]))


def size(unit: str) -> int:
    return SIZES[unit.removesuffix("s")]


def truth(problem: Problem) -> str:
    """The answer by the standard library, from the question's words."""
    question = problem.question.rstrip("?.")
    if m := re.search(r"(\d+) days (after|before) ([A-Z].*)$", question):
        moved = day_in(m[3]) + timedelta(int(m[1]) * (1 if m[2] == "after" else -1))
        return f"{calendar.month_name[moved.month]} {moved.day}" + (
            f", {moved.year}" if "," in m[3] else ""
        )
    if m := re.search(r"days are there from ([A-Z].*) to ([A-Z].*)$", question):
        return str((day_in(m[2]) - day_in(m[1])).days)
    if m := re.search(r"minutes .*from (\d+:\d\d) to (\d+:\d\d)", question):
        one, other = (datetime.strptime(text, "%H:%M") for text in m.groups())
        return str(((other - one) % timedelta(days=1)).seconds // 60)
    if m := re.search(r"is ([A-Z][a-z]+day)\. .*?(\d+) days( ago)?", question):
        at = list(calendar.day_name).index(m[1]) + int(m[2]) * (-1 if m[3] else 1)
        return calendar.day_name[at % 7]
    if "What time " in question:
        (clock,) = re.findall(r"\d+:\d\d", question)
        shift = sum(
            (
                timedelta(**{unit + "s": int(n)})
                for n, unit in re.findall(r"(\d+) (hour|minute)", question)
            ),
            timedelta(),
        )
        moved = datetime.strptime(clock, "%H:%M") + (shift if "after" in question else -shift)
        return f"{moved.hour}:{moved.minute:02d}"
    if m := re.search(
        r"A (\w+) is (\d+) (\w+)s\. A \w+ is (\d+) (\w+)s\. How many \w+ are (.*)$", question
    ):
        sizes = {m[1]: int(m[2]) * int(m[4]), m[3]: int(m[4])}
        return str(
            sum(
                int(n) * sizes[unit.removesuffix("s")]
                for n, unit in re.findall(r"(\d+) (\w+)", m[6])
            )
        )
    m = re.search(r"How many (\w+) are (.*)$", question) or re.search(
        r"Write (?P<b>.*) in (?P<a>\w+)$", question
    )
    assert m, question
    unit, amount = (m["a"], m["b"]) if question.startswith("Write") else m.groups()
    return str(
        Fraction(
            sum(int(n) * size(each) for n, each in re.findall(r"(\d+) (\w+)", amount)), size(unit)
        )
    )


@pytest.mark.parametrize("band", BANDS)
def test_answers_are_those_of_the_standard_library(band: Band) -> None:
    for index in range(250):
        problem = generate("measures", band, 4, index)
        assert problem.answer == truth(problem), problem.question


@pytest.mark.parametrize("writer", FAMILY.writers, ids=lambda writer: writer.name)
def test_lengths_of_months_and_units_in_traces_are_true(writer: TraceWriter) -> None:
    for index in range(300):
        problem = generate("measures", "S", 6, index)
        trace = writer.write(problem, random.Random(index)).thinking
        for month, days in re.findall(r"([A-Z][a-z]+) has (\d+) days", trace):
            assert int(days) == calendar.monthrange(2001, list(calendar.month_name).index(month))[1]
        for one, number, unit in re.findall(r"1 (\w+) is (\d+) (\w+)", trace):
            assert size(one) == int(number) * size(unit)


JUDGED = {
    "How many minutes are 2 hours and 15 minutes?": (
        "135 right", "135 minutes right", "135 hours wrong", "2 hours and 15 minutes wrong",
    ),
    "How many hours are 90 minutes?": ("3/2 right", "1.5 right", "1 hour and 30 minutes wrong"),
    "What time is it 50 minutes after 3:40?": (
        "4:30 right", "04:30 right", "4:30 or 16:30 wrong", "4.30 wrong", "٤:٣٠ wrong", "4:30 pm wrong",
    ),
    "What time is it 50 minutes after 23:40?": ("0:30 right", "24:30 wrong"),
    "What date is 15 days after February 20, 2024?": ("March 6, 2024 right", "March 7, 2024 wrong", "March 6 wrong"),
    "What date is 15 days after February 20?": ("March 7 right", "March 7th right", "March 6 undecided", "May 5 wrong"),
    "How many days are there from February 3 to March 9?": ("34 right", "35 days undecided", "36 wrong"),
    "Today is Tuesday. What day is it in 10 days?": ("friday right", "Friday Saturday wrong", " wrong"),
}  # fmt: skip


@pytest.mark.parametrize("question", JUDGED)
def test_answers_are_judged_exactly(question: str) -> None:
    problem = recognise(question)
    assert problem is not None
    assert problem.family == "measures"
    for line in JUDGED[question]:
        answer, _, status = line.rpartition(" ")
        assert verify(problem, answer).status == status, line


@pytest.mark.parametrize(
    "question",
    ["How many minutes are 3 apples?", "How many meters are 3 hours?", "What time is it 5 minutes after 25:00?",
     "What time is it 5 minutes after 3:75?", "What date is 5 days after February 30?",
     "What date is 9 days after December 30?", "What date is 999999 days after May 1, 9999?",
     "How many days are there from May 3 to May 1?", "Today is Funday. What day is it in 3 days?",
     "How many days are there from May 3, 2001 to May 9?", "What time is it 5 weeks after 3:00?",
     "A zub is 3 faps. A lon is 4 veks. How many veks are 2 zubs?", "How many minutes are 1234567 hours?",
     "What date is 5 days after May 1, 0000?"],
)  # fmt: skip
def test_questions_without_sense_are_not_read(question: str) -> None:
    assert recognise(question) is None
