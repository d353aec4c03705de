"""verify/answers: is this the expected word, choice, JSON value, Python value or grid? The final answer only."""

from __future__ import annotations

import ast
import json
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from ponder.core.errors import ConfigError
from ponder.core.types import Verdict
from ponder.verify.extract import final_answer, unwrapped
from ponder.verify.numbers import clip

MAX_LENGTH = 20_000
MAX_DEPTH = 40
_CHOICE = re.compile(r"(?:the )?(?:(?:correct |right |best )?(?:option|choice|answer)(?: is)? |选)?[\s(\[{]*"
                     r"(?-i:([A-Z]))(?![A-Za-z])[\s)\]}.:]*", re.IGNORECASE)  # fmt: skip
_FENCE = re.compile(r"```[A-Za-z]*\n(.*?)```", re.DOTALL)
_TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict, "array": list, "string": str, "boolean": bool, "null": type(None),
    "integer": int, "number": (int, float),
}  # fmt: skip
_KEYWORDS = set(
    "type properties required items enum const minimum maximum minItems maxItems additionalProperties".split()
)


def check_exact(answer: str, accepted: Sequence[str]) -> Verdict:
    """Right when the final answer is one of `accepted`: spacing, case and a full stop aside."""
    given = unwrapped(final_answer(answer) or "")
    if not given:
        return Verdict("wrong", "no final answer")
    if _folded(given) in {_folded(text) for text in accepted}:
        return Verdict("right", clip(given))
    return Verdict("wrong", f"{clip(given)} is not {' or '.join(map(clip, accepted))}")


def check_choice(answer: str, expected: str, options: Sequence[str]) -> Verdict:
    """`expected` is the right letter, or all right letters; `options` are the texts for A, B, …

    A letter answers, or the text of one option; several letters only where several are right.
    """
    given = unwrapped(final_answer(answer) or "")
    if not given:
        return Verdict("wrong", "no final answer")
    letters = [chr(65 + index) for index in range(len(options))]
    if len(expected) > 1:
        found = sorted(set(re.sub(r"\\[a-z]+|\band\b|[\s,;、(){}$.和]", "", given)))
        status = "right" if found == sorted(expected) else "wrong"
        return Verdict(status, f"{clip(given)} for {expected}")
    named = _CHOICE.match(given)
    if named is None:
        matches = [a for a, o in zip(letters, options, strict=True) if _folded(o) == _folded(given)]
        if len(matches) != 1:
            known = f"{letters[0]} to {letters[-1]}"
            return Verdict("wrong", f"{clip(given)} names no option of {known}")
        chosen = matches[0]
    else:
        chosen, rest = named[1], given[named.end() :]
        others = set(re.findall(r"(?<![A-Za-z'\\])[A-Z](?![A-Za-z'])", rest)) & set(letters)
        text = options[letters.index(chosen)] if chosen in letters else ""
        said = _folded(rest.lstrip(" )].:-"))
        if said != _folded(text) and (others - {chosen} or said in map(_folded, options)):
            return Verdict("wrong", f"several options: {clip(given)}")
    if chosen == expected:
        return Verdict("right", chosen)
    return Verdict("wrong", f"{chosen} is not {expected}")


def _folded(text: str) -> str:
    return " ".join(text.lower().replace("$", "").split()).strip(" .。\"'")


def check_json(
    answer: str, *, equal: Any = None, schema: Mapping[str, Any] | None = None
) -> Verdict:
    """Right when the answer is JSON and equals `equal`, or fits `schema`; else the path of the first difference.

    Of JSON Schema: type, properties, required, items, enum, const, minimum, maximum, minItems, maxItems,
    additionalProperties (false). Raises ConfigError for any other keyword.
    """
    text = fenced(answer)
    try:
        value = read_json(text)
    except (ValueError, RecursionError) as error:
        return Verdict("wrong", f"not JSON: {clip(str(error))}")
    try:
        wrong = _misfit(value, schema, "$") if schema is not None else difference(value, equal)
    except RecursionError:
        return Verdict("undecided", "nested too deeply")
    return Verdict("wrong", wrong) if wrong else Verdict("right", clip(text))


def fenced(answer: str) -> str:
    """What the last code fence holds, or else the whole answer."""
    blocks = _FENCE.findall(answer)
    return (blocks[-1] if blocks else answer).strip()


def read_json(text: str) -> Any:
    """The value, with each key of an object once and every number finite. Raises ValueError or RecursionError."""
    return json.loads(text, parse_constant=_finite, parse_float=_finite, object_pairs_hook=_once)


def _finite(text: str) -> float:
    if not math.isfinite(float(text)):
        raise ValueError(f"{text[:20]} is no number of JSON")
    return float(text)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for at, (key, _) in enumerate(pairs) if key in dict(pairs[:at]))
        raise ValueError(f"the key {twice!r} stands twice")
    return found


