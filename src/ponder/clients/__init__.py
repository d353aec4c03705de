"""clients: messages in, messages out: the in-process engine, an HTTP endpoint, a script.

Main noun: `LocalClient`. Main verb: `stream`. Nothing is re-exported, so that choosing one loads only that one.
May open: core, text, engine.
"""
