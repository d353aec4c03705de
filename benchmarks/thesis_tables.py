"""benchmarks/thesis_tables: from measured rows to the tables, comparisons and claims of the thesis. Numbers only.

A group is a set of families; the first one is what the claims are about: the families whose R band the RL runs drew
from, or all. Pooled numbers count every problem of the group's families alike.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from statistics import fmean
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
EQUAL = (0.98, 1.02)
"""Ratios of FLOP that are called equal."""


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


def report(models: Sequence[Model], measured: Sequence[Measured]) -> dict[str, Any]:
    """All tables. `columns` and `rows` are the main one; `tables` the others; the rest plain values."""
    greedy = {(m.model, m.family, m.band): m.row for m in measured if m.row["sampled"] is None}
    sampled = {(m.model, m.family, m.band): m.row for m in measured if m.row["sampled"] is not None}
    families = list(dict.fromkeys(m.family for m in measured))
    order = list(dict.fromkeys(m.band for m in measured))
    groups = groups_of(models, families)
    bands = [
        {"group": group, "band": band} | pooled(greedy, model, members, band)
        for group, members in groups.items()
        for band in order
        for model in models
    ]
    pairs = [
        pair
        for label, members in (groups | {family: [family] for family in families}).items()
        for pair in corrected(list(compared(models, greedy, label, members, order)))
    ]
    by_family = [pair for pair in pairs if pair["group"] not in groups]
    corrected(by_family)  # asked all together
    samples = [
        {"group": group, "band": band} | pooled_samples(sampled, model, members, band)
        for group, members in groups.items()
        for band in order
        for model in models
        if sampled
    ]
    seeds = list(over_seeds(bands)) + list(gains_over_seeds(pairs, groups))
    primary = next(iter(groups))
    tables = [
        seeds_table(seeds),
        pairs_table([pair for pair in pairs if pair["group"] in groups]),
        *([samples_table(samples)] if samples else []),
        models_table(models),
        families_table(models, greedy, families, order),
        losses_table(by_family),
    ]
    return bands_table(bands) | {
        "tables": tables,
        "groups": {name: list(members) for name, members in groups.items()},
        "models": [model_values(model) for model in models],
        "bands": bands,
        "seeds": seeds,
        "comparisons": pairs,
        "samples": samples,
        "claims": list(claims(models, primary, bands, pairs, samples)),
    }


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
    for first in (model for model in models if model.role == "rl"):
        for role in AGAINST:
            others = [model for model in models if model.role == role]
            same = [model for model in others if model.seed == first.seed]
            for second in (same or others)[:1]:
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
                        "against": role,
                        "seed": first.seed,
                        "flops_ratio": ratio(first, second, role),
                        "size_ratio": second.parameters / first.parameters,
                    } | difference(outcomes[0], outcomes[1])


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


def ratio(first: Model, second: Model, role: str) -> float | None:
    """FLOP of the second for one of the first: of the last runs where both began alike, else of all training."""
    names = ("stage_flops",) * 2 if role in ("more_sft", "expert") else ("flops",) * 2
    ours, theirs = (
        getattr(model, name) for model, name in zip((first, second), names, strict=True)
    )
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


def over_seeds(bands: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Each role's shares, in points."""
    for key in dict.fromkeys((row["group"], row["band"], row["role"]) for row in bands):
        values = [
            100 * row["share"] for row in bands if (row["group"], row["band"], row["role"]) == key
        ]
        yield dict(zip(("group", "band", "what"), (*key[:2], SAID[key[2]]), strict=True)) | spread(
            values
        )


def gains_over_seeds(
    pairs: Sequence[Mapping[str, Any]], groups: Groups
) -> Iterator[dict[str, Any]]:
    """What RL gains over each other role, in points."""
    for key in dict.fromkeys((p["group"], p["band"], p["against"]) for p in pairs):
        if key[0] in groups:
            values = [p["points"] for p in pairs if (p["group"], p["band"], p["against"]) == key]
            yield {"group": key[0], "band": key[1], "what": f"RL − {SAID[key[2]]}"} | spread(values)


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
        yield {"holds": mean(found) >= 0 and are_fair(found), "text": text}
        kinds = [row for row in bands if row["group"] == group and row["band"] in ("R", "O")]
        apart = [
            min(r["low"] for r in kinds if r["band"] == b and r["role"] == "rl")
            > max(r["high"] for r in kinds if r["band"] == b and r["role"] == "control")
            for b in dict.fromkeys(row["band"] for row in kinds)
        ]
        text = "R and O: every RL seed's interval lies above the larger model's, at equal FLOP"
        yield {"holds": len(apart) == 2 and all(apart) and are_fair(found), "text": text}
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
    return all(p["flops_ratio"] is not None and p["flops_ratio"] >= EQUAL[0] for p in found)


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


def percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"


def number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def table(title: str, columns: str, rows: Sequence[Sequence[object]]) -> dict[str, Any]:
    return {
        "title": title,
        "columns": columns.split("|"),
        "rows": [[str(cell) for cell in row] for row in rows],
    }


