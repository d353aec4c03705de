"""train/sharded: where a trainer's work happens: in this process on threads, or spread over processes by FSDP2.

    one process    micro-batches on threads, added in their own order
    processes      each holds its share of every tensor, of its gradient and of the optimizer's state, and computes
                   every `count`-th micro-batch; gradients are summed and cut by reduce-scatter

What is computed is the same: gradients of the two differ by the order of their sums alone, and checkpoints hold whole
tensors, so a run goes on with another number of processes. The trainer knows neither.
Limits: parameters are gathered whole for a forward and its backward; each process orthogonalises whole matrices (Muon).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn, Protocol, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

T = TypeVar("T")
B = TypeVar("B")
Parameters = Mapping[str, nn.Parameter]


class Place(Protocol):
    """Where gradients are computed and tensors live."""

    def settle(self, network: nn.Module) -> dict[str, nn.Parameter]:
        """Take the network over; its parameters as they are from now on, for optimizer and checkpoint."""
        ...

    def gradients(
        self, parameters: Parameters, loss_of: Callable[[B], tuple[T, Tensor]], batches: Sequence[B]
    ) -> list[T]:
        """Sets every `.grad` to the sum over the batches; what `loss_of` said of each beside its loss, in order."""
        ...

    def map(
        self, function: Callable[[Tensor], Tensor], tensors: Iterable[Tensor]
    ) -> Iterable[Tensor]: ...
    def whole(self, tensor: Tensor) -> Tensor:
        """All of a tensor of which this process may hold a part. Every process must ask."""
        ...

    def part(self, tensor: Tensor, like: Tensor) -> Tensor:
        """This process's part of a whole tensor, laid out as `like`."""
        ...

    def agree(self, value: float) -> float:
        """The first process's value, so that all decide alike."""
        ...


class OneProcess:
    """This process alone, with threads."""

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, initializer=settle_thread)

    def settle(self, network: nn.Module) -> dict[str, nn.Parameter]:
        return dict(network.named_parameters())

    def gradients(
        self, parameters: Parameters, loss_of: Callable[[B], tuple[T, Tensor]], batches: Sequence[B]
    ) -> list[T]:
        tensors = list(parameters.values())

        def one(batch: B) -> tuple[T, tuple[Tensor, ...]]:
            fact, loss = loss_of(batch)
            return fact, torch.autograd.grad(loss, tensors)

        return list(add_gradients(tensors, self._pool.map(one, batches)))

    def map(
        self, function: Callable[[Tensor], Tensor], tensors: Iterable[Tensor]
    ) -> Iterable[Tensor]:
        return self._pool.map(function, tensors)

    def whole(self, tensor: Tensor) -> Tensor:
        return tensor

    def part(self, tensor: Tensor, like: Tensor) -> Tensor:
        return tensor

    def agree(self, value: float) -> float:
        return value


class Processes:
    """One of the processes of a torch process group that is already set up."""

    def __init__(self, device: str = "cpu") -> None:
        self.rank, self.count = dist.get_rank(), dist.get_world_size()
        self._mesh = init_device_mesh(device, (self.count,))

    def settle(self, network: nn.Module) -> dict[str, nn.Parameter]:
        sharded: Any = fully_shard(network, mesh=self._mesh)
        sharded.set_gradient_divide_factor(1.0)
        sharded.set_force_sum_reduction_for_comms(True)  # gloo scales no sums
        return dict(network.named_parameters())

    def gradients(
        self, parameters: Parameters, loss_of: Callable[[B], tuple[T, Tensor]], batches: Sequence[B]
    ) -> list[T]:
        for parameter in parameters.values():
            parameter.grad = None
        own: dict[int, T] = {}
        for first in range(0, len(batches), self.count):
            index = first + self.rank
            fact, loss = loss_of(batches[min(index, len(batches) - 1)])
            if index < len(batches):
                own[index] = fact
                loss.backward()
            else:  # nothing left for this process, but every process must take part in the sums
                (loss * 0).backward()
        shares: list[Any] = [None] * self.count
        dist.all_gather_object(shares, own)
        facts: dict[int, T] = {index: fact for share in shares for index, fact in share.items()}
        return [facts[index] for index in range(len(batches))]

    def map(
        self, function: Callable[[Tensor], Tensor], tensors: Iterable[Tensor]
    ) -> Iterable[Tensor]:
        return map(function, tensors)

    def whole(self, tensor: Tensor) -> Tensor:
        return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor

    def part(self, tensor: Tensor, like: Tensor) -> Tensor:
        if not isinstance(like, DTensor):
            return tensor
        # Every process has the whole tensor already, so that none is sent.
        return distribute_tensor(tensor, like.device_mesh, like.placements, src_data_rank=None)

    def agree(self, value: float) -> float:
        values = [value]
        dist.broadcast_object_list(values, src=0)
        return values[0]


def end_process() -> NoReturn:
    """The end of a process that was started for a group: together with the others, and at once.

    An interpreter that winds down beside the group's threads aborts now and then, when all work is done and written.
    """
    leave_group()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def leave_group() -> None:
    """Nobody closes a connection that another still needs."""
    dist.barrier()
    dist.destroy_process_group()


def add_gradients(
    parameters: Sequence[nn.Parameter], parts: Iterable[tuple[T, tuple[Tensor, ...]]]
) -> Iterator[T]:
    """Sets every parameter's gradient to the sum over `parts`; yields what came with each gradient.

    Micro-batches run side by side, one thread each, and are added in their own order: the bits of the sum do not
    depend on the number of threads, and a thread that loses its core holds up nobody.
    """
    for parameter in parameters:
        parameter.grad = None
    for fact, gradients in parts:
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if parameter.grad is None:
                parameter.grad = gradient
            else:
                parameter.grad.add_(gradient)
        yield fact


def settle_thread() -> None:
    """One core a thread; numbers too small for fp32's normal range count as 0, which is many times faster."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
