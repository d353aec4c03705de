"""One batch of answers, seen by our trainer and, as padded float64 tensors with the same graph, by a peer's loss."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ponder.model.config import ModelConfig
from ponder.model.shapes import SHAPES
from ponder.train.network import Network, token_logprobs
from ponder.train.rl.algorithms import Algorithm, advantages, algorithm_of, streams
from ponder.train.rl.gradient import PolicyTerm, batch_loss, pack

MAX_TOKENS = 12


@dataclass(frozen=True)
class Answer:
    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    sampled: tuple[bool, ...]
    reward: float

    @property
    def is_right(self) -> bool:
        return self.reward == 1


def config() -> ModelConfig:
    from dataclasses import replace

    return replace(
        SHAPES["micro"], hidden_size=16, num_layers=2, num_heads=2, num_kv_heads=1, head_dim=8,
        intermediate_size=24, vocab_size=29, max_positions=64,
    )  # fmt: skip


def network(seed: int) -> Network:
    made = Network(config(), seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return made.double()


class Batch:
    """Three groups of four answers; `tools`: a stretch inside each answer was given, not sampled."""

    def __init__(self, name: str, tools: bool = False, **changes: Any) -> None:
        """`changes`: fields of the `PolicyTerm` that differ from the algorithm's line."""
        self.algorithm: Algorithm = algorithm_of(name)
        line = self.algorithm
        self.term = PolicyTerm(
            **{
                "ratio": line.ratio, "clip_low": line.clip_low, "clip_high": line.clip_high,
                "dual_clip": None, "kl": "k3", "importance_cap": None, **changes,
            }
        )  # fmt: skip
        self.network, self.reference = network(1), network(2)
        self.groups = self._answers(tools, line.ratio == "sequence")
        self.answers = [answer for group in self.groups for answer in group]
        self.lens = [len(a.ids) - 4 for a in self.answers]
        self.mask_BT = torch.zeros(len(self.answers), max(self.lens), dtype=torch.float64)
        for b, answer in enumerate(self.answers):
            self.mask_BT[b, : self.lens[b]] = torch.tensor(answer.sampled[4:], dtype=torch.float64)
        values = [v for group in advantages(line, self.groups) for v in group]
        self.advantages_B = torch.tensor(values, dtype=torch.float64)
        self.old_BT = self._padded(
            [torch.tensor(a.logprobs[4:], dtype=torch.float64) for a in self.answers]
        )

    def _answers(self, tools: bool, is_near: bool) -> list[list[Answer]]:
        """Recorded log-probabilities lie around the network's, so that some ratios are clipped and some are not."""
        rng = random.Random(5)
        groups: list[list[Answer]] = []
        for _ in range(3):
            prompt = tuple(rng.randrange(29) for _ in range(4))
            group: list[Answer] = []
            for sample in range(4):
                ids = (
                    *prompt,
                    *(rng.randrange(29) for _ in range(rng.randrange(3, MAX_TOKENS + 1))),
                )
                sampled = tuple(i >= 4 and not (tools and i == 5) for i in range(len(ids)))
                with torch.no_grad():
                    true = [0.0] * 4 + self._scores(self.network, ids).tolist()
                spread = 0.0006 if is_near else 0.5
                logprobs = tuple(
                    x + rng.gauss(0, spread) if s else 0.0 for x, s in zip(true, sampled)
                )
                group.append(
                    Answer(ids, logprobs, sampled, float(sample % 2 or rng.random() < 0.3))
                )
            groups.append(group)
        return groups

    def _scores(self, network: Network, ids: tuple[int, ...]) -> Tensor:
        from ponder.model.view import PackedView

        view = PackedView(torch.tensor([0, len(ids) - 1], dtype=torch.int32))
        rows = torch.arange(3, len(ids) - 1)
        tokens = torch.tensor(ids)
        return token_logprobs(
            network, tokens[:-1], torch.arange(len(ids) - 1), view, rows, tokens[4:]
        )[0]

    def _padded(self, rows: list[Tensor]) -> Tensor:
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)

    def logps_BT(self, reference: bool = False) -> Tensor:
        """Of every token after the prompt, one sequence at a time, with the network's graph."""
        network = self.reference if reference else self.network
        return self._padded([self._scores(network, answer.ids) for answer in self.answers])

    def ours(self, kl_weight: float = 0.0, micro_tokens: int = 40) -> tuple[float, list[Tensor]]:
        """Loss and gradient by our trainer's own road, over several micro-batches."""
        self.network.zero_grad()
        rows = streams(self.algorithm, self.groups, max_tokens=MAX_TOKENS, kl_weight=kl_weight)
        total = 0.0
        batches = pack(rows, micro_tokens)
        assert len(batches) > 2, len(batches)
        for batch in batches:
            loss, _ = batch_loss(self.network, batch, self.term, self.reference)
            loss.backward()
            total += float(loss.detach())
        return total, self._gradient()

    def theirs(self, loss: Tensor) -> tuple[float, list[Tensor]]:
        self.network.zero_grad()
        loss.backward()
        return float(loss.detach()), self._gradient()

    def _gradient(self) -> list[Tensor]:
        return [p.grad.clone() for p in self.network.parameters() if p.grad is not None]


def assert_same(
    ours: tuple[float, list[Tensor]], theirs: tuple[float, list[Tensor]], tolerance: float = 1e-10
) -> None:
    assert abs(ours[0] - theirs[0]) < tolerance, (ours[0], theirs[0])
    assert len(ours[1]) == len(theirs[1]) and max(float(g.abs().max()) for g in ours[1]) > 1e-4
    for a, b in zip(ours[1], theirs[1]):
        assert float((a - b).abs().max()) < tolerance
