"""verify/answers: choices, words, JSON with paths, Python values, grids; tricks score nothing and end at once."""

from __future__ import annotations

import time
from typing import Any

import pytest

from ponder.core.errors import ConfigError
from ponder.verify.answers import check_choice, check_exact, check_grid, check_json, check_literal

OPTIONS = ("40", "A cat", "5 m", "None of these")


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ("B", "right"),
        ("(B)", "right"),
        ("B) A cat", "right"),
        ("The answer is B.", "right"),
        ("\\boxed{B}", "right"),
        ("\\boxed{\\text{(B)}}", "right"),
        ("**Answer: B**", "right"),
        ("a cat", "right"),
        ("\\boxed{\\textbf{B}}", "right"),
        ("Answer: \\(B\\)", "right"),
        ("The correct option is B", "right"),
        ("选B", "right"),
        ("B. 40", "wrong"),
        ("B) None of these", "wrong"),
        ("Thinking of A first.\nAnswer: B", "right"),
        ("A", "wrong"),
        ("E", "wrong"),
        ("A or B", "wrong"),
        ("B, C", "wrong"),
        ("Both B and A", "wrong"),
        ("\\boxed{A} \\boxed{B}", "wrong"),
        ("Bananas", "wrong"),
        ("В", "wrong"),
        ("", "wrong"),
        ("1e9999999", "wrong"),
        ("B" * 100_000, "wrong"),
    ],
)
def test_choice(answer: str, status: str) -> None:
    assert check_choice(answer, "B", OPTIONS).status == status


def test_several_right_choices() -> None:
    for answer in ("ACD", "A, C, D", "\\boxed{DCA}", "A, C and D"):
        assert check_choice(answer, "ACD", OPTIONS).status == "right", answer
    for answer in ("AC", "ABCD", "A"):
        assert check_choice(answer, "ACD", OPTIONS).status == "wrong", answer


def test_exact() -> None:
    assert check_exact("The answer is  Mother-in-law.", ["mother-in-law"]).status == "right"
    assert check_exact("\\boxed{\\text{Paris}}", ["Paris"]).status == "right"
    assert check_exact("Paris, London", ["Paris"]).status == "wrong"
    assert check_exact(" ", ["Paris"]).reason == "no final answer"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ('{"a": [1, {"b": "x"}]}', ""),
        ('```json\n{"a": [1.0, {"b": "x"}]}\n```', ""),
        ('{"a": [1, {"b": "y"}]}', "$.a[1].b is"),
        ('{"a": [1]}', "$.a has 1 items, not 2"),
        ('{"a": [true, {"b": "x"}]}', "$.a[0] is"),
        ("{}", "$.a is missing"),
        ('{"a": [1, {"b": "x"}], "c": 0}', "$.c is not wanted"),
        ('{"a": NaN}', "not JSON"),
        ('{"a": 1e999}', "not JSON"),
        ('{"a": 0, "a": [1, {"b": "x"}]}', "not JSON: \"the key 'a' stands twice\""),
        ("[" * 100_000, "not JSON"),
        ('{"a": 1', "not JSON"),
    ],
)
def test_json_equality_names_the_first_difference(answer: str, reason: str) -> None:
    verdict = check_json(answer, equal={"a": [1, {"b": "x"}]})
    assert verdict.status == ("wrong" if reason else "right")
    assert verdict.reason.startswith(reason)


SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["name", "age"],
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer", "minimum": 0},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 2},
    },
}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ('{"name": "x", "age": 3, "tags": ["a"]}', ""),
        ('{"name": "x", "age": 3.0}', ""),
        ('{"name": "x", "age": 3.5}', "$.age is no integer"),
        ('{"name": "x"}', "$.age is missing"),
        ('{"name": "x", "age": true}', "$.age is no integer"),
        ('{"name": "x", "age": -1}', "$.age is out of range"),
        ('{"name": "x", "age": 1, "tags": ["c"]}', "$.tags[0] is none of"),
        ('{"name": "x", "age": 1, "tags": ["a", "a", "a"]}', "$.tags has 3 items"),
        ('{"name": "x", "age": 1, "more": 1}', "$.more is not allowed"),
        ("[]", "$ is no object"),
    ],
)
def test_json_schema(answer: str, reason: str) -> None:
    verdict = check_json(answer, schema=SCHEMA)
    assert verdict.status == ("wrong" if reason else "right")
    assert verdict.reason.startswith(reason)


@pytest.mark.parametrize(
    "schema",
    [
        {"pattern": "x"},
        {"type": "text"},
        {"type": ["null"]},
        {"additionalProperties": {"type": "null"}},
    ],
)
def test_a_schema_that_would_not_be_honoured_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        check_json("1", schema=schema)


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ("```python\n{'a': (1, 2)}\n```", "right"),
        ("{'a': (True, 2)}", "wrong"),
        ("{'a': (1.0, 2)}", "wrong"),
        ("Answer: {'a': (1, 2)}", "right"),
        ("f(3) == {'a': (1, 2)}", "right"),
        ("{'a': [1, 2]}", "wrong"),
        ("dict(a=(1, 2))", "wrong"),
        ("__import__('os').system('true')", "wrong"),
        ("9**9**9**9", "wrong"),
        ("(" * 10_000, "undecided"),
        ("{'a': (1, 2)}, {'a': (1, 3)}", "wrong"),
    ],
)
def test_python_values_are_read_and_never_run(answer: str, status: str) -> None:
    assert check_literal(answer, "{'a': (1, 2)}").status == status


def test_python_texts_that_look_like_a_comparison_are_values() -> None:
    assert check_literal("Answer: 'a == b'", "'a == b'").status == "right"
    assert check_literal("assert f(1) == 'a == b'", "'a == b'").status == "right"


def test_grids() -> None:
    grid = [[1, 2], [3, 4]]
    assert check_grid("[[1, 2], [3, 4]], as in [1].", grid).status == "right"
    assert check_grid("First [[9]].\n```\n[[1, 2],\n [3, 4]]\n```", grid).status == "right"
    assert check_grid("[[1, 2], [3, 4]] or [[1, 2], [3, 5]]", grid).status == "wrong"
    assert check_grid("no grid", grid).reason == "no grid in the answer"
    start = time.perf_counter()
    assert check_grid("[[" * 100_000, grid).status == "wrong"
    assert time.perf_counter() - start < 2
