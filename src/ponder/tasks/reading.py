"""tasks/reading: looking up what a passage or a table says, in one step or several, or finding that it is not stated.

S asks one fact, R two or three steps or a sum over facts, O the same in longer texts. Half the names are made up.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from ponder.core.types import Band, Problem, Verdict
from ponder.tasks.family import Trace, TraceWriter
from ponder.tasks.names import different
from ponder.tasks.reading_words import COLOURS, COLUMNS, FILLERS, HINTS, JOBS, PETS, RELATIONS
from ponder.tasks.words import NAMES
from ponder.verify.numbers import check_number, clip

NOT_STATED = "not stated"
WORDS = {"pet": PETS, "job": JOBS, "colour": COLOURS}
SIZES = {"S": (4, 7), "R": (6, 10), "O": (12, 16)}
ROWS = {"S": (3, 4), "R": (5, 6), "O": (8, 10)}


class Fact(NamedTuple):
    """One thing told: of whom, which relation, what; and the sentence or the table's row that says it."""

    subject: str
    relation: str
    value: str
    text: str


class World:
    """People and towns with facts, each relation told at most once of each."""

    def __init__(self, rng: random.Random, people: int) -> None:
        self._rng = rng
        made_up = [
            word for word in map(str.capitalize, different(rng, people + 14)) if word not in NAMES
        ]
        half = people // 2
        self.towns, self._names = made_up[:3], made_up[3:8]
        self.people = [*rng.sample(NAMES, people - half), *made_up[8 : 8 + half]]
        rng.shuffle(self.people)
        self.facts: dict[tuple[str, str], Fact] = {}

    def tell(self, subject: str, relation: str) -> Fact:
        """The fact, made up when it was not yet told."""
        known = self.facts.get((subject, relation))
        if known is None:
            value = self._value(subject, RELATIONS[relation].gives)
            text = self._rng.choice(RELATIONS[relation].tells).format(x=subject, y=value)
            known = self.facts[subject, relation] = Fact(subject, relation, value, text)
        return known

    def _value(self, subject: str, kind: str) -> str:
        rng = self._rng
        if kind == "number":
            return str(rng.randint(8, 99))
        if kind == "person":
            return rng.choice([person for person in self.people if person != subject])
        if kind == "town":
            return rng.choice(self.towns)
        if kind == "name":
            return rng.choice(self._names)
        return rng.choice(WORDS[kind]) if kind in WORDS else rng.choice(self._names).lower() + "s"

    def tell_some(self, count: int) -> None:
        """Facts at random until there are `count`."""
        while len(self.facts) < count:
            relation = self._rng.choice(list(RELATIONS))
            kind = self.people if RELATIONS[relation].of == "person" else self.towns
            self.tell(self._rng.choice(kind), relation)

    def walk(self, chain: tuple[str, ...], subject: str, told: bool = True) -> tuple[Fact, ...]:
        """The facts through `chain`; `told` false: without the last, unless it is an earlier one too."""
        path = list[Fact]()
        for relation in chain[:-1]:
            path.append(self.tell(subject, relation))
            subject = path[-1].value
        if told or any((fact.subject, fact.relation) == (subject, chain[-1]) for fact in path):
            return (*path, self.tell(subject, chain[-1]))
        self.facts.pop((subject, chain[-1]), None)
        return tuple(path)


def phrase_of(chain: tuple[str, ...], subject: str) -> str:
    """`the mayor of the town where Ann lives` for (town, mayor) and Ann."""
    for relation in chain:
        subject = RELATIONS[relation].phrase.format(x=subject)
    return subject


def draw_chain(rng: random.Random, hops: int, ends: str = "") -> tuple[str, ...]:
    """Relations that fit together, from a person on; the last gives `ends` when that is said."""
    while True:
        kind, chain = "person", list[str]()
        for step in range(hops):
            last = step == hops - 1
            fits = [
                name for name, relation in RELATIONS.items()
                if relation.of == kind and (last or relation.phrase) and (not last or ends in ("", relation.gives))
            ]  # fmt: skip
            if not fits:
                break
            chain.append(rng.choice(fits))
            kind = RELATIONS[chain[-1]].gives
        if len(chain) == hops:
            return tuple(chain)


@dataclass(frozen=True, slots=True)
class Asked:
    """A question with its answer, and the facts that give it, in order."""

    question: str
    kind: str
    answer: str
    needed: tuple[Fact, ...] = ()
    about: str = ""
    """For NOT_STATED: of whom nothing such is told."""


def _look_up(rng: random.Random, world: World, hops: int) -> Asked:
    chain = draw_chain(rng, hops)
    subject = rng.choice(world.people)
    if hops == 1 and rng.random() < 0.3:
        chain, subject = (rng.choice(("river", "mayor", "tower", "ware")),), rng.choice(world.towns)
    facts = world.walk(chain, subject, told=rng.random() > 0.15)
    question = rng.choice(RELATIONS[chain[-1]].asks).format(x=phrase_of(chain[:-1], subject))
    if len(facts) < len(chain):
        return Asked(question, "word", NOT_STATED, facts, facts[-1].value if facts else subject)
    kind = "number" if RELATIONS[chain[-1]].gives == "number" else "word"
    return Asked(question, kind, facts[-1].value, facts)