def difference(value: Any, wanted: Any, path: str = "$") -> str:
    """Where two JSON values first differ, or ''; true is not 1, but 1.0 is."""
    if isinstance(wanted, dict) and isinstance(value, dict):
        mine, theirs = _object(value), _object(wanted)
        for key in [*theirs, *mine]:
            if key not in mine or key not in theirs:
                return f"{path}.{key} is {'missing' if key in theirs else 'not wanted'}"
            if found := difference(mine[key], theirs[key], f"{path}.{key}"):
                return found
        return ""
    if isinstance(wanted, list) and isinstance(value, list):
        mine_, theirs_ = _array(value), _array(wanted)
        for index, (a, b) in enumerate(zip(mine_, theirs_, strict=False)):
            if found := difference(a, b, f"{path}[{index}]"):
                return found
        counts = f"{path} has {len(mine_)} items, not {len(theirs_)}"
        return "" if len(mine_) == len(theirs_) else counts
    is_same = value == wanted and isinstance(value, bool) == isinstance(wanted, bool)
    return "" if is_same else f"{path} is {clip(json.dumps(value))}, not {clip(json.dumps(wanted))}"


def _object(value: Any) -> dict[str, Any]:
    return value


def _array(value: Any) -> list[Any]:
    return value


def _misfit(value: Any, schema: Mapping[str, Any], path: str) -> str:
    wanted = schema.get("type")
    if not set(schema) <= _KEYWORDS or not (
        wanted is None or (isinstance(wanted, str) and wanted in _TYPES)
    ):
        raise ConfigError(
            f"a JSON schema with {clip(', '.join(set(schema) - _KEYWORDS) or f'type {wanted!r}')}",
            f"keywords: {', '.join(sorted(_KEYWORDS))}; types: {', '.join(_TYPES)}",
        )
    if schema.get("additionalProperties", True) not in (True, False):
        raise ConfigError(
            "a JSON schema with additionalProperties that is no truth value", "true or false"
        )
    whole = wanted == "integer" and isinstance(value, float) and value.is_integer()
    if wanted and not whole and (
        not isinstance(value, _TYPES[wanted]) or (isinstance(value, bool) and wanted != "boolean")
    ):  # fmt: skip
        return f"{path} is no {wanted}"
    if "const" in schema and (found := difference(value, schema["const"], path)):
        return found
    if "enum" in schema and all(difference(value, one) for one in schema["enum"]):
        return f"{path} is none of {clip(json.dumps(schema['enum']))}"
    low, high = schema.get("minimum", value), schema.get("maximum", value)
    if isinstance(value, int | float) and not low <= value <= high:
        return f"{path} is out of range"
    if isinstance(value, list):
        items = _array(value)
        if not schema.get("minItems", 0) <= len(items) <= schema.get("maxItems", len(items)):
            return f"{path} has {len(items)} items"
        parts = [(item, schema.get("items", {}), f"{path}[{i}]") for i, item in enumerate(items)]
    elif isinstance(value, dict):
        known, have = schema.get("properties", {}), _object(value)
        missing = [key for key in schema.get("required", ()) if key not in have]
        extra = [key for key in have if key not in known]
        if missing or (extra and schema.get("additionalProperties") is False):
            return f"{path}.{(missing or extra)[0]} is {'missing' if missing else 'not allowed'}"
        parts = [(have[key], known[key], f"{path}.{key}") for key in have if key in known]
    else:
        parts = []
    return next((found for part in parts if (found := _misfit(*part))), "")


def check_literal(answer: str, expected: str) -> Verdict:
    """Right when the answer is the same Python value as `expected` (a literal); read, never run."""
    ends_fenced = answer.rstrip().endswith("```")
    given = (fenced(answer) if ends_fenced else final_answer(answer) or "").strip("` \n")
    given = re.sub(r"^(?:assert )?\w+\(.*\) *== *", "", given)
    if len(given) > MAX_LENGTH or max(given.count(mark) for mark in "([{-") > MAX_DEPTH * 25:
        return Verdict("undecided", "too long to read")
    try:
        values = [_literal(text) for text in (given, expected)]
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        return Verdict("wrong", f"not a Python value: {clip(given)}")
    if _typed(values[0]) == _typed(values[1]):
        return Verdict("right", clip(given))
    return Verdict("wrong", f"{clip(given)} is not {clip(expected)}")


def _typed(value: Any) -> Any:
    """The value with the types of all its parts, so that True is not 1."""
    if isinstance(value, dict):
        return frozenset((_typed(key), _typed(item)) for key, item in _object(value).items())
    if isinstance(value, list | tuple | set):
        parts = [_typed(part) for part in _array(value)]
        return type(_array(value)), frozenset(parts) if isinstance(value, set) else tuple(parts)
    return type(value), value


def _literal(text: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.literal_eval(text)


def check_grid(answer: str, expected: Sequence[Sequence[int]]) -> Verdict:
    """Right when the last grid `[[…], …]` in the answer is the expected one."""
    text = answer[-MAX_LENGTH:]
    starts = [found.start() for found in re.finditer(r"\[\s*\[", text)]
    if not starts:
        return Verdict("wrong", "no grid in the answer")
    grid = re.match(r"\[(?:\s*\[[-0-9,\s]*\]\s*,?)*\s*\]", text[starts[-1] :])
    return check_json(grid[0] if grid else "a grid cut off", equal=[list(row) for row in expected])
