"""cli/save: write a conversation to a file, whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ponder.core.errors import PromptError, StorageError
from ponder.core.types import Message


def save_conversation(name: str, model: str, messages: Sequence[Message]) -> Path:
    """Write `messages` to a new `.md` or `.json` file. Raises PromptError or StorageError; leaves no half file."""
    path = Path(name).expanduser()
    if path.suffix not in (".md", ".json"):
        raise PromptError(
            f"/save was given {name!r}.",
            "Give a file that ends in .md or .json, e.g. /save talk.md.",
        )
    if path.exists():
        raise StorageError(f"{str(path)!r} exists already.", "Give another name.")
    text = _markdown(model, messages) if path.suffix == ".md" else _json(model, messages)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        unfinished.write_text(text, encoding="utf-8")
        os.replace(unfinished, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise StorageError(
            f"{str(path)!r} could not be written: {error.strerror}.",
            "Give a file in a folder that exists and has room.",
        ) from error
    return path


def _json(model: str, messages: Sequence[Message]) -> str:
    kept = [
        {key: value for key, value in asdict(message).items() if value not in (None, ())}
        for message in messages
    ]
    return json.dumps({"model": model, "messages": kept}, indent=2, ensure_ascii=False) + "\n"


def _markdown(model: str, messages: Sequence[Message]) -> str:
    parts = [f"# Conversation with {model}"]
    for message in messages:
        parts.append(f"## {message.role.capitalize()}")
        if message.reasoning:
            parts.append("\n".join(f"> {line}" for line in message.reasoning.strip().splitlines()))
        parts.append((message.content or "").strip())
    return "\n\n".join(parts) + "\n"
