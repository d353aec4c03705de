"""model/config: the shape of a model, read strictly from a Hugging Face `config.json`. It opens no tensor."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NoReturn, cast

from ponder.core.errors import ModelFolderError
from ponder.model.strict_json import read_object

Architecture = Literal["qwen2", "qwen3", "llama"]
RopeKind = Literal["default", "yarn", "llama3"]

ARCHITECTURES: dict[str, Architecture] = {
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
    "LlamaForCausalLM": "llama",
}


@dataclass(frozen=True, slots=True)
class RopeConfig:
    """Rotary position embedding; `rope.py` turns it into angles."""

    kind: RopeKind = "default"
    theta: float = 10000.0
    factor: float = 1.0
    """yarn, llama3: how many times longer than `original_max_positions` the context may be."""
    original_max_positions: int = 0
    """yarn, llama3: length the model was pre-trained at."""
    beta_fast: float = 32.0
    """yarn: more rotations than this over the original length keep their frequency."""
    beta_slow: float = 1.0
    """yarn: fewer rotations than this are slowed by the whole factor."""
    attention_factor: float = 1.0
    """yarn: cos and sin are multiplied by it; resolved when the config is read."""
    truncate: bool = True
    """yarn: whether the ramp's bounds are rounded to whole dimensions."""
    low_freq_factor: float = 1.0
    """llama3: wavelengths above original / this are slowed by the whole factor."""
    high_freq_factor: float = 4.0
    """llama3: wavelengths below original / this are kept."""


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """A dense decoder-only transformer, e.g. Qwen2.5-0.5B: 24 layers of width 896, 14 heads over 2 key/value heads."""

    architecture: Architecture
    hidden_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int
    """Rows of the embedding; may exceed the ids a tokenizer knows."""
    rms_norm_eps: float
    rope: RopeConfig
    tied_head: bool
    attention_bias: bool
    """q, k and v have a bias."""
    qk_norm: bool
    """q and k are normalised over the head, before RoPE."""
    max_positions: int
    """The config's maximum, or what YaRN reaches (original length × factor) if that is more."""
    bos_id: int | None = None
    end_ids: tuple[int, ...] = ()
    """Ids that end an answer: those of config.json, then those that only generation_config.json has."""
    output_bias: bool = False
    """The attention's output projection has a bias."""

    def parameter_count(self) -> int:
        """Parameters, a tied head counted once."""
        d, f, c = self.hidden_size, self.intermediate_size, self.head_dim
        q, kv = self.num_heads * c, self.num_kv_heads * c
        layer = d * (q + 2 * kv) + q * d + 3 * d * f + 2 * d
        layer += (q + 2 * kv) * self.attention_bias + d * self.output_bias + 2 * c * self.qk_norm
        return self.num_layers * layer + self.vocab_size * d * (1 if self.tied_head else 2) + d


_LIMITS: dict[str, int] = {
    "hidden_size": 1 << 17,
    "num_hidden_layers": 1 << 10,
    "num_attention_heads": 1 << 12,
    "num_key_value_heads": 1 << 12,
    "head_dim": 1 << 10,
    "intermediate_size": 1 << 20,
    "vocab_size": 1 << 22,
    "max_position_embeddings": 1 << 28,
    "original_max_position_embeddings": 1 << 28,
}

_READ = {
    *(key for key in _LIMITS if not key.startswith("original")),
    *"architectures model_type rms_norm_eps rope_theta rope_scaling rope_parameters".split(),
    *"tie_word_embeddings attention_bias mlp_bias use_sliding_window hidden_act layer_types".split(),
    *"bos_token_id eos_token_id quantization_config partial_rotary_factor use_mrope".split(),
}

