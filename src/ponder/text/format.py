"""text/format: the marks of a model family: think tags, tool-call tags, and how the body of a call is read."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from json.decoder import JSONDecoder

from ponder.text.tokenizer import Tokenizer

_SPACE = re.compile(r"[ \t\r\n]*")


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


_DECODER = JSONDecoder(parse_constant=_refuse_constant)


def object_members(text: str) -> dict[str, str] | None:
    """The members of one JSON object by key, each value as it was written; None when `text` is not one object.

    For example `{"name": "add", "arguments": {"a":1}}` gives `{"name": '"add"', "arguments": '{"a":1}'}`.
    """
    members: dict[str, str] = {}
    text = text.strip(" \t\r\n")
    if not text.startswith("{") or not text.endswith("}"):
        return None
    at = _space(text, 1)
    try:
        while text[at] != "}" or members:
            key, at = _DECODER.raw_decode(text, at)
            at = _space(text, at)
            if not isinstance(key, str) or text[at] != ":":
                return None
            start = _space(text, at + 1)
            _, at = _DECODER.raw_decode(text, start)
            members[key] = text[start:at]
            at = _space(text, at)
            if text[at] == "}":
                break
            if text[at] != ",":
                return None
            at = _space(text, at + 1)
    except (ValueError, IndexError, RecursionError):
        return None
    return members if at == len(text) - 1 else None


def _space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _parse_hermes(body: str) -> tuple[str, str] | None:
    """`{"name": "add", "arguments": {…}}`; arguments written as a JSON string are unwrapped."""
    members = object_members(body)
    if members is None or not {"name", "arguments"} <= members.keys():
        return None
    name, arguments = json.loads(members["name"]), members["arguments"]
    if arguments.startswith('"'):
        arguments = str(json.loads(arguments))
    if not isinstance(name, str) or not name or object_members(arguments) is None:
        return None
    return name, arguments.strip()


_FENCED = re.compile(r"(?:function)?<｜tool▁sep｜>([^\n]+)\n```json\n(.*)\n```", re.DOTALL)
_BARE = re.compile(r"([^\n<]+)<｜tool▁sep｜>(.*)", re.DOTALL)


def _parse_deepseek(body: str) -> tuple[str, str] | None:
    """R1 and V3 write `function<sep>NAME`, then the arguments in a fence; V3.1 writes `NAME<sep>ARGUMENTS`."""
    body = body.strip()
    match = _FENCED.fullmatch(body) or _BARE.fullmatch(body)
    if match is None or object_members(match.group(2)) is None:
        return None
    return match.group(1).strip(), match.group(2).strip()


@dataclass(frozen=True, slots=True)
class ToolSyntax:
    """How a family writes tool calls."""

    open: str
    close: str
    parse: Callable[[str], tuple[str, str] | None]
    """Body between the tags → (name, arguments as JSON text of an object), or None when malformed."""
    group_open: str = ""
    """Mark before the first call, when the family has one."""
    group_close: str = ""
    separator: str = ""
    """Mark inside the body, which is text there even when its token is special."""


HERMES = ToolSyntax("<tool_call>", "</tool_call>", _parse_hermes)
"""Qwen2.5, QwQ, Qwen3 and the package's own models."""

DEEPSEEK = ToolSyntax(
    "<｜tool▁call▁begin｜>",
    "<｜tool▁call▁end｜>",
    _parse_deepseek,
    "<｜tool▁calls▁begin｜>",
    "<｜tool▁calls▁end｜>",
    "<｜tool▁sep｜>",
)
"""DeepSeek-V3, R1 and V3.1."""


@dataclass(frozen=True, slots=True)
class ChatFormat:
    """What a stream router must know of a family."""

    think_open: str = "<think>"
    think_close: str = "</think>"
    tools: ToolSyntax | None = HERMES
    tag_ids: Mapping[int, str] = field(default_factory=dict[int, str])
    """Tags that are one token each. Such a tag counts only as that id: the same letters spelled in plain tokens stay
    text. A tag without an id is looked for in the text."""
    silent_ids: frozenset[int] = frozenset()
    """Special ids that are no part of the text, e.g. the end of turn."""
    given_ids: frozenset[int] = frozenset()
    """Ids that a template writes and a model has no tag for: marks of roles and tool results, ends of turns."""

    @property
    def tags(self) -> tuple[str, ...]:
        """Every tag of the family."""
        tools = self.tools
        calls = (tools.group_open, tools.open, tools.close, tools.group_close) if tools else ()
        return tuple(tag for tag in (self.think_open, self.think_close, *calls) if tag)

    @classmethod
    def of(cls, tokenizer: Tokenizer, template_source: str) -> ChatFormat:
        """The format that a model's tokenizer and chat template show."""
        tools = next(
            (syntax for syntax in (HERMES, DEEPSEEK) if syntax.open in template_source), None
        )
        plain = cls(tools=tools)
        ids = {tokenizer.id_of(tag): tag for tag in plain.tags}
        tag_ids = {token_id: tag for token_id, tag in ids.items() if token_id is not None}
        separator = tokenizer.id_of(tools.separator) if tools else None
        special = frozenset(token.id for token in tokenizer.added.values() if token.special)
        written = {t.id for t in tokenizer.added.values() if t.content in template_source}
        silent, given = (ids - tag_ids.keys() - {separator} for ids in (special, special | written))
        return cls(tools=tools, tag_ids=tag_ids, silent_ids=silent, given_ids=given)
