"""train/rl: rewards, pools, alarms, pre-flight and journal, each by hand."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from ponder.agent import Episode, Segment
from ponder.core.types import Message, Verdict
from ponder.train.config import HealthConfig, PoolsConfig, RewardConfig
from ponder.train.rl.algorithms import ALGORITHMS
from ponder.train.rl.answers import Answer, Draw, Group, answer_of, group_of, group_record
from ponder.train.rl.health import Health, find_faults
from ponder.train.rl.journal import Journal
from ponder.train.rl.pools import Pools

RIGHT, WRONG = Verdict("right", "7 = 7"), Verdict("wrong", "8 is not 7")
REWARD = RewardConfig(call_cost=0.1, overlong_penalty=0.2, overlong_tokens=4)


def episode(text="7", finish="stop", length=3, thinking_end="self", calls=0) -> Episode:
    sampled = Segment(tuple(range(length)), (-0.5,) * length)
    return Episode(
        (Segment((1, 2)), sampled), (Message("assistant", text, "so"),), finish, thinking_end, calls
    )


@pytest.mark.parametrize(
    ("given", "verdict", "reward"),
    [
        (episode(), RIGHT, 1.0),
        (episode(), WRONG, 0.0),
        (episode(calls=2), RIGHT, 0.8),
        (episode(calls=2), WRONG, 0.0),
        (episode(calls=99), RIGHT, 0.5),
        (episode(length=8), RIGHT, 0.9),  # two of the last four tokens used: half the penalty
        (episode(length=10), WRONG, -0.2),
        (episode(finish="length"), RIGHT, -0.2),
        (episode(thinking_end="budget"), RIGHT, -0.2),
        (episode(""), RIGHT, 0.0),
        (episode("7 </think> 7"), RIGHT, 0.0),
        (episode("<tool_response>7"), RIGHT, 0.0),
        (episode(finish="error"), Verdict("undecided", "lost"), None),
        (episode(), Verdict("undecided", "sympy took too long"), None),
    ],
)
def test_reward(given, verdict, reward):
    answer = answer_of(given, verdict, REWARD, max_tokens=10)
    assert answer.reward == (None if reward is None else pytest.approx(reward))
    assert answer.is_right == (reward is not None and reward >= 0.5)
    assert answer.verdict == "undecided" or (answer.verdict == "right") == answer.is_right


def test_a_cut_answer_can_be_left_out():
    config = replace(REWARD, overlong="left_out")
    assert answer_of(episode(finish="length"), WRONG, config, 10).reward is None


def group(draw: Draw, *rights: bool | None) -> Group:
    answers = [
        answer_of(
            episode(),
            RIGHT if r else WRONG if r is not None else Verdict("undecided", "?"),
            REWARD,
            99,
        )
        for r in rights
    ]
    return Group(draw, "q", tuple(answers))


def pools(**options) -> Pools:
    return Pools({"a/S": 3.0, "b/R": 1.0}, PoolsConfig(**options), seed=1, count=None)


def test_pools_keep_the_edge_and_try_hard_ones_again():
    made = pools(refresh_steps=5, fresh=0.0)
    made.record(group(Draw("a/S", 1), True, False))
    made.record(group(Draw("a/S", 2), True, True))
    made.record(group(Draw("a/S", 3), False, False))
    made.record(group(Draw("a/S", 4), None, None))
    pool = made.pools["a/S"]
    pool.cursor = 5
    assert (pool.edge, pool.hard) == ({"1": 0.5}, [3])
    made.record(group(Draw("a/S", 1), True, True))
    assert pool.edge == {"1": 0.75}
    for _ in range(3):
        made.record(group(Draw("a/S", 1), True, True))
    assert pool.edge == {}
    made.refresh(5)
    drawn = [draw for draw in made.draw(5, 0, range(20)) if draw.kind == "a/S"]
    assert drawn[0].index == 3 and len(set(drawn)) == len(drawn)


def test_draws_depend_on_state_and_place_alone():
    one, two = pools(), pools()
    first = one.draw(1, 0, range(30))
    one.record(group(first[0], True, False))
    two.restore(json.loads(json.dumps(one.state())))
    assert one.draw(2, 1, range(30)) == two.draw(2, 1, range(30))
    assert {draw.kind for draw in first} == {"a/S", "b/R"}


def test_a_finite_set_is_drawn_over_and_over():
    made = Pools({"a/S": 1.0}, PoolsConfig(), seed=1, count=3)
    drawn = [draw.index for step in range(4) for draw in made.draw(step, 0, range(3))]
    assert set(drawn) == {0, 1, 2}


def test_alarms_are_raised_once_and_both_ways():
    health = Health(HealthConfig())

    def names(**record):
        return [alarm.name for alarm in health.check(record)]

    for _ in range(5):
        assert names(reward=0.5, entropy=1.0) == []
    assert names(reward=0.5, entropy=0.1) == ["entropy_low"]
    assert names(reward=0.5, entropy=0.1) == []
    assert names(reward=0.5, entropy=4.0, truncated=0.6) == ["truncated", "entropy_high"]
    again = Health(HealthConfig())
    again.restore(json.loads(json.dumps(health.state())))
    fell = [each.name for _ in range(9) for each in again.check({"reward": 0.0})]
    rose = [each.name for _ in range(9) for each in health.check({"reward": 1.4, "gap": 0.1})]
    assert fell == ["reward_drop"] and rose == ["gap", "reward_jump"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"finish": "length", "is_truncated": True}, "ended by itself"),
        ({"reward": 0.0, "verdict": "wrong"}, "was right"),
        ({}, "nothing to tell apart"),
        ({"verdict": "undecided", "reward": None}, "could not be judged"),
    ],
)
def test_preflight_says_why_a_run_cannot_learn(change, words):
    groups = [group(Draw("a/S", i), True, True) for i in range(4)]
    spoilt = [replace(g, answers=tuple(replace(a, **change) for a in g.answers)) for g in groups]
    faults = find_faults(spoilt, ALGORITHMS["centred"], HealthConfig())
    assert any(words in what for what, _ in faults), faults
    fine = [group(Draw("a/S", i), True, False) for i in range(4)]
    assert find_faults(fine, ALGORITHMS["centred"], HealthConfig()) == []


def test_journal_gives_back_the_bits_and_drops_a_cut_line(tmp_path):
    path = tmp_path / "rollouts.jsonl"
    one = group(Draw("a/S", 1), True, False)
    exact = replace(one.answers[0], logprobs=(0.0, 0.0, -0.1234567910, -1e-30, -17.25))
    one = replace(one, answers=(exact, *one.answers[1:]))
    assert group_of(json.loads(json.dumps(group_record(one)))) == one
    Journal(path).add("key", 0, 1, one)
    path.write_text(path.read_text() + '{"key": "key", "rou')
    again = Journal(path)
    assert again.get("key", 0, 1) == one
    assert again.get("other weights", 0, 1) is None and again.get("key", 1, 1) is None
    again.add("key", 0, 2, one)
    assert Journal(path).get("key", 0, 2) == one
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], lines[1].replace('"draw"', '"drew"'), "null", ""]))
    again = Journal(path)
    assert again.get("key", 0, 1) == one and again.get("key", 0, 2) is None
    assert path.read_text().splitlines() == lines[:1]
    again.clear()
    assert not path.exists() and Journal(path).get("key", 0, 1) is None
    assert isinstance(one.answers[0], Answer)


def test_a_journal_cut_inside_a_character_is_read(tmp_path):
    path = tmp_path / "rollouts.jsonl"
    one = replace(group(Draw("a/S", 1), True), question="½ · 3 ÷ 2 = ?")
    Journal(path).add("key", 0, 0, one)
    first = path.read_bytes()
    inside = [at for at in range(len(first)) if first[at] & 0xC0 == 0x80]
    assert inside
    for length in (1, *inside, len(first) - 1):
        path.write_bytes(first + first[:length])
        assert Journal(path).get("key", 0, 0) == one and path.read_bytes() == first
