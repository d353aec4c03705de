"""benchmarks/kernels: the native op set verb by verb, beside the read bandwidth measured in the same run.

    python benchmarks/kernels.py --threads 2 --out results.json

Every figure is the best and the median of some calls. `--cpu` counts processor time instead of elapsed time, which on
a busy machine is the only fair measure; it needs one thread.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ponder.cli.bench import MEMORY_BYTES, read_bandwidth
from ponder.cli.machine import commit, machine
from ponder.model.config import ModelConfig
from ponder.model.ops.native import NativeOps
from ponder.model.shapes import SHAPES
from ponder.model.view import KVPool, PackedView, PagedView

PAGE_LEN = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", default="qwen2.5-0.5b", choices=sorted(SHAPES))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--kernels", default="", help="avx512, avx2, neon_dot, neon or portable")
    parser.add_argument("--formats", default="int8,bf16,fp32")
    parser.add_argument("--rows", default="1,2,4,8,16,32,128,512")
    parser.add_argument("--calls", type=int, default=15)
    parser.add_argument("--cpu", action="store_true", help="processor time; with --threads 1")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if arguments.cpu and arguments.threads != 1:
        parser.error("--cpu needs --threads 1")
    clock = time.process_time if arguments.cpu else time.perf_counter
    ops = NativeOps(arguments.threads, arguments.kernels)
    config = SHAPES[arguments.shape]

    def measure(work: Callable[[], Any]) -> dict[str, float]:
        times: list[float] = []
        for _ in range(arguments.calls + 1):
            began_s = clock()
            work()
            times.append(clock() - began_s)
        return {"best_s": min(times[1:]), "median_s": statistics.median(times[1:])}

    memory = np.ones(MEMORY_BYTES // 4, np.int32)
    report: dict[str, Any] = {
        "machine": machine(),
        "commit": commit(),
        "kernels": ops.kernels,
        "threads": arguments.threads,
        "clock": "processor" if arguments.cpu else "elapsed",
        "read_bandwidth_bytes_s": read_bandwidth(memory, arguments.threads),
        "call_overhead": call_overhead(ops, measure),
    }
    del memory
    rows = [int(count) for count in arguments.rows.split(",")]
    formats = arguments.formats.split(",")
    report["linear"] = list(linear(ops, config, formats, rows, measure))
    report["attend"] = list(attend(ops, config, measure))
    text = json.dumps(report, indent=1)
    if arguments.out:
        arguments.out.write_text(text + "\n")
    print(text)


def call_overhead(ops: NativeOps, measure: Callable[..., dict[str, float]]) -> dict[str, float]:
    """Seconds a call of verbs with next to no work."""
    x = np.ones((1, 16), np.float32)
    weight = ops.prepare_linear("w", [np.ones((16, 16), np.float32)], None, "int8")

    def hundred(verb: Callable[[], Any]) -> float:
        return measure(lambda: [verb() for _ in range(100)])["median_s"] / 100

    return {
        "linear_s": hundred(lambda: ops.linear(x, weight)),
        "add_norm_s": hundred(lambda: ops.add_norm(x, x, x[0], 1e-6)),
        "swiglu_s": hundred(lambda: ops.swiglu(x)),
    }


def linear(
    ops: NativeOps,
    config: ModelConfig,
    formats: list[str],
    rows: list[int],
    measure: Callable[..., dict[str, float]],
) -> Any:
    """The layer's widest and its narrowest product, and the head."""
    rng = np.random.default_rng(0)
    hidden, ff = config.hidden_size, config.intermediate_size
    for columns, outputs in ((hidden, 2 * ff), (ff, hidden), (hidden, config.vocab_size)):
        matrix = np.resize(rng.standard_normal((1 << 20) + 7, np.float32), (outputs, columns))
        for name in formats:
            weight = ops.prepare_linear("w", [matrix], None, name)
            for count in rows:
                if count > 32 and outputs == config.vocab_size:
                    continue
                x = rng.standard_normal((count, columns), np.float32)
                times = measure(lambda x=x, weight=weight: ops.linear(x, weight))
                yield {
                    "columns": columns,
                    "outputs": outputs,
                    "format": name,
                    "rows": count,
                    **times,
                    "gop_s": 2 * count * columns * outputs / times["median_s"] / 1e9,
                    "weights_gb_s": weight.nbytes / times["median_s"] / 1e9,
                }


def attend(ops: NativeOps, config: ModelConfig, measure: Callable[..., dict[str, float]]) -> Any:
    """One layer's attention: prefill of 512, decode of one and of 32 sequences at two depths."""
    rng = np.random.default_rng(0)
    heads, kv_heads, size = config.num_heads, config.num_kv_heads, config.head_dim

    def new_rows(count: int) -> tuple[Any, Any, Any]:
        shapes = ((count, heads, size), (count, kv_heads, size), (count, kv_heads, size))
        q, k, v = (rng.standard_normal(shape, np.float32) for shape in shapes)
        return q, k, v

    qkv, packed = new_rows(512), PackedView(np.array([0, 512], np.int32))
    times = measure(lambda: ops.attend(*qkv, packed, 0, "fp32"))
    yield {"what": "prefill", "rows": 512, **times}
    for sequences, depth in ((1, 512), (1, 8192), (32, 128), (32, 1024)):
        pages = -(-(depth + 1) // PAGE_LEN)
        shape = (1, sequences * pages, kv_heads, PAGE_LEN, size)
        keys, values = (rng.standard_normal(shape, np.float32) for _ in range(2))
        pool = KVPool(keys, values, sequences * pages, PAGE_LEN)
        view = PagedView(
            pool,
            np.arange(sequences + 1, dtype=np.int32),
            np.full(sequences, depth, np.int32),
            rng.permutation(sequences * pages).astype(np.int32).reshape(sequences, pages),
        )
        qkv = new_rows(sequences)
        times = measure(lambda view=view, qkv=qkv: ops.attend(*qkv, view, 0, "fp32"))
        read = 2 * 4 * sequences * (depth + 1) * kv_heads * size
        yield {
            "what": "decode",
            "sequences": sequences,
            "depth": depth,
            **times,
            "cache_gb_s": read / times["median_s"] / 1e9,
        }


if __name__ == "__main__":
    main()
