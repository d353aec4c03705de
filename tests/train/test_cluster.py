"""Ray: groups, whole runs and evaluations on two nodes are those of this process, to the bit, whatever happens to a
worker.

Needs ray==2.60.0; slow.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from test_rl_runs import RECIPES, contents, lines_of, quiet, recipe_of, trainer_of
from toy_folder import write_toy

import ponder
from ponder.agent import Limits, Reply
from ponder.clients.ray_tokens import RayTokenEngine
from ponder.clients.session import TokenSession
from ponder.core.config import build_config
from ponder.core.errors import ConfigError, ModelFolderError, PromptError
from ponder.core.types import SamplingParams, TokenRequest
from ponder.evals import Plan, evaluate
from ponder.model.config import read_model_config
from ponder.model.folder import FolderTensors
from ponder.model.ops.scalar import float32_of
from ponder.model.weights import tensor_shapes
from ponder.tasks import generate
from ponder.text import ChatTemplate
from ponder.train.cluster import RayRollouts
from ponder.train.cluster_config import ClusterConfig
from ponder.train.entry import main
from ponder.train.rollout import Ask, RolloutConfig, Rollouts

CONFIG = RolloutConfig(max_tokens=24, max_running=8, step_tokens=64, cache_mib=4)
FAMILIES = ("arithmetic", "countdown", "equations")
ASKS = [Ask(generate(FAMILIES[n % 3], "S", 0, n), 100 + n, 2) for n in range(9)]


class Bomb:
    """Runs a function in whatever process unpickles it."""

    def __init__(self, function, *arguments) -> None:
        self.does = (function, arguments)

    def __reduce__(self):
        return self.does


def with_bomb(ask: Ask, bomb: Bomb) -> Ask:
    return replace(ask, problem=replace(ask.problem, data={**ask.problem.data, "bomb": bomb}))


def tensors_of(folder: Path, factor: float = 1.0) -> dict[str, np.ndarray]:
    config = read_model_config(folder)
    stored = FolderTensors(folder, config)
    scale = {True: np.float32(factor), False: np.float32(1)}
    return {n: float32_of(stored.tensor(n)) * scale["proj" in n] for n in tensor_shapes(config)}


@pytest.fixture(scope="module")
def toy(tmp_path_factory) -> Path:
    return write_toy(tmp_path_factory.mktemp("cluster") / "toy")


@pytest.fixture(scope="module")
def truth(toy):
    made = Rollouts(read_model_config(toy), ChatTemplate.from_folder(toy), CONFIG)
    made.load(1, tensors_of(toy))
    first = made.run(ASKS)
    made.load(2, tensors_of(toy, 1.25))
    return first, made.run(ASKS)


@pytest.fixture(scope="module")
def two_nodes():
    """A head and a second node, on this machine; two CPUs each."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False}
    )
    cluster.add_node(num_cpus=2)
    cluster.wait_for_nodes()
    yield cluster
    import ray

    ray.shutdown()
    cluster.shutdown()


@pytest.fixture
def made(toy, two_nodes):
    found: list[RayRollouts] = []
    said: list[str] = []

    def make(**section) -> tuple[RayRollouts, list[str]]:
        values = {"rollout_workers": 3, "groups_a_call": 2, "timeout_s": 120.0, **section}
        config = build_config(ClusterConfig, {"address": two_nodes.address, **values})
        rollouts = RayRollouts(read_model_config(toy), toy, CONFIG, config, said.append)
        rollouts.load(1, tensors_of(toy))
        found.append(rollouts)
        return rollouts, said

    yield make
    for rollouts in found:
        rollouts.close()


slow = pytest.mark.slow


@slow
def test_groups_are_those_of_this_process_to_the_bit(made, truth, toy):
    import ray

    rollouts, said = made()
    nodes = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
    assert len(nodes) == 2
    told: dict[int, object] = {}
    assert rollouts.run(iter(ASKS), told.__setitem__) == truth[0]
    assert [told[index] for index in range(9)] == truth[0]
    rollouts.load(2, tensors_of(toy, 1.25))
    assert rollouts.run(ASKS) == truth[1] != truth[0]
    assert rollouts.run([]) == [] and said == []


