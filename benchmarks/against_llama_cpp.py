"""benchmarks/against_llama_cpp: Ponder in int8 and llama.cpp in Q8_0 on random weights of one shape, in one run.

    python benchmarks/against_llama_cpp.py --shape qwen2.5-0.5b --rounds 3 --out results.json

The contestants alternate, each in a process of its own; every figure is the median over the rounds. llama.cpp runs with
and without flash attention and its better figure counts. Needs the extra `dev` (gguf) and llama-cpp-python, which may
live in another environment: `--llama-python PATH`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from gguf_writer import write_gguf

from ponder.model.folder import RandomTensors
from ponder.model.shapes import SHAPES

HERE = Path(__file__).parent
KINDS = ("decode", "prefill", "batch")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", default="qwen2.5-0.5b", choices=sorted(SHAPES))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--llama-python", default=sys.executable)
    parser.add_argument("--gguf", type=Path, help="keep the file here and use it again")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        path = arguments.gguf or Path(scratch) / f"{arguments.shape}.gguf"
        if not path.exists():
            write_random(path, arguments.shape)
        result = compare(arguments, path)
    text = json.dumps(result, indent=1)
    if arguments.out:
        arguments.out.write_text(text + "\n")
    print(text)


def write_random(path: Path, shape: str) -> None:
    """Random weights of the shape, matrices in Q8_0."""
    tensors = RandomTensors(SHAPES[shape], 0, "fp32")
    write_gguf(path, SHAPES[shape], lambda name: np.asarray(tensors.tensor(name)), "Q8_0")


def compare(arguments: argparse.Namespace, path: Path) -> dict[str, Any]:
    """Alternate the contestants and gather the medians."""
    ponder: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}
    llama: dict[str, list[float]] = {
        f"{kind}{flash}": [] for kind in KINDS for flash in ("", "+fa")
    }
    for _ in range(arguments.rounds):
        for kind in KINDS:
            ponder[kind].append(run_ponder(arguments, kind))
            for flash in ("", "+fa"):
                llama[kind + flash].append(run_llama(arguments, path, kind, bool(flash)))
    return report(arguments, ponder, llama)


def report(
    arguments: argparse.Namespace,
    ponder: dict[str, list[dict[str, Any]]],
    llama: dict[str, list[float]],
) -> dict[str, Any]:
    """The table of medians, and every figure behind it."""
    rows = []
    for kind in KINDS:
        key = "prefill_tokens_s" if kind == "prefill" else "decode_tokens_s"
        ours = statistics.median(run[key] for run in ponder[kind])
        theirs = max(statistics.median(llama[kind + flash]) for flash in ("", "+fa"))
        share = ""
        if kind == "decode":
            shares = [run["share_of_bandwidth"] for run in ponder[kind]]
            share = f"{100 * statistics.median(shares):.0f} %"
        rows.append([kind, f"{ours:.1f}", f"{theirs:.1f}", f"{ours / theirs:.2f}", share])
    first = ponder["decode"][0]
    command = f"python benchmarks/against_llama_cpp.py --shape {arguments.shape}"
    command += f" --threads {arguments.threads} --rounds {arguments.rounds}"
    return {
        "title": f"{arguments.shape}, Ponder int8 against llama.cpp Q8_0, tokens/s "
        f"(batch: {arguments.batch} sequences)",
        "columns": ["work", "Ponder", "llama.cpp", "ratio", "of the read bandwidth"],
        "rows": rows,
        "facts": {"command": command, "machine": first["machine"], "commit": first["commit"]},
        "all": {"ponder": ponder, "llama_cpp": llama},
    }


def run_ponder(arguments: argparse.Namespace, kind: str) -> dict[str, Any]:
    """One `ponder bench`."""
    command = [sys.executable, "-m", "ponder", "bench", kind, "--shape", arguments.shape]
    command += ["--weights", "int8", "--threads", str(arguments.threads), "--json"]
    if kind == "batch":
        command += ["--batch", str(arguments.batch), "--prompt", "16", "--tokens", "32"]
    elif kind == "decode":
        command += ["--prompt", "16", "--tokens", "32"]
    else:
        command += ["--prompt", "512"]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def run_llama(arguments: argparse.Namespace, path: Path, kind: str, flash: bool) -> float:
    """One run of llama.cpp."""
    command = [arguments.llama_python, str(HERE / "llama_cpp_runner.py"), str(path)]
    command += ["--threads", str(arguments.threads), "--batch", str(arguments.batch)]
    command += ["--only", kind, "--tokens", "32"]
    if flash:
        command.append("--flash")
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)[kind]


if __name__ == "__main__":
    main()
