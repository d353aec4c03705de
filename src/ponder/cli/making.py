"""cli/making: `train` and `eval`, handed on to the rooms that do the work."""

from __future__ import annotations

import argparse
import json
import sys

from ponder.cli.screen import Screen
from ponder.core.environment import Environment
from ponder.core.errors import EXIT_CODES

MAX_TOKENS = 1024
"""Most tokens of one answer in `ponder eval`."""


def run_train(options: argparse.Namespace, environment: Environment) -> int:
    """`ponder train`: prints the folder it made, or with --dry-run the resolved recipe."""
    from ponder.train.entry import main

    made = main(
        options.recipe,
        options.set or (),
        run_dir=options.run_dir,
        resume=options.resume,
        from_step=options.from_step,
        dry_run=options.dry_run,
        say=print if options.dry_run else Screen(environment.color).note,
    )
    if made is not None:
        print(made)
    return EXIT_CODES["ok"]


def run_eval(options: argparse.Namespace, environment: Environment) -> int:
    """`ponder eval`: the table of accuracies on stdout, progress on stderr."""
    from ponder.cli.answering import open_model
    from ponder.cli.machine import commit, machine
    from ponder.evals import evaluate

    screen = Screen(environment.color)
    with open_model(options, environment, screen) as loaded:
        facts = {
            "model": loaded.name,
            "weights": loaded.model.weights_format,
            "ops": loaded.model.ops.name,
            "machine": machine(),
            "commit": commit(),
            "command": " ".join(["ponder", *sys.argv[1:]]),
        }
        table = evaluate(
            loaded.client,
            options.family or (),
            band=options.band,
            count=options.count,
            max_tokens=MAX_TOKENS if options.max_tokens is None else options.max_tokens,
            facts=facts,
            done=lambda row: screen.note(f"{row.family}: {row.right} of {row.count} right"),
        )
    if options.json:
        print(json.dumps(table.values()))
        return EXIT_CODES["ok"]
    print(table.text())
    for row in table.rows if options.examples else ():
        for example in row.examples:
            print(f"\n[{row.family}] {example.question}\n  {example.answer}\n  {example.reason}")
    return EXIT_CODES["ok"]
