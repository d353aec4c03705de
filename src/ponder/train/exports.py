"""train/exports: our problems and verifiers for other trainers: rows of a data set, and a reward from a row and a text.

A row holds the question and, in one column, where its problem stands among the generated ones, so that a reward needs
nothing but the row. The reward is 1.0 for right, 0.0 for wrong, None where the verifier could not decide: TRL leaves
such a completion out.
`examples/ponder_taskset.py` makes an environment of the package `verifiers` from the same functions.
Limit: texts, not episodes, are judged, so families with tools are left out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, cast

from ponder.core.errors import ConfigError
from ponder.core.types import Band, Problem, Verdict
from ponder.tasks import generate, verify
from ponder.tasks.catalogue import tools_of

COLUMN = "ponder_problem"
"""Name of the column with the problem."""
MAKE_ROWS = "make the data set with ponder.train.exports.rows, and keep its columns"
Completion = str | Sequence[Mapping[str, Any]]
"""A text, or the messages of a conversation."""


def rows(
    family: str, band: Band = "R", count: int = 1000, seed: int = 0, chat: bool = True
) -> list[dict[str, Any]]:
    """Problems as rows for `datasets.Dataset.from_list`; `chat`: the prompt as messages instead of text."""
    found: list[dict[str, Any]] = []
    for index in range(count):
        problem = generate(family, band, seed, index)
        if tools_of(problem):
            raise ConfigError(
                f"{family!r} needs tools", "a reward judges a text; take a family without tools"
            )
        question = problem.question
        prompt: Any = [{"role": "user", "content": question}] if chat else question
        found.append({"prompt": prompt, COLUMN: problem_text(family, band, seed, index)})
    return found


def problem_text(family: str, band: Band, seed: int, index: int) -> str:
    """The place of a problem among the generated ones, and a digest to know it again."""
    digest = _digest(generate(family, band, seed, index))
    return json.dumps(
        {"family": family, "band": band, "seed": seed, "index": index, "digest": digest}
    )


@lru_cache(maxsize=4096)
def problem_of(text: str) -> Problem:
    """The problem of a row. Raises ConfigError for a text or a generator other than `problem_text` had."""
    try:
        place = json.loads(text)
        problem = generate(place["family"], place["band"], place["seed"], place["index"])
        is_same = place["digest"] == _digest(problem)
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigError(f"the column {COLUMN!r} holds {text[:80]!r}", MAKE_ROWS) from error
    if not is_same:
        raise ConfigError(
            f"the row of {place['family']!r} was made by another version of Ponder", MAKE_ROWS
        )
    return problem


def judged(problem: Problem, text: str, thinking_close: str = "</think>") -> Verdict:
    """The verdict on what stands after the thinking; a text that never leaves its thinking has no answer.

    A text without either tag is an answer without thinking.
    """
    thinking, closed, answer = text.partition(thinking_close)
    if not closed:
        thinking_open = thinking_close.replace("/", "")
        answer = "" if thinking_open in thinking else text
    return verify(problem, answer.strip())


def reward_of(verdict: Verdict) -> float | None:
    """1 for right, 0 for wrong, None where nobody could decide."""
    return None if verdict.status == "undecided" else float(verdict.status == "right")


def trl_reward(completions: Sequence[Completion], **columns: Any) -> list[float | None]:
    """A reward function for TRL's trainers: `reward_funcs=[trl_reward]` with rows of `rows`."""
    problems = columns.get(COLUMN)
    if problems is None:
        raise ConfigError(
            f"the data set has no column {COLUMN!r}",
            MAKE_ROWS,
        )
    pairs = zip(cast("Sequence[str]", problems), completions, strict=True)
    return [reward_of(judged(problem_of(row), text_of(each))) for row, each in pairs]


def text_of(completion: Completion) -> str:
    """The text of a completion; of a conversation, its last message, with its thinking where that stands apart."""
    if isinstance(completion, str):
        return completion
    if not completion:
        return ""
    last = completion[-1]
    text, thinking = last.get("content") or "", last.get("reasoning_content")
    return f"{thinking}</think>{text}" if thinking is not None else str(text)


def _digest(problem: Problem) -> str:
    asked = f"{problem.canonical}\n{problem.question}\n{problem.answer}"
    return hashlib.blake2b(asked.encode(), digest_size=8).hexdigest()
