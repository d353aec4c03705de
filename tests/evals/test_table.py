"""evals: the interval against published values, the table over a scripted client."""

from __future__ import annotations

import pytest

from ponder.clients.scripted import ScriptedClient
from ponder.core.errors import ConfigError
from ponder.core.types import Message
from ponder.evals import evaluate
from ponder.evals.interval import wilson
from ponder.tasks import held_out


@pytest.mark.parametrize(
    ("successes", "count", "low", "high"),
    # Newcombe 1998, Statistics in Medicine 17, table I, method 3
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)  # fmt: skip
def test_wilson_interval(successes, count, low, high):
    assert wilson(successes, count) == pytest.approx((low, high), abs=1e-4)


def test_table_counts_right_wrong_and_declined():
    inside, outside = held_out("arithmetic", "S", 4), held_out("decline", "S", 3)
    decline = outside[0].answer
    replies = [
        Message("assistant", inside[0].answer, reasoning="so"),
        Message("assistant", "minus one zillion", reasoning="hm"),
        Message("assistant", decline, reasoning="no"),
        Message("assistant", inside[3].answer, reasoning="so"),
        Message("assistant", decline, reasoning="no"),
        Message("assistant", "42", reasoning="sure"),
        Message("assistant", decline, reasoning="no"),
    ]
    client = ScriptedClient(replies)
    first = evaluate(client, ["arithmetic"], count=4).rows[0]
    assert (first.count, first.right, first.declined, first.undecided) == (4, 2, 1, 0)
    assert [example.question for example in first.examples] == [
        inside[1].question,
        inside[2].question,
    ]
    table = evaluate(client, ["decline"], count=3, facts={"model": "scripted"})
    assert (table.rows[0].right, table.rows[0].declined) == (2, 2)
    assert table.declined_inside == (0, 0)
    assert table.values()["facts"] == {"model": "scripted"}
    assert "decline" in table.text() and "66.7 %" in table.text()
    assert all(call.sampling.temperature == 0 for call in client.calls)


def test_unknown_family_is_named():
    with pytest.raises(ConfigError, match="unknown family 'arithmetics'"):
        evaluate(ScriptedClient([]), ["arithmetics"])
