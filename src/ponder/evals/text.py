"""evals/text: tables of results for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from ponder.evals.interval import wilson
from ponder.evals.statistics import Paired, Sampled
from ponder.evals.table import Row, Table


def table_text(table: Table) -> str:
    """The greedy results; below them, where answers were sampled, what the samples say."""
    lines = [
        f"{'family':<12} band  right    of  share  95 % interval    floor  tokens  cut  declined"
    ]
    lines += [_greedy_line(row) for row in table.rows]
    declined, asked = table.declined_inside
    if asked:
        low, high = wilson(declined, asked)
        lines.append(
            f"declined though inside a family: {declined} of {asked}, {_percent(declined / asked).strip()} "
            f"({_percent(low).strip()} – {_percent(high).strip()})"
        )
    sampled = [(row, row.sampled) for row in table.rows if row.sampled is not None]
    if sampled:
        k = sampled[0][1].samples
        head = f"{'family':<12} band   mean  95 % interval    pass@{k:<3} maj@{k:<3}  tokens"
        note = f"{k} samples a problem at temperature {sampled[0][1].temperature:g}:"
        lines += ["", note, head, *(_sampled_line(*each) for each in sampled)]
    return "\n".join(lines)


def comparison_text(names: tuple[str, str], pairs: Sequence[Paired]) -> str:
    """McNemar's test on the greedy answers, and the difference of the samples' means."""
    lines = [
        f"{names[0]} against {names[1]}, the same problems:",
        f"{'family':<12} band  only 1st  only 2nd  McNemar p   mean of samples",
    ]
    for pair in pairs:
        gain = ""
        if pair.gain is not None and pair.gain_error is not None:
            gain = f"{100 * pair.gain:+.1f} ± {100 * pair.gain_error:.1f} points"
        lines.append(
            f"{pair.family:<12} {pair.band:<4} {pair.only_first:>9} {pair.only_second:>9} "
            f"{pair.p:>10.2g}   {gain}".rstrip()
        )
    return "\n".join(lines)


def _greedy_line(row: Row) -> str:
    low, high = row.interval
    floor = _percent(row.floor.share) if row.floor else "      –"
    return (
        f"{row.family:<12} {row.band:<4} {row.right:>6} {row.count:>5} {_percent(row.accuracy)}  "
        f"{_percent(low)} – {_percent(high)} {floor} {row.tokens / max(1, row.count):>7.0f} "
        f"{row.cut:>4} {row.declined:>9}"
    )


def _sampled_line(row: Row, sampled: Sampled) -> str:
    best = sampled.pass_at[str(sampled.samples)]
    return (
        f"{row.family:<12} {row.band:<4} {_percent(sampled.mean)}  {_percent(sampled.low)} – "
        f"{_percent(sampled.high)}  {_percent(best)}  {_percent(sampled.majority)} {sampled.tokens:>7.0f}"
    )


def _percent(share: float) -> str:
    return f"{100 * share:>5.1f} %"
