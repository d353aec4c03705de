"""text/shield: keeps control-token text inside contents from becoming control tokens; knows no roles.

A content without such text passes the template untouched, so that trimming and splitting work as in transformers.
Otherwise each occurrence is replaced by a one-time placeholder before rendering, and put back as plain text after it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

from ponder.text.tokenizer import Tokenizer


def control_pattern(tokens: Iterable[str]) -> re.Pattern[str]:
    """Finds every text that must stay plain inside contents; whitespace tokens are ordinary text."""
    longest_first = sorted((token for token in tokens if token.strip()), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")


class Shield:
    """One rendering's placeholders."""

    def __init__(self, find: re.Pattern[str]) -> None:
        """`find`: from `control_pattern`."""
        self._find = find
        self._found: list[str] = []
        self._nonce = str(int.from_bytes(os.urandom(8), "big"))
        start, end = r"(?:\ue000|\\ue000)", r"(?:\ue001|\\ue001)"  # the second: JSON kept to ASCII
        self._placeholder = re.compile(rf"{start}{self._nonce}:(\d+){end}")

    def guard(self, text: str, trusted: Sequence[str] = ()) -> str:
        """`text` with placeholders for control-token text, but for the `trusted` ones."""

        def replace(match: re.Match[str]) -> str:
            if match.group() in trusted:
                return match.group()
            self._found.append(match.group())
            return f"\ue000{self._nonce}:{len(self._found) - 1}\ue001"

        return self._find.sub(replace, text)

    def guard_json(self, value: Any) -> Any:
        """`guard` on every string of a JSON value, keys included."""
        if isinstance(value, str):
            return self.guard(value)
        if isinstance(value, Mapping):
            items = cast(Mapping[str, Any], value).items()
            return {self.guard(key): self.guard_json(item) for key, item in items}
        if isinstance(value, list | tuple):
            return [self.guard_json(item) for item in cast(Sequence[Any], value)]
        return value

    def pieces(self, rendered: str) -> Iterator[tuple[str, bool]]:
        """The rendered text in order: (as the template wrote it, False) or (guarded text, True)."""
        for i, piece in enumerate(self._placeholder.split(rendered)):
            if i % 2:
                yield self._found[int(piece)], True
            elif piece:
                yield piece, False


def encode_pieces(tokenizer: Tokenizer, pieces: Sequence[tuple[str, bool]]) -> list[int]:
    """Ids of the whole text: control tokens only where the template wrote them, merges across every other border."""
    ids: list[int] = []
    run: list[str] = []
    for piece, is_guarded in pieces:
        for text, token_id in [(piece, None)] if is_guarded else tokenizer.split(piece):
            if token_id is None:
                run.append(text)
            else:
                ids.extend(tokenizer.encode("".join(run)))
                ids.append(token_id)
                run.clear()
    return [*ids, *tokenizer.encode("".join(run))]