_HARMLESS = set(
    """
    sliding_window max_window_layers initializer_range attention_dropout use_cache pad_token_id torch_dtype dtype
    transformers_version pretraining_tp return_dict output_attentions output_hidden_states chunk_size_feed_forward
    problem_type id2label label2id auto_map embd_pdrop resid_pdrop attn_pdrop hidden_dropout unsloth_version
    unsloth_fixed task_specific_params is_decoder is_encoder_decoder tokenizer_class name_or_path rope_interleaved
    gradient_checkpointing use_bfloat16 temperature top_k top_p repetition_penalty num_beams do_sample max_length
    typical_p length_penalty num_return_sequences num_beam_groups cache_implementation model_max_length
    """.split()
)
"""Keys that change no arithmetic here, and so may have any value; `sliding_window` needs `use_sliding_window`."""


class _Reader:
    """Typed access to one JSON object; every complaint names the file and the key."""

    def __init__(self, source: str, values: Mapping[str, Any]) -> None:
        self.source = source
        self.values = values

    def fail(self, problem: str, advice: str) -> NoReturn:
        raise ModelFolderError(f"{self.source}: {problem}", advice)

    def integer(self, key: str, default: int | None = None) -> int:
        value = self.values.get(key, default)
        limit = _LIMITS[key]
        if value is None:
            value = default
        if value is None:
            self.fail(f"{key!r} is missing", f"give a whole number from 1 to {limit}")
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= limit:
            self.fail(f"{key!r} is {value!r}", f"allowed is a whole number from 1 to {limit}")
        return value

    def number(self, key: str, default: float | None, low: float, high: float) -> float:
        value = self.values.get(key)
        if value is None:
            value = default
        if value is None:
            self.fail(f"{key!r} is missing", f"give a number from {low:g} to {high:g}")
        if (
            not isinstance(value, (int, float))
            or isinstance(value, bool)
            or not low <= value <= high
        ):
            self.fail(f"{key!r} is {value!r}", f"allowed is a number from {low:g} to {high:g}")
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        value = self.values.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.fail(f"{key!r} is {value!r}", "allowed is true or false")
        return value

    def token_ids(self, key: str, vocab_size: int) -> tuple[int, ...]:
        value = self.values.get(key)
        listed = (
            cast("list[Any]", value)
            if isinstance(value, list)
            else []
            if value is None
            else [value]
        )
        for item in listed:
            if not isinstance(item, int) or isinstance(item, bool) or not 0 <= item < vocab_size:
                self.fail(
                    f"{key!r} holds {item!r}", f"allowed are token ids from 0 to {vocab_size - 1}"
                )
        return tuple(cast("list[int]", listed))


def read_model_config(folder: Path) -> ModelConfig:
    """The config of a model folder; ModelFolderError names a key that is missing, unknown or not supported."""
    raw = read_object(
        folder / "config.json", f"a Hugging Face model folder with a config.json; {folder} has none"
    )
    config = parse_model_config(raw, str(folder / "config.json"))
    generation = folder / "generation_config.json"
    if not generation.is_file():
        return config
    reader = _Reader(str(generation), read_object(generation, "a readable generation_config.json"))
    more = reader.token_ids("eos_token_id", config.vocab_size)
    ends = tuple(dict.fromkeys(config.end_ids + more))
    return replace(config, end_ids=ends)


