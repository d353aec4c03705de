"""model/strict_json: JSON objects as the files of a model folder must hold them: no key twice, no NaN, no infinity."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn, cast

from ponder.core.errors import ModelFolderError


def decode_object(data: bytes) -> dict[str, Any]:
    """The JSON object in these bytes; ValueError says what is wrong with them."""
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_pairs, parse_constant=_constant)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(value, dict):
        raise ValueError("it is not an object")
    return cast("dict[str, Any]", value)


def read_object(path: Path, wanted: str, max_bytes: int = 16 << 20) -> dict[str, Any]:
    """The JSON object in a file; ModelFolderError, whose advice is `wanted`."""
    advice = f"wanted is {wanted}"
    if path.exists() and not path.is_file():
        raise ModelFolderError(f"{path}: is not a file", advice)
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise ModelFolderError(f"{path}: cannot be read ({error.strerror})", advice) from error
    if len(data) > max_bytes:
        raise ModelFolderError(f"{path}: larger than {max_bytes} bytes", advice)
    try:
        return decode_object(data)
    except ValueError as error:
        raise ModelFolderError(f"{path}: not valid JSON ({error})", advice) from error


def _pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in items:
        if key in result:
            raise ValueError(f"the name {key!r} stands there twice")
        result[key] = value
    return result


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number that JSON allows")
