"""train/stages: pre-training and fine-tuning as stages: recipe and run folder in, model folder out."""

from __future__ import annotations

import ctypes
import ctypes.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ponder.core.config import config_toml, read_config
from ponder.core.errors import ConfigError
from ponder.model.config import ModelConfig, read_model_config
from ponder.model.folder import FolderTensors
from ponder.model.ops.scalar import float32_of
from ponder.model.shapes import named_shape
from ponder.model.weights import tensor_shapes
from ponder.runs import RunFolder
from ponder.text import Tokenizer
from ponder.train.checkpoint import TOKENIZER_FILES, WEIGHTS, export_folder, load_tensors
from ponder.train.config import ModelRecipe, Recipe
from ponder.train.trainer import Trainer

Say = Callable[[str], None]


def run(
    recipe: Recipe, run_dir: Path | None, resume: bool, from_step: int | None, say: Say
) -> Path:
    """Trains a model; the folder of the finished one, inside the run folder."""
    stage = recipe.stage
    assert isinstance(stage, ModelRecipe), stage
    if run_dir is None:
        raise ConfigError("no run folder", "name one with --run-dir; weights and metrics go there")
    keep_freed_memory()
    config, start = _beginning(stage)
    _check_tokenizer(stage.tokenizer, config)
    text = config_toml(recipe)
    folder = RunFolder.open(run_dir) if resume else RunFolder.create(run_dir, text)
    trainer = Trainer(stage, config, folder, start, lambda record: _say_step(record, say))
    if resume:
        trainer.resume(from_step)
        folder.save_config(text)
        say(f"resumed at step {trainer.progress.step}")
    trainer.train()
    output = folder.path / "model"
    export_folder(output, config, trainer.network.state_dict(), stage.tokenizer)
    say(f"model: {output}")
    return output


def export(run_dir: str | Path, output: str | Path) -> None:
    """The newest checkpoint of a run, also one still going on, as a model folder."""
    folder = RunFolder.open(run_dir)
    stage = read_config(Recipe, [folder.path / "config.toml"]).stage
    assert isinstance(stage, ModelRecipe), stage
    config, _ = _beginning(stage)
    weights = load_tensors(folder.checkpoint() / WEIGHTS)
    export_folder(Path(output), config, weights, stage.tokenizer)


def _beginning(stage: ModelRecipe) -> tuple[ModelConfig, Mapping[str, torch.Tensor] | None]:
    """The shape to train, and the weights of a fine-tuning's start."""
    if stage.start_from is None:
        assert stage.shape is not None, stage
        return named_shape(stage.shape), None
    config = read_model_config(stage.start_from)
    tensors = FolderTensors(stage.start_from, config)
    return config, {
        name: torch.from_numpy(np.array(float32_of(tensors.tensor(name))))
        for name in tensor_shapes(config)
    }


def _check_tokenizer(folder: Path, config: ModelConfig) -> None:
    """Before anything is written: the files are there, and every id has a row of the embedding."""
    missing = [name for name in TOKENIZER_FILES if not (folder / name).is_file()]
    if missing:
        raise ConfigError(
            f"the tokenizer folder {str(folder)!r} lacks {', '.join(missing)}",
            "train it first, for example with recipes/nano/tokenizer.toml",
        )
    size = Tokenizer.from_folder(folder).vocab_size
    if size > config.vocab_size:
        raise ConfigError(
            f"the tokenizer in {str(folder)!r} has {size} ids and the model {config.vocab_size} rows",
            f"train a tokenizer of vocab_size {config.vocab_size}",
        )


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
