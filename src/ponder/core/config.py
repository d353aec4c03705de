"""core/config: one strict reader from TOML and dotted overrides to frozen dataclasses; it knows no room's config.

Sources in order: the class's defaults, TOML files left to right, overrides such as `schedule.steps=200`. An unknown key
is an error that names the nearest allowed one. A field whose type is a union of dataclasses takes the member whose
`type: Literal["…"]` field matches.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
import tomllib
import types
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from ponder.core.errors import ConfigError

T = TypeVar("T")


def read_config(
    config_class: type[T], paths: Sequence[str | Path] = (), overrides: Sequence[str] = ()
) -> T:
    """The config of these TOML files, later ones over earlier ones, then `key.path=value` overrides.

    A path in an override's value, or any other string, needs no quotes: what is not TOML is taken as text.
    Raises ConfigError.
    """
    merged: dict[str, Any] = {}
    for path in paths:
        _merge(merged, read_toml(Path(path)))
    for override in overrides:
        _merge(merged, _override(override))
    return build_config(config_class, merged)


def read_toml(path: Path) -> dict[str, Any]:
    """The table of a TOML file. Raises ConfigError when it is missing or malformed."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"{str(path)!r} cannot be read ({error.strerror})", "give the path of a TOML file"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{str(path)!r} is not TOML: {error}", "correct that line") from None


def _override(text: str) -> dict[str, Any]:
    key, equals, value = text.partition("=")
    names = key.strip().split(".")
    if not equals or not all(names):
        raise ConfigError(f"{text!r} is not an override", "write it as key.path=value, e.g. seed=1")
    try:
        parsed: Any = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value
    for name in reversed(names):
        parsed = {name: parsed}
    return parsed


def _merge(into: dict[str, Any], more: Mapping[str, Any]) -> None:
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], cast("dict[str, Any]", value))
        else:
            into[key] = value


def build_config(config_class: type[T], values: Mapping[str, Any], where: str = "") -> T:
    """A `config_class` from plain values, every key and type checked. `where` names the table in errors."""
    hints = get_type_hints(config_class)
    fields = {field.name: field for field in dataclasses.fields(cast(Any, config_class))}
    for key in values:
        if key not in fields:
            raise ConfigError(f"unknown key {_at(where, key)!r}", _nearest(key, fields))
    built: dict[str, Any] = {}
    for name, field in fields.items():
        if name in values:
            built[name] = _convert(hints[name], values[name], _at(where, name))
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ConfigError(
                f"{_at(where, name)!r} is missing", "give it a value; it has no default"
            )
    try:
        return config_class(**built)
    except ConfigError as error:
        raise ConfigError(f"{where or 'the config'}: {error.problem}", error.advice) from None


def _at(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _nearest(key: str, allowed: Iterable[str]) -> str:
    names = list(allowed)
    near = difflib.get_close_matches(key, names, 1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}allowed are {', '.join(names)}"


def _convert(hint: Any, value: Any, where: str) -> Any:
    """`value` as `hint` asks; ConfigError when it is anything else. No silent conversion but int → float."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _convert_union(arguments, value, where)
    if origin is Literal:
        if value not in arguments or isinstance(value, bool):
            _refuse(where, value, _nearest(str(value), [str(each) for each in arguments]))
        return value
    if origin is tuple:
        if not isinstance(value, list):
            _refuse(where, value, "allowed is a list")
        items = cast("list[Any]", value)
        return tuple(_convert(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(items))
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            _refuse(where, value, "allowed is a table")
        table = cast("Mapping[str, Any]", value)
        return {key: _convert(arguments[1], item, _at(where, key)) for key, item in table.items()}
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            _refuse(where, value, "allowed is a table")
        return build_config(cast("type[Any]", hint), cast("Mapping[str, Any]", value), where)
    return _convert_plain(hint, value, where)


def _convert_plain(hint: Any, value: Any, where: str) -> Any:
    if hint is Path and isinstance(value, str):
        return Path(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is not bool and isinstance(value, bool)):
        names = {
            int: "a whole number",
            float: "a number",
            bool: "true or false",
            str: "text",
            Path: "a path",
        }
        _refuse(where, value, f"allowed is {names.get(hint, hint)}")
    return value


def _convert_union(members: tuple[Any, ...], value: Any, where: str) -> Any:
    is_single = len(members) == 2 and type(None) in members
    classes = {
        name: each
        for each in members
        if dataclasses.is_dataclass(each) and not is_single
        for name in _type_names(each)
    }
    if classes and isinstance(value, Mapping):
        table = cast("Mapping[str, Any]", value)
        if table.get("type") not in classes:
            key = str(table.get("type"))
            raise ConfigError(f"{_at(where, 'type')!r} is {key!r}", _nearest(key, classes))
        return build_config(cast("type[Any]", classes[table["type"]]), table, where)
    for member in members:
        if member is not type(None):
            return _convert(member, value, where)
    return None


def _type_names(config_class: Any) -> tuple[str, ...]:
    return get_args(get_type_hints(config_class)["type"])


def _refuse(where: str, value: Any, advice: str) -> None:
    raise ConfigError(f"{where!r} is {value!r}", advice)


def config_toml(config: Any) -> str:
    """A config as TOML that `read_config` reads back; None values are left out."""
    lines: list[str] = []
    _write_table(config_values(config), "", lines)
    return "\n".join(lines).lstrip("\n") + "\n"


def config_values(config: Any) -> dict[str, Any]:
    """A config as plain values: tables, lists, numbers, text."""
    return cast("dict[str, Any]", _plain(dataclasses.asdict(config)))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        table = cast("Mapping[str, Any]", value)
        return {key: _plain(item) for key, item in table.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in cast("Sequence[Any]", value)]
    return str(value) if isinstance(value, Path) else value


def _write_table(table: Mapping[str, Any], where: str, lines: list[str]) -> None:
    plain = {key: value for key, value in table.items() if not isinstance(value, dict)}
    if where:
        lines += ["", f"[{where}]"]
    lines += [
        f"{_key(key)} = {json.dumps(value, ensure_ascii=False)}" for key, value in plain.items()
    ]
    for key, value in table.items():
        if isinstance(value, dict):
            _write_table(cast("dict[str, Any]", value), _at(where, _key(key)), lines)


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)