def parse_model_config(raw: Mapping[str, Any], source: str = "config.json") -> ModelConfig:
    """A config from the decoded object of `config.json`; `source` names it in errors."""
    reader = _Reader(source, raw)
    architecture = _architecture(reader)
    _refuse_unsupported(reader, architecture)
    hidden = reader.integer("hidden_size")
    heads = reader.integer("num_attention_heads")
    kv_heads = reader.integer("num_key_value_heads", heads if architecture == "llama" else None)
    if heads % kv_heads:
        reader.fail(
            f"'num_attention_heads' is {heads}",
            f"it must be a multiple of num_key_value_heads {kv_heads}",
        )
    head_dim = reader.integer(
        "head_dim", 128 if architecture == "qwen3" else max(hidden // heads, 1)
    )
    if head_dim % 2:
        reader.fail(f"the head size is {head_dim}", "rotary embedding needs an even head size")
    vocab = reader.integer("vocab_size")
    layers = reader.integer("num_hidden_layers")
    types = raw.get("layer_types")
    if types is not None and types != ["full_attention"] * layers:
        reader.fail(
            "'layer_types' asks for other than full attention",
            f"allowed is 'full_attention' for all {layers}",
        )
    bias = architecture == "qwen2" or reader.flag("attention_bias", False)
    bos = reader.token_ids("bos_token_id", vocab)
    rope = _rope(reader)
    reach = int(rope.original_max_positions * rope.factor) if rope.kind == "yarn" else 0
    return ModelConfig(
        architecture=architecture,
        hidden_size=hidden,
        num_layers=layers,
        num_heads=heads,
        num_kv_heads=kv_heads,
        head_dim=head_dim,
        intermediate_size=reader.integer("intermediate_size"),
        vocab_size=vocab,
        rms_norm_eps=reader.number("rms_norm_eps", None, 1e-12, 1.0),
        rope=rope,
        tied_head=reader.flag("tie_word_embeddings", False),
        attention_bias=bias,
        qk_norm=architecture == "qwen3",
        max_positions=max(reader.integer("max_position_embeddings"), reach),
        bos_id=bos[0] if bos else None,
        end_ids=reader.token_ids("eos_token_id", vocab),
        output_bias=bias and architecture != "qwen2",
    )


def _architecture(reader: _Reader) -> Architecture:
    names: Any = reader.values.get("architectures")
    model_type = reader.values.get("model_type")
    allowed = f"allowed are {', '.join(ARCHITECTURES)}"
    if names is None and isinstance(model_type, str):
        names = [name for name, short in ARCHITECTURES.items() if short == model_type] or [
            model_type
        ]
    if (
        not isinstance(names, list)
        or len(cast("list[Any]", names)) != 1
        or names[0] not in ARCHITECTURES
    ):
        reader.fail(f"the architecture is {cast(Any, names)!r}", allowed)
    architecture = ARCHITECTURES[cast(str, names[0])]
    if model_type not in (None, architecture):
        reader.fail(f"'model_type' is {model_type!r} but the architecture is {names[0]!r}", allowed)
    return architecture


def _refuse_unsupported(reader: _Reader, architecture: Architecture) -> None:
    values = reader.values
    if values.get("quantization_config") is not None:
        given = values["quantization_config"]
        method = _object(given).get("quant_method", given)
        reader.fail(
            f"the weights are quantised ('quantization_config' names {method!r})",
            "allowed are float32, bfloat16 and float16 safetensors; take the unquantised folder and load it with "
            "weights='int8' or 'int4' for a small copy",
        )
    if reader.flag("use_sliding_window", False):
        reader.fail(
            "'use_sliding_window' is true",
            "sliding-window attention is not supported; allowed is false",
        )
    if values.get("hidden_act", "silu") != "silu":
        reader.fail(f"'hidden_act' is {values['hidden_act']!r}", "allowed is 'silu'")
    if reader.flag("mlp_bias", False):
        reader.fail("'mlp_bias' is true", "allowed is false")
    if reader.flag("use_mrope", False):
        reader.fail(
            "'use_mrope' is true", "multimodal positions are not supported; allowed is false"
        )
    if architecture == "qwen2" and not reader.flag("attention_bias", True):
        reader.fail(
            "'attention_bias' is false",
            "Qwen2 has a bias on q, k and v; allowed is true or no such key",
        )
    if reader.number("partial_rotary_factor", 1.0, 0.0, 1.0) != 1.0:
        reader.fail(
            f"'partial_rotary_factor' is {values['partial_rotary_factor']!r}", "allowed is 1.0"
        )
    for key, value in values.items():
        if (
            key in _READ
            or key in _HARMLESS
            or key.startswith("_")
            or value in (None, False, [], {}, "")
        ):
            continue
        near = difflib.get_close_matches(key, sorted(_READ), 1)
        reader.fail(
            f"unknown key {key!r} (value {value!r:.60})",
            f"it may change what the model computes; {f'did you mean {near[0]!r}? ' if near else ''}"
            "remove it if you know it does not",
        )


_ROPE_KEYS: dict[RopeKind, set[str]] = {
    "default": set(),
    "yarn": {"attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate"},
    "llama3": {"low_freq_factor", "high_freq_factor"},
}


def _object(value: Any) -> Mapping[str, Any]:
    """The JSON object, or an empty one for any other value."""
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def _rope(reader: _Reader) -> RopeConfig:
    """From `rope_parameters` (transformers 5), or `rope_scaling` beside `rope_theta`."""
    new, old = reader.values.get("rope_parameters"), reader.values.get("rope_scaling")
    if new is not None and old is not None and new != old:
        reader.fail("'rope_parameters' and 'rope_scaling' differ", "give one of them")
    given = new if new is not None else old
    if given is not None and not isinstance(given, Mapping):
        reader.fail(f"the rope parameters are {given!r}", "allowed is an object with a 'rope_type'")
    values = {"rope_theta": reader.values.get("rope_theta")}
    values |= {key: value for key, value in _object(given).items() if value is not None}
    rope = _Reader(f"{reader.source} (rope)", values)
    kind = rope.values.get("rope_type", rope.values.get("type", "default"))
    if not isinstance(kind, str) or kind not in _ROPE_KEYS:
        rope.fail(f"the rope type is {kind!r}", f"allowed are {', '.join(_ROPE_KEYS)}")
    known = {"rope_theta", "rope_type", "type", "partial_rotary_factor"} | _ROPE_KEYS[kind]
    if kind != "default":
        known |= {"factor", "original_max_position_embeddings"}
    for key, value in rope.values.items():
        if key not in known and value is not None:
            rope.fail(
                f"unknown key {key!r} for type {kind!r}", f"allowed are {', '.join(sorted(known))}"
            )
    if rope.number("partial_rotary_factor", 1.0, 0.0, 1.0) != 1.0:
        rope.fail("'partial_rotary_factor' is not 1.0", "allowed is 1.0")
    theta = rope.number("rope_theta", 10000.0, 1.0 + 1e-6, 1e12)
    if kind == "default":
        return RopeConfig(theta=theta)
    factor = rope.number("factor", None, 1.0, 1e6)
    original = rope.integer("original_max_position_embeddings")
    if kind == "llama3":
        low = rope.number("low_freq_factor", None, 1e-3, 1e3)
        high = rope.number("high_freq_factor", None, 1e-3, 1e3)
        if high <= low:
            rope.fail(
                f"'high_freq_factor' is {high:g}", f"it must be above low_freq_factor {low:g}"
            )
        return RopeConfig(
            "llama3", theta, factor, original, low_freq_factor=low, high_freq_factor=high
        )
    return RopeConfig(
        "yarn",
        theta,
        factor,
        original,
        beta_fast=rope.number("beta_fast", 32.0, 1e-3, 1e6),
        beta_slow=rope.number("beta_slow", 1.0, 1e-3, 1e6),
        attention_factor=rope.number(
            "attention_factor", _yarn_attention_factor(rope, factor), 1e-3, 1e3
        ),
        truncate=rope.flag("truncate", True),
    )


def _yarn_attention_factor(rope: _Reader, factor: float) -> float:
    """What transformers infers when the config gives none: from mscale and mscale_all_dim if both, else the factor."""

    def scaled(mscale: float) -> float:
        return 1.0 if factor <= 1 else 0.1 * mscale * math.log(factor) + 1.0

    mscale = rope.number("mscale", 0.0, 0.0, 100.0)
    all_dim = rope.number("mscale_all_dim", 0.0, 0.0, 100.0)
    return scaled(mscale) / scaled(all_dim) if mscale and all_dim else scaled(1.0)
