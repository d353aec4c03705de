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
    @property
    def has_weight_gradient(self) -> bool: ...
    def weight_gradient(self, dy: object, x: object, dw: object) -> None: ...
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
        scale: float,
        /,
    ) -> None: ...
    def attend_packed(
        self, q: F32, k: F32, v: F32, out: F32, starts: NDArray[Any], scale: float, /
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
        pool_keys: F32,
        pool_values: F32,
        layer: int,
        scale: float,
        /,
    ) -> None: ...

def kernel_names() -> list[str]: ...
