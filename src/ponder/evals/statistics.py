"""evals/statistics: what k samples of each problem say, and whether two models differ. Numbers only; no model, no text.

Letters: P problems; each has `decided` judged samples, `right` of them right.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import comb, sqrt

from ponder.evals.interval import wilson


def pass_at(k: int, right: int, decided: int) -> float:
    """Chance that k of a problem's samples, drawn without putting back, hold a right one: 1 − C(n−c, k) / C(n, k).

    The unbiased estimator of Chen et al. 2021 (Evaluating Large Language Models Trained on Code, equation 1).
    """
    assert 0 <= right <= decided and 1 <= k <= decided, f"k {k}, {right} right of {decided}"
    return 1 - comb(decided - right, k) / comb(decided, k)


def majority(answers: Sequence[str], is_right: Sequence[bool]) -> float:
    """Chance that the commonest answer is right, ties being broken by lot among the tied.

    Answers are one when they are equal without case, outer blanks and a final full stop. An empty answer casts no
    vote. Answers that are one but were judged apart (their text differs after all) count by their share.
    """
    votes: Counter[str] = Counter()
    rights: Counter[str] = Counter()
    for answer, right in zip(answers, is_right, strict=True):
        key = " ".join(answer.casefold().split()).removesuffix(".")
        if key:
            votes[key] += 1
            rights[key] += right
    most = max(votes.values(), default=0)
    tied = [key for key, count in votes.items() if count == most]
    return sum(rights[key] / votes[key] for key in tied) / len(tied) if tied else 0.0


@dataclass(frozen=True, slots=True)
class Sampled:
    """One family's result over several samples of each problem."""

    samples: int
    """Asked for of each problem."""
    temperature: float
    mean: float
    """pass@1: the mean over problems of the share of samples that are right."""
    low: float
    """95 % Wilson interval of the mean, counting problems and not samples, which are not independent."""
    high: float
    pass_at: dict[str, float]
    """k → pass@k, over the problems with k decided samples."""
    majority: float
    tokens: float
    """Mean completion tokens of a sample, thinking included."""
    right: tuple[int, ...]
    """Right samples of each problem."""
    decided: tuple[int, ...]
    """Judged samples of each problem; the others were undecided and are left out."""


def sampled_of(
    samples: int,
    temperature: float,
    votes: Sequence[tuple[Sequence[str], Sequence[bool]]],
    num_tokens: int,
) -> Sampled:
    """From each problem's decided answers and whether they are right; `num_tokens` of all samples together."""
    right = tuple(sum(is_right) for _, is_right in votes)
    decided = tuple(len(is_right) for _, is_right in votes)
    judged = [(c, n) for c, n in zip(right, decided, strict=True) if n]
    mean = _mean([c / n for c, n in judged])
    low, high = wilson(mean * len(judged), len(judged))
    ks = [1 << power for power in range(samples.bit_length()) if 1 << power < samples] + [samples]
    return Sampled(
        samples=samples,
        temperature=temperature,
        mean=mean,
        low=low,
        high=high,
        pass_at={str(k): _mean([pass_at(k, c, n) for c, n in judged if n >= k]) for k in ks},
        majority=_mean([majority(*each) for each in votes if each[0]]),
        tokens=num_tokens / max(1, samples * len(votes)),
        right=right,
        decided=decided,
    )


def mcnemar(only_first: int, only_second: int) -> float:
    """Two-sided p of McNemar's exact test: how likely a split at least as uneven is if neither model is better."""
    count, least = only_first + only_second, min(only_first, only_second)
    return min(1.0, 2 * sum(comb(count, k) for k in range(least + 1)) / 2**count)


def holm(ps: Sequence[float]) -> list[float]:
    """Each p as if it were the only one asked: Holm's step-down correction for asking all of them."""
    adjusted, least = [0.0] * len(ps), 0.0
    for rank, place in enumerate(sorted(range(len(ps)), key=lambda place: ps[place])):
        least = max(least, min(1.0, (len(ps) - rank) * ps[place]))
        adjusted[place] = least
    return adjusted


@dataclass(frozen=True, slots=True)
class Paired:
    """Two models on the same problems of one family."""

    family: str
    band: str
    only_first: int
    """Problems that only the first model's greedy answer has right; undecided ones are left out."""
    only_second: int
    p: float
    """McNemar's exact p of that split."""
    gain: float | None
    """Mean over problems of (first − second) in the share of samples right; None without samples."""
    gain_error: float | None
    """Half of its 95 % interval, from the spread of the problems' differences."""


def paired(
    family: str,
    band: str,
    outcomes: tuple[str, str],
    sampled: tuple[Sampled | None, Sampled | None],
) -> Paired:
    """`outcomes`: each model's greedy results as `Row.outcomes` writes them, problem by problem."""
    pairs = Counter(zip(*outcomes, strict=True))
    only_first, only_second = pairs["1", "0"], pairs["0", "1"]
    gain = error = None
    first, second = sampled
    if first is not None and second is not None:
        lines = zip(first.right, first.decided, second.right, second.decided, strict=True)
        gaps = [c / n - d / m for c, n, d, m in lines if n and m]
        gain = _mean(gaps)
        spread = sum((gap - gain) ** 2 for gap in gaps) / max(1, len(gaps) - 1)
        error = 1.96 * sqrt(spread / max(1, len(gaps)))
    return Paired(
        family, band, only_first, only_second, mcnemar(only_first, only_second), gain, error
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
