"""What carries out a run of any stage: killed before its first checkpoint, and processes that torchrun started."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ponder.core.errors import StorageError
from ponder.runs import RunFolder
from ponder.train.entry import main

STEPS = ["stage.schedule.steps=2", "stage.checkpoint_steps=2"]


def test_a_run_killed_before_its_first_checkpoint_begins_anew(recipe_path, tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    main([recipe_path], STEPS, run_dir=whole, say=str)
    said: list[str] = []
    RunFolder.create(cut, (whole / "config.toml").read_text()).log({"step": 1, "loss": 9.0})
    main([], run_dir=cut, resume=True, say=said.append)
    assert said[0] == "resumed at step 0" and said[-1] == f"model: {cut / 'model'}"
    left, right = ([each.get("loss") for each in RunFolder.open(p).records()] for p in (whole, cut))
    assert left == right
    name = "model/model.safetensors"
    assert (whole / name).read_bytes() == (cut / name).read_bytes()
    with pytest.raises(StorageError, match="no checkpoint of step 7"):
        main([], run_dir=cut, resume=True, from_step=7, say=str)


@pytest.mark.slow
def test_processes_started_by_torchrun_share_one_run_and_go_on(recipe_path, tmp_path):
    start = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    start += ["-m", "ponder", "train", "--set", "stage.cluster.trainer_processes=2"]
    for steps, where in ((2, ["--run-dir"]), (4, ["--resume"])):
        more = ["--set", f"stage.schedule.steps={steps}", *where, str(tmp_path / "run")]
        made = subprocess.run([*start, *more, str(recipe_path)], capture_output=True, timeout=300)
        assert made.returncode == 0, made.stderr.decode()
        assert made.stderr.count(f"step {steps}/{steps}".encode()) == 1, made.stderr.decode()
    found = [each["step"] for each in RunFolder.open(tmp_path / "run").records() if "loss" in each]
    assert found == [1, 2, 3, 4]
