"""clients/scripted: the same script gives the same deltas."""

from __future__ import annotations

import pytest

from ponder.clients.scripted import ScriptedClient
from ponder.core.errors import ConfigError
from ponder.core.types import Message, SamplingParams, ToolCall

ASK = [Message("user", "What is 17 * 23?")]
REPLY = Message("assistant", "It is 391.", reasoning="17 * 20 = 340 and 17 * 3 = 51")


def test_deltas_join_to_the_message():
    client = ScriptedClient([REPLY, lambda messages: f"{len(messages)} messages"])
    stream = client.stream(ASK, SamplingParams(seed=1), thinking_budget=5)
    pieces = list(stream)
    for kind, whole in (("reasoning", REPLY.reasoning), ("content", REPLY.content)):
        assert "".join(piece.text for piece in pieces if piece.kind == kind) == whole
    assert stream.completions[0].message == REPLY
    assert stream.completions[0].thinking_end == "self"
    second = client.stream(ASK)
    list(second)
    assert second.completions[0].message.content == "1 messages"
    assert client.calls[0].sampling.seed == 1
    assert client.calls[0].thinking_budget == 5
    with pytest.raises(ConfigError, match="The script has 2 replies"):
        client.stream(ASK)


def test_answer_now_abort_choices_and_calls():
    stream = ScriptedClient([REPLY]).stream(ASK)
    for piece in stream:
        if piece.kind == "reasoning":
            stream.answer_now()
    done = stream.completions[0]
    assert (done.message.reasoning, done.message.content) == ("17", "It is 391.")
    assert done.thinking_end == "user"

    stream = ScriptedClient([REPLY]).stream(ASK)
    for _ in stream:
        stream.abort()
    assert stream.completions[0].finish_reason == "abort"
    assert stream.completions[0].message.content is None

    call = ToolCall("c", "add", "{}")
    both = ScriptedClient(["one", Message("assistant", tool_calls=(call,))])
    stream = both.stream(ASK, SamplingParams(n=2))
    assert [(p.kind, p.choice) for p in stream] == [("content", 0), ("tool_call", 1)]
    assert stream.completions[1].finish_reason == "tool_calls"
