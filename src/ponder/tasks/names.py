"""tasks/names: made-up words, so that copying a word never seen is learned."""

from __future__ import annotations

import random

ONSETS = "b br ch d dr f fl g gr h j k kl l m n p pl qu r s sh sk st t tr v w y z".split()
MIDDLES = "a e i o u ai ee oa ou".split()
ENDS = "b ck d g k l ll m n nd p r rn s sk st t th x".split()


def invented(rng: random.Random) -> str:
    """A word of one or two syllables, e.g. `drolm` or `tavick`."""
    first = rng.choice(ONSETS) + rng.choice(MIDDLES)
    if rng.random() < 0.4:
        return first + rng.choice(ENDS)
    return first + rng.choice(ONSETS) + rng.choice("aeiou") + rng.choice(("", rng.choice(ENDS)))


def different(rng: random.Random, count: int) -> list[str]:
    """`count` different made-up words."""
    words: dict[str, None] = {}
    while len(words) < count:
        words[invented(rng)] = None
    return list(words)
