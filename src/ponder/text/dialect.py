"""text/dialect: brings messages into the form a template wants, found by rendering probes; knows no model names."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

from ponder.core.errors import PromptError, UserError
from ponder.core.types import Message, ToolCall, ToolSpec
from ponder.text.format import ChatFormat, object_members
from ponder.text.shield import Shield

Render = Callable[[Sequence[Mapping[str, Any]], Sequence[Mapping[str, Any]]], str]
"""Plain message and tool dictionaries → text; raises UserError."""

_WORD = "ponderprobe"
_USER = {"role": "user", "content": "question"}
_ARGUMENTS = f'{{"key": "{_WORD}value"}}'


class Dialect:
    """What one template does with messages. Each property renders a probe once, when first asked for."""

    def __init__(self, render: Render, format: ChatFormat) -> None:
        self._render = render
        self._format = format

    def _probe(self, *messages: Mapping[str, Any], tools: Sequence[Mapping[str, Any]] = ()) -> str:
        """Rendered text, or "" when the template fails."""
        try:
            return self._render(messages, tools)
        except UserError:
            return ""

    @cached_property
    def shows_tools(self) -> bool:
        """False for templates that ignore tools without a word (R1, V3)."""
        spec = ToolSpec(
            f"{_WORD}tool", f"{_WORD}text", {"type": "object", "properties": {f"{_WORD}key": {}}}
        )
        text = self._probe(_USER, tools=[tool_dict(spec)])
        return all(f"{_WORD}{part}" in text for part in ("tool", "text", "key"))

    @cached_property
    def call_form(self) -> tuple[Literal["string", "object"], str | None] | None:
        """How arguments and the empty content beside a call must be given; None: calls cannot be shown."""
        for content in ("", None):
            for form in ("string", "object"):
                text = self._probe(_USER, _call_message(content, form), _result_message())
                if f"{_WORD}name" in text and _ARGUMENTS in text:
                    return form, content
        return None

    @cached_property
    def shows_content_with_call(self) -> bool:
        """False for templates that lose a call whose message also has text (V3, R1-Distill)."""
        form = self.call_form
        text = (
            self._probe(_USER, _call_message(f"{_WORD}said", form[0]), _result_message())
            if form
            else ""
        )
        return f"{_WORD}said" in text and f"{_WORD}name" in text

    @cached_property
    def shows_results(self) -> bool:
        call = _call_message(self.call_form[1], self.call_form[0]) if self.call_form else _USER
        return f"{_WORD}result" in self._probe(_USER, call, _result_message())

    @cached_property
    def shows_every_system(self) -> bool:
        """False for templates that keep only one system text, or fail on a second one."""
        systems = [{"role": "system", "content": f"{_WORD}{part}"} for part in ("first", "second")]
        text = self._probe(*systems, _USER)
        return f"{_WORD}first" in text and f"{_WORD}second" in text

    @cached_property
    def shows_system(self) -> bool:
        return f"{_WORD}first" in self._probe({"role": "system", "content": f"{_WORD}first"}, _USER)

    @cached_property
    def reasoning_form(self) -> Literal["field", "inline", "none"]:
        """`field`: the template reads `reasoning_content`; `inline`: it cuts a think block out of old content itself.

        `none`: it knows no thinking, and a think block in its history would stay there, so thinking is dropped.
        """
        answer = {"role": "assistant", "content": "answer"}
        if f"{_WORD}thought" in self._probe(
            _USER, answer | {"reasoning_content": f"{_WORD}thought"}
        ):
            return "field"
        text = self._probe(
            _USER, answer | {"content": self._inline(f"{_WORD}thought", "answer")}, _USER
        )
        return "inline" if "answer" in text and f"{_WORD}thought" not in text else "none"

    @cached_property
    def takes_inline_with_call(self) -> bool:
        """True when a think block beside a call is kept or cut cleanly, not put after a second opening tag (V3.1)."""
        if (
            self.reasoning_form != "inline"
            or not self.shows_content_with_call
            or self.call_form is None
        ):
            return False
        message = _call_message(self._inline(f"{_WORD}thought", "answer"), self.call_form[0])
        text = self._probe(_USER, message, _result_message())
        return f"{_WORD}name" in text and text.count(self._format.think_open) <= 1

    def _inline(self, reasoning: str, content: str) -> str:
        think = self._format
        return f"{think.think_open}\n{reasoning}\n{think.think_close}\n\n{content}"

    def shape(self, messages: Sequence[Message], shield: Shield) -> list[dict[str, Any]]:
        """The template's form of `messages`, guarded by `shield`.

        Raises PromptError for messages without content, UserError for what the template would silently drop.
        """
        if not messages:
            raise PromptError("no messages", "send at least one user message")
        if any(m.role == "system" for m in messages) and not self.shows_system:
            raise UserError(
                "a system message, which this model's chat template drops",
                "put it into the user's message",
            )
        if sum(m.role == "system" for m in messages) > 1 and not self.shows_every_system:
            messages = _join_systems(messages)
        return [self._shape_one(message, shield) for message in messages]

    def _shape_one(self, message: Message, shield: Shield) -> dict[str, Any]:
        role, content = message.role, message.content
        if role == "assistant":
            return self._shape_assistant(message, shield)
        if role not in ("system", "user", "tool"):
            raise PromptError(
                f"a message with role {role!r}", "roles are system, user, assistant, tool"
            )
        if message.tool_calls or message.reasoning is not None:
            raise UserError(
                f"tool calls or reasoning in a {role!r} message",
                "only assistant messages have them",
            )
        shaped: dict[str, Any] = {"role": role}
        if role == "tool":
            if not self.shows_results:
                raise UserError(
                    "a tool result, which this model's chat template drops",
                    "choose a model with tools",
                )
            if message.tool_call_id is not None:
                shaped["tool_call_id"] = shield.guard(message.tool_call_id)
        elif content is None:
            raise PromptError(f"a {role!r} message without content", "give it text")
        if message.name is not None:
            shaped["name"] = shield.guard(message.name)
        return shaped | {"content": shield.guard(content or "")}

    def _shape_assistant(self, message: Message, shield: Shield) -> dict[str, Any]:
        format, content, reasoning = self._format, message.content or "", message.reasoning
        tags = (format.think_open, format.think_close)
        # Thinking given inside the content: those tags are the template's to read, later ones are text.
        block_end = content.rfind(tags[1]) + len(tags[1]) if tags[1] in content else 0
        block_end = 0 if reasoning is not None else block_end
        block, rest = content[:block_end], content[block_end:]
        shaped: dict[str, Any] = {"role": "assistant"}
        text = shield.guard(block, tags) + shield.guard(rest)
        if reasoning:
            guarded = shield.guard(reasoning)
            inline = self.takes_inline_with_call if message.tool_calls else True
            if self.reasoning_form == "field":
                shaped["reasoning_content"] = guarded
            elif self.reasoning_form == "inline" and inline:
                text = self._inline(guarded, text)
        if not message.tool_calls:
            return shaped | {"content": text}
        if self.call_form is None:
            raise UserError(
                "tool calls, which this model's chat template cannot show",
                "choose a model with tools",
            )
        if text and not self.shows_content_with_call:
            raise UserError(
                "an assistant message with both text and tool calls, of which this model's chat template drops one",
                "send the calls with content null",
            )
        form, empty = self.call_form
        calls = [_call_dict(call, form, shield) for call in message.tool_calls]
        return shaped | {"content": text or empty, "tool_calls": calls}


def tool_dict(tool: ToolSpec) -> dict[str, Any]:
    """A tool in the OpenAI form that templates print."""
    described = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "function": described}


def _call_dict(call: ToolCall, form: str, shield: Shield) -> dict[str, Any]:
    if object_members(call.arguments) is None:
        raise UserError(
            f"arguments of the call {call.name!r} that are no JSON object: {call.arguments[:80]!r}",
            'give JSON text such as {"a": 1}',
        )
    is_text = form == "string"
    arguments = (
        shield.guard(call.arguments) if is_text else shield.guard_json(json.loads(call.arguments))
    )
    function = {"name": shield.guard(call.name), "arguments": arguments}
    return {"id": shield.guard(call.id), "type": "function", "function": function}


def _call_message(content: str | None, form: str) -> dict[str, Any]:
    arguments = _ARGUMENTS if form == "string" else json.loads(_ARGUMENTS)
    function = {"name": f"{_WORD}name", "arguments": arguments}
    call = {"id": "probe0000", "type": "function", "function": function}
    return {"role": "assistant", "content": content, "tool_calls": [call]}


def _result_message() -> dict[str, Any]:
    return {
        "role": "tool",
        "content": f"{_WORD}result",
        "tool_call_id": "probe0000",
        "name": f"{_WORD}name",
    }


def _join_systems(messages: Sequence[Message]) -> list[Message]:
    systems = [m.content or "" for m in messages if m.role == "system"]
    return [Message("system", "\n\n".join(systems)), *(m for m in messages if m.role != "system")]
