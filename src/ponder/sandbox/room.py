"""sandbox/room: one run of one program: started, watched, ended, and what it left collected.

    parent (this file)          inside, in this order
    ------------------          ---------------------------------------------------------------
    memfd: settings, code  ──►  bwrap (namespaces, mounts) → boot (files, limits) → the program
    memfd: stdin           ──►
    watch: time, memory,   ◄──  boot: "ready" with a handle on the working folder
      disk, output, abort  ◄──  stdout, stderr
    kill pid 1 and wait for it: the kernel ends it only after every other process inside

Nothing inside is trusted with a result: files are read by the parent, through the handle, after every process is dead.
"""

from __future__ import annotations

import contextlib
import fnmatch
import functools
import json
import marshal
import os
import resource
import selectors
import signal
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from types import CodeType
from typing import Any, Literal

from ponder.core.errors import SandboxError
from ponder.sandbox.view import ENVIRONMENT, WORK

LimitName = Literal["wall", "cpu", "memory", "disk", "output", "abort"]

LOADER = "import marshal,sys\nwith open(int(sys.argv[1]),'rb') as f: s=marshal.load(f)\nexec(s['boot'])\nmain(s)"
"""What `python -c` runs inside: the code of boot, compiled here, so that a start costs no compilation."""

START_S = 60.0
"""A sandbox that is not ready after so long is an error of the machine, not of the program."""
WATCH_S = 0.02
NUM_INODES = 4096
FOLDER_DEPTH = 16


@dataclass(frozen=True, slots=True)
class Limits:
    """What one program may use."""

    wall_s: float = 10.0
    """From the moment the program starts. Time that its processes wait for a busy core does not count, up to three
    times as much again, so that an outcome does not depend on what else the machine does."""
    cpu_s: int = 10
    """CPU seconds of one process, at least 1."""
    memory_bytes: int = 512 << 20
    """Address space of one process, and resident memory and files in /tmp of all together."""
    disk_bytes: int = 64 << 20
    """Size of /tmp, and of one file."""
    output_bytes: int = 1 << 20
    """Of stdout and of stderr, each; a program that writes more is ended."""
    processes: int = 16
    """Processes and threads at a time."""
    open_files: int = 64

    def __post_init__(self) -> None:
        """Raises SandboxError for a limit that is none, such as NaN."""
        for name, least, most in (
            ("wall_s", 0, 1e6), ("cpu_s", 1, 1e6), ("memory_bytes", 0, 1 << 50), ("disk_bytes", 1, 1 << 50),
            ("output_bytes", 0, 1 << 40), ("processes", 1, 1 << 16), ("open_files", 3, 1 << 16),
        ):  # fmt: skip
            if not least <= getattr(self, name) <= most:
                raise SandboxError(
                    f"The limit {name} of a sandbox is {getattr(self, name)}.",
                    f"Give {least:g} to {most:g}.",
                )


@dataclass(frozen=True, slots=True)
class Result:
    """How a program ended. Bytes as it wrote them: nothing here is to be believed."""

    status: int
    """Exit status; 128 + n for signal n, as a shell says it."""
    stdout: bytes
    stderr: bytes
    limit: LimitName | None = None
    """The limit that ended it, or `abort` for the caller."""
    wall_s: float = 0.0
    cpu_s: float = 0.0
    """User and system time of all processes inside, as last sampled (every 20 ms), the set-up included."""
    files: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    """Regular files of the working folder whose names match `outputs`; links and devices are left out."""

    @property
    def signal(self) -> int | None:
        """The signal that ended the program, or None."""
        return self.status - 128 if self.status > 128 else None


@functools.cache
def _boot_program() -> CodeType:
    """`boot.py`, which stands beside this file in every install."""
    source = Path(__file__).with_name("boot.py")
    return compile(source.read_bytes(), source.name, "exec")


def settings_of(
    argv: Sequence[str], files: Mapping[str, bytes | str], limits: Limits
) -> dict[str, Any]:
    """What boot is told. Raises SandboxError for a file name that leads out of the working folder, and for files that
    do not fit on its disk."""
    for name in files:
        path = PurePosixPath(name)
        parts = path.parts
        is_folder = any(str(folder) in files for folder in path.parents if folder.parts)
        if (
            not parts
            or "\0" in name
            or parts[0] == "/"
            or ".." in parts
            or is_folder
            or len(os.fsencode(name)) > 255
        ):
            raise SandboxError(
                f"{name[:300]!r} is not a file name for a sandbox.",
                "Give a relative path of at most 255 bytes without '..', and no file as a folder.",
            )
    held = {
        str(PurePosixPath(name)): data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
        for name, data in files.items()
    }  # fmt: skip
    num_bytes = sum(map(len, held.values()))
    if num_bytes > limits.disk_bytes:
        raise SandboxError(
            f"The files for a sandbox hold {num_bytes} bytes and its disk {limits.disk_bytes}.",
            "Raise disk_bytes, or give less.",
        )
    if not argv or (argv[0] == "python" and len(argv) < 2):
        raise SandboxError(
            f"{list(argv)} is no program.", "Give a program, or 'python' and a file."
        )
    most = {
        resource.RLIMIT_AS: limits.memory_bytes,
        resource.RLIMIT_FSIZE: limits.disk_bytes,
        resource.RLIMIT_NPROC: limits.processes + 1,  # bwrap's pid 1
        resource.RLIMIT_NOFILE: limits.open_files,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
    }
    # The first second over the limit may be caught, not the next.
    cpu = (resource.RLIMIT_CPU, limits.cpu_s, limits.cpu_s + 1)
    return {
        "boot": _boot_program(),
        "work": WORK,
        "files": held,
        "limits": [cpu, *((kind, bound, bound) for kind, bound in most.items())],
        "argv": list(argv),
    }


