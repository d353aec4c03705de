"""model: a transformer as a pure function over an `Ops` seam, its weights and its op sets.

Main noun: `Model`. Main verb: `load_model`.
May open: core.
"""
