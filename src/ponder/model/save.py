"""model/save: a model's tensors as a Hugging Face folder, each file whole or not there at all."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from numpy.typing import NDArray

from ponder.core.errors import ConfigError, StorageError
from ponder.model.config import ARCHITECTURES, ModelConfig, RopeConfig
from ponder.model.safetensors import write_safetensors
from ponder.model.weights import tensor_shapes

SHARD_BYTES = 5 << 30
"""Most bytes of tensors in one file, unless a single tensor is larger."""

_SINGLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"


def save_folder(
    folder: str | Path,
    config: ModelConfig,
    tensors: Mapping[str, NDArray[Any]],
    extra_files: Mapping[str, bytes] | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Writes config.json, generation_config.json, the weights, and `extra_files` (a tokenizer, a chat template).

    Tensors are float32, float16, or uint16 holding the bits of bfloat16, by their Hugging Face names. Every file is
    written under a temporary name and all are renamed at the end; weights that a former save left are then removed.
    ConfigError names tensors that do not fit the config, StorageError a full disk or a folder that cannot be written.
    """
    _check_tensors(config, tensors)
    shards = _shards(config, tensors, shard_bytes)
    writers: dict[str, Callable[[BinaryIO], object]] = {}
    for name, data in _text_files(config, tensors, shards, extra_files or {}).items():
        writers[name] = lambda file, data=data: file.write(data)
    for name, names in shards.items():
        part = {tensor: tensors[tensor] for tensor in names}
        writers[name] = lambda file, part=part: write_safetensors(file, part)
    write_files(Path(folder), writers)
    _remove_stale(Path(folder), set(writers))


def write_files(folder: Path, writers: Mapping[str, Callable[[BinaryIO], object]]) -> None:
    """All files of a folder, by name; if one cannot be written, none is changed and no new folder is left."""
    is_new = not folder.exists()
    written: dict[Path, Path] = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, write in writers.items():
            temporary = folder / f".{name}.{os.getpid()}.tmp"
            with temporary.open("wb") as file:
                written[temporary] = folder / name
                write(file)
                file.flush()
                os.fsync(file.fileno())
        for temporary, final in written.items():
            temporary.replace(final)
    except OSError as error:
        raise StorageError(
            f"{folder}: cannot be written ({error.strerror or error})",
            "free space there, or choose another folder",
        ) from error
    finally:
        for temporary in written:
            temporary.unlink(missing_ok=True)
        if is_new and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def config_json(config: ModelConfig, torch_dtype: str) -> dict[str, Any]:
    """The object of `config.json`, in the spelling that both older and newer readers of such folders know."""
    names = {short: name for name, short in ARCHITECTURES.items()}
    ends = list(config.end_ids)
    result: dict[str, Any] = {
        "architectures": [names[config.architecture]],
        "model_type": config.architecture,
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "intermediate_size": config.intermediate_size,
        "vocab_size": config.vocab_size,
        "rms_norm_eps": config.rms_norm_eps,
        "hidden_act": "silu",
        "max_position_embeddings": config.max_positions,
        "rope_theta": config.rope.theta,
        "rope_scaling": _rope_scaling(config.rope),
        "tie_word_embeddings": config.tied_head,
        "use_cache": True,
        "bos_token_id": config.bos_id,
        "eos_token_id": ends[0] if len(ends) == 1 else ends or None,
        "torch_dtype": torch_dtype,
    }
    if config.architecture == "qwen2":
        result["use_sliding_window"] = False
    else:
        result["attention_bias"] = config.attention_bias
    return result


def _rope_scaling(rope: RopeConfig) -> dict[str, Any] | None:
    if rope.kind == "default":
        return None
    scaling: dict[str, Any] = {
        "rope_type": rope.kind,
        "factor": rope.factor,
        "original_max_position_embeddings": rope.original_max_positions,
    }
    if rope.kind == "llama3":
        return scaling | {
            "low_freq_factor": rope.low_freq_factor,
            "high_freq_factor": rope.high_freq_factor,
        }
    scaling |= {"beta_fast": rope.beta_fast, "beta_slow": rope.beta_slow}
    scaling |= {"attention_factor": rope.attention_factor}
    return scaling if rope.truncate else scaling | {"truncate": False}


def _check_tensors(config: ModelConfig, tensors: Mapping[str, NDArray[Any]]) -> None:
    shapes = tensor_shapes(config)
    problems = [
        f"missing {name!r} of shape {list(shapes[name])}" for name in shapes if name not in tensors
    ]
    for name, array in tensors.items():
        if name not in shapes:
            problems.append(f"surplus {name!r}")
        elif array.shape != shapes[name]:
            problems.append(
                f"{name!r} has shape {list(array.shape)}, expected {list(shapes[name])}"
            )
        elif array.dtype.name not in ("float32", "float16", "uint16"):
            problems.append(
                f"{name!r} is {array.dtype}, allowed are float32, float16, uint16 (bfloat16)"
            )
    if problems:
        raise ConfigError(
            f"tensors do not fit the config: {'; '.join(problems)}",
            "give those the config asks for",
        )


def _shards(
    config: ModelConfig, tensors: Mapping[str, NDArray[Any]], shard_bytes: int
) -> dict[str, list[str]]:
    groups: list[list[str]] = [[]]
    size = 0
    for name in tensor_shapes(config):
        if groups[-1] and size + tensors[name].nbytes > shard_bytes:
            groups.append([])
            size = 0
        groups[-1].append(name)
        size += tensors[name].nbytes
    if len(groups) == 1:
        return {_SINGLE: groups[0]}
    total = len(groups)
    return {f"model-{i:05}-of-{total:05}.safetensors": names for i, names in enumerate(groups, 1)}


def _text_files(
    config: ModelConfig,
    tensors: Mapping[str, NDArray[Any]],
    shards: Mapping[str, list[str]],
    extra_files: Mapping[str, bytes],
) -> dict[str, bytes]:
    stored = next(iter(tensors.values())).dtype.name
    dtype = {"float32": "float32", "float16": "float16", "uint16": "bfloat16"}[stored]
    values = config_json(config, dtype)
    objects = {"config.json": values}
    objects["generation_config.json"] = {
        key: values[key] for key in ("bos_token_id", "eos_token_id") if values[key] is not None
    }
    if len(shards) > 1:
        total = sum(array.nbytes for array in tensors.values())
        weight_map = {name: shard for shard, names in shards.items() for name in names}
        objects[_INDEX] = {"metadata": {"total_size": total}, "weight_map": weight_map}
    files = {name: (json.dumps(value, indent=2) + "\n").encode() for name, value in objects.items()}
    for name in extra_files:
        if name in files or name in shards or Path(name).name != name or not name:
            raise ConfigError(
                f"extra file {name!r}",
                "allowed are plain names other than those of config and weights",
            )
    return files | dict(extra_files)


def _remove_stale(folder: Path, kept: set[str]) -> None:
    for path in folder.iterdir():
        is_weights = path.name in (_SINGLE, _INDEX) or path.match("model-*-of-*.safetensors")
        if is_weights and path.name not in kept:
            path.unlink()
