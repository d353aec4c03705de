"""The real command as a process, on a toy model, away from the user's own folders."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from toy_folder import write_toy

Run = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy(tmp_path_factory.mktemp("model") / "toy")


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """The environment of a fresh user."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PONDER_", "HF_"))}
    return {
        **kept,
        "PONDER_HOME": str(tmp_path / "home"),
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_DISABLE_XET": "1",
    }


@pytest.fixture
def ponder(environ: dict[str, str], tmp_path: Path) -> Run:
    """Run `ponder …`; returns the finished process with bytes of both streams."""

    def run(
        *arguments: str | Path,
        stdin: bytes = b"",
        extra: Mapping[str, str] | None = None,
        **options: object,
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(  # type: ignore[call-overload]
            [sys.executable, "-m", "ponder", *map(str, arguments)],
            input=stdin,
            env={**environ, **(extra or {})},
            cwd=tmp_path,
            stdout=options.pop("stdout", subprocess.PIPE),
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
            **options,
        )

    return run


def said(done: subprocess.CompletedProcess[bytes]) -> str:
    """Stderr, which must hold no traceback."""
    text = done.stderr.decode()
    assert "Traceback" not in text, text
    return text
