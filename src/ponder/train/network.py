"""train/network: the model as an `nn.Module` tree with Hugging Face names; its forward is `model.transformer`'s."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol, cast, get_args

import torch
from torch import Tensor, nn
from torch.autograd import Function

from ponder.core.errors import ConfigError
from ponder.model import transformer
from ponder.model.config import ModelConfig
from ponder.model.ops import make_ops, native_available
from ponder.model.ops.protocol import GradientOps, WeightsFormat
from ponder.model.ops.torch_native import NativeTorchOps, PackedLinear
from ponder.model.ops.torch_ops import TorchLinear, TorchOps
from ponder.model.rope import RopeTable
from ponder.model.view import PackedView, View
from ponder.model.weights import (
    EMBEDDING,
    FINAL_NORM,
    HEAD,
    LayerWeights,
    Weights,
    kv_format_of,
    tensor_shapes,
)
from ponder.train.optimizer import Polynomial, by_torch
from ponder.train.restricted import NEVER

Kernels = Literal["native", "torch"]
"""Whose forward: the compiled op set's, with the bits of the engine's rollouts, or torch's own."""

Score = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Logits of some rows and their numbers among the N → (what has gradients, what has none), one number a row."""

HELD_NUMBERS = 1 << 23
"""Logits held at a time: 32 MiB in fp32."""


class Change(Protocol):
    """What `lora` puts on a network: some of its matrices are used changed."""

    parameters: dict[str, nn.Parameter]
    """What is trained in place of the network's own."""
    frozen: str
    """What tells these weights and this change from others that the same parameters would fit."""

    def parts(self, name: str) -> tuple[Tensor, ...]:
        """The tensors that this one's change is made from; empty: it is used as it is."""
        ...

    def merge(self, name: str, base: Tensor) -> Tensor:
        """The tensor to use in place of `base`."""
        ...


