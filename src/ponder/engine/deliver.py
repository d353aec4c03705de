"""engine/deliver: from a step's logits to the events its choices give. Samples, records, ends; runs no model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ponder.core.types import Phase, TokenEvent, TokenLogprob, Usage
from ponder.engine.choice import Choice
from ponder.engine.finish import Finish
from ponder.engine.runner import Runner
from ponder.engine.sampler import sample_rows, top_logprobs
from ponder.engine.scheduler import Slice
from ponder.engine.thinking import ANSWER, THOUGHT
from ponder.model.ops.protocol import Ops
from ponder.model.ops.scalar import F32


class Sampled(NamedTuple):
    """What a slice ends in."""

    token_id: int
    logprob: float | None
    """Raw, where it fell out of the sampling."""


def sample_slices(slices: Sequence[Slice], logits_NV: F32 | None, ops: Ops) -> list[Sampled | None]:
    """What each slice ends in, by its last row; None where it samples nothing."""
    found: list[Sampled | None] = [None] * len(slices)
    places: list[int] = []
    rows: list[int] = []
    row = -1
    for place, each in enumerate(slices):
        row += each.num_wanted
        if each.samples:
            places.append(place)
            rows.append(row)
    if logits_NV is None or not rows:
        return found
    choices = [slices[place].choice for place in places]
    ids, logprobs = sample_rows(
        ops,
        [choice.sampler for choice in choices],
        logits_NV if len(rows) == len(logits_NV) else logits_NV[rows],
        [choice.seed for choice in choices],
        [len(choice.ids) - choice.prompt_len for choice in choices],
        [choice.thinking.banned_id() for choice in choices],
    )
    for place, token_id, logprob in zip(places, ids, logprobs, strict=True):
        found[place] = Sampled(token_id, logprob)
    return found


def score_slices(
    slices: Sequence[Slice], sampled: Sequence[Sampled | None], runner: Runner
) -> None:
    """Record the log-probabilities of the ids that the wanted rows predict, known ones and sampled."""
    rows: list[int] = []
    wanted: list[tuple[Choice, int, int]] = []
    first = 0
    for (choice, count, num_rows, _), new in zip(slices, sampled, strict=True):
        num_top = choice.params.logprobs
        if num_top is None or not num_rows:
            pass
        elif num_rows == 1 and num_top == 0 and new is not None and new.logprob is not None:
            choice.scored.append(TokenLogprob(new.token_id, new.logprob))
        else:
            end = choice.num_computed + count + 1
            ids = list(choice.ids[end - num_rows : end])
            if new is not None:
                ids.append(new.token_id)
            rows.extend(range(first, first + len(ids)))
            wanted.extend((choice, token_id, num_top) for token_id in ids)
        first += num_rows
    if rows:
        logprobs_NV = runner.logprobs(rows)
        ids = [token_id for _, token_id, _ in wanted]
        values: list[float] = logprobs_NV[np.arange(len(ids)), ids].tolist()
        for row, (choice, token_id, num_top) in enumerate(wanted):
            top = top_logprobs(logprobs_NV[row], num_top) if num_top else ()
            choice.scored.append(TokenLogprob(token_id, values[row], top))


def events_of(choice: Choice, finish: Finish | None) -> list[TokenEvent]:
    """What can be given to the caller now, one event a phase; the last one carries the end."""
    scored = choice.scored
    at, first = choice.num_emitted, choice.prompt_len
    end = len(choice.ids) if choice.params.logprobs is None else at + len(scored)
    forced = choice.forced
    choice.scored = []
    choice.num_emitted = end
    if forced:
        choice.forced = [place for place in forced if place >= end]
    events: list[TokenEvent] = []
    while True:
        stop = _phase_end(choice.thinking.marks, at - first, end - first) + first
        is_last = stop == end
        if at < stop or finish:
            phase: Phase = "answering" if _is_answer(choice, at) else "thinking"
            ids = tuple(choice.ids[at:stop])
            logprobs = tuple(scored[: stop - at])
            places = tuple([place - at for place in forced if at <= place < stop]) if forced else ()
            events.append(_event(choice, ids, phase, logprobs, places, finish if is_last else None))
        if is_last:
            return events
        scored = scored[stop - at :]
        at = stop


def _event(
    choice: Choice,
    ids: tuple[int, ...],
    phase: Phase,
    logprobs: tuple[TokenLogprob, ...],
    forced: tuple[int, ...],
    finish: Finish | None,
) -> TokenEvent:
    if finish is None:
        return TokenEvent(
            choice.request_id, choice.index, ids, phase, logprobs, seed=choice.seed, forced=forced
        )
    num_completed = choice.num_emitted - choice.prompt_len
    usage = Usage(
        prompt_tokens=choice.prompt_len,
        cached_tokens=choice.cached_tokens or 0,
        completion_tokens=num_completed,
        thinking_tokens=choice.thinking.marks.count(THOUGHT, 0, num_completed),
    )
    return TokenEvent(
        request_id=choice.request_id,
        choice=choice.index,
        token_ids=ids,
        phase=phase,
        logprobs=logprobs,
        finish_reason=finish.reason,
        thinking_end=finish.thinking_end,
        stop=finish.stop,
        usage=usage,
        seed=choice.seed,
        error=finish.error,
        forced=forced,
    )


def _is_answer(choice: Choice, at: int) -> bool:
    """Phase of the id at `at`, or of what would come next."""
    marks = choice.thinking.marks
    index = at - choice.prompt_len
    return marks[index] == ANSWER if index < len(marks) else choice.thinking.state == "answering"


def _phase_end(marks: bytearray, start: int, end: int) -> int:
    """Where the phase of the completion id `start` ends, at most `end`."""
    if end - start <= 1:
        return end
    is_answer = marks[start] == ANSWER
    for index in range(start + 1, end):
        if (marks[index] == ANSWER) != is_answer:
            return index
    return end
