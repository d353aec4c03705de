"""evals/interval: how sure a share measured on n problems is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, stdev

_STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""Student's t at 97.5 % for 1 to 10 degrees of freedom; the last one serves all further, a little too wide."""


def wilson(successes: float, count: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's score interval of a share, 95 % by default; (0, 1) when nothing was counted."""
    if count == 0:
        return 0.0, 1.0
    share = successes / count
    spread = z * z / count
    centre = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / count + spread / (4 * count)) / (1 + spread)
    return max(0.0, centre - half), min(1.0, centre + half)


def student(values: Sequence[float]) -> tuple[float, float] | None:
    """95 % interval of the mean that repeated runs scatter around; None for fewer than two."""
    if len(values) < 2:
        return None
    half = (
        _STUDENT[min(len(values) - 1, len(_STUDENT)) - 1] * stdev(values) / math.sqrt(len(values))
    )
    return fmean(values) - half, fmean(values) + half