class Room:
    """One sandbox from start to end; `stack` closes every descriptor and ends whatever still runs."""

    def __init__(self, command: Sequence[str], python: str, settings: dict[str, Any], stdin: bytes,
                 seccomp: bytes | None, limits: Limits, stack: ExitStack) -> None:  # fmt: skip
        self._limits, self._stack = limits, stack
        self._wait = stack.enter_context(selectors.DefaultSelector())
        self._output: dict[str, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}
        self._folder = self._init = -1
        self._limit: LimitName | None = None
        self._began = self._ended = self._cpu_s = self._queued_s = 0.0
        self.facts: Mapping[str, int] = {}
        """Inode numbers of the namespaces, the host's number for pid 1 inside (`child-pid`) and its owner (`owner`)."""
        self._channel, theirs = map(stack.enter_context, socket.socketpair())
        reading, writing = os.pipe()
        self._information = stack.enter_context(os.fdopen(reading, "rb", buffering=0))
        information = stack.enter_context(os.fdopen(writing, "wb", buffering=0))
        options = ["--info-fd", str(writing)]
        passed = [writing, theirs.fileno()]
        if seccomp is not None:
            passed.append(_sealed(seccomp, stack))
            options += ["--seccomp", str(passed[-1])]
        told = _sealed(marshal.dumps({**settings, "channel": theirs.fileno()}), stack)
        start = [*command, *options, "--", python, "-S", "-s", "-P", "-B", "-c", LOADER, str(told)]
        self._process = subprocess.Popen(
            start, stdin=_sealed(stdin, stack), stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/",
            env=ENVIRONMENT, pass_fds=(*passed, told), start_new_session=True, close_fds=True,
        )  # fmt: skip
        stack.callback(self.kill)
        information.close()
        theirs.close()
        self._end = os.pidfd_open(self._process.pid)
        stack.callback(os.close, self._end)
        for name in ("stdout", "stderr"):
            pipe = getattr(self._process, name)
            stack.enter_context(pipe)
            os.set_blocking(pipe.fileno(), False)
            self._wait.register(pipe, selectors.EVENT_READ, name)
        self._wait.register(self._channel, selectors.EVENT_READ, "ready")
        self._wait.register(self._end, selectors.EVENT_READ, "end")

    def wait(self, abort: threading.Event | None) -> None:
        """Until the program has ended, by itself or by a limit. Raises SandboxError if it never started."""
        start_by = time.monotonic() + START_S
        next_look = 0.0
        while True:
            events = {key.data for key, _ in self._wait.select(WATCH_S)}
            for name in events & self._output.keys():
                self._read(name)
            if "ready" in events:
                self._ready()
            if "end" in events:
                break
            now = time.monotonic()
            if not self._began and now > start_by:
                raise SandboxError(
                    f"The sandbox was not ready after {START_S:.0f} s.",
                    "The machine is overloaded.",
                )
            if abort is not None and abort.is_set():
                self._limit = "abort"
            elif self._began and now > self._began + self._limits.wall_s + min(
                self._queued_s, 3 * self._limits.wall_s
            ):
                self._limit = "wall"
            elif self._began and now >= next_look:
                self._limit = self._limit or self._overfull()
                next_look = now + WATCH_S
            if self._limit:
                break
        self.kill()
        self._ended = time.monotonic()
        for name in self._output:
            self._read(name)
        if not self._began and self._limit != "abort":
            said = self._output["stderr"].decode(errors="replace").strip().splitlines() or [
                "nothing was said"
            ]
            raise SandboxError(
                f"The sandbox did not start: {said[-1][:300]}",
                "Limits must leave room for an interpreter, and bubblewrap needs user namespaces: check "
                "kernel.unprivileged_userns_clone, user.max_user_namespaces and "
                "kernel.apparmor_restrict_unprivileged_userns, or the container's security profile.",
            )

    def result(self, outputs: Sequence[str]) -> Result:
        """What there is to say once `wait` has returned."""
        status = self._process.returncode
        status = 128 - status if status < 0 else status
        limit = self._limit
        if limit is None and status == 128 + signal.SIGXCPU:
            limit = "cpu"
        if limit is None and status == 128 + signal.SIGKILL and self._cpu_s > self._limits.cpu_s:
            limit = "cpu"
        most = self._limits.output_bytes
        return Result(
            status,
            bytes(self._output["stdout"][:most]),
            bytes(self._output["stderr"][:most]),
            limit,
            wall_s=self._ended - (self._began or self._ended),
            cpu_s=self._cpu_s,
            files=_collect(self._folder, outputs, self._limits.disk_bytes)
            if outputs and self._folder >= 0
            else {},
        )

    def _read(self, name: str) -> None:
        """Take what a stream holds, up to a little over its limit; the rest is left in the pipe."""
        held, pipe = self._output[name], getattr(self._process, name)
        while len(held) <= self._limits.output_bytes:
            try:
                piece = os.read(pipe.fileno(), 1 << 16)
            except BlockingIOError:
                return
            if not piece:
                break
            held += piece
        else:
            self._limit = self._limit or "output"
        with contextlib.suppress(KeyError):
            self._wait.unregister(pipe)

    def _ready(self) -> None:
        self._wait.unregister(self._channel)
        data, handles, _, _ = socket.recv_fds(self._channel, 1, 1)
        if not data or not handles:
            return
        self._folder = handles[0]
        self._stack.callback(os.close, self._folder)
        self._began = time.monotonic()
        facts: dict[str, int] = json.loads(self._information.read(4096))
        first = facts["child-pid"]
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            self._init = os.pidfd_open(first)
            self._stack.callback(os.close, self._init)
            facts["owner"] = os.stat(f"/proc/{first}").st_uid
        self.facts = facts

    def _overfull(self) -> LimitName | None:
        """The limit on all processes together that is exceeded right now."""
        disk = os.fstatvfs(self._folder)
        used = (disk.f_blocks - disk.f_bfree) * disk.f_frsize
        if disk.f_files - disk.f_ffree > NUM_INODES:
            return "disk"
        usages = [_usage(pid) for pid in _descendants(self.facts["child-pid"])]
        self._cpu_s = max(self._cpu_s, sum(seconds for seconds, _, _ in usages))
        self._queued_s = max(self._queued_s, *(queued for _, queued, _ in usages))
        resident = sum(resident for _, _, resident in usages)
        return "memory" if resident + used > self._limits.memory_bytes else None

    def kill(self) -> None:
        """End every process inside; returns when they are gone. Again and again without effect."""
        if self._process.returncode is not None:
            return
        if self._init >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._init, signal.SIGKILL)
            _ended(self._init, 5.0)
            _ended(self._end, 5.0)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def _ended(process: int, timeout_s: float) -> bool:
    """Wait for the process behind a pidfd."""
    with selectors.DefaultSelector() as selector:
        selector.register(process, selectors.EVENT_READ)
        return bool(selector.select(timeout_s))


