"""train: a run that was killed and resumed equals the uninterrupted one, to the bit; and what a run refuses."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ponder.core.errors import BackendError, ConfigError, StorageError
from ponder.model.folder import load_model
from ponder.model.shapes import named_shape
from ponder.runs import RunFolder
from ponder.train.checkpoint import MOMENTS, WEIGHTS, start_weights
from ponder.train.entry import main
from ponder.train.trainer import Trainer


class Killed(Exception):
    pass


def trainer(stage, path, kill_at: int | None = None, resume: bool = False) -> Trainer:
    def report(record):
        if record["step"] == kill_at:
            raise Killed

    run = RunFolder.open(path) if resume else RunFolder.create(path, "")
    start = start_weights(stage.start_from)[1] if stage.start_from else None
    made = Trainer(stage, named_shape("micro"), run, start, report)
    if resume:
        made.resume()
    return made


def files(run: RunFolder) -> dict[str, bytes]:
    return {name: (run.checkpoint() / name).read_bytes() for name in (WEIGHTS, MOMENTS)}


def losses(run: RunFolder) -> list[tuple[int, float]]:
    return [(each["step"], each["loss"]) for each in run.records() if "loss" in each]


@pytest.mark.parametrize("kill_at", [2, 6, 9])
def test_killed_and_resumed_equals_uninterrupted(stage, tmp_path, kill_at):
    stage = replace(stage, checkpoint_steps=1 if kill_at == 2 else 4)
    whole = trainer(stage, tmp_path / "whole")
    whole.train()
    first = trainer(stage, tmp_path / "cut", kill_at)
    with pytest.raises(Killed):
        first.train()
    second = trainer(stage, tmp_path / "cut", resume=True)
    assert 0 < second.progress.step < 10
    second.train()
    assert files(whole.run) == files(second.run)
    assert losses(whole.run) == losses(second.run)
    assert [step for step, _ in losses(whole.run)] == list(range(1, 11))
    assert [int(path.name) for path in whole.run.checkpoints()][-1] == 10


def test_threads_do_not_change_the_bits(stage, tmp_path):
    runs = []
    for threads in (1, 2):
        made = trainer(replace(stage, threads=threads), tmp_path / str(threads))
        made.train(3)
        runs.append(files(made.run))
    assert runs[0] == runs[1]


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_checkpoint(stage, tmp_path):
    made = trainer(stage, tmp_path / "run")
    made.train(2)
    before = files(made.run)
    with torch.no_grad():
        next(made.network.parameters()).fill_(float("nan"))
    with pytest.raises(BackendError, match="the loss at step 2 is nan"):
        made.train()
    assert files(made.run) == before


def test_health_the_loss_falls_within_seconds(stage, tmp_path):
    schedule = replace(stage.schedule, steps=40)
    made = trainer(replace(stage, schedule=schedule, checkpoint_steps=100), tmp_path / "run")
    made.train()
    found = [loss for _, loss in losses(made.run)]
    assert found[0] > 5.5 and sum(found[-5:]) / 5 < 3.0, found


def test_pretraining_export_and_fine_tuning_on_one_road(recipe_path, tmp_path):
    said: list[str] = []
    model = main([recipe_path], ["stage.schedule.steps=3"], run_dir=tmp_path / "a", say=said.append)
    assert model is not None and load_model(model).config == named_shape("micro")
    assert said[-1] == f"model: {model}"
    tuned = recipe_path.with_name("sft.toml")
    text = recipe_path.read_text().replace("pretrain", "sft")
    tuned.write_text(text.replace('shape = "micro"', f'start_from = "{model}"'))
    after = main(
        [tuned],
        ["stage.schedule.steps=2", "stage.sample_steps=2"],
        run_dir=tmp_path / "b",
        say=said.append,
    )
    first, last = load_model(model).score(range(9)), load_model(after).score(range(9))
    samples = RunFolder.open(tmp_path / "b").records("samples.jsonl")
    assert [each["family"] for each in samples] == ["arithmetic", "decline"]
    assert set(samples[0]) == {"step", "family", "question", "text", "verdict", "reason"}
    assert abs(first - last).max() < 1.0 and (first != last).any()


def test_a_finished_run_can_be_extended(recipe_path, tmp_path):
    def run(steps: int, **options) -> list[str]:
        said: list[str] = []
        override = [f"stage.schedule.steps={steps}"]
        main([recipe_path], override, run_dir=tmp_path / "run", say=said.append, **options)
        return said

    run(8)
    assert "resumed at step 8" in run(12, resume=True)
    folder = RunFolder.open(tmp_path / "run")
    assert [step for step, _ in losses(folder)] == list(range(1, 13))
    assert "steps = 12" in (folder.path / "config.toml").read_text()
    stable = min(int(path.name) for path in folder.checkpoints())
    assert f"resumed at step {stable}" in run(12, resume=True, from_step=stable)


@pytest.mark.parametrize(
    ("overrides", "options", "error", "words"),
    [
        ([], {"run_dir": None}, ConfigError, "no run folder"),
        ([], {"resume": True}, StorageError, "holds no run"),
        ([], {"from_step": 3}, ConfigError, "without resuming"),
        (["stage.optimiser.muon_lr=1"], {}, ConfigError, "did you mean 'optimizer'"),
        (["stage.shape=nanno"], {}, ConfigError, "did you mean 'nano'"),
        (["stage.schedule.stop_after_s=5"], {}, ConfigError, "exactly one"),
        (["stage.documents.mixture.algebra=1"], {}, ConfigError, "unknown task family 'algebra'"),
        (["stage.tokenizer=none"], {}, ConfigError, "'none' lacks tokenizer.json"),
        (["stage.start_from=x"], {}, ConfigError, "gives 'shape' and not 'start_from'"),
    ],
)
def test_what_is_refused_leaves_no_folder(recipe_path, tmp_path, overrides, options, error, words):
    with pytest.raises(error, match=words):
        main([recipe_path], overrides, **{"run_dir": tmp_path / "run", **options})
    assert not (tmp_path / "run").exists()


def test_dry_run_says_the_resolved_recipe(recipe_path, tmp_path):
    said: list[str] = []
    assert main([recipe_path], ["stage.seed=5"], dry_run=True, say=said.append) is None
    assert "seed = 5" in said[0] and "muon_lr = " in said[0]
    told = " ".join(said[1:])
    for words in (
        "parameters: 247,104",
        "memory: about",
        "tokens a step: 600",
        "FLOP a step: ",
        "10 steps in",
    ):
        assert words in told, said[1:]


def test_flops_are_counted(stage, tmp_path):
    made = trainer(stage, tmp_path / "run")
    made.train(2)
    first, second = (each["flops"] for each in made.run.records())
    rows = made.run.records()[0]["tokens"]
    assert 6 * 247_104 * rows < first < 9 * 247_104 * rows and second > first


def test_a_budget_of_flop_ends_a_run_also_one_that_was_killed(stage, tmp_path):
    made = trainer(stage, tmp_path / "steps")
    made.train()
    spent = [each["flops"] for each in made.run.records() if "flops" in each]
    schedule = replace(stage.schedule, steps=None, flops=spent[6] - 1.0)
    runs = [trainer(replace(stage, schedule=schedule), tmp_path / "whole")]
    runs[0].train()
    with pytest.raises(Killed):
        trainer(replace(stage, schedule=schedule), tmp_path / "cut", kill_at=6).train()
    runs.append(trainer(replace(stage, schedule=schedule), tmp_path / "cut", resume=True))
    runs[1].train()
    for each in runs:
        assert [r["flops"] for r in each.run.records() if "flops" in r] == spent[:7]
    assert files(runs[0].run) == files(runs[1].run)
    factors = [r["lr_factor"] for r in runs[0].run.records() if "lr_factor" in r]
    assert factors[3] == 1.0 and 0 < factors[6] < factors[5] < 1
