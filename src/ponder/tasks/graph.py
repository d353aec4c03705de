"""tasks/graph: dependency-graph word problems; facts in shuffled order, some of them beside the point."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from fractions import Fraction

from ponder.core.types import Band, Problem, Verdict
from ponder.tasks.columns import apply, is_direct, operation_lines
from ponder.tasks.family import Trace, TraceWriter
from ponder.tasks.words import NAMES, THINGS
from ponder.verify.numbers import check_number

Rule = tuple[str, str, str]
"""("Bob", "+", "3") on Bob, ("Ann", "+", "Bob") on two people, ("4", "", "") for a given number."""
TIMES = {2: "twice", 3: "three times", 4: "four times", 5: "five times"}
OPS = {"S": (1, 5), "R": (6, 8), "O": (9, 12)}
TOPS = {"S": 60, "R": 99, "O": 400}
"""The largest number anyone has."""


def rule_text(rule: Rule) -> str:
    """`Bob+3`, `Bob plus Ann`, `4`; a name always follows a space or a line's start, as in the question."""
    left, op, right = rule
    return "".join(rule) if not op or right.isdigit() else f"{left} plus {right}"


def sentence(name: str, rule: Rule, things: str) -> str:
    """The fact as English."""
    left, op, right = rule
    if not op:
        return f"{name} has {left} {things}."
    if not right.isdigit():
        return f"{name} has as many {things} as {left} and {right} together."
    if op == "*":
        return f"{name} has {TIMES[int(right)]} as many {things} as {left}."
    if op == "/":
        return f"{name} has half as many {things} as {left}."
    return f"{name} has {right} {'more' if op == '+' else 'fewer'} {things} than {left}."


def value_of(rule: Rule, values: Mapping[str, int]) -> int | None:
    """The number a rule gives; None when it is negative or broken. Raises KeyError for a number not known yet."""
    left, op, right = rule
    if not op:
        return int(left)
    a, b = values[left], int(right) if right.isdigit() else values[right]
    return None if (op == "-" and a < b) or (op == "/" and (b == 0 or a % b)) else apply(a, op, b)


def values_of(rules: dict[str, Rule]) -> dict[str, int] | None:
    """Everyone's number; None when a rule is circular, broken or leaves the whole numbers."""
    values: dict[str, int] = {}
    for _ in range(len(rules) + 1):
        for name, rule in rules.items():
            sources = [part for part in (rule[0], rule[2]) if rule[1] and not part.isdigit()]
            if name in values or any(source not in values for source in sources):
                continue
            value = value_of(rule, values)
            if value is None:
                return None
            values[name] = value
    return values if len(values) == len(rules) else None


def needed(rules: dict[str, Rule], asked: str) -> list[str]:
    """The people whose numbers are needed, in the order a depth-first walk opens them."""
    order: list[str] = []

    def walk(name: str) -> None:
        if name not in order:
            order.append(name)
            left, op, right = rules[name]
            if op:
                walk(left)
                if not right.isdigit():
                    walk(right)

    walk(asked)
    return order


def is_easy(rule: Rule, values: Mapping[str, int]) -> bool:
    """True when the step needs no columns."""
    left, op, right = rule
    return not op or is_direct(values[left], op, int(right) if right.isdigit() else values[right])


