"""benchmarks/thesis_numbers: from measured rows to the comparisons and claims of the thesis. Numbers only.

A group is a set of families; the first one is what the claims are about: the families whose R band the RL runs drew
from, or all. Pooled numbers count every problem of the group's families alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from ponder.evals.interval import student, wilson
from ponder.evals.statistics import holm, mcnemar

LEVEL = 0.05
SAID = {
    "base": "its start",
    "rl": "RL",
    "more_sft": "more fine-tuning",
    "expert": "expert iteration",
    "control": "the larger model, fine-tuned only",
}
AGAINST = ("base", "more_sft", "expert", "control")
EQUAL = 0.98
"""Least ratio of FLOP that is called equal: a run in steps can fall short by less than a step."""


@dataclass(frozen=True, slots=True)
class Model:
    """What is known of a model before it is asked."""

    name: str
    role: str
    seed: int
    parameters: int
    flops: float | None
    """Of its whole training; None where a run does not say."""
    stage_flops: float | None
    """Of its last run."""
    tokens: float | None
    """Trained on, and in RL sampled, over its whole training."""
    trained_on: tuple[str, ...]
    folder: Path


@dataclass(frozen=True, slots=True)
class Measured:
    """One row of `evals`, as JSON values: greedy, or with samples."""

    model: str
    family: str
    band: str
    row: Mapping[str, Any]


Groups = Mapping[str, Sequence[str]]


def groups_of(models: Sequence[Model], families: Sequence[str]) -> dict[str, Sequence[str]]:
    trained = {family for model in models for family in model.trained_on}
    among = [family for family in families if family in trained]
    if not among or len(among) == len(families):
        return {"all": families}
    return {"trained by reward": among, "all": families}


def model_values(model: Model) -> dict[str, Any]:
    names = ("name", "role", "seed", "parameters", "flops", "stage_flops", "tokens")
    return {name: getattr(model, name) for name in names} | {"trained_on": list(model.trained_on)}


Rows = Mapping[tuple[str, str, str], Mapping[str, Any]]


def pooled(rows: Rows, model: Model, families: Sequence[str], band: str) -> dict[str, Any]:
    """One model's greedy answers to one band of some families."""
    chosen = [rows[model.name, family, band] for family in families]
    sums = {n: sum(r[n] for r in chosen) for n in ("right", "count", "undecided", "tokens", "cut")}
    of = sums["count"] - sums["undecided"]
    low, high = wilson(sums["right"], of)
    return {
        "model": model.name,
        "role": model.role,
        "seed": model.seed,
        "right": sums["right"],
        "of": of,
        "undecided": sums["undecided"],
        "share": sums["right"] / max(1, of),
        "low": low,
        "high": high,
        "tokens": sums["tokens"] / max(1, sums["count"]),
        "cut": sums["cut"] / max(1, sums["count"]),
    }


def pooled_samples(rows: Rows, model: Model, families: Sequence[str], band: str) -> dict[str, Any]:
    """Likewise of the samples: means over problems, each family weighted by its judged problems."""
    chosen = [rows[model.name, family, band]["sampled"] for family in families]
    judged = [sum(n > 0 for n in each["decided"]) for each in chosen]
    count = max(1, sum(judged))

    def mean(values: Sequence[float]) -> float:
        return sum(v * n for v, n in zip(values, judged, strict=True)) / count

    k = str(chosen[0]["samples"])
    share = mean([each["mean"] for each in chosen])
    low, high = wilson(share * count, count)
    return {
        "model": model.name,
        "role": model.role,
        "samples": chosen[0]["samples"],
        "problems": sum(judged),
        "mean": share,
        "low": low,
        "high": high,
        "pass_at": mean([each["pass_at"][k] for each in chosen]),
        "majority": mean([each["majority"] for each in chosen]),
        "tokens": mean([each["tokens"] for each in chosen]),
    }


