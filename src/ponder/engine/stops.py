"""engine/stops: finds stop strings in the bytes of an answer, across token borders. Knows no tokenizer."""

from __future__ import annotations

from collections.abc import Callable


class StopMatcher:
    """Fed the answer's tokens one by one, names the stop string that is now complete."""

    __slots__ = ("_at_start", "_bytes_of", "_keep", "_stops", "_tail")

    def __init__(self, stops: tuple[str, ...], bytes_of: Callable[[int], bytes]) -> None:
        self._stops = tuple((text.encode(), text) for text in stops)
        self._bytes_of = bytes_of
        self._keep = max(len(raw) for raw, _ in self._stops) - 1
        self._tail = b""
        self._at_start = True

    def feed(self, token_id: int) -> str | None:
        """The stop string that starts earliest among those this token completes, or None.

        Newlines before the answer's first character belong to the template and match nothing.
        """
        window = self._tail + self._bytes_of(token_id)
        if self._at_start:
            window = window.lstrip(b"\n")
            self._at_start = not window
        found = [(at, len(raw), text) for raw, text in self._stops if (at := window.find(raw)) >= 0]
        self._tail = window[-self._keep :] if self._keep else b""
        return min(found)[2] if found else None
