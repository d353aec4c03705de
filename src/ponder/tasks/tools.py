"""tasks/tools: questions answered by calling tools: a calculator, a tiny interpreter, look-ups; some calls fail.

S needs one call, sometimes made again because the tool was busy, the argument wrong, or to check; R needs two to four;
in O a function is asked for that no training document names.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from ponder.core.errors import ToolError
from ponder.core.protocols import Tool
from ponder.core.types import Band, Message, Problem, ToolCall, Verdict
from ponder.tasks.columns import apply, operation_lines
from ponder.tasks.family import Trace, TraceWriter
from ponder.tasks.names import different, invented
from ponder.tasks.toolbox import KEYS, RULES, SPECS, Faults, invented_tool, known_tool
from ponder.tasks.words import NAMES, PLURALS
from ponder.verify.numbers import check_number
from ponder.verify.rational import evaluate
from ponder.verify.sequence import check_sentence, check_sequence

UNDEFINED = "undefined"
Book = dict[str, dict[str, str]]


@dataclass(slots=True)
class Draft:
    """A question before it becomes a problem."""

    question: str
    answer: str
    kind: str
    tools: tuple[str, ...]
    calls: tuple[tuple[str, str], ...] = ()
    """Band S: the tool and the argument that answer it."""
    book: Book = field(default_factory=dict[str, dict[str, str]])
    after: str = ""
    """Band S: what is worked out from the result without a tool, e.g. `12*3`."""
    rule: tuple[str, int] | None = None
    """Band O: what the invented function, the last of `tools`, works out."""


def _calc(rng: random.Random) -> Draft:
    """One expression too large to work out by heart; one in twelve divides by zero."""
    a, b, c = rng.randint(100, 9999), rng.randint(12, 999), rng.randint(2, 99)
    text = rng.choice(
        (f"{a}*{b}", f"{a}*{b}+{c}", f"{a}*{b}-{c}", f"{a}+{b}*{c}", f"({a}+{b})*{c}")
    )
    answer = "" if rng.random() > 1 / 12 else UNDEFINED
    if answer:
        text = rng.choice((f"{a}/({c}-{c})", f"{a}/0", f"{b}+{a}/(0*{c})"))
    frame = rng.choice(
        ("What is {t}?", "Use calc: {t}", "Work out {t}.", "Use the calculator for {t}.")
    )
    answer = answer or str(evaluate(text))
    return Draft(frame.format(t=text), answer, "number", ("calc",), (("calc", text),))


def _run(rng: random.Random) -> Draft:
    """A program that is given, or one of a few words."""
    items = [rng.randint(1, 99) for _ in range(rng.randint(5, 9))]
    shown = ", ".join(map(str, items))
    a, b, k = rng.randint(1, 20), rng.randint(25, 99), rng.randint(4, 20)
    loop = f"s = 0; for x in [{shown}] {{ s = s + x }}; show s"
    double = f"x = {a}; repeat {k} {{ x = x * 2 }}; show x"
    given = rng.choice(
        (loop, double, f"show sum([{shown}]) - {a}", f"x = [{shown}]; show x[{rng.randint(0, 4)}]")
    )
    sentence, program = rng.choice((
        (f"What does this program show? {given}", given),
        (f"Run this program: {given}", given),
        (f"Use run to add {shown}.", f"show sum([{shown}])"),
        (f"Use run to sort {shown}.", f"show sort([{shown}])"),
        (f"Use run to find the largest of {shown}.", f"show max([{shown}])"),
        (f"Use run to add the numbers from {a} to {b}.", f"show sum(range({a}, {b} + 1))"),
        (f"Use run to double {a} again and again, {k} times.", double),
    ))  # fmt: skip
    answer = known_tool("run", {}, Faults()).call({"program": program})
    kind = "list" if answer.startswith("[") else "number"
    return Draft(sentence, answer, kind, ("run",), (("run", program),))


def _shop(rng: random.Random) -> tuple[Book, list[str]]:
    """Prices and stocks of a few wares, some of them made up."""
    wares = [*rng.sample(list(PLURALS), 3), *different(rng, 2)]
    rng.shuffle(wares)
    book = {key: {ware: str(rng.randint(3, 97)) for ware in wares} for key in ("price", "stock")}
    return book, wares


def _people(rng: random.Random) -> tuple[Book, list[str]]:
    names = [*rng.sample(NAMES, 3), *(word.capitalize() for word in different(rng, 1))]
    rng.shuffle(names)
    towns = [word.capitalize() for word in different(rng, 4)]
    ages = rng.sample(range(7, 80), 4)
    return {
        "age": {name: str(age) for name, age in zip(names, ages, strict=True)},
        "town": dict(zip(names, towns, strict=True)),
        "distance": {town: str(rng.randint(12, 480)) for town in towns},
    }, names


LOOK_UPS = {
    "price": ("What is the price of a {k}?", "How much is one {k}?", "Find the price of a {k}."),
    "stock": ("How many of the item {k} are in stock?", "Find the stock of the item {k}."),
    "age": ("How old is {k}?", "What is the age of {k}?"),
    "town": ("Where does {k} live?", "In which town does {k} live?"),
    "distance": ("How far is it to {k}?", "How many miles is it to {k}?"),
}


def _look_up(rng: random.Random) -> Draft:
    """One look-up; beside it a tool that is not needed."""
    name = rng.choice(list(LOOK_UPS))
    book, _ = _shop(rng) if name in ("price", "stock") else _people(rng)
    key = rng.choice(list(book[name]))
    spare = rng.choice([other for other in book if other != name])
    tools = [name, spare] if rng.random() < 0.5 else [name]
    rng.shuffle(tools)
    answer = book[name][key]
    return Draft(
        rng.choice(LOOK_UPS[name]).format(k=key), answer, "number" if answer.isdigit() else "word", tuple(tools),
        ((name, key),), book,
    )  # fmt: skip


def _reckon(rng: random.Random) -> Draft:
    """One look-up, then a small sum on its result."""
    k = rng.randint(2, 9)
    if rng.random() < 0.5:
        book, (key, *_) = _shop(rng)
        name, op = "price", rng.choice("**+-")
        asks = {
            "*": ("What do {k} of the item {x} cost?", "How much are {k} of the item {x}?"),
            "+": ("The price of the item {x} rises by {k}. What is it then?",),
            "-": ("The price of the item {x} falls by {k}. What is it then?",),
        }[op]
    else:
        book, (key, *_) = _people(rng)
        name, op = "age", rng.choice("++-")
        asks = {
            "+": ("How old will {x} be in {k} years?",),
            "-": ("How old was {x} {k} years ago?",),
        }[op]
    value = int(book[name][key])
    if op == "-" and value <= k:
        return _reckon(rng)
    spare = "calc" if rng.random() < 0.5 else next(other for other in book if other != name)
    return Draft(
        rng.choice(asks).format(k=k, x=key), str(apply(value, op, k)), "number", (name, spare), ((name, key),), book,
        f"{value}{op}{k}",
    )  # fmt: skip


def _bill(rng: random.Random) -> Draft:
    """R: two or three calls: prices, then the sum."""
    book, (one, two, *_) = _shop(rng)
    a, b = rng.randint(3, 29), rng.randint(3, 29)
    p, q = int(book["price"][one]), int(book["price"][two])
    question, answer = rng.choice((
        (f"What do {a} of the item {one} cost?", a * p),
        (f"What do {a} of the item {one} and {b} of the item {two} cost together?", a * p + b * q),
        (f"What is the whole stock of the item {one} worth?", p * int(book["stock"][one])),
        (f"How much more than a {one} do {a} of the item {two} cost?", a * q - p),
    ))  # fmt: skip
    return Draft(question, str(answer), "number", ("price", "stock", "calc"), (), book)


def _trip(rng: random.Random) -> Draft:
    """R: a person's town, then its distance, then perhaps a sum."""
    book, (one, two, *_) = _people(rng)
    far = {name: int(book["distance"][book["town"][name]]) for name in (one, two)}
    count = rng.randint(3, 19)
    question, answer = rng.choice((
        (f"How far is it to the town where {one} lives?", far[one]),
        (f"How many miles are {count} trips to the town of {one}?", count * far[one]),
        (f"How many miles is it to the towns of {one} and {two} together?", far[one] + far[two]),
        (f"What is the age of {one} times the age of {two}?", int(book["age"][one]) * int(book["age"][two])),
    ))  # fmt: skip
    return Draft(question, str(answer), "number", ("age", "town", "distance", "calc"), (), book)


