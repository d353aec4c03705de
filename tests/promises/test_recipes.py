"""Promise: every recipe parses, strictly, and says what hardware it was run on."""

from __future__ import annotations

from pathlib import Path

import pytest
from package_source import REPOSITORY

from ponder.core.config import read_config
from ponder.core.errors import ConfigError
from ponder.train.config import Recipe

RECIPES = sorted((REPOSITORY / "recipes").rglob("*.toml"))


def test_there_are_recipes() -> None:
    assert RECIPES, "recipes/ is empty"


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_recipe_parses(path: Path) -> None:
    assert isinstance(read_config(Recipe, [path]), Recipe), path


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_recipe_refuses_a_key_it_does_not_know(path: Path) -> None:
    with pytest.raises(ConfigError, match="wheight"):
        read_config(Recipe, [path], ["stage.wheight=1"])


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_recipe_names_its_hardware(path: Path) -> None:
    head = path.read_text(encoding="utf-8").split("[")[0]
    assert "core" in head or "GPU" in head, f"{path.name}: no comment on the hardware it was run on"
