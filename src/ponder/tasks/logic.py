"""tasks/logic: knights and knaves, orders, who has what, true or false, and 4×4 grids; always one solution."""

from __future__ import annotations

import random
import re

from ponder.core.types import Band, Problem, Verdict
from ponder.tasks.family import Trace, TraceWriter, pattern_of
from ponder.tasks.logic_puzzles import GRID, HEADS, Puzzle, build, build_grid, draw, people_in
from ponder.verify.numbers import clip

KINDS = (("knights", 25), ("order", 20), ("things", 20), ("truth", 20), ("grid", 15))
FILLER = {"is", "has", "the"}


def show(puzzle: Puzzle, values: dict[str, str]) -> str:
    """The solution as an answer: `Ann knight, Bob knave`, `Cid Ann Bob`, `1 2 3 4 / …`."""
    if puzzle.kind == "grid":
        return " / ".join(
            " ".join(values[cell] for cell in GRID[row : row + 4]) for row in range(0, 16, 4)
        )
    if puzzle.kind == "order":
        return " ".join(sorted(values, key=lambda name: values[name]))
    people: dict[str, list[str]] = {}
    for name, value in values.items():
        people.setdefault(name.split()[0], []).append(value)
    return ", ".join(f"{name} {' '.join(row)}" for name, row in people.items())


def read_answer(puzzle: Puzzle, answer: str) -> dict[str, str] | None:
    """The values an answer gives, in any order of people; None when it is not one value for each variable."""
    text = answer.strip().removesuffix(".")
    if len(text) > 400:
        return None
    if puzzle.kind in ("grid", "order"):
        words = [word for word in re.split(r"[\s,/>]+(?:and\s+)?", text) if word]
        names = list(GRID) if puzzle.kind == "grid" else words
        values = words if puzzle.kind == "grid" else [str(at + 1) for at in range(len(words))]
        if (
            len(names) != len(values)
            or len(values) != len(puzzle.domains)
            or set(names) != set(puzzle.domains)
        ):
            return None
        found = dict(zip(names, values, strict=True))
    else:
        found = {}
        for part in re.split(r"[,;\n] *(?:and )?| and ", text):
            plain = re.sub(r"\b(?:is|has) an? |[:=]", " ", part)
            name, *values = [word for word in plain.split() if word not in FILLER] or [""]
            for value in values:
                fits = [
                    each
                    for each, domain in puzzle.domains.items()
                    if each.split()[0] == name and value in domain
                ]
                if len(fits) != 1 or fits[0] in found:
                    return None
                found[fits[0]] = value
    complete = found.keys() == puzzle.domains.keys()
    fits = complete and all(found[name] in puzzle.domains[name] for name in found)
    return found if fits else None


class Logic:
    """Puzzles with one solution."""

    name = "logic"

    def generate(self, rng: random.Random, band: Band = "S") -> Problem:
        """S: two or three people, up to six clues or blanks; R: four people, two properties; O: five."""
        kind = rng.choices([name for name, _ in KINDS], [weight for _, weight in KINDS])[0]
        question, puzzle = draw(rng, kind, band)
        return self._problem(question, puzzle, band)

    def _problem(self, question: str, puzzle: Puzzle, band: Band) -> Problem:
        values = puzzle.only_solution()
        assert values is not None, "callers pass puzzles with one solution"
        names = list(dict.fromkeys(name.split()[0] for name in puzzle.domains))
        texts = list(dict.fromkeys(clue.text for clue in puzzle.clues))
        canonical = f"{puzzle.kind} " + (
            "; ".join(texts) or question.partition(": ")[2].rstrip(".")
        )
        structure = canonical
        for at, name in enumerate(names if texts else ()):
            structure = re.sub(rf"\b{name}\b", f"p{at}", structure)
        size = len(texts) or sum(len(domain) > 1 for domain in puzzle.domains.values())
        data = {"puzzle": puzzle, "values": values}
        return Problem(
            self.name, band, question, show(puzzle, values), canonical, size, data, structure
        )

    def verify(self, problem: Problem, answer: str) -> Verdict:
        """By every clue; the reason is the first one that fails."""
        puzzle: Puzzle = problem.data["puzzle"]
        values = read_answer(puzzle, answer)
        if values is None:
            form = f"does not say everything in the form of {problem.answer!r}"
            return Verdict("wrong", f"{clip(answer)} {form}")
        for name in puzzle.domains:
            broken = puzzle.broken(values, name)
            if broken:
                told = f"{clip(answer)}: {broken!r} does not hold"
                return Verdict("wrong", broken if "twice" in broken else told)
        return Verdict("right", f"every clue holds for {clip(answer)}")

    def recognise(self, question: str) -> Problem | None:
        """Reads the frame of a kind and its clues; None when one is unknown or not exactly one solution is left."""
        text = " ".join(question.split())
        try:
            puzzle = self._read(text) if len(text) < 1200 else None
        except KeyError:
            return None
        return self._problem(question, puzzle, "S") if puzzle and puzzle.only_solution() else None

    def _read(self, text: str) -> Puzzle | None:
        for kind, pattern in PATTERNS:
            match = pattern.fullmatch(text)
            if match is None:
                continue
            if kind == "grid":
                cells = match["clues"].replace("/", " ").split()
                fine = len(cells) == 16 and set(cells) <= set("1234_")
                return build_grid(cells) if fine else None
            clues = re.split(r"; " if kind == "truth" else r"\. ", match["clues"])
            groups = match.groupdict()
            told = groups.get("names")
            names = re.split(", | and ", told) if told else people_in(match["clues"])
            rows = re.findall(r"\w+: ([\w, ]+?)(?= and a different|$)", groups.get("what", ""))
            items = [re.split(", | or ", row) for row in rows]
            if (
                not 2 <= len(names) <= 6
                or len(clues) > 16
                or not all(len(row) == len(names) for row in items)
            ):
                return None
            return build(kind, names, items, clues)
        return None

    def _tried(self, problem: Problem, rng: random.Random) -> Trace:
        """Values in order, each tried until a clue breaks; dead ends are kept and taken back."""
        puzzle: Puzzle = problem.data["puzzle"]
        lines: list[str] = []
        fixed = {name: domain[0] for name, domain in puzzle.domains.items() if len(domain) == 1}
        open_names = [name for name in puzzle.domains if name not in fixed]

        def step(done: dict[str, str]) -> bool:
            if len(done) == len(open_names):
                return True
            name = open_names[len(done)]
            for value in puzzle.domains[name]:
                trial = {**done, name: value}
                shown = trial if puzzle.kind != "grid" else {name: value}
                state = " ".join(f"{each.split()[0]} {shown[each]}" for each in shown)
                broken = puzzle.broken({**fixed, **trial}, name)
                lines.append(f"{state}: {broken} no [BACK]" if broken else state)
                if not broken and step(trial):
                    return True
            lines.append("none [BACK]")
            return False

        step({})
        return Trace("\n".join(lines), problem.answer)

    def _narrowed(self, problem: Problem, rng: random.Random) -> Trace:
        """What each clue leaves; where nothing follows, a supposition, taken back when it fails."""
        puzzle: Puzzle = problem.data["puzzle"]
        lines: list[str] = []
        solved = (fill if puzzle.kind == "grid" else narrow)(puzzle, dict(puzzle.domains), lines)
        assert solved, "a puzzle with one solution is solved by narrowing and supposing"
        return Trace("\n".join(lines), problem.answer)

    @property
    def writers(self) -> tuple[TraceWriter, ...]:
        return (
            TraceWriter("narrowed", 0.6, self._narrowed),
            TraceWriter("tried", 0.4, self._tried),
        )


