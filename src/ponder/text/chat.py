"""text/chat: messages → prompt text and ids, through the model folder's own chat template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ponder.core.errors import ModelFolderError, UserError
from ponder.core.types import Message, ThinkingParams, ToolSpec
from ponder.text.dialect import Dialect, tool_dict
from ponder.text.format import ChatFormat
from ponder.text.shield import Shield, control_pattern, encode_pieces
from ponder.text.template import Template
from ponder.text.tokenizer import Tokenizer, read_json

CLOSING_SENTENCE = "\n\nI have thought long enough and answer now.\n"
"""Written in the model's name when its thinking is ended for it (after Qwen3 Technical Report §4), unless the folder's
`tokenizer_config.json` names its own under `closing_sentence`: a small model knows few sentences."""

SPECIAL_NAMES = (
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
)
"""Names under which a template may read special tokens, as in `tokenizer_config.json`."""

_OWN_VARIABLES = frozenset(
    ["messages", "tools", "documents", "add_generation_prompt", *SPECIAL_NAMES]
)


@dataclass(frozen=True, slots=True)
class RenderedPrompt:
    """A prompt ready for the engine, e.g. text ending in `<|im_start|>assistant\\n<think>\\n`."""

    ids: tuple[int, ...]
    text: str
    thinking_open: bool
    """True when the text ends inside a think block, so that the model's first token is already thinking."""


class ChatTemplate:
    """A model folder's chat template with its tokenizer. Safe to share between threads."""

    def __init__(
        self,
        template: str | Mapping[str, str],
        tokenizer: Tokenizer,
        special: Mapping[str, str] | None = None,
        closing_sentence: str = CLOSING_SENTENCE,
    ) -> None:
        """`template`: the source, or several by name (`default`, `tool_use`); `special`: see SPECIAL_NAMES."""
        named = {"default": template} if isinstance(template, str) else dict(template)
        if "default" not in named:
            raise ModelFolderError(
                f"chat templates named {sorted(named)}, none of them 'default'",
                "add a template named 'default'",
            )
        self.tokenizer = tokenizer
        self.closing_sentence = closing_sentence
        self._special = dict(special or {})
        self._templates = {name: Template(source) for name, source in named.items()}
        self.format = ChatFormat.of(tokenizer, "\n".join(named.values()))
        """The family's tags, for `StreamRouter`."""
        self._control = control_pattern([*tokenizer.added, *self.format.tags])
        self._dialects = {
            name: self._dialect(template) for name, template in self._templates.items()
        }

    @classmethod
    def from_folder(cls, path: str | Path, tokenizer: Tokenizer | None = None) -> ChatTemplate:
        """Read `chat_template.jinja`, else the template in `chat_template.json` or `tokenizer_config.json`."""
        folder = Path(path)
        config = read_json(folder / "tokenizer_config.json")
        special = {**read_json(folder / "special_tokens_map.json"), **config}
        closing = config.get("closing_sentence", CLOSING_SENTENCE)
        if not isinstance(closing, str):
            raise ModelFolderError(
                f"closing_sentence in {str(folder / 'tokenizer_config.json')!r} is {closing!r}",
                "give a text, e.g. a newline, or leave the key out",
            )
        return cls(
            _read_templates(folder, config),
            tokenizer or Tokenizer.from_folder(folder),
            {
                name: text
                for name in SPECIAL_NAMES
                if (text := _token_text(special.get(name))) is not None
            },
            closing,
        )

    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[ToolSpec] = (),
        add_generation_prompt: bool = True,
        thinking: bool = True,
        **variables: Any,
    ) -> RenderedPrompt:
        """The prompt as transformers' `apply_chat_template` renders it.

        Control tokens stand only where the template wrote them. With `thinking` false, a template that has no such
        switch gets its open think block closed, empty. Raises PromptError for unusable messages, UserError for what
        the template would drop and for an unknown variable.
        """
        name = "tool_use" if tools and "tool_use" in self._templates else "default"
        template, dialect = self._templates[name], self._dialects[name]
        self._check_variables(template, variables)
        if tools and not dialect.shows_tools:
            raise UserError(
                f"{len(tools)} tools, which this model's chat template silently drops",
                "leave the tools out, or choose a model with tools (QwQ, Qwen3, Qwen2.5)",
            )
        format = self.format
        shield = Shield(self._control)
        text = template.render(
            self._special
            | {"enable_thinking": thinking, "thinking": thinking, "documents": None}
            | variables
            | {
                "messages": dialect.shape(messages, shield),
                "tools": [shield.guard_json(tool_dict(tool)) for tool in tools] or None,
                "add_generation_prompt": add_generation_prompt,
            }
        )
        is_open = text.rfind(format.think_open) > text.rfind(format.think_close)
        if is_open and not thinking and add_generation_prompt:
            text, is_open = f"{text}\n{format.think_close}\n\n", False
        pieces = list(shield.pieces(text))
        ids = encode_pieces(self.tokenizer, pieces)
        return RenderedPrompt(tuple(ids), "".join(piece for piece, _ in pieces), is_open)

    def thinking_params(
        self,
        prompt: RenderedPrompt,
        *,
        thinking: bool = True,
        budget: int | None = None,
        closing_sentence: str | None = None,
    ) -> ThinkingParams | None:
        """The engine's thinking state for this prompt; None for a model without think tags, or with thinking off."""
        if not thinking or self.tokenizer.id_of(self.format.think_close) is None:
            return None
        encode = self.tokenizer.encode
        return ThinkingParams(
            close_ids=tuple(encode(self.format.think_close, allow_special=True)),
            starts_open=prompt.thinking_open,
            open_ids=tuple(encode(self.format.think_open, allow_special=True)),
            budget=budget,
            closing_ids=tuple(
                encode(self.closing_sentence if closing_sentence is None else closing_sentence)
            ),
            answer_open_ids=tuple(encode("\n\n")),
        )

    def _dialect(self, template: Template) -> Dialect:
        def render(
            messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]
        ) -> str:
            values = {
                "messages": list(messages),
                "tools": list(tools) or None,
                "add_generation_prompt": False,
            }
            return template.render(self._special | {"documents": None} | values)

        return Dialect(render, self.format)

    def _check_variables(self, template: Template, variables: Mapping[str, Any]) -> None:
        allowed = template.variables - _OWN_VARIABLES
        for name in variables:
            if name not in allowed:
                raise UserError(
                    f"the template variable {name!r}, which this model's chat template does not read",
                    f"it reads {', '.join(sorted(allowed)) or 'none'}",
                )


def _token_text(value: Any) -> str | None:
    """A special token is a string, or an object with `content`."""
    if isinstance(value, Mapping):
        value = cast(Mapping[str, Any], value).get("content")
    return value if isinstance(value, str) else None


def _read_templates(folder: Path, config: Mapping[str, Any]) -> str | dict[str, str]:
    source = folder / "chat_template.jinja"
    try:
        if source.is_file():
            return source.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelFolderError(
            f"{str(source)!r} cannot be read: {error}", "fetch the model folder again"
        ) from None
    found = read_json(folder / "chat_template.json").get(
        "chat_template", config.get("chat_template")
    )
    if isinstance(found, str):
        return found
    entries = cast(list[Any], found if isinstance(found, list) else [])
    if entries and all(
        isinstance(e, Mapping) and {"name", "template"} <= e.keys() for e in entries
    ):  # pyright: ignore
        return {str(entry["name"]): str(entry["template"]) for entry in entries}
    raise ModelFolderError(
        f"no chat template in {str(folder)!r}",
        "a chat model's folder holds chat_template.jinja, or a chat_template in tokenizer_config.json",
    )
