"""runs/folder: what a run leaves behind, written so that a kill at any moment loses only the unfinished piece.

config.toml           the resolved config, written once
metrics.jsonl         one object a line
samples.jsonl         texts for people to read
checkpoints/NNNNNNNN  complete, or not there: written beside, then renamed; with the checksum of every file
.lock                 held by the process that writes
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from ponder.core.errors import StorageError
from ponder.runs.lines import record_of, whole

_KEPT, _CHECKSUMS = "KEEP", "checksums.json"
"""Of a checkpoint: the mark that pruning leaves alone; the sha256 of every other file."""


class RunFolder:
    """A run's folder; made by `create` or found by `open`."""

    def __init__(self, path: Path, is_writer: bool = True) -> None:
        """`is_writer`: False for further processes of a run, which read its folder and write nothing into it."""
        self.path = path
        self.is_writer = is_writer
        self._lock: IO[str] | None = None

    @classmethod
    def create(cls, path: str | Path, config_text: str) -> RunFolder:
        """A new run. Raises StorageError when the folder already holds one."""
        folder = cls(Path(path))
        folder._refuse_a_second()
        try:
            (folder.path / "checkpoints").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _storage_error(folder.path, error) from error
        folder.hold()
        folder._refuse_a_second()  # which another process may have begun meanwhile
        folder.save_config(config_text)
        return folder

    def _refuse_a_second(self) -> None:
        if (self.path / "config.toml").exists():
            raise StorageError(
                f"{str(self.path)!r} already holds a run",
                "continue it with --resume, or choose another folder",
            )

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """An existing run. Raises StorageError when there is none."""
        if not (Path(path) / "config.toml").is_file():
            raise StorageError(f"{str(path)!r} holds no run", "start one without --resume")
        return cls(Path(path))

    def hold(self) -> None:
        """Be the one process that writes here, until this object goes. StorageError while another one is."""
        if self._lock is not None or not self.is_writer:
            return
        try:
            lock = (self.path / ".lock").open("a")
        except OSError as error:
            raise _storage_error(self.path, error) from error
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                lock.close()
                raise StorageError(
                    f"{str(self.path)!r} is being written by another process",
                    "wait for it to end, or choose another folder",
                ) from None
        self._lock = lock

    def log(self, record: Mapping[str, Any]) -> None:
        """Append one line to metrics.jsonl."""
        self._append("metrics.jsonl", record)

    def add_sample(self, record: Mapping[str, Any]) -> None:
        """Append one line to samples.jsonl."""
        self._append("samples.jsonl", record)

    def _append(self, name: str, record: Mapping[str, Any]) -> None:
        if not self.is_writer:
            return
        self.hold()
        try:
            with (self.path / name).open("a", encoding="utf-8") as file:
                file.write(json.dumps(record, ensure_ascii=False) + "\n")
        except OSError as error:
            raise _storage_error(self.path / name, error) from error

    def records(self, name: str = "metrics.jsonl") -> list[dict[str, Any]]:
        """Every whole line of a file of lines, oldest first. Raises StorageError for one that no run wrote."""
        path = self.path / name
        lines = path.read_bytes().split(b"\n")[:-1] if path.is_file() else []
        found: list[dict[str, Any]] = []
        for number, line in enumerate(lines, 1):
            record = record_of(line)
            if record is None or whole(record.get("step", 0)) is None:
                raise StorageError(
                    f"line {number} of {str(path)!r} is damaged", "correct or delete that line"
                )
            found.append(record)
        return found

    def rewind(self, step: int) -> None:
        """Drop checkpoints, metrics and samples after `step`, and unfinished files: a run resumed there makes them
        anew."""
        if not self.is_writer:
            return
        self.hold()
        names = ("metrics.jsonl", "samples.jsonl")
        kept = {
            name: [each for each in self.records(name) if each.get("step", 0) <= step]
            for name in names
        }
        for path in (self.path / "checkpoints").glob(".*.partial"):
            shutil.rmtree(path)
        for path in self.checkpoints():
            if int(path.name) > step:
                shutil.rmtree(path)
        for name in names:
            lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in kept[name]]
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
        self.hold()
        if final.is_dir():  # of a run resumed here: the same state
            if keep:
                (final / _KEPT).touch()
            return final
        partial = final.with_name(f".{final.name}.partial")
        try:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            write(partial)
            (partial / _CHECKSUMS).write_text(json.dumps(_checksums(partial), indent=1) + "\n")
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
        return sorted(p for p in found if re.fullmatch(r"[0-9]{8,}", p.name) and p.is_dir())

    def checkpoint(self, step: int | None = None) -> Path:
        """The newest complete checkpoint, or that of `step`. StorageError when there is none, or it is damaged."""
        found = self.checkpoints()
        if not found:
            raise StorageError(
                f"{str(self.path)!r} holds no complete checkpoint", "start anew in another folder"
            )
        steps = [int(path.name) for path in found]
        if step is not None and step not in steps:
            raise StorageError(
                f"{str(self.path)!r} holds no checkpoint of step {step}",
                f"there are those of {', '.join(map(str, steps))}",
            )
        chosen = found[-1 if step is None else steps.index(step)]
        if (chosen / _CHECKSUMS).is_file():
            saved: Any = None
            with contextlib.suppress(ValueError):
                saved = json.loads((chosen / _CHECKSUMS).read_bytes())
            if saved != _checksums(chosen):
                raise StorageError(
                    f"checkpoint {str(chosen)!r} is damaged: its files are not those that were saved",
                    f"go on from another with --from-step; there are those of {', '.join(map(str, steps))}",
                )
        return chosen

    def save_config(self, config_text: str) -> None:
        """Replace config.toml: a resumed run may have a longer schedule."""
        self.hold()
        try:
            write_atomically(self.path / "config.toml", config_text)
        except OSError as error:
            raise _storage_error(self.path, error) from error


def write_atomically(path: Path, text: str) -> None:
    """Write a text file that is whole or not there."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        _sync(partial)
        os.replace(partial, path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def _checksums(checkpoint: Path) -> dict[str, str]:
    """File → sha256 of what it holds."""
    found: dict[str, str] = {}
    for path in sorted(checkpoint.iterdir()):
        if path.name not in (_KEPT, _CHECKSUMS):
            with path.open("rb") as file:
                found[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


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
