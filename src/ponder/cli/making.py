"""cli/making: `train` and `eval`, handed on to the rooms that do the work."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Generator
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ponder.cli.screen import Screen
from ponder.core.environment import Environment, find_model
from ponder.core.errors import EXIT_CODES, ConfigError

if TYPE_CHECKING:
    from ponder.api import LoadedModel
    from ponder.core.protocols import TokenEngine
    from ponder.evals import Plan, Table
    from ponder.text import ChatTemplate

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
    from ponder.cli.machine import commit, machine
    from ponder.clients.session import TokenSession
    from ponder.evals import Row, evaluate
    from ponder.evals.table import WINDOW

    screen = Screen(environment.color)

    def told(row: Row) -> None:
        screen.note(f"{row.family} {row.band}: {row.right} of {row.count} right")

    with _answering(options, environment, screen, name) as (engine, template, known):
        limits = replace(plan.limits, total_tokens=known.pop("context_len"))
        facts = known | {
            "machine": machine(),
            "commit": commit(),
            "command": " ".join(["ponder", *sys.argv[1:]]),
        }
        return evaluate(
            engine,
            partial(TokenSession, template),
            replace(plan, limits=limits),
            facts=facts,
            done=told,
            window=WINDOW * max(1, options.workers or 0),
        )


@contextlib.contextmanager
def _answering(
    options: argparse.Namespace, environment: Environment, screen: Screen, name: str | None
) -> Generator[tuple[TokenEngine, ChatTemplate, dict[str, Any]]]:
    """A model in this process, or one in each of `--workers`: an engine, its template, and what is known of it."""
    from ponder.api import load
    from ponder.cli.answering import open_model
    from ponder.clients.ray_tokens import RayTokenEngine
    from ponder.text import ChatTemplate

    if not options.workers:
        if options.ray is not None:
            raise ConfigError(f"--ray {options.ray} was given without workers", "add --workers N")
        with open_model(options, environment, screen, name) as loaded:
            yield loaded.worker, loaded.template, {"model": loaded.name} | _known(loaded)
        return
    place = find_model(name or options.model or environment.model, environment)
    threads = options.threads or 1
    folder = str(place.folder.resolve())
    engine = RayTokenEngine(
        partial(load, folder, weights=options.weights, threads=threads),
        options.workers,
        options.ray or "",
        threads=threads,
        facts=_known,
        say=screen.note,
    )
    with contextlib.closing(engine):
        known = {"model": place.name, "workers": options.workers, **engine.facts}
        yield engine, ChatTemplate.from_folder(place.folder), known


def _known(loaded: LoadedModel) -> dict[str, Any]:
    return {
        "weights": loaded.model.weights_format,
        "ops": loaded.model.ops.name,
        "context_len": loaded.worker.context_len,
    }
