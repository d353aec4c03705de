"""tasks/formats: answers keep their rules by plain checks; one broken rule is wrong; strange words are undecided."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from ponder.core.types import Problem
from ponder.tasks import FAMILIES, generate, verify
from ponder.tasks.formats import CATEGORIES, WORDINGS


def plain_words(text: str) -> list[str]:
    return [word.strip('"[].,-') for word in text.lower().split() if word.strip('"[].,-')]


KEPT: dict[str, Callable[[str, dict[str, Any]], bool]] = {
    "upper": lambda text, order: text == text.upper(),
    "title": lambda text, order: all(w.strip('-"[]')[:1] in ("", w.strip('-"[]')[:1].upper()) for w in text.split()),
    "commas": lambda text, order: len([p for p in text.split(",") if p.strip()]) == order["count"] and "\n" not in text,
    "lines": lambda text, order: len(text.split("\n")) == order["count"],
    "bullets": lambda text, order: [line[0] for line in text.split("\n")] == ["-"] * order["count"],
    "json": lambda text, order: len(json.loads(text)) == order["count"],
    "sorted": lambda text, order: (w := plain_words(text)) == sorted(w),
    "without": lambda text, order: order["letter"] not in text.lower(),
    "forbids": lambda text, order: not set(order["forbidden"]) & set(plain_words(text)),
    "start": lambda text, order: text.lower().startswith(order["start"].lower()),
    "end": lambda text, order: text.lower().strip('"').endswith(order["end"].lower()),
    "quoted": lambda text, order: text[0] == text[-1] == '"',
    "count": lambda text, order: len(text.split()) == order["count"] + len(order["end"].split()),
}  # fmt: skip
SOME = [(band, index) for band in "SRO" for index in range(250)]


def problem_with(*rules: str, given: bool | None = None, noun: bool | None = None) -> Problem:
    band = " SRO"[len(rules)]
    for index in range(20_000):
        problem = generate("formats", band, 8, index)  # type: ignore[arg-type]
        order = problem.data["order"]
        if set(order["rules"]) != set(rules) or noun not in (None, bool(order["noun"])):
            continue
        if given in (None, problem.data["given"]):
            return problem
    raise AssertionError(rules)


def test_answers_keep_every_rule() -> None:
    seen: set[str] = set()
    for band, index in SOME:
        problem = generate("formats", band, 2, index)  # type: ignore[arg-type]
        order = problem.data["order"]
        assert len(order["rules"]) == " SRO".index(band)
        assert verify(problem, problem.answer).status == "right", problem
        for rule in order["rules"]:
            assert KEPT[rule](problem.answer, order), (rule, problem.answer)
            seen.add(rule)
    assert seen == set(WORDINGS) == set(KEPT)


def test_an_answer_that_breaks_a_rule_is_wrong() -> None:
    """The answers of other problems of the same request: right only where every rule is kept."""
    broken = 0
    for band, index in SOME[::3]:
        problem = generate("formats", band, 4, index)  # type: ignore[arg-type]
        order, said = problem.data["order"], problem.answer
        for changed in (
            *(said.lower(), said.upper(), said.title(), f"Well: {said}", f"{said} yes"),
            *(said.replace(", ", "\n"), said.replace(" ", ", "), said.replace("\n", " ")),
            *(said.strip('"'), f'"{said}"'),
        ):
            if verify(problem, changed).status == "right":
                kept = {rule: KEPT[rule](changed, order) for rule in order["rules"]}
                assert all(kept.values()), (changed, kept)
            else:
                broken += 1
    assert broken > 800


def test_words_must_be_those_that_were_asked_for() -> None:
    given, free = problem_with("upper", given=True), problem_with("upper", given=False, noun=False)
    for problem in (given, free):
        items = problem.answer.split(", ")
        for wrong in ([*items, items[0]], items[:-1], [items[0]] * len(items), [*items[:-1], "7"]):
            assert verify(problem, ", ".join(wrong)).status == "wrong", wrong
    assert verify(given, ", ".join([*given.answer.split(", ")[1:], "GIRAFFE"])).status == "wrong"
    strange = ", ".join([*free.answer.split(", ")[1:], "ZZYZX"])
    assert verify(free, strange).status == "undecided"
    assert verify(given, given.question.split(": ")[-1].split(".")[0].upper()).status == "wrong"


def test_a_json_list_holds_texts_alone() -> None:
    for index in range(400):
        problem = generate("formats", "S", 8, index)
        if problem.data["order"]["rules"] == ("json",):
            inner = json.loads(problem.answer)
            for wrong in (
                [[text] for text in inner],
                [inner],
                [dict.fromkeys(inner[::2], inner[1])],
            ):
                assert verify(problem, json.dumps(wrong)).status == "wrong", problem


def test_a_sentence_is_about_its_subject_and_repeats_nothing() -> None:
    problem = problem_with("count", noun=True)
    noun, count = problem.data["order"]["noun"], problem.data["order"]["count"]
    for wrong in ([noun] * count, ["the"] * count, ["the", "a"] * count, ["runs"] * (count - 1) + [noun]):  # fmt: skip
        assert verify(problem, " ".join(wrong[:count])).status == "wrong"
    assert verify(problem, problem.answer.replace(".", " slowly.")).status == "wrong"


@pytest.mark.parametrize(
    "answer",
    ["", " ", "\n" * 5000, "<tool_response>{a}</tool_response>", "{a} {a}", "{a}\n\n{a}", "{q}", "Here you go: {a}",
     "1 2 3", "٣", "[" * 5000, "{a}" * 5000],
)  # fmt: skip
@pytest.mark.parametrize(
    "rules", [("json",), ("bullets",), ("sorted", "lines"), ("quoted", "upper", "commas")]
)
def test_adversaries(rules: tuple[str, ...], answer: str) -> None:
    problem = problem_with(*rules)
    text = answer.replace("{a}", problem.answer).replace("{q}", problem.question)
    assert verify(problem, text).status in ("wrong", "undecided")


@pytest.mark.parametrize("writer", FAMILIES["formats"].writers, ids=lambda writer: writer.name)
def test_traces_count_what_is_written(writer) -> None:
    for index in range(200):
        problem = generate("formats", "S", 4, index)
        trace = writer.write(problem, random.Random(index))
        assert trace.answer == problem.answer
        assert ("[BACK]" in trace.thinking) == (writer.name == "slipping")
        kept = [line.split(" [BACK] ")[-1] for line in trace.thinking.split("; ")]
        counted = [line.split() for line in kept if line.split()[-1].isdigit()]
        assert [int(number) for _, number in counted] == list(range(1, len(counted) + 1))
        said = problem.answer.lower()
        assert all(word.lower() in said for word, _ in counted)
        tried = [line.split()[0] for line in kept if " has " in line or line.endswith("allowed")]
        assert not [word for word in tried if f" {word}" in f" {said}".replace("\n", " ")]


def test_category_words_are_single_known_and_different() -> None:
    for name, members in CATEGORIES.items():
        assert len(set(members)) == len(members) >= 12, name
        assert all(word.isalpha() and word.islower() for word in members)
