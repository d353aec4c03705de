"""model/weights: the tensors of a model by their Hugging Face names, and the same tensors prepared for an op set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ponder.model.config import ModelConfig
from ponder.model.ops.protocol import Array, Ops, Stored, WeightsFormat
from ponder.model.ops.scalar import float32_of
from ponder.model.rope import RopeTable
from ponder.model.view import KVFormat

EMBEDDING = "model.embed_tokens.weight"
FINAL_NORM = "model.norm.weight"
HEAD = "lm_head.weight"


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """One block. Opaque linear layers; q, k, v are one, gate and up are one."""

    input_norm: Array
    qkv: Any
    q_norm: Array | None
    k_norm: Array | None
    output: Any
    mlp_norm: Array
    gate_up: Any
    down: Any


@dataclass(frozen=True, slots=True)
class Weights:
    """A whole model, prepared by one op set."""

    config: ModelConfig
    embedding: Any
    layers: tuple[LayerWeights, ...]
    final_norm: Array
    head: Any
    rope: RopeTable
    kv_format: KVFormat


def tensor_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor a folder of this config must hold, in the order they are used."""
    d, f, c = config.hidden_size, config.intermediate_size, config.head_dim
    q, kv = config.num_heads * c, config.num_kv_heads * c
    shapes: dict[str, tuple[int, ...]] = {EMBEDDING: (config.vocab_size, d)}
    for layer in range(config.num_layers):
        prefix = f"model.layers.{layer}."
        shapes[prefix + "input_layernorm.weight"] = (d,)
        for name, rows in (("q", q), ("k", kv), ("v", kv)):
            shapes[f"{prefix}self_attn.{name}_proj.weight"] = (rows, d)
            if config.attention_bias:
                shapes[f"{prefix}self_attn.{name}_proj.bias"] = (rows,)
        if config.qk_norm:
            shapes[prefix + "self_attn.q_norm.weight"] = (c,)
            shapes[prefix + "self_attn.k_norm.weight"] = (c,)
        shapes[prefix + "self_attn.o_proj.weight"] = (d, q)
        if config.output_bias:
            shapes[prefix + "self_attn.o_proj.bias"] = (d,)
        shapes[prefix + "post_attention_layernorm.weight"] = (d,)
        shapes[prefix + "mlp.gate_proj.weight"] = (f, d)
        shapes[prefix + "mlp.up_proj.weight"] = (f, d)
        shapes[prefix + "mlp.down_proj.weight"] = (d, f)
    shapes[FINAL_NORM] = (d,)
    if not config.tied_head:
        shapes[HEAD] = (config.vocab_size, d)
    return shapes


def prepare_weights(
    ops: Ops, config: ModelConfig, tensor: Callable[[str], Stored], weights_format: WeightsFormat
) -> Weights:
    """Every tensor once through the op set, layer by layer; `tensor` gives the stored one by name."""

    def linear(names: list[str], has_bias: bool) -> Any:
        parts = [tensor(name + ".weight") for name in names]
        bias = join_vectors([tensor(name + ".bias") for name in names]) if has_bias else None
        return ops.prepare_linear(names[0], parts, bias, weights_format)

    def layer_weights(layer: int) -> LayerWeights:
        prefix = f"model.layers.{layer}."
        attention = prefix + "self_attn."

        def vector(name: str) -> Array:
            return ops.prepare_vector(tensor(name))

        return LayerWeights(
            input_norm=vector(prefix + "input_layernorm.weight"),
            qkv=linear([f"{attention}{name}_proj" for name in "qkv"], config.attention_bias),
            q_norm=vector(attention + "q_norm.weight") if config.qk_norm else None,
            k_norm=vector(attention + "k_norm.weight") if config.qk_norm else None,
            output=linear([attention + "o_proj"], config.output_bias),
            mlp_norm=vector(prefix + "post_attention_layernorm.weight"),
            gate_up=linear([prefix + "mlp.gate_proj", prefix + "mlp.up_proj"], False),
            down=linear([prefix + "mlp.down_proj"], False),
        )

    embedding = tensor(EMBEDDING)
    head = embedding if config.tied_head else tensor(HEAD)
    return Weights(
        config=config,
        embedding=ops.prepare_embedding(embedding),
        layers=tuple(layer_weights(layer) for layer in range(config.num_layers)),
        final_norm=ops.prepare_vector(tensor(FINAL_NORM)),
        head=ops.prepare_linear("lm_head", [head], None, weights_format),
        rope=RopeTable(config),
        kv_format=kv_format_of(weights_format),
    )


def kv_format_of(weights_format: WeightsFormat) -> KVFormat:
    """What attention computes with beside such weights."""
    return "bf16" if weights_format == "bf16" else "fp32"


def join_vectors(parts: list[Stored]) -> Stored:
    """Biases of a fused layer as one float32 vector."""
    return np.concatenate([float32_of(part) for part in parts])
