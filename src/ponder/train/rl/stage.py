"""train/rl/stage: reinforcement learning as a stage: recipe and run folder in, model folder out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ponder.core.errors import ConfigError
from ponder.model.ops import native_available
from ponder.runs import RunFolder
from ponder.runs.progress import ProgressLine
from ponder.train.checkpoint import export_folder
from ponder.train.config import Recipe, RlRecipe
from ponder.train.rl.trainer import RlTrainer
from ponder.train.stages import (
    check_tokenizer,
    keep_freed_memory,
    open_run,
    reporter,
    start_weights,
)

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
    assert isinstance(stage, RlRecipe), stage
    if run_dir is None:
        raise ConfigError("no run folder", "name one with --run-dir; weights and metrics go there")
    keep_freed_memory()
    config, start = start_weights(stage.start_from)
    check_tokenizer(stage.start_from, config)

    report = reporter(stage.schedule, say, line, say_record)

    def begin(folder: RunFolder) -> RlTrainer:
        return RlTrainer(stage, config, folder, start, report)

    available, reason = native_available()
    if not available:
        say(
            f"no compiled op set here ({reason.splitlines()[0]}): log-probabilities of rollout and training agree to "
            "about 1e-5, not to the bit. Install a C++ compiler, then reinstall Ponder."
        )
    trainer = open_run(recipe, run_dir, resume, from_step, say, begin)
    trainer.train()
    output = trainer.run.path / "model"
    export_folder(output, config, trainer.network.state_dict(), stage.start_from)
    say(f"model: {output}")
    return output


_SHOWN = ("step", "reward", "truncated", "flat_groups", "entropy", "length_mean", "grad_norm")


def say_record(record: Mapping[str, Any], say: Say) -> None:
    """One line a step; events whole."""
    if "event" in record:
        say(" ".join(f"{key} {value}" for key, value in record.items()))
        return
    shown = {name: record[name] for name in _SHOWN if name in record}
    seconds = f"rollout {record['rollout_s']:.1f} s, training {record['train_s']:.1f} s"
    say(" ".join(f"{key} {value:.5g}" for key, value in shown.items()) + f"; {seconds}")
