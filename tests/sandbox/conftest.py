"""One sandbox for all tests of this folder; where bubblewrap is not installed they leave themselves out."""

from __future__ import annotations

import shutil

import pytest

from ponder.sandbox import Sandbox


@pytest.fixture(scope="session")
def sandbox() -> Sandbox:
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed")
    return Sandbox()
