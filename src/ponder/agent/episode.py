"""agent/episode: the record of one episode: token ids as they were sampled or given, and what they mean.

Nothing here is rebuilt from text: ids and log-probabilities are the engine's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from ponder.core.types import (
    FinishReason,
    Message,
    ThinkingEnd,
    TokenEvent,
    TokenLogprob,
    Usage,
)


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of ids of one kind, e.g. the prompt, or what the model sampled up to its first call."""

    ids: tuple[int, ...]
    logprobs: tuple[float, ...] | None = None
    """One raw fp32 log-probability an id, or none at all where none were asked for; None: the ids were given, not
    sampled (prompt, tool results, forced tags)."""


@dataclass(frozen=True)
class Episode:
    """One finished episode. A single-turn answer is an episode of two segments: the prompt and the answer."""

    segments: tuple[Segment, ...]
    messages: tuple[Message, ...]
    """All after the prompt: the model's turns and the tool results between them."""
    finish: FinishReason
    """`stop`: an answer; `length`: a token limit; `tool_calls`: calls were left when the turns were used up."""
    thinking_end: ThinkingEnd | None = None
    """Why thinking ended: of the first turn where it was not by itself, else of the last turn."""
    num_calls: int = 0
    num_failed_calls: int = 0
    usage: Usage = field(default_factory=Usage)
    """Of the first prompt, and of all turns together; cached tokens are left out, for they depend on what else ran."""
    error: str = ""
    """For finish `error`: what failed."""

    @property
    def answer(self) -> str:
        """The text of the model's last turn; empty when that turn only called tools."""
        return (self.messages[-1].content or "") if self.messages else ""

    @property
    def is_truncated(self) -> bool:
        """A limit ended the episode or its thinking, so that the answer is not all the model's own doing."""
        return self.finish in ("length", "tool_calls") or self.thinking_end not in (None, "self")

    @cached_property
    def ids(self) -> tuple[int, ...]:
        """Every id, prompt first."""
        return tuple(i for segment in self.segments for i in segment.ids)

    @cached_property
    def logprobs(self) -> tuple[float, ...]:
        """One number an id; 0.0 where the id was given or no log-probabilities were asked for."""
        return tuple(
            value
            for segment in self.segments
            for value in segment.logprobs or (0.0,) * len(segment.ids)
        )

    @cached_property
    def sampled(self) -> tuple[bool, ...]:
        """True where the model sampled the id."""
        return tuple(
            kind
            for segment in self.segments
            for kind in (segment.logprobs is not None,) * len(segment.ids)
        )


@dataclass(frozen=True, slots=True)
class Reply:
    """What an engine gave for one request of an episode."""

    ids: tuple[int, ...]
    logprobs: tuple[TokenLogprob, ...]
    """One an id when the request asked for them, else none."""
    forced: tuple[int, ...]
    """Indices of ids that were not sampled."""
    finish: FinishReason
    thinking_end: ThinkingEnd | None
    usage: Usage
    error: str = ""

    @classmethod
    def of(cls, events: Sequence[TokenEvent]) -> Reply:
        """From all events of a request with one choice."""
        last = events[-1] if events else None
        assert last is not None and last.finish_reason is not None, f"no end in {last}"
        forced: list[int] = []
        start = 0
        for event in events:
            forced.extend(start + index for index in event.forced)
            start += len(event.token_ids)
        return cls(
            ids=tuple(i for event in events for i in event.token_ids),
            logprobs=tuple(value for event in events for value in event.logprobs),
            forced=tuple(forced),
            finish=last.finish_reason,
            thinking_end=last.thinking_end,
            usage=last.usage or Usage(),
            error=last.error,
        )

    def segments(self) -> Iterable[Segment]:
        """Runs of sampled ids with their log-probabilities, and runs of forced ids."""
        cuts = set(self.forced)
        start = 0
        for end in range(1, len(self.ids) + 1):
            is_forced = start in cuts
            if end < len(self.ids) and (end in cuts) == is_forced:
                continue
            values = tuple(each.logprob for each in self.logprobs[start:end])
            yield Segment(self.ids[start:end], None if is_forced else values)
            start = end