def compared(
    models: Sequence[Model], rows: Rows, group: str, families: Sequence[str], order: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Every RL model against its partner in every other role, on the same problems."""
    for first, second in partners(models):
        for band in order:
            outcomes = [
                "".join(rows[model.name, family, band]["outcomes"] for family in families)
                for model in (first, second)
            ]
            yield {
                "group": group,
                "band": band,
                "first": first.name,
                "second": second.name,
                "against": second.role,
                "seed": first.seed,
                "flops_ratio": ratio(first, second),
                "size_ratio": second.parameters / first.parameters,
            } | difference(outcomes[0], outcomes[1])


def partners(models: Sequence[Model]) -> Iterator[tuple[Model, Model]]:
    """Each RL model with the model of its seed in every other role, or with the role's first."""
    for first in (model for model in models if model.role == "rl"):
        for role in AGAINST:
            others = [model for model in models if model.role == role]
            same = [model for model in others if model.seed == first.seed]
            yield from ((first, second) for second in (same or others)[:1])


def sampled_gains(
    models: Sequence[Model], rows: Rows, group: str, families: Sequence[str], order: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """The paired difference of the shares of samples that are right, over problems both could decide."""
    for first, second in partners(models):
        for band in order:
            gaps: list[float] = []
            for family in families:
                one, other = (rows[m.name, family, band]["sampled"] for m in (first, second))
                lines = zip(
                    *(one["right"], one["decided"], other["right"], other["decided"]), strict=True
                )
                gaps += [c / n - d / m for c, n, d, m in lines if n and m]
            mean = fmean(gaps) if gaps else 0.0
            half = 1.96 * stdev(gaps) / sqrt(len(gaps)) if len(gaps) > 1 else 1.0
            yield {
                "group": group,
                "band": band,
                "first": first.name,
                "second": second.name,
                "against": second.role,
                "problems": len(gaps),
                "points": 100 * mean,
                "low": 100 * (mean - half),
                "high": 100 * (mean + half),
            }


def difference(first: str, second: str) -> dict[str, Any]:
    """Two strings of outcomes; problems that both could decide."""
    pairs = [pair for pair in zip(first, second, strict=True) if "?" not in pair]
    only_first, only_second = pairs.count(("1", "0")), pairs.count(("0", "1"))
    count = max(1, len(pairs))
    gap = (only_first - only_second) / count
    half = 1.96 * sqrt(max(0.0, (only_first + only_second) / count - gap * gap) / count)
    return {
        "problems": len(pairs),
        "only_first": only_first,
        "only_second": only_second,
        "points": 100 * gap,
        "low": 100 * (gap - half),
        "high": 100 * (gap + half),
        "p": mcnemar(only_first, only_second),
    }


def ratio(first: Model, second: Model) -> float | None:
    """FLOP of the second for one of the first: of the last runs where both began alike, else of all training."""
    name = "stage_flops" if second.role in ("more_sft", "expert") else "flops"
    ours, theirs = getattr(first, name), getattr(second, name)
    return theirs / ours if ours and theirs else None


def corrected(pairs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each with Holm's p among these."""
    for pair, p in zip(pairs, holm([pair["p"] for pair in pairs]), strict=True):
        pair["holm"] = p
    return pairs


def spread(values: Sequence[float]) -> dict[str, Any]:
    interval = student(values)
    return {
        "seeds": len(values),
        "mean": fmean(values),
        "least": min(values),
        "most": max(values),
        "low": interval[0] if interval else None,
        "high": interval[1] if interval else None,
    }


def over_seeds(rows: Sequence[Mapping[str, Any]], value: str, how: str) -> Iterator[dict[str, Any]]:
    """Each role's shares, in points."""
    for group, band, role in dict.fromkeys((r["group"], r["band"], r["role"]) for r in rows):
        wanted = (group, band, role)
        found = [100 * r[value] for r in rows if (r["group"], r["band"], r["role"]) == wanted]
        yield {"group": group, "band": band, "what": SAID[role], "how": how} | spread(found)


def gains_over_seeds(
    pairs: Sequence[Mapping[str, Any]], groups: Groups, how: str
) -> Iterator[dict[str, Any]]:
    """What RL gains over each other role, in points."""
    for group, band, role in dict.fromkeys((p["group"], p["band"], p["against"]) for p in pairs):
        if group in groups:
            wanted = (group, band, role)
            found = [p["points"] for p in pairs if (p["group"], p["band"], p["against"]) == wanted]
            what = f"RL − {SAID[role]}"
            yield {"group": group, "band": band, "what": what, "how": how} | spread(found)


def claims(
    models: Sequence[Model],
    group: str,
    bands: Sequence[Mapping[str, Any]],
    pairs: Sequence[Mapping[str, Any]],
    samples: Sequence[Mapping[str, Any]],
) -> Iterator[dict[str, Any]]:
    """Sentences computed from the numbers, and whether each holds; the goals first."""

    def of(band: str, role: str) -> list[Mapping[str, Any]]:
        wanted = (group, band, role)
        return [p for p in pairs if (p["group"], p["band"], p["against"]) == wanted]

    def mean(found: Sequence[Mapping[str, Any]]) -> float:
        return fmean(pair["points"] for pair in found)

    if found := of("R", "more_sft"):
        text = f"R: RL is 20 points above more fine-tuning at equal FLOP: {told(found)}"
        yield {"holds": mean(found) >= 20 and are_fair(found), "text": text}
    if found := of("R", "control"):
        size = found[0]["size_ratio"]
        text = f"R: RL is at least equal to a fine-tuned model {size:.1f} times its size: {told(found)}"
        is_worse = any(p["holm"] < LEVEL and p["points"] < 0 for p in found)
        yield {"holds": mean(found) >= 0 and not is_worse and are_fair(found), "text": text}
        kinds = [row for row in bands if row["group"] == group and row["band"] in ("R", "O")]
        apart = [
            min(r["low"] for r in kinds if r["band"] == b and r["role"] == "rl")
            > max(r["high"] for r in kinds if r["band"] == b and r["role"] == "control")
            for b in dict.fromkeys(row["band"] for row in kinds)
        ]
        if len(apart) == 2:
            text = "R and O: every RL seed's interval lies above the larger model's, at equal FLOP"
            yield {"holds": all(apart) and are_fair(found), "text": text}
    for role in AGAINST:
        for band in dict.fromkeys(row["band"] for row in bands):
            if found := of(band, role):
                better = [p["holm"] < LEVEL and p["points"] > 0 for p in found]
                text = f"{band}: every RL seed is better than {SAID[role]}: {told(found)}"
                yield {"holds": all(better), "text": text}
    above, shown = of("R", "more_sft"), of("S", "more_sft")
    if above and shown:
        text = (
            f"RL's gain over more fine-tuning is larger on R than on S: {mean(above):+.1f} and "
            f"{mean(shown):+.1f} points"
        )
        yield {"holds": mean(above) > mean(shown), "text": text}
    found = [row for row in samples if row["group"] == group and row["band"] == "R"]
    before, after = ([r for r in found if r["role"] == role] for role in ("base", "rl"))
    if before and after:
        k = before[0]["samples"]
        ends = [100 * fmean(row["pass_at"] for row in rows) for rows in (before, after)]
        text = (
            f"R: RL raises pass@{k}, not pass@1 alone: {ends[0]:.1f} before, {ends[1]:.1f} after "
            "(otherwise it is sharpening)"
        )
        yield {"holds": ends[1] > ends[0], "text": text}


def are_fair(found: Sequence[Mapping[str, Any]]) -> bool:
    """Every other model had at least the FLOP of the RL model it stands beside."""
    return all(p["flops_ratio"] is not None and p["flops_ratio"] >= EQUAL for p in found)


def told(found: Sequence[Mapping[str, Any]]) -> str:
    """Points over the seeds, what is significant, and at what FLOP."""
    values = spread([pair["points"] for pair in found])
    better = sum(p["holm"] < LEVEL and p["points"] > 0 for p in found)
    worse = sum(p["holm"] < LEVEL and p["points"] < 0 for p in found)
    interval = (
        ""
        if values["low"] is None
        else f"; over seeds {values['low']:+.1f} to {values['high']:+.1f}"
    )
    ratios = [pair["flops_ratio"] for pair in found if pair["flops_ratio"] is not None]
    spent = f"{min(ratios):.2f}–{max(ratios):.2f} of RL's FLOP" if ratios else "FLOP unknown"
    return (
        f"{values['mean']:+.1f} points (seeds {values['least']:+.1f} to {values['most']:+.1f}{interval}), "
        f"significantly better in {better} of {len(found)}, worse in {worse}; {spent}"
    )
