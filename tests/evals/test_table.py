"""evals: the interval against published values, the table over an engine whose answers are written."""

from __future__ import annotations

import json
from functools import partial
from statistics import stdev

import pytest
from replay import TEMPLATE, Answers, Replay

from ponder.agent import Limits
from ponder.clients.session import TokenSession
from ponder.core.errors import ConfigError
from ponder.core.types import Message, Problem, TokenRequest
from ponder.evals import Plan, Table, compare, comparison_text, evaluate, table_text
from ponder.evals.floor import Floor, guessing_floor
from ponder.evals.interval import wilson
from ponder.tasks import held_out
from ponder.tasks.catalogue import tools_of

SESSION = partial(TokenSession, TEMPLATE)


@pytest.mark.parametrize(
    ("successes", "count", "low", "high"),
    # Newcombe 1998, Statistics in Medicine 17, table I, method 3
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)  # fmt: skip
def test_wilson_interval(successes, count, low, high):
    assert wilson(successes, count) == pytest.approx((low, high), abs=1e-4)


def says(answer: str, thinking: str = "so") -> str:
    return f"{thinking}\n</think>\n\n{answer}<|im_end|>"


def test_table_counts_right_wrong_and_declined():
    inside, outside = held_out("arithmetic", "S", 4), held_out("decline", "S", 3)
    decline = outside[0].answer
    engine = Replay(
        says(inside[0].answer), says("minus one zillion", "hm"), says(decline), says(inside[3].answer),
        says(decline), says("42", "sure"), says(decline),
    )  # fmt: skip
    first = evaluate(engine, SESSION, Plan(("arithmetic",), count=4)).rows[0]
    assert (first.count, first.right, first.declined, first.undecided) == (4, 2, 1, 0)
    assert first.outcomes == "1001"
    asked = [(example.question, example.thinking) for example in first.examples]
    assert asked == [(inside[1].question, "hm"), (inside[2].question, "so")]
    table = evaluate(engine, SESSION, Plan(("decline",), count=3), facts={"model": "written"})
    assert (table.rows[0].right, table.rows[0].declined) == (2, 2)
    assert table.declined_inside == (0, 0)
    values = json.loads(json.dumps(table.values()))
    assert values["facts"] == {"model": "written"} and values["rows"][0]["accuracy"] == 2 / 3
    assert "decline" in table_text(table) and "66.7 %" in table_text(table)
    assert all(request.sampling.temperature == 0 for request in engine.requests)


def test_unknown_family_is_named():
    with pytest.raises(ConfigError, match="unknown family 'arithmetics'"):
        evaluate(Replay(), SESSION, Plan(("arithmetics",)))


def knowing(share: float) -> tuple[Answers, Table]:
    """A model that knows the first `share` of the problems, and samples right every other time otherwise."""
    problems = held_out("arithmetic", "S", 8)
    known = {TEMPLATE.render([ask]).ids: p for p in problems for ask in [question(p)]}
    calls: dict[str, int] = {}

    def write(request: TokenRequest) -> str:
        problem = known[request.prompt_ids]
        index = problems.index(problem)
        if request.sampling.temperature == 0:
            return says(problem.answer if index < share * 8 else "zillion")
        calls[problem.question] = calls.get(problem.question, 0) + 1
        is_right = index < share * 8 or calls[problem.question] % 2 == 0
        return says(problem.answer if is_right else "zillion")

    engine = Answers(write)
    plan = Plan(("arithmetic",), count=8, samples=4, temperature=0.7, limits=Limits(64))
    return engine, evaluate(engine, SESSION, plan)


def question(problem):
    return Message("user", problem.question)


def test_samples_and_two_models_on_the_same_problems():
    engine, table = knowing(0.5)
    row = table.rows[0]
    assert (row.right, row.outcomes) == (4, "11110000")
    sampled = row.sampled
    assert sampled is not None
    assert sampled.right == (4, 4, 4, 4, 2, 2, 2, 2) and sampled.decided == (4,) * 8
    assert sampled.mean == 0.75 and (sampled.low, sampled.high) == wilson(6, 8)
    two = 1 - 1 / 6  # of the six pairs of four samples, one has both wrong
    assert sampled.pass_at == pytest.approx({"1": 0.75, "2": (4 + 4 * two) / 8, "4": 1.0})
    assert sampled.majority == 0.75  # the four ties go by lot
    seeds = {r.sampling.seed for r in engine.requests if r.sampling.temperature == 0.7}
    assert len(seeds) == 32

    (pair,) = compare(knowing(1.0)[1], table)
    assert (pair.only_first, pair.only_second, pair.p) == (4, 0, 2 / 16)
    assert pair.gain == 0.25 and pair.gain_error == pytest.approx(
        1.96 * stdev([0.0] * 4 + [0.5] * 4) / 8**0.5
    )
    assert "McNemar" in comparison_text(("a", "b"), [pair])
    assert "+25.0" in comparison_text(("a", "b"), [pair])
    assert "pass@4" in table_text(table)


def test_tools_are_given_and_counted():
    problem = held_out("tools", "S", 1)[0]
    engine = Replay(
        'so\n</think>\n\n<tool_call>{"name": "nothing", "arguments": {}}</tool_call><|im_end|>',
        says(problem.answer),
    )
    row = evaluate(engine, SESSION, Plan(("tools",), count=1)).rows[0]
    assert (row.right, row.calls, row.failed_calls) == (1, 1, 1)
    shown = TEMPLATE.tokenizer.decode(engine.requests[0].prompt_ids)
    assert all(f"{tool.spec.name}(" in shown for tool in tools_of(problem))


def test_lost_answers_are_undecided():
    row = evaluate(Replay(says("1"), finish="error"), SESSION, Plan(("arithmetic",), count=1)).rows[
        0
    ]
    assert (row.undecided, row.outcomes, row.accuracy) == (1, "?", 0.0)
    assert "no memory" in row.examples[0].reason


def test_the_floor_is_the_best_trivial_rule():
    assert guessing_floor(held_out("decline", "S", 10)).share == 1.0
    assert guessing_floor(held_out("arithmetic", "S", 30)).share < 0.1
    sums = [
        Problem("arithmetic", "S", question, answer, answer)
        for question, answer in (("1 + 2?", "1"), ("6 / 3?", "3"), ("5 of 8", "5"))
    ]
    assert guessing_floor(sums) == Floor("first", 2 / 3)
