"""engine/finish: why a choice ends. Every finish reason of the engine is made here, and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass

from ponder.core.types import FinishReason, ThinkingEnd
from ponder.engine.choice import Choice


@dataclass(frozen=True, slots=True)
class Finish:
    """The end of one choice."""

    reason: FinishReason
    thinking_end: ThinkingEnd | None
    stop: str | int | None = None
    """The stop string or id that matched."""
    error: str = ""


def finish_of(choice: Choice, *, is_aborted: bool = False, error: str = "") -> Finish | None:
    """The end that has come for `choice`, or None: from outside, by a stop, or by the limit.

    Thinking that is still open ends with the output: by itself if the model ended its text there.
    """
    is_open = choice.thinking.state == "thinking"
    ended = choice.thinking.end
    if error:
        return Finish("error", ended, error=error)
    if is_aborted:
        return Finish("abort", ended)
    if choice.matched is not None:
        return Finish("stop", "self" if is_open else ended, choice.matched)
    if choice.num_ready >= choice.limit:
        return Finish("length", "length" if is_open else ended)
    return None
