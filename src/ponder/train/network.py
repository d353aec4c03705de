"""train/network: the model as an `nn.Module` tree with Hugging Face names; its forward is `model.transformer`'s."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ponder.model import transformer
from ponder.model.config import ModelConfig
from ponder.model.ops.torch_ops import TorchLinear, TorchOps
from ponder.model.rope import RopeTable
from ponder.model.view import View
from ponder.model.weights import EMBEDDING, FINAL_NORM, HEAD, LayerWeights, Weights, tensor_shapes


class Network(nn.Module):
    """Parameters of one model, fp32; `state_dict` has exactly the names of a model folder."""

    def __init__(self, config: ModelConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.ops = TorchOps()
        self._rope = RopeTable(config)
        generator = torch.Generator().manual_seed(seed)
        self._tensors: dict[str, nn.Parameter] = {}
        for name, shape in tensor_shapes(config).items():
            parameter = nn.Parameter(_initial(name, shape, config, generator))
            self._tensors[name] = parameter
            _attach(self, name, parameter)

    def prepared(self) -> Weights:
        """The parameters as the op set wants them; fused layers are joined anew, so that gradients flow."""
        return Weights(
            config=self.config,
            embedding=self._tensors[EMBEDDING],
            layers=tuple(self._layer(index) for index in range(self.config.num_layers)),
            final_norm=self._tensors[FINAL_NORM],
            head=TorchLinear(self._tensors[EMBEDDING if self.config.tied_head else HEAD]),
            rope=self._rope,
        )

    def _layer(self, index: int) -> LayerWeights:
        prefix = f"model.layers.{index}."
        get = self._tensors.get

        def linear(*names: str) -> TorchLinear:
            parts: list[Tensor] = [self._tensors[f"{prefix}{name}.weight"] for name in names]
            biases: list[Tensor] = [
                b for name in names if (b := get(f"{prefix}{name}.bias")) is not None
            ]
            return TorchLinear(torch.cat(parts), torch.cat(biases) if biases else None)

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

    def forward(self, tokens_T: Tensor, positions_T: Tensor, view: View, rows_N: Tensor) -> Tensor:
        """Logits of the rows wanted, [N, V]."""
        weights = self.prepared()
        hidden_TD = transformer.forward(self.ops, weights, tokens_T, positions_T, view)
        return transformer.logits(self.ops, weights, hidden_TD[rows_N])


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
