"""model/ops/native: the op set in C++ (`native/`): the same bits as `reference`, save for fp32 `linear`.

Each verb allocates its result and hands plain arrays to the extension, which checks dtype, shape and strides.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ponder.model.config import ModelConfig
from ponder.model.ops import _native, scalar
from ponder.model.ops.protocol import Stored, WeightsFormat
from ponder.model.ops.scalar import F32, F64, I32
from ponder.model.rope import RopeTable
from ponder.model.view import KVFormat, KVPool, PackedView, PagedView, View

_FORMATS: dict[WeightsFormat, int] = {"fp32": 0, "bf16": 1, "int8": 2, "int4": 3}

_empty = np.empty
_f32 = np.dtype(np.float32)


def kernel_names() -> list[str]:
    """Instruction sets that were compiled in and run on this processor, best first."""
    return _native.kernel_names()


class NativeOps:
    """Every verb on a pool of `threads` threads; `kernels` names an instruction set, else the best one is taken."""

    name = "native"

    def __init__(self, threads: int = 1, kernels: str = "") -> None:
        self._ops = _native.Ops(threads, kernels)

    @property
    def kernels(self) -> str:
        """The instruction set in use: avx512, avx2, neon_dot, neon or portable."""
        return self._ops.kernels

    def prepare_linear(
        self, name: str, parts: Sequence[Stored], bias: Stored | None, weights_format: WeightsFormat
    ) -> _native.Linear:
        del name
        rows = [_packable(part) for part in parts]
        bias_E = None if bias is None else scalar.float32_of(bias)
        return self._ops.pack(rows, bias_E, _FORMATS[weights_format])

    def prepare_embedding(self, stored: Stored) -> Stored:
        return stored

    def prepare_vector(self, stored: Stored) -> F32:
        return scalar.float32_of(stored)

    def embed(self, embedding: Stored, tokens_T: NDArray[np.int32]) -> F32:
        return scalar.float32_of(embedding[tokens_T])

    def rms_norm(self, x: F32, weight: F32, eps: float) -> F32:
        y = _empty(x.shape, _f32)
        self._ops.rms_norm(x, weight, eps, y, x.ndim)
        return y

    def add_norm(self, x_TD: F32, delta_TD: F32 | None, weight: F32, eps: float) -> tuple[F32, F32]:
        y = _empty(x_TD.shape, _f32)
        if delta_TD is None:
            self._ops.rms_norm(x_TD, weight, eps, y, 2)
            return x_TD, y
        total = _empty(x_TD.shape, _f32)
        self._ops.add_norm(x_TD, delta_TD, weight, eps, total, y)
        return total, y

    def linear(self, x_TK: F32, weight: _native.Linear) -> F32:
        y = _empty((len(x_TK), weight.outputs), _f32)
        self._ops.linear(weight, x_TK, y)
        return y

    def gated_mlp(self, x_TD: F32, gate_up: _native.Linear, down: _native.Linear) -> F32:
        y = _empty(x_TD.shape, _f32)
        self._ops.gated_mlp(gate_up, down, x_TD, y)
        return y

    def split(self, x_TXC: F32, sizes: tuple[int, ...]) -> tuple[F32, ...]:
        return scalar.split(x_TXC, sizes)

    def rotation(self, table: RopeTable, positions_T: NDArray[np.int32]) -> tuple[F32, F32]:
        return table.rows(positions_T)

    def rope(self, x_THC: F32, rotation: tuple[F32, F32]) -> F32:
        y = _empty(x_THC.shape, _f32)
        self._ops.rope(x_THC, rotation[0], rotation[1], y)
        return y

    def attend(
        self, q_THC: F32, k_TKC: F32, v_TKC: F32, view: View, layer: int, kv: KVFormat
    ) -> F32:
        out = _empty(q_THC.shape, _f32)
        if isinstance(view, PagedView):
            pool, starts, lengths = view.pool, view.starts_S1, view.lengths_S
            self._ops.attend_paged(
                q_THC, k_TKC, v_TKC, out, starts, lengths, view.pages_SP,
                pool.keys, pool.values, layer,
            )  # fmt: skip
        else:
            starts, parents = view.starts_S1, _parents(view)
            self._ops.attend_packed(q_THC, k_TKC, v_TKC, out, starts, parents, kv == "bf16")
        return out

    def attend_gradients(
        self,
        q_THC: F32,
        k_TKC: F32,
        v_TKC: F32,
        out_THC: F32,
        d_out_THC: F32,
        view: PackedView,
        kv: KVFormat,
    ) -> tuple[F32, F32, F32]:
        dq, dk, dv = (_empty(x.shape, _f32) for x in (q_THC, k_TKC, v_TKC))
        self._ops.attend_gradients(
            q_THC, k_TKC, v_TKC, out_THC, d_out_THC, dq, dk, dv, view.starts_S1, _parents(view),
            kv == "bf16",
        )  # fmt: skip
        return dq, dk, dv

    def norm_gradients(
        self, x: F32, weight: F32, eps: float, dy: F32, also: F32 | None
    ) -> tuple[F32, F32]:
        dx, dw = _empty(x.shape, _f32), _empty(weight.shape, _f32)
        self._ops.norm_gradients(x, weight, eps, dy, also, dx, dw, x.ndim)
        return dx, dw

    def pick(self, logits_NV: F32, targets_N: NDArray[np.int32]) -> tuple[F32, F32, F32]:
        logps, entropies, taken = (_empty(len(logits_NV), _f32) for _ in range(3))
        self._ops.pick(logits_NV, targets_N, logps, entropies, taken)
        return logps, entropies, taken

    def pick_gradients(
        self, logits_NV: F32, targets_N: NDArray[np.int32], taken_N: F32, dy_N: F32
    ) -> F32:
        found = _empty(logits_NV.shape, _f32)
        self._ops.pick_gradients(logits_NV, targets_N, taken_N, dy_N, found)
        return found

    @property
    def multiplies_bf16(self) -> bool:
        """True where the processor multiplies bf16 matrices, so that `weight_gradient` exists."""
        return self._ops.has_weight_gradient

    def weight_gradient(self, dy_TE: F32, x_TK: F32) -> F32:
        found = _empty((dy_TE.shape[1], x_TK.shape[1]), _f32)
        self._ops.weight_gradient(dy_TE, x_TK, found)
        return found

    def orthogonalise(
        self, x_AB: F32, quintic: tuple[float, float, float], iterations: int
    ) -> None:
        self._ops.orthogonalise(x_AB, *quintic, iterations)

    def gated_mlp_gradients(
        self,
        gate_up: tuple[_native.Linear, _native.Linear],
        down: tuple[_native.Linear, _native.Linear],
        x_TD: F32,
        dy_TD: F32,
    ) -> tuple[F32, F32, F32]:
        dx = _empty(x_TD.shape, _f32)
        d_gate_up, d_down = (_empty((w.outputs, w.columns), _f32) for w, _ in (gate_up, down))
        self._ops.gated_mlp_gradients(*gate_up, *down, x_TD, dy_TD, dx, d_gate_up, d_down)
        return dx, d_gate_up, d_down

    def swiglu_gradients(self, gate_up_T2F: F32, dy_TF: F32) -> F32:
        found = _empty(gate_up_T2F.shape, _f32)
        self._ops.swiglu_gradients(gate_up_T2F, dy_TF, found)
        return found

    def swiglu(self, gate_up_T2F: F32) -> F32:
        rows, width = gate_up_T2F.shape
        y = _empty((rows, width // 2), _f32)
        self._ops.swiglu(gate_up_T2F, y)
        return y

    def log_softmax(self, logits_NV: F32) -> F32:
        y = _empty(logits_NV.shape, _f32)
        self._ops.log_softmax(logits_NV, y)
        return y

    def sample(self, logits_NV: F32, inverse_N: F32, at_N: F64) -> tuple[I32, F32]:
        rows = len(logits_NV)
        ids_N, logprobs_N = _empty(rows, np.int32), _empty(rows, _f32)
        self._ops.sample(logits_NV, inverse_N, at_N, ids_N, logprobs_N)
        return ids_N, logprobs_N

    def new_pool(self, config: ModelConfig, num_pages: int, page_len: int, kv: KVFormat) -> KVPool:
        shape = (config.num_layers, num_pages, config.num_kv_heads, page_len)
        units, dtype = ((1, 1), _f32) if kv == "fp32" else ((32, 16), np.uint16)
        widths = (-(-config.head_dim // unit) * unit for unit in units)
        keys, values = (_pages((*shape, width), dtype) for width in widths)
        return KVPool(keys, values, num_pages, page_len)

    def from_numpy(self, array: NDArray[np.generic]) -> NDArray[np.generic]:
        return array

    def to_numpy(self, array: Any) -> F32:
        return array


def _parents(view: PackedView) -> I32 | None:
    return np.array(view.parents_S, np.int32) if view.parents_S else None


def _pages(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """Zeros that take memory when they are first written, in huge pages where the system has them."""
    memory = mmap.mmap(-1, math.prod(shape) * np.dtype(dtype).itemsize)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(memory, dtype).reshape(shape)


def _packable(stored: Stored) -> Stored:
    """float32, or the uint16 bits of bfloat16, as the extension reads them."""
    if stored.dtype == np.uint16:
        return np.ascontiguousarray(stored)
    return np.ascontiguousarray(stored, np.float32)
