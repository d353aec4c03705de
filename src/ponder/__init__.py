"""Ponder: run, make, measure and put to work models that think before they answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ponder.api import LoadedModel as LoadedModel
    from ponder.api import load as load

__version__ = "0.1.0"
__all__ = ["LoadedModel", "__version__", "load"]


def __getattr__(name: str) -> Any:
    if name in ("load", "LoadedModel"):
        from ponder import api

        return getattr(api, name)
    raise AttributeError(f"module 'ponder' has no attribute {name!r}")
