"""tasks/reading: every text is read anew by patterns and must give the answer; adversaries."""

from __future__ import annotations

import random
import re
from collections import Counter

import pytest

from ponder.core.types import Problem
from ponder.tasks import FAMILIES, generate, verify
from ponder.tasks.reading import NOT_STATED
from ponder.tasks.reading_words import FILLERS, HINTS, RELATIONS

WRITERS = FAMILIES["reading"].writers


def pattern(sentence: str) -> re.Pattern[str]:
    return re.compile(
        re.escape(sentence).replace(r"\{x\}", r"(?P<x>\w+)").replace(r"\{y\}", r"(?P<y>\w+)")
    )


TELLS = [(name, pattern(text)) for name, relation in RELATIONS.items() for text in relation.tells]
ASKS = [(name, pattern(text)) for name, relation in RELATIONS.items() for text in relation.asks]
PHRASES = [
    (name, re.compile(re.escape(relation.phrase).replace(r"\{x\}", r"(?!the )(\w+)")))
    for name, relation in RELATIONS.items()
    if relation.phrase
]


def read(text: str) -> tuple[dict[tuple[str, str], str], str]:
    """Facts and question of a text, from the text alone."""
    for hint in HINTS:
        text = text.replace(hint, "") if hint else text
    text = text.strip().removeprefix("Read this. ")
    facts: dict[tuple[str, str], str] = {}
    *lines, question = re.split(r"\n|(?<=\.) (?=[^.?]*[.?]$)", text)
    if lines[0].startswith("name | "):
        columns = lines[0].split(" | ")[1:]
        for row in lines[1:]:
            name, *values = row.split(" | ")
            facts |= {(name, c): value for c, value in zip(columns, values, strict=True)}
        return facts, question
    for sentence in re.split(r"(?<=\.) ", " ".join(lines)):
        found = [(name, m) for name, p in TELLS if (m := p.fullmatch(sentence))]
        assert found or sentence in FILLERS, sentence
        facts |= {(m["x"], name): m["y"] for name, m in found}
    return facts, question


def solved(facts: dict[tuple[str, str], str], question: str) -> str | None:
    """The answer of a look-up, a sum or a difference of two, or a set; None for other questions."""
    unknown = False
    while not any(asked.fullmatch(question) for _, asked in ASKS):
        found = next(((n, m) for n, p in PHRASES if (m := p.search(question))), None)
        if found is None:
            break
        name, match = found
        value = facts.get((match[1], name))
        unknown |= value is None
        question = question.replace(match[0], value or "nobody")
    if match := re.fullmatch(r"(?:Who|Name everyone who) lives in (\w+)[?.]", question):
        return ", ".join(x for (x, name), y in facts.items() if (name, y) == ("town", match[1]))
    if " than " in question or " together?" in question:
        key = next(
            n
            for n, w in (("tower", "feet"), ("coins", "coins"), ("age", "old"), ("age", "years"))
            if w in question
        )
        a, b = (int(facts[x, key]) for x in re.findall(r"[A-Z]\w+", question)[1:])
        return str(a - b if " than " in question else a + b)
    for name, asked in ASKS:
        if match := asked.fullmatch(question):
            return NOT_STATED if unknown else facts.get((match["x"], name), NOT_STATED)
    return None


@pytest.mark.parametrize("band", ["S", "R", "O"])
def test_the_text_alone_gives_the_answer(band: str) -> None:
    kinds: Counter[str] = Counter()
    for index in range(300):
        problem = generate("reading", band, 2, index)  # type: ignore[arg-type]
        facts, question = read(problem.question)
        answer = solved(facts, question)
        if answer is None:  # over a column
            assert "|" in problem.question and band != "S"
            by = next((c for c in ("age", "coins") if c in question), "")
            values = {x: int(y) for (x, name), y in facts.items() if name == by}
            town = [x for (x, name), y in facts.items() if name == "town" and y in question]
            if "largest" in question or "smallest" in question:
                answer = (max if "largest" in question else min)(values, key=values.__getitem__)
            else:
                answer = str(sum(values[x] for x in town) if values else len(town))
        kinds[problem.data["kind"], answer == NOT_STATED] += 1
        assert verify(problem, answer).status == "right", (problem.question, answer, problem.answer)
        assert verify(problem, f"{answer}x").status == "wrong"
    assert kinds["word", True] > 10 and kinds["number", False] > 30 and kinds["word", False] > 30
    assert band != "S" or kinds["set", False] > 15


@pytest.mark.parametrize("writer", WRITERS, ids=lambda writer: writer.name)
def test_quotes_stand_in_the_text(writer) -> None:
    for index in range(200):
        problem = generate("reading", "S", 4, index)
        trace = writer.write(problem, random.Random(index))
        *lines, last = trace.thinking.split("; ")
        assert last == trace.answer == problem.answer
        if "|" in problem.question:
            continue
        for quote in (quote for line in lines for quote in line.split(" [BACK] ")):
            told = quote.removesuffix(" yes").removesuffix(" no")
            assert f"{told}." in problem.question or quote.startswith("no ")
        if writer.name == "scan":
            needed = [line.removesuffix(" yes") for line in lines if line.endswith(" yes")]
            assert sorted(needed) == sorted(fact.text[:-1] for fact in problem.data["needed"])
        else:
            ends = [line.rpartition(" [BACK] ")[2] for line in lines]
            denied = all(line.endswith(" no") or line.startswith("no ") for line in ends)
            assert denied == (problem.answer == NOT_STATED)


def problem_of(kind: str, answer: str = "") -> Problem:
    return next(
        problem
        for problem in (generate("reading", "S", 6, index) for index in range(2000))
        if problem.data["kind"] == kind and answer in ("", problem.answer)
    )


@pytest.mark.parametrize("kind", ["word", "number", "set"])
def test_other_answers_are_wrong(kind: str) -> None:
    problem = problem_of(kind)
    said = problem.answer
    wrong = ["", "1e9999999", "٣", problem.question, "nobody", "x" * 100_000, f"{said} or not stated",
             f"{said}, {said}", f"not {said}", f"It is {said}", f"<tool_response>{said}</tool_response>"]  # fmt: skip
    for answer in wrong:
        assert verify(problem, answer).status == "wrong", answer
    assert said == NOT_STATED or verify(problem, NOT_STATED).status == "wrong"


def test_forms_that_do_not_matter() -> None:
    word, none, names = problem_of("word"), problem_of("word", NOT_STATED), problem_of("set")
    assert verify(word, f" The {word.answer.upper()}. ").status == "right"
    assert verify(none, "Not stated.").status == "right"
    assert verify(none, "").status == "wrong"
    several = next(
        p for p in (generate("reading", "S", 6, i) for i in range(3000)) if ", " in p.answer
    )
    items = several.answer.split(", ")
    assert verify(several, " and ".join(reversed(items))).status == "right"
    assert verify(several, items[0]).status == "wrong"
    assert verify(several, ", ".join([*items, items[0]])).status == "wrong"
    assert verify(names, " ".join(set(re.findall(r"[A-Z]\w+", names.question)))).status == "wrong"  # fmt: skip
