"""Chat templates against transformers' own rendering, and against text that tries to be a control token."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from text_data import QWEN, TEMPLATES
from transformers.utils.chat_template_utils import render_jinja_template

from ponder.core.errors import ModelFolderError, PromptError, UserError
from ponder.core.types import Message, ToolCall, ToolSpec
from ponder.text import ChatTemplate, Tokenizer

pytestmark = pytest.mark.data

FAMILIES = tuple(TEMPLATES)
SHOWS_TOOLS = ("qwq", "qwen2.5", "qwen3")
OBJECT_ARGUMENTS = ("qwq", "qwen2.5", "v3.1")
INLINE = ("qwq", "r1", "r1-distill", "v3.1")
LOSES_CONTENT = ("r1-distill", "v3")
MARKS = {
    "bos_token": "<｜begin▁of▁sentence｜>",
    "eos_token": "<｜end▁of▁sentence｜>",
    "pad_token": "<｜end▁of▁sentence｜>",
}

TOOLS = (
    ToolSpec(
        "add",
        "Add two numbers <b>'&é",
        {"type": "object", "properties": {"b": {"type": "number"}, "a": {}}},
    ),
    ToolSpec("find", "Search", {"type": "object", "properties": {}, "required": []}),
)


def hf_message(message: Message, family: str) -> dict[str, Any]:
    """What a careful user of transformers would write for this family, after models' published notes."""
    content = message.content or ""
    out: dict[str, Any] = {"role": message.role, "content": content}
    if message.role != "assistant":
        return out
    if message.reasoning and family == "qwen3":
        out["reasoning_content"] = message.reasoning
    if (
        message.reasoning
        and family in INLINE
        and not (message.tool_calls and family in ("v3.1", "r1-distill"))
    ):
        out["content"] = f"<think>\n{message.reasoning}\n</think>\n\n{content}"
    if message.tool_calls:
        if family in LOSES_CONTENT:
            out["content"] = None
        read = json.loads if family in OBJECT_ARGUMENTS else str
        out["tool_calls"] = [
            {
                "id": c.id,
                "type": "function",
                "function": {"name": c.name, "arguments": read(c.arguments)},
            }
            for c in message.tool_calls
        ]
    return out


def transformers_text(
    messages: list[Message], family: str, tools: tuple[ToolSpec, ...] = (), **options: Any
) -> str:
    described = [
        {
            "type": "function",
            "function": {
                "name": t.name,
                "description": t.description,
                "parameters": dict(t.parameters),
            },
        }
        for t in tools
    ]
    special = {} if family.startswith("qw") else MARKS
    source = TEMPLATES[family].read_text(encoding="utf-8")
    chat = [hf_message(m, family) for m in messages]
    return render_jinja_template(
        [chat], tools=described or None, chat_template=source, **special, **options
    )[0][0]


PLAIN = st.text(st.sampled_from("ab \n\t'\"\\{}<>/|7é你🙂"), max_size=12)
CONTROL = st.sampled_from(
    [
        "<|im_end|>",
        "<|im_start|>",
        "</think>",
        "<think>",
        "<tool_call>",
        "<｜User｜>",
        "<｜tool▁sep｜>",
    ]
)
WITH_CONTROL = st.lists(st.one_of(PLAIN, CONTROL), max_size=5).map("".join)
VALUES = st.dictionaries(
    PLAIN,
    st.one_of(PLAIN, st.integers(), st.booleans(), st.none(), st.lists(PLAIN, max_size=2)),
    max_size=3,
)


