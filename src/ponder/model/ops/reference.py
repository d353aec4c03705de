"""model/ops/reference: the op set in plain numpy. The definition, the oracle of tests, the way without a compiler."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ponder.model.config import ModelConfig
from ponder.model.ops import attention, int4, int8, scalar
from ponder.model.ops.protocol import Stored, WeightsFormat
from ponder.model.ops.scalar import F32, F64, I32
from ponder.model.rope import RopeTable
from ponder.model.view import KVFormat, KVPool, View


@dataclass(frozen=True, slots=True)
class FloatLinear:
    """fp32 weights."""

    weight_EK: F32
    bias_E: F32 | None


@dataclass(frozen=True, slots=True)
class Bf16Linear:
    """bf16 weights, transposed, as the float32 numbers they stand for."""

    weight_KE: F32
    bias_E: F32 | None


@dataclass(frozen=True, slots=True)
class IntegerLinear:
    """Quantised as `int8.py` or `int4.py` says; the integers are held as float32, in which BLAS adds them exactly."""

    weight_GKE: F32
    scales_GE: F32
    bias_E: F32 | None


ReferenceLinear = FloatLinear | Bf16Linear | IntegerLinear


def _integers(q_EGK: NDArray[Any], scales_EG: F32, bias_E: F32 | None) -> IntegerLinear:
    weight_GKE = np.ascontiguousarray(q_EGK.transpose(1, 2, 0)).astype(np.float32)
    return IntegerLinear(weight_GKE, np.ascontiguousarray(scales_EG.T), bias_E)


class ReferenceOps:
    """Every verb as `scalar.py` and `int8.py` define it; fp32 `linear` is one BLAS matrix-vector product a row."""

    name = "reference"

    def __init__(self, threads: int = 1) -> None:
        del threads  # numpy's own pool computes; no result depends on it

    def prepare_linear(
        self, name: str, parts: Sequence[Stored], bias: Stored | None, weights_format: WeightsFormat
    ) -> ReferenceLinear:
        del name
        bias_E = None if bias is None else scalar.float32_of(bias)
        if weights_format == "int8":
            quantised = [int8.quantise(scalar.float32_of(part)) for part in parts]
            q_EGK = np.concatenate([q for q, _ in quantised])
            return _integers(q_EGK, np.concatenate([scales for _, scales in quantised]), bias_E)
        weight_EK = np.concatenate([scalar.float32_of(part) for part in parts])
        if weights_format == "int4":
            codes = int4.quantise(weight_EK)
            return _integers(codes.numbers(), codes.scales_NB, bias_E)
        if weights_format == "bf16":
            return Bf16Linear(np.ascontiguousarray(scalar.rounded(weight_EK).T), bias_E)
        return FloatLinear(weight_EK, bias_E)

    def prepare_embedding(self, stored: Stored) -> Stored:
        return stored

    def prepare_vector(self, stored: Stored) -> F32:
        return scalar.float32_of(stored)

    def embed(self, embedding: Stored, tokens_T: NDArray[np.int32]) -> F32:
        return scalar.float32_of(embedding[tokens_T])

    def rms_norm(self, x: F32, weight: F32, eps: float) -> F32:
        return scalar.rms_norm(x, weight, eps)

    def add_norm(self, x_TD: F32, delta_TD: F32 | None, weight: F32, eps: float) -> tuple[F32, F32]:
        total = x_TD if delta_TD is None else x_TD + delta_TD
        return total, scalar.rms_norm(total, weight, eps)

    def linear(self, x_TK: F32, weight: ReferenceLinear) -> F32:
        if isinstance(weight, IntegerLinear):
            return int8.linear(x_TK, weight.weight_GKE, weight.scales_GE, weight.bias_E)
        if isinstance(weight, Bf16Linear):
            return scalar.bf16_linear(scalar.rounded(x_TK), weight.weight_KE, weight.bias_E)
        y = np.empty((len(x_TK), len(weight.weight_EK)), np.float32)
        for row, x_K in enumerate(
            np.ascontiguousarray(x_TK)
        ):  # a matrix product's bits would depend on T
            np.dot(weight.weight_EK, x_K, out=y[row])
        return y if weight.bias_E is None else y + weight.bias_E

    def gated_mlp(self, x_TD: F32, gate_up: ReferenceLinear, down: ReferenceLinear) -> F32:
        return self.linear(self.swiglu(self.linear(x_TD, gate_up)), down)

    def split(self, x_TXC: F32, sizes: tuple[int, ...]) -> tuple[F32, ...]:
        return scalar.split(x_TXC, sizes)

    def rotation(self, table: RopeTable, positions_T: NDArray[np.int32]) -> tuple[F32, F32]:
        return table.rows(positions_T)

    def rope(self, x_THC: F32, rotation: tuple[F32, F32]) -> F32:
        cos, sin = rotation[0][:, None], rotation[1][:, None]
        half = x_THC.shape[-1] // 2
        a, b = x_THC[..., :half], x_THC[..., half:]
        out = np.empty(x_THC.shape, np.float32)
        out[..., :half] = a * cos - b * sin
        out[..., half:] = b * cos + a * sin
        return out

    def attend(
        self, q_THC: F32, k_TKC: F32, v_TKC: F32, view: View, layer: int, kv: KVFormat
    ) -> F32:
        return attention.attend(q_THC, k_TKC, v_TKC, view, layer, kv)

    def swiglu(self, gate_up_T2F: F32) -> F32:
        half = gate_up_T2F.shape[-1] // 2
        gate_TF, up_TF = gate_up_T2F[..., :half], gate_up_T2F[..., half:]
        return scalar.silu(gate_TF) * up_TF

    def log_softmax(self, logits_NV: F32) -> F32:
        return scalar.log_softmax(logits_NV)

    def sample(self, logits_NV: F32, inverse_N: F32, at_N: F64) -> tuple[I32, F32]:
        return sample(logits_NV, self.log_softmax(logits_NV), inverse_N, at_N)

    def new_pool(self, config: ModelConfig, num_pages: int, page_len: int, kv: KVFormat) -> KVPool:
        del kv  # numbers that were rounded are held as float32
        shape = (config.num_layers, num_pages, config.num_kv_heads, page_len, config.head_dim)
        return KVPool(np.zeros(shape, np.float32), np.zeros(shape, np.float32), num_pages, page_len)

    def from_numpy(self, array: NDArray[np.generic]) -> NDArray[np.generic]:
        return array

    def to_numpy(self, array: Any) -> F32:
        return array


def sample(logits_NV: F32, logprobs_NV: F32, inverse_N: F32, at_N: F64) -> tuple[I32, F32]:
    """The verb, of rows whose log-probabilities are known."""
    ids_N = np.zeros(len(logits_NV), np.int32)
    sound = np.flatnonzero(np.isfinite(logprobs_NV.max(axis=1)))
    ids_N[sound] = scalar.draw(logits_NV[sound], inverse_N[sound], at_N[sound])
    logprobs_N = logprobs_NV[np.arange(len(ids_N)), ids_N]
    return ids_N, logprobs_N
