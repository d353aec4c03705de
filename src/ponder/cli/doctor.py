"""cli/doctor: what this installation is, what the machine offers, and what is wrong with either."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import shutil
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from ponder import __version__
from ponder.cli.machine import cpu_features, cpu_name, memory_bytes
from ponder.cli.screen import sized
from ponder.core.environment import Environment, installed_models
from ponder.core.errors import EXIT_CODES
from ponder.model.ops import available_threads, native_available

EXTRAS = {
    "train": ("torch",),
    "dev": ("torch", "transformers", "pytest", "hypothesis"),
    "parity": ("llama_cpp", "gguf"),
}
"""Extra → the modules it brings."""
PACKAGES = ("numpy", "tokenizers", "jinja2", "huggingface_hub", "torch")


def run(options: argparse.Namespace, environment: Environment) -> int:
    """`ponder doctor`. Exit status 1 when something stands in the way of an answer."""
    facts = examine(environment)
    if options.json:
        print(json.dumps(facts))
    else:
        for title, values in facts.items():
            print(title)
            for line in values:
                value = "" if title == "problems" else values[line]
                print(f"  {line:<18} {value}".rstrip())
    return EXIT_CODES["backend" if facts["problems"] else "ok"]


def examine(environment: Environment) -> dict[str, Any]:
    """Everything, by section."""
    native, reason = native_available()
    models = installed_models(environment)
    found = {place.name: f"{place.origin}, {place.folder}" for place in models}
    settings = {"home": str(environment.home), "model": environment.model}
    return {
        "ponder": {"version": __version__, "folder": str(Path(__file__).parents[1])},
        "python": {"version": platform.python_version(), "program": sys.executable},
        "packages": {name: _version(name) for name in PACKAGES},
        "extras": {name: _extra(modules) for name, modules in EXTRAS.items()},
        "op sets": {
            "native": _native_detail() if native else f"no: {reason}",
            "reference": "yes",
            "used": "native" if native else "reference",
        },
        "machine": {
            "processor": cpu_name(),
            "features": ", ".join(cpu_features()) or "unknown",
            "threads": environment.threads or available_threads(),
            "memory": sized(memory_bytes()),
            "disk free": sized(_disk_free(environment.home)),
        },
        "settings": settings,
        "variables": dict(environment.given) or {"(none set)": ""},
        "models": found,
        "problems": _problems(environment, found, native, reason),
    }


def _problems(
    environment: Environment, found: dict[str, str], native: bool, reason: str
) -> list[str]:
    problems: list[str] = []
    if environment.model not in found and not Path(environment.model).is_dir():
        problems.append(f"the default model {environment.model!r} is not here")
    if not native:
        problems.append(f"answers are slow: no compiled op set ({reason})")
    for name, nearest in environment.unknown.items():
        hint = f"; did you mean {nearest}?" if nearest else ""
        problems.append(f"the variable {name} is not one of Ponder's{hint}")
    parent = _existing(environment.home)
    if not os.access(parent, os.W_OK):
        problems.append(f"{parent} cannot be written: `ponder pull` would fail")
    return problems


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _extra(modules: tuple[str, ...]) -> str:
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    return "no, lacks " + ", ".join(missing) if missing else "yes"


def _native_detail() -> str:
    from ponder.model.ops.native import kernel_names

    return f"yes, {kernel_names()[0]} (of {', '.join(kernel_names())})"


def _existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.absolute().parents) if folder.exists())


def _disk_free(path: Path) -> int:
    return shutil.disk_usage(_existing(path)).free