@slow
def test_a_worker_that_dies_is_replaced_and_changes_nothing(made, truth):
    import ray

    rollouts, said = made(groups_a_call=1)
    ray.kill(rollouts._actors[0])
    killed: list[int] = []

    def done(index, group):
        if not killed:
            ray.kill(rollouts._actors[1])  # with a call under way
            killed.append(index)

    assert rollouts.run(ASKS, done) == truth[0]
    assert rollouts.num_replaced == 2 and rollouts.num_lost == 0
    assert sum("did not end 1 groups; it is replaced" in line for line in said) == 2


@slow
@pytest.mark.parametrize(
    ("bomb", "timeout_s"), [(Bomb(os._exit, 1), 120.0), (Bomb(time.sleep, 900), 20.0)]
)
def test_what_is_lost_twice_is_counted_and_carries_no_reward(made, truth, bomb, timeout_s):
    rollouts, _ = made(rollout_workers=2, groups_a_call=1, timeout_s=timeout_s)
    groups = rollouts.run([ASKS[0], with_bomb(ASKS[1], bomb), ASKS[2]])
    assert [groups[0], groups[2]] == [truth[0][0], truth[0][2]]
    assert rollouts.num_lost == 2 and rollouts.num_replaced == 2
    for scored in groups[1]:
        assert scored.reward is None and scored.verdict.status == "undecided"
        assert "lost twice" in scored.verdict.reason


@slow
def test_errors_name_what_to_do(toy, two_nodes):
    config = ClusterConfig(rollout_workers=1, address=two_nodes.address)
    rollouts = RayRollouts(read_model_config(toy), toy, CONFIG, config)
    with pytest.raises(ConfigError, match="no weights yet"):
        rollouts.run(ASKS)


def test_a_section_that_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="rollout_workers is -1"):
        build_config(ClusterConfig, {"rollout_workers": -1})
    with pytest.raises(ConfigError, match="timeout_s is 0"):
        build_config(ClusterConfig, {"timeout_s": 0.0})


RUN = (
    "stage.sampling.prompts=6", "stage.sampling.samples=4", "stage.schedule.steps=4",
    "stage.checkpoint_steps=2", "stage.sample_steps=2", "stage.mix.share=0.2", "stage.pools.probe=2",
    "stage.sampling.rounds=2", 'stage.problems={"decline/S"=1.0, "tools/S"=0.5}',
)  # fmt: skip


def spread(address: str, **section: object) -> list[str]:
    values = {"rollout_workers": 2, "groups_a_call": 1, "address": address, **section}
    return [f"stage.cluster.{name}={value}" for name, value in values.items()]


@slow
def test_a_whole_run_is_that_of_this_process_also_when_a_worker_dies(warm, two_nodes, tmp_path):
    import ray

    here = trainer_of(recipe_of(warm, *RUN), tmp_path / "here")
    here.train()
    stage = recipe_of(warm, *RUN, *spread(two_nodes.address))
    there = trainer_of(stage, tmp_path / "there")
    told: list[dict] = []
    there._report = told.append

    def kill() -> None:
        """In the middle of the rollouts of a step, with calls under way."""
        while there.progress.step < 1 or lines_of(tmp_path / "there" / "rollouts.jsonl") < 8:
            time.sleep(0.001)
        ray.kill(there._rollouts._actors[0])

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    there.train()
    assert not killer.is_alive() and there._rollouts.num_replaced == 1
    assert any(each.get("event") == "cluster" for each in told)
    there._rollouts.close()
    left, right = contents(tmp_path / "here"), contents(tmp_path / "there")
    assert left == right and "checkpoints/00000004/weights.safetensors" in left
    for name, value in here.network.state_dict().items():
        assert torch.equal(value, there.network.state_dict()[name])


