"""train/stages: pre-training and fine-tuning as stages: recipe and run folder in, model folder out."""

from __future__ import annotations

import ctypes
import ctypes.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import numpy as np
import torch

from ponder.core.config import config_toml, config_values, read_config
from ponder.core.errors import ConfigError
from ponder.model.config import ModelConfig, read_model_config
from ponder.model.folder import FolderTensors
from ponder.model.ops.scalar import float32_of
from ponder.model.shapes import named_shape
from ponder.model.weights import tensor_shapes
from ponder.runs import RunFolder
from ponder.runs.folder import write_atomically
from ponder.runs.progress import ProgressLine
from ponder.text import Tokenizer
from ponder.train.checkpoint import TOKENIZER_FILES, WEIGHTS, Progress, export_folder, load_tensors
from ponder.train.config import ModelRecipe, Recipe, RlRecipe, ScheduleConfig
from ponder.train.trainer import Report, Trainer

Say = Callable[[str], None]


def run(
    recipe: Recipe,
    run_dir: Path | None,
    resume: bool,
    from_step: int | None,
    say: Say,
    line: ProgressLine | None = None,
) -> Path:
    """Trains a model; the folder of the finished one, inside the run folder."""
    stage = recipe.stage
    assert isinstance(stage, ModelRecipe), stage
    if run_dir is None:
        raise ConfigError("no run folder", "name one with --run-dir; weights and metrics go there")
    keep_freed_memory()
    config, start = beginning(stage)
    check_tokenizer(stage.tokenizer, config)

    report = reporter(stage.schedule, say, line, say_step)

    def begin(folder: RunFolder) -> Trainer:
        return Trainer(stage, config, folder, start, report)

    trainer = open_run(recipe, run_dir, resume, from_step, say, begin)
    trainer.train()
    output = trainer.run.path / "model"
    export_folder(output, config, trainer.network.state_dict(), stage.tokenizer)
    say(f"model: {output}")
    return output


class Resumable(Protocol):
    """What `open_run` needs of a trainer."""

    @property
    def run(self) -> RunFolder: ...
    @property
    def progress(self) -> Progress: ...
    def resume(self, from_step: int | None = None) -> None: ...


R = TypeVar("R", bound=Resumable)


def open_run(
    recipe: Recipe,
    run_dir: Path,
    resume: bool,
    from_step: int | None,
    say: Say,
    begin: Callable[[RunFolder], R],
) -> R:
    """The trainer of a new run, or of one that goes on from a checkpoint.

    A run killed before its first checkpoint begins anew. Settings changed on resuming are recorded: `configs/` holds
    every config that was in force, by the step it began at, and metrics.jsonl says which keys changed.
    """
    text = config_toml(recipe)
    if not resume:
        return begin(RunFolder.create(run_dir, text))
    folder = RunFolder.open(run_dir)
    trainer = begin(folder)
    if folder.checkpoints() or from_step is not None:
        trainer.resume(from_step)
    else:
        folder.rewind(-1)
    step = trainer.progress.step
    record_config(folder, recipe, text, step)
    say(f"resumed at step {step}")
    return trainer


def record_config(folder: RunFolder, recipe: Recipe, text: str, step: int) -> None:
    old_text = (folder.path / "config.toml").read_text(encoding="utf-8")
    if old_text == text:
        return
    old = _flat(config_values(read_config(Recipe, [folder.path / "config.toml"])))
    new = _flat(config_values(recipe))
    changed = {
        key: [old.get(key), new.get(key)]
        for key in sorted({*old, *new})
        if old.get(key) != new.get(key)
    }
    history = folder.path / "configs"
    history.mkdir(exist_ok=True)
    if not any(history.iterdir()):
        write_atomically(history / "00000000.toml", old_text)
    for path in history.glob("*.toml"):
        if int(path.stem) > step:
            path.unlink()
    write_atomically(history / f"{step:08d}.toml", text)
    folder.log({"step": step, "event": "config", "changed": changed})
    folder.save_config(text)


def _flat(values: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{where}.{key}" if where else key
        if isinstance(value, Mapping):
            flat |= _flat(cast("Mapping[str, Any]", value), name)
        else:
            flat[name] = value
    return flat


def export(run_dir: str | Path, output: str | Path) -> None:
    """The newest checkpoint of a run, also one still going on, as a model folder."""
    folder = RunFolder.open(run_dir)
    stage = read_config(Recipe, [folder.path / "config.toml"]).stage
    if isinstance(stage, RlRecipe):
        config, tokenizer = read_model_config(stage.start_from), stage.start_from
    else:
        assert isinstance(stage, ModelRecipe), stage
        config, tokenizer = beginning(stage)[0], stage.tokenizer
    weights = load_tensors(folder.checkpoint() / WEIGHTS)
    export_folder(Path(output), config, weights, tokenizer)


def beginning(stage: ModelRecipe) -> tuple[ModelConfig, Mapping[str, torch.Tensor] | None]:
    """The shape to train, and the weights of a fine-tuning's start."""
    if stage.start_from is None:
        assert stage.shape is not None, stage
        return named_shape(stage.shape), None
    return start_weights(stage.start_from)


def start_weights(folder: Path) -> tuple[ModelConfig, dict[str, torch.Tensor]]:
    """Config and fp32 weights of a model folder."""
    config = read_model_config(folder)
    tensors = FolderTensors(folder, config)
    return config, {
        name: torch.from_numpy(np.array(float32_of(tensors.tensor(name))))
        for name in tensor_shapes(config)
    }


def check_tokenizer(folder: Path, config: ModelConfig) -> None:
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


def reporter(
    schedule: ScheduleConfig,
    say: Say,
    line: ProgressLine | None,
    say_record: Callable[[Mapping[str, Any], Say], None],
) -> Report:
    """What is told of every step: the line of progress, or `say` in words."""
    if line is None:
        return lambda record: say_record(record, say)
    line.expect(schedule.steps, schedule.stop_after_s, schedule.flops)
    return line.show


def say_step(record: Mapping[str, Any], say: Say) -> None:
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
