"""Sequences side by side in the ways a trainer may choose, and toy models sharp enough that every part matters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ponder.model.config import ModelConfig
from ponder.model.view import PackedView
from ponder.train.network import Kernels, Network, token_logprobs


@dataclass(frozen=True)
class Sample:
    """Ids of which the first `given` are the prompt."""

    ids: tuple[int, ...]
    given: int


def packed(samples: Sequence[Sample], shares: bool = False):
    """What scores every id after the prompt, as `token_logprobs` wants it; `shares`: equal prompts are run once."""
    tokens: list[int] = []
    positions: list[int] = []
    starts, parents, rows, targets = [0], [], [], []
    owner: dict[tuple[int, ...], int] = {}
    for sample in samples:
        first = 0
        common = sample.ids[: sample.given - 1]
        if shares and common:
            if common not in owner:
                owner[common] = len(parents)
                tokens += common
                positions += range(len(common))
                starts.append(len(tokens))
                parents.append(-1)
            first = len(common)
        parents.append(owner[common] if first else -1)
        at = len(tokens) - first
        rows += range(at + sample.given - 1, at + len(sample.ids) - 1)
        targets += sample.ids[sample.given :]
        tokens += sample.ids[first:-1]
        positions += range(first, len(sample.ids) - 1)
        starts.append(len(tokens))
    view = PackedView(torch.tensor(starts, dtype=torch.int32), tuple(parents) if shares else ())
    return (
        torch.tensor(tokens),
        torch.tensor(positions),
        view,
        torch.tensor(rows),
        torch.tensor(targets),
    )


def sharp(
    config: ModelConfig, kernels: Kernels = "torch", weights: str = "fp32", seed: int = 7
) -> Network:
    network = Network(config, kernels=kernels, weights_format=weights)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.15)
    return network


def gradient(network: Network, batches, coefficient) -> dict[str, torch.Tensor]:
    """Of the sum over batches of `coefficient(batch number) · log-probabilities`."""
    network.zero_grad()
    for number, batch in enumerate(batches):
        (token_logprobs(network, *batch)[0] * coefficient(number)).sum().backward()
    return {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}
