"""train/lora: low-rank adapters on a network's matrices (Hu et al. 2021): W + alpha / rank · B·A, with W frozen.

The sum is one set of weights: the forward, the engine and an exported folder see `Network.tensors`, so rollout and
training keep the same bits. Adapters are saved as PEFT saves them. Limit: no dropout, no biases, no embeddings.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ponder.core.errors import ConfigError, StorageError
from ponder.model.safetensors import SafetensorsFile, write_safetensors
from ponder.model.strict_json import read_object
from ponder.train.network import Network

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""Matrices of a block that may carry an adapter."""
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."


@dataclass(frozen=True, slots=True)
class LoraConfig:
    """Which matrices learn, and how much they may."""

    rank: int = 16
    alpha: float = 32.0
    """The product is multiplied by alpha / rank."""
    targets: tuple[str, ...] = TARGETS
    """Names of matrices, in every block."""

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ConfigError(f"lora rank is {self.rank}", "allowed is a whole number from 1")
        if not (math.isfinite(self.alpha) and self.alpha > 0):
            raise ConfigError(f"lora alpha is {self.alpha}", "allowed is a number above 0")
        unknown = [name for name in self.targets if name not in TARGETS]
        if unknown or not self.targets:
            raise ConfigError(
                f"lora targets are {list(self.targets)}", f"allowed are {', '.join(TARGETS)}"
            )


class Adapters:
    """The low-rank parameters of one network; made, they freeze the network and take part in its forward."""

    parameters: dict[str, nn.Parameter]
    """What an optimizer is given in place of the network's."""

    def __init__(self, network: Network, config: LoraConfig, seed: int = 0) -> None:
        self.config = config
        self.parameters = {}
        generator = torch.Generator().manual_seed(seed)
        self._pairs: dict[str, tuple[nn.Parameter, nn.Parameter]] = {}
        for name, base in network.named_parameters():
            base.requires_grad_(False)
            if base.ndim != 2 or name.split(".")[-2] not in config.targets:
                continue
            outputs, inputs = base.shape
            a = torch.randn(config.rank, inputs, generator=generator) * inputs**-0.5
            pair = nn.Parameter(a.to(base)), nn.Parameter(base.new_zeros(outputs, config.rank))
            self._pairs[name] = pair
            self.parameters[name.replace("weight", "lora_A.weight")] = pair[0]
            self.parameters[name.replace("weight", "lora_B.weight")] = pair[1]
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
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / WEIGHTS).open("wb") as file:
            write_safetensors(file, tensors)
        text = json.dumps(settings, indent=1) + "\n"
        (folder / CONFIG).write_text(text, encoding="utf-8")

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
