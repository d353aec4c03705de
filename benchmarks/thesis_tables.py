"""benchmarks/thesis_tables: the numbers of the thesis as tables and as a picture."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from thesis_numbers import (
    LEVEL,
    SAID,
    Measured,
    Model,
    Rows,
    claims,
    compared,
    corrected,
    gains_over_seeds,
    groups_of,
    model_values,
    over_seeds,
    pooled,
    pooled_samples,
    sampled_gains,
)


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
    drawn = [band for band in order if any(key[2] == band for key in sampled)]
    samples = [
        {"group": group, "band": band} | pooled_samples(sampled, model, members, band)
        for group, members in groups.items()
        for band in drawn
        for model in models
    ]
    gains = [
        gain
        for group, members in groups.items()
        for gain in sampled_gains(models, sampled, group, members, drawn)
    ]
    seeds = [
        *over_seeds(bands, "share", "greedy"),
        *over_seeds(samples, "mean", "pass@1"),
        *gains_over_seeds(pairs, groups, "greedy"),
        *gains_over_seeds(gains, groups, "pass@1"),
    ]
    primary = next(iter(groups))
    tables = [
        seeds_table(seeds),
        pairs_table([pair for pair in pairs if pair["group"] in groups]),
        *([samples_table(samples), gains_table(gains)] if samples else []),
        models_table(models),
        families_table(models, greedy, families, order),
        losses_table(by_family),
    ]
    return bands_table(bands) | {
        "tables": [each for each in tables if each["rows"]],
        "groups": {name: list(members) for name, members in groups.items()},
        "models": [model_values(model) for model in models],
        "bands": bands,
        "seeds": seeds,
        "comparisons": pairs,
        "samples": samples,
        "sampled_comparisons": gains,
        "claims": list(claims(models, primary, bands, pairs, samples)),
    }


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
            *(s["group"], s["band"], s["what"], s["how"], s["seeds"], f"{s['mean']:.1f}"),
            f"{s['least']:.1f} – {s['most']:.1f}",
            "–" if s["low"] is None else f"{s['low']:.1f} – {s['high']:.1f}",
        )
        for s in seeds
        if s["seeds"] > 1
    ]
    columns = "families|band|what|measure|seeds|mean|range|95 % interval over seeds"
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


def gains_table(gains: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    rows = [
        (
            *(g["group"], g["band"], g["first"], g["second"], g["problems"]),
            *(f"{g['points']:+.1f}", f"{g['low']:+.1f} to {g['high']:+.1f}"),
        )
        for g in gains
    ]
    columns = "families|band|RL|against|problems|points of pass@1|95 % interval"
    return table("RL against the others over samples, the same problems", columns, rows)


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
        f'height="{height}" font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
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
