"""train/checkpoint: everything a run needs to go on to the bit, as safetensors and JSON; nothing is pickled."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from ponder.core.errors import StorageError
from ponder.model.config import ModelConfig
from ponder.model.save import save_folder
from ponder.train.network import Network
from ponder.train.optimizer import Optimizer


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


def save_state(folder: Path, network: Network, optimizer: Optimizer, progress: Progress) -> None:
    """Writes weights, optimizer state and progress into an empty folder."""
    save_file(network.state_dict(), folder / "weights.safetensors")
    save_file(optimizer.state, folder / "optimizer.safetensors")
    state = asdict(progress) | {"optimizer_steps": optimizer.steps}
    (folder / "progress.json").write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")


def load_state(folder: Path, network: Network, optimizer: Optimizer) -> Progress:
    """Puts a checkpoint back in place. Raises StorageError when it does not fit the recipe's model."""
    weights = load_file(folder / "weights.safetensors")
    moments = load_file(folder / "optimizer.safetensors")
    for name, held, found in (("weights", network.state_dict(), weights), ("optimizer", optimizer.state, moments)):
        if {n: t.shape for n, t in held.items()} != {n: t.shape for n, t in found.items()}:
            raise StorageError(
                f"the {name} of checkpoint {str(folder)!r} are of another shape than the recipe's",
                "resume with the recipe the run was started with",
            )
    network.load_state_dict(weights)
    for name, tensor in optimizer.state.items():
        tensor.copy_(moments[name])
    state = json.loads((folder / "progress.json").read_text(encoding="utf-8"))
    optimizer.steps = state.pop("optimizer_steps")
    return Progress(**state)


TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def export_folder(folder: Path, config: ModelConfig, weights: dict[str, torch.Tensor], tokenizer: Path) -> None:
    """A Hugging Face folder in bfloat16 that Ponder and transformers load."""
    tensors = {
        name: tensor.detach().to(torch.bfloat16).view(torch.uint16).numpy() for name, tensor in weights.items()
    }
    extra = {name: (tokenizer / name).read_bytes() for name in TOKENIZER_FILES}
    save_folder(folder, config, tensors, extra)
