"""runs/viewed: the samples a person pages through: whole steps over all the run, each field typed and short."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from ponder.runs.lines import number, offsets, record_at, whole

MOST_SAMPLES = 600
LONGEST_TEXT = 20_000
"""Characters of one text."""
MOST_TOKENS = 4_000
"""Tokens of one sample that are shown with their log-probability."""
MOST_CHARACTERS = 24_000_000
"""Of all samples together: what a browser opens without a pause."""

TEXTS = ("family", "band", "question", "thinking", "answer", "verdict", "reason")


def read_samples(path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Samples for the page, newest step first, and notes on what was left out."""
    steps, broken, total = dict[int, list[int]](), 0, 0
    for offset, record in offsets(path):
        if record is None:
            broken += 1
        else:
            steps.setdefault(whole(record.get("step")) or 0, []).append(offset)
            total += 1
    notes = [f"{broken} lines of samples.jsonl could not be read"] if broken else []
    samples: list[dict[str, Any]] = []
    if total:
        with path.open("rb") as file:
            budget = MOST_CHARACTERS
            for offset in chosen(steps):
                sample, size = viewed(record_at(file, offset))
                budget -= size
                if budget < 0:
                    break
                samples.append(sample)
    if len(samples) < total:
        left_out = total - len(samples)
        notes.append(f"{left_out} of {total} samples; the steps shown are spread over the run")
    samples.sort(key=lambda sample: -sample["step"])
    return samples, notes


def chosen(steps: dict[int, list[int]]) -> list[int]:
    """At most MOST_SAMPLES of them: the last step, the first, then finer between them; whole steps where they fit."""
    order, left = sorted(steps), MOST_SAMPLES
    found: list[int] = []
    for index in _spread(len(order)):
        places = steps[order[index]]
        if len(places) > left and found:
            continue
        found += places[:left]
        left = MOST_SAMPLES - len(found)
        if not left:
            break
    return found


def _spread(count: int) -> list[int]:
    """0 … count−1, the last first, then the first, then halving the gaps."""
    order, seen, parts = [count - 1, 0], {count - 1, 0}, 2
    while len(seen) < count:
        for part in range(1, parts, 2):
            index = round(part * (count - 1) / parts)
            if index not in seen:
                seen.add(index)
                order.append(index)
        parts *= 2
    return list(dict.fromkeys(order))


def viewed(record: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """One sample as the page reads it, and its characters. A field of another type than it should have becomes text."""
    if isinstance(text := record.get("text"), str) and "answer" not in record:
        thinking, tag, answer = text.partition("</think>")
        record = record | (
            {"thinking": thinking, "answer": answer.strip()} if tag else {"answer": text}
        )
    sample: dict[str, Any] = {"step": whole(record.get("step")) or 0}
    for name in ("reward", "advantage"):
        if (value := number(record.get(name))) is not None:
            sample[name] = value
    if isinstance(group := record.get("group"), str | int):
        sample["group"] = str(group)[:100]
    for name in TEXTS:
        if (value := record.get(name)) is not None:
            sample[name] = _text(value)
    tokens = record.get("tokens")
    if isinstance(tokens, list) and tokens:
        rows = cast("list[Any]", tokens)
        sample["tokens"] = [_token(row) for row in rows[:MOST_TOKENS]]
        if len(rows) > MOST_TOKENS:
            sample["more_tokens"] = len(rows) - MOST_TOKENS
    size = sum(len(value) for value in sample.values() if isinstance(value, str))
    return sample, size + sum(len(token[0]) + 8 for token in sample.get("tokens", ()))


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)[: LONGEST_TEXT + 1]
    more = len(text) - LONGEST_TEXT
    return text if more <= 0 else f"{text[:LONGEST_TEXT]} [{more} more characters]"


def _token(row: Any) -> tuple[str, float | None]:
    """Text and log-probability; None where the token was given, not sampled."""
    pair = cast("list[Any]", row) if isinstance(row, list) else [row]
    text, found = pair[0] if pair else "", number(pair[1]) if len(pair) > 1 else None
    text = text if isinstance(text, str) else repr(text)
    return text[:200], None if found is None else round(found, 4)
