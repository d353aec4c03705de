"""sandbox/view: the bubblewrap command, that is, what a program inside can see and be. Starts nothing.

A program sees the interpreter, the C library, null, zero and the random devices, and one sized /tmp. There is no
/proc, no /sys, no /etc, no home, and no other program unless `read_only` names it.
"""

from __future__ import annotations

import os
import re
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path

from ponder.core.errors import SandboxError

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

_HIDDEN = re.compile(r"/(tmp|dev|proc|sys)?(/|$)")
DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")
LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache", "/usr/share/zoneinfo")


def interpreter() -> str:
    """The program behind this interpreter, with virtual environments and links resolved."""
    return os.path.realpath(sys.executable)


def system_view(read_only: Sequence[str | Path]) -> list[str]:
    """Host paths shown read-only: the interpreter, its libraries, and what the caller adds; none inside another.

    Raises SandboxError for an added path that a program would not see.
    """
    for path in map(str, read_only):
        if (
            not os.path.isabs(path)
            or not os.path.exists(path)
            or _HIDDEN.match(os.path.normpath(path))
        ):
            raise SandboxError(
                f"{path!r} cannot be shown to a sandbox.",
                "Give an absolute path that exists, outside /tmp, /dev and /proc, and not '/'.",
            )
    python = Path(interpreter())
    base = {Path(sys.base_prefix), Path(sys.base_exec_prefix)}
    found = {*LIBRARIES, str(python), *map(os.path.normpath, map(str, read_only))}
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


def sandbox_arguments(
    bubblewrap: str, view: Sequence[str], moved: Mapping[str, str], disk_bytes: int
) -> list[str]:
    """The command up to the program: every namespace new, no capability, nothing writable but /tmp.

    `moved` says where a path of the view is to be found if not at its own place.
    """
    command = [bubblewrap, "--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc"]
    command += ["--unshare-uts", "--unshare-cgroup-try", "--disable-userns", "--cap-drop", "ALL"]
    command += ["--uid", str(NOBODY), "--gid", str(NOBODY), "--hostname", "sandbox"]
    command += ["--die-with-parent", "--new-session"]
    for path in view:
        if os.path.islink(path) and os.path.isdir(path):  # /lib → usr/lib
            command += ["--symlink", os.readlink(path), path]
        else:
            command += ["--ro-bind", moved.get(path, path), path]
    for device in DEVICES:
        command += ["--dev-bind", device, device]
    command += ["--symlink", "/tmp", "/dev/shm", "--size", str(disk_bytes), "--perms", "0700"]
    return [*command, "--tmpfs", "/tmp", "--remount-ro", "/", "--chdir", "/tmp"]


def dropped(setpriv: str, view: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """What stands before the command when root starts it, so that bubblewrap itself runs as nobody; and where it then
    finds the paths of the view that lie elsewhere.

    Where a path lies under a folder closed to strangers (an interpreter in root's home), a folder below that is shown
    elsewhere in a private copy of the mount table. Each step becomes the next by exec: no root process stays behind.
    Raises SandboxError where that cannot be done.
    """
    stages = [
        stage
        for stage in _STAGES
        if os.path.isdir(stage) and not any(p.startswith(stage) for p in view)
    ]
    shown: dict[str, str] = {}
    moved: dict[str, str] = {}
    for path in view:
        way = [*reversed(Path(path).parents), Path(path)]
        closed = [k for k, folder in enumerate(way[:-1]) if not folder.stat().st_mode & 0o001]
        if closed:
            top = str(way[closed[-1] + 1])
            if top not in shown and (len(shown) == len(stages) or not os.path.isdir(top)):
                raise SandboxError(
                    f"{path} cannot be shown to a sandbox: its folder is closed to other users.",
                    f"Move it to an open folder, or open {way[closed[-1]]} (chmod o+x), or start Ponder as its owner.",
                )
            moved[path] = shown.setdefault(top, stages[len(shown)]) + path.removeprefix(top)
    drop = [setpriv, f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--"]
    if not shown:
        return drop, {}
    pairs = [word for pair in shown.items() for word in pair]
    return [
        "unshare",
        "--mount",
        "--propagation=private",
        "sh",
        "-c",
        _SHOW,
        "sh",
        *pairs,
        "--",
        *drop,
    ], moved


_STAGES = ("/mnt", "/media", "/srv", "/opt")
_SHOW = """while [ "$1" != -- ]; do mount --bind "$1" "$2" || exit 1; shift 2; done; shift; exec "$@\""""
