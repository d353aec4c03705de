"""Toy models in Hugging Face folders: written by transformers as the independent truth, or by hand to be damaged."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

from ponder.model.config import ModelConfig, parse_model_config
from ponder.model.folder import RandomTensors
from ponder.model.save import save_folder
from ponder.model.weights import tensor_shapes

BASE: dict[str, Any] = {
    "vocab_size": 131,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-6,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": None,
    "initializer_range": 0.2,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


def toy_config(**changes: Any) -> ModelConfig:
    """A config in the shape of BASE, a Qwen2 unless told otherwise."""
    raw = {"architectures": ["Qwen2ForCausalLM"], **BASE, **changes}
    return parse_model_config(raw)


def save_toy(
    folder: Path, config: ModelConfig, seed: int = 0, **options: Any
) -> dict[str, np.ndarray]:
    """A folder of random float32 tensors; returns them."""
    random = RandomTensors(config, seed, "fp32")
    tensors = {name: random.tensor(name) for name in tensor_shapes(config)}
    save_folder(folder, config, tensors, **options)
    return tensors


def read_header(path: Path) -> tuple[dict[str, Any], bytes]:
    """(header object, data) of a safetensors file, with no check."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def write_header(path: Path, header: Any, data: bytes) -> None:
    """A safetensors file of any header, sound or not."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