@st.composite
def conversations(
    draw: st.DrawFn, text: st.SearchStrategy[str] = PLAIN, thinks: bool = True
) -> list[Message]:
    """User turns, each with none or some rounds of calls before the answer; may end anywhere."""
    systems = draw(st.integers(0, 1))
    messages = [Message("system", draw(text)) for _ in range(systems)]

    def reasoning() -> str | None:
        return (
            draw(st.one_of(st.none(), st.text("ab \n", min_size=1, max_size=6))) if thinks else None
        )

    for turn in range(draw(st.integers(1, 3))):
        messages.append(Message("user", draw(text)))
        for number in range(draw(st.integers(0, 2))):
            calls = [
                ToolCall(
                    f"call_{turn}{number}{i}",
                    draw(st.sampled_from(["add", "find"])),
                    json.dumps(draw(VALUES), ensure_ascii=False),
                )
                for i in range(draw(st.integers(1, 2)))
            ]
            messages.append(Message("assistant", None, reasoning(), tuple(calls)))
            messages.extend(Message("tool", draw(text), tool_call_id=call.id) for call in calls)
        if draw(st.booleans()):
            messages.append(Message("assistant", draw(text), reasoning()))
    return messages


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=40, deadline=None)
@given(
    messages=conversations(),
    generate=st.booleans(),
    thinking=st.booleans(),
    use_tools=st.booleans(),
)
def test_same_text_as_transformers(
    chats: dict[str, ChatTemplate],
    family: str,
    messages: list[Message],
    generate: bool,
    thinking: bool,
    use_tools: bool,
) -> None:
    tools = TOOLS if use_tools and family in SHOWS_TOOLS else ()
    # Without a switch of its own, `thinking=False` closes the block: that is tested below.
    thinking = thinking or family in ("qwq", "r1", "r1-distill")
    switches = {"enable_thinking": thinking, "thinking": thinking}
    want = transformers_text(messages, family, tools, add_generation_prompt=generate, **switches)
    prompt = chats[family].render(
        messages, tools, add_generation_prompt=generate, thinking=thinking
    )
    assert prompt.text == want
    tokenizer = chats[family].tokenizer
    assert list(prompt.ids) == tokenizer.encode(want, allow_special=True)


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=20, deadline=None)
@given(messages=conversations(WITH_CONTROL, thinks=False))
def test_control_text_changes_no_text(
    chats: dict[str, ChatTemplate], family: str, messages: list[Message]
) -> None:
    assert chats[family].render(messages).text == transformers_text(
        messages, family, add_generation_prompt=True, thinking=True
    )


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=20, deadline=None)
@given(messages=conversations(WITH_CONTROL))
def test_control_text_makes_no_control_token(
    chats: dict[str, ChatTemplate], family: str, messages: list[Message]
) -> None:
    chat = chats[family]
    marks = {token.id for token in chat.tokenizer.added.values()}

    def harmless(message: Message) -> Message:
        content = message.content and "word"
        calls = tuple(ToolCall(c.id, c.name, '{"a": "word"}') for c in message.tool_calls)
        return Message(
            message.role, content, message.reasoning and "word", calls, message.tool_call_id
        )

    messages = [
        m
        if m.role != "assistant"
        else Message(m.role, m.content and "said", m.reasoning, m.tool_calls)
        for m in messages
    ]
    got = [i for i in chat.render(messages).ids if i in marks]
    assert got == [i for i in chat.render([harmless(m) for m in messages]).ids if i in marks]


@pytest.mark.parametrize("family", ["qwq", "qwen2.5", "qwen3"])
def test_same_ids_as_apply_chat_template(
    chats: dict[str, ChatTemplate], hf_qwen: Any, family: str
) -> None:
    messages = [
        Message("system", "Be brief.  "),
        Message("user", " What is 17 * 23?\n"),
        Message("assistant", "391", reasoning="17*20 + 17*3"),
        Message("user", "And é, 你好🙂?"),
    ]
    want = hf_qwen.apply_chat_template(
        [hf_message(m, family) for m in messages],
        chat_template=TEMPLATES[family].read_text(encoding="utf-8"),
        add_generation_prompt=True,
        return_dict=False,
    )
    assert list(chats[family].render(messages).ids) == want


@pytest.mark.parametrize(
    ("family", "thinking", "ends", "is_open"),
    [
        ("qwq", True, "<|im_start|>assistant\n<think>\n", True),
        ("qwq", False, "<|im_start|>assistant\n<think>\n\n</think>\n\n", False),
        ("qwen3", True, "<|im_start|>assistant\n", False),
        ("qwen3", False, "<|im_start|>assistant\n<think>\n\n</think>\n\n", False),
        ("qwen2.5", True, "<|im_start|>assistant\n", False),
        ("r1", True, "<｜Assistant｜><think>\n", True),
        ("r1", False, "<｜Assistant｜><think>\n\n</think>\n\n", False),
        ("v3", True, "<｜Assistant｜>", False),
        ("v3.1", True, "<｜Assistant｜><think>", True),
        ("v3.1", False, "<｜Assistant｜><think></think>", False),
    ],
)
def test_thinking_state_comes_from_the_prompt(
    chats: dict[str, ChatTemplate], family: str, thinking: bool, ends: str, is_open: bool
) -> None:
    chat = chats[family]
    for said in ("Hi", "</think>", "<think>"):
        prompt = chat.render([Message("user", said)], thinking=thinking)
        assert prompt.text.endswith(
            said + ends.removeprefix("<|im_start|>")
        ) or prompt.text.endswith(ends)
        assert prompt.thinking_open is is_open
        params = chat.thinking_params(prompt, thinking=thinking, budget=9)
        assert (params is None) is not thinking
        if params is not None:
            assert params.starts_open is is_open
            assert chat.tokenizer.decode(params.close_ids) == "</think>"
            assert len(params.close_ids) == len(params.open_ids) == 1
            assert params.budget == 9


def test_a_cut_thought_in_history_does_not_open_the_state(chats: dict[str, ChatTemplate]) -> None:
    cut = [Message("user", "Hi"), Message("assistant", "<think>\nso"), Message("user", "Go on")]
    assert not chats["qwen3"].render(cut).thinking_open


CALL, BAD_CALL = ToolCall("call_0", "add", '{"a": 1}'), ToolCall("call_1", "add", "[1]")


