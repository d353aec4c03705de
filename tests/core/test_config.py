"""core/config: strict, with errors that name the nearest allowed key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from ponder.core.config import config_toml, read_config
from ponder.core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Circle:
    type: Literal["circle"]
    radius: float = 1.0


@dataclass(frozen=True, slots=True)
class Box:
    type: Literal["square", "rectangle"]
    sides: tuple[int, ...] = (1, 1)


@dataclass(frozen=True, slots=True)
class Drawing:
    shape: Circle | Box
    name: str = "plain"
    folder: Path | None = None
    shares: Mapping[str, float] = field(default_factory=lambda: {"a": 1.0})
    filled: bool = False

    def __post_init__(self) -> None:
        if self.name == "forbidden":
            raise ConfigError("name is 'forbidden'", "choose another")


def written(tmp_path: Path, text: str, name: str = "a.toml") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_files_left_to_right_then_overrides(tmp_path):
    first = written(tmp_path, '[shape]\ntype = "circle"\nradius = 2\n[shares]\nb = 0.5\n')
    second = written(tmp_path, 'name = "second"\n', "b.toml")
    config = read_config(
        Drawing, [first, second], ["shape.radius=3", "folder=some/where", "filled=true"]
    )
    assert config == Drawing(
        Circle("circle", 3.0), "second", Path("some/where"), {"b": 0.5}, filled=True
    )
    assert isinstance(config.shape, Circle) and isinstance(config.shape.radius, float)


def test_written_config_reads_back(tmp_path):
    config = Drawing(Box("rectangle", (3, 4)), 'a "quoted" name', Path("x"), {"a b": 0.25})
    assert read_config(Drawing, [written(tmp_path, config_toml(config))]) == config


@pytest.mark.parametrize(
    ("overrides", "problem", "advice"),
    [
        (["shape.type=circle", "nmae=x"], "unknown key 'nmae'", "did you mean 'name'?"),
        (["shape.type=circle", "shape.sides=[1]"], "unknown key 'shape.sides'", "type, radius"),
        (["shape.type=circel"], "'shape.type' is 'circel'", "did you mean 'circle'?"),
        (["name=x"], "'shape' is missing", "no default"),
        (["shape.type=circle", "shape.radius=wide"], "'shape.radius' is 'wide'", "a number"),
        (["shape.type=circle", "shape.radius=true"], "'shape.radius' is True", "a number"),
        (["shape.type=square", "shape.sides=[1, 2.5]"], "'shape.sides[1]' is 2.5", "a whole number"),
        (["shape.type=circle", "filled=1"], "'filled' is 1", "true or false"),
        (["shape.type=circle", "shares.a=x"], "'shares.a' is 'x'", "a number"),
        (["shape.type=circle", "name=forbidden"], "name is 'forbidden'", "choose another"),
        (["shape"], "'shape' is not an override", "key.path=value"),
    ],
)  # fmt: skip
def test_errors_name_the_key_and_what_is_allowed(overrides, problem, advice):
    with pytest.raises(ConfigError) as caught:
        read_config(Drawing, [], overrides)
    assert problem in caught.value.problem
    assert advice in caught.value.advice


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        read_config(Drawing, [tmp_path / "none.toml"])
    with pytest.raises(ConfigError, match="is not TOML"):
        read_config(Drawing, [written(tmp_path, "a = = 1")])
