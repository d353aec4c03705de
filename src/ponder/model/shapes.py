"""model/shapes: shapes of published models and of the package's own by name, for benchmarks with random weights."""

from __future__ import annotations

import difflib

from ponder.core.errors import ConfigError
from ponder.model.config import Architecture, ModelConfig, RopeConfig


def _shape(
    architecture: Architecture,
    hidden: int,
    layers: int,
    heads: tuple[int, int],
    ff: int,
    vocab: int,
    tied: bool,
    *,
    head_dim: int | None = None,
    eps: float = 1e-6,
    theta: float = 1e6,
    positions: int = 40960,
    ids: tuple[int, int] = (151643, 151645),
) -> ModelConfig:
    return ModelConfig(
        architecture=architecture,
        hidden_size=hidden,
        num_layers=layers,
        num_heads=heads[0],
        num_kv_heads=heads[1],
        head_dim=head_dim or hidden // heads[0],
        intermediate_size=ff,
        vocab_size=vocab,
        rms_norm_eps=eps,
        rope=RopeConfig(theta=theta),
        tied_head=tied,
        attention_bias=architecture == "qwen2",
        qk_norm=architecture == "qwen3",
        max_positions=positions,
        bos_id=ids[0],
        end_ids=(ids[1],),
    )


def _own(hidden: int, layers: int, heads: tuple[int, int], ff: int, vocab: int) -> ModelConfig:
    return _shape(
        "qwen2",
        hidden,
        layers,
        heads,
        ff,
        vocab,
        True,
        head_dim=64,
        theta=1e4,
        positions=2048,
        ids=(0, 2),
    )


SHAPES: dict[str, ModelConfig] = {
    "micro": _own(64, 4, (1, 1), 192, 512),
    "nano": _own(192, 8, (3, 1), 512, 2048),
    "control": _own(320, 9, (5, 1), 1024, 2048),
    "pocket": _own(384, 14, (6, 2), 1024, 4096),
    "qwen2.5-0.5b": _shape("qwen2", 896, 24, (14, 2), 4864, 151936, True, positions=32768),
    "qwen2.5-1.5b": _shape("qwen2", 1536, 28, (12, 2), 8960, 151936, True, positions=131072),
    "qwen2.5-3b": _shape("qwen2", 2048, 36, (16, 2), 11008, 151936, True, positions=32768),
    "qwen2.5-7b": _shape("qwen2", 3584, 28, (28, 4), 18944, 152064, False, positions=131072),
    "qwen2.5-14b": _shape(
        "qwen2", 5120, 48, (40, 8), 13824, 152064, False, eps=1e-5, positions=131072
    ),
    "qwen2.5-32b": _shape(
        "qwen2", 5120, 64, (40, 8), 27648, 152064, False, eps=1e-5, positions=131072
    ),
    "qwen2.5-72b": _shape(
        "qwen2", 8192, 80, (64, 8), 29568, 152064, False, eps=1e-5, positions=131072
    ),
    "qwq-32b": _shape("qwen2", 5120, 64, (40, 8), 27648, 152064, False, eps=1e-5),
    "qwen3-0.6b": _shape("qwen3", 1024, 28, (16, 8), 3072, 151936, True, head_dim=128),
    "qwen3-1.7b": _shape("qwen3", 2048, 28, (16, 8), 6144, 151936, True, head_dim=128),
    "qwen3-4b": _shape("qwen3", 2560, 36, (32, 8), 9728, 151936, True, head_dim=128),
    "qwen3-8b": _shape("qwen3", 4096, 36, (32, 8), 12288, 151936, False, head_dim=128),
    "qwen3-14b": _shape("qwen3", 5120, 40, (40, 8), 17408, 151936, False, head_dim=128),
    "qwen3-32b": _shape("qwen3", 5120, 64, (64, 8), 25600, 151936, False, head_dim=128),
}


def named_shape(name: str) -> ModelConfig:
    """The config of a named shape; ConfigError lists the names."""
    if name not in SHAPES:
        near = difflib.get_close_matches(name, SHAPES, 1)
        raise ConfigError(
            f"unknown shape {name!r}",
            f"{f'did you mean {near[0]!r}? ' if near else ''}allowed are {', '.join(SHAPES)}",
        )
    return SHAPES[name]