def _unseen(rng: random.Random) -> Draft:
    """O: a made-up function of two numbers, alone, of itself, or inside a sum."""
    name = next(name for name in iter(lambda: invented(rng), "") if name not in SPECS)
    rule, k = rng.choice(list(RULES)), rng.randint(2, 9)
    a, b, c = (rng.randint(2, 60) for _ in range(3))
    work = RULES[rule]
    question, answer = rng.choice((
        (f"What is {name}({a}, {b})?", work(a, b, k)),
        (f"What is {name}({a}, {b}) + {c}?", work(a, b, k) + c),
        (f"What is {name}({name}({a}, {b}), {c})?", work(work(a, b, k), c, k)),
        (f"What is {name}({a}, {b}) * {name}({b}, {c})?", work(a, b, k) * work(b, c, k)),
    ))  # fmt: skip
    return Draft(question, str(answer), "number", ("calc", name), rule=(rule, k))


class Tools:
    """Answers from tools. No free question is of this family, for it would come without them."""

    name = "tools"

    def generate(self, rng: random.Random, band: Band = "S") -> Problem:
        """S: one call; R: two to four, half of them with one that finds its tool busy; O: an unseen function."""
        if band == "S":
            make, busy = (
                rng.choices((_calc, _run, _look_up, _reckon), (4, 3, 3, 3))[0],
                rng.random() < 0.15,
            )
            draft, faults = make(rng), (0,) if busy else ()
        else:
            make = _unseen if band == "O" else rng.choice((_bill, _trip))
            draft, faults = make(rng), (rng.randint(0, 2),) if rng.random() < 0.5 else ()
        book = {name: draft.book[name] for name in draft.tools if name in draft.book}
        data: dict[str, Any] = {
            "kind": draft.kind, "tools": draft.tools, "calls": draft.calls, "book": book, "rule": draft.rule,
            "busy": faults, "after": draft.after,
        }  # fmt: skip
        canonical = f"{draft.question} {json.dumps([book, draft.rule, faults], sort_keys=True)}"
        steps = max(1, len(draft.calls)) + len(faults)
        return Problem(self.name, band, draft.question, draft.answer, canonical, steps, data)

    def tools(self, problem: Problem) -> tuple[Tool, ...]:
        """The problem's tools with their own variables and their own count of calls."""
        data, faults = problem.data, Faults(frozenset(problem.data["busy"]))
        rule, k = data["rule"] or ("", 0)
        return tuple(
            known_tool(name, data["book"], faults)
            if name in SPECS
            else invented_tool(name, rule, k, faults)
            for name in data["tools"]
        )

    def verify(self, problem: Problem, answer: str) -> Verdict:
        """By the value alone: what the answer says of calls and results counts for nothing."""
        kind = problem.data["kind"]
        if problem.answer == UNDEFINED or kind == "word":
            return check_sentence(answer.strip().removesuffix("."), problem.answer)
        if kind == "list":
            return check_sequence(answer, problem.answer.strip("[]").split(", "))
        return check_number(answer, Fraction(problem.answer), question=problem.question)

    def recognise(self, question: str) -> Problem | None:
        """Never."""
        return None

    def _turns(
        self, problem: Problem, asks: Sequence[tuple[str, str, Mapping[str, str]]]
    ) -> tuple[Message, ...]:
        """The (thinking, tool, arguments) turns with the results that fresh tools give."""
        tools = {tool.spec.name: tool for tool in self.tools(problem)}
        turns: list[Message] = []
        for thinking, name, arguments in asks:
            try:
                result = tools[name].call(arguments)
            except ToolError as error:
                result = f"error: {error}"
            call = ToolCall("call_0", name, json.dumps(arguments))
            turns += [
                Message("assistant", reasoning=thinking, tool_calls=(call,)),
                Message("tool", result, tool_call_id=call.id, name=name),
            ]
        return tuple(turns)

    def _write(
        self, problem: Problem, rng: random.Random, slips: bool = False, twice: bool = False
    ) -> Trace:
        ((name, argument),) = problem.data["calls"]
        ask = (f"{name}: {argument}", name, {KEYS[name]: argument})
        asks = [ask]
        if slips:
            if name == "calc":
                wrong = argument.replace("*", " times ", 1) if "*" in argument else f"{argument}="
            else:
                wrong = argument.replace("show", "print", 1) if name == "run" else f"{argument}s"
            asks.insert(0, (f"{name}: {wrong}", name, {KEYS[name]: wrong}))
        done, busy = [asks[0]], len(problem.data["busy"])
        for again in [asks[0]] * busy + asks[1:]:
            why = "busy, again. " if len(done) <= busy else "wrong, so "
            done.append((why + again[0], again[1], again[2]))
        if twice:
            done.append((f"to check. {ask[0]}", ask[1], ask[2]))
        turns = self._turns(problem, done)
        last = turns[-1].content or ""
        said = "that cannot be divided" if problem.answer == UNDEFINED else last
        lines = [f"it says {said}" if rng.random() < 0.5 else said]
        if problem.data["after"]:
            left, op, right = re.split(r"([-+*])", problem.data["after"])
            lines += operation_lines(int(left), op, int(right))
        return Trace("; ".join(lines), problem.answer, turns)

    def _plain(self, problem: Problem, rng: random.Random) -> Trace:
        """The call, made again while the tool is busy."""
        return self._write(problem, rng)

    def _slipping(self, problem: Problem, rng: random.Random) -> Trace:
        """First a call with a wrong argument; its error is read and the call put right."""
        return self._write(problem, rng, slips=True)

    def _checked(self, problem: Problem, rng: random.Random) -> Trace:
        """The call is made twice."""
        return self._write(problem, rng, twice=True)

    @property
    def writers(self) -> tuple[TraceWriter, ...]:
        return (
            TraceWriter("plain", 0.78, self._plain),
            TraceWriter("slipping", 0.1, self._slipping),
            TraceWriter("checked", 0.12, self._checked),
        )
