"""train/rl/stage: reinforcement learning as a stage: recipe and run folder in, model folder out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ponder.model.ops import native_available
from ponder.runs.progress import ProgressLine
from ponder.train.config import Recipe, RlRecipe
from ponder.train.rl.trainer import RlTrainer
from ponder.train.stages import beginning, carry_out, open_folder, reporter

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
    start = beginning(stage)
    assert start.weights is not None, stage
    folder = open_folder(recipe, run_dir, resume)
    available, reason = native_available()
    if not available:
        say(
            f"no compiled op set here ({reason.splitlines()[0]}): log-probabilities of rollout and training agree to "
            "about 1e-5, not to the bit. Install a C++ compiler, then reinstall Ponder."
        )
    report = reporter(stage.schedule, say, line, say_record)
    trainer = RlTrainer(stage, start.config, folder, start.weights, report)
    return carry_out(trainer, start, recipe, resume, from_step, say)


_SHOWN = ("step", "reward", "truncated", "flat_groups", "entropy", "length_mean", "grad_norm")


def say_record(record: Mapping[str, Any], say: Say) -> None:
    """One line a step; events whole."""
    if "event" in record:
        say(" ".join(f"{key} {value}" for key, value in record.items()))
        return
    shown = {name: record[name] for name in _SHOWN if name in record}
    seconds = f"rollout {record['rollout_s']:.1f} s, training {record['train_s']:.1f} s"
    say(" ".join(f"{key} {value:.5g}" for key, value in shown.items()) + f"; {seconds}")
