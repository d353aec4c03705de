"""cli/making: `train` and `eval`, handed on to the rooms that do the work."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING

from ponder.cli.screen import Screen
from ponder.core.environment import Environment
from ponder.core.errors import EXIT_CODES, ConfigError

if TYPE_CHECKING:
    from ponder.evals import Plan, Table

MAX_TOKENS = 1024
"""Most tokens of one answer in `ponder eval`."""


def run_train(options: argparse.Namespace, environment: Environment) -> int:
    """`ponder train`: prints the folder it made, or with --dry-run the resolved recipe."""
    from ponder.runs.progress import ProgressLine
    from ponder.train.entry import main

    if options.resume is not None and options.run_dir is not None:
        raise ConfigError(
            "--resume and --run-dir were both given",
            f"--resume {options.resume} goes on with that run; --run-dir starts a new one",
        )
    line = ProgressLine(sys.stderr)
    try:
        made = main(
            options.recipe,
            options.set or (),
            run_dir=options.resume or options.run_dir,
            resume=options.resume is not None,
            from_step=options.from_step,
            dry_run=options.dry_run,
            say=print if options.dry_run else line.say,
            line=line,
        )
    finally:
        line.end()
    if made is not None:
        print(made)
    return EXIT_CODES["ok"]


def run_eval(options: argparse.Namespace, environment: Environment) -> int:
    """`ponder eval`: the table of accuracies on stdout, progress on stderr."""
    from ponder.evals import compare, comparison_text, table_text

    plan = _plan(options)
    tables = [_measure(options, environment, plan, options.model)]
    if options.against is not None:
        tables.append(_measure(options, environment, plan, options.against))
    pairs = compare(tables[0], tables[-1]) if len(tables) == 2 else ()
    names = str(tables[0].facts["model"]), str(tables[-1].facts["model"])
    if options.json:
        values = tables[0].values()
        if pairs:
            values |= {"against": tables[1].values(), "pairs": [asdict(pair) for pair in pairs]}
        print(json.dumps(values))
        return EXIT_CODES["ok"]
    for table in tables:
        title = [f"{table.facts['model']}:"] if pairs else []
        print("\n".join([*title, table_text(table)]) + ("\n" if pairs else ""))
    if pairs:
        print(comparison_text(names, pairs))
    for row in tables[0].rows if options.examples else ():
        for example in row.examples:
            print(f"\n[{row.family}] {example.question}\n  {example.answer}\n  {example.reason}")
    return EXIT_CODES["ok"]


def _plan(options: argparse.Namespace) -> Plan:
    from ponder.agent import Limits
    from ponder.evals import Plan
    from ponder.tasks import FAMILIES

    for flag in ("temperature", "seed"):
        if getattr(options, flag) is not None and not options.samples:
            raise ConfigError(
                f"--{flag} {getattr(options, flag)} was given without samples",
                "add --samples K; the greedy answers know neither",
            )
    families: tuple[str, ...] = tuple(dict.fromkeys(options.family or ()))
    return Plan(
        families=tuple(FAMILIES) if "all" in families else families,
        bands=tuple(dict.fromkeys(options.band or ("S",))),
        count=options.count,
        samples=options.samples,
        temperature=1.0 if options.temperature is None else options.temperature,
        seed=0 if options.seed is None else options.seed,
        limits=Limits(MAX_TOKENS if options.max_tokens is None else options.max_tokens),
    )


def _measure(
    options: argparse.Namespace, environment: Environment, plan: Plan, name: str | None
) -> Table:
    from ponder.cli.answering import open_model
    from ponder.cli.machine import commit, machine
    from ponder.clients.session import TokenSession
    from ponder.evals import Row, evaluate

    screen = Screen(environment.color)

    def told(row: Row) -> None:
        screen.note(f"{row.family} {row.band}: {row.right} of {row.count} right")

    with open_model(options, environment, screen, name) as loaded:
        facts = {
            "model": loaded.name,
            "weights": loaded.model.weights_format,
            "ops": loaded.model.ops.name,
            "machine": machine(),
            "commit": commit(),
            "command": " ".join(["ponder", *sys.argv[1:]]),
        }
        limits = replace(plan.limits, total_tokens=loaded.worker.context_len)
        return evaluate(
            loaded.worker,
            partial(TokenSession, loaded.template),
            replace(plan, limits=limits),
            facts=facts,
            done=told,
        )
