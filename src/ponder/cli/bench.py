"""cli/bench: speed of decode, prefill and batched decode through the engine, beside the machine's read bandwidth.

Every number is the median of some runs after one run that does not count. A run's prompts are new random ids, so that
nothing comes from the prefix cache.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ponder.cli.answering import warn_without_native
from ponder.cli.machine import commit, machine
from ponder.cli.screen import Screen, sized
from ponder.core.environment import Environment, find_model
from ponder.core.errors import EXIT_CODES, ConfigError, ModelFolderError
from ponder.core.types import SamplingParams, TokenRequest
from ponder.engine import Engine, EngineConfig
from ponder.model.config import ModelConfig
from ponder.model.folder import load_model, random_model
from ponder.model.model import Model
from ponder.model.ops import available_threads
from ponder.model.ops.int4 import SMALL_GROUP
from ponder.model.ops.int8 import GROUP
from ponder.model.shapes import SHAPES
from ponder.model.weights import EMBEDDING, tensor_shapes

MEMORY_BYTES = 1 << 28
"""What the measure of bandwidth reads: more than any cache holds."""


@dataclass(frozen=True, slots=True)
class Work:
    """What one run does."""

    batch: int
    prompt: int
    tokens: int


class _NoText:
    """A detokenizer for ids that nobody reads."""

    def token_bytes(self, token_id: int) -> bytes:
        return b""


def run(options: argparse.Namespace, environment: Environment) -> int:
    """`ponder bench`."""
    screen = Screen(environment.color, quiet=bool(options.json))
    warn_without_native(screen)
    threads = options.threads or environment.threads or available_threads()
    work = Work(
        options.batch or (32 if options.what == "batch" else 1),
        options.prompt or (512 if options.what == "prefill" else 32),
        1 if options.what == "prefill" else (options.tokens or 64),
    )
    screen.note(f"loading {options.shape} …")
    model, source = _model(options.shape, options.weights, threads, environment)
    _check(work, model.config)
    memory = np.ones(MEMORY_BYTES // 4, np.int32)
    before = read_bandwidth(memory, threads)
    times = [_run(model, work, seed) for seed in range(options.runs + 1)][1:]
    bandwidth = max(before, read_bandwidth(memory, threads))
    report = _report(options.what, work, model, times, bandwidth)
    report |= {"shape": options.shape, "source": source, "threads": threads}
    report |= {"machine": machine(), "commit": commit()}
    if options.json:
        print(json.dumps(report))
    else:
        print(_table(report))
    return EXIT_CODES["ok"]


def _model(name: str, weights: Any, threads: int, environment: Environment) -> tuple[Model, str]:
    """A folder's model, or random weights in a named shape; a shape's name wins over a model's."""
    if name in SHAPES:
        chosen = "int8" if weights == "auto" else weights
        return random_model(SHAPES[name], chosen, threads=threads), "random weights"
    try:
        folder = find_model(name, environment).folder
    except ModelFolderError as error:
        raise ConfigError(
            f"{name!r} is neither a shape nor a model.",
            f"Shapes: {', '.join(SHAPES)}. {error.advice}",
        ) from None
    return load_model(folder, weights, threads=threads), str(folder)


def _check(work: Work, config: ModelConfig) -> None:
    if work.prompt + work.tokens > config.max_positions:
        raise ConfigError(
            f"--prompt {work.prompt} and --tokens {work.tokens} exceed the model's context.",
            f"Together they may be {config.max_positions}.",
        )


