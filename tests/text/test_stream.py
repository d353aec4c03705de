"""The stream router: routing, hold-back, stops, and one message for every way of cutting the stream."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ponder.core.types import Delta, FinishReason, Message, ToolCall
from ponder.text import ChatFormat, ChatTemplate, StreamRouter, Tokenizer
from ponder.text.format import DEEPSEEK, HERMES, object_members
from ponder.text.matcher import Matcher

BY_TEXT = ChatFormat(tools=HERMES)


def no_bytes(_: int) -> bytes:
    return b""


def text_router(
    starts_open: bool, stop: Sequence[str] = (), format: ChatFormat = BY_TEXT, tools: bool = True
) -> StreamRouter:
    return StreamRouter(format, starts_open, token_bytes=no_bytes, stop=stop, tools=tools)


def run(
    router: StreamRouter, pieces: Sequence[bytes], reason: FinishReason = "stop"
) -> tuple[Message, list[Delta]]:
    deltas = [delta for piece in pieces for delta in router.feed_bytes(piece)]
    deltas += router.finish(reason)
    return router.message(), deltas


def check_deltas(message: Message, deltas: Sequence[Delta]) -> None:
    """Deltas concatenate to the message."""
    assert "".join(d.text for d in deltas if d.kind == "content") == (message.content or "")
    assert "".join(d.text for d in deltas if d.kind == "reasoning") == (message.reasoning or "")
    assert tuple(d.tool_call for d in deltas if d.kind == "tool_call") == message.tool_calls


CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'
ADD = ToolCall("call_0", "add", '{"a": 1}')


@pytest.mark.parametrize(
    ("text", "starts_open", "want"),
    [
        ("so\n</think>\n\n391", True, Message("assistant", "391", reasoning="so")),
        ("\n</think>\n\n391", True, Message("assistant", "391")),
        ("<think>\nso\n</think>\n\n391", True, Message("assistant", "391", reasoning="so")),
        ("<think>\nso\n</think>\n\n391", False, Message("assistant", "391", reasoning="so")),
        ("\n<think>so</think>391\n", False, Message("assistant", "391\n", reasoning="so")),
        ("391", False, Message("assistant", "391")),
        ("a <think>b</think>", False, Message("assistant", "a <think>b</think>")),
        (
            "so</think>a</think>b<think>c",
            True,
            Message("assistant", "a</think>b<think>c", reasoning="so"),
        ),
        ("never ends\n", True, Message("assistant", "", reasoning="never ends\n")),
        ("", True, Message("assistant", "")),
        ("so</think>\n\n" + CALL, True, Message("assistant", None, "so", (ADD,))),
        (
            "so</think>\n\nLook:\n\n" + CALL + "\n",
            True,
            Message("assistant", "Look:", "so", (ADD,)),
        ),
        (
            CALL + "\n" + CALL,
            False,
            Message("assistant", None, None, (ADD, ToolCall("call_1", "add", '{"a": 1}'))),
        ),
        (CALL + "\nand", False, Message("assistant", "\nand", None, (ADD,))),
        (
            f"try {CALL} no</think>yes",
            True,
            Message("assistant", "yes", reasoning=f"try {CALL} no"),
        ),
        (
            "x\n<tool_call>{bad}</tool_call>\ny",
            False,
            Message("assistant", "x\n<tool_call>{bad}</tool_call>\ny"),
        ),
        ("x\n<tool_call>{bad}", False, Message("assistant", "x\n<tool_call>{bad}")),
        (CALL.removesuffix("</tool_call>"), False, Message("assistant", None, None, (ADD,))),
        (f"<tool_call>{CALL}", False, Message("assistant", f"<tool_call>{CALL}")),
        ("a </tool_call> b", False, Message("assistant", "a </tool_call> b")),
        ("a < b <thin <tool_cal\n", False, Message("assistant", "a < b <thin <tool_cal\n")),
    ],
)
def test_routing(text: str, starts_open: bool, want: Message) -> None:
    for step in (1, 2, 7, len(text) + 1):
        data = text.encode()
        pieces = [data[i : i + step] for i in range(0, len(data), step)]
        message, deltas = run(text_router(starts_open), pieces)
        assert message == want, step
        check_deltas(message, deltas)


def test_a_call_cut_by_the_limit_is_content() -> None:
    cut = CALL.removesuffix("</tool_call>")
    message, _ = run(text_router(False), [cut.encode()], "length")
    assert message == Message("assistant", cut)


def test_without_tools_a_call_is_content() -> None:
    message, _ = run(text_router(False, tools=False), [CALL.encode()])
    assert message == Message("assistant", CALL)


@pytest.mark.parametrize(
    ("text", "stop", "content", "stopped"),
    [
        ("abSTOPc", ["STOP"], "ab", "STOP"),
        ("abSTO", ["STOP"], "abSTO", None),
        ("ababac", ["abac"], "ab", "abac"),
        ("one two", ["wo", "two"], "one ", "two"),
        ("aEND\n" + CALL, ["END"], "a", "END"),
        ("x <tool_call>END</tool_call>", ["END"], "x <tool_call>", "END"),
        ("a\n\nb", ["\n\n"], "a", "\n\n"),
        ("你好。吗", ["。"], "你好", "。"),
    ],
)
def test_stop_strings(text: str, stop: list[str], content: str, stopped: str | None) -> None:
    data = text.encode()
    for pieces in ([data], [data[i : i + 1] for i in range(len(data))]):
        router = text_router(True, stop)
        message, deltas = run(router, [b"STOP END two</think>\n\n", *pieces])
        assert (message.content or "", router.stopped, message.tool_calls) == (content, stopped, ())
        assert message.reasoning == "STOP END two"
        check_deltas(message, deltas)


def test_only_possible_prefixes_are_held_back() -> None:
    router = text_router(True, ["STOP"])
    steps = [
        ("a <", "a "),
        ("/thi", ""),
        ("x", "</thix"),
        (" <tool_call>", " <tool_call>"),
        ("</think>", ""),
    ]
    assert [("".join(d.text for d in router.feed_bytes(t.encode()))) for t, _ in steps] == [
        out for _, out in steps
    ]
    steps = [("1 <t", "1 "), ("x", "<tx"), ("ST", ""), ("AR", "STAR"), ("é"[:1], "é")]
    assert [("".join(d.text for d in router.feed_bytes(t.encode()))) for t, _ in steps] == [
        out for _, out in steps
    ]
    assert router.feed_bytes("é".encode()[:1]) == []
    assert router.feed_bytes("é".encode()[1:]) == [Delta("content", "é")]


PARTS = st.sampled_from(
    ["a", " b", "\n", "\n\n", "<", "</", "<think>", "</think>", "<tool_call>", "</tool_call>", CALL, "STOP", "ST", "OP",
     "🙂", '{"name": ', "x", "<tool_call>{}</tool_call>"]
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    parts=st.lists(PARTS, max_size=12),
    junk=st.binary(max_size=3),
    starts_open=st.booleans(),
    stop=st.sampled_from([(), ("STOP",), ("OPx", "\n\n")]),
    cuts=st.sets(st.integers(0, 400), max_size=8),
    reason=st.sampled_from(["stop", "length"]),
)
@example(["a", "\n", "<tool_call>", "</think>", "</tool_call>"], b"\xf0", True, (), set(), "stop")
def test_every_cut_gives_the_same_message(
    parts: list[str],
    junk: bytes,
    starts_open: bool,
    stop: tuple[str, ...],
    cuts: set[int],
    reason: FinishReason,
) -> None:
    data = "".join(parts[:6]).encode() + junk + "".join(parts[6:]).encode()
    whole, deltas = run(text_router(starts_open, stop), [data], reason)
    check_deltas(whole, deltas)
    borders = [0, *sorted(c for c in cuts if c < len(data)), len(data)]
    cut = [data[a:b] for a, b in pairwise(borders)]
    for pieces in (cut, [data[i : i + 1] for i in range(len(data))]):
        message, deltas = run(text_router(starts_open, stop), pieces, reason)
        assert message == whole
        check_deltas(message, deltas)
    if (
        not stop and not starts_open
    ):  # nothing but newlines and the marks of thinking and calls is left out
        text = data.decode("utf-8", "replace")
        kept = sum(
            map(
                len,
                (
                    whole.content or "",
                    whole.reasoning or "",
                    *(c.name + c.arguments for c in whole.tool_calls),
                ),
            )
        )
        frame = len(CALL) - len("add" + '{"a": 1}')
        assert (
            len(text) - text.count("\n") - len("<think></think>") - frame * len(whole.tool_calls)
            <= kept
            <= len(text)
        )


@pytest.mark.data
class TestIds:
    """Sampled ids, with the real tokenizers."""

    @settings(max_examples=50, deadline=None)
    @given(
        parts=st.lists(PARTS, max_size=10),
        cuts=st.sets(st.integers(0, 60), max_size=6),
        starts_open=st.booleans(),
    )
    def test_every_cut_gives_the_same_message(
        self,
        chats: dict[str, ChatTemplate],
        qwen: Tokenizer,
        parts: list[str],
        cuts: set[int],
        starts_open: bool,
    ) -> None:
        ids = [
            i
            for n, part in enumerate(parts)
            for i in [*qwen.encode(part, allow_special=n % 3 > 0), 151645, 152000]
        ]
        borders = [0, *sorted(c for c in cuts if c < len(ids)), len(ids)]
        results: list[Message] = []
        for pieces in ([ids], [[i] for i in ids], [ids[a:b] for a, b in pairwise(borders)]):
            router = StreamRouter(chats["qwq"].format, starts_open, token_bytes=qwen.token_bytes)
            deltas = [d for piece in pieces for d in router.feed(piece)] + router.finish("stop")
            results.append(router.message())
            check_deltas(results[-1], deltas)
        assert results[0] == results[1] == results[2]

    def test_a_tag_spelled_in_plain_tokens_is_text(
        self, chats: dict[str, ChatTemplate], qwen: Tokenizer
    ) -> None:
        router = StreamRouter(chats["qwq"].format, True, token_bytes=qwen.token_bytes)
        spelled, real = (
            qwen.encode("say </think> once"),
            qwen.encode("</think>\n\nok<|im_end|>", allow_special=True),
        )
        assert "".join(d.text for d in router.feed([*spelled, *real])) == "say </think> onceok"
        router.finish("stop")
        assert router.message() == Message("assistant", "ok", reasoning="say </think> once")

    def test_a_tag_with_an_id_opens_again(
        self, chats: dict[str, ChatTemplate], qwen: Tokenizer
    ) -> None:
        text = f"so</think>\n\na\n<think>\nmore\n</think>\nb\n{CALL}\n<think>yet</think>c"
        router = StreamRouter(chats["qwq"].format, True, token_bytes=qwen.token_bytes)
        deltas = router.feed(qwen.encode(text, allow_special=True)) + router.finish("stop")
        want = Message("assistant", "a\nbc", "so\n\nmore\n\nyet", (ADD,))
        assert router.message() == want
        check_deltas(want, deltas)

    @pytest.mark.parametrize("family", ["r1", "v3.1"])
    def test_deepseek_calls(
        self, chats: dict[str, ChatTemplate], deepseek: Tokenizer, family: str
    ) -> None:
        bodies = {
            "r1": [
                'function<｜tool▁sep｜>add\n```json\n{"a": 1}\n```',
                'function<｜tool▁sep｜>find\n```json\n{"q": "x"}\n```',
            ],
            "v3.1": ['add<｜tool▁sep｜>{"a": 1}', 'find<｜tool▁sep｜>{"q": "x"}'],
        }[family]
        calls = [f"{DEEPSEEK.open}{body}{DEEPSEEK.close}" for body in bodies]
        text = (
            f"so</think>\n\nLook.\n{DEEPSEEK.group_open}" + "\n".join(calls) + DEEPSEEK.group_close
        )
        router = StreamRouter(chats[family].format, True, token_bytes=deepseek.token_bytes)
        deltas = [
            d
            for i in deepseek.encode(text + "<｜end▁of▁sentence｜>", allow_special=True)
            for d in router.feed([i])
        ]
        deltas += router.finish("stop")
        want = Message("assistant", "Look.", "so", (ADD, ToolCall("call_1", "find", '{"q": "x"}')))
        assert router.message() == want
        check_deltas(want, deltas)

    def test_a_malformed_deepseek_call_is_content(
        self, chats: dict[str, ChatTemplate], deepseek: Tokenizer
    ) -> None:
        text = (
            f"Look.\n{DEEPSEEK.group_open}{DEEPSEEK.open}add{DEEPSEEK.close}{DEEPSEEK.group_close}"
        )
        router = StreamRouter(chats["r1"].format, False, token_bytes=deepseek.token_bytes)
        router.feed(deepseek.encode(text, allow_special=True))
        router.finish("stop")
        assert router.message() == Message("assistant", text)

    def test_what_was_called_is_what_the_template_shows(
        self, chats: dict[str, ChatTemplate], qwen: Tokenizer
    ) -> None:
        """A sampled turn, parsed and rendered again, gives the sampled ids back."""
        turn = f"so\n</think>\n\nLook.\n{CALL}<|im_end|>"
        for family, opening in (("qwq", ""), ("qwen3", "<think>\n")):
            chat = chats[family]
            asked = [Message("user", "Hi")]
            prompt = chat.render(asked)
            sampled = qwen.encode(opening + turn, allow_special=True)
            router = StreamRouter(chat.format, prompt.thinking_open, token_bytes=qwen.token_bytes)
            router.feed(sampled)
            router.finish("stop")
            again = chat.render([*asked, router.message()], add_generation_prompt=False)
            assert list(again.ids) == [*prompt.ids, *sampled, *qwen.encode("\n")]


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ('{"a": 1, "b":{"c": [1,2]} }', {"a": "1", "b": '{"c": [1,2]}'}),
        (" {} \n", {}),
        ('{"a": "}"}', {"a": '"}"'}),
        ('{"a": 1,}', None),
        ('{"a": NaN}', None),
        ('{"a" 1}', None),
        ('{1: 1}', None),
        ('{"a": 1} {"b": 2}', None),
        ('{"a": 1}}', None),
        ("[1]", None),
        ("{", None),
        ("", None),
        ('{"a": ' + "[" * 100_000 + "}", None),
    ],
)  # fmt: skip
def test_object_members(text: str, want: dict[str, str] | None) -> None:
    assert object_members(text) == want


@settings(max_examples=100, deadline=None)
@given(
    text=st.text("aab", max_size=30),
    patterns=st.lists(st.text("ab", min_size=1, max_size=5), max_size=3),
)
def test_matcher_against_a_plain_search(text: str, patterns: list[str]) -> None:
    matcher = Matcher(patterns)
    seen = ""
    for i in range(len(text)):
        ending = [p for p in patterns if text[: i + 1].endswith(p)]
        free, matched, _ = matcher.feed(text[i])
        seen += free
        assert matched == max(ending, key=len, default=None)
        if matched:
            assert seen + matched == text[: i + 1]
            return
        held = text[len(seen) : i + 1]
        assert held == max(
            (p[:k] for p in patterns for k in range(len(p)) if text[: i + 1].endswith(p[:k])),
            key=len,
            default="",
        )
    assert seen + matcher.flush() == text


@pytest.mark.parametrize("unit", ["<tool_call>{", "a\n", "<", CALL, "ab" * 20])
def test_time_grows_with_length_only(unit: str) -> None:
    """Four times the text, fed by the byte, takes well under sixteen times as long."""

    def seconds(size: int) -> float:
        data = (unit * (size // len(unit))).encode()
        best = float("inf")
        for _ in range(2):
            router = text_router(False, ["ab" * 50 + "c"])
            start = time.perf_counter()
            run(router, [data[i : i + 1] for i in range(len(data))])
            best = min(best, time.perf_counter() - start)
        return best

    assert seconds(12_000) < 10 * seconds(3_000) + 0.02
