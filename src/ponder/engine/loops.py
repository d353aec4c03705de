"""engine/loops: notices that a text repeats itself without end. Integers only; about a microsecond a token.

Reasoning repeats short phrases all the time: column arithmetic writes nearly the same line for every
digit, a search revisits states. Both tests below therefore ask for long *verbatim* repetition:

* period: the text has copied itself at one fixed distance p for `max(MIN_RUN, 3 p)` tokens;
* drift: a CUSUM statistic over 6-grams. A token deep inside a verbatim copy of earlier text, at any
  distance, adds 1; a 6-gram never seen before takes `FORGET` away; a loop is called at `DRIFT`. It
  finds loops whose rounds differ in a counter or a word, which have no exact period.

(vllm-project/vllm#52673 reports that the statistic beats a search for exact periods alone.)
"""

from __future__ import annotations

GRAM = 6
MIN_RUN = 512
PERIODS = 3
DEEP = 32
"""Tokens a verbatim copy must have lasted before it counts as drift."""
FORGET = 8
DRIFT = 4096


class LoopDetector:
    """Feed it tokens with `push`; it answers True once they form a loop."""

    __slots__ = ("_drift", "_ids", "_latest", "_run", "_source")

    def __init__(self) -> None:
        self._ids: list[int] = []
        self._latest: dict[tuple[int, ...], int] = {}
        """6-gram → index just after its latest occurrence."""
        self._source = 0
        """Index of the earlier token that the next one must equal to continue the copy."""
        self._run = 0
        """Length of the current verbatim copy; 0: none."""
        self._drift = 0

    def push(self, token_id: int) -> bool:
        ids = self._ids
        if self._run:
            if ids[self._source] == token_id:
                self._run += 1
                self._source += 1
            else:
                self._run = 0
        ids.append(token_id)
        end = len(ids)
        gram = tuple(ids[-GRAM:])
        before = self._latest.get(gram)
        self._latest[gram] = end
        if before is None:
            self._drift = max(0, self._drift - FORGET)
            return False
        if not self._run:
            self._run = GRAM
            self._source = before
        if self._run < DEEP:
            return False
        self._drift += 1
        period = end - self._source
        return self._run >= max(MIN_RUN, PERIODS * period) or self._drift >= DRIFT
