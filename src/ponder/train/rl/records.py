"""train/rl/records: what a step leaves in metrics.jsonl and samples.jsonl, as flat JSON values. Needs no torch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ponder.text import Tokenizer
from ponder.train.rl.algorithms import Algorithm, is_flat
from ponder.train.rl.answers import Group


@dataclass(slots=True)
class Stats:
    """What a step saw, added up over micro-batches in their order, then over updates."""

    updates: int = 0
    """Optimizer steps."""
    loss: float = 0.0
    ce: float = 0.0
    tokens: int = 0
    """Sampled tokens that the policy term counts."""
    clipped: int = 0
    kl: float = 0.0
    """Sum of k3 between the weights in training and those that sampled."""
    reference_kl: float = 0.0
    ratio_max: float = 0.0
    ratio_min: float = float("inf")
    gap: float = 0.0
    """Largest difference between the trainer's and the sampler's log-probabilities."""
    entropy: dict[int, tuple[float, int]] = field(default_factory=dict[int, tuple[float, int]])
    """Group → sum of entropies, tokens."""

    def add(self, other: Stats) -> None:
        """Take in the next micro-batch."""
        for name in ("updates", "loss", "ce", "tokens", "clipped", "kl", "reference_kl"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.ratio_max = max(self.ratio_max, other.ratio_max)
        self.ratio_min = min(self.ratio_min, other.ratio_min)
        self.gap = max(self.gap, other.gap)
        for group, (total, count) in other.entropy.items():
            before = self.entropy.get(group, (0.0, 0))
            self.entropy[group] = (before[0] + total, before[1] + count)

    def metrics(self, groups: Sequence[Group]) -> dict[str, float]:
        """Means over updates, means and extremes over tokens of the policy term; entropy also by family.

        What was not trained on is left out.
        """
        if not self.updates:
            return {}
        made = {"loss": self.loss / self.updates, "ce": self.ce / self.updates}
        if self.tokens:
            made |= {
                "kl": self.kl / self.tokens,
                "reference_kl": self.reference_kl / self.updates,
                "clipped": self.clipped / self.tokens,
                "ratio_max": self.ratio_max,
                "ratio_min": self.ratio_min,
                "gap": self.gap,
            }
        entropy: dict[str, list[tuple[float, int]]] = defaultdict(list)
        for number, pair in self.entropy.items():
            entropy[groups[number].family].append(pair)
        if entropy:
            made["entropy"] = _per_token([pair for pairs in entropy.values() for pair in pairs])
        made |= {f"entropy_{name}": _per_token(pairs) for name, pairs in sorted(entropy.items())}
        return {name: round(value, 9) for name, value in made.items()}


def _per_token(pairs: Sequence[tuple[float, int]]) -> float:
    return sum(total for total, _ in pairs) / max(1, sum(count for _, count in pairs))


def sample_records(
    group: Group, advantages: Sequence[float | None], tokenizer: Tokenizer
) -> Iterator[dict[str, Any]]:
    """One record an answer, for people to read; a token that was given has no log-probability."""
    family, _, band = group.draw.kind.partition("/")
    for answer, advantage in zip(group.answers, advantages, strict=True):
        first = answer.sampled.index(True) if True in answer.sampled else len(answer.ids)
        tokens = [
            [tokenizer.token_bytes(i).decode("utf-8", "replace"), round(p, 4) if s else None]
            for i, p, s in zip(
                answer.ids[first:], answer.logprobs[first:], answer.sampled[first:], strict=True
            )
        ]
        yield {
            "family": family,
            "band": band,
            "question": group.question,
            "thinking": answer.thinking,
            "answer": answer.text,
            "verdict": answer.verdict,
            "reason": answer.reason,
            "reward": answer.reward,
            "advantage": None if advantage is None else round(advantage, 5),
            "tokens": tokens,
        }


def group_metrics(seen: Sequence[Group], algorithm: Algorithm) -> dict[str, float]:
    """Shares and means over all groups sampled in a step, dropped ones included."""
    answers = [answer for group in seen for answer in group.answers]
    rewards: dict[str, list[float]] = defaultdict(list)
    for group in seen:
        rewards[group.family] += [a.reward for a in group.answers if a.reward is not None]
    counted = [reward for values in rewards.values() for reward in values]
    made = {
        "reward": _mean(counted),
        "right": _mean([float(answer.is_right) for answer in answers]),
        "truncated": _mean([float(answer.is_truncated) for answer in answers]),
        "flat_groups": _mean([float(is_flat(algorithm, group.answers)) for group in seen]),
        "undecided": _mean([float(answer.verdict == "undecided") for answer in answers]),
        "lost": _mean([float(answer.finish in ("error", "abort")) for answer in answers]),
        "length_mean": _mean([float(answer.length) for answer in answers]),
        "calls": _mean([float(answer.num_calls) for answer in answers]),
    }
    named = {f"reward_{family}": _mean(values) for family, values in sorted(rewards.items())}
    return {name: round(value, 5) for name, value in (made | named).items()}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
