"""benchmarks/thesis: its numbers against counting, its kept results against measuring again, and what it refuses."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import ponder
from ponder.core.config import config_toml
from ponder.core.errors import ConfigError
from ponder.runs import RunFolder
from ponder.train.entry import read_recipe

REPOSITORY = Path(__file__).resolve().parents[2]
NANO = Path(ponder.__file__).parent / "models" / "nano"
sys.path.append(str(REPOSITORY / "benchmarks"))

from thesis import Entry, main, read_model  # noqa: E402
from thesis_numbers import Measured, Model  # noqa: E402
from thesis_tables import picture, report  # noqa: E402

FAMILIES, BANDS, COUNT = ("one", "two"), ("S", "R", "O"), 200


def model(name: str, role: str, seed: int = 0, flops: float = 3e9, parameters: int = 10) -> Model:
    trained = ("one",) if role == "rl" else ()
    return Model(name, role, seed, parameters, flops, flops - 1e9, 5.0, trained, Path())


def rows_of(models: list[Model], shares: dict[str, float], seed: int = 0) -> list[Measured]:
    """Outcomes drawn with a role's share; now and then one that nobody could decide."""
    rng = random.Random(seed)
    made = []
    for each in models:
        for family in FAMILIES:
            for band in BANDS:
                weights = (0.05, 1 - shares[each.role], shares[each.role])
                marks = rng.choices("?01", weights, k=COUNT)
                row = {
                    "outcomes": "".join(marks), "count": COUNT, "right": marks.count("1"),
                    "undecided": marks.count("?"), "tokens": 50 * COUNT, "cut": 0, "sampled": None,
                }  # fmt: skip
                made.append(Measured(each.name, family, band, row))
    return made


MODELS = [
    model("base", "base", flops=1e9),
    *(model(f"rl-{seed}", "rl", seed) for seed in (1, 2, 3)),
    *(model(f"more-{seed}", "more_sft", seed) for seed in (2, 1)),
    model("large", "control", flops=4e9, parameters=33),
]
SHARES = {"base": 0.3, "rl": 0.8, "more_sft": 0.4, "control": 0.5}


def test_every_number_is_what_counting_gives():
    measured = rows_of(MODELS, SHARES)
    marks = {(m.model, m.family, m.band): m.row["outcomes"] for m in measured}
    made = report(MODELS, measured)
    assert made["groups"] == {"trained by reward": ["one"], "all": ["one", "two"]}
    for row in made["bands"]:
        texts = [marks[row["model"], f, row["band"]] for f in made["groups"][row["group"]]]
        right, wrong = (sum(text.count(mark) for text in texts) for mark in "10")
        assert (row["right"], row["of"], row["share"]) == (right, right + wrong, right / (right + wrong))  # fmt: skip
    chosen = [p for p in made["comparisons"] if p["group"] == "all"]
    assert len(chosen) == 3 * 3 * len(BANDS)  # each RL seed, each role, losing ones too
    partners = {p["first"]: p["second"] for p in chosen if p["against"] == "more_sft"}
    assert partners == {"rl-1": "more-1", "rl-2": "more-2", "rl-3": "more-2"}
    for pair in chosen:
        both = [
            ab
            for f in FAMILIES
            for ab in zip(*(marks[pair[side], f, pair["band"]] for side in ("first", "second")), strict=True)
            if "?" not in ab
        ]  # fmt: skip
        gains = [int(a) - int(b) for a, b in both]
        assert pair["points"] == pytest.approx(100 * sum(gains) / len(gains))
        assert (pair["only_first"], pair["only_second"]) == (gains.count(1), gains.count(-1))
        mean = sum(gains) / len(gains)
        error = (sum((g - mean) ** 2 for g in gains) / len(gains) / len(gains)) ** 0.5
        assert pair["high"] - pair["points"] == pytest.approx(196 * error)
        assert pair["p"] <= pair["holm"] <= 1
    ratios = {p["against"]: (p["flops_ratio"], p["size_ratio"]) for p in chosen}
    assert ratios == {"base": (1 / 3, 1), "more_sft": (1, 1), "control": (4 / 3, 3.3)}
    for table in (made, *made["tables"]):
        assert all(len(row) == len(table["columns"]) for row in table["rows"]), table["title"]
    drawn = ElementTree.fromstring(picture(made["bands"]))
    assert len(drawn.findall("{*}circle")) == len(MODELS) * len(BANDS)


@pytest.mark.parametrize(
    ("shares", "flops", "holding"),
    [
        ({}, 3e9, [True] * 5),
        ({"more_sft": 0.7}, 3e9, [False, True, True, True, True]),
        ({}, 1.5e9, [False, True, True, True, True]),
        ({"control": 0.95}, 3e9, [True, False, False, True, True]),
        ({"rl": 0.3}, 3e9, [False] * 5),
    ],
)
def test_claims_follow_from_the_numbers(shares, flops, holding):
    models = [m if m.role != "more_sft" else model(m.name, m.role, m.seed, flops) for m in MODELS]
    made = report(models, rows_of(models, SHARES | shares, seed=1))
    found = [claim["holds"] for claim in made["claims"]]
    # 20 points; equal to the larger; apart on R and O; S and R better than its start
    assert found[:5] == holding, made["claims"]


