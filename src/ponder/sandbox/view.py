"""sandbox/view: the bubblewrap command, that is, what a program inside can see and be. Starts nothing.

A program sees the interpreter, the C library, null, zero and the random devices, and one sized /tmp. There is no
/proc, no /sys, no /etc, no home, and no other program unless `read_only` names it.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from pathlib import Path

NOBODY = 65534
"""User and group of every program inside; the kernel's overflow id, owner of nothing."""

WORK = "/tmp/work"
ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "HOME": WORK,
    "TMPDIR": "/tmp",
    "LANG": "C.UTF-8",
    "PYTHONHASHSEED": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
"""The whole environment. The fixed hash seed makes a program's sets and dicts print alike in every run."""

DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")
LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache", "/usr/share/zoneinfo")


def interpreter() -> str:
    """The program behind this interpreter, with virtual environments and links resolved."""
    return os.path.realpath(sys.executable)


def system_view(read_only: Iterable[str | Path]) -> list[str]:
    """Host paths shown read-only: the interpreter, its libraries, and what the caller adds; none inside another."""
    python = Path(interpreter())
    base = {Path(sys.base_prefix), Path(sys.base_exec_prefix)}
    found = {*LIBRARIES, str(python), *map(str, read_only)}
    for prefix in base:
        library = sysconfig.get_path("stdlib", vars={"installed_base": str(prefix)})
        found |= {
            library,
            str(prefix / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}"),
        }
        found |= {str(shared) for shared in (prefix / "lib").glob("libpython*.so*")}
    kept = sorted(path for path in found if os.path.exists(path))
    links = {path for path in kept if os.path.islink(path) and os.path.isdir(path)}
    return [p for p in kept if not any(p.startswith(f"{q}/") for q in kept if q not in links)]


def sandbox_arguments(bubblewrap: str, view: Sequence[str], disk_bytes: int) -> list[str]:
    """The command up to the program: every namespace new, no capability, nothing writable but /tmp."""
    command = [bubblewrap, "--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc"]
    command += ["--unshare-uts", "--unshare-cgroup-try", "--disable-userns", "--cap-drop", "ALL"]
    command += ["--uid", str(NOBODY), "--gid", str(NOBODY), "--hostname", "sandbox"]
    command += ["--die-with-parent", "--new-session"]
    for path in view:
        if os.path.islink(path) and os.path.isdir(path):  # /lib → usr/lib
            command += ["--symlink", os.readlink(path), path]
        else:
            command += ["--ro-bind", path, path]
    for device in DEVICES:
        command += ["--dev-bind", device, device]
    command += ["--symlink", "/tmp", "/dev/shm", "--size", str(disk_bytes), "--perms", "0700"]
    return [*command, "--tmpfs", "/tmp", "--remount-ro", "/", "--chdir", "/tmp"]


def dropped(bubblewrap: str, setpriv: str, view: Sequence[str]) -> list[str]:
    """What stands before the command when root starts it: bubblewrap itself then runs as nobody.

    Where the interpreter lies under a folder closed to nobody (root's home), a private copy of the mount table shows
    those paths of the view, and only those, in its place.
    """
    hidden = {path: closed for path in view if (closed := _closed_ancestor(path))}
    mounts: list[str] = []
    for closed in sorted(set(hidden.values())):
        mounts += ["--perms", "0755", "--tmpfs", closed]
    made: set[str] = set()
    for path, closed in sorted(hidden.items()):
        between = [str(p) for p in Path(path).parents if str(p).startswith(f"{closed}/")]
        for folder in sorted(set(between) - made):
            mounts += ["--perms", "0755", "--dir", folder]
        made |= set(between)
        mounts += ["--ro-bind", path, path]
    outer = (
        [bubblewrap, "--die-with-parent", "--dev-bind", "/", "/", *mounts, "--"] if mounts else []
    )
    return [*outer, setpriv, f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--"]


def _closed_ancestor(path: str) -> str | None:
    """The topmost folder above `path` that strangers may not enter."""
    for folder in reversed(Path(path).parents):
        if not folder.stat().st_mode & 0o001:
            return str(folder)
    return None
