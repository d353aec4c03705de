"""text/matcher: finds strings in a stream and holds back only what may still become one; knows nothing of chat."""

from __future__ import annotations

import re
from collections.abc import Sequence


class Matcher:
    """Knuth-Morris-Pratt over several patterns at once: each character is looked at once per pattern."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._patterns = [pattern for pattern in dict.fromkeys(patterns) if pattern]
        self._failures = [_failure_table(pattern) for pattern in self._patterns]
        self._first = re.compile(
            "[" + "".join(re.escape(p[0]) for p in self._patterns) + "]"
            if self._patterns
            else r"(?!)"
        )
        self._states = [0] * len(self._patterns)
        self._held = ""

    def feed(self, text: str) -> tuple[str, str | None, str]:
        """(text that is free to go, the pattern that ended first or None, what follows it and was not looked at).

        Of patterns that end at the same character the longest wins. After a match the matcher starts afresh.
        """
        at = 0
        while at < len(text):
            if not any(self._states):
                first = self._first.search(text, at)
                if first is None:
                    break
                at = first.start()
            matched = self._advance(text[at])
            at += 1
            if matched is not None:
                seen = self._held + text[:at]
                self._reset()
                return seen[: -len(matched)], matched, text[at:]
        seen = self._held + text
        free = len(seen) - max(self._states, default=0)
        self._held = seen[free:]
        return seen[:free], None, ""

    def flush(self) -> str:
        """The text still held, which became no pattern."""
        held = self._held
        self._reset()
        return held

    def _reset(self) -> None:
        self._held = ""
        self._states = [0] * len(self._patterns)

    def _advance(self, char: str) -> str | None:
        matched: str | None = None
        for i, pattern in enumerate(self._patterns):
            state, failure = self._states[i], self._failures[i]
            while state and pattern[state] != char:
                state = failure[state - 1]
            state += pattern[state] == char
            self._states[i] = state
            if state == len(pattern) and (matched is None or len(pattern) > len(matched)):
                matched = pattern
        return matched


def _failure_table(pattern: str) -> list[int]:
    """At i: length of the longest proper prefix of `pattern` that ends `pattern[: i + 1]`."""
    table = [0] * len(pattern)
    for i in range(1, len(pattern)):
        state = table[i - 1]
        while state and pattern[state] != pattern[i]:
            state = table[state - 1]
        table[i] = state + (pattern[state] == pattern[i])
    return table