def narrow(puzzle: Puzzle, domains: dict[str, tuple[str, ...]], lines: list[str]) -> bool:
    """Clues and groups applied until nothing changes, then a supposition; True when solved."""

    def keep(reason: str, name: str, values: tuple[str, ...]) -> bool:
        """False when no value is left."""
        domains[name] = values
        short = name.split()[0]
        lines.append(f"{reason}: {short} {' or '.join(values) or 'none [BACK]'}")
        return bool(values)

    changed = True
    while changed:
        changed = False
        for clue in puzzle.clues:
            for at, name in enumerate(clue.scope):
                place = [domains[each] for each in clue.scope]
                rows = [
                    r for r in clue.allowed if all(v in d for v, d in zip(r, place, strict=True))
                ]
                left = tuple(
                    value for value in domains[name] if any(row[at] == value for row in rows)
                )
                if left != domains[name]:
                    changed = True
                    if not keep(clue.text, name, left):
                        return False
        for name in list(domains):
            for group in puzzle.groups if len(domains[name]) == 1 else ():
                for other in group if name in group else ():
                    if other != name and domains[name][0] in domains[other]:
                        changed = True
                        left = tuple(value for value in domains[other] if value != domains[name][0])
                        if not keep(f"{name.split()[0]} {domains[name][0]}", other, left):
                            return False
    name = next((name for name, values in domains.items() if len(values) > 1), None)
    if name is None:
        return True
    for value in domains[name]:
        lines.append(f"suppose {name.split()[0]} {value}")
        if narrow(puzzle, {**domains, name: (value,)}, lines):
            return True
    return False


def fill(puzzle: Puzzle, domains: dict[str, tuple[str, ...]], lines: list[str]) -> bool:
    """Blank cells in reading order, again and again, each filled when row, column and box leave one digit."""
    known = {name: values[0] for name, values in domains.items() if len(values) == 1}
    while len(known) < len(domains):
        before = len(known)
        for name in domains:
            groups = [group for group in puzzle.groups if name in group]
            seen = [[known[each] for each in group if each in known] for group in groups]
            left = set(domains[name]).difference(*seen)
            if name not in known and len(left) == 1:
                known[name] = left.pop()
                row, column, box = (" ".join(digits) for digits in seen)
                where = f"{name[0]} {name[1]}: row {row} column {column} box {box}"
                lines.append(f"{where}: {known[name]}")
        if len(known) == before:
            lines.append("[BACK]")
            left = {name: (known[name],) if name in known else domains[name] for name in domains}
            return narrow(puzzle, left, lines)
    return True


_HOLES = {
    "clues": ".+?",
    "names": r"[\w, ]+?",
    "what": r"[\w,: ]+?",
    "first": r"\w+",
    "last": r"\w+",
}
PATTERNS = tuple((kind, pattern_of(HEADS[kind], _HOLES)) for kind, _ in KINDS)