class Graph:
    """Who has how many."""

    name = "graph"

    def generate(self, rng: random.Random, band: Band = "S") -> Problem:
        """A number of operations, then a chain or a small net of people, then distractors."""
        if band != "S":
            return self._larger(rng, band)
        low, high = OPS[band]
        while True:
            wanted = rng.randint(low, high)
            names = rng.sample(NAMES, wanted + 5)
            rules: dict[str, Rule] = {names[0]: (str(rng.randint(2, 12)), "", "")}
            for at in range(1, wanted + 1):
                rules[names[at]] = self._rule(rng, names[:at], names[at - 1])
            asked = names[wanted]
            values = values_of(rules)
            if values is None or max(values.values()) > TOPS[band]:
                continue
            count = sum(1 for name in needed(rules, asked) if rules[name][1])
            if count < low or not all(is_easy(rule, values) for rule in rules.values()):
                continue
            for extra in range(rng.choices((0, 1, 2, 3), (40, 30, 20, 10))[0]):
                name = names[wanted + 1 + extra]
                given = rng.random() < 0.4
                number = (str(rng.randint(2, 12)), "", "") if given else None
                rules[name] = number or self._rule(rng, list(rules), rng.choice(list(rules)))
            if values_of(rules) is None:
                continue
            return self._write(rng, rules, asked, band)

    def _larger(self, rng: random.Random, band: Band) -> Problem:
        """R and O: every fact is drawn until it fits. In half of O another person than the last is asked for."""
        low, high = OPS[band]
        again = band == "O" and rng.random() < 0.5
        while True:
            size = high + 3 if again else rng.randint(low, high)
            names = rng.sample(NAMES, size + 1 + rng.choices((0, 1, 2, 3), (40, 30, 20, 10))[0])
            rules: dict[str, Rule] = {names[0]: (str(rng.randint(2, 12)), "", "")}
            values = {names[0]: int(rules[names[0]][0])}
            for at, name in enumerate(names[1:], 1):
                value, rule = None, ("", "", "")
                while value is None or not 0 < value <= TOPS[band]:
                    rule = (str(rng.randint(2, 12)), "", "")
                    if at <= size or rng.random() < 0.6:
                        last = names[at - 1] if at <= size else rng.choice(names[:at])
                        rule = self._rule(rng, names[:at], last)
                    value = value_of(rule, values) if band == "O" or is_easy(rule, values) else None
                rules[name], values[name] = rule, value
            counts = {
                name: sum(1 for each in needed(rules, name) if rules[each][1])
                for name in names[1 : size + 1]
            }
            asked = [name for name, count in counts.items() if low <= count <= high]
            if again and asked:
                return self._write(rng, rules, rng.choice(asked), band)
            if names[size] in asked:
                return self._write(rng, rules, names[size], band)

    def _rule(self, rng: random.Random, before: Sequence[str], last: str) -> Rule:
        kind = rng.random()
        base = last if rng.random() < 0.9 else rng.choice(before)
        if kind < 0.12 and len(before) > 1:
            other = rng.choice([name for name in before if name != base])
            return (base, "+", other)
        if kind < 0.45:
            return (base, "+", str(rng.randint(2, 12)))
        if kind < 0.72:
            return (base, "-", str(rng.randint(2, 9)))
        if kind < 0.92:
            return (base, "*", str(rng.choices((2, 3, 4, 5), (55, 25, 12, 8))[0]))
        return (base, "/", "2")

    def _write(self, rng: random.Random, rules: dict[str, Rule], asked: str, band: Band) -> Problem:
        things = rng.choice(THINGS)
        facts = list(rules)
        if rng.random() < 0.7:
            rng.shuffle(facts)
        text = " ".join(sentence(name, rules[name], things) for name in facts)
        return self._problem(f"{text} How many {things} does {asked} have?", rules, asked, band)

    def _problem(self, question: str, rules: dict[str, Rule], asked: str, band: Band) -> Problem:
        values = values_of(rules)
        assert values is not None, "callers pass rules that follow from what is given"
        order = needed(rules, asked)
        number = {name: f"p{at}" for at, name in enumerate(order)}
        canonical = " ".join(
            "".join(number.get(part, part) for part in (name, "=", *rules[name])) for name in order
        )
        things = question.split("How many ")[1].split()[0]
        data = {"rules": rules, "asked": asked, "values": values, "things": things}
        steps = sum(1 for name in order if rules[name][1])
        shape = "" if band == "S" else re.sub(r"(?<!p)\b\d+", "#", canonical)
        return Problem(self.name, band, question, str(values[asked]), canonical, steps, data, shape)

    def verify(self, problem: Problem, answer: str) -> Verdict:
        asked, data = problem.data["asked"], problem.data
        told = rule_text(data["rules"][asked])
        return check_number(answer, Fraction(data["values"][asked]), told, problem.question)

    def recognise(self, question: str) -> Problem | None:
        """Reads the sentences back; None when one is unknown or someone's number does not follow."""
        *facts, last = [part.strip() for part in re.split(r"[.?]", question) if part.strip()] or [
            ""
        ]
        asked = re.fullmatch(r"How many (\w+) does (\w+) have(?: now)?", last)
        if not asked or not facts or len(facts) > 40:
            return None
        rules: dict[str, Rule] = {}
        for fact in facts:
            read = read_fact(fact)
            if read is None or read[0] in rules:
                return None
            rules[read[0]] = read[1]
        if asked[2] not in rules or not rules[asked[2]][1] or values_of(rules) is None:
            return None
        return self._problem(question, rules, asked[2], "S")

    def _backward(self, problem: Problem, rng: random.Random) -> Trace:
        """From the question back to what is given, each fact in its own words, then forward with numbers.

        Facts are copied word by word: small models copy forwards well, and look up who stands where badly.
        """
        rules, values = problem.data["rules"], problem.data["values"]
        things = problem.data["things"]
        lines = [f"find {problem.data['asked']}"]
        done: set[str] = set()

        def quote(name: str) -> str:
            return sentence(name, rules[name], things)[:-1]

        def solve(name: str) -> None:
            left, op, right = rules[name]
            if not op:
                lines.append(quote(name))
                done.add(name)
                return
            parents = [left] if right.isdigit() else [left, right]
            if any(parent not in done for parent in parents) or name == problem.data["asked"]:
                lines.append(quote(name))
            for parent in parents:
                if parent not in done:
                    solve(parent)
            b = int(right) if right.isdigit() else values[right]
            work = operation_lines(values[left], op, b)
            lines.extend(work[:-1])
            lines.append(f"{name} is {values[left]}{op}{b}={values[name]}")
            done.add(name)

        solve(problem.data["asked"])
        return Trace("; ".join(lines), problem.answer)

    def _planned(self, problem: Problem, rng: random.Random) -> Trace:
        """Names whose numbers are needed first, then the numbers."""
        order = needed(problem.data["rules"], problem.data["asked"])
        trace = self._backward(problem, rng)
        return Trace(f"need {' '.join(order)}; {trace.thinking}", trace.answer)

    @property
    def writers(self) -> tuple[TraceWriter, ...]:
        return (
            TraceWriter("backward", 0.9, self._backward),
            TraceWriter("planned", 0.1, self._planned),
        )


def read_fact(fact: str) -> tuple[str, Rule] | None:
    """One sentence without its dot, read back into (name, rule)."""
    if match := re.fullmatch(r"(\w+) has (\d{1,6}) \w+", fact):
        return match[1], (match[2], "", "")
    if match := re.fullmatch(r"(\w+) has (\d{1,6}) (more|fewer) \w+ than (\w+)", fact):
        return match[1], (match[4], "+" if match[3] == "more" else "-", match[2])
    if match := re.fullmatch(r"(\w+) has as many \w+ as (\w+) and (\w+) together", fact):
        return match[1], (match[2], "+", match[3])
    if match := re.fullmatch(r"(\w+) has (half|twice|\w+ times) as many \w+ as (\w+)", fact):
        if match[2] == "half":
            return match[1], (match[3], "/", "2")
        factor = next((key for key, word in TIMES.items() if word == match[2]), None)
        return (match[1], (match[3], "*", str(factor))) if factor else None
    return None
