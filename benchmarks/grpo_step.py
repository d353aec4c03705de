"""benchmarks/grpo_step: one GRPO step of ours and of TRL's, same shape, same work, same cores, taking turns.

    python benchmarks/grpo_step.py --rounds 3 --trl-python .venv/peers/bin/python --out results.json

A step: 32 prompts of 48 tokens × 8 samples of exactly 128 tokens at temperature 1, GRPO's loss without KL, one AdamW
update. Ours: the engine's rollout, the packed loss of `train.rl`, the optimizer; it fails unless the training
forward has the log-probabilities of the rollout to the bit. Each side warms up with one step in a process of its own,
then `--steps` are timed; the model is random, since its numbers cost the same. `--trl-python` names an interpreter with
trl (see docs/numbers.md); without it ours alone is measured. TRL stands there twice, both in fp32 (its own
default, bf16, is emulated on cores without it and takes minutes): otherwise as it comes, and with the settings found
fastest here (no gradient checkpointing, `--trl-batch` answers at a time). `cpu_s` is the processor
time of all threads: on a busy machine the fair measure.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

PROMPTS, PROMPT_LEN, SAMPLES, ANSWER_LEN = 32, 48, 8, 128
LEARNING_RATE = 1e-5
SIDES = {
    "ours": "Ponder",
    "trl": "TRL 1.16 as it comes, fp32",
    "trl_tuned": "TRL 1.16, fastest settings found",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1, help="timed steps of each round")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--micro-tokens", type=int, default=2048)
    parser.add_argument("--weights", default="bf16", choices=("fp32", "bf16"), help="ours")
    parser.add_argument("--trl-batch", type=int, default=32, help="tuned TRL's batch size")
    parser.add_argument("--trl-python", help="interpreter with trl")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--side", choices=tuple(SIDES), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        work = ours if arguments.side == "ours" else trl
        print(json.dumps(work(arguments)))
        return
    from ponder.cli.machine import commit, machine

    sides = {"ours": sys.executable}
    if arguments.trl_python:
        sides |= {"trl": arguments.trl_python, "trl_tuned": arguments.trl_python}
    rounds: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    for number in range(arguments.rounds):
        for side, python in sides.items():
            steps = run_side(side, python, arguments)
            rounds[side] += steps
            print(f"round {number + 1} {side}: {json.dumps(steps)}", file=sys.stderr, flush=True)
    text = json.dumps(record(rounds, arguments, machine(), commit()), indent=1)
    if arguments.out:
        arguments.out.write_text(text + "\n")
    print(text)


def record(
    rounds: dict[str, list[dict[str, float]]],
    arguments: argparse.Namespace,
    machine: str,
    commit: str,
) -> dict[str, Any]:
    """The table, with every round beside it; medians."""
    parts = ("step_s", "cpu_s", "rollout_s", "gradient_s", "optimizer_s")
    rows: list[list[str]] = []
    for side, steps in rounds.items():
        medians = {part: statistics.median(s[part] for s in steps) for part in steps[0]}
        own = statistics.median(s["step_s"] for s in rounds["ours"])
        shown = [f"{medians[part]:.2f}" if part in medians else "" for part in parts]
        rows.append([SIDES[side], *shown, f"{medians['step_s'] / own:.2f}"])
    return {
        "title": f"one GRPO step, {PROMPTS} prompts of {PROMPT_LEN} × {SAMPLES} samples of {ANSWER_LEN} tokens",
        "columns": ["", *(part.replace("_s", " s") for part in parts), "times ours"],
        "rows": rows,
        "facts": {
            "command": f"python benchmarks/grpo_step.py --rounds {arguments.rounds} --steps {arguments.steps}",
            "machine": machine,
            "commit": commit,
        },
        "settings": {
            "threads": arguments.threads,
            "micro_tokens": arguments.micro_tokens,
            "trl_batch": arguments.trl_batch,
        },
        "load_average": os.getloadavg(),
        "rounds": rounds,
    }


def run_side(side: str, python: str, arguments: argparse.Namespace) -> list[dict[str, float]]:
    names = ("steps", "threads", "micro_tokens", "trl_batch", "weights")
    words = [f"--{name.replace('_', '-')}={getattr(arguments, name)}" for name in names]
    done = subprocess.run(
        [python, __file__, "--side", side, *words],
        env=os.environ | {"OMP_NUM_THREADS": str(arguments.threads)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def prompts() -> list[tuple[int, ...]]:
    rng = random.Random(0)
    return [tuple(rng.randrange(16, 2048) for _ in range(PROMPT_LEN)) for _ in range(PROMPTS)]


@dataclass(frozen=True)
class Answer:
    """What an algorithm needs of an episode."""

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    sampled: tuple[bool, ...]
    reward: float

    @property
    def is_right(self) -> bool:
        return self.reward == 1


def ours(arguments: argparse.Namespace) -> list[dict[str, float]]:
    from concurrent.futures import ThreadPoolExecutor

    import torch

    from ponder.model.ops import make_ops
    from ponder.model.shapes import SHAPES
    from ponder.train.config import OptimizerConfig
    from ponder.train.network import Network
    from ponder.train.optimizer import Optimizer
    from ponder.train.rl.algorithms import algorithm_of, streams
    from ponder.train.rl.gradient import PolicyTerm, batch_loss, pack
    from ponder.train.sharded import add_gradients, settle_thread
    from ponder.train.stages import keep_freed_memory

    keep_freed_memory()
    settle_thread()
    network = Network(
        replace(SHAPES["nano"], end_ids=()), kernels="native", weights_format=arguments.weights
    )
    parameters = dict(network.named_parameters())
    pool = ThreadPoolExecutor(arguments.threads, initializer=settle_thread)
    config = OptimizerConfig(adam_lr=LEARNING_RATE, beta2=0.999, matrices="adamw")
    optimizer = Optimizer(config, parameters, pool.map)
    grpo = algorithm_of("grpo")
    term = PolicyTerm(grpo.ratio, grpo.clip_low, grpo.clip_high, None, "k3", None)
    ops = make_ops("native", arguments.threads)
    rewards = random.Random(1)

    def gradient(batch: Any) -> tuple[Any, Any]:
        loss, stats = batch_loss(network, batch, term)
        return stats, torch.autograd.grad(loss, tuple(parameters.values()))

    engine = None
    timed: list[dict[str, float]] = []
    for number in range(arguments.steps + 1):
        began, began_cpu = time.perf_counter(), time.process_time()
        engine = load(engine, network, ops, arguments.weights, number)
        groups = rollout(engine, number, partial(rewards.choice, (0.0, 1.0)))
        sampled = time.perf_counter()
        batches = pack(streams(grpo, groups, max_tokens=ANSWER_LEN), arguments.micro_tokens)
        packed = time.perf_counter()
        gaps = [
            s.gap for s in add_gradients(list(parameters.values()), pool.map(gradient, batches))
        ]
        added = time.perf_counter()
        optimizer.step(1.0)
        ended = time.perf_counter()
        if max(gaps) != 0:
            raise SystemExit(f"the training forward differs from the rollout by {max(gaps)}")
        timed.append(
            {
                "step_s": ended - began,
                "cpu_s": time.process_time() - began_cpu,
                "rollout_s": sampled - began,
                "pack_s": packed - sampled,
                "gradient_s": added - packed,
                "optimizer_s": ended - added,
            }
        )
    return timed[1:]


class Silent:
    """No stop string is asked for, so nothing is spelled out."""

    def token_bytes(self, token_id: int) -> bytes:
        return b""


def load(engine: Any, network: Any, ops: Any, weights: Any, version: int) -> Any:
    """The engine, made at the first step, with the network's weights: as `train.rollout.Rollouts.load` does it."""
    from ponder.engine import Engine, EngineConfig
    from ponder.model.model import Model
    from ponder.model.weights import prepare_weights
    from ponder.train.rollout import RolloutConfig

    tensors = {name: value.detach().numpy() for name, value in network.state_dict().items()}
    config, sizes = network.config, RolloutConfig()
    model = Model(config, ops, prepare_weights(ops, config, tensors.__getitem__, weights), weights)
    if engine is not None:
        engine.replace_model(model, version)
        return engine
    limits = EngineConfig(
        page_len=16,
        cache_mib=sizes.cache_mib,
        step_tokens=sizes.step_tokens,
        max_running=sizes.max_running,
    )
    return Engine(model, Silent(), limits, version)


