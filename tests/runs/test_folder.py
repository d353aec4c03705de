"""runs/folder: a checkpoint is complete or not there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ponder.core.errors import StorageError
from ponder.runs import RunFolder
from ponder.runs.folder import write_atomically


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


HOLDER = """
import sys
from ponder.runs import RunFolder
from ponder.runs.folder import write_atomically
run = RunFolder.open(sys.argv[1])
run.hold()
print("held", flush=True)
sys.stdin.read()
"""


def test_two_processes_cannot_write_one_run(tmp_path):
    RunFolder.create(tmp_path / "run", "")
    other = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "run")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with other:
        assert other.stdout is not None and other.stdout.readline() == b"held\n"
        late = RunFolder.open(tmp_path / "run")
        writes = (late.hold, lambda: late.log({"step": 1}), lambda: late.rewind(0), lambda: late.save_config(""),
                  lambda: late.save_checkpoint(1, put("one")))  # fmt: skip
        for write in writes:
            with pytest.raises(StorageError, match="being written by another process"):
                write()
        assert {path.name for path in late.path.iterdir()} == {
            "config.toml",
            "checkpoints",
            ".lock",
        }
        other.kill()
    late.log({"step": 1})


def test_a_checkpoint_that_changed_is_refused(tmp_path):
    run = RunFolder.create(tmp_path / "run", "")
    for step in (1, 2, 3):
        run.save_checkpoint(step, put(f"weights {step}"), keep=True)
    flipped = bytearray((run.path / "checkpoints/00000003/weights").read_bytes())
    flipped[2] ^= 1
    (run.path / "checkpoints/00000003/weights").write_bytes(flipped)
    (run.path / "checkpoints/00000002/weights").unlink()
    for step in (None, 3, 2):
        with pytest.raises(StorageError, match=r"is damaged.*\n.*--from-step.*1, 2, 3"):
            run.checkpoint(step)
    assert run.checkpoint(1).name == "00000001"
    (run.path / "checkpoints/0004.bak").mkdir()
    assert len(run.checkpoints()) == 3


@pytest.mark.parametrize(
    "line", ["junk", "[1]", '{"step": "x"}', '{"step": 1e999}', "[" * 9000, "\x00\xff"]
)
def test_a_line_that_no_run_wrote_is_named_before_anything_is_dropped(tmp_path, line):
    run = RunFolder.create(tmp_path / "run", "")
    run.save_checkpoint(5, put("five"))
    path = run.path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n' + line.encode("latin-1") + b'\n{"step": 2}\n')
    with pytest.raises(StorageError, match=r"line 2 of .* is damaged"):
        run.rewind(1)
    assert [step.name for step in run.checkpoints()] == ["00000005"]


def test_what_a_kill_left_half_written_is_gone_after_a_resume(tmp_path):
    run = RunFolder.create(tmp_path / "run", "")
    (run.path / "checkpoints/.00000007.partial").mkdir()
    run.rewind(0)
    assert list((run.path / "checkpoints").iterdir()) == []
    (run.path / "in the way").mkdir()
    with pytest.raises(OSError):
        write_atomically(run.path / "in the way", "text")
    assert not list(run.path.glob(".*.partial"))
