"""engine: token ids in, token events out: cache, schedule, run, sample.

Main noun: `Engine`, a pure core that moves when `step` is called. Main verb: `step`.
`EngineWorker` puts one thread around it and is what the other rooms see as a `TokenEngine`.
May open: core, model.
"""

from ponder.engine.config import EngineConfig
from ponder.engine.engine import Engine
from ponder.engine.worker import EngineWorker

__all__ = ["Engine", "EngineConfig", "EngineWorker"]
