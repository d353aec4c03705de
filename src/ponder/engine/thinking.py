"""engine/thinking: thinking is a state, not a string. Token ids only; it decides, the engine carries out.

    thinking ──────── the model writes the closing tag ────────▶ answering      (self)
        └── budget, loop, "answer now", answer reserve ──▶ closing ──▶ answering

`closing` lasts no step: all its ids (the closing sentence, the tag, the template's white space) are known
at once, so they are returned together and run as one chunk of the sequence.
"""

from __future__ import annotations

from typing import Literal

from ponder.core.types import ThinkingEnd, ThinkingParams
from ponder.engine.loops import LoopDetector

State = Literal["thinking", "answering"]

THOUGHT, TAG, ANSWER = 0, 1, 2
"""Marks of completion tokens; the tags themselves belong to the thinking phase."""

RESERVE_SHARE = 16
"""The answer's reserve grows with the limit: a sixteenth of it, when that is more than was asked for."""


def answer_reserve(asked: int, limit: int) -> int:
    """Tokens kept for the answer out of `limit`; at most half of it. 0 asked: none are kept."""
    return min(max(asked, limit // RESERVE_SHARE), limit // 2) if asked else 0


class ThinkingState:
    """The state of one choice. `start` once, then `advance` with every sampled token.

    Both, and `answer_now`, return the ids that must follow, which are already counted as written.
    """

    __slots__ = (
        "_budget",
        "_close_tail",
        "_closing_len",
        "_is_forced",
        "_limit",
        "_loops",
        "_num_thoughts",
        "_params",
        "_reserve",
        "_tail",
        "end",
        "marks",
        "state",
    )

    def __init__(self, params: ThinkingParams | None, limit: int) -> None:
        self._params = params
        self._limit = limit
        self.marks = bytearray()
        """One mark for each completion token."""
        self.state: State = "thinking" if params and params.starts_open else "answering"
        self.end: ThinkingEnd | None = None
        """Why thinking ended; None before that, or when there was none."""
        self._tail: tuple[int, ...] = ()
        """The latest sampled ids, as many as a tag is long."""
        self._is_forced = False
        self._num_thoughts = 0
        self._loops: LoopDetector | None = None
        self._budget = limit + 1
        self._reserve = 0
        self._closing_len = 0
        if params is not None:
            self._loops = LoopDetector() if params.cut_loops else None
            self._budget = self._budget if params.budget is None else params.budget
            self._reserve = answer_reserve(params.answer_reserve, limit)
            fits = 2 * len(params.closing_ids) <= self._budget
            self._closing_len = len(params.closing_ids) if fits else 0
            self._close_tail = max(len(params.close_ids), len(params.open_ids))

    def start(self) -> tuple[int, ...]:
        """Before the first token: a budget may leave no room for thinking at all."""
        return self._enforce(is_loop=False) if self.state == "thinking" else ()

    def advance(self, token_id: int) -> tuple[int, ...]:
        """Count one sampled token."""
        params = self._params
        if params is None:
            self.marks.append(ANSWER)
            return ()
        self._tail = (*self._tail, token_id)[-self._close_tail :]
        if self.state == "answering":
            self.marks.append(ANSWER)
            opening = params.open_ids
            if not opening or self._tail[-len(opening) :] != opening:
                return ()
            self.marks[-len(opening) :] = bytes((TAG,)) * len(opening)
            self._tail = ()
            self.state, self.end = "thinking", None
            return self._enforce(is_loop=False)
        self.marks.append(THOUGHT)
        self._num_thoughts += 1
        closing = params.close_ids
        if self._tail[-len(closing) :] == closing:
            self._close("self", len(closing))
            return ()
        return self._enforce(self._loops is not None and self._loops.push(token_id))

    def answer_now(self) -> tuple[int, ...]:
        """End the thinking because the user asks; nothing once answering."""
        return self._cut("user") if self.state == "thinking" else ()

    def banned_id(self) -> int | None:
        """The id that may not come next: the one that would reopen thinking for which there is no room."""
        params = self._params
        if params is None or self.state == "thinking" or not params.open_ids:
            return None
        if not self._is_forced and self._num_thoughts + self._closing_len < self._budget:
            return None
        prefix = params.open_ids[:-1]
        if prefix and self._tail[-len(prefix) :] != prefix:
            return None
        return params.open_ids[-1]

    def end_text(self) -> None:
        """Count a token that ends the whole text; it is neither thought nor answer."""
        self.marks.append(TAG if self.state == "thinking" else ANSWER)

    def _enforce(self, is_loop: bool) -> tuple[int, ...]:
        """Cut when the budget, the reserve or the loop demands it. Runs after every thinking token."""
        params = self._params
        assert params is not None, "only a state with parameters thinks"
        if self._num_thoughts + self._closing_len >= self._budget:
            return self._cut("budget")
        if is_loop:
            return self._cut("loop")
        if self._reserve:
            forced = self._closing_len + len(params.close_ids) + len(params.answer_open_ids)
            if self._limit - len(self.marks) <= self._reserve + forced:
                return self._cut("length")
        return ()

    def _cut(self, end: ThinkingEnd) -> tuple[int, ...]:
        """The ids that close the thinking, cut to the limit; a tag the model has begun is completed."""
        params = self._params
        assert params is not None, "only a state with parameters thinks"
        begun = self._num_begun()
        room = self._limit - len(self.marks)
        closing = () if begun else params.closing_ids[: self._closing_len]
        tag = params.close_ids[begun:]
        if room < len(closing) + len(tag):
            closing = ()
        forced = (*closing, *tag, *params.answer_open_ids)[:room]
        self.marks += bytes((THOUGHT,)) * len(closing)
        self.marks += bytes((TAG,)) * min(len(tag), room - len(closing))
        self.marks += bytes((ANSWER,)) * (len(forced) - len(closing) - len(tag))
        self._num_thoughts += len(closing)
        self._is_forced = True
        self._close(end, 0)
        if begun:
            first = len(self.marks) - len(forced) - begun
            self.marks[first : first + begun] = bytes((TAG,)) * begun
        return forced

    def _close(self, end: ThinkingEnd, num_tag_ids: int) -> None:
        if num_tag_ids:
            self.marks[-num_tag_ids:] = bytes((TAG,)) * num_tag_ids
        self._num_thoughts -= num_tag_ids
        self.state, self.end, self._tail = "answering", end, ()

    def _num_begun(self) -> int:
        """How many ids of a closing tag the thinking ends with."""
        closing = self._params.close_ids if self._params else ()
        for length in range(min(len(closing) - 1, len(self._tail)), 0, -1):
            if self._tail[-length:] == closing[:length]:
                return length
        return 0
