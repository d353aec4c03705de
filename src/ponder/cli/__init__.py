"""cli: the `ponder` command; the only room that knows every other, and wires and prints.

Main noun: the command. Main verb: `main`.
May open: all.
"""

from ponder.cli.edge import main

__all__ = ["main"]
