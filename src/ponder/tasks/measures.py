"""tasks/measures: units, clocks, weekdays and dates.

A problem is a kind and the words in the holes of its question; everything else follows from them.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from datetime import date, timedelta
from fractions import Fraction
from itertools import pairwise

from ponder.core.types import Band, Problem, Verdict
from ponder.tasks.columns import operation_lines, with_slip
from ponder.tasks.family import Trace, TraceWriter, pattern_of
from ponder.verify.numbers import check_number, clip

Holes = dict[str, str]
FRAMES: dict[str, tuple[str, ...]] = {
    "convert": ("How many {unit} are {amount}?", "Write {amount} in {unit}."),
    "odd": ("A {big} is {k} {mid}. A {one} is {j} {unit}. How many {unit} are {amount}?",),
    "clock": ("What time is it {amount} {way} {time}?", "It is {time}. What time is {amount} {way} that?"),
    "span": ("How many minutes are there from {time} to {until}?", "How many minutes is it from {time} to {until}?"),
    "weekday": ("Today is {day}. What day is it in {n} days?", "It is {day}. Which day is {n} days later?"),
    "ago": ("Today is {day}. What day was it {n} days ago?",),
    "date": ("What date is {n} days {way} {date}?", "Which date is {n} days {way} {date}?"),
    "between": ("How many days are there from {date} to {last}?",),
}  # fmt: skip
LADDERS = (
    (("weeks", 7), ("days", 24), ("hours", 60), ("minutes", 60), ("seconds", 1)),
    (("years", 12), ("months", 1)),
    (("kilometers", 1000), ("meters", 100), ("centimeters", 10), ("millimeters", 1)),
    (("kilograms", 1000), ("grams", 1)),
    (("liters", 1000), ("milliliters", 1)),
    (("dollars", 100), ("cents", 1)),
    (("yards", 3), ("feet", 12), ("inches", 1)),
)
"""Units from large to small, each with how many of the next it holds."""
ODD = "zub fap lon vek dar mip rop gat nuv tiz keb bol pag hin sov lud wex yim cor fen".split()
ONE = {"feet": "foot", "inches": "inch"}
DAYS: Sequence[str] = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS: Sequence[str] = (
    "January February March April May June July August September October November December".split()
)
KINDS: dict[Band, tuple[tuple[str, int], ...]] = {
    "S": (("convert", 32), ("clock", 24), ("span", 16), ("weekday", 14), ("date", 14)),
    "R": (("convert", 30), ("clock", 20), ("span", 12), ("weekday", 8), ("ago", 6), ("date", 14), ("between", 10)),
    "O": (("odd", 30), ("clock", 16), ("span", 14), ("weekday", 10), ("date", 15), ("between", 15)),
}  # fmt: skip
_HOLES = {
    "amount": r"\d{1,6} [a-z]+(?: and \d{1,6} [a-z]+)*", "unit": "[a-z]+", "big": "[a-z]+", "mid": "[a-z]+",
    "one": "[a-z]+", "k": r"\d{1,6}", "j": r"\d{1,6}", "n": r"\d{1,6}", "way": "after|before", "time": r"\d{1,2}:\d\d",
    "until": r"\d{1,2}:\d\d", "day": "|".join(DAYS), "date": rf"(?:{'|'.join(MONTHS)}) \d{{1,2}}(?:, \d{{4}})?",
    "last": rf"(?:{'|'.join(MONTHS)}) \d{{1,2}}(?:, \d{{4}})?",
}  # fmt: skip


def amount_text(parts: list[tuple[int, str]]) -> str:
    """`2 hours and 1 minute`."""
    return " and ".join(f"{n} {unit if n != 1 else ONE.get(unit, unit[:-1])}" for n, unit in parts)


def amount_of(text: str) -> list[tuple[int, str]]:
    """The parts of an amount, units in the plural. Raises KeyError for an empty unit."""
    plurals = {one: many for many, one in ONE.items()}
    found: list[tuple[int, str]] = []
    for part in text.split(" and "):
        n, unit = part.split(" ")
        many = unit if unit.endswith("s") or unit == "feet" else unit + "s"
        found.append((int(n), plurals.get(unit, many)))
    return found


def ladder_of(holes: Holes) -> list[tuple[str, int]]:
    """The units from the largest to the smallest that a conversion needs. Raises LookupError."""
    if "big" in holes:
        sizes = int(holes["k"]), int(holes["j"])
        steps = [(holes["big"] + "s", sizes[0]), (holes["mid"], sizes[1]), (holes["unit"], 1)]
        if holes["one"] + "s" != holes["mid"]:
            raise LookupError(f"{holes['one']!r} is not one of {holes['mid']!r}")
        return steps
    names = [holes["unit"], *(unit for _, unit in amount_of(holes["amount"]))]
    for ladder in LADDERS:
        units = [unit for unit, _ in ladder]
        if all(name in units for name in names):
            places = sorted(units.index(name) for name in names)
            return list(ladder[places[0] : places[-1] + 1])
    raise LookupError(f"no ladder holds {names}")


def minutes_of(time: str) -> int:
    """Minutes since midnight. Raises ValueError for an hour above 23 or a minute above 59."""
    hours, minutes = (int(part) for part in time.split(":"))
    if hours > 23 or minutes > 59:
        raise ValueError(f"no time of day: {time}")
    return 60 * hours + minutes


def time_text(minutes: int) -> str:
    """`9:05`."""
    return f"{minutes // 60 % 24}:{minutes % 60:02d}"


def date_of(text: str) -> date:
    """The day; without a year, in a common one. Raises ValueError."""
    month, day, year = (*text.replace(",", "").split(), "2001")[:3]
    return date(int(year), MONTHS.index(month) + 1, int(day))


def date_text(day: date, with_year: bool) -> str:
    """`March 6` or `March 6, 2024`."""
    return f"{MONTHS[day.month - 1]} {day.day}" + (f", {day.year}" if with_year else "")


def answer_of(kind: str, holes: Holes) -> str:
    """The right answer. Raises LookupError, ValueError or OverflowError for holes that make no sense."""
    if kind in ("convert", "odd"):
        sizes: dict[str, int] = {}
        size = 1
        for unit, factor in reversed(ladder_of(holes)):
            size *= factor
            sizes[unit] = size
        total = sum(n * sizes[unit] for n, unit in amount_of(holes["amount"]))
        return str(Fraction(total, sizes[holes["unit"]]))
    sign = -1 if holes.get("way") == "before" or kind == "ago" else 1
    if kind == "clock":
        sizes = {"hours": 60, "minutes": 1}
        shift = sum(n * sizes[unit] for n, unit in amount_of(holes["amount"]))
        return time_text(minutes_of(holes["time"]) + sign * shift)
    if kind == "span":
        return str((minutes_of(holes["until"]) - minutes_of(holes["time"])) % 1440)
    if kind in ("weekday", "ago"):
        return DAYS[(DAYS.index(holes["day"]) + sign * int(holes["n"])) % 7]
    if kind == "date":
        day = date_of(holes["date"]) + timedelta(sign * int(holes["n"]))
        if "," not in holes["date"] and day.year != 2001:
            raise ValueError("the year changes")
        return date_text(day, "," in holes["date"])
    days = (date_of(holes["last"]) - date_of(holes["date"])).days
    if days < 0 or ("," in holes["date"]) != ("," in holes["last"]):
        raise ValueError("the days stand in the wrong order")
    return str(days)


def leap_answer(kind: str, holes: Holes) -> str | None:
    """The answer to a question on dates without years, were the year a leap year; else None."""
    if kind not in ("date", "between") or "," in holes["date"]:
        return None
    told = {key: f"{holes[key]}, 2004" for key in ("date", "last") if key in holes}
    return answer_of(kind, {**holes, **told}).partition(",")[0]


class Measures:
    """Units, clocks, weekdays, dates."""

    name = "measures"

    def generate(self, rng: random.Random, band: Band = "S") -> Problem:
        """S: one step of common units; R: chains, both directions; O: leap years, midnight, units made up."""
        kinds = KINDS[band]
        kind = rng.choices([name for name, _ in kinds], [weight for _, weight in kinds])[0]
        while True:
            holes = self._draw(rng, kind, band)
            try:
                question = rng.choice(FRAMES[kind]).format(**holes)
                return self._problem(question, kind, holes, band)
            except ValueError:
                continue

    def _draw(self, rng: random.Random, kind: str, band: Band) -> Holes:
        if kind in ("convert", "odd"):
            return self._draw_units(rng, kind, band)
        if kind in ("clock", "span"):
            start = rng.randint(0, 1439) // 5 * 5 if band == "S" else rng.randint(0, 1439)
            if kind == "span":
                low, high = {"S": (10, 170), "R": (100, 900), "O": (700, 1439)}[band]
                until = start + rng.randint(low, high) // 5 * 5
                if (band == "O") == (until < 1440):
                    start, until = (0, until - start) if band != "O" else (start, 2879 - start)
                return {"time": time_text(start), "until": time_text(until)}
            hours, minutes = rng.randint(1, 5), rng.randint(1, 11) * 5
            parts = [(hours, "hours")] if rng.random() < 0.3 else [(minutes, "minutes")]
            if band == "R":
                parts = [(rng.randint(1, 11), "hours"), (rng.randint(2, 59), "minutes")]
            elif band == "O":
                parts = [(rng.randint(100, 3000), "minutes")]
            way = "before" if band != "S" and rng.random() < 0.4 else "after"
            return {"amount": amount_text(parts), "way": way, "time": time_text(start)}
        n = rng.randint(2, {"S": 20, "R": 100, "O": 1000}[band])
        if kind in ("weekday", "ago"):
            return {"day": rng.choice(DAYS), "n": str(n)}
        years = (1999, 2000, 2003, 2004, 2023, 2024, 2027, 2028, 2100)
        year = rng.choice(years) if band == "O" else 2001
        first = date(year, rng.randint(1, 12 if band != "O" else 3), rng.randint(1, 28))
        start = date_text(first, band == "O")
        if kind == "between":
            last = date_text(first + timedelta(n if band == "O" else min(n, 60)), band == "O")
            return {"date": start, "last": last}
        n = n if band == "S" else rng.randint(20, 60 if band == "R" else 90)
        way = "before" if band != "S" and rng.random() < 0.4 else "after"
        return {"n": str(n), "way": way, "date": start}

    def _draw_units(self, rng: random.Random, kind: str, band: Band) -> Holes:
        if kind == "odd":
            big, mid, small = rng.sample(ODD, 3)
            parts = [(rng.randint(2, 30), big + "s"), (rng.randint(2, 30), mid + "s")]
            return {"big": big, "k": str(rng.randint(3, 40)), "mid": mid + "s", "one": mid,
                    "j": str(rng.randint(3, 40)), "unit": small + "s",
                    "amount": amount_text(parts[: rng.randint(1, 2)])}  # fmt: skip
        length = 2 if band == "S" else 3
        ladder = rng.choice([ladder for ladder in LADDERS if len(ladder) >= length])
        at = rng.randint(0, len(ladder) - length)
        units = ladder[at : at + length]
        (first, size), (second, _) = units[0], units[1]
        n = rng.randint(1 if band == "S" else 2, 12 if size < 1000 else 20)
        if rng.random() < 0.25:
            for _, factor in units[:-1]:
                n *= factor
            return {"unit": first, "amount": amount_text([(n, units[-1][0])])}
        parts = [(n, first)]
        if rng.random() < 0.5:
            parts.append((rng.randint(1, size - 1), second))
        return {"unit": units[-1][0], "amount": amount_text(parts)}

    def _problem(self, question: str, kind: str, holes: Holes, band: Band) -> Problem:
        canonical = f"{kind} " + " ".join(f"{key}={holes[key]}" for key in sorted(holes))
        data = {"kind": kind, "holes": holes}
        return Problem(
            self.name, band, question, answer_of(kind, holes), canonical, len(holes), data
        )

    def verify(self, problem: Problem, answer: str) -> Verdict:
        """A number (its unit may follow), a time, a weekday or a date."""
        expected, text = problem.answer, " ".join(answer.strip().removesuffix(".").split())
        kind = problem.data["kind"]
        if kind in ("convert", "odd", "span", "between"):
            unit = problem.data["holes"].get("unit", "minutes" if kind == "span" else "days")
            number = text.removesuffix(f" {unit}")
            if number != expected and number == leap_answer(kind, problem.data["holes"]):
                return Verdict(
                    "undecided", f"{number} is right in a leap year, and no year is told"
                )
            return check_number(number, Fraction(expected))
        if kind == "clock" and re.fullmatch(r"0\d:\d\d", text, re.ASCII):
            text = text[1:]
        if kind == "date":
            text = re.sub(r"(?<=\d)(?:st|nd|rd|th)\b", "", text)
        if text.lower() == expected.lower():
            return Verdict("right", expected)
        if text.lower() == (leap_answer(kind, problem.data["holes"]) or expected).lower():
            return Verdict(
                "undecided", f"{clip(text)} is right in a leap year, and no year is told"
            )
        return Verdict("wrong", f"{clip(text)} is not {expected}")

    def recognise(self, question: str) -> Problem | None:
        """Matches the question against every frame; holes that make no sense are no problem."""
        text = " ".join(question.split())
        for kind, pattern in PATTERNS:
            match = pattern.fullmatch(text)
            if match:
                try:
                    return self._problem(question, kind, match.groupdict(), "S")
                except (LookupError, ValueError, OverflowError):
                    return None
        return None

    def _short(self, problem: Problem, rng: random.Random) -> Trace:
        return self._trace(problem, rng, longer=False)

    def _long(self, problem: Problem, rng: random.Random) -> Trace:
        return self._trace(problem, rng, longer=True)

    def _trace(self, problem: Problem, rng: random.Random, longer: bool) -> Trace:
        lines = STEPS[problem.data["kind"]](problem.data["holes"], longer)
        if rng.random() < 0.15:
            lines = with_slip(lines, rng)
        return Trace("\n".join(lines), problem.answer)

    @property
    def writers(self) -> tuple[TraceWriter, ...]:
        return (TraceWriter("short", 0.65, self._short), TraceWriter("long", 0.35, self._long))


def scale_lines(n: int, factor: int) -> list[str]:
    """Lines of n*factor; the zeros at a factor's end are set aside."""
    core = int(str(factor).rstrip("0"))
    lines = operation_lines(n, "*", core) if core != 1 else []
    return lines if core == factor else [*lines, f"{n}*{factor}={n * factor}"]


