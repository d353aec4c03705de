"""cli/report: `report`: a run as one page that opens in a browser without a network, or as TensorBoard's files."""

from __future__ import annotations

import argparse

from ponder.core.environment import Environment
from ponder.core.errors import EXIT_CODES


def run(options: argparse.Namespace, environment: Environment) -> int:
    """`ponder report`: prints the file, or with --tensorboard the folder, that it wrote."""
    if options.tensorboard:
        from ponder.runs.tensorboard import write_events

        print(write_events(options.run, options.output))
    else:
        from ponder.runs.report import write_report

        print(write_report(options.run, options.output))
    return EXIT_CODES["ok"]
