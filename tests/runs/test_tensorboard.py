"""runs/tensorboard: what we write is what TensorBoard's own reader reads."""

from __future__ import annotations

import importlib
import struct

import pytest

from ponder.cli.edge import main
from ponder.runs import RunFolder
from ponder.runs.tensorboard import write_events


@pytest.fixture
def run(tmp_path):
    made = RunFolder.create(tmp_path / "run", "")
    for step in range(1, 301):
        values = {"loss": 1 / step, "reward": float("nan") if step == 7 else step / 300}
        made.log({"step": step, **values, "kl": 1e300, "elapsed_s": step / 2, "note": "text"})
    made.log({"step": 300, "event": "decay", "steps": 9})
    return made


def crc(content: bytes) -> int:
    """CRC-32C bit by bit, from its definition."""
    value = 0xFFFFFFFF
    for byte in content:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 * (value & 1))
    return value ^ 0xFFFFFFFF


def test_records_are_framed_with_right_checksums(run):
    assert crc(b"123456789") == 0xE3069283, "the published check value of CRC-32C"
    folder = write_events(run.path)
    (path,) = folder.iterdir()
    content, records = path.read_bytes(), 0
    while content:
        length = struct.unpack("<Q", content[:8])[0]
        for part, stored in (
            (content[:8], content[8:12]),
            (content[12 : 12 + length], content[12 + length : 16 + length]),
        ):
            value = crc(part)
            masked = ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF
            assert struct.unpack("<I", stored)[0] == masked
        content, records = content[16 + length :], records + 1
    assert records == 301


def test_written_again_there_is_still_one_file(run, capsys):
    write_events(run.path)
    run.log({"step": 301, "loss": 0.0})
    assert main(["report", str(run.path), "--tensorboard"]) == 0
    assert len(list((run.path / "tensorboard").iterdir())) == 1
    assert capsys.readouterr().out.strip() == str(run.path / "tensorboard")


@pytest.mark.slow
def test_the_real_reader_reads_every_value(run):
    reader = importlib.import_module("tensorboard.backend.event_processing.event_accumulator")
    found = reader.EventAccumulator(str(write_events(run.path)), {"scalars": 0})
    found.Reload()
    assert sorted(found.Tags()["scalars"]) == ["elapsed_s", "loss", "reward"]
    losses = found.Scalars("loss")
    assert [each.step for each in losses] == list(range(1, 301))
    assert [each.value for each in losses] == pytest.approx(
        [1 / s for s in range(1, 301)], rel=1e-6
    )
    assert [each.step for each in found.Scalars("reward")] == [s for s in range(1, 301) if s != 7]
    start = found.FirstEventTimestamp()
    assert losses[-1].wall_time - start == pytest.approx(150.0)