def add_lines(total: int, more: int) -> list[str]:
    """Lines of total+more; where zeros stand in for all of `more`, it is written in their place."""
    zeros = len(str(total)) - len(str(total).rstrip("0"))
    short = [f"{total}+{more}={total + more}"]
    return short if more < 10**zeros else operation_lines(total, "+", more)


def convert_lines(holes: Holes, longer: bool) -> list[str]:
    """Down the ladder one unit at a time, or up it by divisions; `longer` says each unit's size first."""
    ladder, parts = ladder_of(holes), {unit: n for n, unit in amount_of(holes["amount"])}
    sizes = [f"1 {ONE.get(a, a[:-1])} is {k} {b}" for (a, k), (b, _) in pairwise(ladder)]
    lines = sizes if longer else []
    if holes["unit"] == ladder[0][0] and len(ladder) > 1:
        total = parts[ladder[-1][0]]
        for (unit, factor), _ in reversed(list(pairwise(ladder))):
            lines += [*operation_lines(total, "/", factor), f"{total // factor} {unit}"]
            total //= factor
        return lines
    total = parts[ladder[0][0]]
    for (_, factor), (unit, _) in pairwise(ladder):
        lines += scale_lines(total, factor)
        total *= factor
        if unit in parts:
            lines += add_lines(total, parts[unit])
            total += parts[unit]
        lines.append(f"{total} {unit}")
    return lines


