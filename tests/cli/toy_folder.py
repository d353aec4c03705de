"""A model folder in Hugging Face layout with random weights: Qwen2 block, QwQ's tags, bytes as tokens."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

from ponder.model.config import ModelConfig, RopeConfig
from ponder.model.save import save_folder
from ponder.model.weights import tensor_shapes

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TAGS = ("<think>", "</think>", "<tool_call>", "</tool_call>")
END_ID = 258

TEMPLATE = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n<think>\\n' }}{%- endif %}"
)

CONFIG = ModelConfig(
    architecture="qwen2",
    hidden_size=32,
    num_layers=2,
    num_heads=2,
    num_kv_heads=1,
    head_dim=16,
    intermediate_size=48,
    vocab_size=272,
    rms_norm_eps=1e-6,
    rope=RopeConfig(),
    tied_head=True,
    attention_bias=True,
    qk_norm=False,
    max_positions=512,
    end_ids=(END_ID,),
)


def write_toy(folder: Path, seed: int = 0, max_positions: int = CONFIG.max_positions) -> Path:
    """Write the folder and return it. Greedy decoding is what its generation_config.json asks for."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({char: i for i, char in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens([AddedToken(text, special=True) for text in SPECIAL])
    tokenizer.add_tokens([AddedToken(text, special=False) for text in TAGS])
    rng = np.random.default_rng(seed)
    tensors = {
        name: np.ones(shape, np.float32)
        if name.endswith("norm.weight")
        else rng.standard_normal(shape, np.float32) * np.float32(0.2)
        for name, shape in tensor_shapes(CONFIG).items()
    }
    texts = {
        "tokenizer.json": tokenizer.to_str(),
        "tokenizer_config.json": json.dumps({"eos_token": "<|im_end|>"}),
        "chat_template.jinja": TEMPLATE,
    }
    config = replace(CONFIG, max_positions=max_positions)
    save_folder(folder, config, tensors, {name: text.encode() for name, text in texts.items()})
    return folder
