"""model/ops/protocol: the verbs an op set offers; everything numerical in the transformer goes through them.

Letters as in `core.types`, and: E outputs of a linear layer, R = C / 2 rotation angles, N rows whose logits are wanted.

What holds for every op set:

- Activations are float32. Arrays given to a verb have a contiguous last axis; other axes may be strided (q, k and v are
  slices of one fused projection). Verbs return new arrays, `attend` also writes the pool, and no input is changed.
- A row of a result depends on that row of the input alone (`attend`: on the sequence's own rows and slots), to the bit:
  not on the other rows, their number, the layout of pages, or threads.
- `scalar.py` and `int8.py` are the definitions of sums, exp, norms, attention and the int8 format. `reference` follows
  them literally; `native` gives the same bits, save for `linear` with fp32 weights, whose order of sums is the op set's
  own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ponder.model.config import ModelConfig
from ponder.model.ops.scalar import F32, F64, I32
from ponder.model.rope import RopeTable
from ponder.model.view import KVFormat, KVPool, PackedView, View

Array = Any
"""An array of the op set: numpy for `reference` and `native`, torch for `torch`."""

Stored = NDArray[Any]
"""A tensor as the folder holds it: float32, float16, or uint16 for the bits of bfloat16. Often memory-mapped."""

WeightsFormat = Literal["fp32", "bf16", "int8", "int4"]
"""How the matrices of linear layers are held; norms and biases are always fp32, an embedding stays as stored."""


class Ops(Protocol):
    """One set of kernels. Weight objects are opaque: only the op set that prepared one can use it."""

    @property
    def name(self) -> str: ...

    def prepare_linear(
        self, name: str, parts: Sequence[Stored], bias: Stored | None, weights_format: WeightsFormat
    ) -> Any:
        """A linear layer from matrices [E_i, K] stacked along E in the order given (q, k, v; gate, up), bias [E].

        fp32 holds the exact value of what is stored; bf16 rounds it, and inputs, to nearest even; int8 and int4
        quantise the fp32 value as `int8.py` and `int4.py` say. `name` is for error messages.
        """
        ...

    def prepare_embedding(self, stored: Stored) -> Any:
        """An embedding matrix [V, D], kept as stored."""
        ...

    def prepare_vector(self, stored: Stored) -> Array:
        """A norm's weight, as float32."""
        ...

    def embed(self, embedding: Any, tokens_T: Array) -> Array:
        """Rows of the embedding, x_TD."""
        ...

    def rms_norm(self, x: Array, weight: Array, eps: float) -> Array:
        """x / sqrt(mean of squares over the last axis + eps) · weight; x is [T, D] or, for q and k, [T, H, C]."""
        ...

    def add_norm(
        self, x_TD: Array, delta_TD: Array | None, weight: Array, eps: float
    ) -> tuple[Array, Array]:
        """(x + delta, rms_norm of that); with delta None (x, rms_norm of x)."""
        ...

    def linear(self, x_TK: Array, weight: Any) -> Array:
        """x · Wᵀ + bias, float32 [T, E]."""
        ...

    def gated_mlp(self, x_TD: Array, gate_up: Any, down: Any) -> Array:
        """swiglu(x · gate_upᵀ) · downᵀ, with the bits of the three verbs."""
        ...

    def split(self, x_TXC: Array, sizes: tuple[int, ...]) -> tuple[Array, ...]:
        """Views of x cut along its second axis."""
        ...

    def rotation(self, table: RopeTable, positions_T: Array) -> tuple[Array, Array]:
        """(cos_TR, sin_TR), the table's float32 rows at these positions; made once a step, used by every layer."""
        ...

    def rope(self, x_THC: Array, rotation: tuple[Array, Array]) -> Array:
        """Half-split rotation: first half a·cos − b·sin, second half b·cos + a·sin."""
        ...

    def attend(
        self, q_THC: Array, k_TKC: Array, v_TKC: Array, view: View, layer: int, kv: KVFormat
    ) -> Array:
        """Causal attention o_THC, scores / √C; for a `PagedView` k and v are first written to the pool's pages.

        Query head h reads key/value head h // (H / K). With bf16 the factors of both products are rounded to it.
        """
        ...

    def swiglu(self, gate_up_T2F: Array) -> Array:
        """silu(gate) · up, [T, F]; gate is the first half of the last axis."""
        ...

    def log_softmax(self, logits_NV: Array) -> Array:
        """Log-probabilities, float32, shape of the input."""
        ...

    def sample(self, logits_NV: Array, inverse_N: F32, at_N: F64) -> tuple[I32, F32]:
        """(ids_N, logprobs_N): one id a row by `scalar.draw`, and the log-probability that `log_softmax` has for it.

        A log-probability is NaN, and the id of no use, where a row holds a NaN or no finite maximum.
        """
        ...

    def new_pool(self, config: ModelConfig, num_pages: int, page_len: int, kv: KVFormat) -> KVPool:
        """An empty pool, all zeros."""
        ...

    def from_numpy(self, array: NDArray[np.generic]) -> Array:
        """An index array (tokens, positions, offsets, page table) as this op set's own kind."""
        ...

    def to_numpy(self, array: Array) -> NDArray[np.float32]:
        """A result (hidden states, logits, log-probabilities) as a numpy array."""
        ...


