"""model/folder: from a Hugging Face folder, or a shape, to a `Model`. Pickles are never opened."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath
from typing import Any, Literal, cast, get_args

import numpy as np

from ponder.core.errors import ConfigError, ModelFolderError
from ponder.model.config import ModelConfig, read_model_config
from ponder.model.model import Model
from ponder.model.ops import OpsName, make_ops
from ponder.model.ops.protocol import Stored, WeightsFormat
from ponder.model.ops.scalar import bfloat16_bits
from ponder.model.safetensors import SafetensorsFile, TensorEntry
from ponder.model.strict_json import read_object
from ponder.model.weights import EMBEDDING, HEAD, prepare_weights, tensor_shapes

WeightsChoice = Literal["auto", "fp32", "bf16", "int8", "int4"]
"""`auto`: as stored, float16 becoming fp32."""

_SINGLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_IGNORED = re.compile(r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq")
"""Old Llama folders store these; the config defines them."""


def load_model(
    folder: str | Path,
    weights: WeightsChoice = "auto",
    ops: OpsName = "auto",
    threads: int | None = None,
) -> Model:
    """A model from a folder in Hugging Face layout; ModelFolderError says why one cannot be used."""
    _check_choice(weights)
    path = Path(folder)
    if not os.path.isdir(path):  # unlike Path.is_dir, False for any name the system refuses
        what = "is not a folder" if os.path.exists(path) else "does not exist"
        raise ModelFolderError(
            f"{path}: {what}", "give a Hugging Face model folder (config.json, *.safetensors)"
        )
    config = read_model_config(path)
    tensors = FolderTensors(path, config)
    chosen = tensors.stored_format() if weights == "auto" else weights
    _check_memory(config, chosen, str(path))
    op_set = make_ops(ops, threads)
    return Model(config, op_set, prepare_weights(op_set, config, tensors.tensor, chosen), chosen)


def random_model(
    config: ModelConfig,
    weights: WeightsChoice = "auto",
    ops: OpsName = "auto",
    threads: int | None = None,
    seed: int = 0,
) -> Model:
    """A model of this shape with random weights (`auto`: bf16), for benchmarks and tests; same seed, same numbers."""
    _check_choice(weights)
    chosen: WeightsFormat = "bf16" if weights == "auto" else weights
    _check_memory(config, chosen, f"a random model of {config.parameter_count()} parameters")
    tensors = RandomTensors(config, seed, "fp32" if chosen == "fp32" else "bf16")
    op_set = make_ops(ops, threads)
    return Model(config, op_set, prepare_weights(op_set, config, tensors.tensor, chosen), chosen)


class RandomTensors:
    """Tensors of a shape: norms near one, the rest normal with deviation 0.02 to 0.1, made when asked for."""

    def __init__(self, config: ModelConfig, seed: int, stored: Literal["fp32", "bf16"]) -> None:
        self._shapes = tensor_shapes(config)
        self._order = {name: index for index, name in enumerate(self._shapes)}
        self._seed = seed
        self._stored = stored

    def tensor(self, name: str) -> Stored:
        """The tensor of this name; a large one repeats a block of a million numbers."""
        shape = self._shapes[name]
        count = int(np.prod(shape))
        rng = np.random.default_rng([self._seed, self._order[name]])
        block = rng.standard_normal(min(count, (1 << 20) + 7), np.float32)
        if name.endswith("norm.weight"):
            block = np.float32(1.0) + block * np.float32(0.1)
        else:
            block *= np.float32(0.02 if name in (EMBEDDING, HEAD) else min(0.1, shape[-1] ** -0.5))
        stored = block if self._stored == "fp32" else bfloat16_bits(block)
        return np.resize(stored, shape)


class FolderTensors:
    """The tensors of a folder, mapped and compared with what its config asks for."""

    def __init__(self, folder: Path, config: ModelConfig) -> None:
        self._files = _open_files(folder)
        self._owner = {name: file for file in self._files for name in file.entries}
        self._check(folder, config)

    def tensor(self, name: str) -> Stored:
        """The stored tensor, a view into the mapped file."""
        return self._owner[name].tensor(name)

    def stored_format(self) -> WeightsFormat:
        """`bf16` when the embedding is stored so, else `fp32`."""
        return "bf16" if self._entry(EMBEDDING).dtype == "BF16" else "fp32"

    def _entry(self, name: str) -> TensorEntry:
        return self._owner[name].entries[name]

    def _check(self, folder: Path, config: ModelConfig) -> None:
        shapes = tensor_shapes(config)
        problems: list[str] = []
        for name, shape in shapes.items():
            if name not in self._owner:
                problems.append(f"missing {name!r} of shape {list(shape)}")
            elif self._entry(name).shape != shape:
                problems.append(
                    f"{name!r} has shape {list(self._entry(name).shape)}, expected {list(shape)}"
                )
            elif self._entry(name).dtype not in ("F32", "F16", "BF16"):
                problems.append(
                    f"{name!r} is stored as {self._entry(name).dtype}, allowed are F32, F16, BF16"
                )
        for name in self._owner:
            if name in shapes or _IGNORED.fullmatch(name):
                continue
            if name == HEAD and not problems:
                if _same(self.tensor(HEAD), self.tensor(EMBEDDING)):
                    continue
                problems.append(
                    f"{HEAD!r} differs from {EMBEDDING!r} although the config ties them"
                )
            else:
                problems.append(f"surplus {name!r} of shape {list(self._entry(name).shape)}")
        if problems:
            raise ModelFolderError(
                f"{folder}: its tensors do not fit its config.json: {'; '.join(problems)}",
                "fetch the folder again, or correct config.json",
            )


def _same(a: Stored, b: Stored) -> bool:
    return (
        a.dtype == b.dtype
        and a.shape == b.shape
        and bool(np.array_equal(a.view(np.uint8), b.view(np.uint8)))
    )


def _open_files(folder: Path) -> list[SafetensorsFile]:
    if (folder / _SINGLE).exists():
        return [SafetensorsFile(folder / _SINGLE)]
    if not (folder / _INDEX).exists():
        pickled = sorted(path.name for path in folder.iterdir() if path.suffix in _PICKLES)
        if pickled:
            raise ModelFolderError(
                f"{folder}: holds only pickled weights ({', '.join(pickled)}), which can run code when they are loaded",
                "allowed are safetensors: take a revision that has them, or convert in a sandbox with transformers' "
                "save_pretrained(folder, safe_serialization=True)",
            )
        raise ModelFolderError(
            f"{folder}: has neither {_SINGLE} nor {_INDEX}",
            "give a folder with safetensors weights",
        )
    return _open_shards(folder)


def _open_shards(folder: Path) -> list[SafetensorsFile]:
    index = folder / _INDEX
    raw = read_object(index, "an index with a 'weight_map'", 64 << 20).get("weight_map")
    again = "fetch the folder again"
    if not isinstance(raw, dict) or not raw:
        raise ModelFolderError(f"{index}: has no 'weight_map' object", again)
    weight_map = cast("dict[str, Any]", raw)
    for shard in weight_map.values():
        if not isinstance(shard, str) or not _is_plain_name(shard):
            raise ModelFolderError(
                f"{index}: names the shard {shard!r}",
                "allowed are plain names of .safetensors files in the same folder",
            )
    shards = sorted(set(cast("dict[str, str]", weight_map).values()))
    missing = [name for name in shards if not (folder / name).is_file()]
    if missing:
        raise ModelFolderError(f"{folder}: missing shards {', '.join(missing)}", again)
    files = [SafetensorsFile(folder / name) for name in shards]
    problems: list[str] = []
    found: dict[str, str] = {}
    for file in files:
        for name in file.entries:
            if name in found:
                problems.append(f"{name!r} is in both {found[name]} and {file.path.name}")
            found[name] = file.path.name
            if name not in weight_map:
                problems.append(f"{name!r} of {file.path.name} is not in the index")
    problems += [
        f"{name!r} should be in {shard} but is {'in ' + found[name] if name in found else 'nowhere'}"
        for name, shard in weight_map.items()
        if found.get(name) != shard
    ]
    if problems:
        raise ModelFolderError(
            f"{index}: does not agree with its shards: {'; '.join(problems)}", again
        )
    return files


def _is_plain_name(name: str) -> bool:
    plain = (
        PurePosixPath(name).name == name
        and "\\" not in name
        and ":" not in name
        and "\0" not in name
    )
    return plain and name.endswith(".safetensors") and not name.startswith(".")


def _check_choice(weights: str) -> None:
    if weights not in get_args(WeightsChoice):
        raise ConfigError(
            f"weights is {weights!r}", f"allowed are {', '.join(get_args(WeightsChoice))}"
        )


BYTES: dict[WeightsFormat, float] = {"fp32": 4, "bf16": 2, "int8": 1, "int4": 0.5625}
"""Of one weight, without the scales of int8."""


def _check_memory(config: ModelConfig, weights_format: WeightsFormat, what: str) -> None:
    need = config.parameter_count() * BYTES[weights_format]
    have = (
        os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else need
    )
    if need > have:
        raise ConfigError(
            f"{what} needs {need / 2**30:.1f} GiB as {weights_format}, this machine has {have / 2**30:.1f} GiB",
            "take a smaller model, or weights='int4'",
        )
