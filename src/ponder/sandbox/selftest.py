"""sandbox/selftest: tries, from inside a real sandbox, what each layer must deny, and says which layers are missing.

A layer counts as present only when every attempt against it failed. The attempts are made by our own program under
the limits and the filter that every other program gets.
"""

from __future__ import annotations

import difflib
import json
import os
import socket
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ponder.core.errors import SandboxError
from ponder.sandbox.room import Limits, Result
from ponder.sandbox.view import NOBODY

LAYERS: dict[str, str] = {
    "namespaces": "bubblewrap must be able to make user, pid, network, ipc and uts namespaces.",
    "user": "Let bubblewrap start as nobody: install setpriv (util-linux), or start Ponder as an ordinary user.",
    "files": "Check that the bubblewrap in PATH is the real one, and that no folder was added that must stay hidden.",
    "network": "A kernel with network namespaces and seccomp is needed.",
    "seccomp": "The filter knows x86_64 and aarch64, and needs a kernel with CONFIG_SECCOMP_FILTER.",
    "limits": "The kernel must enforce resource limits (RLIMIT_NPROC inside user namespaces: Linux 5.14).",
    "clock": "Programs that outlive their time could not be ended; check that pidfd_open works.",
}
"""Layer → what to do when it is missing."""

Launch = Callable[..., tuple[Result, Mapping[str, int]]]


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of the sandbox on this machine."""

    name: str
    present: bool
    detail: str
    """What was tried and denied, or the first attempt that was not."""
    advice: str


def check_names(names: Collection[str]) -> frozenset[str]:
    """The names of layers, checked. Raises SandboxError for another one."""
    for name in [names] if isinstance(names, str) else names:
        if name not in LAYERS:
            near = difflib.get_close_matches(name, LAYERS, 1)
            raise SandboxError(
                f"{name!r} is not a layer of the sandbox.{f' Did you mean {near[0]!r}?' if near else ''}",
                f"Layers: {', '.join(LAYERS)}.",
            )
    return frozenset([names] if isinstance(names, str) else names)


def examine(launch: Launch, view: Sequence[str]) -> tuple[Layer, ...]:
    """Run the attempts. `launch` is the sandbox's own way to run a program; `view`, the paths it may show."""
    limits = Limits(wall_s=20.0, memory_bytes=256 << 20, disk_bytes=4 << 20, processes=8)
    with (
        tempfile.NamedTemporaryFile(prefix="ponder-canary-") as canary,
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        home = os.path.realpath(Path.home())
        told = {
            "home": "/home" if home in ("/", "/tmp") else home,
            "view": list(view),
            "canary": canary.name,
        }
        told |= {
            "parent": os.getpid(),
            "memory": limits.memory_bytes,
            "port": listener.getsockname()[1],
        }
        files = {"attempts.py": ATTEMPTS, "told.json": json.dumps(told)}
        result, facts = launch(["python", "attempts.py"], files, b"", limits, (), None)
    try:
        failed: dict[str, Any] = json.loads(result.stdout)
    except ValueError:
        said = result.stderr.decode(errors="replace").strip()[-300:]
        raise SandboxError(
            f"The sandbox's self-test ended with status {result.status}: {said or 'nothing was said'}",
            "Run `python -c 'import ctypes, resource'` with this interpreter; the self-test needs both.",
        ) from None
    for kind in ("pid", "net", "ipc", "uts", "mnt"):
        if facts.get(f"{kind}-namespace", 0) in (0, os.stat(f"/proc/self/ns/{kind}").st_ino):
            failed["namespaces"].append(f"the {kind} namespace is the host's")
    if facts.get("owner") == 0 or (os.geteuid() == 0 and facts.get("owner") != NOBODY):
        failed["user"].append(f"programs run as user {facts.get('owner')} of the host")
    sleeper = [
        "python",
        "-c",
        "import signal,time\nsignal.signal(15,signal.SIG_IGN)\ntime.sleep(60)",
    ]
    late = launch(sleeper, {}, b"", Limits(wall_s=0.1), (), None)[0]
    failed["clock"] = [] if late.limit == "wall" else ["a program that sleeps was not ended"]
    return tuple(
        Layer(name, not failed[name], "; ".join(failed[name]) or "every attempt was denied", advice)
        for name, advice in LAYERS.items()
    )


ATTEMPTS = r"""
import ctypes, errno, json, os, resource, socket, sys
told = json.load(open("told.json"))
failed = {n: [] for n in ("namespaces", "user", "files", "network", "seccomp", "limits")}
libc = ctypes.CDLL(None, use_errno=True)

def denied(layer, name, act, errors=OSError):
    try:
        act()
    except errors:
        return
    failed[layer].append(name)

def is_hidden(layer, name, path):
    if os.path.exists(path):
        failed[layer].append(name)

denied("namespaces", "the parent can be signalled", lambda: os.kill(told["parent"], 0))
if os.getpid() > 16:
    failed["namespaces"].append("process numbers are the host's")

if (os.getuid(), os.getgid(), os.geteuid()) != (65534, 65534, 65534):
    failed["user"].append("the user inside is not nobody")
for name, act in (("setuid", lambda: os.setuid(0)), ("setgid", lambda: os.setgid(0)),
                  ("setgroups", lambda: os.setgroups([0])), ("mknod", lambda: os.mknod("d", 0o20600, 0x103))):
    denied("user", name + " is allowed", act)
header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
if libc.capget(header, data) or any(data):
    failed["user"].append("the program holds capabilities")
if libc.prctl(39, 0, 0, 0, 0) != 1:
    failed["user"].append("new privileges can be gained")

for path in ("/x", "/usr/lib/x", "/dev/x", os.path.dirname(os.__file__) + "/x"):
    denied("files", "writing %s is allowed" % path, lambda: open(path, "w"))
denied("files", "removing the interpreter's files is allowed", lambda: os.rename(os.__file__, "/tmp/os.py"))
for path in (told["canary"], "/proc", "/sys", "/etc/passwd", "/usr/bin/sh", "/var", "/run"):
    is_hidden("files", path + " is visible", path)
for path, folders, names in os.walk(told["home"]):
    for name in [*folders, *names]:
        full = os.path.join(path, name)
        shown = [v for v in told["view"] if (v + "/").startswith(full + "/")]
        if not shown:
            failed["files"].append("the home folder is visible: " + full)
        if full in shown:
            folders.remove(name) if name in folders else None
    if len(failed["files"]) > 3:
        break

denied("network", "the host can be reached", lambda: socket.create_connection(("127.0.0.1", told["port"]), 5))
for family in (socket.AF_INET, socket.AF_INET6, 16, 17, 38, 40):  # netlink, packet, alg, vsock
    denied("seccomp", "a socket of family %d opens" % family, lambda: socket.socket(family))

if libc.prctl(21, 0, 0, 0, 0) != 2:
    failed["seccomp"].append("no filter is installed")
x86 = os.uname().machine == "x86_64"
calls = {"ptrace": (101, 117), "mount": (165, 40), "unshare": (272, 97), "setns": (308, 268), "bpf": (321, 280),
         "userfaultfd": (323, 282), "perf_event_open": (298, 241), "io_uring_setup": (425, 425), "keyctl": (250, 219),
         "kexec_load": (246, 104), "process_vm_readv": (310, 270), "memfd_create": (319, 279), "shmget": (29, 194),
         "open_by_handle_at": (304, 265), "personality": (135, 92)}
for name, numbers in calls.items():
    if libc.syscall(numbers[0 if x86 else 1], -1, -1, -1, -1, -1) != -1 or ctypes.get_errno() != errno.EPERM:
        failed["seccomp"].append(name + " is not denied")
if libc.syscall(435, 0, 0) != -1 or ctypes.get_errno() != errno.ENOSYS:
    failed["seccomp"].append("clone3 is not denied")
child = libc.syscall(56 if x86 else 220, 0x10000000 | 17, 0, 0, 0, 0)
if child == 0:
    os._exit(0)
if child != -1 or ctypes.get_errno() != errno.EPERM:
    failed["seccomp"].append("clone makes namespaces")
for request in (0x5412, 0x541C, 0x5412 | 1 << 40):
    if libc.ioctl(0, ctypes.c_ulong(request), b"x") != -1 or ctypes.get_errno() != errno.EPERM:
        failed["seccomp"].append("ioctl %#x is not denied" % request)

denied("limits", "memory is not limited", lambda: bytearray(told["memory"]), MemoryError)
def fill():
    for k in range(64):
        with open("fill%d" % k, "wb") as file:
            file.write(bytes(1 << 20))
denied("limits", "the disk is not limited", fill)
for k in range(64):
    if os.path.exists("fill%d" % k):
        os.unlink("fill%d" % k)
def grow():
    with open("grow", "wb") as file:
        file.truncate(64 << 20)
denied("limits", "the size of a file is not limited", grow)
def open_many():
    held = [os.open("/dev/null", 0) for _ in range(256)]
denied("limits", "open files are not limited", open_many)
os.closerange(3, 300)
if resource.getrlimit(resource.RLIMIT_CORE) != (0, 0):
    failed["limits"].append("core files are written")
if resource.getrlimit(resource.RLIMIT_CPU)[1] > 60:
    failed["limits"].append("CPU time is not limited")
children = []
def fork_many():
    for _ in range(40):
        pid = os.fork()
        if pid == 0:
            import time
            time.sleep(60)
        children.append(pid)
denied("limits", "processes are not limited", fork_many)
for pid in children:
    os.kill(pid, 9)
print(json.dumps(failed))
"""
"""The program that runs inside; prints, for each layer, the attempts that were not denied."""
