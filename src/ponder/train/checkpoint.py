"""train/checkpoint: everything a run needs to go on to the bit, as safetensors and JSON; nothing is pickled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from ponder.core.errors import StorageError
from ponder.model.config import ModelConfig, read_model_config
from ponder.model.folder import FolderTensors
from ponder.model.ops.scalar import float32_of
from ponder.model.safetensors import SafetensorsFile, write_safetensors
from ponder.model.save import save_folder
from ponder.model.weights import tensor_shapes
from ponder.train.network import Network
from ponder.train.optimizer import WHOLE, Optimizer, Spread


@dataclass(slots=True)
class Progress:
    """Where a run is. Training draws no random numbers but those of documents, so the cursor is all its randomness."""

    step: int = 0
    """Optimizer steps done."""
    cursor: int = 0
    """Number of the next document."""
    tokens: int = 0
    """Rows trained on."""
    elapsed_s: float = 0.0
    """Seconds of training, over all resumptions."""
    decay_from: int | None = None
    """Step at which decay began, once it has."""
    decay_steps: int = 0
    """Steps that decay was planned for."""
    flops: float = 0.0
    """Spent so far, rollouts included, as `estimate.forward_flops` counts them."""


WEIGHTS, MOMENTS, PROGRESS = "weights.safetensors", "optimizer.safetensors", "progress.json"
"""Files of a checkpoint."""


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Tensors of fp32 as a safetensors file."""
    with path.open("wb") as file:
        write_safetensors(file, {name: tensor.detach().numpy() for name, tensor in tensors.items()})


def load_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file, copied."""
    file = SafetensorsFile(path)
    return {name: torch.from_numpy(np.array(file.tensor(name))) for name in file.entries}


def save_state(
    folder: Path, network: Network, optimizer: Optimizer, progress: Progress, spread: Spread = WHOLE
) -> None:
    """Writes weights, optimizer state and progress into an empty folder; every tensor whole, wherever its parts are."""
    for name, tensors in ((WEIGHTS, network.trained()), (MOMENTS, optimizer.state)):
        save_tensors(folder / name, {each: spread.whole(t) for each, t in tensors.items()})
    state = asdict(progress) | {"optimizer_steps": optimizer.steps, **_frozen(network)}
    (folder / PROGRESS).write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")


def load_state(
    folder: Path, network: Network, optimizer: Optimizer, spread: Spread = WHOLE
) -> Progress:
    """Puts a checkpoint back in place. Raises StorageError when it does not fit the recipe's model."""
    weights = load_tensors(folder / WEIGHTS)
    moments = load_tensors(folder / MOMENTS)
    for name, held, found in (
        ("weights", network.trained(), weights),
        ("optimizer", optimizer.state, moments),
    ):
        if {n: t.shape for n, t in held.items()} != {n: t.shape for n, t in found.items()}:
            raise StorageError(
                f"the {name} of checkpoint {str(folder)!r} are of another shape than the recipe's",
                "resume with the recipe the run was started with",
            )
    state = json.loads((folder / PROGRESS).read_text(encoding="utf-8"))
    if state.pop("frozen", None) != _frozen(network).get("frozen"):
        raise StorageError(
            f"the adapters of checkpoint {str(folder)!r} stand on other weights, or have another alpha",
            "resume with the start_from and lora.alpha the run was started with",
        )
    optimizer.steps = state.pop("optimizer_steps")
    with torch.no_grad():
        for name, tensor in network.trained().items():
            tensor.copy_(spread.part(weights[name], tensor))
        for name, tensor in optimizer.state.items():
            tensor.copy_(spread.part(moments[name], tensor))
    return Progress(**state)


def _frozen(network: Network) -> dict[str, str]:
    return {} if network.change is None else {"frozen": network.change.frozen}


def start_weights(folder: Path) -> tuple[ModelConfig, dict[str, torch.Tensor]]:
    """Config and fp32 weights of a model folder."""
    config = read_model_config(folder)
    tensors = FolderTensors(folder, config)
    return config, {
        name: torch.from_numpy(np.array(float32_of(tensors.tensor(name))))
        for name in tensor_shapes(config)
    }


TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def export_folder(
    folder: Path, config: ModelConfig, weights: dict[str, torch.Tensor], tokenizer: Path
) -> None:
    """A Hugging Face folder in bfloat16 that Ponder and transformers load."""
    tensors = {
        name: tensor.detach().to(torch.bfloat16).view(torch.uint16).numpy()
        for name, tensor in weights.items()
    }
    extra = {name: (tokenizer / name).read_bytes() for name in TOKENIZER_FILES}
    save_folder(folder, config, tensors, extra)
