"""train/flops: what a token costs, by one formula for every stage, so that controls can be given equal FLOP.

Forward: 2 · parameters + 2 · layers · heads · head size · context; training: three times that. Needs no torch.
"""

from __future__ import annotations

import math

from ponder.model.config import ModelConfig
from ponder.model.weights import tensor_shapes


def num_parameters(config: ModelConfig) -> int:
    """Parameters, tied ones once."""
    return sum(math.prod(shape) for shape in tensor_shapes(config).values())


def forward_flops(config: ModelConfig, context: int) -> float:
    """FLOP of one token's forward within sequences of about `context` tokens."""
    attention = 2 * config.num_layers * config.num_heads * config.head_dim * context
    return 2.0 * num_parameters(config) + attention