def rollout(engine: Any, version: int, reward: Any) -> list[list[Answer]]:
    """The answers of every prompt."""
    from ponder.core.types import SamplingParams, TokenRequest

    asked = {}
    for index, prompt in enumerate(prompts()):
        params = SamplingParams(
            temperature=1.0, max_tokens=ANSWER_LEN, ignore_end_ids=True, logprobs=0, n=SAMPLES,
            seed=1000 * version + index,
        )  # fmt: skip
        asked[engine.add(TokenRequest(prompt, params))] = prompt
    found: dict[tuple[str, int], tuple[list[int], list[float]]] = {}
    while not engine.is_idle:
        for event in engine.step():
            ids, logprobs = found.setdefault((event.request_id, event.choice), ([], []))
            ids += event.token_ids
            logprobs += [each.logprob for each in event.logprobs]
    groups: list[list[Answer]] = []
    for name, prompt in asked.items():
        group: list[Answer] = []
        for sample in range(SAMPLES):
            ids, logprobs = found[name, sample]
            assert len(ids) == ANSWER_LEN, len(ids)
            given = (0.0,) * PROMPT_LEN, (False,) * PROMPT_LEN
            group.append(
                Answer(
                    (*prompt, *ids),
                    (*given[0], *logprobs),
                    (*given[1], *(True,) * ANSWER_LEN),
                    reward(),
                )
            )
        groups.append(group)
    return groups


