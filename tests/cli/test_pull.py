"""ponder pull, ls, show, rm against a hub on loopback: whole, interrupted, damaged, refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import Here, Run, said
from hub import COMMIT, Hub
from toy_folder import write_toy

NAME = "maker/toy"


@pytest.fixture
def hub(tmp_path: Path, environ: dict[str, str]) -> Iterator[Hub]:
    hub = Hub({NAME: write_toy(tmp_path / "hub" / "toy")})
    (hub.repositories[NAME] / "pytorch_model.bin").write_bytes(b"pickle")
    (hub.repositories[NAME] / "README.md").write_text("# toy")
    environ["HF_ENDPOINT"] = hub.url
    yield hub
    hub.close()


def test_pull_ls_show_ask_rm(hub: Hub, ponder: Run, here: Here, tmp_path: Path) -> None:
    place = tmp_path / "home" / "models" / "maker" / "toy"
    done = ponder("pull", NAME, "--json")
    assert done.returncode == 0, said(done)
    assert json.loads(done.stdout)["commit"] == COMMIT
    source = hub.repositories[NAME]
    names = {path.name for path in place.iterdir()}
    assert names == {path.name for path in source.iterdir()} - {
        "pytorch_model.bin",
        "README.md",
    } | {".ponder.json"}
    for name in names - {".ponder.json"}:
        assert (place / name).read_bytes() == (source / name).read_bytes()

    hub.log.clear()
    again = ponder("pull", NAME)
    assert "already here" in said(again)
    assert not any("resolve" in line for line in hub.log)

    (row,) = [row for row in json.loads(here("ls", "--json")[1]) if row["name"] == NAME]
    assert row["origin"] == "pulled"
    assert row["parameters"] == 24352
    shown = json.loads(here("show", NAME, "--json")[1])
    assert shown["context"] == 512
    assert shown["thinking_tags"] == ["<think>", "</think>"]
    assert shown["thinking_starts"] == "open"
    assert shown["stored_as"] == ["fp32 × 26"]
    assert here("ask", "--model", NAME, "--max-tokens", "4", "hi")[0] == 0

    status, _, err = here("rm", NAME)
    assert (status, "needs a yes" in err) == (2, True)
    assert place.is_dir()
    status, _, err = here("rm", NAME, "--yes")
    assert status == 0, err
    assert not place.parent.exists()
    status, _, err = here("ask", "--model", NAME, "hi")
    assert (status, f"`ponder pull {NAME}` downloads it" in err) == (4, True)


def test_a_broken_line_is_taken_up_where_it_was(hub: Hub, ponder: Run, tmp_path: Path) -> None:
    """The line breaks after 60,000 bytes and then carries nothing, until the same command is given again."""
    source = hub.repositories[NAME] / "model.safetensors"
    hub.cut_after = 60_000
    broken = ponder("pull", NAME)
    assert broken.returncode == 6
    assert "'model.safetensors' broke off" in said(broken)
    assert not (tmp_path / "home" / "models" / "maker").exists()
    (part,) = (tmp_path / "home").rglob("*.part")
    assert part.read_bytes() == source.read_bytes()[:60_000]

    hub.cut_after = None
    hub.log.clear()
    done = ponder("pull", NAME)
    assert done.returncode == 0, said(done)
    (fetched,) = [line for line in hub.log if "resolve" in line]
    assert f"/{NAME}/resolve/{COMMIT}/model.safetensors bytes=60000-" in fetched
    place = tmp_path / "home" / "models" / "maker" / "toy"
    assert (place / "model.safetensors").read_bytes() == source.read_bytes()
    assert not list((tmp_path / "home").rglob("*.part"))


def test_damage_is_found_and_nothing_is_kept(
    hub: Hub, ponder: Run, here: Here, tmp_path: Path
) -> None:
    hub.damaged = {"model.safetensors"}
    done = ponder("pull", NAME)
    assert done.returncode == 6
    assert "'model.safetensors' arrived damaged" in said(done)
    assert not (tmp_path / "home" / "models" / "maker").exists()
    assert not list((tmp_path / "home").rglob("model.safetensors*"))
    assert "unfinished: maker/toy" in here("ls")[2]


def test_what_cannot_be_pulled(hub: Hub, ponder: Run, here: Here, tmp_path: Path) -> None:
    missing = ponder("pull", "maker/none")
    assert missing.returncode == 6
    assert "no model 'maker/none'" in said(missing)

    status, _, err = here("pull", "../etc")
    assert (status, "'../etc' is not a model's name" in err) == (2, True)

    hub.claimed_sizes = {"model.safetensors": 10**15}
    too_large = ponder("pull", NAME)
    assert too_large.returncode == 5
    assert "needs 1000.0 TB more" in said(too_large)

    assert not list((tmp_path / "home" / "models").rglob("maker*"))

    hub.claimed_sizes = {}
    (hub.repositories[NAME] / "model.safetensors").unlink()
    pickled = ponder("pull", NAME)
    assert pickled.returncode == 4
    assert "pickled weights (pytorch_model.bin)" in said(pickled)
    assert not list((tmp_path / "home").rglob("*.bin"))

    other = tmp_path / "hub" / "other"
    shutil.copytree(write_toy(tmp_path / "toy"), other)
    config = json.loads((other / "config.json").read_text())
    config |= {"architectures": ["MambaForCausalLM"], "model_type": "mamba"}
    (other / "config.json").write_text(json.dumps(config))
    hub.repositories = {"maker/other": other}
    hub.log.clear()
    foreign = ponder("pull", "maker/other")
    assert foreign.returncode == 4
    assert "MambaForCausalLM" in said(foreign)
    assert not any("safetensors" in line for line in hub.log)

    unreachable = ponder("pull", NAME, extra={"HF_ENDPOINT": "http://127.0.0.1:9"})
    assert unreachable.returncode == 6
    assert "did not answer" in said(unreachable)


def test_rm_keeps_inside_the_store(here: Here, toy: Path, tmp_path: Path) -> None:
    link = tmp_path / "home" / "models" / "maker" / "link"
    link.parent.mkdir(parents=True)
    link.symlink_to(toy)
    status, _, err = here("rm", "maker/link", "--yes")
    assert (status, "is a link out of" in err) == (2, True)
    assert (toy / "config.json").is_file()
