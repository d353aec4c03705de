"""train/sharded: two processes that share a trainer compute what one computes; their checkpoints are interchangeable.

Slow: every case starts processes.
"""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing

from ponder.core.errors import ConfigError
from ponder.model.shapes import named_shape
from ponder.model.view import PackedView
from ponder.runs import RunFolder
from ponder.train.checkpoint import MOMENTS, WEIGHTS, load_tensors
from ponder.train.config import OptimizerConfig
from ponder.train.entry import main, read_recipe
from ponder.train.network import Network
from ponder.train.optimizer import Optimizer
from ponder.train.sharded import OneProcess, Place, Processes, end_process

BATCHES = 5
"""Odd, so that one of two processes has nothing to do in the last round."""


def loss_of(network: Network):
    def loss(batch: int) -> tuple[float, torch.Tensor]:
        generator = torch.Generator().manual_seed(batch)
        ids_T = torch.randint(0, 500, (24,), generator=generator)
        starts = torch.tensor([0, 10, 24], dtype=torch.int32)
        positions_T = torch.cat([torch.arange(10), torch.arange(14)])
        logits_NV = network(ids_T, positions_T, PackedView(starts), torch.arange(24))
        found = torch.nn.functional.cross_entropy(logits_NV, ids_T.roll(1)) / BATCHES
        return float(found.detach()), found

    return loss


def trained(place: Place, matrices: str, steps: int = 3) -> dict[str, torch.Tensor]:
    """Gradients of the first step, weights and moments of the last, all whole, and losses and norms."""
    network = Network(named_shape("micro"), 0).double()
    parameters = place.settle(network)
    optimizer = Optimizer(OptimizerConfig(matrices=matrices), parameters, place.map, place)
    kept: dict[str, torch.Tensor] = {}
    numbers: list[float] = []
    for step in range(steps):
        facts = place.gradients(
            parameters, loss_of(network), range(BATCHES * step, BATCHES * step + BATCHES)
        )
        numbers += facts
        if step == 0:
            kept |= {f"grad.{name}": place.whole(p.grad).clone() for name, p in parameters.items()}
        numbers.append(optimizer.step(1.0))
    kept |= {f"weight.{name}": place.whole(p.detach()) for name, p in parameters.items()}
    kept |= {name: place.whole(t) for name, t in optimizer.state.items()}
    return kept | {"numbers": torch.tensor(numbers, dtype=torch.float64)}


def one_of_two(rank: int, address: str, path: str) -> None:
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    torch.set_num_threads(1)
    place = Processes()
    kept = {kind: trained(place, kind) for kind in ("muon", "adamw")}
    assert place.agree(float(rank)) == 0.0
    network = Network(named_shape("micro"), 0)
    held = [p.to_local().numel() for p in place.settle(network).values()]
    torch.save((kept, sum(held) / named_shape("micro").parameter_count()), f"{path}.{rank}")
    end_process()


@pytest.mark.slow
def test_two_processes_compute_what_one_computes_in_float64(tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"tcp://localhost:{free.getsockname()[1]}"
    path = str(tmp_path / "kept")
    multiprocessing.start_processes(one_of_two, (address, path), 2, start_method="spawn")
    (first, share), (second, _) = (torch.load(f"{path}.{rank}") for rank in (0, 1))
    assert 0.4 < share < 0.6, "each holds about half"
    for kind in ("muon", "adamw"):
        for name, value in trained(OneProcess(1), kind).items():
            assert torch.equal(first[kind][name], second[kind][name]), (kind, name)
            assert first[kind][name].dtype == torch.float64
            torch.testing.assert_close(first[kind][name], value, rtol=1e-10, atol=1e-10)


@pytest.fixture
def stage_path(recipe_path) -> Path:
    """The recipe of the other tests, with more than one micro-batch a step."""
    return recipe_path


def tensors(run: Path, step: int) -> dict[str, torch.Tensor]:
    folder = RunFolder.open(run).checkpoint(step)
    return load_tensors(folder / WEIGHTS) | load_tensors(folder / MOMENTS)


TWO = ["stage.cluster.trainer_processes=2"]
TOLERANCE = {"rtol": 2e-3, "atol": 2e-4}
"""Of fp32 weights after ten steps: sums in another order, and Muon brings out what is small."""


@pytest.mark.slow
def test_one_section_spreads_a_run_and_it_goes_on_in_one_process(tmp_path, stage_path):
    quiet = {"say": lambda line: None}
    main([stage_path], run_dir=tmp_path / "one", **quiet)
    main([stage_path], TWO, run_dir=tmp_path / "two", **quiet)
    one, two = (RunFolder.open(tmp_path / name) for name in ("one", "two"))
    assert [p.name for p in one.checkpoints()] == [p.name for p in two.checkpoints()]
    losses = [[r["loss"] for r in run.records() if "loss" in r] for run in (one, two)]
    assert len(losses[1]) == 10, "written once, by the first process"
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    for step in (4, 10):
        found, truth = tensors(two.path, step), tensors(one.path, step)
        for name in truth:
            torch.testing.assert_close(found[name], truth[name], **TOLERANCE, msg=name)
    assert (two.path / "model" / "model.safetensors").is_file()
    longer = ["stage.schedule.steps=12"]
    for run, more in ((one, TWO), (two, [])):  # each goes on the other way
        main([stage_path], [*longer, *more], run_dir=run.path, resume=True, **quiet)
        assert run.checkpoint().name == "00000012"
    for name, value in tensors(one.path, 12).items():
        torch.testing.assert_close(tensors(two.path, 12)[name], value, **TOLERANCE, msg=name)


def test_a_section_that_does_not_fit_the_stage_is_refused(stage_path):
    with pytest.raises(ConfigError, match="only reinforcement learning samples answers"):
        read_recipe([stage_path], ["stage.cluster.rollout_workers=2"])


def test_one_process_is_what_the_trainer_always_was(stage_path):
    stage = read_recipe([stage_path]).stage
    assert stage.cluster.trainer_processes == 1 and replace(stage) == stage
