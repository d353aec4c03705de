"""tasks/procedures: sort, count, reverse, largest, smallest and n-th item of a short list."""

from __future__ import annotations

import random
import re
from fractions import Fraction

from ponder.core.types import Band, Problem, Verdict
from ponder.tasks.family import Trace, TraceWriter, pattern_of
from ponder.verify.numbers import check_number
from ponder.verify.sequence import check_sequence

FRAMES: dict[str, tuple[str, ...]] = {
    "sort": ("Sort these numbers: {l}.", "Sort {l} from smallest to largest.", "Put {l} in order.",
             "Sort the list {l}.", "Order {l} from smallest to largest."),
    "letters": ("Sort these letters: {l}.", "Sort {l} in alphabetical order.", "Put the letters {l} in order."),
    "count": ("How many times does {i} appear in {l}?", "Count {i} in {l}.", "How often is {i} in the list {l}?"),
    "reverse": ("Reverse {l}.", "Write {l} backwards.", "Reverse the list {l}."),
    "max": ("What is the largest of {l}?", "Find the largest number in {l}.", "What is the maximum of {l}?"),
    "min": ("What is the smallest of {l}?", "Find the smallest number in {l}.", "What is the minimum of {l}?"),
    "nth": ("What is the {o} item of {l}?", "What is the {o} item in the list {l}?", "Find the {o} item of {l}."),
}  # fmt: skip
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")
LENGTHS = {"S": (3, 6), "R": (7, 9), "O": (10, 12)}
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def solve(kind: str, items: list[str], item: str) -> list[str]:
    """The right answer as a list."""
    if kind == "sort":
        return sorted(items, key=int)
    if kind == "letters":
        return sorted(items)
    if kind == "count":
        return [str(items.count(item))]
    if kind == "reverse":
        return items[::-1]
    if kind in ("max", "min"):
        return [str((max if kind == "max" else min)(int(text) for text in items))]
    return [items[ORDINALS.index(item)]]


class Procedures:
    """Short lists."""

    name = "procedures"

    def generate(self, rng: random.Random, band: Band = "S") -> Problem:
        """Lists of 3–6 (S), 7–9 (R) or 10–12 (O) numbers below 100, or letters."""
        low, high = LENGTHS[band]
        kind = rng.choices(list(FRAMES), (28, 12, 16, 14, 10, 10, 10))[0]
        length, item = rng.randint(low, high), ""
        letters = kind == "letters" or (kind in ("reverse", "nth", "count") and rng.random() < 0.4)
        if letters:
            items = rng.sample(LETTERS, length)
        else:
            top = rng.choice((9, 30, 99)) if length < 8 else 99
            items = [str(number) for number in rng.sample(range(1, top + 1), length)]
        if kind == "count":
            pool = items[: rng.randint(2, 3)]
            items = [rng.choice(pool) for _ in range(length)]
            item = rng.choice(pool)
        elif kind == "nth":
            item = ORDINALS[rng.randrange(min(length, len(ORDINALS)))]
        listed = rng.choice((", ", " ", ", ")).join(items)
        frame = rng.choice(FRAMES[kind])
        return self._problem(frame.format(l=listed, i=item, o=item), kind, items, item, band)

    def _problem(
        self, question: str, kind: str, items: list[str], item: str, band: Band
    ) -> Problem:
        answer = " ".join(solve(kind, items, item))
        canonical = f"{kind} {item} {' '.join(items)}"
        data = {"kind": kind, "items": items, "item": item}
        return Problem(self.name, band, question, answer, canonical, len(items), data)

    def verify(self, problem: Problem, answer: str) -> Verdict:
        data = problem.data
        expected = solve(data["kind"], data["items"], data["item"])
        if data["kind"] in ("count", "max", "min"):
            return check_number(answer, Fraction(expected[0]))
        return check_sequence(answer, expected)

    def recognise(self, question: str) -> Problem | None:
        """Matches the question against every frame."""
        text = " ".join(question.split()).removesuffix(".")
        for kind, pattern in PATTERNS:
            match = pattern.fullmatch(text)
            if match is None:
                continue
            groups = match.groupdict()
            items = [item for item in re.split(r"[,\s]+(?:and )?", groups["l"]) if item]
            item = groups.get("i") or groups.get("o") or ""
            if not 1 <= len(items) <= 200 or not all(
                re.fullmatch(r"\d{1,9}|[a-z]", one) for one in items
            ):
                continue
            numeric = all(one.isdigit() for one in items)
            if (kind in ("sort", "max", "min") and not numeric) or (kind == "letters" and numeric):
                continue
            if kind == "nth" and (item not in ORDINALS or ORDINALS.index(item) >= len(items)):
                continue
            return self._problem(question, kind, items, item, "S")
        return None

    def _plain(self, problem: Problem, rng: random.Random) -> Trace:
        data = problem.data
        kind, items, item = data["kind"], list(data["items"]), data["item"]
        lines: list[str] = []
        if kind in ("sort", "letters"):
            order = solve(kind, items, item)
            for at, least in enumerate(order):
                lines.append(f"{' '.join(items)}: {' '.join(order[: at + 1])}")
                items.remove(least)
        elif kind == "count":
            total = 0
            for one in items:
                total += one == item
                lines.append(f"{one} yes {total}" if one == item else f"{one} no")
            lines.append(f"{total}")
        elif kind == "reverse":
            done: list[str] = []
            while items:
                done.insert(0, items.pop(0))
                lines.append(
                    f"{' '.join(items)}: {' '.join(done)}" if items else f"{' '.join(done)}"
                )
        elif kind in ("max", "min"):
            best = items[0]
            lines.append(best)
            for one in items[1:]:
                better = int(one) > int(best) if kind == "max" else int(one) < int(best)
                lines.append(f"{one}: {one if better else best}")
                best = one if better else best
        else:
            for at in range(ORDINALS.index(item) + 1):
                lines.append(f"{ORDINALS[at]} {items[at]}")
        return Trace("\n".join(lines), problem.answer)

    def _inserted(self, problem: Problem, rng: random.Random) -> Trace:
        """Sorting by insertion; the other kinds as in the plain style, on one line."""
        data = problem.data
        if data["kind"] not in ("sort", "letters"):
            return Trace(self._plain(problem, rng).thinking.replace("\n", "; "), problem.answer)
        done: list[str] = []
        lines: list[str] = []
        for one in data["items"]:
            done = solve(data["kind"], [*done, one], "")
            lines.append(f"put {one}: {' '.join(done)}")
        return Trace("\n".join(lines), problem.answer)

    @property
    def writers(self) -> tuple[TraceWriter, ...]:
        return (
            TraceWriter("plain", 0.92, self._plain),
            TraceWriter("inserted", 0.08, self._inserted),
        )


_HOLES = {"l": r"[\w, ]+?", "i": r"\w+", "o": r"\w+"}
PATTERNS = tuple(
    (kind, pattern_of(frame.removesuffix("."), _HOLES, re.IGNORECASE))
    for kind, frames in FRAMES.items() for frame in frames
)  # fmt: skip
