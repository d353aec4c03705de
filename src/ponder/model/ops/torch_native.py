"""model/ops/torch_native: the torch op set whose forward is another op set's kernels, so that training has their bits.

`kernels` is an op set over numpy arrays: `native` with one thread, which any number of threads may call at once.
Backward passes are torch, by exact formulas; they compute in the dtype they are given.

Letters: T rows, S sequences, Q query rows and L keys of the longest, K key/value heads, G query heads that share one.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional

from ponder.core.errors import ConfigError
from ponder.model.config import ModelConfig
from ponder.model.ops.protocol import Ops, Stored, WeightsFormat
from ponder.model.ops.torch_blocks import Block, blocks_of, key_rows
from ponder.model.ops.torch_ops import TorchOps
from ponder.model.rope import RopeTable
from ponder.model.view import KVPool, PackedView, PagedView, View

_QUERY_ROWS = 256
"""Query rows whose weights the backward pass of attention holds at a time."""


class PackedLinear(NamedTuple):
    """A linear layer as the kernels want it, and the tensors that gradients flow to."""

    packed: Any
    matrix_EK: Tensor
    """What the kernels multiply by, no gradient."""
    parts: tuple[Tensor, ...]
    """The matrices [E_i, K] it was joined from, then the biases [E_i], if any."""
    has_bias: bool


class NativeTorchOps:
    """Satisfies `Ops` with torch tensors on the CPU; what needs no kernel is `TorchOps`."""

    name = "torch"

    def __init__(self, kernels: Ops) -> None:
        self.kernels = kernels
        self._plain = TorchOps()

    def pack(
        self, parts: Sequence[Tensor], biases: Sequence[Tensor], weights_format: WeightsFormat
    ) -> PackedLinear:
        """A layer of these tensors as they are now; pack anew when they change."""
        matrix_EK = torch.cat([part.detach() for part in parts])
        if weights_format == "bf16":
            matrix_EK = matrix_EK.to(torch.bfloat16).to(matrix_EK.dtype)
        bias = torch.cat([b.detach() for b in biases]).numpy() if biases else None
        packed = self.kernels.prepare_linear("", [matrix_EK.numpy()], bias, weights_format)
        return PackedLinear(packed, matrix_EK, (*parts, *biases), bool(biases))

    def prepare_linear(
        self, name: str, parts: Sequence[Stored], bias: Stored | None, weights_format: WeightsFormat
    ) -> PackedLinear:
        plain = self._plain.prepare_linear(name, parts, bias, weights_format)
        return self.pack([plain.matrix], [] if plain.bias is None else [plain.bias], weights_format)

    def prepare_embedding(self, stored: Stored) -> Tensor:
        return self._plain.prepare_embedding(stored)

    def prepare_vector(self, stored: Stored) -> Tensor:
        return self._plain.prepare_vector(stored)

    def embed(self, embedding: Tensor, tokens_T: Tensor) -> Tensor:
        return self._plain.embed(embedding, tokens_T)

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

    def linear(self, x_TK: Tensor, weight: PackedLinear) -> Tensor:
        return cast(Tensor, _Linear.apply(x_TK, weight, self.kernels, *weight.parts))

    def rotation(self, table: RopeTable, positions_T: Tensor) -> tuple[Tensor, Tensor]:
        return self._plain.rotation(table, positions_T)

    def rope(self, x_THC: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        return cast(Tensor, _Rope.apply(x_THC, *rotation, self.kernels))

    def attend(
        self, q_THC: Tensor, k_TKC: Tensor, v_TKC: Tensor, view: View, layer: int, scale: float
    ) -> Tensor:
        if not isinstance(view, PackedView):
            raise ConfigError(
                "a paged view in the torch op set", "load the model with ops='native'"
            )
        return cast(Tensor, _Attend.apply(q_THC, k_TKC, v_TKC, view, scale, self.kernels))

    def swiglu(self, gate_up_T2F: Tensor) -> Tensor:
        return cast(Tensor, _SwiGlu.apply(gate_up_T2F, self.kernels))

    def log_softmax(self, logits_NV: Tensor) -> Tensor:
        return cast(Tensor, _LogSoftmax.apply(logits_NV, self.kernels))

    def new_pool(self, config: ModelConfig, num_pages: int, page_len: int) -> KVPool:
        return self._plain.new_pool(config, num_pages, page_len)

    def from_numpy(self, array: NDArray[np.generic]) -> Tensor:
        return self._plain.from_numpy(array)

    def to_numpy(self, array: Tensor) -> NDArray[np.float32]:
        return self._plain.to_numpy(array)


def _numpy(tensor: Tensor) -> Any:
    return tensor.detach().numpy()


class _Linear(Function):
    """y = x·Wᵀ + b; dx = dy·W; dW = dyᵀ·x; db = Σ dy."""

    @staticmethod
    def forward(
        ctx: Any, x_TK: Tensor, weight: PackedLinear, kernels: Ops, *parts: Tensor
    ) -> Tensor:
        ctx.save_for_backward(x_TK)
        ctx.weight = weight
        return torch.from_numpy(kernels.linear(_numpy(x_TK), weight.packed))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (dy_TE,) = gradients
        (x_TK,) = ctx.saved_tensors
        weight: PackedLinear = ctx.weight
        needs_x, _, _, *needs = cast("list[bool]", ctx.needs_input_grad)
        count = len(weight.parts) // 2 if weight.has_bias else len(weight.parts)
        sizes = [len(part) for part in weight.parts[:count]]
        found: list[Tensor | None] = [dy_TE @ weight.matrix_EK if needs_x else None, None, None]
        if any(needs[:count]):
            found += _split(dy_TE.T @ x_TK, sizes)
        else:
            found += [None] * count
        if weight.has_bias:
            found += _split(dy_TE.sum(0), sizes)
        return tuple(found)


def _split(joined: Tensor, sizes: list[int]) -> list[Tensor]:
    ends = list(accumulate(sizes))
    return [joined[end - size : end] for size, end in zip(sizes, ends, strict=True)]


def _norm_gradients(x: Tensor, weight: Tensor, eps: float, dy: Tensor) -> tuple[Tensor, Tensor]:
    """With r = 1/√(mean x² + eps) and n = x·r: dx = r·(dy·w − n·mean(dy·w·n)), dw = Σ dy·n."""
    size = x.shape[-1]
    r = torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)
    n = x * r
    dyn = dy * n
    mean = (dyn @ weight).unsqueeze(-1) / size
    dx = (dy * weight).sub_(n.mul_(mean)).mul_(r)
    return dx, dyn.reshape(-1, size).sum(0)


class _RmsNorm(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float, kernels: Ops) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.eps = eps
        return torch.from_numpy(kernels.rms_norm(_numpy(x), _numpy(weight), eps))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        x, weight = ctx.saved_tensors
        dx, dw = _norm_gradients(x, weight, ctx.eps, gradients[0])
        return dx, dw, None, None


class _AddNorm(Function):
    """(x + delta, norm of that)."""

    @staticmethod
    def forward(
        ctx: Any, x_TD: Tensor, delta_TD: Tensor, weight: Tensor, eps: float, kernels: Ops
    ) -> tuple[Tensor, Tensor]:
        total, y = kernels.add_norm(_numpy(x_TD), _numpy(delta_TD), _numpy(weight), eps)
        total_TD = torch.from_numpy(total)
        ctx.save_for_backward(total_TD, weight)
        ctx.eps = eps
        ctx.set_materialize_grads(False)
        return total_TD, torch.from_numpy(y)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Any, Any, Any, None, None]:
        d_total, dy = gradients
        if dy is None:
            return d_total, d_total, None, None, None
        total_TD, weight = ctx.saved_tensors
        dx, dw = _norm_gradients(total_TD, weight, ctx.eps, dy)
        if d_total is not None:
            dx += d_total
        return dx, dx, dw, None, None


class _Rope(Function):
    """A rotation; its gradient is rotated back."""

    @staticmethod
    def forward(ctx: Any, x_THC: Tensor, cos_TR: Tensor, sin_TR: Tensor, kernels: Ops) -> Tensor:
        ctx.rotation, ctx.kernels = (_numpy(cos_TR), _numpy(sin_TR)), kernels
        return torch.from_numpy(kernels.rope(_numpy(x_THC), ctx.rotation))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        cos_TR, sin_TR = ctx.rotation
        dx = ctx.kernels.rope(_numpy(gradients[0].contiguous()), (cos_TR, -sin_TR))
        return torch.from_numpy(dx), None, None, None


class _SwiGlu(Function):
    """silu(gate)·up; d gate = dy·up·silu′(gate), d up = dy·silu(gate)."""

    @staticmethod
    def forward(ctx: Any, gate_up_T2F: Tensor, kernels: Ops) -> Tensor:
        ctx.save_for_backward(gate_up_T2F)
        return torch.from_numpy(kernels.swiglu(_numpy(gate_up_T2F)))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (dy_TF,) = gradients
        (gate_up_T2F,) = ctx.saved_tensors
        gate_TF, up_TF = gate_up_T2F.chunk(2, -1)
        found = torch.empty_like(gate_up_T2F)
        d_gate_TF, d_up_TF = found.chunk(2, -1)
        torch.mul(functional.silu(gate_TF), dy_TF, out=d_up_TF)
        torch.ops.aten.silu_backward.grad_input(dy_TF * up_TF, gate_TF, grad_input=d_gate_TF)
        return found, None


class _LogSoftmax(Function):
    """dx = dy − softmax·Σ dy."""

    @staticmethod
    def forward(ctx: Any, logits_NV: Tensor, kernels: Ops) -> Tensor:
        logprobs_NV = torch.from_numpy(kernels.log_softmax(_numpy(logits_NV)))
        ctx.save_for_backward(logprobs_NV)
        return logprobs_NV

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (logprobs_NV,) = ctx.saved_tensors
        total = gradients[0].sum(-1, keepdim=True)
        return logprobs_NV.exp().mul_(-total).add_(gradients[0]), None


class _Attend(Function):
    """Causal attention; the backward pass computes the weights again, a block of query rows at a time."""

    @staticmethod
    def forward(
        ctx: Any,
        q_THC: Tensor,
        k_TKC: Tensor,
        v_TKC: Tensor,
        view: PackedView,
        scale: float,
        kernels: Ops,
    ) -> Tensor:
        q, k, v = _numpy(q_THC), _numpy(k_TKC), _numpy(v_TKC)
        starts = np.asarray(view.starts_S1, np.int32)
        through = _through_pages(k, view, starts) if view.parents_S else PackedView(starts)
        out = torch.from_numpy(kernels.attend(q, k, v, through, 0, scale))
        ctx.save_for_backward(q_THC, k_TKC, v_TKC, out)
        ctx.view, ctx.scale = view, scale
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None, None]:
        q_THC, k_TKC, v_TKC, out_THC = ctx.saved_tensors
        do_THC = gradients[0]
        shared_TH = (do_THC * out_THC).sum(-1)
        dq, dk, dv = torch.empty_like(q_THC), torch.zeros_like(k_TKC), torch.zeros_like(v_TKC)
        for block in blocks_of(ctx.view):
            _block_gradients(
                block, ctx.scale, (q_THC, k_TKC, v_TKC, do_THC, shared_TH), (dq, dk, dv)
            )
        return dq, dk, dv, None, None, None


def _through_pages(k_TKC: Any, view: PackedView, starts_S1: NDArray[np.int32]) -> PagedView:
    """The same sequences over a pool of one row a page, where those of one parent list the same pages."""
    rows_SL = key_rows(starts_S1, view.parents_S)
    pages_SP = np.full((len(rows_SL), max(map(len, rows_SL))), -1, np.int32)
    for s, rows in enumerate(rows_SL):
        pages_SP[s, : len(rows)] = rows
    lengths_S = np.array([len(rows) for rows in rows_SL], np.int32) - np.diff(starts_S1)
    rows, heads, size = k_TKC.shape
    keys, values = (np.empty((1, rows, heads, 1, size), k_TKC.dtype) for _ in range(2))
    pool = KVPool(keys, values, rows, 1)
    return PagedView(pool, starts_S1, lengths_S.astype(np.int32), pages_SP)


def _block_gradients(
    block: Block,
    scale: float,
    given: tuple[Tensor, Tensor, Tensor, Tensor, Tensor],
    into: tuple[Tensor, Tensor, Tensor],
) -> None:
    """Adds one block's gradients of q, k and v.

    With P = softmax(scale·q·kᵀ) and o = P·v: dv = Pᵀ·do;  dS = P∘(do·vᵀ − Σ do∘o);  dq = scale·dS·k;  dk = scale·dSᵀ·q.
    """
    q_THC, k_TKC, v_TKC, do_THC, shared_TH = given
    dq_THC, dk_TKC, dv_TKC = into
    (num_sequences, longest), num_keys = block.query_SQ.shape, block.key_SL.shape[1]
    kv_heads, size = k_TKC.shape[1:]
    group = q_THC.shape[1] // kv_heads

    def by_head(x: Tensor, rows: Tensor) -> Tensor:
        """[S·K, rows, C] of keys or values."""
        picked = x.index_select(0, rows.view(-1)).view(num_sequences, -1, kv_heads, size)
        return picked.transpose(1, 2).reshape(num_sequences * kv_heads, -1, size)

    def by_group(x: Tensor, rows: Tensor, width: int) -> Tensor:
        """[S·K, G·rows, width] of queries."""
        picked = x.index_select(0, rows.reshape(-1)).view(num_sequences, -1, kv_heads, group, width)
        return picked.permute(0, 2, 3, 1, 4).reshape(num_sequences * kv_heads, -1, width)

    k, v = by_head(k_TKC, block.key_SL), by_head(v_TKC, block.key_SL)
    dk, dv = torch.zeros_like(k), torch.zeros_like(v)
    for first in range(0, longest, _QUERY_ROWS):
        last = min(longest, first + _QUERY_ROWS)
        seen = min(num_keys, block.longest_parent + last)
        rows_SQ, real = block.query_SQ[:, first:last], block.real_SQ[:, first:last]
        q = by_group(q_THC, rows_SQ, size)
        do = by_group(do_THC, rows_SQ, size)
        shared = by_group(shared_TH.unsqueeze(-1), rows_SQ, 1)
        hidden = block.hidden(first, last, seen)
        shape = (num_sequences, kv_heads, group, last - first, seen)
        scores = torch.bmm(q, k[:, :seen].mT).mul_(scale)
        scores.view(shape).masked_fill_(hidden, -torch.inf)
        weights = torch.softmax(scores, -1)
        if not block.is_full:  # rows that fill up hold another row's values: their share is 0
            empty = ~real[:, None, None, :, None].expand(*shape[:4], 1)
            weights.view(shape).masked_fill_(empty, 0.0)
        dv[:, :seen].baddbmm_(weights.mT, do)
        ds = torch.bmm(do, v[:, :seen].mT).sub_(shared).mul_(weights)
        dk[:, :seen].baddbmm_(ds.mT, q, alpha=scale)
        dq = torch.bmm(ds, k[:, :seen]).mul_(scale)
        dq = dq.view(num_sequences, kv_heads, group, last - first, size).permute(0, 3, 1, 2, 4)
        dq = dq.reshape(num_sequences, last - first, kv_heads * group, size)
        dq_THC[rows_SQ[real]] = dq[real]
    for total, found in ((dk_TKC, dk), (dv_TKC, dv)):
        found = found.view(num_sequences, kv_heads, num_keys, size).transpose(1, 2)
        total.index_add_(0, block.key_SL.view(-1), found.reshape(-1, kv_heads, size))