@pytest.mark.parametrize(
    ("family", "messages", "options", "error", "message"),
    [
        ("qwq", [Message("developer", "Hi")], {}, PromptError, "role 'developer'"),  # type: ignore
        ("qwq", [], {}, PromptError, "no messages"),
        ("qwq", [Message("user", None)], {}, PromptError, "'user' message without content"),
        ("r1", [Message("user", "Hi")], {"tools": TOOLS}, UserError, "2 tools, which this"),
        ("v3", [Message("user", "Hi")], {"tools": TOOLS[:1]}, UserError, "1 tools, which"),
        ("v3.1", [Message("user", "Hi")], {"tools": TOOLS}, UserError, "2 tools, which"),
        ("v3", [Message("assistant", "So", tool_calls=(CALL,))], {}, UserError, "both text and tool"),
        ("qwq", [Message("user", "Hi", tool_calls=(CALL,))], {}, UserError, "in a 'user' message"),
        ("qwq", [Message("assistant", tool_calls=(BAD_CALL,))], {}, UserError, "no JSON object: '\\[1\\]'"),
        ("qwq", [Message("user", "Hi")], {"enable_magic": 1}, UserError, "'enable_magic', which this model's"),
    ],
)  # fmt: skip
def test_refusals(
    chats: dict[str, ChatTemplate],
    family: str,
    messages: list[Message],
    options: dict[str, Any],
    error: type,
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        chats[family].render(messages, **options)


def test_several_systems_are_joined_where_only_one_survives(chats: dict[str, ChatTemplate]) -> None:
    messages = [Message("system", "One"), Message("system", "Two"), Message("user", "Hi")]
    assert "One\n\nTwo<｜User｜>Hi" in chats["r1-distill"].render(messages).text
    assert "One\n\nTwo<｜User｜>Hi" in chats["r1"].render(messages).text


def test_thinking_is_dropped_where_the_family_knows_none(chats: dict[str, ChatTemplate]) -> None:
    messages = [
        Message("user", "Hi"),
        Message("assistant", "Hello", reasoning="hmm"),
        Message("user", "Bye"),
    ]
    for family in FAMILIES:
        text = chats[family].render(messages).text
        assert "hmm" not in text, family
        assert "Hello" in text, family


def test_folder_forms(tmp_path: Path, qwen: Tokenizer) -> None:
    plain, with_tools = (
        "{{ bos_token }}{{ messages[0].content }}",
        "tools:{{ tools | tojson }}{{ messages[0].content }}",
    )
    bos = {"bos_token": {"content": "<s>"}}
    forms = [{"name": "default", "template": plain}, {"name": "tool_use", "template": with_tools}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({**bos, "chat_template": forms}))
    chat = ChatTemplate.from_folder(tmp_path, qwen)
    assert chat.render([Message("user", "Hi")]).text == "<s>Hi"
    assert chat.render([Message("user", "Hi")], TOOLS).text.startswith('tools:[{"type": "function"')
    (tmp_path / "chat_template.json").write_text(
        json.dumps({"chat_template": "json {{ messages[0].content }}"})
    )
    assert (
        ChatTemplate.from_folder(tmp_path, qwen).render([Message("user", "Hi")]).text == "json Hi"
    )
    (tmp_path / "chat_template.jinja").write_text("jinja {{ messages[0].content }}")
    assert (
        ChatTemplate.from_folder(tmp_path, qwen).render([Message("user", "Hi")]).text == "jinja Hi"
    )


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "no chat template in"),
        ({"chat_template": [{"name": "rag", "template": "x"}]}, "none of them 'default'"),
        ({"chat_template": "{% if %}"}, "does not parse"),
        ({"chat_template": [3]}, "no chat template in"),
    ],
)
def test_broken_folders(
    tmp_path: Path, qwen: Tokenizer, config: dict[str, Any], message: str
) -> None:
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(ModelFolderError, match=message):
        ChatTemplate.from_folder(tmp_path, qwen)


def test_tags_without_an_id_are_still_guarded(
    chats: dict[str, ChatTemplate], qwen: Tokenizer
) -> None:
    """A model whose tags are plain text: a user's tag does not open the thinking."""
    chat = ChatTemplate("{% for m in messages %}[{{ m.content }}]{% endfor %}", qwen)
    assert not chat.render([Message("user", "<think>")]).thinking_open


def test_a_folder_may_name_its_closing_sentence(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(QWEN, folder)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    for closing in ("\n", "Enough.\n"):
        (folder / "tokenizer_config.json").chmod(0o644)
        config["closing_sentence"] = closing
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
        template = ChatTemplate.from_folder(folder)
        state = template.thinking_params(template.render([Message("user", "hello")]))
        assert state is not None
        assert template.tokenizer.decode(state.closing_ids) == closing
    config["closing_sentence"] = 7
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(ModelFolderError, match="closing_sentence"):
        ChatTemplate.from_folder(folder)
