"""runs/folder: a checkpoint is complete or not there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ponder.core.errors import StorageError
from ponder.runs import RunFolder


def put(text: str):
    return lambda folder: (folder / "weights").write_text(text)


def test_a_second_run_in_one_folder_is_refused(tmp_path):
    RunFolder.create(tmp_path / "run", "seed = 1\n")
    with pytest.raises(StorageError, match="already holds a run"):
        RunFolder.create(tmp_path / "run", "seed = 2\n")
    assert (RunFolder.open(tmp_path / "run").path / "config.toml").read_text() == "seed = 1\n"
    with pytest.raises(StorageError, match="holds no run"):
        RunFolder.open(tmp_path)


def test_a_save_that_dies_leaves_the_one_before(tmp_path):
    run = RunFolder.create(tmp_path / "run", "")
    with pytest.raises(StorageError, match="no complete checkpoint"):
        run.checkpoint()
    run.save_checkpoint(1, put("one"))

    def die(folder: Path) -> None:
        (folder / "weights").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.save_checkpoint(2, die)
    assert run.checkpoint().name == "00000001"
    run.save_checkpoint(2, put("two"))
    assert (run.checkpoint() / "weights").read_text() == "two"


def test_a_full_disk_is_one_clear_error_and_leaves_nothing_half_written(tmp_path):
    run = RunFolder.create(tmp_path / "run", "")

    def full(folder: Path) -> None:
        (folder / "weights").write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(StorageError, match="No space left on device"):
        run.save_checkpoint(2, full)
    assert list((run.path / "checkpoints").iterdir()) == []


def test_old_checkpoints_go_and_kept_ones_stay(tmp_path):
    run = RunFolder.create(tmp_path / "run", "")
    for step in range(1, 7):
        run.save_checkpoint(step, put(str(step)), keep=step == 2)
    assert [int(path.name) for path in run.checkpoints()] == [2, 5, 6]
    assert run.checkpoint(5).name == "00000005"
    with pytest.raises(StorageError, match="there are those of 2, 5, 6"):
        run.checkpoint(4)


def test_what_came_after_the_checkpoint_is_dropped(tmp_path):
    run = RunFolder.create(tmp_path / "run", "")
    for step in range(5):
        run.log({"step": step, "loss": step / 2})
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "lo')
    run.save_checkpoint(3, put("three"))
    run.save_checkpoint(2, put("two"))
    run.rewind(2)
    assert run.checkpoint().name == "00000002"
    lines = (run.path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [0, 1, 2]
