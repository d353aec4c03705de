"""The C++ extension (`native/module.cpp`). Arrays are float32 unless named otherwise; results go to `y` or `out`."""

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from ponder.model.ops.scalar import F32, F64

class Linear:
    @property
    def outputs(self) -> int: ...
    @property
    def columns(self) -> int: ...
    @property
    def nbytes(self) -> int: ...

class Ops:
    def __init__(self, threads: int, kernels: str = "") -> None: ...
    @property
    def kernels(self) -> str: ...
    def pack(self, parts: Sequence[NDArray[Any]], bias: F32 | None, format: int, /) -> Linear: ...
    def linear(self, weight: Linear, x: F32, y: F32, /) -> None: ...
    def gated_mlp(self, gate_up: Linear, down: Linear, x: F32, y: F32, /) -> None: ...
    def gated_mlp_gradients(
        self,
        gate_up: Linear,
        gate_up_t: Linear,
        down: Linear,
        down_t: Linear,
        x: F32,
        dy: F32,
        dx: F32,
        d_gate_up: F32,
        d_down: F32,
        /,
    ) -> None: ...
    def rms_norm(self, x: F32, weight: F32, eps: float, y: F32, dims: int, /) -> None: ...
    def add_norm(
        self, x: F32, delta: F32, weight: F32, eps: float, total: F32, y: F32, /
    ) -> None: ...
    def rope(self, x: F32, cos: F32, sin: F32, y: F32, /) -> None: ...
    def swiglu(self, gate_up: F32, y: F32, /) -> None: ...
    def log_softmax(self, x: F32, y: F32, /) -> None: ...
    def sample(
        self, x: F32, inverse: F32, at: F64, ids: NDArray[Any], logprobs: F32, /
    ) -> None: ...
    def norm_gradients(
        self,
        x: F32,
        weight: F32,
        eps: float,
        dy: F32,
        also: F32 | None,
        dx: F32,
        dw: F32,
        dims: int,
        /,
    ) -> None: ...
    def pick(
        self, logits: F32, targets: NDArray[Any], logps: F32, entropies: F32, taken: F32, /
    ) -> None: ...
    def pick_gradients(
        self, logits: F32, targets: NDArray[Any], taken: F32, dy: F32, dx: F32, /
    ) -> None: ...
    @property
    def has_weight_gradient(self) -> bool: ...
    def weight_gradient(self, dy: F32, x: F32, dw: F32, /) -> None: ...
    def orthogonalise(self, x: F32, a: float, b: float, c: float, iterations: int, /) -> None: ...
    def swiglu_gradients(self, gate_up: F32, dy: F32, d_gate_up: F32, /) -> None: ...
    def attend_gradients(
        self,
        q: F32,
        k: F32,
        v: F32,
        out: F32,
        d_out: F32,
        d_q: F32,
        d_k: F32,
        d_v: F32,
        starts: NDArray[Any],
        parents: NDArray[Any] | None,
        bf16: bool,
        /,
    ) -> None: ...
    def attend_packed(
        self,
        q: F32,
        k: F32,
        v: F32,
        out: F32,
        starts: NDArray[Any],
        parents: NDArray[Any] | None,
        bf16: bool,
        /,
    ) -> None: ...
    def attend_paged(
        self,
        q: F32,
        k: F32,
        v: F32,
        out: F32,
        starts: NDArray[Any],
        lengths: NDArray[Any],
        pages: NDArray[Any],
        pool_keys: NDArray[Any],
        pool_values: NDArray[Any],
        layer: int,
        /,
    ) -> None: ...

def kernel_names() -> list[str]: ...
