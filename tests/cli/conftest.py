"""The real command as a process, on a toy model, away from the user's own folders."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from command import Here, Run
from toy_folder import write_toy

from ponder.cli import main


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


@pytest.fixture
def here(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Here:
    """The command inside this process, for tables of many cases: (exit status, stdout, stderr)."""
    monkeypatch.setenv("PONDER_HOME", str(tmp_path / "home"))

    def run(*arguments: str | Path, stdin: bytes = b"") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8"))
        status = main([str(argument) for argument in arguments])
        return status, *capfd.readouterr()

    return run
