"""model/transformer: the one definition of the model, free of array libraries; `ops` computes, `view` holds the cache.

Letters: T tokens, D model width, H query heads, K key/value heads, C head size, N rows, V vocabulary.
"""

from __future__ import annotations

from ponder.model.ops.protocol import Array, Ops
from ponder.model.view import View
from ponder.model.weights import LayerWeights, Weights


def forward(ops: Ops, weights: Weights, tokens_T: Array, positions_T: Array, view: View) -> Array:
    """Hidden states after the final norm, hidden_TD; pass the rows you want to `logits`."""
    eps = weights.config.rms_norm_eps
    rotation = ops.rotation(weights.rope, positions_T)
    x_TD = ops.embed(weights.embedding, tokens_T)
    delta_TD = None
    for index, layer in enumerate(weights.layers):
        x_TD, h_TD = ops.add_norm(x_TD, delta_TD, layer.input_norm, eps)
        delta_TD = _attention(ops, weights, layer, h_TD, rotation, view, index)
        x_TD, h_TD = ops.add_norm(x_TD, delta_TD, layer.mlp_norm, eps)
        delta_TD = ops.gated_mlp(h_TD, layer.gate_up, layer.down)
    _, hidden_TD = ops.add_norm(x_TD, delta_TD, weights.final_norm, eps)
    return hidden_TD


def logits(ops: Ops, weights: Weights, hidden_ND: Array) -> Array:
    """Logits of these rows, fp32 [N, V]."""
    return ops.linear(hidden_ND, weights.head)


def _attention(
    ops: Ops,
    weights: Weights,
    layer: LayerWeights,
    h_TD: Array,
    rotation: tuple[Array, Array],
    view: View,
    index: int,
) -> Array:
    config = weights.config
    heads, kv_heads, size = config.num_heads, config.num_kv_heads, config.head_dim
    qkv_TXC = ops.linear(h_TD, layer.qkv).reshape(-1, heads + 2 * kv_heads, size)
    q_THC, k_TKC, v_TKC = ops.split(qkv_TXC, (heads, kv_heads, kv_heads))
    if layer.q_norm is not None:
        q_THC = ops.rms_norm(q_THC, layer.q_norm, config.rms_norm_eps)
        k_TKC = ops.rms_norm(k_TKC, layer.k_norm, config.rms_norm_eps)
    q_THC = ops.rope(q_THC, rotation)
    k_TKC = ops.rope(k_TKC, rotation)
    o_THC = ops.attend(q_THC, k_TKC, v_TKC, view, index, weights.kv_format)
    return ops.linear(o_THC.reshape(-1, heads * size), layer.output)
