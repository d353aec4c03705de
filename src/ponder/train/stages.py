"""train/stages: pre-training and fine-tuning as stages: recipe and run folder in, model folder out."""

from __future__ import annotations

import ctypes
import ctypes.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import torch

from ponder.core.config import config_toml, config_values, read_config
from ponder.core.errors import ConfigError
from ponder.model.config import ModelConfig
from ponder.model.shapes import named_shape
from ponder.runs import RunFolder
from ponder.runs.folder import write_atomically
from ponder.runs.progress import ProgressLine
from ponder.text import Tokenizer
from ponder.train.checkpoint import TOKENIZER_FILES, Progress, export_folder, start_weights
from ponder.train.config import ModelRecipe, Recipe, RlRecipe, ScheduleConfig
from ponder.train.distill import check_teacher
from ponder.train.lora import Adapters, num_trained
from ponder.train.network import Network
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
    start = beginning(stage)
    folder = open_folder(recipe, run_dir, resume)
    report = reporter(stage.schedule, say, line, say_step)
    trainer = Trainer(stage, start.config, folder, start.weights, report)
    return carry_out(trainer, start, recipe, resume, from_step, say)


@dataclass(frozen=True, slots=True)
class Start:
    """What a run begins with."""

    config: ModelConfig
    weights: Mapping[str, torch.Tensor] | None
    """None: random ones."""
    tokenizer: Path


def beginning(stage: ModelRecipe | RlRecipe) -> Start:
    """Reads what a run begins with. Refuses what does not fit, before anything is written."""
    if stage.start_from is not None:
        config, weights = start_weights(stage.start_from)
    else:
        assert isinstance(stage, ModelRecipe) and stage.shape is not None, stage
        config, weights = named_shape(stage.shape), None
    tokenizer = stage.tokenizer if isinstance(stage, ModelRecipe) else stage.start_from
    check_tokenizer(tokenizer, config)
    if stage.lora is not None:
        num_trained(stage.lora, config)
    if isinstance(stage, ModelRecipe) and stage.teacher is not None:
        check_teacher(stage.teacher, config, tokenizer, stage.documents.max_len)
    return Start(config, weights, tokenizer)


def open_folder(recipe: Recipe, run_dir: Path | None, resume: bool) -> RunFolder:
    """The folder of a new run, or of one to go on with."""
    if run_dir is None:
        raise ConfigError("no run folder", "name one with --run-dir; weights and metrics go there")
    if not resume:
        return RunFolder.create(run_dir, config_toml(recipe))
    folder = RunFolder.open(run_dir)
    folder.hold()
    return folder


class Trains(Protocol):
    """A trainer of any stage."""

    @property
    def run(self) -> RunFolder: ...
    @property
    def network(self) -> Network: ...
    @property
    def progress(self) -> Progress: ...
    def resume(self, from_step: int | None = None) -> None: ...
    def train(self) -> None: ...
    def weights(self) -> dict[str, torch.Tensor]: ...


def carry_out(
    trainer: Trains,
    start: Start,
    recipe: Recipe,
    resume: bool,
    from_step: int | None,
    say: Say,
) -> Path:
    """A run from where its folder stands to its end; the folder of the finished model.

    A run killed before its first checkpoint begins anew. Settings changed on resuming are recorded: `configs/` holds
    every config that was in force, by the step it began at, and metrics.jsonl says which keys changed. Every process
    of a run must call this; the first one writes.
    """
    keep_freed_memory()
    folder = trainer.run
    if resume:
        if folder.checkpoints() or from_step is not None:
            trainer.resume(from_step)
        else:
            folder.rewind(-1)
        if folder.is_writer:
            record_config(folder, recipe, config_toml(recipe), trainer.progress.step)
        say(f"resumed at step {trainer.progress.step}")
    trainer.train()
    weights, output = trainer.weights(), folder.path / "model"
    if folder.is_writer:
        export_folder(output, start.config, weights, start.tokenizer)
        say(f"model: {output}")
    adapters = trainer.network.change
    if isinstance(adapters, Adapters):
        stage = recipe.stage
        assert isinstance(stage, ModelRecipe | RlRecipe), stage
        adapters.save(folder.path / "adapter", str(stage.start_from))
        say(f"adapter: {folder.path / 'adapter'}")
    return output


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
