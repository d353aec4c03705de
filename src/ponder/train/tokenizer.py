"""train/tokenizer: trains a byte-level BPE tokenizer on documents and writes its files. Needs no torch.

A digit or an operator is a token of its own (a space may stand before an operator), letters merge only inside a word
with the space before it, and nothing merges across a newline: numbers then look the same wherever they stand.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from ponder.core.errors import ConfigError
from ponder.runs.folder import write_atomically
from ponder.runs.progress import ProgressLine
from ponder.train.config import Recipe, TokenizerRecipe
from ponder.train.documents import DocumentStream

CUTS = r"\n| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]|\s"
"""Each match is cut off before merging starts."""

END_OF_TEXT, TURN_OPEN, TURN_CLOSE = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
SPECIAL = (
    *(END_OF_TEXT, TURN_OPEN, TURN_CLOSE, "<think>", "</think>", "<tool_call>", "</tool_call>"),
    *("<tool_response>", "</tool_response>", "[BACK]"),
)
"""Added tokens, ids 0 upwards. The first three are marks that never show; the others are text to a reader."""

CHAT_TEMPLATE = """\
{%- set ns = namespace(last_user=-1) %}
{%- for message in messages %}
{%- if message.role == 'user' %}{% set ns.last_user = loop.index0 %}{% endif %}
{%- endfor %}
{%- if tools %}
{{- '<|im_start|>system\\n' }}
{%- if messages[0].role == 'system' %}{{- (messages[0].content or '') + '\\n\\n' }}{% endif %}
{{- 'Tools:' }}
{%- for tool in tools %}
{%- set tool = tool.function if tool.function is defined else tool %}
{{- '\\n' + tool.name + '(' }}
{%- for key in (tool.parameters or {}).properties or {} %}{{- key if loop.first else ', ' + key }}{% endfor %}
{{- '): ' + (tool.description or '') }}
{%- endfor %}
{{- '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
{%- if message.role == 'tool' %}
{%- if loop.first or loop.previtem.role != 'tool' %}{{- '<|im_start|>user' }}{% endif %}
{{- '\\n<tool_response>' + (message.content or '') + '</tool_response>' }}
{%- if loop.last or loop.nextitem.role != 'tool' %}{{- '<|im_end|>\\n' }}{% endif %}
{%- elif not (tools and loop.first and message.role == 'system') %}
{{- '<|im_start|>' + message.role + '\\n' }}
{%- if message.role == 'assistant' and loop.index0 > ns.last_user %}
{{- '<think>\\n' + (message.reasoning_content or '') + '\\n</think>\\n\\n' }}
{%- endif %}
{{- message.content or '' }}
{%- for call in message.tool_calls or [] %}
{%- set call = call.function if call.function is defined else call %}
{%- if message.content or not loop.first %}{{- '\\n' }}{% endif %}
{{- '<tool_call>{"name": ' + call.name | tojson + ', "arguments": ' }}
{{- (call.arguments if call.arguments is string else call.arguments | tojson) + '}</tool_call>' }}
{%- endfor %}
{{- '<|im_end|>\\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n<think>\\n' }}
{%- if enable_thinking is defined and not enable_thinking %}
{{- '\\n</think>\\n\\n' }}
{%- endif %}
{%- endif %}
"""
"""ChatML turns with QwQ's thinking tags; earlier answers stand without their thinking.

Tools are one line each in the system turn, calls are JSON in Hermes tags, results come in a user turn as Qwen's do.
"""


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> tokenizers.Tokenizer:
    """A byte-level BPE tokenizer of at most `vocab_size` tokens, all 256 bytes and `SPECIAL` among them."""
    backend: Any = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(tokenizers.Regex(CUTS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    marks = SPECIAL[:3]
    trainer: Any = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[
            tokenizers.AddedToken(text, special=text in marks, normalized=False) for text in SPECIAL
        ],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    return backend


def save_tokenizer(backend: tokenizers.Tokenizer, folder: Path, max_positions: int) -> None:
    """Writes tokenizer.json, tokenizer_config.json, chat_template.jinja and generation_config.json."""
    data = json.loads(backend.to_str())
    for entry in data["added_tokens"]:
        entry["special"] = entry["content"] in SPECIAL[:3]
    added = {
        str(entry["id"]): {key: value for key, value in entry.items() if key != "id"}
        for entry in data["added_tokens"]
    }
    config = {
        "added_tokens_decoder": added,
        "bos_token": None,
        "clean_up_tokenization_spaces": False,
        "closing_sentence": "\n",
        "eos_token": TURN_CLOSE,
        "model_max_length": max_positions,
        "pad_token": END_OF_TEXT,
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": None,
    }
    generation = {
        "eos_token_id": [SPECIAL.index(TURN_CLOSE), SPECIAL.index(END_OF_TEXT)],
        "pad_token_id": SPECIAL.index(END_OF_TEXT),
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "tokenizer.json", json.dumps(data, ensure_ascii=False, indent=1))
    write_atomically(folder / "tokenizer_config.json", json.dumps(config, indent=2) + "\n")
    write_atomically(folder / "generation_config.json", json.dumps(generation, indent=2) + "\n")
    write_atomically(folder / "chat_template.jinja", CHAT_TEMPLATE)


def run(
    recipe: Recipe,
    run_dir: Path | None,
    resume: bool,
    from_step: int | None,
    say: Callable[[str], None],
    line: ProgressLine | None = None,
) -> Path:
    """The tokenizer stage; its folder. It takes seconds, so there is nothing to resume and no progress to show."""
    stage = recipe.stage
    assert isinstance(stage, TokenizerRecipe), stage
    if resume:
        raise ConfigError("a tokenizer cannot be resumed", "run its recipe again without --resume")
    if run_dir is not None:
        raise ConfigError(
            f"--run-dir {run_dir} for a tokenizer", "its folder is the recipe's stage.output"
        )
    stream = DocumentStream(stage.documents, None, stage.seed)
    backend = train_tokenizer(stream.texts(stage.count), stage.vocab_size)
    save_tokenizer(backend, stage.output, stage.max_positions)
    size = backend.get_vocab_size()
    say(f"tokenizer: {size} tokens from {stage.count} documents in {stage.output}")
    return stage.output
