"""tasks: problems, how they are generated, how they are solved in text, and which verifier judges them.

Main noun: `Problem` (of core). Main verb: `generate`.
May open: core, verify.
"""

from ponder.tasks.catalogue import (
    FAMILIES,
    MIXTURE,
    document,
    generate,
    held_out,
    recognise,
    verify,
)

__all__ = ["FAMILIES", "MIXTURE", "document", "generate", "held_out", "recognise", "verify"]
