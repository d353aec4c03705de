"""verify/sequence: is this list, or this fixed sentence, the expected one?"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ponder.core.types import Verdict
from ponder.verify.numbers import clip


def check_sequence(answer: str, expected: Sequence[str]) -> Verdict:
    """Items may be parted by spaces, commas or both; brackets around the list do not matter."""
    if len(answer) > 2000:
        return Verdict("wrong", "longer than 2000 characters")
    inner = answer.strip().removesuffix(".").strip("[]() ")
    items = [item for item in re.split(r"[,\s]+", inner) if item]
    if items == list(expected):
        return Verdict("right", f"{' '.join(items)}")
    return Verdict("wrong", f"{clip(answer)} is not {' '.join(expected)}")


def check_sentence(answer: str, expected: str) -> Verdict:
    """Right when the answer is the sentence, surrounding white space aside."""
    if answer.strip() == expected:
        return Verdict("right", expected)
    return Verdict("wrong", f"{clip(answer)} is not {expected!r}")