def _sealed(data: bytes, stack: ExitStack) -> int:
    """A read-only descriptor on a copy of `data` in memory."""
    writable = os.memfd_create("ponder")
    try:
        with open(writable, "wb", closefd=False) as file:
            file.write(data)
        handle = os.open(f"/proc/self/fd/{writable}", os.O_RDONLY)
    finally:
        os.close(writable)
    stack.callback(os.close, handle)
    return handle


def _descendants(pid: int) -> Iterator[int]:
    """`pid` and every process below it that still runs."""
    yield pid
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", encoding="ascii") as file:
                for child in file.read().split():
                    yield from _descendants(int(child))


def _usage(pid: int) -> tuple[float, float, int]:
    """CPU seconds of a process and its ended children, seconds it waited for a core, resident bytes; 0 once gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0, 0.0, 0
    queued = 0.0
    with contextlib.suppress(OSError), open(f"/proc/{pid}/schedstat", encoding="ascii") as file:
        queued = int(file.read().split()[1]) / 1e9
    ticks = sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK"), queued, int(fields[21]) * resource.getpagesize()


def _collect(folder: int, patterns: Sequence[str], most_bytes: int) -> dict[str, bytes]:
    """Regular files below `folder` that match, read without following any link, at most `most_bytes` in all."""
    found: dict[str, bytes] = {}
    for root, below, names, handle in os.fwalk(".", dir_fd=folder, follow_symlinks=False):
        if root.count("/") >= FOLDER_DEPTH:
            below.clear()
        for name in sorted(names):
            path = str(PurePosixPath(root, name))
            if not any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns):
                continue
            with contextlib.suppress(OSError):
                file = os.open(
                    name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=handle
                )
                with open(file, "rb") as opened:
                    if stat.S_ISREG(os.fstat(file).st_mode):
                        found[path] = opened.read(most_bytes)
                        most_bytes -= len(found[path])
    return found
