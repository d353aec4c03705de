"""cli/pull: download a model from the hub: resumable, checked, safetensors and text files only.

A model appears in the store only when it is whole. Until then its files lie under `.partial`, named by
the commit they belong to, and the same command takes up where it was cut.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import fcntl
import hashlib
import io
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ponder.cli.screen import Screen, sized
from ponder.core.environment import PART, Environment, pulled_folder
from ponder.core.errors import EXIT_CODES, ModelFolderError, NetworkError, StorageError
from ponder.model.config import read_model_config

ALLOWED = (".safetensors", ".json", ".txt", ".jinja")
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
RECORD = ".ponder.json"
"""Written last into a pulled folder: where it came from and the checksum of every file."""
COMMIT = re.compile(r"[0-9a-f]{40,64}")
SPARE_BYTES = 64_000_000
"""Kept free beside a download."""
TIMEOUT_S = 60
DISK_ERRORS = (errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT, errno.EIO)


@dataclass(frozen=True, slots=True)
class HubFile:
    """One file of a repository; `checksum` is sha256 of the bytes, or git's sha1 for small files."""

    name: str
    size: int
    checksum: str
    is_sha256: bool


class _Counted(io.FileIO):
    """A file that tells how much of it has been written."""

    def __init__(self, path: Path, total: int, screen: Screen) -> None:
        super().__init__(path, "ab")
        self.start = self.done = path.stat().st_size
        self.total, self.name_shown = total, path.stem
        self.is_shown = screen.is_terminal and not screen.quiet
        self.began_s = self.shown_s = time.monotonic()

    def restart(self) -> None:
        """Forget what is there: the hub sends the whole file."""
        self.truncate(0)
        self.start = self.done = 0

    def write(self, data: Any, /) -> int:
        count = super().write(data)
        if count != len(data):
            raise OSError(errno.ENOSPC, "the disk took only part of the data", str(self.name))
        self.done += count
        now_s = time.monotonic()
        if self.is_shown and now_s - self.shown_s > 0.2:
            self.shown_s = now_s
            speed = (self.done - self.start) / (now_s - self.began_s)
            left_s = (self.total - self.done) / speed if speed else 0
            line = f"{self.name_shown}: {sized(self.done)} of {sized(self.total)}"
            print(f"\r{line}, {sized(speed)}/s, {left_s:.0f} s left ", end="", file=sys.stderr)
        return count

    def close(self) -> None:
        if self.is_shown and not self.closed:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
        super().close()


def run(options: argparse.Namespace, environment: Environment) -> int:
    """`ponder pull`."""
    screen = Screen(environment.color, quiet=bool(options.json))
    place = pulled_folder(options.name, environment)
    commit, files = _listing(options.name, options.revision)
    record = _record(place)
    if record.get("commit") == commit and _is_whole(place, files):
        screen.note(f"{options.name} is already here: {place}")
    else:
        staging = environment.models / ".partial" / f"{options.name.replace('/', '--')}--{commit}"
        with _only_one(staging):
            _download(options.name, commit, files, staging, screen)
            _publish(staging, place, {"name": options.name, "commit": commit}, files)
        screen.note(f'{options.name} is in {place}\nTry: ponder ask --model {options.name} "…"')
    if options.json:
        size = sum(file.size for file in files)
        facts = {"name": options.name, "folder": str(place), "commit": commit, "bytes": size}
        print(json.dumps(facts))
    return EXIT_CODES["ok"]


