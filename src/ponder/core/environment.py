"""core/environment: the one place that reads environment variables, and where models lie on this machine.

Nothing is read at import: `read_environment()` is called once, by the edge that needs it.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ponder.core.errors import ConfigError, ModelFolderError

PREFIX = "PONDER_"

VARIABLES: dict[str, str] = {
    "PONDER_HOME": "folder of pulled models and chat history (default: ~/.cache/ponder)",
    "PONDER_MODEL": "model used when --model is not given (default: nano)",
    "PONDER_THREADS": "compute threads when --threads is not given (default: one a core)",
    "PONDER_DATA": "folder of the evaluation data sets (default: none)",
    "NO_COLOR": "any value: no colour and no dim text on a terminal",
}
"""Every variable that Ponder reads."""

FOREIGN_VARIABLES: dict[str, str] = {
    "HF_ENDPOINT": "address of the model hub that `ponder pull` uses",
    "HF_TOKEN": "token for gated models (its value is never shown)",
}
"""Variables that the huggingface_hub package reads and `ponder doctor` lists."""

PACKAGED_MODELS = Path(__file__).resolve().parents[1] / "models"
"""Models that came with the package, one folder each."""

PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
"""One half of a model's name `owner/name`."""


@dataclass(frozen=True, slots=True)
class Environment:
    """What the environment said when the process began."""

    home: Path
    model: str
    threads: int | None
    data: Path | None
    color: bool
    given: Mapping[str, str]
    """The variables above that were set, with their values; a token's value is hidden."""
    unknown: Mapping[str, str]
    """Variables with Ponder's prefix that Ponder does not know, with the nearest known name or ''."""

    @property
    def models(self) -> Path:
        """The folder of pulled models: `<owner>/<name>` inside it."""
        return self.home / "models"


def read_environment(environ: Mapping[str, str] | None = None) -> Environment:
    """The settings of this process. Raises ConfigError when a value is out of range."""
    values = os.environ if environ is None else environ
    threads = values.get("PONDER_THREADS")
    if threads is not None and (not threads.isascii() or not threads.isdigit() or int(threads) < 1):
        raise ConfigError(
            f"PONDER_THREADS is {threads!r}; it must be a whole number from 1.",
            "Set it to a number of threads, or unset it to use one a core.",
        )
    home = values.get("PONDER_HOME")
    data = values.get("PONDER_DATA")
    known = [*VARIABLES, *FOREIGN_VARIABLES]
    given = {name: values[name] for name in known if name in values}
    if "HF_TOKEN" in given:
        given["HF_TOKEN"] = "(set)"
    unknown = {
        name: next(iter(difflib.get_close_matches(name, list(VARIABLES), 1)), "")
        for name in values
        if name.startswith(PREFIX) and name not in VARIABLES
    }
    return Environment(
        home=Path(home).expanduser() if home else Path.home() / ".cache" / "ponder",
        model=values.get("PONDER_MODEL") or "nano",
        threads=int(threads) if threads else None,
        data=Path(data) if data else None,
        color="NO_COLOR" not in values,
        given=given,
        unknown=unknown,
    )


@dataclass(frozen=True, slots=True)
class ModelPlace:
    """A model by name, e.g. `ModelPlace("Qwen/Qwen3-0.6B", Path("…/models/Qwen/Qwen3-0.6B"), "pulled")`."""

    name: str
    folder: Path
    origin: Literal["package", "pulled", "folder"]


def installed_models(environment: Environment) -> list[ModelPlace]:
    """The package's models, then the pulled ones, each group in order of name."""
    packaged = [
        ModelPlace(folder.name, folder, "package")
        for folder in _folders(PACKAGED_MODELS)
        if (folder / "config.json").is_file()
    ]
    pulled = [
        ModelPlace(f"{owner.name}/{folder.name}", folder, "pulled")
        for owner in _folders(environment.models)
        for folder in _folders(owner)
    ]
    return packaged + pulled


def _folders(parent: Path) -> list[Path]:
    """Folders inside `parent` that can be half a model's name; a dot hides unfinished downloads."""
    if not parent.is_dir():
        return []
    return sorted(path for path in parent.iterdir() if path.is_dir() and PART.fullmatch(path.name))


def is_hub_name(name: str) -> bool:
    """True for `owner/name`: each half letters, digits, dot, dash or underscore, no leading dot."""
    parts = name.split("/")
    return len(parts) == 2 and all(PART.fullmatch(part) for part in parts)


def pulled_folder(name: str, environment: Environment) -> Path:
    """Where the model `owner/name` lies once pulled. Raises ConfigError for any other form of name."""
    if not is_hub_name(name):
        raise ConfigError(
            f"{name!r} is not a model's name.",
            "Give it as owner/name, for example Qwen/Qwen3-0.6B.",
        )
    return environment.models / name


def find_model(name: str, environment: Environment) -> ModelPlace:
    """The folder that `name` means: a model of the package, a pulled one, or a folder, in this order.

    Raises ModelFolderError when there is none, naming what there is.
    """
    if PART.fullmatch(name) and (PACKAGED_MODELS / name / "config.json").is_file():
        return ModelPlace(name, PACKAGED_MODELS / name, "package")
    if is_hub_name(name) and (environment.models / name).is_dir():
        return ModelPlace(name, environment.models / name, "pulled")
    folder = Path(name).expanduser()
    if name and folder.is_dir():
        return ModelPlace(name, folder, "folder")
    if name and folder.exists():
        raise ModelFolderError(
            f"{name!r} is a file, not a model folder.",
            "Give the folder that holds config.json, tokenizer.json and *.safetensors.",
        )
    names = [place.name for place in installed_models(environment)]
    nearest = difflib.get_close_matches(name, names, 1)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    have = f"Models here: {', '.join(names)}." if names else "There are no models here."
    pull = f" `ponder pull {name}` downloads it." if is_hub_name(name) else ""
    raise ModelFolderError(f"No model or folder named {name!r}.{hint}", f"{have}{pull}")
