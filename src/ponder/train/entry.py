"""train/entry: what `ponder train` calls: recipes in, a finished folder out. Loads torch only when needed."""

from __future__ import annotations

import contextlib
import importlib
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from ponder.core.config import config_toml, read_config
from ponder.core.errors import ConfigError, ModelFolderError
from ponder.runs import RunFolder
from ponder.runs.progress import ProgressLine
from ponder.train.config import ModelRecipe, Recipe

Say = Callable[[str], None]

STAGES: dict[str, str] = {
    "tokenizer": "ponder.train.tokenizer:run",
    "pretrain": "ponder.train.stages:run",
    "sft": "ponder.train.stages:run",
    "rl": "ponder.train.rl.stage:run",
    "sharded": "ponder.train.sharded_stage:run",
    "estimate": "ponder.train.estimate:estimate",
}
"""Stage → module and function; the function takes (recipe, run_dir, resume, from_step, say, line), `estimate` a recipe.

`sharded` is a model stage by several processes.
"""


def main(
    recipe_paths: Sequence[str | Path],
    overrides: Sequence[str] = (),
    *,
    run_dir: str | Path | None = None,
    resume: bool = False,
    from_step: int | None = None,
    dry_run: bool = False,
    say: Say = print,
    line: ProgressLine | None = None,
) -> Path | None:
    """Runs one recipe to its end; the folder it made, or None for a dry run, which says the recipe and what it takes.

    `resume` goes on from the run's newest checkpoint, or from that of `from_step`; without recipe paths it takes the
    run's own config. `line` shows progress; without it `say` is told of steps. Raises ConfigError, ModelFolderError or
    StorageError before anything is trained, BackendError when the loss is not a number.
    """
    if resume and run_dir is not None and not recipe_paths:
        recipe_paths = [RunFolder.open(run_dir).path / "config.toml"]
    if not recipe_paths:
        raise ConfigError("no recipe", "name a TOML file, for example recipes/nano/pretrain.toml")
    if from_step is not None and not resume:
        raise ConfigError(f"from step {from_step} without resuming", "add --resume")
    recipe = read_recipe(recipe_paths, overrides)
    if dry_run:
        say(config_toml(recipe))
        _say_estimate(recipe, say)
        return None
    stage = recipe.stage
    is_sharded = isinstance(stage, ModelRecipe) and stage.cluster.trainer_processes > 1
    run = cast("Callable[..., Path]", _resolve("sharded" if is_sharded else stage.type))
    return run(recipe, None if run_dir is None else Path(run_dir), resume, from_step, say, line)


def _say_estimate(recipe: Recipe, say: Say) -> None:
    try:
        estimate = cast("Callable[[Recipe], Iterator[str]]", _resolve("estimate"))
    except ConfigError as error:
        say(f"# no estimate: {error.problem}")
        return
    try:
        for line in estimate(recipe):
            say(f"# {line}")
    except ModelFolderError as error:  # the recipe may wait for what an earlier stage makes
        say(f"# no estimate: {error.problem}")


def read_recipe(paths: Sequence[str | Path], overrides: Sequence[str] = ()) -> Recipe:
    """A recipe of TOML files, later over earlier, then overrides such as `stage.seed=1`. Raises ConfigError.

    Paths inside a file are relative to the folder the command runs in.
    """
    return read_config(Recipe, paths, overrides)


@contextlib.contextmanager
def whole_import() -> Generator[None]:
    """Ctrl-C inside waits for the end: an import of torch that is cut may swallow it and stay half made."""
    pressed: list[int] = []
    before = signal.getsignal(signal.SIGINT)
    is_heard = callable(before) and threading.current_thread() is threading.main_thread()
    if is_heard:
        signal.signal(signal.SIGINT, lambda number, frame: pressed.append(number))
    try:
        yield
    finally:
        if is_heard:
            signal.signal(signal.SIGINT, before)
        if pressed:
            raise KeyboardInterrupt


def _resolve(stage: str) -> Any:
    module, function = STAGES[stage].split(":")
    try:
        with whole_import():
            return getattr(importlib.import_module(module), function)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise ConfigError(
            "training needs torch, which is not installed",
            "install it with: pip install 'ponder[train]'",
        ) from error