def _arithmetic(rng: random.Random, world: World, hops: int) -> Asked:
    """Two numbers, each `hops` facts away, added or subtracted."""
    chain = draw_chain(rng, hops, "number")
    one, two = rng.sample(world.people, 2)
    a, b = (int(world.walk(chain, name)[-1].value) for name in (one, two))
    if a < b:
        one, two, a, b = two, one, b, a
    left, right = phrase_of(chain[:-1], one), phrase_of(chain[:-1], two)
    more = {
        "age": f"How many years older is {left} than {right}?",
        "coins": f"How many more coins does {left} have than {right}?",
        "tower": f"How many feet higher is the tower of {left} than that of {right}?",
    }[chain[-1]]
    both = {
        "age": f"How old are {left} and {right} together?",
        "coins": f"How many coins do {left} and {right} have together?",
        "tower": f"How many feet are the towers of {left} and {right} together?",
    }[chain[-1]]
    question, value = rng.choice(((more, a - b), (both, a + b)))
    return Asked(question, "number", str(value))


def _who(rng: random.Random, world: World) -> Asked:
    """Everyone who lives in one town; at least one does."""
    town = world.tell(rng.choice(world.people), "town").value
    found = tuple(f for f in world.facts.values() if (f.relation, f.value) == ("town", town))
    question = rng.choice(("Who lives in {t}?", "Name everyone who lives in {t}.")).format(t=town)
    return Asked(question, "set", ", ".join(fact.subject for fact in found), found)


def _column(rng: random.Random, world: World, columns: list[str]) -> Asked:
    """One number over many rows of a table."""
    numbers = [name for name in columns if RELATIONS[name].gives == "number"]
    by = rng.choice(numbers)
    rows = {f.subject: int(f.value) for f in world.facts.values() if f.relation == by}
    town = world.tell(rng.choice(world.people), "town").value
    living = [f.subject for f in world.facts.values() if (f.relation, f.value) == ("town", town)]
    most, least = max(rows, key=rows.__getitem__), min(rows, key=rows.__getitem__)
    options = [
        Asked(f"How many people live in {town}?", "number", str(len(living))),
        Asked(f"What is the sum of the column {by} for {town}?", "number", str(sum(rows[name] for name in living))),
    ]  # fmt: skip
    if list(rows.values()).count(rows[most]) == 1:
        options.append(Asked(f"Who has the largest number under {by}?", "word", most))
    if list(rows.values()).count(rows[least]) == 1:
        options.append(Asked(f"Who has the smallest number under {by}?", "word", least))
    return rng.choice(options)