def bands_table(bands: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    rows = [
        (
            *(r["group"], r["band"], r["model"], r["right"], r["of"], percent(r["share"])),
            *(
                f"{percent(r['low'])} – {percent(r['high'])}",
                f"{r['tokens']:.0f}",
                percent(r["cut"]),
            ),
        )
        for r in bands
    ]
    columns = "families|band|model|right|of|share|95 % interval|tokens an answer|cut"
    return table("greedy answers to held-out problems", columns, rows)


def seeds_table(seeds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    rows = [
        (
            *(s["group"], s["band"], s["what"], s["seeds"], f"{s['mean']:.1f}"),
            f"{s['least']:.1f} – {s['most']:.1f}",
            "–" if s["low"] is None else f"{s['low']:.1f} – {s['high']:.1f}",
        )
        for s in seeds
    ]
    columns = "families|band|what|seeds|mean|range|95 % interval over seeds"
    return table("over seeds, in points", columns, rows)


def pairs_table(pairs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    rows = [
        (
            *(p["group"], p["band"], p["first"], p["second"], p["only_first"], p["only_second"]),
            f"{p['points']:+.1f} ({p['low']:+.1f} to {p['high']:+.1f})",
            *(f"{p['p']:.2g}", f"{p['holm']:.2g}", number(p["flops_ratio"], ".3f")),
            f"{p['size_ratio']:.2f}",
        )
        for p in pairs
    ]
    columns = (
        "families|band|RL|against|only RL right|only the other|points|McNemar p|Holm's|"
        "its FLOP / RL's|its size / RL's"
    )
    return table("RL against the others, the same problems", columns, rows)


def samples_table(samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    rows = [
        (
            *(s["group"], s["band"], s["model"], s["problems"], percent(s["mean"])),
            f"{percent(s['low'])} – {percent(s['high'])}",
            *(percent(s["pass_at"]), percent(s["majority"]), f"{s['tokens']:.0f}"),
        )
        for s in samples
    ]
    k = samples[0]["samples"]
    columns = (
        f"families|band|model|problems|pass@1|95 % interval|pass@{k}|majority@{k}|tokens an answer"
    )
    return table(f"{k} samples a problem", columns, rows)


def models_table(models: Sequence[Model]) -> dict[str, Any]:
    rows = [
        (
            *(m.name, SAID[m.role], m.seed, f"{m.parameters:,}", number(m.flops, ".3e")),
            *(number(m.stage_flops, ".3e"), number(m.tokens, ",.0f")),
        )
        for m in models
    ]
    columns = "model|role|seed|parameters|FLOP of all training|of its last run|tokens"
    return table("the models", columns, rows)


def families_table(
    models: Sequence[Model], rows: Rows, families: Sequence[str], order: Sequence[str]
) -> dict[str, Any]:
    """Shares by family; a role's seeds are averaged."""
    roles = [role for role in SAID if any(model.role == role for model in models)]
    lines: list[list[str]] = []
    for family in families:
        for band in order:
            line = [family, band]
            for role in roles:
                found = [pooled(rows, m, [family], band) for m in models if m.role == role]
                share = fmean(each["share"] for each in found)
                line.append(f"{percent(share)} ({fmean(each['tokens'] for each in found):.0f})")
            lines.append(line)
    columns = "|".join(["family", "band", *(SAID[role] for role in roles)])
    return table("by family: share (tokens an answer), means over seeds", columns, lines)


def losses_table(pairs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """RL against each role by family, all seeds; p corrected over this whole table."""
    rows: list[Sequence[object]] = []
    for key in dict.fromkeys((p["group"], p["band"], p["against"]) for p in pairs):
        found = [p for p in pairs if (p["group"], p["band"], p["against"]) == key]
        points = [p["points"] for p in found]
        better, worse = (
            sum(p["holm"] < LEVEL and sign * p["points"] > 0 for p in found) for sign in (1, -1)
        )
        least = f"{min(points):+.1f} – {max(points):+.1f}"
        rows.append(
            (
                *key[:2],
                SAID[key[2]],
                f"{fmean(points):+.1f}",
                least,
                f"{better} of {len(found)}",
                worse,
            )
        )
    columns = "family|band|RL against|points|range over seeds|seeds better|worse"
    return table("by family, significance corrected over this table", columns, rows)


COLORS = {
    "base": "#777777",
    "rl": "#c0392b",
    "more_sft": "#2e6da4",
    "expert": "#3c8d4f",
    "control": "#8e5aa8",
}


def picture(bands: Sequence[Mapping[str, Any]]) -> str:
    """The first group's shares with their intervals, a panel for each band, as SVG."""
    group = bands[0]["group"] if bands else ""
    rows = [row for row in bands if row["group"] == group]
    names = list(dict.fromkeys(row["model"] for row in rows))
    order = list(dict.fromkeys(row["band"] for row in rows))
    left, width, gap, line = 150, 220, 30, 22
    height = 60 + line * len(names)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + (width + gap) * len(order)}" '
        f'height="{height}" font-family="sans-serif" font-size="12">'
    ]
    for at, name in enumerate(names):
        parts.append(f'<text x="4" y="{44 + line * at}">{html.escape(name)}</text>')
    for place, band in enumerate(order):
        x0 = left + place * (width + gap)
        parts.append(
            f'<text x="{x0}" y="18" font-weight="bold">{html.escape(band)} ({html.escape(group)})</text>'
        )
        for share in (0, 25, 50, 75, 100):
            x = x0 + width * share / 100
            parts.append(f'<path d="M{x} 28V{height - 22}" stroke="#dddddd"/>')
            parts.append(f'<text x="{x - 8}" y="{height - 8}" fill="#777777">{share}</text>')
        for row in (row for row in rows if row["band"] == band):
            y = 40 + line * names.index(row["model"])
            low, mid, high = (x0 + width * row[key] for key in ("low", "share", "high"))
            color = COLORS[row["role"]]
            parts.append(f'<path d="M{low:.1f} {y}H{high:.1f}" stroke="{color}" stroke-width="2"/>')
            parts.append(f'<circle cx="{mid:.1f}" cy="{y}" r="4" fill="{color}"/>')
    return "\n".join([*parts, "</svg>"]) + "\n"
