"""benchmarks/llama_cpp_runner: what llama.cpp needs for the work that `ponder bench` measures.

Reads a GGUF file through llama-cpp-python's C interface and prints one JSON object: tokens per second of prefill,
of decode at batch 1, and of decode at batch B (all sequences summed). Greedy: the argmax over the logits is part of it.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import statistics
import time

import llama_cpp
import numpy as np


class Runner:
    """One llama.cpp context over one file."""

    def __init__(self, path: str, threads: int, sequences: int, context: int, flash: bool) -> None:
        llama_cpp.llama_backend_init()
        model_params = llama_cpp.llama_model_default_params()
        self.model = llama_cpp.llama_model_load_from_file(path.encode(), model_params)
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = context * sequences
        params.n_batch = params.n_ubatch = 512
        params.n_seq_max = sequences
        params.n_threads = params.n_threads_batch = threads
        params.flash_attn_type = 1 if flash else 0
        self.context = llama_cpp.llama_init_from_model(self.model, params)
        vocab = llama_cpp.llama_model_get_vocab(self.model)
        self.vocab_size = llama_cpp.llama_vocab_n_tokens(vocab)
        self.batch = llama_cpp.llama_batch_init(512, 0, 1)

    def clear(self) -> None:
        """Forget every sequence."""
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.context), True)

    def decode(self, rows: list[tuple[int, int, int]], logits: list[int]) -> np.ndarray:
        """Run rows of (token, position, sequence); the logits of the rows named, shape (len(logits), V)."""
        wanted = set(logits)
        batch = self.batch
        batch.n_tokens = len(rows)
        for index, (token, position, sequence) in enumerate(rows):
            batch.token[index] = token
            batch.pos[index] = position
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = sequence
            batch.logits[index] = index in wanted
        if llama_cpp.llama_decode(self.context, batch) != 0:
            raise RuntimeError(f"llama_decode failed on {len(rows)} rows")
        out = np.empty((len(logits), self.vocab_size), np.float32)
        for slot, index in enumerate(logits):
            pointer = llama_cpp.llama_get_logits_ith(self.context, index)
            source = ctypes.cast(pointer, ctypes.POINTER(ctypes.c_float))
            out[slot] = np.ctypeslib.as_array(source, shape=(self.vocab_size,))
        return out

    def prefill_rate(self, prompt: int) -> float:
        """Tokens per second over one prompt of at most 512 tokens."""
        self.clear()
        rows = [(17 + index % 1000, index, 0) for index in range(prompt)]
        start = time.perf_counter()
        self.decode(rows, [prompt - 1])
        return prompt / (time.perf_counter() - start)

    def decode_rate(self, batch: int, prompt: int, tokens: int) -> float:
        """Summed tokens per second of `batch` sequences after a prompt each."""
        self.clear()
        for sequence in range(batch):
            self.decode([(17 + i, i, sequence) for i in range(prompt)], [prompt - 1])
        latest = [42] * batch
        start = time.perf_counter()
        for step in range(tokens):
            rows = [(latest[s], prompt + step, s) for s in range(batch)]
            logits = self.decode(rows, list(range(batch)))
            latest = [int(i) for i in logits.argmax(axis=1)]
        return batch * tokens / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("gguf")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--flash", action="store_true", help="flash attention on")
    parser.add_argument("--only", choices=["decode", "prefill", "batch"])
    arguments = parser.parse_args()
    context = arguments.prompt + arguments.tokens + 8
    runner = Runner(arguments.gguf, arguments.threads, arguments.batch, context, arguments.flash)
    runner.prefill_rate(32)
    figures = {
        "prefill": lambda: runner.prefill_rate(arguments.prompt),
        "decode": lambda: runner.decode_rate(1, 16, arguments.tokens),
        "batch": lambda: runner.decode_rate(arguments.batch, 16, arguments.tokens),
    }
    names = [arguments.only] if arguments.only else list(figures)
    result = {name: statistics.median(figures[name]() for _ in range(3)) for name in names}
    print(json.dumps({"flash": arguments.flash, **result}))


if __name__ == "__main__":
    main()
