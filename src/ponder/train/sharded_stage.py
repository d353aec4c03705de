"""train/sharded_stage: pre-training and fine-tuning by several processes that share one trainer.

On one machine the processes are started here. Under `torchrun`, which may span machines, this is one of them already.
"""

from __future__ import annotations

import faulthandler
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import torch.distributed as dist
from torch.multiprocessing.spawn import (
    ProcessException,
    start_processes,  # pyright: ignore[reportUnknownVariableType]
)

from ponder.core.errors import BackendError, ConfigError
from ponder.runs import RunFolder
from ponder.runs.progress import ProgressLine
from ponder.train.config import ModelRecipe, Recipe
from ponder.train.sharded import Processes, end_process, leave_group
from ponder.train.stages import beginning, carry_out, open_folder, reporter, say_step
from ponder.train.trainer import Trainer

Say = Callable[[str], None]


def run(
    recipe: Recipe,
    run_dir: Path | None,
    resume: bool,
    from_step: int | None,
    say: Say,
    line: ProgressLine | None = None,
) -> Path:
    """As `stages.run`, with `stage.cluster.trainer_processes`."""
    stage = recipe.stage
    assert isinstance(stage, ModelRecipe), stage
    beginning(stage)
    count = stage.cluster.trainer_processes
    if dist.is_torchelastic_launched():
        dist.init_process_group("gloo")
        if dist.get_world_size() != count:
            raise ConfigError(
                f"torchrun started {dist.get_world_size()} processes and trainer_processes is {count}",
                "give both the same number",
            )
        if dist.get_rank() == 0:
            open_folder(recipe, run_dir, resume)
        else:
            say, line = _say_nothing, None
        dist.barrier()
        assert run_dir is not None, "the first process has refused it"
        output = train(recipe, run_dir, resume, from_step, say, line)
        leave_group()
        return output
    run_dir = open_folder(recipe, run_dir, resume).path
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"tcp://localhost:{free.getsockname()[1]}"
    arguments = (count, address, line is not None, recipe, run_dir, resume, from_step)
    try:
        start_processes(_process, arguments, nprocs=count, start_method="spawn")
    except ProcessException as error:
        raise BackendError(
            f"trainer process {error.error_index} of {count} ended\n{error.msg.strip()}\n"
            "the last checkpoint is whole; go on with --resume"
        ) from error
    return run_dir / "model"


def _process(
    rank: int,
    count: int,
    address: str,
    is_shown: bool,
    recipe: Recipe,
    run_dir: Path,
    resume: bool,
    from_step: int | None,
) -> None:
    faulthandler.enable()  # a process ended by a signal says where it was
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=count)
    line = ProgressLine(sys.stderr) if is_shown and rank == 0 else None
    say = line.say if line is not None else _say if rank == 0 else _say_nothing
    train(recipe, run_dir, resume, from_step, say, line)
    if line is not None:
        line.end()
    end_process()


def _say(text: str) -> None:
    print(text, flush=True)


def _say_nothing(text: str) -> None:
    pass


def train(
    recipe: Recipe,
    run_dir: Path,
    resume: bool,
    from_step: int | None,
    say: Say,
    line: ProgressLine | None = None,
) -> Path:
    """This process's part of the run; the first process writes the files."""
    stage = recipe.stage
    assert isinstance(stage, ModelRecipe), stage
    start = beginning(stage)
    place = Processes()
    folder = RunFolder(run_dir, is_writer=place.rank == 0)
    report = reporter(stage.schedule, say, line, say_step)
    trainer = Trainer(stage, start.config, folder, start.weights, report, place)
    return carry_out(trainer, start, recipe, resume, from_step, say)
