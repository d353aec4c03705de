"""verify/constraints: each kind kept and broken, hostile texts at once, undecided where counts are debatable."""

from __future__ import annotations

import time
from typing import Any

import pytest

from ponder.core.errors import ConfigError
from ponder.verify.constraints import KINDS, check_constraints

TABLE: list[tuple[dict[str, Any], str, str]] = [
    ({"kind": "words", "relation": "exactly", "count": 3}, "It's well-made, yes", "one two"),
    ({"kind": "words", "relation": "exactly", "count": 2, "runs": True}, "don't", "dont"),
    ({"kind": "lines", "relation": "at most", "count": 2}, "a\n\nb", "a\nb\nc"),
    (
        {"kind": "sentences", "relation": "less than", "count": 3},
        "One. Two!",
        "So it is. Yes. Is it?",
    ),
    ({"kind": "paragraphs", "relation": "exactly", "count": 2}, "a\n\nb", "a\nb"),
    (
        {"kind": "paragraphs", "relation": "exactly", "count": 2, "separator": "***"},
        "a\n***\nb",
        "a\n\nb",
    ),
    ({"kind": "characters", "relation": "at most", "count": 4}, "four", "fives"),
    ({"kind": "items", "relation": "exactly", "count": 3}, "a, b, c.", "a, b"),
    ({"kind": "letters", "letter": "e", "relation": "less than", "count": 2}, "bed", "Eve"),
    ({"kind": "occurs", "phrase": "tea", "relation": "at least", "count": 2}, "Tea tea", "tea"),
    ({"kind": "contains", "phrases": ["red", "hot"]}, "Red hot", "red"),
    ({"kind": "uses", "words": ["cat"]}, "The cat.", "concatenate"),
    ({"kind": "forbids", "words": ["cat"]}, "concatenate", "a Cat!"),
    ({"kind": "without", "characters": ","}, "a b", "a, b"),
    ({"kind": "case", "case": "upper"}, "ALL 2", "aLL"),
    ({"kind": "case", "case": "lower"}, "all 2", "All"),
    ({"kind": "case", "case": "title"}, "All Of 2", "All of"),
    ({"kind": "capitals", "relation": "at least", "count": 2}, "NO WAY", "NO way"),
    ({"kind": "starts_with", "wanted": "Dear"}, "dear all", "Oh dear"),
    ({"kind": "ends_with", "wanted": "Bye."}, '"So bye."', "Bye. x"),
    ({"kind": "each_line_starts", "wanted": "- "}, "- a\n- b", "- a\nb"),
    ({"kind": "word_length", "relation": "at most", "count": 3}, "one two", "three"),
    ({"kind": "sorted", "by": "items"}, "apple, Bee, cat", "bee, apple"),
    ({"kind": "sentences", "relation": "exactly", "count": 2}, "你好。再见！", "你好。"),
    ({"kind": "forbids", "words": ["c++"]}, "c+", "in C++."),
    ({"kind": "forbids", "words": ["cat"]}, "cart", "a c\u200bat"),
    ({"kind": "json"}, "[1]", '{"a": NaN}'),
    ({"kind": "no_repeats"}, "a b c", "a b A"),
    ({"kind": "first_word", "paragraph": 2, "word": "elm"}, "x\n\nElm, y", "Elm\n\nx"),
    ({"kind": "bullets", "relation": "exactly", "count": 2}, "* a\n- b", "* a\n** b"),
    ({"kind": "highlights", "relation": "at least", "count": 2}, "*a* **b**", "** ** *a*"),
    ({"kind": "placeholders", "relation": "at least", "count": 1}, "[name]", "[]"),
    ({"kind": "title"}, "<<A>>", "<< >>"),
    (
        {"kind": "sections", "mark": "Day", "relation": "at least", "count": 2},
        "Day 1 x Day 2",
        "Day one",
    ),
    ({"kind": "postscript", "mark": "P.S."}, "x\nP.S. y", "x PS y"),
    ({"kind": "postscript", "mark": "P.P.S"}, "x\nP.P.S y", "x\nP.S. y"),
    ({"kind": "json"}, '```json\n{"a": 1}\n```', "{'a': 1}"),
    ({"kind": "one_of", "options": ["yes.", "no."]}, "It is yes.", "yes. no."),
    ({"kind": "quoted"}, '"a"', '"'),
    ({"kind": "two_responses", "separator": "******"}, "a\n******\nb", "a ****** a"),
    ({"kind": "language", "code": "kn"}, "ಇದು ಕನ್ನಡ ಭಾಷೆಯ ವಾಕ್ಯ", "This is no Kannada"),
    (
        {"kind": "language", "code": "de"},
        "Der Hund und die Katze sind nicht da",
        "Это собака и кот",
    ),
]


@pytest.mark.parametrize(("constraint", "kept", "broken"), TABLE)
def test_kept_and_broken(constraint: dict[str, Any], kept: str, broken: str) -> None:
    right, wrong = (check_constraints(text, [constraint]) for text in (kept, broken))
    assert (right.status, wrong.status) == ("right", "wrong"), (right, wrong)
    assert wrong.reason.startswith(f"{constraint['kind']}: ")


def test_every_kind_is_in_the_table() -> None:
    assert {row[0]["kind"] for row in TABLE} == set(KINDS)


def test_all_must_hold_and_the_first_broken_one_is_named() -> None:
    both = [{"kind": "without", "characters": ","}, {"kind": "uses", "words": ["tea"]}]
    assert check_constraints("tea", both).status == "right"
    assert check_constraints("a, b", both).reason == "without: ',' occurs"
    assert check_constraints("", both).status == "wrong"


def test_counting_that_is_a_matter_of_taste_is_undecided_only_where_it_matters() -> None:
    text = "Dr. Who met Mr. Jones. They left."
    at_most = {"kind": "sentences", "relation": "at most", "count": 2}
    assert check_constraints(text, [at_most]).status == "undecided"
    assert check_constraints(text, [{**at_most, "count": 9}]).status == "right"
    assert check_constraints(text, [{**at_most, "count": 1}]).status == "wrong"
    hindi_or_marathi = check_constraints(
        "कमल घर चल नमक सड़क पर", [{"kind": "language", "code": "mr"}]
    )
    assert hindi_or_marathi.status == "undecided"


@pytest.mark.parametrize(
    "constraint",
    [
        {"kind": "wrods"},
        {"kind": "words", "count": 3},
        {"kind": "words", "relation": "about", "count": 3},
        {"kind": "words", "relation": "exactly", "count": "3"},
        {"kind": "words", "relation": "exactly", "count": True},
        {"kind": "title", "count": 1},
        {"kind": "language", "code": "xx"},
        {"kind": "uses", "words": [1]},
        {"kind": "uses", "words": []},
        {"kind": "occurs", "phrase": "", "relation": "exactly", "count": 1},
        {"kind": "two_responses", "separator": ""},
        {"kind": ["words"]},
        {},
    ],
)
def test_a_bad_constraint_is_the_problems_fault(constraint: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        check_constraints("some answer of more than twelve letters", [constraint])


@pytest.mark.parametrize(
    "piece", [".", "\n", "\n \t", "*", "**", "[", "<<", "`", "a.", "p.s", "'", "-a"]
)
def test_hostile_texts_end_at_once(piece: str) -> None:
    text = "x" + piece * (20_000 // len(piece)) + "x"
    start = time.perf_counter()
    for constraint, _, _ in TABLE:
        check_constraints(text, [constraint])
    assert time.perf_counter() - start < 5
    assert check_constraints(text * 6, [TABLE[0][0]]).status in ("undecided", "wrong")
