"""Types of the fixtures in conftest, and what every finished command must hold."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

Run = Callable[..., subprocess.CompletedProcess[bytes]]
"""`ponder …` as a process."""

Here = Callable[..., tuple[int, str, str]]
"""The command inside this process: exit status, stdout, stderr."""


def said(done: subprocess.CompletedProcess[bytes]) -> str:
    """Stderr, which must hold no traceback."""
    text = done.stderr.decode()
    assert "Traceback" not in text, text
    return text