def _run(model: Model, work: Work, seed: int) -> tuple[float, float]:
    """Seconds until every sequence has its first token, and seconds for the rest."""
    length = work.prompt + work.tokens
    page_len = 32
    config = EngineConfig(
        page_len=page_len,
        num_pages=work.batch * -(-length // page_len + 1) + 8,
        step_tokens=max(512, work.batch),
        max_running=work.batch,
    )
    engine = Engine(model, _NoText(), config)
    rng = np.random.default_rng(seed)
    sampling = SamplingParams(temperature=0.0, max_tokens=work.tokens, ignore_end_ids=True, seed=0)
    for _ in range(work.batch):
        ids = rng.integers(0, model.config.vocab_size, work.prompt)
        engine.add(TokenRequest(tuple(int(token) for token in ids), sampling))
    began_s = time.perf_counter()
    started: set[str] = set()
    first_s = 0.0
    while not engine.is_idle:
        events = engine.step()
        started.update(event.request_id for event in events)
        if not first_s and len(started) == work.batch:
            first_s = time.perf_counter() - began_s
    return first_s, time.perf_counter() - began_s - first_s


def _report(
    what: str, work: Work, model: Model, times: list[tuple[float, float]], bandwidth: float
) -> dict[str, Any]:
    first_s = statistics.median(first for first, _ in times)
    rest_s = statistics.median(rest for _, rest in times)
    weights = weight_bytes(model.config, model.weights_format)
    report: dict[str, Any] = {
        "what": what,
        **asdict(work),
        "weights": model.weights_format,
        "ops": model.ops.name,
        "runs": len(times),
        "weights_bytes": weights,
        "read_bandwidth_bytes_s": bandwidth,
        "prefill_s": first_s,
        "prefill_tokens_s": work.batch * work.prompt / first_s,
    }
    if work.tokens > 1:
        steps = work.tokens - 1
        report |= {
            "decode_s": rest_s,
            "decode_tokens_s": work.batch * steps / rest_s,
            "decode_step_s": rest_s / steps,
            "weights_bytes_per_token": weights / work.batch,
            "weights_read_bytes_s": weights * steps / rest_s,
            "share_of_bandwidth": weights * steps / rest_s / bandwidth,
        }
    return report


def weight_bytes(config: ModelConfig, weights_format: str) -> int:
    """Bytes of weights that one decode step reads: every matrix once, the head too, the embedding's rows not."""
    total = 0
    for name, shape in tensor_shapes(config).items():
        if name == EMBEDDING and not config.tied_head:
            continue
        if len(shape) < 2:
            total += 4 * sum(shape)
        elif weights_format == "int8":
            total += shape[0] * (shape[1] + 4 * -(-shape[1] // GROUP))
        elif weights_format == "int4":
            groups = -(-shape[1] // SMALL_GROUP)
            total += -(-shape[0] * (35 * groups + 4 * -(-shape[1] // GROUP)) // 2)
        else:
            total += shape[0] * shape[1] * (4 if weights_format == "fp32" else 2)
    return total


def read_bandwidth(memory: NDArray[np.int32], threads: int) -> float:
    """Bytes a second that `threads` threads read from `memory`: the best of eight passes of the cheapest reductions."""
    parts = np.array_split(memory, threads)
    best = 0.0
    with ThreadPoolExecutor(threads) as pool:
        for reduce in (np.bitwise_or.reduce, np.maximum.reduce) * 4:
            began_s = time.perf_counter()
            list(pool.map(reduce, parts))
            best = max(best, memory.nbytes / (time.perf_counter() - began_s))
    return best


def _table(report: dict[str, Any]) -> str:
    lines = [
        f"{report['what']} · {report['shape']} · {report['weights']} · {report['ops']} · "
        f"{report['threads']} threads · {report['machine']}",
        f"prefill   {report['prefill_tokens_s']:10.1f} tokens/s   "
        f"({report['batch']} × {report['prompt']} tokens in {report['prefill_s']:.3f} s)",
    ]
    if "decode_s" in report:
        lines.append(
            f"decode    {report['decode_tokens_s']:10.1f} tokens/s   "
            f"({report['batch']} × {report['tokens']} tokens, {1000 * report['decode_step_s']:.2f} ms a step)"
        )
        lines.append(
            f"weights   {sized(report['weights_read_bytes_s']):>10}/s          "
            f"({sized(report['weights_bytes'])} a step, {100 * report['share_of_bandwidth']:.0f} % of "
            f"the read bandwidth {sized(report['read_bandwidth_bytes_s'])}/s)"
        )
    lines.append(f"median of {report['runs']} runs, commit {report['commit'] or '-'}")
    return "\n".join(lines)
