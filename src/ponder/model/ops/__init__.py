"""model/ops: the op sets, chosen by name. Nothing here loads one before it is asked for."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Literal, cast

from ponder.core.errors import ConfigError, UserError
from ponder.model.ops.protocol import Ops

OpsName = Literal["auto", "reference", "native"]

_OP_SETS: dict[str, tuple[str, str]] = {
    "reference": ("ponder.model.ops.reference", "ReferenceOps"),
    "native": ("ponder.model.ops.native", "NativeOps"),
}
"""Op set → module and class; the class takes `threads`."""

_EXTENSION = "ponder.model.ops._native"


def native_available() -> tuple[bool, str]:
    """(True, "") when the compiled kernels load, else False and why not. The caller decides how to warn."""
    try:
        importlib.import_module(_EXTENSION)
    except ImportError as error:
        return False, str(error)
    return True, ""


def make_ops(name: OpsName = "auto", threads: int | None = None) -> Ops:
    """An op set; `auto` is `native` where it loads, else `reference`.

    `threads` None means every core this process may use. `reference` computes on numpy's own threads and only checks
    the number. ConfigError for an unknown name or a number out of range, UserError for `native` that does not load.
    """
    if threads is not None and not 1 <= threads <= 1024:
        raise ConfigError(
            f"threads is {threads!r}",
            "allowed is a whole number from 1 to 1024, or none for every core",
        )
    if name == "auto":
        name = "native" if native_available()[0] else "reference"
    if name not in _OP_SETS:
        raise ConfigError(f"unknown op set {name!r}", f"allowed are auto, {', '.join(_OP_SETS)}")
    if name == "native":
        available, reason = native_available()
        if not available:
            raise UserError(
                f"the native op set does not load: {reason}",
                "install a C++17 compiler and reinstall ponder, or use ops='reference'",
            )
    module, attribute = _OP_SETS[name]
    op_set = getattr(importlib.import_module(module), attribute)
    return cast(Ops, op_set(threads=threads if threads is not None else available_threads()))


def available_threads() -> int:
    """Cores this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
