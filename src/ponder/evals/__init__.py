"""evals: many problems put to a model, then statistics.

Main noun: `Table`. Main verb: `evaluate`.
May open: core, tasks, agent, runs.
"""

from ponder.evals.table import Row, Table, evaluate

__all__ = ["Row", "Table", "evaluate"]
