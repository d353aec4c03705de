"""runs/lines: files of JSON lines of any size, read one line at a time; a broken line is skipped and counted."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

LONGEST_LINE = 8 * 2**20
"""Bytes; a longer line is skipped like a broken one."""


def offsets(path: Path, longest: int = LONGEST_LINE) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """Byte offset and record of every whole line; None for one that is no JSON object or longer than `longest` bytes.

    A half-written last line is left alone.
    """
    if not path.is_file():
        return
    with path.open("rb") as file:
        while True:
            start = file.tell()
            line = file.readline(longest)
            if not line:
                return
            if line.endswith(b"\n"):
                yield start, record_of(line)
            elif not _skip_line(file):
                return
            else:
                yield start, None


def record_at(file: BinaryIO, offset: int) -> dict[str, Any]:
    """The record that `offsets` found at this place."""
    file.seek(offset)
    return record_of(file.readline(LONGEST_LINE)) or {}


def _skip_line(file: BinaryIO) -> bool:
    """Past the end of the line; False when the file ends before it."""
    while piece := file.readline(LONGEST_LINE):
        if piece.endswith(b"\n"):
            return True
    return False


def record_of(line: bytes) -> dict[str, Any] | None:
    """The object that a line holds; None when it holds none."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", found) if isinstance(found, dict) else None


def number(value: Any) -> float | None:
    """A JSON number as a finite float; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def whole(value: Any) -> int | None:
    """A JSON number as a whole number from 0; None for anything else."""
    found = number(value)
    return int(found) if found is not None and 0 <= found == int(found) < 2**53 else None
