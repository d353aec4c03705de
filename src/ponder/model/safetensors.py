"""model/safetensors: a strict reader and writer of the safetensors format, memory-mapped. It runs nothing it reads."""

from __future__ import annotations

import json
import mmap
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, cast

import numpy as np
from numpy.typing import NDArray

from ponder.core.errors import ModelFolderError
from ponder.model.strict_json import decode_object

MAX_HEADER_BYTES = 100_000_000

_ITEM_BYTES: dict[str, int] = {
    **{
        "BOOL": 1,
        "U8": 1,
        "I8": 1,
        "F8_E4M3": 1,
        "F8_E5M2": 1,
        "U16": 2,
        "I16": 2,
        "F16": 2,
        "BF16": 2,
    },
    **{"U32": 4, "I32": 4, "F32": 4, "U64": 8, "I64": 8, "F64": 8},
}
_NUMPY_TYPES: dict[str, str] = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}
_NAMES: dict[str, str] = {"float32": "F32", "float16": "F16", "uint16": "BF16"}


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """Where one tensor lies in its file."""

    dtype: str
    """As the header names it, e.g. `BF16`."""
    shape: tuple[int, ...]
    begin: int
    """First byte, counted from the end of the header."""
    end: int


class SafetensorsFile:
    """An open file whose header was checked: every tensor lies inside it, and they fill it without gap or overlap."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.exists() and not path.is_file():
            _fail(path, "is not a file")
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                self.entries, self._data_start = _read_header(path, file, size)
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise ModelFolderError(
                f"{path}: cannot be read ({error.strerror or error})",
                "wanted is a readable .safetensors file",
            ) from error

    def tensor(self, name: str) -> NDArray[Any]:
        """A read-only view into the mapped file: float32, float16, or uint16 for the bits of BF16."""
        entry = self.entries[name]
        if entry.dtype not in _NUMPY_TYPES:
            _fail(
                self.path,
                f"tensor {name!r} is stored as {entry.dtype}",
                f"allowed are {', '.join(_NUMPY_TYPES)}",
            )
        count = (entry.end - entry.begin) // _ITEM_BYTES[entry.dtype]
        if count == 0:
            return np.zeros(entry.shape, _NUMPY_TYPES[entry.dtype])
        array = np.frombuffer(
            self._map, _NUMPY_TYPES[entry.dtype], count, offset=self._data_start + entry.begin
        ).reshape(entry.shape)
        return array if array.flags.aligned else array.copy()


def _fail(
    path: Path, problem: str, advice: str = "the file is damaged or not safetensors; fetch it again"
) -> NoReturn:
    raise ModelFolderError(f"{path}: {problem}", advice)


def _read_header(path: Path, file: BinaryIO, size: int) -> tuple[dict[str, TensorEntry], int]:
    if size < 10:
        _fail(path, f"only {size} bytes, too short for safetensors")
    (length,) = struct.unpack("<Q", file.read(8))
    if length > MAX_HEADER_BYTES:
        _fail(
            path,
            f"its header claims {length} bytes",
            f"allowed are at most {MAX_HEADER_BYTES}; fetch the file again",
        )
    if length > size - 8:
        _fail(
            path,
            f"its header claims {length} bytes but the file has only {size - 8} after the length",
        )
    raw = _decode(path, file.read(length))
    metadata = raw.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(
        isinstance(v, str) for v in cast("dict[str, Any]", metadata).values()
    ):
        _fail(path, "'__metadata__' is not an object of strings")
    entries = {name: _entry(path, name, value) for name, value in raw.items()}
    _check_layout(path, entries, size - 8 - length)
    return entries, 8 + length


def _decode(path: Path, data: bytes) -> dict[str, Any]:
    try:
        return decode_object(data)
    except ValueError as error:
        _fail(path, f"its header is not valid JSON ({error})")


def _entry(path: Path, name: str, value: Any) -> TensorEntry:
    if not isinstance(value, dict) or set(cast("dict[str, Any]", value)) != {
        "dtype",
        "shape",
        "data_offsets",
    }:
        _fail(
            path,
            f"the entry of tensor {name!r} does not hold exactly dtype, shape and data_offsets",
        )
    fields = cast("dict[str, Any]", value)
    dtype, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _ITEM_BYTES:
        _fail(
            path,
            f"tensor {name!r} has the unknown dtype {dtype!r}",
            f"allowed are {', '.join(_NUMPY_TYPES)}",
        )
    if not _counts(shape) or not _counts(offsets) or len(offsets) != 2 or len(shape) > 8:
        _fail(path, f"tensor {name!r} has a malformed shape or offsets: {shape!r}, {offsets!r}")
    count = 1
    for dim in shape:
        count *= dim
    begin, end = offsets
    if end - begin != count * _ITEM_BYTES[dtype]:
        _fail(
            path,
            f"tensor {name!r} of shape {shape} in {dtype} needs {count * _ITEM_BYTES[dtype]} bytes, "
            f"but its offsets hold {end - begin}",
        )
    return TensorEntry(dtype, tuple(shape), begin, end)


def _counts(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(item, int) and not isinstance(item, bool) and item >= 0
        for item in cast("list[Any]", value)
    )


def _check_layout(path: Path, entries: Mapping[str, TensorEntry], data_bytes: int) -> None:
    for name, entry in entries.items():
        if entry.end > data_bytes:
            _fail(
                path,
                f"tensor {name!r} ends at byte {entry.end} but the file holds {data_bytes} bytes of data; "
                "it is truncated or its offsets were tampered with",
            )
    position = 0
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end)):
        if entry.begin != position:
            what = (
                "overlaps the one before it" if entry.begin < position else "leaves a gap before it"
            )
            _fail(
                path,
                f"tensor {name!r} begins at byte {entry.begin}, expected {position}: it {what}",
            )
        position = entry.end
    if position != data_bytes:
        _fail(
            path,
            f"its tensors end at byte {position} but the file holds {data_bytes} bytes of data",
        )


def write_safetensors(file: BinaryIO, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Tensors (float32, float16, or uint16 as BF16) in the order given, the data aligned to 64 bytes."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    position = 0
    for name, array in tensors.items():
        header[name] = {
            "dtype": _NAMES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [position, position + array.nbytes],
        }
        position += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % 64)
    file.write(struct.pack("<Q", len(text)))
    file.write(text)
    for array in tensors.values():
        file.write(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).data)
