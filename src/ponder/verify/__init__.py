"""verify: an answer in, a verdict with its reason out; exact, limited, and never by eval.

Main noun: `Verdict` (of core). Main verb: `check_…`.
May open: core, sandbox.
"""

from ponder.verify.countdown import check_countdown
from ponder.verify.equation import check_equation
from ponder.verify.numbers import check_number
from ponder.verify.rational import RationalError, evaluate, parse
from ponder.verify.sequence import check_sequence

__all__ = [
    "RationalError",
    "check_countdown",
    "check_equation",
    "check_number",
    "check_sequence",
    "evaluate",
    "parse",
]