class Reading:
    """Looking things up. Free texts are not read back: nothing here understands sentences."""

    name = "reading"

    def generate(self, rng: random.Random, band: Band = "S") -> Problem:
        """A passage, or three times in ten a table, and a question about it."""
        if rng.random() < 0.3:
            return self._table(rng, band)
        world = World(rng, {"S": 4, "R": 5, "O": 7}[band])
        size = rng.randint(*SIZES[band])
        world.tell_some(size - 2)
        if band == "S":
            asked = _who(rng, world) if rng.random() < 0.12 else _look_up(rng, world, 1)
        elif rng.random() < 0.4:
            asked = _arithmetic(rng, world, 1 if band == "R" else 2)
        else:
            asked = _look_up(rng, world, rng.randint(2, 3) if band == "R" else rng.randint(3, 4))
        facts = list(world.facts.values())
        rng.shuffle(facts)
        texts = [fact.text for fact in facts]
        for _ in range(rng.choice((0, 0, 1, 2))):
            texts.insert(rng.randrange(len(texts) + 1), rng.choice(FILLERS))
        hint = rng.choice(HINTS)
        frame = rng.choice(("{p} {h}{q}", "{p}\n{h}{q}", "Read this. {p}\n{h}{q}", "{h}\n{p}\n{q}"))
        text = frame.format(p=" ".join(texts), h=hint, q=asked.question).strip()
        return self._problem(text, asked, facts, (), band)

    def _table(self, rng: random.Random, band: Band) -> Problem:
        world = World(rng, rng.randint(*ROWS[band]) + 1)
        absent = world.people.pop()
        number = rng.choice(("age", "coins"))
        others = [name for name in COLUMNS if name not in ("town", number)]
        columns = ["town", number, *rng.sample(others, rng.randint(0, 2))]
        rng.shuffle(columns)
        for person in world.people:
            for column in columns:
                world.tell(person, column)
        facts = list(world.facts.values())
        rows = [" | ".join((p, *(world.tell(p, c).value for c in columns))) for p in world.people]
        if band != "S":
            asked = _column(rng, world, columns)
        elif rng.random() < 0.15:
            asked = _who(rng, world)
        else:
            column, subject = rng.choice(columns), rng.choice(world.people)
            missing = rng.random() < 0.15
            subject = absent if missing else subject
            needed: tuple[Fact, ...] = () if missing else (world.tell(subject, column),)
            answer = needed[0].value if needed else NOT_STATED
            kind = "number" if answer.isdigit() else "word"
            question = rng.choice(RELATIONS[column].asks).format(x=subject)
            asked = Asked(question, kind, answer, needed, subject)
        text = "\n".join(
            (" | ".join(("name", *columns)), *rows, f"{rng.choice(HINTS)}{asked.question}")
        )
        return self._problem(text, asked, facts, tuple(columns), band)

    def _problem(
        self, text: str, asked: Asked, facts: list[Fact], columns: tuple[str, ...], band: Band
    ) -> Problem:
        told = sorted(f"{fact.subject} {fact.relation} {fact.value}" for fact in facts)
        data = {
            "kind": asked.kind, "needed": asked.needed, "about": asked.about, "facts": tuple(facts), "columns": columns,
        }  # fmt: skip
        canonical = f"{asked.question} {'; '.join(told)}"
        return Problem(
            self.name, band, text, asked.answer, canonical, max(1, len(asked.needed)), data
        )

    def verify(self, problem: Problem, answer: str) -> Verdict:
        """By value: a number, one word (an article before it does not matter), or a set of names in any order."""
        kind, wanted = problem.data["kind"], problem.answer
        if kind == "number":
            return check_number(answer, Fraction(wanted), question=problem.question)
        text = answer.strip().removesuffix(".")
        if len(text) > 400:
            return Verdict("wrong", "longer than 400 characters")
        if kind == "set":
            found = sorted(item for item in re.split(r",? and |, *| +", text) if item)
            right = found == sorted(wanted.split(", "))
        else:
            right = re.sub(r"^(?:a|an|the) ", "", text.casefold()) == wanted.casefold()
        return (
            Verdict("right", wanted)
            if right
            else Verdict("wrong", f"{clip(answer)} is not {wanted}")
        )

    def recognise(self, question: str) -> Problem | None:
        """Never."""
        return None

    def _quoted(self, problem: Problem, fact: Fact) -> str:
        """The sentence, or the row up to the column that is asked for, each value after its head."""
        columns = problem.data["columns"]
        if not columns:
            return fact.text[:-1]
        row = {f.relation: f.value for f in problem.data["facts"] if f.subject == fact.subject}
        heads = columns[: columns.index(fact.relation) + 1]
        return " ".join([f"name {fact.subject}", *(f"{head} {row[head]}" for head in heads)])

    def _lines(self, problem: Problem) -> list[str]:
        """The needed facts; where one is missing, all that is told of its subject, each with a no."""
        needed, about = problem.data["needed"], problem.data["about"]
        lines = [self._quoted(problem, fact) for fact in needed]
        if problem.answer == NOT_STATED:
            of = [fact for fact in problem.data["facts"] if fact.subject == about]
            lines += [f"{self._quoted(problem, fact)} no" for fact in of] or [f"no {about}"]
        return lines

    def _quote(self, problem: Problem, rng: random.Random) -> Trace:
        """The sentences that answer, in their own words."""
        return Trace("; ".join([*self._lines(problem), problem.answer]), problem.answer)

    def _scan(self, problem: Problem, rng: random.Random) -> Trace:
        """Every fact in the order of the text, in its own words, with yes or no; of a table every row's name."""
        facts, needed = problem.data["facts"], problem.data["needed"]
        if problem.data["columns"]:
            subjects = list(dict.fromkeys(fact.subject for fact in facts))
            wanted = {fact.subject for fact in needed}
            lines = [f"{name} {'yes' if name in wanted else 'no'}" for name in subjects]
            lines += [self._quoted(problem, fact) for fact in needed]
        else:
            lines = [f"{fact.text[:-1]} {'yes' if fact in needed else 'no'}" for fact in facts]
        return Trace("; ".join([*lines, problem.answer]), problem.answer)

    def _slipping(self, problem: Problem, rng: random.Random) -> Trace:
        """A fact beside the point is quoted first and taken back."""
        lines = self._lines(problem)
        facts, needed = problem.data["facts"], problem.data["needed"]
        beside = [f for f in facts if f not in needed and f.subject != problem.data["about"]]
        if beside:
            lines[0] = f"{self._quoted(problem, rng.choice(beside))} [BACK] {lines[0]}"
        return Trace("; ".join([*lines, problem.answer]), problem.answer)

    @property
    def writers(self) -> tuple[TraceWriter, ...]:
        return (
            TraceWriter("quote", 0.66, self._quote),
            TraceWriter("scan", 0.22, self._scan),
            TraceWriter("slipping", 0.12, self._slipping),
        )
