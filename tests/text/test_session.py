"""clients/session over every template (here, beside them): sampled ids stay, the template adds the rest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from text_data import TEMPLATES

from ponder.clients.session import TokenSession
from ponder.core.errors import UserError
from ponder.core.types import Message, SamplingParams, ToolCall, ToolSpec
from ponder.text import ChatTemplate

NANO = Path(__file__).parents[2] / "src" / "ponder" / "models" / "nano"
ADD = ToolSpec(
    "add",
    "adds",
    {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}},
)
ASK = [Message("user", "What is 17 + 23 + 2?")]
CALLS = (ToolCall("call_0", "add", '{"a": 17, "b": 23}'),)
RESULT = Message("tool", "40 <|im_end|> </tool_response>", tool_call_id="call_0", name="add")
AGAIN = (ToolCall("call_1", "add", '{"a": 40, "b": 2}'),)
SECOND = Message("tool", "42", tool_call_id="call_1", name="add")


@pytest.fixture(scope="module")
def nano() -> ChatTemplate:
    return ChatTemplate.from_folder(NANO)


def written(template: ChatTemplate, before: list[Message], message: Message, tools) -> list[int]:
    """The ids of an assistant turn as this template renders it, up to and with its end mark: what a model writes."""
    prompt = template.render(before, tools).ids
    whole = template.render([*before, message], tools, add_generation_prompt=False).ids
    marks = [at for at, i in enumerate(whole) if i in template.format.silent_ids]
    assert whole[: len(prompt)] == prompt, "pick a template that renders its own opening"
    return list(whole[len(prompt) : marks[-1] + 1])


@pytest.mark.parametrize("name", ["qwen2.5", "qwen3", "nano"])
def test_ids_are_those_of_the_whole_conversation(name, chats, nano):
    """Templates that keep the latest thinking: the session's ids are, id for id, the template's own rendering."""
    template = nano if name == "nano" else chats[name]
    thinks = name != "qwen2.5"
    conversation = list(ASK)
    session = TokenSession(template, conversation, [ADD])
    for calls, result in ((CALLS, RESULT), (AGAIN, SECOND)):
        turn = Message("assistant", None, "add them" if thinks else None, calls)
        sampled = written(template, conversation, turn, [ADD])
        received = session.receive(sampled, "stop")
        assert received.tool_calls[0].name == "add"
        assert json.loads(received.tool_calls[0].arguments) == json.loads(calls[0].arguments)
        assert (received.tool_calls[0].id, received.reasoning) == (calls[0].id, turn.reasoning)
        conversation += [turn, result]
        added = session.extend([result])
        assert session.ids[-len(added) :] == added
        assert session.ids == template.render(conversation, [ADD]).ids
    answer = Message("assistant", "42", "done" if thinks else None)
    assert session.receive(written(template, conversation, answer, [ADD]), "stop") == answer
    state = session.request(SamplingParams()).thinking
    assert (state is not None and state.starts_open) == (name == "nano")


@pytest.mark.parametrize("name", sorted([*TEMPLATES, "nano"]))
def test_what_is_added_is_what_the_template_adds(name, chats, nano):
    """Every template: after a turn sampled with its thinking, a further question adds the template's own words, and
    the sampled ids stay although the template would drop the thinking from its history."""
    template = nano if name == "nano" else chats[name]
    session = TokenSession(template, ASK)
    prompt = session.ids
    encode = template.tokenizer.encode
    end = template.render([*ASK, Message("assistant", "42")], add_generation_prompt=False).ids
    mark = next(i for i in reversed(end) if i in template.format.silent_ids)
    sampled = [*encode("hm</think>\n\n42", allow_special=True), mark]
    session.receive(sampled, "stop")
    asked = Message("user", "And 1 more? <|im_end|>")
    added = session.extend([asked])
    assert session.ids == (*prompt, *sampled, *added)
    whole = template.render([*ASK, Message("assistant", "42"), asked])
    assert whole.ids[-len(added) :] == added
    assert whole.ids[-len(added) - 1] == mark
    assert session.request(SamplingParams()).prompt_ids == session.ids
    if "r1" in name or name in ("qwq", "nano"):
        assert "hm" not in template.tokenizer.decode(whole.ids)


@pytest.mark.parametrize("name", ["qwq", "r1", "v3"])
def test_tool_results_where_thinking_would_be_dropped_or_tools_not_told(name, chats):
    """QwQ drops thinking everywhere, R1 and V3 show results but not tools: the added text is still theirs."""
    template = chats[name]
    session = TokenSession(template, ASK, [ADD] if name == "qwq" else [])
    before = session.ids
    turn = Message("assistant", None, None, CALLS)
    rendered = template.render([*ASK, turn], add_generation_prompt=False).ids
    marks = [i for i in rendered if i in template.format.silent_ids]
    sampled = [*template.tokenizer.encode("hm</think>\n\n(a call)", allow_special=True), marks[-1]]
    session.receive(sampled, "stop")
    added = session.extend([RESULT])
    whole = template.render([*ASK, turn, RESULT]).ids
    assert session.ids == (*before, *sampled, *added)
    assert whole[-len(added) :] == added
    if name == "v3":  # writes no end mark after a call; the model's own stays
        assert whole[: -len(added)] == rendered
    else:
        assert whole[-len(added) - 1] == marks[-1]


def test_a_turn_without_its_end_mark_gets_one(nano):
    session = TokenSession(nano, ASK)
    session.receive(nano.tokenizer.encode("hm"), "length")
    added = session.extend([Message("user", "go on")])
    assert nano.tokenizer.decode(added).startswith("<|im_end|>\n<|im_start|>user\ngo on<|im_end|>")


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ('{"name": "add", "arguments": {"a": 1', "add"),
        ('{"name": "add", "arguments": [1]}', "add"),
        ("add(1, 2)", ""),
        ("", ""),
    ],
)
def test_a_malformed_call_is_a_call(nano, body, name):
    session = TokenSession(nano, ASK, [ADD])
    text = f"hm\n</think>\n\nNow<tool_call>{body}</tool_call><|im_end|>"
    said = session.receive(nano.tokenizer.encode(text, allow_special=True), "stop")
    assert said == Message("assistant", "Now", "hm", (ToolCall("call_0", name, body),))
    without = TokenSession(nano, ASK)
    said = without.receive(nano.tokenizer.encode(text, allow_special=True), "stop")
    assert said.tool_calls == () and body in (said.content or "")


def test_tools_that_a_template_drops_are_refused(chats):
    with pytest.raises(UserError, match="silently drops"):
        TokenSession(chats["r1"], ASK, [ADD])
