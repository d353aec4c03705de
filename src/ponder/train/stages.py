"""train/stages: from recipes to finished folders: what `ponder train` calls, one stage after the other."""

from __future__ import annotations

import ctypes
import ctypes.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from ponder.core.config import config_toml, read_config
from ponder.core.errors import ConfigError
from ponder.model.config import ModelConfig, read_model_config
from ponder.model.folder import FolderTensors
from ponder.model.ops.scalar import float32_of
from ponder.model.shapes import named_shape
from ponder.model.weights import tensor_shapes
from ponder.runs import RunFolder
from ponder.train.checkpoint import export_folder
from ponder.train.config import ModelRecipe, Recipe, TokenizerRecipe
from ponder.train.documents import DocumentStream
from ponder.train.tokenizer import save_tokenizer, train_tokenizer
from ponder.train.trainer import Trainer

Say = Callable[[str], None]


def read_recipe(paths: Sequence[str | Path], overrides: Sequence[str] = ()) -> Recipe:
    """A recipe of TOML files, later over earlier, then `stage.…=…` overrides. Raises ConfigError."""
    return read_config(Recipe, paths, overrides)


def train(
    recipe: Recipe, run_dir: str | Path | None = None, resume: bool = False, say: Say = print
) -> Path:
    """Runs one recipe to its end; the folder it made: a tokenizer's, or a model's inside the run folder.

    Raises ConfigError, ModelFolderError or StorageError before anything is trained; BackendError when the loss is not a
    number. A model recipe needs `run_dir`.
    """
    stage = recipe.stage
    if isinstance(stage, TokenizerRecipe):
        _train_tokenizer(stage, say)
        return stage.output
    if run_dir is None:
        raise ConfigError("no run folder", "name one with --run-dir; weights and metrics go there")
    return _train_model(recipe, stage, Path(run_dir), resume, say)


def _train_tokenizer(stage: TokenizerRecipe, say: Say) -> None:
    stream = DocumentStream(stage.documents, None, stage.seed)
    backend = train_tokenizer(stream.texts(stage.count), stage.vocab_size)
    save_tokenizer(backend, stage.output, stage.max_positions)
    say(f"tokenizer: {backend.get_vocab_size()} tokens from {stage.count} documents in {stage.output}")


def _train_model(recipe: Recipe, stage: ModelRecipe, run_dir: Path, resume: bool, say: Say) -> Path:
    keep_freed_memory()
    config, start = _beginning(stage)
    run = RunFolder.open(run_dir) if resume else RunFolder.create(run_dir, config_toml(recipe))
    trainer = Trainer(stage, config, run, start, lambda record: _say_step(record, say))
    if resume:
        trainer.resume()
        say(f"resumed at step {trainer.progress.step}")
    trainer.train()
    output = run.path / "model"
    export_folder(output, config, trainer.network.state_dict(), stage.tokenizer)
    say(f"model: {output}")
    return output


def export(run_dir: str | Path, output: str | Path) -> None:
    """The newest checkpoint of a run, also one still going on, as a model folder."""
    run = RunFolder.open(run_dir)
    stage = read_recipe([run.path / "config.toml"]).stage
    assert isinstance(stage, ModelRecipe), stage
    config, _ = _beginning(stage)
    weights = load_file(run.latest_checkpoint() / "weights.safetensors")
    export_folder(Path(output), config, weights, stage.tokenizer)


def _beginning(stage: ModelRecipe) -> tuple[ModelConfig, Mapping[str, torch.Tensor] | None]:
    """The shape to train, and the weights of a fine-tuning's start."""
    if stage.start_from is None:
        assert stage.shape is not None, stage
        return named_shape(stage.shape), None
    config = read_model_config(stage.start_from)
    tensors = FolderTensors(stage.start_from, config)
    return config, {
        name: torch.from_numpy(np.array(float32_of(tensors.tensor(name)))) for name in tensor_shapes(config)
    }


def _say_step(record: Mapping[str, Any], say: Say) -> None:
    if record["step"] % 10 == 0 or record["step"] == 1:
        say(" ".join(f"{key} {value}" for key, value in record.items()))


def keep_freed_memory() -> None:
    """Tells glibc to keep freed blocks, since a step asks for the same sizes again: about twice the speed on two cores.

    No effect on other systems.
    """
    name = ctypes.util.find_library("c")
    mallopt = getattr(ctypes.CDLL(name), "mallopt", None) if name else None
    if mallopt is not None:
        for parameter, value in ((-3, 1 << 30), (-1, (1 << 31) - 1), (-2, 1 << 28)):
            mallopt(parameter, value)