def trl(arguments: argparse.Namespace) -> list[dict[str, float]]:
    import tempfile

    os.environ |= {"HF_HUB_OFFLINE": "1", "WANDB_DISABLED": "true"}
    import torch
    from datasets import Dataset
    from transformers import (
        PreTrainedTokenizerFast,
        Qwen2Config,
        Qwen2ForCausalLM,
        TrainerCallback,
        logging,
    )
    from trl import GRPOConfig, GRPOTrainer

    logging.set_verbosity_error()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=2048, hidden_size=192, intermediate_size=512, num_hidden_layers=8,
            num_attention_heads=3, num_key_value_heads=1, max_position_embeddings=2048,
            rope_theta=1e4, tie_word_embeddings=True,
        )
    )  # fmt: skip
    tokenizer = word_tokenizer(PreTrainedTokenizerFast)
    texts = ["".join(f"w{token} " for token in prompt) for prompt in prompts()]
    assert all(len(tokenizer(text).input_ids) == PROMPT_LEN for text in texts)
    rewards = random.Random(1)
    marks: list[tuple[float, float]] = []

    class Clock(TrainerCallback):
        def on_step_begin(self, *given: Any, **named: Any) -> None:
            marks.append((time.perf_counter(), time.process_time()))

        def on_step_end(self, *given: Any, **named: Any) -> None:
            marks.append((time.perf_counter(), time.process_time()))

    seen: list[int] = []

    def reward(
        completions: list[str], completion_ids: list[list[int]], **named: Any
    ) -> list[float]:
        seen.extend(len(ids) for ids in completion_ids)
        return [rewards.choice((0.0, 1.0)) for _ in completions]

    with tempfile.TemporaryDirectory() as folder:
        tuned: dict[str, Any] = {
            "gradient_checkpointing": False,
            "per_device_train_batch_size": arguments.trl_batch,
        }
        own = GRPOConfig(output_dir=folder, use_cpu=True).per_device_train_batch_size
        batch = arguments.trl_batch if arguments.side == "trl_tuned" else own
        config = GRPOConfig(
            output_dir=folder, use_cpu=True, bf16=False, **(tuned if arguments.side == "trl_tuned" else {}),
            gradient_accumulation_steps=PROMPTS * SAMPLES // batch,
            num_generations=SAMPLES, max_completion_length=ANSWER_LEN, temperature=1.0,
            generation_kwargs={"min_new_tokens": ANSWER_LEN}, beta=0.0, loss_type="grpo",
            learning_rate=LEARNING_RATE, max_steps=arguments.steps + 1, report_to="none",
            save_strategy="no", logging_strategy="no", disable_tqdm=True,
            dataloader_num_workers=0,
        )  # fmt: skip
        trainer = GRPOTrainer(
            model=model,
            reward_funcs=reward,
            args=config,
            train_dataset=Dataset.from_dict({"prompt": texts}),
            processing_class=tokenizer,
            callbacks=[Clock()],
        )
        trainer.train()
    assert set(seen) == {ANSWER_LEN}, set(seen)
    assert len(seen) == PROMPTS * SAMPLES * (arguments.steps + 1), len(seen)
    return [
        {"step_s": end[0] - begin[0], "cpu_s": end[1] - begin[1]}
        for begin, end in list(zip(marks[::2], marks[1::2]))[1:]
    ]


def word_tokenizer(made: Any) -> Any:
    """One word a token."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {"<pad>": 0, "<eos>": 1} | {f"w{i}": i for i in range(2, 2048)}
    inner = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return made(tokenizer_object=inner, pad_token="<pad>", eos_token="<eos>")


if __name__ == "__main__":
    main()
