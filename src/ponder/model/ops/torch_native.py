"""model/ops/torch_native: the torch op set whose forward is another op set's kernels, so that training has their bits.

`kernels` is an op set over numpy arrays: `native` with one thread, which any number of threads may call at once.
Most backward passes are its kernels too.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function

from ponder.core.errors import ConfigError
from ponder.model.ops.protocol import GradientOps, Stored, WeightsFormat
from ponder.model.ops.scalar import F32, F64, I32
from ponder.model.ops.torch_ops import TorchLinear, TorchOps
from ponder.model.view import KVFormat, PackedView, View


class PackedLinear(NamedTuple):
    """A linear layer as the kernels want it, and the tensors that gradients flow to."""

    packed: Any
    matrix_EK: Tensor
    """What the kernels multiply by, no gradient."""
    transposed: Any
    """Its transpose, packed, where backward passes multiply bf16 matrices too; else None."""
    parts: tuple[Tensor, ...]
    """The matrices [E_i, K] it was joined from, then the biases [E_i], if any."""
    has_bias: bool


class NativeTorchOps(TorchOps):
    """Satisfies `Ops` with torch tensors on the CPU; what needs no kernel is inherited."""

    def __init__(self, kernels: GradientOps, weights_format: WeightsFormat = "fp32") -> None:
        """`weights_format`: what backward passes may round to."""
        self.kernels = kernels
        self.weights_format: WeightsFormat = weights_format

    @property
    def rounds_gradients(self) -> bool:
        """True where backward passes multiply bf16 matrices."""
        return self.weights_format == "bf16" and self.kernels.multiplies_bf16

    def orthogonalise(
        self, x_NAB: Tensor, quintic: tuple[float, float, float], iterations: int
    ) -> None:
        """`GradientOps.orthogonalise` of each matrix; only where `rounds_gradients`."""
        for x_AB in x_NAB.numpy():
            self.kernels.orthogonalise(x_AB, quintic, iterations)

    def pack(
        self, parts: Sequence[Tensor], biases: Sequence[Tensor], weights_format: WeightsFormat
    ) -> PackedLinear:
        """A layer of these tensors as they are now; pack anew when they change."""
        matrix_EK = torch.cat([part.detach() for part in parts])
        if weights_format == "bf16":
            matrix_EK = matrix_EK.to(torch.bfloat16).to(matrix_EK.dtype)
        bias = torch.cat([b.detach() for b in biases]).numpy() if biases else None
        packed = self.kernels.prepare_linear("", [matrix_EK.numpy()], bias, weights_format)
        transposed = None
        if weights_format == "bf16" and self.kernels.multiplies_bf16:
            matrix_KE = matrix_EK.T.contiguous().numpy()
            transposed = self.kernels.prepare_linear("", [matrix_KE], None, weights_format)
        return PackedLinear(packed, matrix_EK, transposed, (*parts, *biases), bool(biases))

    def prepare_linear(
        self, name: str, parts: Sequence[Stored], bias: Stored | None, weights_format: WeightsFormat
    ) -> Any:
        plain: TorchLinear = super().prepare_linear(name, parts, bias, weights_format)
        return self.pack([plain.matrix], [] if plain.bias is None else [plain.bias], weights_format)

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        return cast(Tensor, _RmsNorm.apply(x, weight, eps, self.kernels))

    def add_norm(
        self, x_TD: Tensor, delta_TD: Tensor | None, weight: Tensor, eps: float
    ) -> tuple[Tensor, Tensor]:
        if delta_TD is None:
            return x_TD, self.rms_norm(x_TD, weight, eps)
        return cast(
            "tuple[Tensor, Tensor]", _AddNorm.apply(x_TD, delta_TD, weight, eps, self.kernels)
        )

    def linear(self, x_TK: Tensor, weight: Any) -> Tensor:
        return cast(Tensor, _Linear.apply(x_TK, weight, self.kernels, *weight.parts))

    def gated_mlp(self, x_TD: Tensor, gate_up: Any, down: Any) -> Tensor:
        if not self.rounds_gradients:
            return super().gated_mlp(x_TD, gate_up, down)
        parts = (*gate_up.parts, *down.parts)
        return cast(Tensor, _GatedMlp.apply(x_TD, gate_up, down, self.kernels, *parts))

    def rope(self, x_THC: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        return cast(Tensor, _Rope.apply(x_THC, *rotation, self.kernels))

    def attend(
        self, q_THC: Tensor, k_TKC: Tensor, v_TKC: Tensor, view: View, layer: int, kv: KVFormat
    ) -> Tensor:
        if not isinstance(view, PackedView):
            raise ConfigError(
                "a paged view in the torch op set", "load the model with ops='native'"
            )
        starts_S1 = np.asarray(view.starts_S1, np.int32)
        rest = PackedView(starts_S1, view.parents_S), kv
        return cast(Tensor, _Attend.apply(q_THC, k_TKC, v_TKC, self.kernels, rest))

    def swiglu(self, gate_up_T2F: Tensor) -> Tensor:
        return cast(Tensor, _SwiGlu.apply(gate_up_T2F, self.kernels))

    def log_softmax(self, logits_NV: Tensor) -> Tensor:
        """Without gradients: training takes `pick`."""
        return torch.from_numpy(self.kernels.log_softmax(_numpy(logits_NV)))

    def pick(self, logits_NV: Tensor, targets_N: Tensor) -> tuple[Tensor, Tensor]:
        return cast("tuple[Tensor, Tensor]", _Pick.apply(logits_NV, targets_N, self.kernels))

    def sample(self, logits_NV: Tensor, inverse_N: F32, at_N: F64) -> tuple[I32, F32]:
        return self.kernels.sample(self.to_numpy(logits_NV), inverse_N, at_N)


class _GatedMlp(Function):
    """What is between the two products is computed again in the backward pass."""

    @staticmethod
    def forward(
        ctx: Any,
        x_TD: Tensor,
        gate_up: PackedLinear,
        down: PackedLinear,
        kernels: GradientOps,
        *parts: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(x_TD)
        ctx.weights, ctx.kernels = (gate_up, down), kernels
        return torch.from_numpy(kernels.gated_mlp(_numpy(x_TD), gate_up.packed, down.packed))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        gate_up, down = cast("tuple[PackedLinear, PackedLinear]", ctx.weights)
        weights = [(each.packed, each.transposed) for each in (gate_up, down)]
        x, dy = _numpy(ctx.saved_tensors[0]), _numpy(gradients[0].contiguous())
        made = ctx.kernels.gated_mlp_gradients(*weights, x, dy)
        dx, *found = [torch.from_numpy(each) for each in made]
        sizes = [[len(part) for part in each.parts] for each in (gate_up, down)]
        return dx, None, None, None, *_split(found[0], sizes[0]), *_split(found[1], sizes[1])


def _numpy(tensor: Tensor) -> Any:
    return tensor.detach().numpy()


class _Linear(Function):
    """y = x·Wᵀ + b; dx = dy·W; dW = dyᵀ·x; db = Σ dy.

    With bf16 weights x, and where the processor multiplies bf16 matrices dy too, are rounded to bf16; the roundings
    have the gradient of the identity.
    """

    @staticmethod
    def forward(
        ctx: Any, x_TK: Tensor, weight: PackedLinear, kernels: GradientOps, *parts: Tensor
    ) -> Tensor:
        ctx.save_for_backward(x_TK)
        ctx.weight, ctx.kernels = weight, kernels
        return torch.from_numpy(kernels.linear(_numpy(x_TK), weight.packed))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (dy_TE,) = gradients
        (x_TK,) = ctx.saved_tensors
        weight: PackedLinear = ctx.weight
        needs_x, _, _, *needs = cast("list[bool]", ctx.needs_input_grad)
        count = len(weight.parts) // 2 if weight.has_bias else len(weight.parts)
        sizes = [len(part) for part in weight.parts[:count]]
        found: list[Tensor | None] = [None, None, None]
        rounds, kernels = weight.transposed is not None, ctx.kernels
        dy, x = _numpy(dy_TE.contiguous()), _numpy(x_TK.contiguous())
        if needs_x and rounds:
            found[0] = torch.from_numpy(kernels.linear(dy, weight.transposed))
        elif needs_x:
            found[0] = dy_TE @ weight.matrix_EK
        if any(needs[:count]):
            dw = torch.from_numpy(kernels.weight_gradient(dy, x)) if rounds else dy_TE.T @ x_TK
            found += _split(dw, sizes)
        else:
            found += [None] * count
        if weight.has_bias:
            found += _split(dy_TE.sum(0), sizes)
        return tuple(found)


def _split(joined: Tensor, sizes: list[int]) -> list[Tensor]:
    ends = list(accumulate(sizes))
    return [joined[end - size : end] for size, end in zip(sizes, ends, strict=True)]


class _RmsNorm(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float, kernels: GradientOps) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.eps, ctx.kernels = eps, kernels
        return torch.from_numpy(kernels.rms_norm(_numpy(x), _numpy(weight), eps))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        return *_norm_gradients(ctx, gradients[0], None), None, None


class _AddNorm(Function):
    """(x + delta, norm of that)."""

    @staticmethod
    def forward(
        ctx: Any, x_TD: Tensor, delta_TD: Tensor, weight: Tensor, eps: float, kernels: GradientOps
    ) -> tuple[Tensor, Tensor]:
        total, y = kernels.add_norm(_numpy(x_TD), _numpy(delta_TD), _numpy(weight), eps)
        total_TD = torch.from_numpy(total)
        ctx.save_for_backward(total_TD, weight)
        ctx.eps, ctx.kernels = eps, kernels
        ctx.set_materialize_grads(False)
        return total_TD, torch.from_numpy(y)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Any, Any, Any, None, None]:
        d_total, dy = gradients
        if dy is None:
            return d_total, d_total, None, None, None
        dx, dw = _norm_gradients(ctx, dy, d_total)
        return dx, dx, dw, None, None


def _norm_gradients(ctx: Any, dy: Tensor, also: Tensor | None) -> tuple[Tensor, Tensor]:
    x, weight = map(_numpy, ctx.saved_tensors)
    more = None if also is None else _numpy(also.contiguous())
    dx, dw = ctx.kernels.norm_gradients(x, weight, ctx.eps, _numpy(dy.contiguous()), more)
    return torch.from_numpy(dx), torch.from_numpy(dw)


class _Rope(Function):
    """A rotation; its gradient is rotated back."""

    @staticmethod
    def forward(
        ctx: Any, x_THC: Tensor, cos_TR: Tensor, sin_TR: Tensor, kernels: GradientOps
    ) -> Tensor:
        ctx.rotation, ctx.kernels = (_numpy(cos_TR), _numpy(sin_TR)), kernels
        return torch.from_numpy(kernels.rope(_numpy(x_THC), ctx.rotation))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        cos_TR, sin_TR = ctx.rotation
        dx = ctx.kernels.rope(_numpy(gradients[0].contiguous()), (cos_TR, -sin_TR))
        return torch.from_numpy(dx), None, None, None


class _SwiGlu(Function):
    """silu(gate)·up."""

    @staticmethod
    def forward(ctx: Any, gate_up_T2F: Tensor, kernels: GradientOps) -> Tensor:
        ctx.save_for_backward(gate_up_T2F)
        ctx.kernels = kernels
        return torch.from_numpy(kernels.swiglu(_numpy(gate_up_T2F)))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gate_up_T2F,) = ctx.saved_tensors
        dy_TF = _numpy(gradients[0].contiguous())
        return torch.from_numpy(ctx.kernels.swiglu_gradients(_numpy(gate_up_T2F), dy_TF)), None


class _Pick(Function):
    """(the targets' log-probabilities, the rows' entropies without gradients)."""

    @staticmethod
    def forward(
        ctx: Any, logits_NV: Tensor, targets_N: Tensor, kernels: GradientOps
    ) -> tuple[Tensor, Tensor]:
        logits, targets = _numpy(logits_NV), targets_N.numpy().astype(np.int32)
        logps, entropies, taken = kernels.pick(logits, targets)
        ctx.save_for_backward(logits_NV)
        ctx.rest, ctx.kernels = (targets, taken), kernels
        entropies_N = torch.from_numpy(entropies)
        ctx.mark_non_differentiable(entropies_N)
        return torch.from_numpy(logps), entropies_N

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (logits_NV,) = ctx.saved_tensors
        dy_N = _numpy(gradients[0].contiguous())
        found = ctx.kernels.pick_gradients(_numpy(logits_NV), *ctx.rest, dy_N)
        return torch.from_numpy(found), None, None


class _Attend(Function):
    """Causal attention; the backward pass computes the weights again."""

    @staticmethod
    def forward(
        ctx: Any,
        q_THC: Tensor,
        k_TKC: Tensor,
        v_TKC: Tensor,
        kernels: GradientOps,
        rest: tuple[PackedView, KVFormat],
    ) -> Tensor:
        q, k, v = _numpy(q_THC), _numpy(k_TKC), _numpy(v_TKC)
        out = torch.from_numpy(kernels.attend(q, k, v, rest[0], 0, rest[1]))
        ctx.save_for_backward(q_THC, k_TKC, v_TKC, out)
        ctx.kernels, ctx.rest = kernels, rest
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        tensors = (*ctx.saved_tensors, gradients[0].contiguous())
        found = ctx.kernels.attend_gradients(*map(_numpy, tensors), *ctx.rest)
        dq, dk, dv = (torch.from_numpy(each) for each in found)
        return dq, dk, dv, None, None