class Network(nn.Module):
    """Parameters of one model, fp32; `state_dict` has exactly the names of a model folder.

    A network made float64 by `double()` computes by torch whatever `kernels` says.
    """

    def __init__(
        self,
        config: ModelConfig,
        seed: int = 0,
        kernels: Kernels = "torch",
        weights_format: WeightsFormat = "fp32",
    ) -> None:
        """`weights_format` is that of the rollouts: with bf16, linear layers round their matrices and inputs.

        Raises UserError where the native op set is not built, ConfigError for a name or format it cannot train in.
        """
        super().__init__()
        _check(kernels, weights_format)
        self.config = config
        self._plain = TorchOps()
        self._native = NativeTorchOps(_kernels(), weights_format) if kernels == "native" else None
        self._weights_format: WeightsFormat = weights_format
        self._packed: dict[str, tuple[Any, PackedLinear]] = {}
        self._merged: dict[str, tuple[Any, Tensor]] = {}
        self.change: Change | None = None
        """Adapters, once they are put on."""
        self._rope = RopeTable(config)
        generator = torch.Generator().manual_seed(seed)
        for name, shape in tensor_shapes(config).items():
            parameter = nn.Parameter(_initial(name, shape, config, generator))
            _attach(self, name, parameter)
        self._tensors = _Parameters(self)

    @property
    def ops(self) -> NativeTorchOps | TorchOps:
        """The op set of the forward."""
        is_float = self._tensors[EMBEDDING].dtype == torch.float32
        return self._native if self._native is not None and is_float else self._plain

    @property
    def polynomial(self) -> Polynomial:
        """What Muon computes with: the kernels' bf16 where the backward pass does, else torch."""
        if isinstance(self.ops, NativeTorchOps) and self.ops.rounds_gradients:
            return self.ops.orthogonalise
        return by_torch

    def trained(self) -> dict[str, nn.Parameter]:
        """What an optimizer moves and a checkpoint holds, by name: every weight, or the adapters' alone."""
        return dict(self.named_parameters() if self.change is None else self.change.parameters)

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor as the forward uses it, by its name in a model folder, no gradients: what the engine takes."""
        return {name: self._value(name) for name in self._tensors}

    def prepared(self) -> Weights:
        """The parameters as the op set wants them, joined so that gradients flow."""
        return Weights(
            config=self.config,
            embedding=self._tensors[EMBEDDING],
            layers=tuple(self._layer(index) for index in range(self.config.num_layers)),
            final_norm=self._tensors[FINAL_NORM],
            head=self._joined([EMBEDDING if self.config.tied_head else HEAD], []),
            rope=self._rope,
            kv_format=kv_format_of(self._weights_format),
        )

    def _layer(self, index: int) -> LayerWeights:
        prefix = f"model.layers.{index}."
        get = self._tensors.get

        def linear(*names: str) -> Any:
            biases = [f"{prefix}{name}.bias" for name in names]
            weights = [f"{prefix}{name}.weight" for name in names]
            return self._joined(weights, [name for name in biases if name in self._tensors])

        attention = "self_attn."
        return LayerWeights(
            input_norm=self._tensors[prefix + "input_layernorm.weight"],
            qkv=linear(*(f"{attention}{name}_proj" for name in "qkv")),
            q_norm=get(f"{prefix}{attention}q_norm.weight"),
            k_norm=get(f"{prefix}{attention}k_norm.weight"),
            output=linear(attention + "o_proj"),
            mlp_norm=self._tensors[prefix + "post_attention_layernorm.weight"],
            gate_up=linear("mlp.gate_proj", "mlp.up_proj"),
            down=linear("mlp.down_proj"),
        )

    def _joined(self, names: list[str], bias_names: list[str]) -> Any:
        """A linear layer of these matrices; a packed one is kept until one of its tensors changes."""
        parts: list[Tensor] = [self._used(name) for name in names]
        biases: list[Tensor] = [self._tensors[name] for name in bias_names]
        ops = self.ops
        if not isinstance(ops, NativeTorchOps):
            rounds = self._weights_format == "bf16" and parts[0].dtype == torch.float32
            return TorchLinear(torch.cat(parts), torch.cat(biases) if biases else None, rounds)
        version = tuple(self._stamp(name) for name in (*names, *bias_names))
        kept = self._packed.get(names[0])
        if kept is None or kept[0] != version:
            values = [self._value(name) for name in names]
            kept = (version, ops.pack(values, biases, self._weights_format))
            self._packed[names[0]] = kept
        return kept[1]._replace(parts=(*parts, *biases))

    def _stamp(self, name: str) -> tuple[Any, ...]:
        """Another one after every change of the tensor by an operation in place."""
        change = self.change.parts(name) if self.change is not None else ()
        return tuple((each.data_ptr(), each._version) for each in (self._tensors[name], *change))

    def _used(self, name: str) -> Tensor:
        base = self._tensors[name]
        if self.change is None or not self.change.parts(name):
            return base
        return self.change.merge(name, base)

    def _value(self, name: str) -> Tensor:
        """The tensor as it is used, without gradients: computed once, so that all see the same bits."""
        if self.change is None or not self.change.parts(name):
            return self._tensors[name].detach()
        version, kept = self._stamp(name), self._merged.get(name)
        if kept is None or kept[0] != version:
            with torch.no_grad():
                kept = (version, self.change.merge(name, self._tensors[name]))
            self._merged[name] = kept
        return kept[1]

    def forward(self, tokens_T: Tensor, positions_T: Tensor, view: View, rows_N: Tensor) -> Tensor:
        """Logits of the rows wanted, [N, V]."""
        weights = self.prepared()
        hidden_TD = transformer.forward(self.ops, weights, tokens_T, positions_T, view)
        return transformer.logits(self.ops, weights, hidden_TD[rows_N])


def token_logprobs(
    network: Network,
    tokens_T: Tensor,
    positions_T: Tensor,
    view: PackedView,
    rows_N: Tensor,
    targets_N: Tensor,
    held_numbers: int = HELD_NUMBERS,
    banned_NV: tuple[Tensor, Sequence[int]] | None = None,
) -> tuple[Tensor, Tensor]:
    """(log-probability of target n after row n, with gradients; entropy there, without), both [N].

    `banned_NV`: rows, as truth values [N], and the ids that have no share of the distribution there.
    With `kernels="native"` and the weights of the rollout they have the bits that the engine recorded, however the
    sequences are packed or share rows. For `held_numbers` see `scored`.
    """

    def score(logits_NV: Tensor, index_N: Tensor) -> tuple[Tensor, Tensor]:
        if banned_NV is not None:
            rows = banned_NV[0][index_N].nonzero()
            # Their share is 0, so they get no gradient either.
            logits_NV.data[rows, torch.tensor(banned_NV[1])] = NEVER
        return network.ops.pick(logits_NV, targets_N[index_N])

    return scored(network, tokens_T, positions_T, view, rows_N, score, held_numbers)


def scored(
    network: Network,
    tokens_T: Tensor,
    positions_T: Tensor,
    view: PackedView,
    rows_N: Tensor,
    score: Score,
    held_numbers: int = HELD_NUMBERS,
) -> tuple[Tensor, Tensor]:
    """What `score` makes of the logits of these rows: (with gradients, without), both [N].

    At most `held_numbers` logits are held at a time; those of several chunks are computed again in the backward pass.
    """
    weights, ops = network.prepared(), network.ops
    hidden_TD = transformer.forward(ops, weights, tokens_T, positions_T, view)
    hidden_ND, index_N = hidden_TD[rows_N], torch.arange(len(rows_N))

    def made(hidden_ND: Tensor, index_N: Tensor) -> tuple[Tensor, Tensor]:
        return score(transformer.logits(ops, weights, hidden_ND), index_N)

    step = max(1, held_numbers // network.config.vocab_size)
    if len(hidden_ND) <= step:
        return made(hidden_ND, index_N)
    head = weights.head
    leaves = head.parts if isinstance(head, PackedLinear) else (head.matrix,)
    chunks = [
        cast("tuple[Tensor, Tensor]", _Again.apply(made, index, hidden, *leaves))
        for hidden, index in zip(_split(hidden_ND, step), _split(index_N, step), strict=True)
    ]
    first, second = zip(*chunks, strict=True)
    return torch.cat(first), torch.cat(second)


def _split(x: Tensor, step: int) -> list[Tensor]:
    return [x[first : first + step] for first in range(0, len(x), step)]


class _Again(Function):
    """`made` of a chunk of rows, whose logits are not kept but computed again in the backward pass."""

    @staticmethod
    def forward(
        ctx: Any, made: Score, index_N: Tensor, hidden_ND: Tensor, *leaves: Tensor
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(index_N, hidden_ND, *leaves)
        ctx.made = made
        first_N, second_N = made(hidden_ND, index_N)
        ctx.mark_non_differentiable(second_N)
        return first_N, second_N

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        index_N, hidden_ND, *leaves = ctx.saved_tensors
        with torch.enable_grad():
            hidden_ND = hidden_ND.detach().requires_grad_()
            first_N, _ = ctx.made(hidden_ND, index_N)
        wanted = [hidden_ND, *(leaf for leaf in leaves if leaf.requires_grad)]
        found = iter(torch.autograd.grad(first_N, wanted, gradients[0]))
        d_hidden_ND = next(found)
        d_leaves = [next(found) if leaf.requires_grad else None for leaf in leaves]
        return None, None, d_hidden_ND, *d_leaves


def best_kernels() -> Kernels:
    """`native` where it was built: faster, and with the bits of the rollouts."""
    return "native" if native_available()[0] else "torch"


def _kernels() -> GradientOps:
    return cast(GradientOps, make_ops("native", 1))


def _check(kernels: str, weights_format: str) -> None:
    if kernels not in get_args(Kernels):
        raise ConfigError(f"kernels is {kernels!r}", f"allowed are {', '.join(get_args(Kernels))}")
    if weights_format not in ("fp32", "bf16"):
        raise ConfigError(
            f"weights_format is {weights_format!r} in training", "allowed are fp32 and bf16"
        )


class _Parameters(Mapping[str, nn.Parameter]):
    """Parameters by name, as the modules hold them now: sharding puts others in their place."""

    def __init__(self, network: Network) -> None:
        self._places: dict[str, tuple[nn.Module, str]] = {}
        for name in tensor_shapes(network.config):
            path, _, last = name.rpartition(".")
            self._places[name] = network.get_submodule(path), last

    def __getitem__(self, name: str) -> nn.Parameter:
        module, last = self._places[name]
        return cast(nn.Parameter, getattr(module, last))

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def _initial(
    name: str, shape: tuple[int, ...], config: ModelConfig, generator: torch.Generator
) -> Tensor:
    """Norms 1, biases 0, embeddings small, matrices by fan-in, those that write the residual smaller still."""
    if name.endswith(".bias"):
        return torch.zeros(shape)
    if len(shape) == 1:
        return torch.ones(shape)
    values = torch.randn(shape, generator=generator)
    if name in (EMBEDDING, HEAD):
        return values * 0.02
    writes = name.endswith(("o_proj.weight", "down_proj.weight"))
    return values * (shape[1] ** -0.5) * ((2 * config.num_layers) ** -0.5 if writes else 1.0)


def _attach(root: nn.Module, name: str, parameter: nn.Parameter) -> None:
    """Puts a parameter at its dotted place, making the modules on the way."""
    *path, last = name.split(".")
    module = root
    for part in path:
        if part not in module._modules:  # pyright: ignore[reportPrivateUsage]
            module.add_module(part, nn.Module())
        module = module.get_submodule(part)
    module.register_parameter(last, parameter)