def told(out: Path) -> dict[str, Any]:
    """All but the commit, which may move on meanwhile."""
    return {name: value for name, value in json.loads(out.read_text()).items() if name != "facts"}


def test_results_are_kept_used_again_and_made_again_to_the_bit(tmp_path, capsys):
    plan, out = tmp_path / "plan.toml", tmp_path / "out.json"
    plan.write_text(
        f'[models.base]\nrole = "base"\nmodel = "{NANO}"\n[models.same]\nrole = "rl"\nmodel = "{NANO}"\n'
    )
    words = [str(plan), "--results", str(tmp_path / "kept"), "--out", str(out), "--threads", "1"]
    words += ["--families", "arithmetic", "--bands", "S", "R", "--n", "2", "--max-tokens", "70"]
    words += ["--samples", "2", "--sampled-n", "1", "--sampled-bands", "S"]
    assert main(words) == 0
    files = sorted((tmp_path / "kept").rglob("*.json"))
    assert len(files) == 2 * 3
    first, times = told(out), [f.stat().st_mtime_ns for f in files]
    rows = [json.loads(f.read_text())["row"] for f in files]
    assert main(words) == 0
    assert [f.stat().st_mtime_ns for f in files] == times and told(out) == first
    files[0].write_text("{")
    files[1].unlink()
    files[2].write_text(files[2].read_text().replace('"max_tokens": 70', '"max_tokens": 69'))
    assert main([*words, "--max-running", "2"]) == 0
    assert [json.loads(f.read_text())["row"] for f in files] == rows and told(out) == first
    again = [f.stat().st_mtime_ns for f in files]
    assert again[3:] == times[3:] and not set(again[:3]) & set(times)
    pair = first["comparisons"][0]
    assert (pair["only_first"], pair["only_second"], pair["p"]) == (0, 0, 1)
    assert "pass@2" in capsys.readouterr().out


def run_folder(path: Path, recipe: str, start: Path | None, flops: list[float]) -> Path:
    given = [] if start is None else [f"stage.start_from={start}"]
    stage = read_recipe([REPOSITORY / "recipes" / "nano" / f"{recipe}.toml"], given)
    run = RunFolder.create(path, config_toml(stage))
    for step, spent in enumerate(flops, 1):
        run.log({"step": step, "flops": spent, "tokens": 10 * step})
    run.log({"step": len(flops), "event": "alarm"})
    (path / "model").symlink_to(NANO, target_is_directory=True)
    return path


def test_cost_is_read_from_the_runs_and_a_wrong_beginning_is_refused(tmp_path):
    base = run_folder(tmp_path / "base", "pretrain", None, [3.0, 7.0])
    after = run_folder(tmp_path / "rl", "rl", base / "model", [2.0])
    found = read_model("m", Entry("rl", (base, after)))
    assert (found.flops, found.stage_flops, found.tokens) == (9.0, 2.0, 30)
    assert found.parameters == 3_544_768 and "countdown" in found.trained_on
    unsaid = run_folder(tmp_path / "old", "pretrain", None, [])
    assert read_model("m", Entry("rl", (unsaid, after))).flops is None
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text("{}")
    elsewhere = run_folder(tmp_path / "elsewhere", "rl", other, [2.0])
    with pytest.raises(ConfigError, match="did not begin with"):
        read_model("m", Entry("rl", (base, elsewhere)))


@pytest.mark.parametrize(
    ("text", "words", "said"),
    [
        ("", [], "'models' is missing"),
        ("models = {}", [], "names no model"),
        ('[models.a]\nrole = "champion"', [], "models.a.role"),
        ('[models.a]\nrole = "rl"', [], "neither runs nor model"),
        ('[models."../a"]\nrole = "rl"\nmodel = "x"', [], "take letters"),
        ('[models.a]\nrole = "rl"\nmodel = "nowhere"', [], "has no model in 'nowhere'"),
        ('[models.a]\nrole = "rl"\nmodel = "x"\n[models.b]\nrole = "rl"\nmodel = "x"', [], "different seeds"),
        ('[models.a]\nrole = "rl"\nmodel = "x"', ["--families", "algebra"], "families is ['algebra']"),
        ('[models.a]\nrole = "rl"\nmodel = "x"', ["--bands", "R", "R"], "each once"),
        ('[models.a]\nrole = "rl"\nmodel = "x"', ["--n", "0"], "n is 0"),
    ],
)  # fmt: skip
def test_a_plan_that_cannot_be_measured_is_refused_in_words(tmp_path, capsys, text, words, said):
    plan = tmp_path / "plan.toml"
    plan.write_text(text)
    assert main([str(plan), "--results", str(tmp_path / "kept"), *words]) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "kept").exists()
