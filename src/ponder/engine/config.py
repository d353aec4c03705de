"""engine/config: sizes and limits of one engine. Knows no arrays."""

from __future__ import annotations

from dataclasses import dataclass

from ponder.core.errors import ConfigError
from ponder.model.config import ModelConfig

PAGE_LENS = (16, 32, 64, 128, 256)
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """Sizes and limits; what depends on the model is derived by the functions below."""

    page_len: int = 32
    """Tokens in a page of the cache; one of 16, 32, 64, 128, 256. Small pages share short prefixes."""
    num_pages: int | None = None
    """Pages in the pool; None: `cache_mib` worth, at least one context of up to 4,096 tokens."""
    cache_mib: int = 1024
    """Memory for keys and values when `num_pages` is None."""
    context_len: int | None = None
    """Most tokens of prompt and completion; None: the model's positions or the pool, the smaller."""
    step_tokens: int = 512
    """Most tokens run in one step; decode goes first, prefill chunks fill the rest."""
    max_running: int = 64
    """Most sequences in one step."""
    watermark: float = 0.02
    """Share of the pool left free when a sequence is admitted beside others, for their growth."""
    max_queue: int = 256
    """Most requests waiting in `EngineWorker`; one more gets a BusyError."""

    def __post_init__(self) -> None:
        if self.page_len not in PAGE_LENS:
            raise ConfigError(f"page_len {self.page_len} is not one of {PAGE_LENS}")
        if self.max_running < 1 or self.step_tokens < self.max_running:
            raise ConfigError(
                f"step_tokens {self.step_tokens} must be at least max_running {self.max_running}, "
                "and that at least 1"
            )
        if not 0 <= self.watermark < 1:
            raise ConfigError(f"watermark {self.watermark} is outside 0 ≤ watermark < 1")
        for name in ("num_pages", "context_len", "cache_mib", "max_queue"):
            value: int | None = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} {value} must be at least 1")


def num_pages_of(config: EngineConfig, model: ModelConfig, token_bytes: int) -> int:
    """Pages in the pool, a token's keys and values taking so many bytes; at most what `max_running` contexts need."""
    if config.num_pages is not None:
        return config.num_pages
    context = min(model.max_positions, config.context_len or model.max_positions)
    wanted = max(config.cache_mib * MIB // token_bytes, min(context, 4096))
    return -(-min(wanted, config.max_running * context) // config.page_len)


def context_len_of(config: EngineConfig, model: ModelConfig, num_pages: int) -> int:
    """Most tokens one sequence may hold, so that the oldest sequence alone always fits the pool."""
    return min(
        model.max_positions,
        num_pages * config.page_len,
        config.context_len or model.max_positions,
    )
