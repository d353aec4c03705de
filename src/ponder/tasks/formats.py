"""tasks/formats: a small thing to write, and rules for its form: how many, what case, what order, what not to use.

S gives one rule, R two, O three together. A word that the verifier does not know is undecided, not wrong.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ponder.core.types import Band, Problem, Verdict
from ponder.tasks.family import Trace, TraceWriter
from ponder.tasks.names import invented
from ponder.tasks.reading_words import COLOURS, JOBS, PETS
from ponder.verify.constraints import check_constraints, words

CATEGORIES: dict[str, Sequence[str]] = {
    "animals": PETS,
    "colours": COLOURS,
    "jobs": JOBS,
    "fruits": "apple pear plum cherry lemon orange peach melon grape fig mango lime banana berry quince".split(),
    "tools": "hammer saw nail drill spade rake axe knife file ladder brush rope screw chisel pliers shovel".split(),
    "clothes": "hat coat sock shoe shirt scarf glove belt boot dress skirt cap vest cloak apron sandal".split(),
    "rooms": "kitchen hall attic cellar study bedroom bathroom library pantry nursery porch office studio".split(),
    "foods": "bread soup cheese rice egg butter honey bean cake pie salt sugar onion carrot potato noodle".split(),
}
SLOTS: dict[str, Sequence[str]] = {
    "first": "big old small young brown quiet hungry clever".split(),
    "second": "red kind wild slim gray calm funny dirty".split(),
    "verb": "runs sleeps waits jumps walks sits looks calls".split(),
    "how": "slowly alone again happily quickly softly".split(),
    "when": "today outside nearby now tonight everywhere".split(),
}
ORDERS: dict[int, str] = {
    3: "The noun verb", 4: "The first noun verb", 5: "The first noun verb how", 6: "The first noun verb how when",
    7: "The first second noun verb how when",
}  # fmt: skip
"""Words of a sentence by their number: slots, and what stands for itself."""
STARTS = ("Here:", "Sure:", "List:", "Answer:", "Look:", "Now:")
ENDS = ("that is all", "done", "the end", "goodbye", "thank you", "amen")
WORDINGS: dict[str, tuple[str, ...]] = {
    "upper": ("Use capital letters only.", "Write in upper case."),
    "title": ("Begin each word with a capital letter.", "Capitalise each word."),
    "commas": ("Part them with commas.", "Write them on one line with commas between them."),
    "lines": ("Put each one on a new line.", "Write one on each line."),
    "bullets": ("Write a bullet list with a - before each.", "Make each one a bullet point that starts with -."),
    "json": ("Write a JSON list.", "Answer with a JSON list of texts."),
    "sorted": ("Put them in alphabetical order.", "Sort them by the alphabet."),
    "without": ("Do not use the letter {l}.", "Avoid the letter {l}."),
    "forbids": ("Do not use the words {a} and {b}.", "Leave out {a} and {b}."),
    "start": ('Start with "{s}"', 'The answer begins with "{s}"'),
    "end": ('End with "{e}".', 'The last words are "{e}".'),
    "quoted": ("Put double quotes around the whole answer.", "Wrap the answer in double quotes."),
    "count": ("Use exactly {n} words.", "Write {n} words, no more and no fewer."),
}  # fmt: skip
APART = (
    {"upper", "title"}, {"commas", "lines", "bullets", "json"}, {"json", "start"}, {"json", "end"}, {"json", "quoted"},
    {"lines", "start"}, {"lines", "end"}, {"lines", "quoted"}, {"bullets", "start"}, {"bullets", "end"},
    {"bullets", "quoted"}, {"sorted", "start"}, {"sorted", "end"}, {"quoted", "start"}, {"upper", "json"},
)  # fmt: skip
"""Rules of which at most one is given."""
OF_LISTS = tuple(rule for rule in WORDINGS if rule != "count")
OF_SENTENCES = ("count", "count", "upper", "title", "without", "forbids", "end", "quoted")


@dataclass(slots=True)
class Order:
    """What is to be written."""

    rules: tuple[str, ...]
    count: int
    pool: Sequence[str] = ()
    """A list's words; empty for a sentence."""
    noun: str = ""
    """A sentence's subject."""
    letter: str = ""
    forbidden: tuple[str, ...] = ()
    start: str = ""
    end: str = ""

    def fault(self, word: str) -> str:
        """Why a word cannot be used, or nothing."""
        if self.letter and self.letter in word.lower():
            return f"has {self.letter}"
        return "not allowed" if word.lower() in self.forbidden else ""

    def tries(self) -> list[Sequence[str]]:
        """For each word to write, the words that may stand there, in the order they are tried."""
        if not self.noun:
            return [self.pool] * self.count
        slots = ORDERS[self.count].split()
        return [[self.noun] if s == "noun" else SLOTS.get(s, [s]) for s in slots]

    def steps(self) -> tuple[list[str], list[str]] | None:
        """The words chosen, each the first that fits, and the choice as lines; None where no word fits."""
        lines, chosen, seen = list[str](), list[str](), set[str]()
        for options in self.tries():
            for word in options:
                if word in seen:
                    continue
                seen.add(word)
                if why := self.fault(word):
                    lines.append(f"{word} {why}")
                    continue
                chosen.append(word)
                lines.append(f"{word} {len(chosen)}")
                break
            else:
                return None
        return sorted(chosen) if "sorted" in self.rules else chosen, lines

    def text(self, chosen: list[str]) -> str:
        """The words in the form the rules give."""
        rules, end, start = set(self.rules), self.end, self.start
        if "title" in rules:
            chosen = [word.capitalize() for word in chosen]
            start, end = start.capitalize(), " ".join(map(str.capitalize, end.split()))
        if "json" in rules:
            return json.dumps(chosen)
        join = "\n" if rules & {"lines", "bullets"} else " " if self.noun else ", "
        body = join.join([f"- {word}" for word in chosen] if "bullets" in rules else chosen)
        stop = "." if bool(self.noun) != bool(end) else ""
        text = f"{start} {body}{stop} {end}".strip()
        text = text.upper() if "upper" in rules else text
        return f'"{text}"' if "quoted" in rules else text

    def constraints(self) -> list[dict[str, Any]]:
        """The rules as the constraints checker reads them."""
        exactly = {"relation": "exactly", "count": self.count}
        extra = len(words(self.end))
        made: dict[str, list[dict[str, Any]]] = {
            "upper": [{"kind": "case", "case": "upper"}],
            "title": [{"kind": "case", "case": "title"}],
            "commas": [{"kind": "items", **exactly}, {"kind": "lines", "relation": "exactly", "count": 1}],
            "lines": [{"kind": "lines", **exactly}],
            "bullets": [{"kind": "bullets", **exactly}, {"kind": "each_line_starts", "wanted": "-"}],
            "json": [{"kind": "json"}, {"kind": "starts_with", "wanted": "["}],
            "sorted": [{"kind": "sorted"}],
            "without": [{"kind": "without", "characters": self.letter}],
            "forbids": [{"kind": "forbids", "words": list(self.forbidden)}],
            "start": [{"kind": "starts_with", "wanted": self.start}],
            "end": [{"kind": "ends_with", "wanted": self.end}],
            "quoted": [{"kind": "quoted"}],
            "count": [{"kind": "words", "relation": "exactly", "count": self.count + extra}],
        }  # fmt: skip
        return [constraint for rule in self.rules for constraint in made[rule]]


