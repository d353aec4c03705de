"""doctor, bench, completion, help: what they print, and that docs/cli.md is what `--help` says."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command import Here, Run, said

import ponder as package
from ponder.cli.bench import weight_bytes
from ponder.cli.parser import COMMANDS, build_parser
from ponder.cli.reference import reference
from ponder.core.environment import read_environment
from ponder.core.errors import ConfigError
from ponder.model.shapes import SHAPES

REPOSITORY = Path(__file__).resolve().parents[2]


def test_the_page_is_what_help_says(here: Here) -> None:
    page = (REPOSITORY / "docs" / "cli.md").read_text(encoding="utf-8")
    assert page == reference(), "run: python -m ponder.cli.reference > docs/cli.md"
    for name in COMMANDS:
        with pytest.raises(SystemExit):
            here(name, "--help")
        assert build_parser().commands[name].format_help().strip() in page


def test_version_help_and_a_question_without_a_command(here: Here) -> None:
    assert here("--version") == (0, f"ponder {package.__version__}\n", "")
    status, out, _ = here()
    assert status == 0
    assert out.startswith("usage: ponder COMMAND")
    status, _, err = here("What is this?", "--model", "none at all")
    assert (status, "No model or folder named 'none at all'" in err) == (4, True)


def test_doctor_tells_what_it_found(ponder: Run, toy: Path, tmp_path: Path) -> None:
    extra = {"PONDER_MODEL": str(toy), "PONDER_HONE": "x", "PONDER_THREADS": "1"}
    done = ponder("doctor", "--json", extra=extra)
    facts = json.loads(done.stdout)
    assert facts["settings"]["home"] == str(tmp_path / "home")
    assert facts["variables"]["PONDER_THREADS"] == "1"
    assert facts["machine"]["threads"] == 1
    assert facts["op sets"]["used"] in ("native", "reference")
    assert (
        "the variable PONDER_HONE is not one of Ponder's; did you mean PONDER_HOME?"
        in (facts["problems"])
    )
    assert done.returncode == 1
    with pytest.raises(ConfigError, match="PONDER_THREADS is '0'"):
        read_environment({"PONDER_THREADS": "0"})


def test_bench_measures_shapes_and_folders(here: Here, toy: Path) -> None:
    small = ("--prompt", "8", "--tokens", "4", "--runs", "1", "--threads", "1", "--json")
    status, out, err = here("bench", "decode", "--shape", "micro", "--weights", "int8", *small)
    assert status == 0, err
    report = json.loads(out)
    assert report["ops"] in ("native", "reference")
    assert report["weights_bytes"] == weight_bytes(SHAPES["micro"], "int8")
    assert report["decode_tokens_s"] == pytest.approx(3 / report["decode_s"])
    assert report["share_of_bandwidth"] == pytest.approx(
        report["weights_read_bytes_s"] / report["read_bandwidth_bytes_s"]
    )
    status, out, err = here("bench", "batch", "--shape", toy, "--batch", "3", *small)
    assert (status, json.loads(out)["batch"]) == (0, 3)
    status, _, err = here("bench", "decode", "--shape", "qwen9-1b", *small)
    assert status == 2
    assert "'qwen9-1b' is neither a shape nor a model." in err
    status, _, err = here("bench", "prefill", "--shape", "micro", "--prompt", "99999")
    assert status == 2
    assert "exceed the model's context" in err


def test_bytes_of_weights_by_hand() -> None:
    """Qwen2.5-0.5B: 493,961,216 matrix numbers without the norms and biases, the tied head among them."""
    config = SHAPES["qwen2.5-0.5b"]
    vectors = 24 * (896 + 128 + 128 + 2 * 896) + 896
    matrices = config.parameter_count() - vectors
    assert weight_bytes(config, "bf16") == 2 * matrices + 4 * vectors
    columns_896 = 151936 + 24 * (896 + 128 + 128 + 896 + 2 * 4864)
    scales = columns_896 * (896 // 128) + 24 * 896 * (4864 // 128)
    assert weight_bytes(config, "int8") == matrices + 4 * scales + 4 * vectors


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(here: Here, shell: str, tmp_path: Path) -> None:
    status, script, _ = here("completion", shell)
    assert status == 0
    assert all(name in script for name in COMMANDS)
    if shutil.which(shell):
        (tmp_path / "script").write_text(script)
        subprocess.run([shell, "-n", str(tmp_path / "script")], check=True)


def test_bash_completes_commands_flags_values_and_models(ponder: Run, tmp_path: Path) -> None:
    script = ponder("completion", "bash").stdout.decode()
    asks = {
        "ponder do": "doctor",
        "ponder ask --tempe": "--temperature",
        "ponder ask --weights f": "fp32",
        "ponder bench pre": "prefill",
    }
    lines = [f'ponder() {{ {sys.executable} -m ponder "$@"; }}', script]
    for line in asks:
        words = line.split(" ")
        array = " ".join(f"'{word}'" for word in words)
        lines += [
            f"COMP_WORDS=({array}); COMP_CWORD={len(words) - 1}; COMPREPLY=(); _ponder",
            'echo "${COMPREPLY[@]}"',
        ]
    (tmp_path / "try.sh").write_text("\n".join(lines))
    done = subprocess.run(
        ["bash", str(tmp_path / "try.sh")], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout.split() == list(asks.values())


def test_asking_loads_nothing_that_it_does_not_need(ponder: Run, toy: Path) -> None:
    program = (
        "import sys\nfrom ponder.cli import main\n"
        f"status = main(['ask', '--model', {str(toy)!r}, '--max-tokens', '70', 'hello'])\n"
        "heavy = {'torch', 'huggingface_hub', 'transformers', 'urllib.request', 'asyncio', 'pydantic'}\n"
        "print(sorted(heavy & set(sys.modules)), status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=False, timeout=60
    )
    assert done.stdout.decode().splitlines()[-1] == "[] 0", said(done)


def test_train_and_eval_are_wired(here: Here, toy: Path, tmp_path: Path) -> None:
    recipe = REPOSITORY / "recipes" / "nano" / "pretrain.toml"
    status, out, err = here("train", recipe, "--dry-run", "--set", "stage.seed=3")
    assert status == 0, err
    assert "seed = 3" in out
    status, _, err = here("train", tmp_path / "none.toml")
    assert status == 2
    assert "none.toml" in err

    few = ("--count", "2", "--family", "arithmetic", "--max-tokens", "72", "--json")
    status, out, err = here("eval", "--model", toy, *few)
    assert status == 0, err
    (row,) = json.loads(out)["rows"]
    assert (row["family"], row["count"]) == ("arithmetic", 2)
    status, _, err = here("eval", "--model", toy, "--family", "algebra")
    assert status == 2
    assert "'algebra'" in err