def clock_lines(holes: Holes, longer: bool) -> list[str]:
    """Hours and minutes apart with a carry, or (`longer`) all in minutes since midnight."""
    start, end = minutes_of(holes["time"]), minutes_of(holes["time"])
    parts = {unit: n for n, unit in amount_of(holes["amount"])}
    more = 60 * parts.get("hours", 0) + parts.get("minutes", 0)
    hours, minutes, end = start // 60, start % 60, start + more
    if longer:
        lines = [*scale_lines(hours, 60), *add_lines(60 * hours, minutes)]
        if "hours" in parts:
            lines += scale_lines(parts["hours"], 60)
        lines += [*operation_lines(start, "+", more)]
        if end >= 1440:
            lines += operation_lines(end, "-", 1440)
        end %= 1440
        return [*lines, f"{end}={end // 60}*60+{end % 60}", time_text(end)]
    lines: list[str] = []
    if "minutes" in parts:
        lines += operation_lines(minutes, "+", parts["minutes"])
        minutes += parts["minutes"]
        if minutes > 59:
            lines += [*operation_lines(minutes, "-", 60), *operation_lines(hours, "+", 1)]
            hours += 1
    if "hours" in parts:
        lines += operation_lines(hours, "+", parts["hours"])
        hours += parts["hours"]
    if hours > 23:
        lines += operation_lines(hours, "-", 24)
    return [*lines, time_text(end)]


