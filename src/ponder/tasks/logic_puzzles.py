"""tasks/logic_puzzles: logic puzzles, their clues read from English, their solutions, and how each kind is drawn."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product

from ponder.core.types import Band
from ponder.tasks.words import NAMES

Values = Mapping[str, str]
Reading = tuple[Sequence[str], Callable[[Values], bool]]
"""The variables a sentence speaks of, and whether it is true of their values."""
SIDES: tuple[str, ...] = ("knight", "knave")
SCALES = (("taller", "shorter"), ("older", "younger"), ("faster", "slower"))
MORE, LESS = {more for more, _ in SCALES}, {less for _, less in SCALES}
ITEMS = (
    ("pet", "cat dog fish bird horse".split()),
    ("drink", "tea milk juice water coffee".split()),
)
PEOPLE = ("P0", "P1", "P2", "P3", "P4")
"""Placeholders while a puzzle is drawn."""
SIZES: dict[Band, int] = {"S": 3, "R": 4, "O": 5}
GRID = tuple(f"{row}{column}" for row in range(1, 5) for column in range(1, 5))
LINES = (
    *(tuple(cell for cell in GRID if cell[0] == str(n)) for n in range(1, 5)),
    *(tuple(cell for cell in GRID if cell[1] == str(n)) for n in range(1, 5)),
    *(tuple(cell for cell in GRID if cell[0] in rows and cell[1] in columns)
      for rows in ("12", "34") for columns in ("12", "34")),
)  # fmt: skip
HEADS = {
    "knights": "Knights always tell the truth and knaves always lie. {clues}. Who is what?",
    "order": "{clues}. List them from {first} to {last}.",
    "things": "{names} each have a different {what}. {clues}. Who has what?",
    "truth": "Find true or false for {names} so that all hold: {clues}.",
    "grid": "Fill the grid so that every row, column and 2x2 box holds 1, 2, 3 and 4: {clues}.",
}


@dataclass(frozen=True, slots=True)
class Clue:
    """A sentence, the variables it speaks of, and the values of these that it allows."""

    text: str
    scope: tuple[str, ...]
    allowed: frozenset[tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Puzzle:
    """Variables with their possible values; clues; groups in which no value comes twice."""

    kind: str
    domains: dict[str, tuple[str, ...]]
    clues: tuple[Clue, ...]
    groups: tuple[tuple[str, ...], ...] = ()

    def broken(self, values: Values, name: str) -> str:
        """The first clue about `name` that these values break, or a value that comes twice; empty when all is well."""
        for clue in self.clues:
            if (
                name in clue.scope
                and all(each in values for each in clue.scope)
                and tuple(values[each] for each in clue.scope) not in clue.allowed
            ):
                return clue.text
        for group in self.groups:
            if name in group and any(
                values.get(other) == values[name] for other in group if other != name
            ):
                return f"{values[name]} twice"
        return ""

    def solutions(self, values: dict[str, str] | None = None) -> Iterator[dict[str, str]]:
        """Every assignment that breaks nothing."""
        values = values or {}
        if len(values) == len(self.domains):
            yield dict(values)
            return
        left = [name for name in self.domains if name not in values]
        name = min(left, key=lambda name: len(self.domains[name]))
        for value in self.domains[name]:
            values[name] = value
            if not self.broken(values, name):
                yield from self.solutions(values)
            del values[name]

    def only_solution(self) -> dict[str, str] | None:
        """The solution when there is exactly one."""
        found = self.solutions()
        first = next(found, None)
        return first if first and next(found, None) is None else None


def read_clue(kind: str, text: str, domains: dict[str, tuple[str, ...]]) -> list[Clue]:
    """What a sentence says; the empty list when it cannot be read. Raises KeyError for a variable not in the puzzle."""
    if kind == "knights":
        found = _read_claim(text)
    elif kind == "order":
        found = _read_order(text, str(len(domains)))
    else:
        found = _read_things(text, domains) if kind == "things" else _read_clause(text)
    clues: list[Clue] = []
    for names, test in found:
        scope = tuple(dict.fromkeys(names))
        rows = product(*(domains[name] for name in scope))
        fits = frozenset(row for row in rows if test(dict(zip(scope, row, strict=True))))
        clues.append(Clue(text, scope, fits))
    return clues


def _read_claim(text: str) -> list[Reading]:
    pattern = r"(\w+) says that (?:(\w+) (and|or) )?(\w+) (is a|are both|are) ([\w ]+)"
    m = re.fullmatch(pattern, text)
    if m is None:
        return []
    who, one, joint, other, verb, said = m.groups()
    kind = said.removesuffix("s") if verb == "are both" else said
    tests: dict[tuple[str | None, str, str], Callable[[Values], bool]] = {
        ("and", "are", "the same"): lambda v: v[one] == v[other],
        ("and", "are", "different"): lambda v: v[one] != v[other],
    }
    for side in SIDES:
        tests[None, "is a", side] = lambda v: v[other] == kind
        tests["or", "is a", side] = lambda v: kind in (v[one], v[other])
        tests["and", "are both", f"{side}s"] = lambda v: v[one] == v[other] == kind
    test = tests.get((joint, verb, said))
    names = [who, one, other] if one else [who, other]
    return [(names, lambda v: (v[who] == SIDES[0]) == test(v))] if test else []


def _read_order(text: str, last: str) -> list[Reading]:
    if (m := re.fullmatch(r"(\w+) is (\w+) than (\w+)", text)) and m[2] in MORE | LESS:
        one, other = m.group(1, 3) if m[2] in MORE else m.group(3, 1)
        return [((one, other), lambda v: v[one] < v[other])]
    if (m := re.fullmatch(r"(\w+) is (not )?the (\w+)st", text)) and f"{m[3]}r" in MORE | LESS:
        name, place, plain = m[1], "1" if f"{m[3]}r" in MORE else last, not m[2]
        return [((name,), lambda v: (v[name] == place) == plain)]
    return []


def _read_things(text: str, domains: Mapping[str, tuple[str, ...]]) -> list[Reading]:
    m = re.fullmatch(r"(?:The one with the (\w+)|(\w+)) (has|does not have) the (\w+)", text)
    if m is None:
        return []
    given, who, verb, item = m.groups()
    if who:
        name = f"{who} {item_kind(item)}"
        return [((name,), lambda v: (v[name] == item) == (verb == "has"))]
    people = dict.fromkeys(name.split()[0] for name in domains)
    pairs = [(f"{name} {item_kind(given)}", f"{name} {item_kind(item)}") for name in people]
    return [(pair, _joined(pair, given, item, verb == "has")) for pair in pairs]


def _read_clause(text: str) -> list[Reading]:
    if not re.fullmatch(r"(not )?[a-e]( or (not )?[a-e]){0,2}", text):
        return []
    parts = text.split(" or ")
    wanted = [(part[-1], "false" if part.startswith("not ") else "true") for part in parts]
    names = [name for name, _ in wanted]
    return [(names, lambda v: any(v[name] == value for name, value in wanted))]


def _joined(
    pair: tuple[str, str], one: str, other: str, together: bool
) -> Callable[[Values], bool]:
    if together:
        return lambda v: (v[pair[0]] == one) == (v[pair[1]] == other)
    return lambda v: not (v[pair[0]] == one and v[pair[1]] == other)


def superlative(word: str) -> str:
    """`tallest` of `taller`."""
    return word[:-1] + "st"


def item_kind(item: str) -> str:
    """`pet` of `cat`. Raises KeyError."""
    for kind, items in ITEMS:
        if item in items:
            return kind
    raise KeyError(item)


def people_in(text: str) -> list[str]:
    """Names in the order in which they first come."""
    return list(dict.fromkeys(re.findall(r"\b[A-Z][a-z]+\b", text)))


def listed(words: Sequence[str], last: str = "and") -> str:
    """`Ann, Bob and Cid`."""
    return f"{', '.join(words[:-1])} {last} {words[-1]}"


def build(
    kind: str, names: Sequence[str], items: Sequence[Sequence[str]], clues: Sequence[str]
) -> Puzzle | None:
    """The puzzle of these people or letters and clues; None when a clue cannot be read. Raises KeyError."""
    groups: tuple[tuple[str, ...], ...] = ()
    domains: dict[str, tuple[str, ...]]
    if kind == "things":
        if any(item_kind(item) != item_kind(row[0]) for row in items for item in row):
            return None
        domains = {f"{name} {item_kind(row[0])}": tuple(row) for row in items for name in names}
        groups = tuple(tuple(f"{name} {item_kind(row[0])}" for name in names) for row in items)
    elif kind == "order":
        domains = {name: tuple(str(n + 1) for n in range(len(names))) for name in names}
        groups = (tuple(names),)
    else:
        domains = dict.fromkeys(names, SIDES if kind == "knights" else ("true", "false"))
    read = [read_clue(kind, text, domains) for text in clues]
    if not all(read):
        return None
    return Puzzle(kind, domains, tuple(clue for row in read for clue in row), groups)


def build_grid(cells: Sequence[str]) -> Puzzle:
    """A 4×4 sudoku from sixteen digits or underscores."""
    domains = {
        name: ("1", "2", "3", "4") if cell == "_" else (cell,)
        for name, cell in zip(GRID, cells, strict=True)
    }
    return Puzzle("grid", domains, (), LINES)


def draw_grid(rng: random.Random, band: Band) -> str:
    """The text of a grid with one solution; S 3–6, R 7–8, O 9–10 blanks."""
    low, high = {"S": (3, 6), "R": (7, 8), "O": (9, 10)}[band]
    digits = rng.sample("1234", 4)
    full = [digits[int(digit) - 1] for digit in rng.choice(full_grids())]
    while True:
        cells = list(full)
        for at in rng.sample(range(16), rng.randint(low, high)):
            cells[at] = "_"
        if build_grid(cells).only_solution():
            return " / ".join(" ".join(cells[row : row + 4]) for row in range(0, 16, 4))


@cache
def full_grids() -> tuple[str, ...]:
    """The twelve full grids whose first row is 1 2 3 4."""
    return tuple(
        "".join(found[cell] for cell in GRID)
        for found in build_grid("1234____________").solutions()
    )


def draw_clue(rng: random.Random, kind: str, size: int, band: Band) -> str:
    """Some sentence of the kind about placeholders, true or not."""
    names = "abcde"[:size] if kind == "truth" else PEOPLE[:size]
    one, other = rng.sample(names, 2)
    if kind == "knights":
        point, third = rng.random(), rng.choice([name for name in names if name != other])
        if point < 0.2 and third != one:
            alike = rng.choice(("the same", "different"))
            return f"{one} says that {other} and {third} are {alike}"
        if point < 0.4:
            return f"{one} says that {other} and {third} are both {rng.choice(SIDES)}s"
        if point < 0.6:
            return f"{one} says that {other} or {third} is a {rng.choice(SIDES)}"
        return f"{one} says that {other} is a {rng.choice(SIDES)}"
    if kind == "order":
        word = rng.choice(SCALES[0])
        if band != "S" and rng.random() < 0.3:
            return f"{one} is {rng.choice(('', 'not '))}the {superlative(word)}"
        return f"{one} is {word} than {other}"
    if kind == "things":
        verb = rng.choice(("has", "does not have", "does not have"))
        rows = [items[:size] for _, items in ITEMS]
        if band == "R" and rng.random() < 0.5:
            return f"The one with the {rng.choice(rows[0])} {verb} the {rng.choice(rows[1])}"
        return f"{one} {verb} the {rng.choice(rng.choice(rows) if band == 'R' else rows[0])}"
    letters = rng.sample(names, 2 if size < 3 or rng.random() < 0.75 else 3)
    return " or ".join(rng.choice(("", "not ")) + letter for letter in sorted(letters))


@cache
def _bare(kind: str, size: int, num_rows: int) -> tuple[Puzzle, tuple[dict[str, str], ...]]:
    """The puzzle of placeholders without clues, and its worlds."""
    names = "abcde"[:size] if kind == "truth" else PEOPLE[:size]
    bare = build(kind, names, [items[:size] for _, items in ITEMS[:num_rows]], ())
    assert bare is not None, "no clue is always readable"
    return bare, tuple(bare.solutions())


@cache
def _mask(kind: str, size: int, num_rows: int, text: str) -> int:
    """The worlds in which a sentence is true, as bits."""
    bare, worlds = _bare(kind, size, num_rows)
    read = read_clue(kind, text, bare.domains)
    return sum(
        1 << at for at, world in enumerate(worlds)
        if all(tuple(world[name] for name in clue.scope) in clue.allowed for clue in read)
    )  # fmt: skip


def _sufficient(rng: random.Random, kind: str, size: int, num_rows: int, band: Band) -> list[str]:
    """Clues that leave one world, at most six in band S; empty when the draw went wrong."""
    left = (1 << len(_bare(kind, size, num_rows)[1])) - 1
    truth = 1 << rng.randrange(left.bit_length())
    clues: dict[str, int] = {}
    speakers: set[str] = set()
    for _ in range(60):
        text = draw_clue(rng, kind, size, band)
        mask = _mask(kind, size, num_rows, text)
        speaker = text[: 2 * (kind == "knights")]
        if not mask & truth or left & mask == left or speaker in speakers:
            continue
        clues[text] = mask
        left &= mask
        speakers |= {speaker} if speaker else set()
        if left == truth:
            break
    else:
        return []
    for text in list(clues):
        left = -1
        for other, mask in clues.items():
            left &= mask if other != text else -1
        if kind != "knights" and rng.random() < 0.8 and left == truth:
            del clues[text]
    used = re.findall(r"\b(?:P\d|[a-e])\b", " ".join(clues))
    too_many, too_few = band == "S" and len(clues) > 6, kind != "things" and len(set(used)) < size
    return [] if too_many or too_few else list(clues)


def draw(rng: random.Random, kind: str, band: Band) -> tuple[str, Puzzle]:
    """The question and the puzzle: true clues until one solution is left, needless ones taken out, names put in."""
    if kind == "grid":
        cells = draw_grid(rng, band)
        return HEADS[kind].format(clues=cells), build_grid(cells.replace("/", "").split())
    num_rows = 2 if kind == "things" and band == "R" else 1
    fewer = kind == "knights" and band == "S" and rng.random() < 0.3
    size = SIZES[band] - (num_rows == 2) - fewer
    clues: list[str] = []
    while not clues:
        clues = _sufficient(rng, kind, size, num_rows, band)
    people, scale = rng.sample(NAMES, size), rng.choice(SCALES)
    words = dict(zip(PEOPLE, people, strict=False)) | dict(zip(SCALES[0], scale, strict=True))
    words |= {superlative(a): superlative(b) for a, b in zip(SCALES[0], scale, strict=True)}
    chosen = ITEMS if num_rows == 2 else (rng.choice(ITEMS),)
    rows = [rng.sample(items, size) for _, items in chosen]
    for (_, items), row in zip(ITEMS, rows, strict=False):
        words |= dict(zip(items, row, strict=False))
    clues = [re.sub(r"\w+", lambda m: words.get(m[0], m[0]), text) for text in clues]
    if kind == "truth":
        people = list("abcde"[:size])
    elif kind != "things":
        people = people_in(" ".join(clues))
    what = " and a different ".join(f"{item_kind(row[0])}: {listed(row, 'or')}" for row in rows)
    question = HEADS[kind].format(
        clues=("; " if kind == "truth" else ". ").join(clues), names=listed(people), what=what,
        first=superlative(scale[0]), last=superlative(scale[1]),
    )  # fmt: skip
    puzzle = build(kind, people, rows, clues)
    assert puzzle is not None, "every drawn clue is one that can be read"
    return question, puzzle
