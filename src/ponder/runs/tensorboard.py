"""runs/tensorboard: a run's metrics as TensorBoard's event file, written by hand: no package is needed to write it.

A file is records of `length, crc(length), bytes, crc(bytes)`; the bytes are a protocol buffer `Event`, of which these
fields are used: wall_time (1, double), step (2, varint), and file_version (3, text) or summary (5: tags and floats).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from ponder.core.errors import StorageError
from ponder.runs.folder import RunFolder
from ponder.runs.lines import number, offsets, whole

_POLYNOMIAL = 0x82F63B78
"""Castagnoli's, reflected."""


def _crc_table() -> tuple[int, ...]:
    table: list[int] = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
        table.append(value)
    return tuple(table)


_TABLE = _crc_table()


def write_events(run: str | Path, output: str | Path | None = None) -> Path:
    """Every number of metrics.jsonl as a scalar, in a folder for `tensorboard --logdir`; written anew at each call.

    The wall time of a step is the run's start plus its `elapsed_s`. Raises StorageError.
    """
    folder = RunFolder.open(run)
    place = Path(output) if output is not None else folder.path / "tensorboard"
    began = int((folder.path / "config.toml").stat().st_mtime)
    final = place / f"events.out.tfevents.{began}.ponder"
    partial = place / f".{final.name}.partial"
    try:
        place.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            _write(file, _event(began, None, _text(3, b"brain.Event:2")))
            for event in _events(folder.path / "metrics.jsonl", began):
                _write(file, event)
        for old in place.glob("events.out.tfevents.*.ponder"):
            old.unlink()
        partial.replace(final)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise StorageError(
            f"{str(place)!r} cannot be written ({error.strerror or error})",
            "name another folder with --output",
        ) from error
    return place


def _events(path: Path, began: int) -> Iterator[bytes]:
    elapsed_s = 0.0
    for _, record in offsets(path):
        step = whole(record.get("step")) if record is not None else None
        if record is None or step is None or "event" in record:
            continue
        elapsed_s = number(record.get("elapsed_s")) or elapsed_s
        values = [(name, number(value)) for name, value in record.items() if name != "step"]
        summary = b"".join(
            _text(1, _text(1, name.encode("utf-8", "replace")) + b"\x15" + struct.pack("<f", value))
            for name, value in values
            if value is not None and abs(value) < 3e38
        )
        if summary:
            yield _event(began + elapsed_s, step, _text(5, summary))


def _event(wall_time: float, step: int | None, what: bytes) -> bytes:
    at = b"\x09" + struct.pack("<d", wall_time)
    return at + (b"\x10" + _varint(step) if step is not None else b"") + what


def _text(field: int, content: bytes) -> bytes:
    """A field of bytes, text or a message."""
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes(found) + bytes((value,))


def _write(file: BinaryIO, record: bytes) -> None:
    length = struct.pack("<Q", len(record))
    file.write(length + _checksum(length) + record + _checksum(record))


def _checksum(content: bytes) -> bytes:
    """CRC-32C, rotated and shifted as the format asks."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
