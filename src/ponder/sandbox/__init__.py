"""sandbox: runs untrusted programs under limits, and proves what it denies before it runs the first.

Main noun: `Sandbox`. Main verb: `run`.
May open: core.
"""

from ponder.sandbox.process import Sandbox
from ponder.sandbox.room import Limits, Result
from ponder.sandbox.selftest import Layer

__all__ = ["Layer", "Limits", "Result", "Sandbox"]
