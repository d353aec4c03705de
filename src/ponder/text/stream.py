"""text/stream: sampled ids → deltas of thinking, answer and tool calls; the same message however the stream is cut.

    state     leaves it by                 text goes to    tags that count
    thinking  the closing tag              reasoning       closing tag (tool tags stay thinking)
    answer    an opening tag               content         opening tag; tool tags; stop strings
    call      the call's closing tag       its body        the call's closing tag
    stopped   –                            nowhere         none

Newlines around the thinking and before a call belong to the format and are left out. A malformed call is content.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Literal

from ponder.core.types import Delta, DeltaKind, FinishReason, Message, ToolCall
from ponder.text.format import ChatFormat
from ponder.text.matcher import Matcher

_State = Literal["thinking", "answer", "call", "stopped"]


class StreamRouter:
    """Routes one choice's stream. Feed, then `finish` once, then read `message`."""

    def __init__(
        self,
        format: ChatFormat,
        starts_open: bool,
        *,
        token_bytes: Callable[[int], bytes],
        stop: Sequence[str] = (),
        tools: bool = True,
        choice: int = 0,
    ) -> None:
        """`starts_open`: the prompt ended inside a think block; `tools` false: call tags are plain content."""
        self._format = format
        self._syntax = format.tools if tools else None
        self._token_bytes = token_bytes
        self._choice = choice
        self._state: _State = "thinking" if starts_open else "answer"
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._scanners: dict[_State, Matcher] = self._make_scanners()
        self._stops = Matcher(stop)
        self.stopped: str | None = None
        """The stop string that ended the answer."""
        self._starts_open = starts_open
        self._repeated = False
        self._has_thought = starts_open
        self._is_new_block = False  # a further block of thinking has begun
        self._is_leading = starts_open  # newlines right after a think tag are being dropped
        self._after_call = False  # nothing but newlines and marks since the last call
        self._pending: list[str] = []  # newlines and group marks, dropped if a call follows
        self._body: list[str] = []
        self._deltas: list[Delta] = []
        self._texts: dict[DeltaKind, list[str]] = {"reasoning": [], "content": []}
        self._calls: list[ToolCall] = []

    def _make_scanners(self) -> dict[_State, Matcher]:
        """Tags to look for in text, by state: those of the format that have no token id."""
        format, syntax = self._format, self._syntax
        opening = [format.think_open]
        calls = [syntax.open, syntax.group_open, syntax.group_close] if syntax else []
        tags: dict[_State, list[str]] = {
            "thinking": [format.think_open, format.think_close],
            "answer": [*opening, *calls],
            "call": [syntax.close] if syntax else [],
            "stopped": [],
        }
        with_id = set(format.tag_ids.values())
        return {
            state: Matcher([t for t in found if t not in with_id]) for state, found in tags.items()
        }

    def feed(self, ids: Iterable[int]) -> list[Delta]:
        """Deltas that these ids settle. Ids without text and special ids add nothing."""
        for token_id in ids:
            tag = self._format.tag_ids.get(token_id)
            if tag is not None:
                self._flush_text()
                self._on_tag(tag)
            elif token_id not in self._format.silent_ids:
                self._on_text(self._decoder.decode(self._token_bytes(token_id)))
        return self._take()

    def feed_bytes(self, data: bytes) -> list[Delta]:
        """The same for UTF-8 text, cut anywhere; tags that have a token id are not looked for in it."""
        self._on_text(self._decoder.decode(data))
        return self._take()

    def finish(self, reason: FinishReason) -> list[Delta]:
        """The last deltas. A call without its closing tag counts only when the model ended by itself."""
        self._flush_text()
        if self._state == "call":
            self._end_call("", is_whole=reason in ("stop", "tool_calls"))
        group_open = self._syntax.group_open if self._syntax else ""
        if self._pending and (not self._after_call or group_open in self._pending):
            self._emit_text("".join(self._pending))
        self._pending.clear()
        self._emit("content", self._stops.flush())
        self._state = "stopped"
        return self._take()

    def message(self) -> Message:
        """What has been settled so far; complete after `finish`."""
        content, reasoning = ("".join(self._texts[kind]) for kind in ("content", "reasoning"))
        return Message(
            "assistant",
            content if content or not self._calls else None,
            reasoning=reasoning or None,
            tool_calls=tuple(self._calls),
        )

    def _flush_text(self) -> None:
        """A tag or the end has come: nothing before it can still become a character or a tag."""
        self._on_text(self._decoder.decode(b"", True))
        self._on_plain(self._scanners[self._state].flush())

    def _on_text(self, text: str) -> None:
        while text and self._state != "stopped":
            free, tag, text = self._scanners[self._state].feed(text)
            self._on_plain(free)
            if tag is not None:
                self._on_tag(tag)

    def _on_plain(self, text: str) -> None:
        if not text:
            return
        if self._state == "call":
            self._body.append(text)
        elif self._state != "stopped":
            self._add_text(text)

    def _on_tag(self, tag: str) -> None:
        think, calls = self._format, self._syntax
        match self._state:
            case "thinking" if tag == think.think_close:
                self._pending.clear()
                self._state, self._is_leading = "answer", True
            case "thinking" if tag == think.think_open and self._may_repeat():
                self._is_leading, self._repeated = True, True
            case "answer" if tag == think.think_open and self._may_open():
                self._open_thinking()
            case "answer" if calls is not None and tag == calls.open:
                self._state, self._is_leading = "call", False
            case "answer" if self._is_group_mark(tag):
                self._is_leading = False
                self._pending.append(tag)
            case "call" if calls is not None and tag == calls.close:
                self._end_call(tag, is_whole=True)
            case _:
                self._on_plain(tag)

    def _may_open(self) -> bool:
        """A tag's own id always opens, as it does in the engine; the same letters in text only at the start."""
        if self._format.think_open in self._format.tag_ids.values():
            return True
        is_blank = not self._texts["content"] and not "".join(self._pending).strip()
        return not self._has_thought and is_blank and not self._calls

    def _open_thinking(self) -> None:
        held = "".join(self._pending)
        self._pending.clear()
        if not self._after_call and (self._texts["content"] or held.strip()):
            self._emit_text(held)
        if self._state == "answer":  # not stopped by what was held
            self._emit("content", self._stops.flush())
            self._state, self._is_leading = "thinking", True
            self._has_thought = self._is_new_block = True

    def _may_repeat(self) -> bool:
        """Some models write the opening tag once more although the prompt has it."""
        return self._starts_open and not self._repeated and not self._texts["reasoning"]

    def _is_group_mark(self, tag: str) -> bool:
        calls = self._syntax
        if calls is None:
            return False
        return tag == calls.group_open or (tag == calls.group_close and self._after_call)

    def _add_text(self, text: str) -> None:
        """Reasoning or content: trailing newlines wait, for a tag may yet drop them."""
        if self._is_leading:
            text = text.lstrip("\n")
            self._is_leading = not text
        kept = text.rstrip("\n")
        if kept:
            kept, newlines = "".join([*self._pending, kept]), text[len(kept) :]
            self._pending.clear()
            self._after_call = False
            self._emit_text(kept)
        else:
            newlines = text
        if newlines and self._state != "stopped":
            self._pending.append(newlines)

    def _emit_text(self, text: str) -> None:
        if self._state == "thinking":
            is_later = self._is_new_block and self._texts["reasoning"]
            self._emit("reasoning", f"\n\n{text}" if is_later else text)
            self._is_new_block = False
            return
        free, stop, _ = self._stops.feed(text)
        self._emit("content", free)
        if stop is not None:
            self.stopped = stop
            self._state = "stopped"

    def _end_call(self, closing: str, is_whole: bool) -> None:
        syntax = self._syntax
        assert syntax is not None, f"state {self._state!r} without a tool syntax"
        body = "".join(self._body)
        self._body.clear()
        self._state = "answer"
        parsed = syntax.parse(body) if is_whole else None
        if parsed is None:
            self._add_text(syntax.open + body + closing)
            return
        self._emit("content", self._stops.flush())
        call = ToolCall(f"call_{len(self._calls)}", *parsed)
        self._calls.append(call)
        self._deltas.append(Delta("tool_call", tool_call=call, choice=self._choice))
        self._pending.clear()
        self._after_call = True

    def _emit(self, kind: DeltaKind, text: str) -> None:
        if text:
            self._texts[kind].append(text)
            self._deltas.append(Delta(kind, text, choice=self._choice))

    def _take(self) -> list[Delta]:
        """This call's deltas, neighbours of one kind joined."""
        joined: list[Delta] = []
        for kind, group in groupby(self._deltas, key=lambda delta: delta.kind):
            run = list(group)
            if kind == "tool_call":
                joined.extend(run)
            else:
                text = "".join(delta.text for delta in run)
                joined.append(Delta(run[0].kind, text, choice=self._choice))
        self._deltas.clear()
        return joined
