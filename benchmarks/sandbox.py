"""benchmarks/sandbox: what one run of an untrusted program costs, and one verdict on it, on this machine.

    python benchmarks/sandbox.py --runs 50 --threads 2 --out results.json

`bare` is the same interpreter with the same program and no sandbox: the difference is the price of the sandbox.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ponder.cli.machine import commit, machine
from ponder.sandbox import Sandbox
from ponder.sandbox.view import interpreter
from ponder.verify.code import CodeTests, check_code


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--threads", type=int, default=2, help="runs at a time, for the rate")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    sandbox = Sandbox()
    began_s = time.perf_counter()
    layers = sandbox.self_test()
    report: dict[str, Any] = {
        "machine": machine(),
        "commit": commit(),
        "load_average": os.getloadavg()[0],
        "layers": {layer.name: layer.present for layer in layers},
        "self_test_s": time.perf_counter() - began_s,
    }
    sandbox.require()
    bare = [interpreter(), "-S", "-c", "print(1)"]
    tests = CodeTests.of_asserts(["assert add(2, 3) == 5", "assert add(-1, 1) == 0"])
    cases = CodeTests(cases=(("2 3\n", "5\n"),))
    acts: dict[str, Callable[[], Any]] = {
        "bare": lambda: subprocess.run(bare, stdout=subprocess.PIPE, env={}, check=True),
        "run": lambda: sandbox.run(["python", "-c", "print(1)"]),
        "verdict_by_asserts": lambda: check_code("def add(a, b): return a + b", tests, sandbox),
        "verdict_by_case": lambda: check_code(
            "print(sum(map(int, input().split())))", cases, sandbox
        ),
    }
    for name, act in acts.items():
        report[name] = measure(act, arguments.runs)
    began_s = time.perf_counter()
    with ThreadPoolExecutor(arguments.threads) as pool:
        verdicts = list(pool.map(lambda _: acts["verdict_by_asserts"](), range(arguments.runs)))
    assert all(verdict.status == "right" for verdict in verdicts), verdicts
    report["verdicts_per_s"] = {
        "threads": arguments.threads,
        "rate": arguments.runs / (time.perf_counter() - began_s),
    }
    text = json.dumps(report, indent=1)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n", encoding="utf-8")


def measure(act: Callable[[], Any], runs: int) -> dict[str, float]:
    """Milliseconds of one call, after one that is not counted."""
    act()
    times_ms: list[float] = []
    for _ in range(runs):
        began_s = time.perf_counter()
        act()
        times_ms.append(1000 * (time.perf_counter() - began_s))
    return {"best_ms": min(times_ms), "median_ms": statistics.median(times_ms)}


if __name__ == "__main__":
    main()