class GradientOps(Ops, Protocol):
    """An op set over numpy arrays with backward passes; their bits are no contract."""

    def attend_gradients(
        self,
        q_THC: Array,
        k_TKC: Array,
        v_TKC: Array,
        out_THC: Array,
        d_out_THC: Array,
        view: PackedView,
        kv: KVFormat,
    ) -> tuple[Array, Array, Array]:
        """Gradients of q, k and v from that of `attend`'s result `out`; a sequence's parent stands before it.

        With bf16 the factors of products may be rounded to it.
        """
        ...

    def norm_gradients(
        self, x: Array, weight: Array, eps: float, dy: Array, also: Array | None
    ) -> tuple[Array, Array]:
        """Gradients of x and weight from that of `rms_norm`'s result; `also` is added to the first."""
        ...

    def pick(self, logits_NV: Array, targets_N: Array) -> tuple[Array, Array, Array]:
        """Each row's log-probability of its target (the bits of `log_softmax`), its entropy, and its log-sum-exp."""
        ...

    def pick_gradients(
        self, logits_NV: Array, targets_N: Array, taken_N: Array, dy_N: Array
    ) -> Array:
        """Gradient of the logits from that of the log-probabilities; `taken` are the log-sum-exps of `pick`."""
        ...

    @property
    def multiplies_bf16(self) -> bool:
        """True where products of bf16 matrices are so fast that backward passes take them for bf16 weights."""
        ...

    def weight_gradient(self, dy_TE: Array, x_TK: Array) -> Array:
        """dyᵀ·x [E, K], both rounded to bf16 and added in fp32; only where `multiplies_bf16`."""
        ...

    def orthogonalise(
        self, x_AB: Array, quintic: tuple[float, float, float], iterations: int
    ) -> None:
        """x / ‖x‖, A ≥ B, then so often a·x + b·x·G + c·x·G·G with G = xᵀx, in place; only where `multiplies_bf16`."""
        ...

    def gated_mlp_gradients(
        self, gate_up: tuple[Any, Any], down: tuple[Any, Any], x_TD: Array, dy_TD: Array
    ) -> tuple[Array, Array, Array]:
        """Gradients of x and of both weights, each given with its transpose; only where `multiplies_bf16`."""
        ...

    def swiglu_gradients(self, gate_up_T2F: Array, dy_TF: Array) -> Array:
        """Gradient of `gate_up` from that of `swiglu`'s result."""
        ...