@contextlib.contextmanager
def _only_one(staging: Path) -> Generator[None, None, None]:
    """Two downloads of one model would write into each other's files; the system ends the lock with the process."""
    staging.parent.mkdir(parents=True, exist_ok=True)
    path = staging.with_name(f".{staging.name}.lock")
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StorageError(
                f"Another `ponder pull` of this model is under way ({str(path)!r} is locked).",
                "Wait for it, or end it.",
            ) from None
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _listing(name: str, revision: str) -> tuple[str, list[HubFile]]:
    """The commit and the files to take, smallest first, so that a wrong model is refused early."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        GatedRepoError,
        HTTPError,  # pyright: ignore[reportPrivateImportUsage]
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        info = HfApi().model_info(name, revision=revision, files_metadata=True, timeout=30)
    except GatedRepoError:
        raise NetworkError(
            f"{name!r} is gated: its makers ask you to accept their terms.",
            "Accept them on the model's page, then set HF_TOKEN to a token of your account.",
        ) from None
    except RepositoryNotFoundError:
        raise NetworkError(
            f"The hub has no model {name!r} that you may read.", "Check the name's spelling."
        ) from None
    except RevisionNotFoundError:
        raise NetworkError(
            f"{name!r} has no revision {revision!r}.", "Leave --revision out to take main."
        ) from None
    except (HTTPError, OSError, ValueError) as error:
        raise _network(f"The hub did not answer for {name!r}", error) from error
    if not COMMIT.fullmatch(info.sha or ""):
        raise NetworkError(f"The hub gave no commit of {name!r}.", "Try again later.")
    siblings = list(info.siblings or [])
    names = [file.rfilename for file in siblings]
    files: list[HubFile] = []
    for file in siblings:
        if not PART.fullmatch(file.rfilename) or not file.rfilename.endswith(ALLOWED):
            continue
        checksum = file.lfs.sha256 if file.lfs else file.blob_id
        if file.size is None or not checksum:
            raise NetworkError(
                f"The hub gave no size or checksum for {file.rfilename!r} of {name!r}.",
                "Try again later; Ponder takes no file that it cannot check.",
            )
        files.append(HubFile(file.rfilename, file.size, checksum, file.lfs is not None))
    _refuse_unusable(name, names, files)
    return str(info.sha), sorted(files, key=lambda file: file.size)


def _refuse_unusable(name: str, names: Sequence[str], files: Sequence[HubFile]) -> None:
    taken = {file.name for file in files}
    if not any(file.endswith(".safetensors") for file in taken):
        pickled = [file for file in names if file.endswith(PICKLED)]
        why = f" It has pickled weights ({pickled[0]}), which can run code." if pickled else ""
        raise ModelFolderError(
            f"{name!r} has no *.safetensors file.{why}",
            "Pull a repository, or a revision, with safetensors weights.",
        )
    if "config.json" not in taken:
        raise ModelFolderError(f"{name!r} has no config.json.", "Pull a transformers model folder.")


def _download(
    name: str, commit: str, files: Sequence[HubFile], staging: Path, screen: Screen
) -> None:
    """Every file into `staging`, checked; raises before the first large one when it cannot work."""
    is_new = not staging.exists()
    staging.mkdir(parents=True, exist_ok=True)
    missing = [file for file in files if not (staging / file.name).exists()]
    have = sum(part.stat().st_size for part in staging.glob("*.part"))
    need = sum(file.size for file in missing) - have
    free = shutil.disk_usage(staging).free
    if need + SPARE_BYTES > free:
        if is_new:
            staging.rmdir()
        raise StorageError(
            f"{name!r} needs {sized(need)} more and {staging.parent.parent} has {sized(free)} free.",
            "Free some space, or set PONDER_HOME to a folder on a larger disk.",
        )
    for index, file in enumerate(missing):
        if index and missing[index - 1].name == "config.json":
            _refuse_unsupported(staging)
        kept = staging / f"{file.name}.part"
        at = f" (from {sized(kept.stat().st_size)})" if kept.exists() else ""
        screen.note(f"{file.name}  {sized(file.size)}{at}")
        _fetch(name, commit, file, kept, screen)
        os.replace(kept, staging / file.name)


def _refuse_unsupported(staging: Path) -> None:
    """Before anything large comes: a model that Ponder cannot run leaves nothing behind."""
    try:
        read_model_config(staging)
    except ModelFolderError:
        shutil.rmtree(staging)
        raise


def _fetch(name: str, commit: str, file: HubFile, kept: Path, screen: Screen) -> None:
    """One file, from where `kept` ends; a line that breaks is taken up again as long as it brings something."""
    from huggingface_hub.errors import HTTPError  # pyright: ignore[reportPrivateImportUsage]

    if kept.exists() and kept.stat().st_size > file.size:
        kept.unlink()
    kept.touch()
    while (start := kept.stat().st_size) < file.size:
        try:
            _receive(name, commit, file, kept, start, screen)
        except (HTTPError, OSError) as error:
            if isinstance(error, OSError) and error.errno in DISK_ERRORS:
                raise
            if kept.stat().st_size <= start:
                raise _network(f"The download of {file.name!r} broke off", error) from error
            screen.note(f"{file.name}: the line broke; going on")
    found = _checksum(kept, file.is_sha256)
    if found != file.checksum:
        kept.unlink()
        raise NetworkError(
            f"{file.name!r} arrived damaged: its checksum is {found}, the hub's {file.checksum}.",
            "Run the same command again.",
        )


def _receive(name: str, commit: str, file: HubFile, kept: Path, start: int, screen: Screen) -> None:
    """Append what the hub sends from `start` on; every byte that came is kept."""
    from huggingface_hub import get_session, hf_hub_url
    from huggingface_hub.utils import (
        build_hf_headers,  # pyright: ignore[reportUnknownVariableType]
        hf_raise_for_status,
    )

    headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    url = hf_hub_url(name, file.name, revision=commit)
    request = get_session().stream(
        "GET", url, headers=headers, follow_redirects=True, timeout=TIMEOUT_S
    )
    with request as response, _Counted(kept, file.size, screen) as target:
        hf_raise_for_status(response)
        if start and response.status_code != 206:
            target.restart()
        for chunk in response.iter_raw():
            if target.done + len(chunk) > file.size:
                raise NetworkError(
                    f"The hub sent more than the {file.size} bytes of {file.name!r}.",
                    "Run the same command again.",
                )
            target.write(chunk)
    if target.done == start and file.size > start:
        raise NetworkError(f"The hub sent nothing of {file.name!r}.", "Run the same command again.")


def _network(what: str, error: Exception) -> NetworkError:
    first = (str(error) or type(error).__name__).splitlines()[0]
    return NetworkError(
        f"{what}: {first}",
        "Check the network, then run the same command: it takes up where it was.",
    )


def _checksum(path: Path, is_sha256: bool) -> str:
    """sha256 of the bytes, or the sha1 that git gives a file of these bytes."""
    digest = hashlib.sha256() if is_sha256 else hashlib.sha1(usedforsecurity=False)
    if not is_sha256:
        digest.update(f"blob {path.stat().st_size}\0".encode())
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _publish(staging: Path, place: Path, record: dict[str, Any], files: Sequence[HubFile]) -> None:
    """Move the whole folder into the store; an older one is replaced, never mixed with."""
    record["files"] = {file.name: file.checksum for file in files}
    (staging / RECORD).write_text(json.dumps(record, indent=2), encoding="utf-8")
    place.parent.mkdir(parents=True, exist_ok=True)
    old = staging.with_name(staging.name + ".old")
    if place.exists():
        os.replace(place, old)
    os.replace(staging, place)
    shutil.rmtree(old, ignore_errors=True)
    for outdated in staging.parent.glob(f"{record['name'].replace('/', '--')}--*"):
        shutil.rmtree(outdated, ignore_errors=True)


def _record(place: Path) -> dict[str, Any]:
    try:
        return json.loads((place / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _is_whole(place: Path, files: Sequence[HubFile]) -> bool:
    return all(
        (place / file.name).is_file() and (place / file.name).stat().st_size == file.size
        for file in files
    )