def _draw_rules(rng: random.Random, kinds: tuple[str, ...], count: int) -> tuple[str, ...]:
    while True:
        rules = tuple(rng.sample(kinds, count))
        if len(set(rules)) == count and not any(len(pair & set(rules)) > 1 for pair in APART):
            return rules


class Formats:
    """Small texts under rules. Free questions are not read back."""

    name = "formats"

    def generate(self, rng: random.Random, band: Band = "S") -> Problem:
        """A list to choose, a list to name, or a sentence, with one, two or three rules."""
        count = {"S": 1, "R": 2, "O": 3}[band]
        while True:
            order, request = self._sentence(rng, count) if rng.random() < 0.25 else self._list(rng, count)  # fmt: skip
            self._fill(rng, order)
            found = order.steps()
            if found is None:
                continue
            values = {
                "l": order.letter, "s": order.start, "e": order.end, "n": order.count + len(words(order.end)),
                **dict(zip("ab", order.forbidden, strict=False)),
            }  # fmt: skip
            told = [rng.choice(WORDINGS[rule]).format(**values) for rule in order.rules]
            question = " ".join([request, *told])
            data = {
                "order": asdict(order), "constraints": order.constraints(), "given": "hoose" in request,
                "known": [*order.pool] or ["the", "a", order.noun, *itertools.chain(*SLOTS.values())],
            }  # fmt: skip
            return Problem(
                self.name, band, question, order.text(found[0]), question, len(order.rules), data
            )

    def _list(self, rng: random.Random, count: int) -> tuple[Order, str]:
        name, many = rng.choice(list(CATEGORIES)), rng.randint(2, 5)
        order = Order(_draw_rules(rng, OF_LISTS, count), many, CATEGORIES[name])
        if rng.random() < 0.35:
            return order, rng.choice(("Name {n} {c}.", "Write {n} {c}.")).format(n=many, c=name)
        pool = rng.sample(order.pool, many + rng.randint(2, 4))
        if rng.random() < 0.3:
            pool[rng.randrange(len(pool))] = invented(rng)
        order.pool = pool
        frame = rng.choice(("Choose {n} of these {c}: {p}.", "From {p}, choose {n}."))
        return order, frame.format(n=many, c=name, p=", ".join(order.pool))

    def _sentence(self, rng: random.Random, count: int) -> tuple[Order, str]:
        noun = rng.choice([*PETS, *JOBS])
        rules = _draw_rules(rng, OF_SENTENCES, count)
        order = Order(rules, rng.randint(3, 7) if "count" in rules else 5, (), noun)
        frame = rng.choice(("Write a sentence about a {x}.", "Tell me of a {x} in one sentence."))
        return order, frame.format(x=noun)

    def _fill(self, rng: random.Random, order: Order) -> None:
        """Letters, words and phrases for the rules that need them."""
        if "start" in order.rules:
            order.start = f"{invented(rng)}:" if rng.random() < 0.3 else rng.choice(STARTS)
        if "end" in order.rules:
            order.end = invented(rng) if rng.random() < 0.3 else rng.choice(ENDS)
        if "without" in order.rules:
            used = f"{order.start}{order.end}{'the' if order.noun else ''}{order.noun}".lower()
            order.letter = rng.choice([c for c in "abcdefghiklmnoprstuwy" if c not in used])
        if "forbids" in order.rules:
            slots = [list(options) for options in order.tries() if len(options) > 1]
            one = rng.choice(slots)[0]
            other = rng.choice([word for options in slots for word in options if word != one])
            order.forbidden = (one, other)

    def verify(self, problem: Problem, answer: str) -> Verdict:
        """The rules by the constraints checker, then what was to be written."""
        order = Order(**problem.data["order"])
        verdict = check_constraints(answer, problem.data["constraints"])
        if verdict.status != "right":
            return verdict
        listed: Any = json.loads(answer) if "json" in order.rules else []
        if not all(isinstance(one, str) for one in listed):
            return Verdict("wrong", "not a JSON list of texts")
        found = [word.lower() for word in words(answer)]
        for phrase, cut in ((order.start, slice(0, 1)), (order.end, slice(-1, None))):
            for word in words(phrase.lower())[:: 1 if cut.start == 0 else -1]:
                if found[cut] != [word]:
                    return Verdict("wrong", f"{phrase!r} is not where it belongs")
                del found[cut]
        known: list[str] = problem.data["known"]
        strange = [word for word in found if word not in known]
        if not order.noun and (len(found) != order.count or len(set(found)) != len(found)):
            return Verdict("wrong", f"{len(set(found))} different words, {order.count} wanted")
        if order.noun and (
            order.noun not in found or len(found) < 3 or len(set(found)) < len(found) - 1
        ):
            return Verdict("wrong", f"no sentence about {order.noun}")
        if strange and (problem.data["given"] or not strange[0].isalpha()):
            return Verdict("wrong", f"{strange[0][:40]!r} is not to choose from")
        if strange:
            return Verdict("undecided", f"the word {strange[0][:40]!r} is not known here")
        return verdict

    def recognise(self, question: str) -> Problem | None:
        """Never."""
        return None

    def _lines(self, order: Order) -> list[str]:
        """Words tried and counted, then brought into their form."""
        found = order.steps()
        assert found is not None, "generate keeps only orders that can be filled"
        chosen, lines = found
        if "sorted" in order.rules:
            lines.append(f"in order {' '.join(chosen)}")
        return lines

    def _plain(self, problem: Problem, rng: random.Random) -> Trace:
        """The words one by one."""
        return Trace("; ".join(self._lines(Order(**problem.data["order"]))), problem.answer)

    def _slipping(self, problem: Problem, rng: random.Random) -> Trace:
        """The same with one count that is taken back."""
        lines = self._lines(Order(**problem.data["order"]))
        counted = [at for at, line in enumerate(lines) if line.split()[-1].isdigit()]
        at = rng.choice(counted)
        word, number = lines[at].split()
        lines[at] = f"{word} {int(number) + rng.choice((1, 2))} [BACK] {lines[at]}"
        return Trace("; ".join(lines), problem.answer)

    def _checked(self, problem: Problem, rng: random.Random) -> Trace:
        """The words one by one, then each rule by name."""
        order = Order(**problem.data["order"])
        checks = [f"{rule} yes" for rule in order.rules]
        return Trace("; ".join([*self._lines(order), *checks]), problem.answer)

    @property
    def writers(self) -> tuple[TraceWriter, ...]:
        return (
            TraceWriter("plain", 0.6, self._plain),
            TraceWriter("checked", 0.28, self._checked),
            TraceWriter("slipping", 0.12, self._slipping),
        )
