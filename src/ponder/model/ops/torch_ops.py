"""model/ops/torch_ops: the torch op set: the same verbs with autograd, for training; fp32 on the CPU.

Limit: matrix products are the library's, so bits may depend on the number of rows; values agree with `reference` to
about 1e-5. Of the views it knows `PackedView`; the engine's pages belong to `reference` and `native`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ponder.core.errors import ConfigError
from ponder.model.config import ModelConfig
from ponder.model.ops import reference
from ponder.model.ops.protocol import Stored, WeightsFormat
from ponder.model.ops.scalar import F32, F64, I32, float32_of
from ponder.model.rope import RopeTable
from ponder.model.view import KVFormat, KVPool, PackedView, View


class TorchLinear(NamedTuple):
    """A linear layer: matrix [E, K] and bias [E]; either may carry gradients."""

    matrix: Tensor
    bias: Tensor | None = None
    rounds: bool = False
    """Matrix and input are rounded to bf16; gradients pass through the rounding."""


class TorchOps:
    """Satisfies `Ops` with torch tensors."""

    name = "torch"

    def prepare_linear(
        self, name: str, parts: Sequence[Stored], bias: Stored | None, weights_format: WeightsFormat
    ) -> Any:
        """A `TorchLinear`, the weight that `linear` takes."""
        if weights_format not in ("fp32", "bf16"):
            raise ConfigError(
                f"{weights_format} weights for {name!r} in the torch op set",
                "allowed are 'fp32' and 'bf16'; whole numbers are for inference with 'native'",
            )
        matrix = torch.cat([self.prepare_vector(part) for part in parts])
        bias_E = None if bias is None else self.prepare_vector(bias)
        return TorchLinear(matrix, bias_E, weights_format == "bf16")

    def prepare_embedding(self, stored: Stored) -> Tensor:
        return self.prepare_vector(stored)

    def prepare_vector(self, stored: Stored) -> Tensor:
        return torch.from_numpy(np.array(float32_of(stored)))

    def embed(self, embedding: Tensor, tokens_T: Tensor) -> Tensor:
        return functional.embedding(tokens_T, embedding)

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        return functional.rms_norm(x, (x.shape[-1],), weight, eps)

    def add_norm(
        self, x_TD: Tensor, delta_TD: Tensor | None, weight: Tensor, eps: float
    ) -> tuple[Tensor, Tensor]:
        total_TD = x_TD if delta_TD is None else x_TD + delta_TD
        return total_TD, self.rms_norm(total_TD, weight, eps)

    def linear(self, x_TK: Tensor, weight: Any) -> Tensor:
        matrix, bias, rounds = cast(TorchLinear, weight)
        if rounds:
            x_TK, matrix = (x.to(torch.bfloat16).to(x.dtype) for x in (x_TK, matrix))
        return functional.linear(x_TK, matrix, bias)

    def gated_mlp(self, x_TD: Tensor, gate_up: Any, down: Any) -> Tensor:
        return self.linear(self.swiglu(self.linear(x_TD, gate_up)), down)

    def split(self, x_TXC: Tensor, sizes: tuple[int, ...]) -> tuple[Tensor, ...]:
        return torch.split(x_TXC, list(sizes), 1)

    def rotation(self, table: RopeTable, positions_T: Tensor) -> tuple[Tensor, Tensor]:
        cos_TR, sin_TR = table.rows(positions_T.numpy())
        return torch.from_numpy(cos_TR), torch.from_numpy(sin_TR)

    def rope(self, x_THC: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        cos_T1R, sin_T1R = rotation[0].unsqueeze(1), rotation[1].unsqueeze(1)
        half = x_THC.shape[-1] // 2
        a, b = x_THC[..., :half], x_THC[..., half:]
        return torch.cat([a * cos_T1R - b * sin_T1R, b * cos_T1R + a * sin_T1R], -1)

    def attend(
        self, q_THC: Tensor, k_TKC: Tensor, v_TKC: Tensor, view: View, layer: int, kv: KVFormat
    ) -> Tensor:
        if not isinstance(view, PackedView):
            raise ConfigError(
                "a paged view in the torch op set", "load the model with ops='native'"
            )
        spans = list(pairwise(view.starts_S1.tolist()))
        group, found = q_THC.shape[1] // k_TKC.shape[1], list[Tensor]()
        for s, (first, last) in enumerate(spans):
            parent = view.parents_S[s] if view.parents_S else -1
            before = slice(*spans[parent]) if parent >= 0 else slice(0)
            k, v = (
                torch.cat([x[before], x[first:last]]).transpose(0, 1).repeat_interleave(group, 0)
                for x in (k_TKC, v_TKC)
            )
            seen = torch.ones(last - first, k.shape[1], dtype=torch.bool)
            seen = seen.tril(k.shape[1] - (last - first))
            q = q_THC[first:last].transpose(0, 1)
            o = functional.scaled_dot_product_attention(q[None], k[None], v[None], seen)
            found.append(o[0].transpose(0, 1))
        return torch.cat(found)

    def swiglu(self, gate_up_T2F: Tensor) -> Tensor:
        half = gate_up_T2F.shape[-1] // 2
        return functional.silu(gate_up_T2F[..., :half]) * gate_up_T2F[..., half:]

    def log_softmax(self, logits_NV: Tensor) -> Tensor:
        return functional.log_softmax(logits_NV, -1)

    def pick(self, logits_NV: Tensor, targets_N: Tensor) -> tuple[Tensor, Tensor]:
        """(each target's log-probability, each row's entropy without gradients)."""
        return cast("tuple[Tensor, Tensor]", _Picked.apply(logits_NV, targets_N))

    def sample(self, logits_NV: Tensor, inverse_N: F32, at_N: F64) -> tuple[I32, F32]:
        return reference.sample(
            self.to_numpy(logits_NV), self.to_numpy(self.log_softmax(logits_NV)), inverse_N, at_N
        )

    def new_pool(self, config: ModelConfig, num_pages: int, page_len: int, kv: KVFormat) -> KVPool:
        raise ConfigError("a paged cache in the torch op set", "load the model with ops='native'")

    def from_numpy(self, array: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array))

    def to_numpy(self, array: Tensor) -> NDArray[np.float32]:
        return array.detach().numpy()


class _Picked(torch.autograd.Function):
    """The targets' log-probabilities p and the entropy of each row; d logits = dy·(onehot − softmax)."""

    @staticmethod
    def forward(ctx: Any, logits_NV: Tensor, targets_N: Tensor) -> tuple[Tensor, Tensor]:
        logprobs_NV = functional.log_softmax(logits_NV.detach(), -1)
        picked_N = logprobs_NV.gather(1, targets_N[:, None])[:, 0]
        shares_NV = logprobs_NV.exp()
        entropies_N = logprobs_NV.mul_(shares_NV).sum(1).neg_()
        ctx.save_for_backward(shares_NV, targets_N)
        ctx.mark_non_differentiable(entropies_N)
        return picked_N, entropies_N

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        dy_N1 = gradients[0][:, None]
        shares_NV, targets_N = ctx.saved_tensors
        return (shares_NV * -dy_N1).scatter_add_(1, targets_N[:, None], dy_N1), None
