"""evals: many episodes put to a model, then statistics.

Main noun: `Table`. Main verb: `evaluate`.
May open: core, tasks, agent, runs.
"""

from ponder.evals.table import Plan, Row, Table, compare, evaluate
from ponder.evals.text import comparison_text, table_text

__all__ = ["Plan", "Row", "Table", "compare", "comparison_text", "evaluate", "table_text"]
