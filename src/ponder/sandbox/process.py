"""sandbox/process: `Sandbox`, which proves its layers once and then runs programs. Never runs one without them."""

from __future__ import annotations

import os
import platform
import shutil
import threading
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from ponder.core.errors import SandboxError
from ponder.sandbox.room import Limits, Result, Room, settings_of
from ponder.sandbox.seccomp import filter_program, supported
from ponder.sandbox.selftest import Layer, check_names, examine
from ponder.sandbox.view import dropped, interpreter, sandbox_arguments, system_view


class Sandbox:
    """A way to run untrusted programs. Its self-test runs once, before the first program; threads may share it.

    `allow_missing` names layers (`Layer.name`) that may be missing on this machine. `read_only` adds host paths that
    programs may read, for example a folder of packages. Raises SandboxError for an unknown layer.
    """

    def __init__(
        self,
        *,
        allow_missing: Collection[str] = (),
        read_only: Sequence[str | Path] = (),
        bubblewrap: str = "bwrap",
    ) -> None:
        self.allow_missing = check_names(allow_missing)
        self._bubblewrap = bubblewrap
        self._view = system_view(read_only)
        self._seccomp = (
            filter_program(platform.machine()) if supported(platform.machine()) else None
        )
        self._lock = threading.Lock()
        self._proven = False

    def run(
        self,
        argv: Sequence[str],
        *,
        files: Mapping[str, bytes | str] | None = None,
        stdin: bytes = b"",
        limits: Limits | None = None,
        outputs: Sequence[str] = (),
        abort: threading.Event | None = None,
    ) -> Result:
        """Run `argv` in a fresh sandbox and wait for its end; the program `python` is this interpreter, bare.

        `files` are laid into the working folder first; `outputs` are patterns of relative names to bring back, e.g.
        `("out.txt", "plots/*")`. Setting `abort` from another thread ends the run within a moment. Raises SandboxError
        when a layer is missing that may not be, and when the sandbox itself fails: never for what the program did.
        """
        self.require()
        return self._launch(argv, files or {}, stdin, limits or Limits(), outputs, abort)[0]

    def require(self) -> None:
        """Run the self-test if it has not passed yet. Raises SandboxError naming the first layer that is missing."""
        with self._lock:
            if self._proven:
                return
            for layer in self.self_test():
                if not layer.present and layer.name not in self.allow_missing:
                    raise SandboxError(
                        f"The sandbox lacks the layer {layer.name!r}: {layer.detail}.",
                        f"{layer.advice} To run without it, name it: Sandbox(allow_missing=({layer.name!r},)).",
                    )
            self._proven = True

    def self_test(self) -> tuple[Layer, ...]:
        """Every layer, tried from inside, as present or missing. Raises SandboxError when no sandbox starts at all."""
        return examine(self._launch, self._view)

    def _launch(
        self,
        argv: Sequence[str],
        files: Mapping[str, bytes | str],
        stdin: bytes,
        limits: Limits,
        outputs: Sequence[str],
        abort: threading.Event | None,
    ) -> tuple[Result, Mapping[str, int]]:
        settings = settings_of(argv, files, limits)
        with ExitStack() as stack:
            command = self._command(limits)
            room = Room(command, interpreter(), settings, stdin, self._seccomp, limits, stack)
            try:
                room.wait(abort)
            finally:  # before the stack closes the handles that this needs
                room.kill()
            return room.result(outputs), room.facts

    def _command(self, limits: Limits) -> list[str]:
        bubblewrap = shutil.which(self._bubblewrap)
        if bubblewrap is None:
            raise SandboxError(
                f"{self._bubblewrap!r} (bubblewrap) was not found; nothing untrusted runs without it.",
                "Install it, for example: apt-get install bubblewrap.",
            )
        if os.geteuid() != 0:
            return sandbox_arguments(bubblewrap, self._view, {}, limits.disk_bytes)
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            raise SandboxError(
                "'setpriv' was not found; root needs it to start a sandbox as nobody.",
                "Install util-linux, or start Ponder as an ordinary user.",
            )
        before, moved = dropped(setpriv, self._view)
        return [*before, *sandbox_arguments(bubblewrap, self._view, moved, limits.disk_bytes)]
