"""For every test: one thread a library, the data folder, and what cannot run here said aloud."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("PONDER_DATA", str(Path(__file__).resolve().parents[2] / "shared" / "data"))

HAS_NATIVE = importlib.util.find_spec("ponder.model.ops._native") is not None
HAS_DATA = Path(os.environ["PONDER_DATA"]).is_dir()
collect_ignore = [] if HAS_NATIVE else ["model/test_native.py"]
DATA_FIXTURE = "folders"
"""The fixture of tests/text that reads PONDER_DATA; whatever uses it needs the data."""
NO_NATIVE = "ponder: no compiled op set here (no C++ compiler at install); its tests are left out"
NO_DATA = (
    f"ponder: PONDER_DATA is not a folder ({os.environ['PONDER_DATA']}); tests on it are left out"
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out tests marked `native` or `data` where their subject does not exist."""
    for item in items:
        if DATA_FIXTURE in getattr(item, "fixturenames", ()):
            item.add_marker("data")
    absent = [m for m, here in (("native", HAS_NATIVE), ("data", HAS_DATA)) if not here]
    out = [item for item in items if any(item.get_closest_marker(name) for name in absent)]
    if out:
        items[:] = [item for item in items if item not in out]
        config.hook.pytest_deselected(items=out)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for here, line in ((HAS_NATIVE, NO_NATIVE), (HAS_DATA, NO_DATA)):
        if not here:
            terminalreporter.write_line(line, yellow=True)
