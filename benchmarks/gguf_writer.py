"""benchmarks/gguf_writer: a Qwen2-shaped model as a GGUF file, so that llama.cpp can run the same weights.

Used by the llama.cpp parity test and by the side-by-side benchmark. It writes no vocabulary: both feed token ids.
Names and keys follow the GGUF specification and llama.cpp's `qwen2` architecture. Needs the `gguf` package.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np

from ponder.model.config import ModelConfig

_LAYER_NAMES = {
    "input_layernorm.weight": "attn_norm.weight",
    "post_attention_layernorm.weight": "ffn_norm.weight",
    "self_attn.q_proj.weight": "attn_q.weight",
    "self_attn.k_proj.weight": "attn_k.weight",
    "self_attn.v_proj.weight": "attn_v.weight",
    "self_attn.q_proj.bias": "attn_q.bias",
    "self_attn.k_proj.bias": "attn_k.bias",
    "self_attn.v_proj.bias": "attn_v.bias",
    "self_attn.o_proj.weight": "attn_output.weight",
    "mlp.gate_proj.weight": "ffn_gate.weight",
    "mlp.up_proj.weight": "ffn_up.weight",
    "mlp.down_proj.weight": "ffn_down.weight",
}


def write_gguf(
    path: Path, config: ModelConfig, tensor: Callable[[str], np.ndarray], kind: str = "F32"
) -> None:
    """Write `config` and the fp32 arrays that `tensor(hugging_face_name)` gives; `kind`: F32 or Q8_0 matrices."""
    if config.architecture != "qwen2" or config.hidden_size != config.num_heads * config.head_dim:
        raise ValueError(f"only qwen2 shapes with heads * head_dim == hidden, not {config}")
    writer = gguf.GGUFWriter(str(path), "qwen2")
    writer.add_context_length(config.max_positions)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_heads)
    writer.add_head_count_kv(config.num_kv_heads)
    writer.add_rope_freq_base(config.rope.theta)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("no_vocab")
    for source, target in _names(config):
        array = tensor(source).astype(np.float32)
        if kind == "F32" or array.ndim == 1:
            writer.add_tensor(target, array)
        else:
            quantised = gguf.GGMLQuantizationType[kind]
            packed = gguf.quants.quantize(array, quantised)
            writer.add_tensor(target, packed, raw_dtype=quantised)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _names(config: ModelConfig) -> list[tuple[str, str]]:
    """(Hugging Face name, GGUF name) of every tensor."""
    names = [
        ("model.embed_tokens.weight", "token_embd.weight"),
        ("model.norm.weight", "output_norm.weight"),
    ]
    if not config.tied_head:
        names.append(("lm_head.weight", "output.weight"))
    for layer in range(config.num_layers):
        for source, target in _LAYER_NAMES.items():
            names.append((f"model.layers.{layer}.{source}", f"blk.{layer}.{target}"))
    return names
