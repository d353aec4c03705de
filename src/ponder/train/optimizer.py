"""train/optimizer: Muon for the matrices inside the blocks, AdamW for the rest; one state, flat tensors by name.

Muon (Jordan 2024): momentum, then the nearest orthogonal matrix in place of the matrix, by Newton–Schulz steps.
Limit: momentum and moments are fp32, on the parameters' device.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from ponder.train.config import OptimizerConfig

_QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients of the iteration x → a·x + b·x³ + c·x⁵ on singular values; steep at 0, ends within 0.7 … 1.2."""


class Spread(Protocol):
    """How tensors lie in processes; here parts of them, whole where a matrix is orthogonalised or a norm is taken."""

    def whole(self, tensor: Tensor) -> Tensor: ...
    def part(self, tensor: Tensor, like: Tensor) -> Tensor: ...


class _Whole:
    """Every tensor is whole in this process."""

    def whole(self, tensor: Tensor) -> Tensor:
        return tensor

    def part(self, tensor: Tensor, like: Tensor) -> Tensor:
        return tensor


WHOLE: Spread = _Whole()


Polynomial = Callable[[Tensor, tuple[float, float, float], int], None]
"""(x_NAB with A ≥ B, (a, b, c), iterations): x / ‖x‖, then a·x + b·x·G + c·x·G·G with G = xᵀx, in place."""


def by_torch(x_NAB: Tensor, quintic: tuple[float, float, float], iterations: int) -> None:
    """In the tensor's own format."""
    a, b, c = quintic
    x_NAB /= x_NAB.square().sum((1, 2), keepdim=True).sqrt() + 1e-7
    for _ in range(iterations):
        gram = x_NAB.mT @ x_NAB
        x_NAB.copy_(a * x_NAB + x_NAB @ (b * gram + c * (gram @ gram)))


class Optimizer:
    """Updates parameters in place from their `.grad`."""

    def __init__(
        self,
        config: OptimizerConfig,
        parameters: dict[str, torch.nn.Parameter],
        run_all: Callable[[Callable[[Tensor], Tensor], Iterable[Tensor]], Iterable[Tensor]] = map,
        spread: Spread = WHOLE,
        polynomial: Polynomial = by_torch,
    ) -> None:
        """`run_all` maps a function over tensors, e.g. a thread pool's `map`; `polynomial`: what Muon computes with."""
        self.config = config
        self._parameters = parameters
        self._run_all = run_all
        self._spread = spread
        self._polynomial = polynomial
        inner = [n for n, p in parameters.items() if p.ndim == 2 and ".layers." in n]
        self._matrices = inner if config.matrices == "muon" else []
        self._others = [name for name in parameters if name not in set(self._matrices)]
        self.state: dict[str, Tensor] = {}
        for name in self._matrices:
            self.state["momentum." + name] = torch.zeros_like(parameters[name])
        for name in self._others:
            self.state["mean." + name] = torch.zeros_like(parameters[name])
            self.state["square." + name] = torch.zeros_like(parameters[name])
        self.steps = 0

    @torch.no_grad()
    def step(self, factor: float) -> float:
        """One update with step sizes times `factor`; the gradient's norm before clipping. Gradients are cleared."""
        gradients = [p.grad for p in self._parameters.values() if p.grad is not None]
        whole = self._spread.whole
        norm = math.sqrt(sum(float(whole(gradient.square().sum())) for gradient in gradients))
        if norm > self.config.clip_norm:
            for gradient in gradients:
                gradient.mul_(self.config.clip_norm / norm)
        self.steps += 1
        self._step_matrices(factor)
        self._step_others(factor)
        for parameter in self._parameters.values():
            parameter.grad = None
        return norm

    def _step_matrices(self, factor: float) -> None:
        config = self.config
        by_shape: dict[tuple[int, ...], list[str]] = defaultdict(list)
        for name in self._matrices:
            by_shape[tuple(self._parameters[name].shape)].append(name)
        for (rows, columns), names in by_shape.items():
            updates: list[Tensor] = []
            for name in names:
                gradient, momentum = self._parameters[name].grad, self.state["momentum." + name]
                assert gradient is not None, name
                momentum.lerp_(gradient, 1 - config.momentum)
                updates.append(self._spread.whole(gradient.lerp(momentum, config.momentum)))
            rate = config.muon_lr * factor
            scale = rate * max(1.0, rows / columns) ** 0.5
            stacked, half = torch.stack(updates), (len(names) + 1) // 2
            orthogonal = partial(orthogonalised, polynomial=self._polynomial)
            ready = torch.cat(list(self._run_all(orthogonal, (stacked[:half], stacked[half:]))))
            for name, update in zip(names, ready, strict=True):
                parameter = self._parameters[name]
                parameter.mul_(1 - rate * config.weight_decay)
                parameter.sub_(self._spread.part(update, parameter), alpha=scale)

    def _step_others(self, factor: float) -> None:
        config, rate = self.config, self.config.adam_lr * factor
        bias1, bias2 = 1 - config.beta1**self.steps, 1 - config.beta2**self.steps
        for name in self._others:
            parameter = self._parameters[name]
            assert parameter.grad is not None, name
            mean, square = self.state["mean." + name], self.state["square." + name]
            mean.lerp_(parameter.grad, 1 - config.beta1)
            square.mul_(config.beta2).addcmul_(
                parameter.grad, parameter.grad, value=1 - config.beta2
            )
            if parameter.ndim == 2:
                parameter.mul_(1 - rate * config.weight_decay)
            denominator = (square / bias2).sqrt_().add_(1e-8)
            parameter.addcdiv_(mean, denominator, value=-rate / bias1)


@torch.no_grad()
def orthogonalised(
    matrices_NAB: Tensor, iterations: int = 5, polynomial: Polynomial = by_torch
) -> Tensor:
    """Each matrix with its singular values brought near 1, its singular vectors kept."""
    wide = matrices_NAB.shape[1] < matrices_NAB.shape[2]
    tall = (matrices_NAB.mT if wide else matrices_NAB).clone(memory_format=torch.contiguous_format)
    polynomial(tall, _QUINTIC, iterations)
    return tall.mT if wide else tall
