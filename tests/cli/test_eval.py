"""`ponder eval` on a toy: samples, a second model on the same problems, and the record as JSON."""

from __future__ import annotations

import json
from pathlib import Path

from command import Here
from toy_folder import write_toy

FEW = ("--family", "arithmetic", "--count", "3", "--max-tokens", "12", "--threads", "1")


def test_samples_and_a_second_model(here: Here, toy: Path, tmp_path: Path) -> None:
    other = write_toy(tmp_path / "other", seed=1)
    wanted = (*FEW, "--samples", "2", "--seed", "4", "--band", "S", "--band", "R")
    status, out, err = here("eval", "--model", toy, "--against", other, *wanted, "--json")
    assert status == 0, err
    record = json.loads(out)
    assert [row["band"] for row in record["rows"]] == ["S", "R"]
    row = record["rows"][0]
    assert {"family", "band", "count", "right", "accuracy", "low", "high", "tokens"} <= row.keys()
    assert row["sampled"]["samples"] == 2 and len(row["sampled"]["right"]) == 3
    assert set(row["sampled"]["pass_at"]) == {"1", "2"} and row["outcomes"] == "000"
    assert [pair["p"] for pair in record["pairs"]] == [1.0, 1.0]
    assert record["against"]["facts"]["model"] == str(other)
    again = here("eval", "--model", toy, "--against", toy, *wanted)
    assert again[0] == 0 and "McNemar" in again[1] and "pass@2" in again[1]


def test_what_cannot_be_is_told(here: Here, toy: Path) -> None:
    for flags, told in (
        (("--samples", "-1"), "'-1' is not allowed"),
        (("--temperature", "0"), "'0' is not allowed"),
        (("--band", "T"), "invalid choice: 'T'"),
        (("--family", "alll", "--family", "arithmetic"), "unknown family 'alll'"),
        (("--temperature", "0.5"), "--temperature 0.5 was given without samples"),
        (("--seed", "0"), "--seed 0 was given without samples"),
    ):
        status, out, err = here("eval", "--model", toy, *flags)
        assert (status, out) == (2, "") and told in err, err