@slow
def test_a_run_goes_on_elsewhere(warm, two_nodes, tmp_path):
    """Begun in this process, resumed on workers: only the settings' history tells."""
    given = [f"stage.start_from={warm}", *RUN]
    main([RECIPES / "rl.toml"], given, run_dir=tmp_path / "here", say=quiet)
    short = [*given, "stage.schedule.steps=2", "stage.schedule.decay_share=0"]
    main([RECIPES / "rl.toml"], short, run_dir=tmp_path / "there", say=quiet)
    section = [*short, "stage.schedule.steps=4", *spread(two_nodes.address)]
    main([RECIPES / "rl.toml"], section, run_dir=tmp_path / "there", resume=True, say=quiet)
    whole = [*given, "stage.schedule.decay_share=0"]
    main([RECIPES / "rl.toml"], whole, run_dir=tmp_path / "one", say=quiet)
    one, there = contents(tmp_path / "one"), contents(tmp_path / "there")
    weights = "checkpoints/00000004/weights.safetensors"
    assert one[weights] == there[weights]
    assert one["samples.jsonl"] == there["samples.jsonl"]


PLAN = Plan(("arithmetic", "tools"), ("S",), count=6, samples=2, seed=3, limits=Limits(24, 400, 3))


@slow
def test_an_evaluation_on_workers_is_that_of_this_process(warm, two_nodes):
    import ray

    with ponder.load(warm, threads=1) as model:
        truth = evaluate(model.worker, partial(TokenSession, model.template), PLAN)
        facts, session = model.model.weights_format, partial(TokenSession, model.template)
    said: list[str] = []
    engine = RayTokenEngine(
        partial(ponder.load, str(warm), threads=1), 3, two_nodes.address,
        facts=lambda loaded: loaded.model.weights_format, say=said.append,
    )  # fmt: skip
    assert engine.facts == facts
    assert evaluate(engine, session, PLAN).rows == truth.rows and said == []
    ray.kill(engine._actors[1])
    assert evaluate(engine, session, PLAN).rows == truth.rows
    assert engine.num_replaced == 1 and "is replaced" in said[0]
    engine.close()


@slow
def test_a_request_lost_twice_is_no_answer_and_errors_come_back(toy, two_nodes, tmp_path):
    with pytest.raises(ModelFolderError):
        RayTokenEngine(partial(ponder.load, str(tmp_path / "none")), 1, two_nodes.address)
    engine = RayTokenEngine(partial(ponder.load, str(toy), threads=1), 1, two_nodes.address)
    good = TokenRequest((5, 6), SamplingParams(temperature=1.0, seed=1, max_tokens=4))
    before = Reply.of(list(engine.submit(good)))
    assert len(before.ids) >= 1
    lost = Reply.of(list(engine.submit(TokenRequest((5,), Bomb(os._exit, 1)))))
    assert (lost.ids, lost.finish, lost.error) == ((), "error", "its worker was lost twice")
    assert engine.num_replaced == 2
    assert Reply.of(list(engine.submit(good))) == before
    with pytest.raises(PromptError):
        list(engine.submit(TokenRequest(())))
    engine.close()


@slow
def test_the_command_on_workers_gives_the_same_table(toy, two_nodes):
    command = [sys.executable, "-m", "ponder", "eval", "--model", str(toy), "--threads", "1"]
    command += ["--family", "arithmetic", "--count", "3", "--samples", "1", "--max-tokens", "12"]
    tables = []
    for more in ([], ["--workers", "2", "--ray", two_nodes.address]):
        done = subprocess.run([*command, "--json", *more], capture_output=True, check=True)
        tables.append(json.loads(done.stdout))
    assert tables[0]["rows"] == tables[1]["rows"] and tables[1]["facts"]["workers"] == 2
    alone = subprocess.run([*command, "--ray", "auto"], capture_output=True)
    assert alone.returncode == 2 and b"add --workers N" in alone.stderr
