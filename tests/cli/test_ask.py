"""ponder ask as a process: streams, forms, exit codes, signals, closed pipes, full disks."""

from __future__ import annotations

import json
import os
import shutil
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from command import Here, Run, said

from ponder.core.errors import EXIT_CODES


@pytest.mark.native  # without it one more line stands on stderr
def test_answer_on_stdout_and_all_else_on_stderr(ponder: Run, toy: Path) -> None:
    ask = ("ask", "--model", toy, "--max-tokens", "90", "--budget", "6", "--seed", "5")
    plain = ponder(*ask, "--stats", "What is", "17 * 23?")
    assert plain.returncode == 0, said(plain)
    assert "check failed: " in said(plain)
    assert "thinking cut at its budget" in said(plain)
    assert "\x1b" not in said(plain)

    done = ponder(*ask, "--json", "-", stdin=b"What is 17 * 23?\n")
    assert done.stderr == b""
    report = json.loads(done.stdout)
    assert report["question"] == "What is 17 * 23?"
    assert report["answer"] == plain.stdout.decode().strip()
    assert report["thinking"].strip() in said(plain)
    assert report["thinking_end"] == "budget"
    assert report["usage"]["thinking_tokens"] <= 6
    assert report["check"]["status"] in ("wrong", "undecided")
    assert report["seed"] == 5

    lines = ponder(*ask, "--jsonl", "What is 17 * 23?").stdout.decode().splitlines()
    events = [json.loads(line) for line in lines]
    assert [events[0]["type"], events[-1]["type"]] == ["start", "done"]
    said_so = "".join(event["text"] for event in events if event["type"] == "content")
    assert said_so.strip() == events[-1]["answer"] == report["answer"]

    hidden = ponder(*ask, "--hide-thinking", "--no-think", "hello")
    assert hidden.returncode == 0
    assert said(hidden).splitlines()[-1] == "not checked: no verifier reads this question"


def test_votes_are_shown_and_explained(ponder: Run, toy: Path) -> None:
    done = ponder(
        *("ask", "--model", toy, "--votes", "3", "--seed", "1", "--budget", "2"),
        *("--max-tokens", "80", "--json", "What is 1 + 1?"),
    )
    assert done.returncode == 0, said(done)
    report = json.loads(done.stdout)
    counted = sum(row["count"] for row in report["votes"]) + len(report["without_answer"])
    assert counted == 3
    assert report["vote_note"]
    refused = ponder("ask", "--model", toy, "--votes", "2", "--temperature", "0", "x")
    assert refused.returncode == 2
    assert "samples one answer 2 times" in said(refused)


