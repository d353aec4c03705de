"""train/rl/answers: one scored answer as plain data that a journal can hold, and how it is rewarded. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ponder.agent import Episode
from ponder.core.types import FinishReason, Verdict, VerdictStatus
from ponder.train.config import RewardConfig


@dataclass(frozen=True, slots=True)
class Answer:
    """A finished episode with its verdict; what is trained on, logged and kept in the journal."""

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    sampled: tuple[bool, ...]
    finish: FinishReason
    is_truncated: bool
    """A limit ended it, or its thinking."""
    num_calls: int
    num_failed_calls: int
    thinking: str
    text: str
    """The answer proper, after the thinking."""
    verdict: VerdictStatus
    reason: str
    reward: float | None = None
    """None: undecided, lost, or left out by the recipe."""

    @property
    def is_right(self) -> bool:
        """Right, in the right form, within the limits."""
        return self.reward is not None and self.verdict == "right"

    @property
    def length(self) -> int:
        """Tokens the model sampled."""
        return sum(self.sampled)


@dataclass(frozen=True, slots=True)
class Draw:
    """Which problem: number `index` of the stream of a kind such as `countdown/R`."""

    kind: str
    index: int


@dataclass(frozen=True, slots=True)
class Group:
    """The answers to one problem."""

    draw: Draw
    question: str
    answers: tuple[Answer, ...]

    @property
    def family(self) -> str:
        return self.draw.kind.partition("/")[0]


def answer_of(episode: Episode, verdict: Verdict, config: RewardConfig, max_tokens: int) -> Answer:
    """The rewarded record of an episode. An answer not in the right form is wrong, whatever it says."""
    last = episode.messages[-1] if episode.messages else None
    answer = Answer(
        ids=episode.ids,
        logprobs=episode.logprobs,
        sampled=episode.sampled,
        finish=episode.finish,
        is_truncated=episode.is_truncated,
        num_calls=episode.num_calls,
        num_failed_calls=episode.num_failed_calls,
        thinking=(last.reasoning or "") if last else "",
        text=(last.content or "") if last else "",
        verdict=verdict.status,
        reason=verdict.reason,
    )
    fault = "" if answer.finish != "stop" else form_fault(answer)
    if answer.is_truncated:
        fault = f"cut by a limit ({episode.finish if episode.finish != 'stop' else 'thinking'})"
    if fault and answer.verdict != "undecided":
        answer = replace(answer, verdict="wrong", reason=fault)
    return replace(answer, reward=reward_of(answer, config, max_tokens))


def form_fault(answer: Answer) -> str:
    """What is wrong with an answer's form; empty when nothing is."""
    if not answer.text.strip():
        return "no answer after the thinking"
    for tag in ("<think>", "</think>", "<tool_call>", "<tool_response>"):
        if tag in answer.text:
            return f"{tag} stands in the answer"
    return ""


def reward_of(answer: Answer, config: RewardConfig, max_tokens: int) -> float | None:
    """0 or 1, less the costs; None for an answer that is left out of the loss."""
    if answer.finish in ("error", "abort"):
        return None
    if answer.is_truncated and config.overlong == "left_out":
        return None
    if answer.verdict == "undecided":
        return None
    reward = 0.0
    if answer.verdict == "right":
        reward = max(0.5, 1.0 - config.call_cost * answer.num_calls)
    if config.overlong_penalty:
        first = max_tokens - config.overlong_tokens
        over = (answer.length - first) / max(1, config.overlong_tokens)
        share = 1.0 if answer.is_truncated else min(1.0, max(0.0, over))
        reward -= config.overlong_penalty * share
    return reward


def group_record(group: Group) -> dict[str, Any]:
    """A group as JSON values."""
    return asdict(group)


def group_of(record: Mapping[str, Any]) -> Group:
    """The group of such a record."""
    answers: Sequence[Mapping[str, Any]] = record["answers"]
    made: list[Answer] = []
    for values in answers:
        fields: dict[str, Any] = dict(values)
        for name in ("ids", "logprobs", "sampled"):
            fields[name] = tuple(values[name])
        made.append(Answer(**fields))
    return Group(Draw(**record["draw"]), record["question"], tuple(made))
