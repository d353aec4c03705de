"""core/errors: the three branches of Ponder's error tree, by who must act.

    PonderError
    ├── UserError      the caller: bad input, configuration, missing extra   → two lines, documented exit code; HTTP 400
    │   ├── ConfigError      an unknown key, a value out of range
    │   ├── ModelFolderError a model folder that is missing, truncated, tampered with or not supported
    │   ├── PromptError      a question that is empty, too long, or not valid text
    │   ├── StorageError     a full disk, a missing or read-only folder
    │   ├── SandboxError     a layer of the sandbox is missing on this machine
    │   └── BusyError        the bounded queue is full                        → HTTP 429 with Retry-After
    ├── ModelError     the model broke a contract: told to it, or scored; never a crash
    │   └── ToolError        a call that failed: its text is the result the model reads
    └── BackendError   us or the hardware: traceback, HTTP 500

Every message says what was given, what is allowed, and what to do.
"""

from __future__ import annotations

EXIT_CODES: dict[str, int] = {
    "ok": 0,
    "backend": 1,
    "usage": 2,
    "config": 2,
    "prompt": 3,
    "model_folder": 4,
    "storage": 5,
    "network": 6,
    "busy": 7,
    "interrupted": 130,
}
"""Exit status of the `ponder` command by kind of end; documented in `docs/cli.md`."""


class PonderError(Exception):
    """Root of every error that Ponder raises on purpose."""

    exit_code: int = EXIT_CODES["backend"]


class UserError(PonderError):
    """The caller must act. `advice` is the second line: what to do."""

    exit_code = EXIT_CODES["usage"]

    def __init__(self, problem: str, advice: str = "") -> None:
        super().__init__(problem if not advice else f"{problem}\n{advice}")
        self.problem = problem
        self.advice = advice


class ConfigError(UserError):
    """A configuration key or value that is not allowed."""

    exit_code = EXIT_CODES["config"]


class PromptError(UserError):
    """A question that is empty, too long for the context, or not valid text."""

    exit_code = EXIT_CODES["prompt"]


class ModelFolderError(UserError):
    """A model folder that cannot be used as it is."""

    exit_code = EXIT_CODES["model_folder"]


class StorageError(UserError):
    """A file or folder that cannot be read or written."""

    exit_code = EXIT_CODES["storage"]


class NetworkError(UserError):
    """A download or endpoint that could not be reached or broke off."""

    exit_code = EXIT_CODES["network"]


class SandboxError(UserError):
    """A layer of the sandbox is missing on this machine, or no sandbox starts."""


class BusyError(UserError):
    """The queue is full; `retry_after_s` says when to try again."""

    exit_code = EXIT_CODES["busy"]

    def __init__(self, problem: str, advice: str = "", retry_after_s: float = 1.0) -> None:
        super().__init__(problem, advice)
        self.retry_after_s = retry_after_s


class ModelError(PonderError):
    """The model broke a contract, for example a malformed tool call."""


class ToolError(ModelError):
    """A tool's refusal or failure; the model reads its text instead of a result."""


class BackendError(PonderError):
    """Ponder or the hardware failed; never shown to a model as an observation."""