@pytest.mark.native  # without it one more warning stands on stderr
@pytest.mark.parametrize(
    ("arguments", "stdin", "kind", "words"),
    [
        (["ask", "", " "], b"", "prompt", "The question is empty."),
        (["ask"], b"", "prompt", "The question is empty."),
        (["ask", "-"], b"caf\xe9", "prompt", "not UTF-8 (byte 0xe9 at 3)"),
        (["ask", os.fsdecode(b"caf\xe9")], b"", "prompt", "not UTF-8 (at character 3)"),
        (["ask", "--model", "TOY", "-"], b"x" * 600, "prompt", "512"),
        (["ask", "--model", "nowhere/at-all", "x"], b"", "model_folder", "`ponder pull nowhere/"),
        (["ask", "--model", "no such", "x"], b"", "model_folder", "No model or folder named"),
        (["ask", "--temperature", "-1", "x"], b"", "usage", "give a number from 0 to 100"),
        (["ask", "--top-p", "nan", "x"], b"", "usage", "give a number from 0 to 1"),
        (["ask", "--logit-bias", "5", "x"], b"", "usage", "give ID:BIAS"),
        (["ask", "--model", "TOY", "--logit-bias", "999:1", "x"], b"", "prompt", "999"),
        (["ask", "--temprature", "1", "x"], b"", "usage", "Did you mean --temperature?"),
        (["ask", "--weights", "int2", "x"], b"", "usage", "fp32"),
        (["ask", "--json", "--jsonl", "x"], b"", "usage", "exclude each other"),
        (["ask", "--logprobs", "1", "x"], b"", "usage", "Give --json or --jsonl too."),
        (["akq"], b"", "usage", "Did you mean 'ask'?"),
        (["rm", "nano"], b"", "usage", "'nano' is not a model's name"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_bad_input_gets_one_message_and_its_exit_code(
    here: Here, toy: Path, arguments: list[str], stdin: bytes, kind: str, words: str
) -> None:
    given = [str(toy) if word == "TOY" else word for word in arguments]
    status, out, err = here(*given, stdin=stdin)
    assert words in err
    assert status == EXIT_CODES[kind], err
    assert len(err.splitlines()) == 2, err
    assert out == ""


def test_model_folders_that_cannot_be_used(here: Here, toy: Path, tmp_path: Path) -> None:
    weights = (toy / "model.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", weights[:8])
    header = json.loads(weights[8 : 8 + length])
    name = next(key for key in header if key != "__metadata__")
    header[name]["data_offsets"][1] += 4
    outside = json.dumps(header).encode()
    config = json.loads((toy / "config.json").read_text())
    cases = {
        "truncated": ("model.safetensors", weights[:-100], "truncated"),
        "header": ("model.safetensors", struct.pack("<Q", 1 << 60) + weights[8:], "header claims"),
        "offsets": (
            "model.safetensors",
            struct.pack("<Q", len(outside)) + outside + weights[8 + length :],
            name,
        ),
        "foreign": (
            "config.json",
            json.dumps(config | {"architectures": ["GPT9"], "model_type": "gpt9"}).encode(),
            "GPT9",
        ),
        "pickled": ("model.safetensors", None, "pickled weights"),
        "no-tokenizer": ("tokenizer.json", None, "no tokenizer"),
        "no-config": ("config.json", None, "config.json"),
    }
    for case, (file, data, words) in cases.items():
        folder = tmp_path / case
        shutil.copytree(toy, folder)
        if data is None:
            (folder / file).unlink()
            (folder / "pytorch_model.bin").write_bytes(b"\x80\x04")
        else:
            (folder / file).write_bytes(data)
        status, out, err = here("ask", "--model", folder, "x")
        assert status == EXIT_CODES["model_folder"], (case, err)
        assert words in err, case
        assert len(err.splitlines()) == 2, (case, err)
        assert out == "", case


@pytest.mark.native  # without it one more line stands on stderr
def test_full_disk_and_closed_pipe(ponder: Run, toy: Path, environ: dict[str, str]) -> None:
    ask = ["ask", "--model", str(toy), "--budget", "2", "--max-tokens", "80", "hello"]
    with open("/dev/full", "wb") as full:
        done = ponder(*ask, stdout=full)
    assert done.returncode == EXIT_CODES["storage"]
    assert "No space left on device" in said(done)

    reader = subprocess.Popen(
        [sys.executable, "-m", "ponder", *ask, "--jsonl"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environ,
    )
    assert reader.stdout is not None
    assert reader.stderr is not None
    reader.stdout.readline()
    reader.stdout.close()
    assert reader.wait(30) == 0
    assert reader.stderr.read() == b""
    reader.stderr.close()


def test_streams_that_are_closed_or_cannot_carry_every_character(
    ponder: Run, toy: Path, environ: dict[str, str]
) -> None:
    ask = ("ask", "--model", toy, "--max-tokens", "70", "hello")
    narrow = ponder(*ask, extra={"PYTHONIOENCODING": "ascii"})
    assert narrow.returncode == 0, said(narrow)
    assert narrow.stdout.isascii()
    command = f"{sys.executable} -m ponder ask --model '{toy}' --max-tokens 70 hello >&- 2>&-"
    assert subprocess.run(["sh", "-c", command], env=environ, check=False).returncode == 0


def test_ctrl_c_once_answers_now_and_twice_stops(toy: Path, environ: dict[str, str]) -> None:
    """A loop of end-free sampling thinks for as long as it may: only Ctrl-C ends it."""
    ask = ["ask", "--model", str(toy), "--ignore-end-ids", "--temperature", "1", "--jsonl", "hello"]
    for presses in (1, 2):
        asked = subprocess.Popen(
            [sys.executable, "-m", "ponder", *ask, "--seed", "3", "--logit-bias", "260:-100"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environ,
        )
        assert asked.stdout is not None
        asked.stdout.readline()
        first = json.loads(asked.stdout.readline())
        assert first["type"] == "reasoning"
        asked.send_signal(signal.SIGINT)
        for line in asked.stdout:
            if json.loads(line)["type"] == "content":
                break
        if presses == 2:
            asked.send_signal(signal.SIGINT)
        out, err = asked.communicate(timeout=60)
        assert b"Traceback" not in err, err.decode()
        if presses == 1:
            assert asked.returncode == 0
            assert json.loads(out.splitlines()[-1])["thinking_end"] == "user"
        else:
            assert asked.returncode == EXIT_CODES["interrupted"]
            assert b'"done"' not in out
