"""evals/interval: how sure a share measured on n problems is."""

from __future__ import annotations

import math


def wilson(successes: float, count: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's score interval of a share, 95 % by default; (0, 1) when nothing was counted."""
    if count == 0:
        return 0.0, 1.0
    share = successes / count
    spread = z * z / count
    centre = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / count + spread / (4 * count)) / (1 + spread)
    return max(0.0, centre - half), min(1.0, centre + half)
