"""runs: a run's folder on disk: resolved config, metrics, samples, checkpoints.

Main noun: `RunFolder`. Main verbs: `log`, `save_checkpoint`.
May open: core.
"""

from ponder.runs.folder import RunFolder

__all__ = ["RunFolder"]
