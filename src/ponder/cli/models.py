"""cli/models: list, describe and delete the models on this machine."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from ponder.cli.screen import Screen, counted, sized
from ponder.core.environment import (
    Environment,
    ModelPlace,
    find_model,
    installed_models,
    pulled_folder,
)
from ponder.core.errors import EXIT_CODES, ConfigError, ModelFolderError, UserError

STORED = {"float32": "fp32", "float16": "fp16", "uint16": "bf16"}
"""numpy's name of a stored tensor's type → the format's."""


def run_ls(options: argparse.Namespace, environment: Environment) -> int:
    """`ponder ls`."""
    places = installed_models(environment)
    if options.names:
        print("\n".join(place.name for place in places))
        return EXIT_CODES["ok"]
    rows = [_row(place) for place in places]
    if options.json:
        print(json.dumps(rows))
        return EXIT_CODES["ok"]
    width = max((len(row["name"]) for row in rows), default=4)
    print(f"{'name':<{width}}  {'parameters':>10}  {'size':>9}  from")
    for row in rows:
        count = counted(row["parameters"]) if row["parameters"] else row["problem"]
        print(f"{row['name']:<{width}}  {count:>10}  {sized(row['bytes']):>9}  {row['origin']}")
    partial = environment.models / ".partial"
    for folder in sorted(partial.glob("[!.]*--*")):
        name = "/".join(folder.name.split("--")[:2])
        Screen().note(
            f"unfinished: {name} ({sized(folder_bytes(folder))}); go on: ponder pull {name}"
        )
    return EXIT_CODES["ok"]


def _row(place: ModelPlace) -> dict[str, Any]:
    from ponder.model.config import read_model_config

    row: dict[str, Any] = {"name": place.name, "origin": place.origin, "folder": str(place.folder)}
    try:
        row |= {"parameters": read_model_config(place.folder).parameter_count(), "problem": ""}
    except ModelFolderError:
        row |= {"parameters": None, "problem": "damaged"}
    return row | {"bytes": folder_bytes(place.folder)}


def folder_bytes(folder: Path) -> int:
    """Bytes of the files in a folder; links count as nothing."""
    return sum(
        path.stat().st_size
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    )


def run_show(options: argparse.Namespace, environment: Environment) -> int:
    """`ponder show`."""
    facts = describe(find_model(options.name, environment))
    if options.json:
        print(json.dumps(facts))
        return EXIT_CODES["ok"]
    for name, value in facts.items():
        shown = value
        if name.endswith(("tags", "tokens")) or name == "stored_as":
            shown = ", ".join(value) or "none"
        elif name == "parameters":
            shown = f"{value:,} ({counted(value)})"
        elif name.endswith("bytes"):
            shown = f"{value:,} ({sized(value)})"
        print(f"{name.replace('_', ' '):<18} {shown}")
    return EXIT_CODES["ok"]


def describe(place: ModelPlace) -> dict[str, Any]:
    """What a model folder is, every file of it checked but no weight loaded. Raises ModelFolderError."""
    from ponder.api import recommended_sampling
    from ponder.core.types import Message
    from ponder.model.config import read_model_config
    from ponder.model.folder import FolderTensors
    from ponder.model.weights import tensor_shapes
    from ponder.text import ChatTemplate

    config = read_model_config(place.folder)
    tensors = FolderTensors(place.folder, config)
    template = ChatTemplate.from_folder(place.folder)
    prompt = template.render([Message("user", "x")])
    sampling = recommended_sampling(place.folder)
    kinds = Counter(STORED[str(tensors.tensor(name).dtype)] for name in tensor_shapes(config))
    tools = template.format.tools
    return {
        "name": place.name,
        "folder": str(place.folder),
        "architecture": config.architecture,
        "parameters": config.parameter_count(),
        "layers": config.num_layers,
        "hidden_size": config.hidden_size,
        "heads": f"{config.num_heads} over {config.num_kv_heads} of size {config.head_dim}",
        "vocabulary": config.vocab_size,
        "context": config.max_positions,
        "rope": f"{config.rope.kind}, theta {config.rope.theta:g}",
        "stored_as": [f"{kind} × {count}" for kind, count in kinds.items()],
        "weights_bytes": sum(path.stat().st_size for path in place.folder.glob("*.safetensors")),
        "folder_bytes": folder_bytes(place.folder),
        "thinking_tags": [template.format.think_open, template.format.think_close],
        "thinking_starts": "open" if prompt.thinking_open else "closed",
        "tool_tags": [tools.open, tools.close] if tools else [],
        "end_tokens": [template.tokenizer.decode([token]) for token in config.end_ids],
        "sampling": f"temperature {sampling.temperature:g}, top_k {sampling.top_k}, "
        f"top_p {sampling.top_p:g}, min_p {sampling.min_p:g}",
    }


def run_rm(options: argparse.Namespace, environment: Environment) -> int:
    """`ponder rm`: only what `ponder pull` made, whole or unfinished."""
    place = pulled_folder(options.name, environment)
    root = environment.models
    unfinished = sorted((root / ".partial").glob(f"{options.name.replace('/', '--')}--*"))
    doomed = [path for path in [place, *unfinished] if path.exists() or path.is_symlink()]
    if not doomed:
        raise ModelFolderError(
            f"No pulled model is named {options.name!r}.", "`ponder ls` lists the models."
        )
    for path in doomed:
        if path.is_symlink() or root.resolve() not in path.resolve().parents:
            raise ConfigError(
                f"{str(path)!r} is a link out of {str(root)!r}.", "Remove the link by hand."
            )
    size = sum(folder_bytes(path) for path in doomed)
    if not options.yes and not _agreed(options.name, size):
        Screen().note("Nothing was deleted.")
        return EXIT_CODES["ok"]
    for path in doomed:
        # Out of the store's view first, so that a cut deletion leaves no half model behind.
        hidden = path.with_name(f".removed-{os.getpid()}-{path.name}")
        os.replace(path, hidden)
        shutil.rmtree(hidden)
    if place.parent.is_dir() and not any(place.parent.iterdir()):
        place.parent.rmdir()
    Screen().note(f"Deleted {options.name} ({sized(size)}).")
    return EXIT_CODES["ok"]


def _agreed(name: str, size: int) -> bool:
    if not sys.stdin.isatty():
        raise UserError(f"Deleting {name!r} needs a yes.", f"Say: ponder rm {name} --yes")
    print(f"Delete {name} ({sized(size)})? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
