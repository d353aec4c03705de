"""cli/machine: the machine and the commit that a number belongs to."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

from ponder.model.ops import available_threads

FEATURES = (
    *("avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16"),
    *("amx_int8", "amx_bf16", "asimd", "asimddp", "i8mm", "bf16"),
)
"""Flags of a processor that kernels ask for."""


def machine() -> str:
    """The machine in words."""
    return f"{cpu_name()}, {available_threads()} cores, {platform.system()} {platform.machine()}"


def commit() -> str:
    """The commit of the working copy that this package runs from, `+` when changed; '' outside one."""
    here = Path(__file__).parent
    try:
        name, changes = (
            subprocess.run(
                ["git", "-C", str(here), *words],
                capture_output=True,
                text=True,
                check=True,
                timeout=10,
            ).stdout
            for words in (["rev-parse", "--short=12", "HEAD"], ["status", "--porcelain", "."])
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return name.strip() + ("+" if changes.strip() else "")


def cpu_name() -> str:
    """The processor's name as the system tells it."""
    for line in _cpuinfo():
        if line.startswith(("model name", "Hardware")):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def cpu_features() -> list[str]:
    """Those of FEATURES that the processor has."""
    for line in _cpuinfo():
        if line.startswith(("flags", "Features")):
            flags = set(line.partition(":")[2].split())
            return [name for name in FEATURES if name in flags]
    return []


def _cpuinfo() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def memory_bytes() -> int:
    """Memory of the whole machine; 0 where the system does not tell."""
    if hasattr(os, "sysconf"):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return 0
