"""train/rl: whole runs of micro: the reward rises, on-policy is exact, a killed run equals one never stopped."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ponder.core.errors import BackendError, ConfigError
from ponder.model.ops import native_available
from ponder.runs import RunFolder
from ponder.train.entry import main, read_recipe
from ponder.train.rl.pools import Pool
from ponder.train.rl.trainer import RlTrainer
from ponder.train.stages import start_weights

RECIPES = Path(__file__).parents[2] / "recipes" / "micro"
TIMING = {"rollout_s", "train_s", "elapsed_s"}


def quiet(line: str) -> None:
    pass


def recipe_of(warm: Path, *overrides: str):
    given = [f"stage.start_from={warm}", *overrides]
    return read_recipe([RECIPES / "rl.toml"], given).stage


def trainer_of(stage, path: Path) -> RlTrainer:
    config, start = start_weights(stage.start_from)
    return RlTrainer(stage, config, RunFolder.create(path, ""), start)


def test_health_the_reward_rises_within_a_minute(warm, tmp_path):
    trainer = trainer_of(recipe_of(warm), tmp_path / "run")
    trainer.train()
    rewards = [each["reward"] for each in trainer.run.records() if "reward" in each]
    assert sum(rewards[:2]) / 2 < 0.3 and sum(rewards[-4:]) / 4 > 0.9, rewards


@pytest.mark.parametrize(("weights", "most"), [("fp32", 1e-4), ("bf16", 0.05)])
def test_on_policy_is_exact_and_samples_say_everything(warm, tmp_path, weights, most):
    stage = recipe_of(
        warm, "stage.sample_steps=2", "stage.preflight=skip", "stage.mix.share=0.2",
        f"stage.weights={weights}",
    )  # fmt: skip
    trainer = trainer_of(stage, tmp_path / "run")
    trainer.train(2)
    records = [each for each in trainer.run.records() if "ratio_max" in each]
    assert records, "every group was flat"
    for record in records:
        if native_available()[0]:
            assert (record["ratio_max"], record["ratio_min"]) == (1.0, 1.0), record
            assert record["gap"] == record["kl"] == record["clipped"] == 0, record
        assert record["gap"] < most and record["entropy"] == record["entropy_decline"] > 0
        assert record["reward"] == record["reward_decline"]
    samples = trainer.run.records("samples.jsonl")
    assert len(samples) == 16 and {each["group"] for each in samples} == {0, 1}
    for each in samples:
        assert set(each) == {
            "step", "group", "family", "band", "question", "thinking", "answer", "verdict",
            "reason", "reward", "advantage", "tokens",
        }  # fmt: skip
        text = "".join(piece for piece, _ in each["tokens"])
        assert each["thinking"].strip() in text and each["answer"].strip() in text


def pass_rates(trainer: RlTrainer, indices) -> dict[int, float]:
    groups = trainer.probe("decline/S", indices)
    return {g.draw.index: sum(a.is_right for a in g.answers) / len(g.answers) for g in groups}


@pytest.mark.slow
def test_perfectible_set(warm, tmp_path):
    """Problems solved 20–80 % of the time before are all but always solved after 60 steps."""
    ready = recipe_of(warm, "stage.preflight=skip", "stage.sampling.samples=16", "stage.seed=5")
    before = trainer_of(replace(ready, schedule=replace(ready.schedule, steps=20)), tmp_path / "a")
    before.train()  # a little reinforcement, so that there are problems between
    stage = replace(
        ready,
        schedule=replace(ready.schedule, steps=60, decay_share=0.5),
        pools=replace(ready.pools, low=0.0, high=1.0, fresh=0.0),
    )
    config, _ = start_weights(stage.start_from)
    start = {name: value.detach().clone() for name, value in before.network.state_dict().items()}
    trainer = RlTrainer(stage, config, RunFolder.create(tmp_path / "b", ""), start)
    rates = pass_rates(trainer, range(64))
    chosen = {str(index): rate for index, rate in rates.items() if 0.2 <= rate <= 0.8}
    assert len(chosen) >= 8, rates
    trainer.pools.pools["decline/S"] = Pool(cursor=64, edge=dict(chosen))
    trainer.train()
    after = pass_rates(trainer, [int(index) for index in chosen])
    assert sum(after.values()) / len(after) >= 0.95, after


def test_a_step_that_is_no_number_is_rejected_and_named(warm, tmp_path):
    trainer = trainer_of(recipe_of(warm, "stage.preflight=skip"), tmp_path / "run")
    trainer.train(1)
    good = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    with torch.no_grad():
        next(iter(trainer.optimizer.state.values())).fill_(float("nan"))
    trainer.train(1)  # the checkpoint before has whole moments, so the second try succeeds
    events = [each for each in trainer.run.records() if each.get("event") == "rejected"]
    assert [(each["step"], each["rejected_step"]) for each in events] == [(1, 2)]
    assert "not finite" in events[0]["why"] and trainer.progress.step == 2
    assert all(bool(value.isfinite().all()) for value in trainer.network.state_dict().values())
    assert any(not torch.equal(good[n], v) for n, v in trainer.network.state_dict().items())
    mix = replace(trainer.recipe.mix, share=0.5, weight=1e39)  # infinite in fp32
    bad = replace(trainer.recipe, mix=mix)
    hopeless = trainer_of(bad, tmp_path / "other")
    with pytest.raises(BackendError, match="step 0 was rejected 3 times in a row"):
        hopeless.train()


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("stage.sampling.top_p=0.9", "makes the ratio wrong at every token"),
        ("stage.sampling.temperature=0.7", "allowed is 1"),
        ("stage.algorithm.name=ppo", "allowed are centred"),
        ("stage.problems.algebra/S=1", "problems holds 'algebra/S'"),
        ("stage.problems.decline/X=1", "with the bands S, R, O"),
        ("stage.schedule={stop_after_s=9}", "exactly one"),
        ("stage.sampling.samples=1", "allowed is 2 or more"),
        ("stage.sampling.max_tokens=3", "this run cannot learn"),
        ("stage.pools.refresh_steps=0", "refresh_steps is 0"),
        ("stage.checkpoint_steps=0", "allowed is 1 or more"),
        ("stage.sampling.first_max_tokens=99", "allowed is 2 to 48"),
        ("stage.algorithm.kl_weight=nan", "kl_weight is nan"),
        ("stage.reward.call_cost=-1.0", "allowed is 0 to 1"),
        ('stage.algorithm={name="expert", kl_weight=0.1}', "which has no use for it"),
        ('stage.algorithm={name="cispo", dual_clip=3.0}', "which has no use for it"),
    ],
)
def test_what_is_refused(warm, tmp_path, override, words):
    given = [f"stage.start_from={warm}", 'stage.preflight="refuse"', override]
    with pytest.raises(ConfigError, match=words):
        main([RECIPES / "rl.toml"], given, run_dir=tmp_path / "run", say=quiet)


PROMPTS = 6
SHORT = (
    f"stage.sampling.prompts={PROMPTS}", "stage.sampling.samples=4",
    "stage.schedule.steps=8", "stage.checkpoint_steps=2", "stage.sample_steps=2",
    "stage.preflight=skip", "stage.mix.share=0.2", "stage.algorithm.name=grpo",
    "stage.reward.overlong_penalty=0.5", "stage.sampling.rounds=2", "stage.pools.refresh_steps=3",
)  # fmt: skip


def start_process(start: Path, run: Path, resume: bool, options=SHORT) -> subprocess.Popen:
    overrides = [f"stage.start_from={start}", *options]
    command = [sys.executable, "-m", "ponder", "train"]
    command += ["--resume"] if resume else [str(RECIPES / "rl.toml"), "--run-dir"]
    command += [str(run)]
    command += [] if resume else [word for each in overrides for word in ("--set", each)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def kill_when(process: subprocess.Popen, is_time: Callable[[], bool]) -> bool:
    """SIGKILL at the moment; False when the process ended before it came."""
    while process.poll() is None:
        if is_time():
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
            return process.returncode == -signal.SIGKILL
        time.sleep(0.0005)
    assert process.returncode == 0, process.communicate()[1].decode()
    return False


def contents(run: Path) -> dict[str, object]:
    """Every file of a run; what only the clock decides is taken out."""
    found: dict[str, object] = {}
    for path in sorted(each for each in run.rglob("*") if each.is_file()):
        name = str(path.relative_to(run))
        if path.name in ("metrics.jsonl", "progress.json"):
            text = path.read_text()
            lines = text.splitlines() if path.suffix == ".jsonl" else [text]
            records = [json.loads(line) for line in lines]
            found[name] = [{k: v for k, v in r.items() if k not in TIMING} for r in records]
        elif path.name == "checksums.json":
            sums = json.loads(path.read_text())
            found[name] = {k: v for k, v in sums.items() if k != "progress.json"}
        else:
            found[name] = path.read_bytes()
    return found


def lines_of(path: Path) -> int:
    try:
        return path.read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


def moments(run: Path, rng: random.Random) -> dict[str, Callable[[], bool]]:
    """Mid-rollout: some groups of a step are finished. Training: all are. During a save: a half-written folder."""
    journal, late = run / "rollouts.jsonl", [0.0]

    def is_training() -> bool:
        if lines_of(journal) >= PROMPTS and not late[0]:
            late[0] = time.monotonic() + rng.uniform(0, 0.1)
        return bool(late[0]) and time.monotonic() > late[0]

    return {
        "mid-rollout": lambda: 1 <= lines_of(journal) < PROMPTS,
        "between micro-batches": is_training,
        "during a save": lambda: any((run / "checkpoints").glob(".0000000[2-8].partial")),
    }


def check_killed(start: Path, path: Path, rng: random.Random, rounds: int, options=SHORT) -> int:
    whole, cut = path / "whole", path / "cut"
    uninterrupted = start_process(start, whole, False, options)
    killed = 0
    for _ in range(rounds):
        for is_time in moments(cut, rng).values():
            resume = (cut / "config.toml").is_file()
            killed += kill_when(start_process(start, cut, resume, options), is_time)
    last = start_process(start, cut, (cut / "config.toml").is_file(), options)
    kill_when(last, lambda: False)
    assert not kill_when(uninterrupted, lambda: False)
    left, right = contents(whole), contents(cut)
    assert set(left) == set(right)
    assert [name for name in left if left[name] != right[name]] == []
    assert {"checkpoints/00000008/optimizer.safetensors", "samples.jsonl"} <= set(left)
    return killed


def test_killed_at_any_moment_and_resumed_equals_uninterrupted(warm, tmp_path):
    options = [*SHORT, "stage.weights=bf16"]  # fp32 in the slow ones
    assert check_killed(warm, tmp_path, random.Random(1), rounds=1, options=options) >= 2


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_killed_many_times(warm, tmp_path, seed):
    assert check_killed(warm, tmp_path, random.Random(seed), rounds=3) >= 4


def test_changed_settings_and_earlier_steps_are_recorded(warm, tmp_path):
    def run(steps: int, **options) -> list[str]:
        said: list[str] = []
        given = [f"stage.start_from={warm}", *SHORT, f"stage.schedule.steps={steps}"]
        main([RECIPES / "rl.toml"], given, run_dir=tmp_path / "run", say=said.append, **options)
        return said

    run(2)
    assert "resumed at step 2" in run(4, resume=True)
    folder = RunFolder.open(tmp_path / "run")
    (event,) = [each for each in folder.records() if each.get("event") == "config"]
    assert event == {"step": 2, "event": "config", "changed": {"stage.schedule.steps": [2, 4]}}
    history = sorted((tmp_path / "run" / "configs").iterdir())
    assert [path.name for path in history] == ["00000000.toml", "00000002.toml"]
    assert "steps = 2" in history[0].read_text() and "steps = 4" in history[1].read_text()
    before = [each["reward"] for each in folder.records() if "reward" in each]
    assert "resumed at step 2" in run(4, resume=True, from_step=2)
    assert [each["reward"] for each in folder.records() if "reward" in each] == before
