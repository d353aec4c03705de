"""train/rl/journal: finished groups since the last checkpoint, so that a killed run samples none of them again.

One JSON object a line, appended when a group is finished. An entry counts only for the very weights and settings it
was sampled with (its key), so a stale one is never used; a line that is cut or damaged is dropped, and sampled again.
"""

from __future__ import annotations

import json
from pathlib import Path

from ponder.core.errors import StorageError
from ponder.train.rl.answers import Group, group_of, group_record


class Journal:
    """Groups by (key, round, slot), on disk."""

    def __init__(self, path: Path) -> None:
        """Reads what is there."""
        self.path = path
        self._held: dict[tuple[str, int, int], Group] = {}
        held = path.read_bytes() if path.is_file() else b""
        whole: list[bytes] = []
        for line in held[: held.rfind(b"\n") + 1].splitlines(keepends=True):
            try:
                record = json.loads(line)
                place = (record["key"], record["round"], record["slot"])
                self._held[place] = group_of(record["group"])
            except (ValueError, KeyError, TypeError):
                continue
            whole.append(line)
        if (kept := b"".join(whole)) != held:
            path.write_bytes(kept)

    def get(self, key: str, round_: int, slot: int) -> Group | None:
        """The group sampled for this place with these weights, if there is one."""
        return self._held.get((key, round_, slot))

    def add(self, key: str, round_: int, slot: int, group: Group) -> None:
        """Keep a finished group."""
        record = {"key": key, "round": round_, "slot": slot, "group": group_record(group)}
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record, ensure_ascii=False) + "\n")
        except OSError as error:
            raise StorageError(
                f"{str(self.path)!r} cannot be written ({error.strerror})", "free some space"
            ) from error

    def clear(self) -> None:
        """After a checkpoint: nothing before it is needed."""
        self._held.clear()
        self.path.unlink(missing_ok=True)
