"""tasks/story_chains: longer word problems, a sentence an operation, with number words, dozens and asides.

A theme is a set of sentences; each sentence is an operation on the running number or says something else.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

from ponder.core.types import Band
from ponder.tasks.columns import apply
from ponder.tasks.family import pattern_of
from ponder.tasks.words import NAMES, THINGS

Step = tuple[int, str, int, int]
"""(a, operator, b, result)."""


@dataclass(frozen=True, slots=True)
class Theme:
    """Sentences of one world. Holes: {A} and {B} people, {t} things, {n} a number."""

    start: str
    question: str
    sentences: tuple[tuple[str, str], ...]
    """(operator, sentence); operator `*2` and `/2` have no number, `` is beside the point."""


THEMES: dict[Band, tuple[Theme, ...]] = {
    "R": (
        Theme("{A} has {n} {t}.", "How many {t} does {A} have now?", (
            ("+", "{A} buys {n} more {t}."), ("+", "{B} gives {A} {n} more."), ("+", "{A} finds {n} {t}."),
            ("-", "{A} gives {n} {t} to {B}."), ("-", "{A} loses {n} of them."), ("-", "{A} sells {n} {t}."),
            ("/2", "{A} gives half of the {t} away."), ("*2", "Then {A} gets as many {t} again."),
            ("", "{B} is {n} years old."), ("", "{A} has {n} books at home."), ("", "The bag costs {n} dollars."),
        )),
        Theme("There are {n} {t} in a box.", "How many {t} are in the box now?", (
            ("+", "{A} puts in {n} more."), ("+", "{B} adds {n} {t}."), ("-", "{A} takes out {n} {t}."),
            ("-", "{B} takes {n} of them."), ("/2", "Half of the {t} are thrown away."),
            ("*2", "Then the number of {t} doubles."),
            ("", "The box is {n} inches long."), ("", "{B} is {n} years old."),
        )),
    ),
    "O": (
        Theme("A train leaves with {n} people.", "How many people are on the train now?", (
            ("+", "At the next stop {n} people get on."), ("-", "At the next stop {n} people get off."),
            ("/2", "At the bridge half of the people get off."),
            ("*2", "At the harbor as many people get on as are inside."),
            ("", "The train has {n} doors."), ("", "The ride takes {n} minutes."),
        )),
        Theme("{A} starts the week with {n} dollars.", "How many dollars does {A} have in the end?", (
            ("+", "{A} earns {n} dollars."), ("-", "{A} spends {n} dollars on food."),
            ("-", "{A} pays {n} dollars for a ticket."),
            ("/2", "{A} spends half of the money."), ("*2", "{A} doubles the money."),
            ("", "The shop is {n} miles away."),
        )),
        Theme("A tank holds {n} liters of water.", "How many liters are in the tank now?", (
            ("+", "Rain brings {n} liters."), ("+", "{A} pours in {n} liters."), ("-", "{A} draws {n} liters."),
            ("/2", "Half of the water runs out."), ("*2", "A pump doubles the water."),
            ("", "The tank is {n} years old."),
        )),
    ),
    "S": (),
}  # fmt: skip
SMALL = "one two three four five six seven eight nine ten eleven twelve".split()
DOZENS = {6: "half a dozen", 12: "a dozen", 24: "two dozen", 36: "three dozen"}
_READ = {text: n for n, text in (*enumerate(SMALL, 1), *DOZENS.items())}
_NUMBER = rf"\d{{1,6}}|{'|'.join(sorted(_READ, key=len, reverse=True))}"
_HOLES = {"n": _NUMBER, "A": "[A-Z][a-z]+", "B": "[A-Z][a-z]+", "t": "[a-z]+"}


def number_text(rng: random.Random, n: int) -> str:
    """Digits, or in part of the draws a word or dozens."""
    if n in DOZENS and rng.random() < 0.6:
        return DOZENS[n]
    return SMALL[n - 1] if 1 < n <= 12 and rng.random() < 0.4 else str(n)


def step_of(total: int, op: str, n: int) -> Step | None:
    """The step a sentence makes of the running number; None when it leaves 1–999."""
    sign, by = op[0], n if len(op) == 1 else 2
    if sign == "/" and total % 2:
        return None
    result = apply(total, sign, by)
    return (total, sign, by, result) if 0 < result < 1000 else None


def draw_chain(rng: random.Random, band: Band) -> tuple[str, list[Step], str]:
    """A question of four or five operations, its steps, and which sentences it is made of."""
    at = rng.randrange(len(THEMES[band]))
    theme = THEMES[band][at]
    (one, other), things = rng.sample(NAMES, 2), rng.choice(THINGS)
    total, wanted = rng.randint(5, 60), rng.choice((4, 4, 5) if band == "R" else (5, 6))
    texts, steps, form = (
        [theme.start.replace("{n}", number_text(rng, total))],
        list[Step](),
        f"{band}{at}:",
    )
    last, asides = -1, 0
    while len(steps) < wanted:
        choice = rng.randrange(len(theme.sentences))
        op, text = theme.sentences[choice]
        n = rng.choice((rng.randint(2, 12), rng.randint(2, 40), 6, 12))
        step = step_of(total, op, n) if op else None
        if choice == last or (op and step is None) or (not op and asides == 2):
            continue
        if step:
            steps.append(step)
            total = step[3]
        last, asides, form = choice, asides + (not op), f"{form} {choice}"
        texts.append(text.replace("{n}", number_text(rng, n)))
    question = " ".join([*texts, theme.question])
    return question.replace("{A}", one).replace("{B}", other).replace("{t}", things), steps, form


def read_chain(question: str) -> tuple[list[Step], str] | None:
    """The steps and sentences of a question made of the sentences of one theme; None when one does not fit."""
    *texts, last = re.split(r"(?<=\.) ", " ".join(question.split()))
    for name, theme, start, end, sentences in _PATTERNS if 1 < len(texts) <= 16 else ():
        head, tail = start.fullmatch(texts[0]), end.fullmatch(last)
        if head is None or tail is None:
            continue
        same = head.groupdict() | tail.groupdict()
        if any(same[key] != value for key, value in head.groupdict().items()):
            return None
        total, steps, form = _value(same["n"]), list[Step](), f"{name}:"
        for text in texts[1:]:
            found = next(
                ((at, m) for at, p in enumerate(sentences) if (m := p.fullmatch(text))), None
            )
            if found is None:
                return None
            at, holes = found[0], found[1].groupdict()
            if any(same.setdefault(key, holes[key]) != holes[key] for key in holes if key != "n"):
                return None
            op = theme.sentences[at][0]
            step = step_of(total, op, _value(holes.get("n", "2"))) if op else None
            if op and step is None:
                return None
            if step:
                steps.append(step)
                total = step[3]
            form += f" {at}"
        return (steps, form) if steps else None
    return None


def _value(text: str) -> int:
    return _READ.get(text) or int(text)


_PATTERNS = tuple(
    (f"{band}{at}", theme, *(pattern_of(text, _HOLES) for text in (theme.start, theme.question)),
     [pattern_of(text, _HOLES) for _, text in theme.sentences])
    for band, themes in THEMES.items() for at, theme in enumerate(themes)
)  # fmt: skip
