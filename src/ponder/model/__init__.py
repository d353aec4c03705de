"""model: a transformer as a pure function over an `Ops` seam, its weights and its op sets.

Main noun: `Model`. Main verb: `load_model`.
May open: core.
"""

from __future__ import annotations

from ponder.model.config import ModelConfig
from ponder.model.folder import load_model, random_model
from ponder.model.model import Model
from ponder.model.ops import native_available
from ponder.model.save import save_folder

__all__ = ["Model", "ModelConfig", "load_model", "native_available", "random_model", "save_folder"]
