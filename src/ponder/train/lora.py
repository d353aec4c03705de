"""train/lora: low-rank adapters on a network's matrices (Hu et al. 2021): W + alpha / rank · B·A, with W frozen.

The sum is one set of weights: the forward, the engine and an exported folder see `Network.tensors`, so rollout and
training keep the same bits. Adapters are saved as PEFT saves them. Limit: no dropout, no biases, no embeddings.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ponder.core.errors import ConfigError, StorageError
from ponder.model.config import ModelConfig
from ponder.model.safetensors import SafetensorsFile, write_safetensors
from ponder.model.save import write_files
from ponder.model.strict_json import read_object
from ponder.model.weights import tensor_shapes
from ponder.train.config import LoraConfig
from ponder.train.network import Network

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."


def carries(config: LoraConfig, name: str, shape: Sequence[int]) -> bool:
    """True for a tensor of a model folder that gets an adapter."""
    return len(shape) == 2 and name.split(".")[-2] in config.targets


def num_trained(config: LoraConfig, model: ModelConfig) -> int:
    """Parameters of the adapters of such a model. Raises ConfigError where they would be larger than its matrices."""
    shapes = [s for name, s in tensor_shapes(model).items() if carries(config, name, s)]
    least = min(min(shape) for shape in shapes)
    if config.rank > least:
        raise ConfigError(
            f"lora rank is {config.rank}",
            f"allowed are 1 to {least}, the smallest side of a target",
        )
    return sum(config.rank * sum(shape) for shape in shapes)


class Adapters:
    """The low-rank parameters of one network; made, they freeze the network and take part in its forward."""

    parameters: dict[str, nn.Parameter]
    """What an optimizer is given in place of the network's."""
    frozen: str
    """Digest of the weights they stand on and of their scale."""

    def __init__(self, network: Network, config: LoraConfig, seed: int = 0) -> None:
        self.config = config
        self.parameters = {}
        generator = torch.Generator().manual_seed(seed)
        digest = hashlib.blake2b(repr(self.scale).encode(), digest_size=16)
        self._pairs: dict[str, tuple[nn.Parameter, nn.Parameter]] = {}
        for name, base in network.named_parameters():
            base.requires_grad_(False)
            digest.update(name.encode())
            digest.update(base.detach().numpy().tobytes())
            if not carries(config, name, base.shape):
                continue
            outputs, inputs = base.shape
            a = torch.randn(config.rank, inputs, generator=generator) * inputs**-0.5
            pair = nn.Parameter(a.to(base)), nn.Parameter(base.new_zeros(outputs, config.rank))
            self._pairs[name] = pair
            self.parameters[name.replace("weight", "lora_A.weight")] = pair[0]
            self.parameters[name.replace("weight", "lora_B.weight")] = pair[1]
        self.frozen = digest.hexdigest()
        network.change = self

    @property
    def scale(self) -> float:
        return self.config.alpha / self.config.rank

    def parts(self, name: str) -> tuple[Tensor, ...]:
        return self._pairs.get(name, ())

    def merge(self, name: str, base: Tensor) -> Tensor:
        a, b = self._pairs[name]
        return torch.addmm(base, b, a, alpha=self.scale)

    def save(self, folder: Path, base_model: str = "") -> None:
        """A PEFT adapter folder. `base_model`: where the base weights are, for whoever loads it."""
        tensors: dict[str, Any] = {}
        for name, (a, b) in self._pairs.items():
            key = _PREFIX + name.removesuffix(".weight")
            tensors[key + ".lora_A.weight"] = a.detach().float().numpy()
            tensors[key + ".lora_B.weight"] = b.detach().float().numpy()
        settings = {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": base_model,
            "r": self.config.rank,
            "lora_alpha": self.config.alpha,
            "lora_dropout": 0.0,
            "bias": "none",
            "fan_in_fan_out": False,
            "target_modules": list(self.config.targets),
        }
        text = json.dumps(settings, indent=1) + "\n"
        write_files(
            folder,
            {
                WEIGHTS: lambda file: write_safetensors(file, tensors),
                CONFIG: lambda file: file.write(text.encode()),
            },
        )

    def load(self, folder: Path) -> None:
        """Adapters of a folder that fits this config and network. Raises StorageError."""
        settings = read_object(folder / CONFIG, "an adapter's config", 1 << 20)
        for field, expected in (("r", self.config.rank), ("lora_alpha", self.config.alpha)):
            if settings.get(field) != expected:
                raise StorageError(
                    f"{field} of the adapter in {str(folder)!r} is {settings.get(field)!r}, not {expected!r}",
                    "give the adapter's own rank and alpha",
                )
        file = SafetensorsFile(folder / WEIGHTS)
        wanted = {
            f"{_PREFIX}{name.removesuffix('.weight')}.{part}.weight": tensor
            for name, pair in self._pairs.items()
            for part, tensor in zip(("lora_A", "lora_B"), pair, strict=True)
        }
        found = {name: entry.shape for name, entry in file.entries.items()}
        if found != {name: tuple(tensor.shape) for name, tensor in wanted.items()}:
            raise StorageError(
                f"the tensors of the adapter in {str(folder)!r} do not fit its targets and the model",
                "give the adapter's own targets, and the model it was made for",
            )
        with torch.no_grad():
            for name, tensor in wanted.items():
                tensor.copy_(torch.from_numpy(np.array(file.tensor(name))))
