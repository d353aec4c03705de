"""clients/session: one conversation as token ids that only ever grow; satisfies `core.Session` over a chat template.

    prompt ─ sampled ─ end of turn, results, opening of the next turn ─ sampled ─ …
    rendered           rendered: what the template adds to a turn

What was sampled is never tokenized again. A template that rewrites earlier turns (most drop their thinking) is not
followed in that: the model keeps reading what it wrote, and a training forward over `ids` sees what it saw.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from ponder.core.errors import UserError
from ponder.core.types import (
    FinishReason,
    Message,
    SamplingParams,
    TokenRequest,
    ToolCall,
    ToolSpec,
)
from ponder.text import ChatTemplate, RenderedPrompt, StreamRouter

_ASKED = Message("user", "question")
_NAME = re.compile(r'"name"\s*:\s*"([^"\\]+)"')


class TokenSession:
    """A conversation with a model that has this template."""

    def __init__(
        self,
        template: ChatTemplate,
        messages: Sequence[Message],
        tools: Sequence[ToolSpec] = (),
        *,
        thinking: bool = True,
        thinking_budget: int | None = None,
    ) -> None:
        """Raises as `ChatTemplate.render` does for messages or tools that the template cannot show."""
        self._template = template
        self._has_tools = bool(tools)
        self._thinking = thinking
        self._budget = thinking_budget
        self._prompt = template.render(messages, tools, thinking=thinking)
        self._ids = list(self._prompt.ids)
        self._num_calls = 0

    @property
    def ids(self) -> tuple[int, ...]:
        return tuple(self._ids)

    def request(self, sampling: SamplingParams) -> TokenRequest:
        """The next turn; its thinking starts as the template opened it."""
        state = self._template.thinking_params(
            self._prompt, thinking=self._thinking, budget=self._budget
        )
        return TokenRequest(tuple(self._ids), sampling, state)

    def receive(self, token_ids: Sequence[int], finish: FinishReason) -> Message:
        """Append a turn. A malformed call is a call too, with its body as arguments, so that the model can be told."""
        self._ids += token_ids
        router = StreamRouter(
            self._template.format,
            self._prompt.thinking_open,
            token_bytes=self._template.tokenizer.token_bytes,
            tools=self._has_tools,
        )
        router.feed(token_ids)
        router.finish(finish)
        message = router.message()
        if self._has_tools and not message.tool_calls and finish == "stop":
            message = self._with_malformed(message)
        calls = tuple(
            replace(call, id=f"call_{self._num_calls + index}")
            for index, call in enumerate(message.tool_calls)
        )
        self._num_calls += len(calls)
        return replace(message, tool_calls=calls)

    def extend(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Append messages and the opening of the next turn, as the template writes them after a finished turn.

        Raises UserError for a template that cannot show them.
        """
        added = self._added(messages)
        self._prompt = added
        ids = added.ids[1:] if added.ids and added.ids[0] == self._ids[-1] else added.ids
        self._ids += ids
        return ids

    def _added(self, messages: Sequence[Message]) -> RenderedPrompt:
        """What the template writes from the end mark of the model's turn on, found on a conversation of its own.

        The mark is found by counting the template's marks, for a template may rewrite earlier turns; where it ends
        the turn without one (V3 after a call), the later rendering must go on from the earlier.
        """
        calls = _calls(messages)
        said = Message("assistant", None if calls else "answer", tool_calls=calls)
        asked = self._marks(self._render([_ASKED], opens=True).ids)
        before = self._render([_ASKED, said], opens=False).ids
        after = self._render([_ASKED, said, *messages], opens=True)
        marks, found = self._marks(before), self._marks(after.ids)
        if len(asked) < len(marks) <= len(found):
            start = found[len(marks) - 1]
            if after.ids[start] == before[marks[-1]]:
                return replace(after, ids=after.ids[start:])
        elif len(asked) == len(marks) and after.ids[: len(before)] == before:
            return replace(after, ids=after.ids[len(before) :])
        raise UserError(
            "a conversation that goes on, which this model's chat template does not write turn by turn",
            "ask one question at a time, or choose another model",
        )

    def _render(self, messages: Sequence[Message], *, opens: bool) -> RenderedPrompt:
        return self._template.render(messages, add_generation_prompt=opens, thinking=self._thinking)

    def _marks(self, ids: Sequence[int]) -> list[int]:
        """Where the template's own marks stand (`<|im_end|>` and the like); texts never hold such an id."""
        silent = self._template.format.silent_ids
        return [index for index, token_id in enumerate(ids) if token_id in silent]

    def _with_malformed(self, message: Message) -> Message:
        syntax, content = self._template.format.tools, message.content or ""
        if syntax is None or syntax.open not in content:
            return message
        text, _, rest = content.partition(syntax.open)
        body = rest.partition(syntax.close)[0].strip()
        named = _NAME.search(body)
        call = ToolCall("", named.group(1) if named else "", body)
        return replace(message, content=text.strip("\n") or None, tool_calls=(call,))


def _calls(results: Sequence[Message]) -> tuple[ToolCall, ...]:
    """Calls that the results could belong to; only their shape matters."""
    asked = [message for message in results if message.role == "tool"]
    return tuple(
        ToolCall(message.tool_call_id or f"call_{index}", message.name or "tool", "{}")
        for index, message in enumerate(asked)
    )