def span_lines(holes: Holes, longer: bool) -> list[str]:
    """The hours between times 60 and the minutes' difference, or (`longer`) by way of the next full hour."""
    (h, m), (g, n) = (divmod(minutes_of(holes[key]), 60) for key in ("time", "until"))
    if h == g:
        return operation_lines(n, "-", m)
    if not longer:
        total = 60 * (g - h) + n
        lines = [*operation_lines(g, "-", h), *scale_lines(g - h, 60)]
        return [*lines, *add_lines(60 * (g - h), n), *operation_lines(total, "-", m)]
    rest = 60 * (g - h - 1)
    lines = [
        f"{h}:{m:02d} to {h + 1}:00",
        *operation_lines(60, "-", m),
        f"{h + 1}:00 to {g}:{n:02d}",
    ]
    lines += [*operation_lines(g, "-", h + 1), *scale_lines(g - h - 1, 60)]
    return [*lines, *add_lines(rest, n), *operation_lines(rest + n, "+", 60 - m)]


def weekday_lines(holes: Holes, longer: bool) -> list[str]:
    """Sevens taken away, then days counted; `longer` counts them all."""
    n, at = int(holes["n"]), DAYS.index(holes["day"])
    lines: list[str] = []
    while n > 7 and not longer:
        lines += operation_lines(n, "-", 7)
        n -= 7
    return lines + [f"{step} {DAYS[(at + step) % 7]}" for step in range(1, n + 1)]


def date_lines(holes: Holes, longer: bool) -> list[str]:
    """The days added and the month's length taken away, or (`longer`) the rest of the month taken from the days."""
    day, n = date_of(holes["date"]), int(holes["n"])
    length = ((day.replace(day=28) + timedelta(4)).replace(day=1) - timedelta(1)).day
    lines = [f"{MONTHS[day.month - 1]} has {length} days"]
    after = MONTHS[day.month % 12]
    if longer:
        rest = length - day.day
        lines += operation_lines(length, "-", day.day)
        if n <= rest:
            fits = f"{n}<{rest}" if n < rest else f"{n}={rest}"
            return [*lines, fits, *operation_lines(day.day, "+", n)]
        return [*lines, *operation_lines(n, "-", rest), f"{after} {n - rest}"]
    lines += operation_lines(day.day, "+", n)
    if day.day + n <= length:
        return lines
    return [*lines, *operation_lines(day.day + n, "-", length), after]


STEPS = {
    "convert": convert_lines, "clock": clock_lines, "span": span_lines, "weekday": weekday_lines, "date": date_lines
}  # fmt: skip


PATTERNS = tuple(
    (kind, pattern_of(frame, _HOLES)) for kind, frames in FRAMES.items() for frame in frames
)
