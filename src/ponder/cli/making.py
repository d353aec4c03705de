"""cli/making: `train` and `eval`, handed on to the rooms that do the work."""

from __future__ import annotations

import argparse
import importlib.util

from ponder.cli.screen import Screen
from ponder.core.environment import Environment
from ponder.core.errors import EXIT_CODES, UserError


def run_train(options: argparse.Namespace, environment: Environment) -> int:
    """`ponder train`."""
    if importlib.util.find_spec("torch") is None:
        raise UserError(
            "Training needs torch, which is not installed.",
            "Install it: pip install 'ponder[train]'",
        )
    from ponder.train.stages import read_recipe, train

    recipe = read_recipe(options.recipe, options.set)
    made = train(recipe, options.run_dir, options.resume, Screen(environment.color).note)
    print(made)
    return EXIT_CODES["ok"]
