"""core: the nouns, protocols, strict configuration and errors that every room shares.

Main noun: `Message`. Main verb: `read_config`.
May open: nothing.
"""
