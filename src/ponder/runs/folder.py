"""runs/folder: what a run leaves behind, written so that a kill at any moment loses only the unfinished piece.

config.toml           the resolved config, written once
metrics.jsonl         one object a line
samples.jsonl         texts for people to read
checkpoints/NNNNNNNN  complete, or not there: written beside, then renamed
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ponder.core.errors import StorageError

_KEPT = "KEEP"
"""Name of the mark inside a checkpoint that pruning leaves alone."""


class RunFolder:
    """A run's folder; made by `create` or found by `open`."""

    def __init__(self, path: Path, is_writer: bool = True) -> None:
        """`is_writer`: False for further processes of a run, which read its folder and write nothing into it."""
        self.path = path
        self.is_writer = is_writer

    @classmethod
    def create(cls, path: str | Path, config_text: str) -> RunFolder:
        """A new run. Raises StorageError when the folder already holds one."""
        folder = cls(Path(path))
        if (folder.path / "config.toml").exists():
            raise StorageError(
                f"{str(path)!r} already holds a run",
                "continue it with --resume, or choose another folder",
            )
        try:
            (folder.path / "checkpoints").mkdir(parents=True, exist_ok=True)
            write_atomically(folder.path / "config.toml", config_text)
        except OSError as error:
            raise _storage_error(folder.path, error) from error
        return folder

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """An existing run. Raises StorageError when there is none."""
        if not (Path(path) / "config.toml").is_file():
            raise StorageError(f"{str(path)!r} holds no run", "start one without --resume")
        return cls(Path(path))

    def log(self, record: Mapping[str, Any]) -> None:
        """Append one line to metrics.jsonl."""
        self._append("metrics.jsonl", record)

    def add_sample(self, record: Mapping[str, Any]) -> None:
        """Append one line to samples.jsonl."""
        self._append("samples.jsonl", record)

    def _append(self, name: str, record: Mapping[str, Any]) -> None:
        if not self.is_writer:
            return
        try:
            with (self.path / name).open("a", encoding="utf-8") as file:
                file.write(json.dumps(record, ensure_ascii=False) + "\n")
        except OSError as error:
            raise _storage_error(self.path / name, error) from error

    def records(self, name: str = "metrics.jsonl") -> list[dict[str, Any]]:
        """Every whole line of a file of lines, oldest first."""
        path = self.path / name
        lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.is_file() else []
        return [json.loads(line) for line in lines]

    def rewind(self, step: int) -> None:
        """Drop checkpoints, metrics and samples after `step`: a run resumed there makes them anew."""
        if not self.is_writer:
            return
        for path in self.checkpoints():
            if int(path.name) > step:
                shutil.rmtree(path)
        for name in ("metrics.jsonl", "samples.jsonl"):
            kept = [record for record in self.records(name) if record.get("step", 0) <= step]
            lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in kept]
            if lines or (self.path / name).is_file():
                write_atomically(self.path / name, "".join(lines))

    def save_checkpoint(
        self, step: int, write: Callable[[Path], None], keep: bool = False, keep_last: int = 2
    ) -> Path:
        """`write` fills a folder that appears under its final name only when complete.

        Afterwards only the `keep_last` newest remain, and those once saved with `keep`.
        """
        final = self.path / "checkpoints" / f"{step:08d}"
        if not self.is_writer:  # takes its part in gathering what the writer saves
            if not final.is_dir():
                with tempfile.TemporaryDirectory() as unwanted:
                    write(Path(unwanted))
            return final
        if final.is_dir():  # of a run resumed here: the same state
            if keep:
                (final / _KEPT).touch()
            return final
        partial = final.with_name(f".{final.name}.partial")
        try:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            write(partial)
            if keep:
                (partial / _KEPT).touch()
            for file in partial.iterdir():
                _sync(file)
            os.replace(partial, final)
            _sync(final.parent)
        except OSError as error:
            shutil.rmtree(partial, ignore_errors=True)
            raise _storage_error(final, error) from error
        old = [path for path in self.checkpoints() if not (path / _KEPT).exists()]
        for path in old[:-keep_last]:
            shutil.rmtree(path, ignore_errors=True)
        return final

    def checkpoints(self) -> list[Path]:
        """Complete checkpoints, oldest first."""
        found = (self.path / "checkpoints").glob("[0-9]*")
        return sorted(path for path in found if path.is_dir())

    def checkpoint(self, step: int | None = None) -> Path:
        """The newest complete checkpoint, or that of `step`. Raises StorageError when there is none."""
        found = self.checkpoints()
        if not found:
            raise StorageError(
                f"{str(self.path)!r} holds no complete checkpoint", "start anew in another folder"
            )
        if step is None:
            return found[-1]
        steps = [int(path.name) for path in found]
        if step not in steps:
            raise StorageError(
                f"{str(self.path)!r} holds no checkpoint of step {step}",
                f"there are those of {', '.join(map(str, steps))}",
            )
        return found[steps.index(step)]

    def save_config(self, config_text: str) -> None:
        """Replace config.toml: a resumed run may have a longer schedule."""
        try:
            write_atomically(self.path / "config.toml", config_text)
        except OSError as error:
            raise _storage_error(self.path, error) from error


def write_atomically(path: Path, text: str) -> None:
    """Write a text file that is whole or not there."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    _sync(partial)
    os.replace(partial, path)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _storage_error(path: Path, error: OSError) -> StorageError:
    return StorageError(
        f"{str(path)!r} cannot be written ({error.strerror or error})",
        "free some space, or choose a folder that can be written with --run-dir",
    )
