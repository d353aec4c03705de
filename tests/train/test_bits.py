"""The arithmetic contract between rollout and training: the training forward has the bits that the engine recorded."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from engine_toys import Letters, drive
from packing import Sample, gradient, packed, sharp
from toy import LLAMA3, YARN, toy_config

from ponder.core.errors import ConfigError
from ponder.core.types import SamplingParams, TokenRequest
from ponder.engine import Engine, EngineConfig
from ponder.model.folder import FolderTensors, load_model
from ponder.model.model import Model
from ponder.model.ops import make_ops
from ponder.model.ops.scalar import float32_of
from ponder.model.weights import prepare_weights
from ponder.train.network import Network, token_logprobs

pytestmark = pytest.mark.native

SHAPES = {
    "qwen2": toy_config(),
    "untied, yarn": toy_config(tie_word_embeddings=False, rope_scaling=YARN, rope_theta=1e6),
    "qwen3": toy_config(architectures=["Qwen3ForCausalLM"], head_dim=16, tie_word_embeddings=True),
    "llama3": toy_config(architectures=["LlamaForCausalLM"], rope_scaling=LLAMA3),
}
ENGINES = {
    "whole": EngineConfig(page_len=32, num_pages=400),
    "chunks": EngineConfig(page_len=16, num_pages=800, step_tokens=37, max_running=7),
    "scarce": EngineConfig(page_len=16, num_pages=30, max_running=8, watermark=0),
}


def requests(vocab: int, long: int = 280) -> list[TokenRequest]:
    """Groups of samples of one prompt, mixed lengths; one prompt and one answer longer than a chunk of attention."""
    rng = random.Random(3)
    made: list[TokenRequest] = []
    for group, (given, most) in enumerate(((20, 9), (1, 30), (3, 17), (long, 25), (40, 12))):
        prompt = tuple(rng.randrange(2, vocab) for _ in range(given))
        for sample in range(3):
            params = SamplingParams(
                temperature=1.0, seed=100 * group + sample, max_tokens=most + sample, logprobs=0,
                ignore_end_ids=True,
            )  # fmt: skip
            made.append(TokenRequest(prompt, params))
    return made


@cache
def rollout(shape: str, weights: str, engine: str, threads: int = 1):
    """(samples, recorded log-probabilities) of a network's weights, sampled by the engine."""
    network = sharp(SHAPES[shape])
    ops = make_ops("native", threads)
    tensors = {name: value.detach().numpy() for name, value in network.state_dict().items()}
    config = network.config
    model = Model(config, ops, prepare_weights(ops, config, tensors.__getitem__, weights), weights)
    made = Engine(model, Letters(), ENGINES[engine])
    asked = requests(config.vocab_size)
    drive(made, *asked[::3])  # prompts are in the cache when the rest comes
    answers = drive(made, *asked)
    assert any(answer.end.usage.cached_tokens for answer in answers)
    assert engine != "scarce" or made.num_preempted > 0
    samples = [Sample((*r.prompt_ids, *a.ids), len(r.prompt_ids)) for r, a in zip(asked, answers)]
    return samples, [np.array([t.logprob for t in a.logprobs], np.float32) for a in answers]


def difference(network: Network, samples, recorded, shares: bool) -> float:
    with torch.no_grad():
        found = token_logprobs(network, *packed(samples, shares))[0].numpy()
    return float(np.abs(found - np.concatenate(recorded)).max())


@pytest.mark.parametrize("weights", ["fp32", "bf16"])
@pytest.mark.parametrize("shape", SHAPES)
def test_training_has_the_bits_of_the_rollout_however_it_is_packed(shape, weights):
    network = sharp(SHAPES[shape], "native", weights)
    order = list(range(15))
    random.Random(1).shuffle(order)
    for engine in ENGINES if weights == "fp32" else ("chunks",):
        samples, recorded = rollout(shape, weights, engine)
        assert difference(network, samples, recorded, shares=False) == 0
        assert difference(network, samples, recorded, shares=True) == 0
    shuffled = [samples[i] for i in order], [recorded[i] for i in order]
    assert difference(network, *shuffled, shares=True) == 0
    for sample, record in list(zip(samples, recorded))[::4]:
        assert difference(network, [sample], [record], shares=False) == 0


def test_threads_side_by_side_and_flushed_subnormals_change_no_bit():
    samples, recorded = rollout("qwen2", "fp32", "whole", threads=2)
    network = sharp(SHAPES["qwen2"], "native")

    def flushed(part: int) -> float:
        torch.set_flush_denormal(True)
        assert float(torch.tensor(1e-30) * torch.tensor(1e-12)) == 0
        return difference(network, samples[part::2], recorded[part::2], shares=bool(part))

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(flushed, [0, 1, 0, 1])) == [0, 0, 0, 0]


def test_kernels_compute_with_subnormals_whatever_the_thread_does():
    ops = make_ops("native", 1)
    rows = np.full((2, 4), 2e-20, np.float32)
    weight = ops.prepare_linear("", [np.full((3, 4), 1e-20, np.float32)], None, "fp32")

    def flushed() -> np.ndarray:
        torch.set_flush_denormal(True)
        return ops.linear(rows, weight)

    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(flushed).result()
    assert (found > 0).all() and np.array_equal(found, ops.linear(rows, weight))


def test_changed_weights_are_packed_anew():
    samples, recorded = rollout("qwen2", "fp32", "whole")
    network = sharp(SHAPES["qwen2"], "native")
    kept = {name: value.clone() for name, value in network.state_dict().items()}
    assert difference(network, samples, recorded, shares=False) == 0
    with torch.no_grad():
        network.get_parameter("model.layers.1.mlp.up_proj.weight").mul_(1.5)
    assert difference(network, samples, recorded, shares=False) > 0
    network.load_state_dict(kept)
    assert difference(network, samples, recorded, shares=False) == 0


def test_chunks_of_logits_have_the_same_bits_and_gradients():
    samples, _ = rollout("untied, yarn", "fp32", "whole")
    network = sharp(SHAPES["untied, yarn"], "native")
    batch = packed(samples)
    whole = gradient(network, [batch], lambda _: 1.0)
    network.zero_grad()
    found_N, entropies_N = token_logprobs(network, *batch, held_numbers=131 * 50)
    found_N.sum().backward()
    expected_N, whole_N = token_logprobs(network, *batch)
    assert torch.equal(found_N, expected_N) and torch.equal(entropies_N, whole_N)
    for name, parameter in network.named_parameters():
        assert torch.allclose(parameter.grad, whole[name], atol=1e-4, rtol=1e-4), name


@pytest.mark.parametrize("shares", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_are_those_of_plain_torch_in_float64(shape, shares):
    samples, _ = rollout(shape, "fp32", "whole")
    native, plain = sharp(SHAPES[shape], "native"), sharp(SHAPES[shape]).double()
    coefficient = torch.linspace(-1, 1, len(packed(samples)[3]))
    found = gradient(native, [packed(samples, shares)], lambda _: coefficient)
    truth = gradient(plain, [packed(samples)], lambda _: coefficient.double())
    assert found.keys() == truth.keys()
    for name, expected in truth.items():
        error = (found[name].double() - expected).abs().max() / expected.abs().max()
        assert error < 3e-5, (name, float(error))


def test_the_package_s_model_has_one_log_probability_everywhere():
    folder = files("ponder") / "models" / "nano"
    model = load_model(str(folder), threads=1)
    tensors = FolderTensors(Path(str(folder)), model.config)
    network = Network(model.config, kernels="native", weights_format="bf16")
    network.load_state_dict(
        {n: torch.from_numpy(float32_of(tensors.tensor(n)).copy()) for n in network.state_dict()}
    )
    ids = tuple(random.Random(5).randrange(2048) for _ in range(300))
    recorded = model.score(ids)
    assert difference(network, [Sample(ids, 1)], [recorded], shares=False) == 0


def test_a_format_or_name_it_cannot_train_in_is_refused():
    with pytest.raises(ConfigError, match="weights_format is 'int8' in training"):
        Network(SHAPES["qwen2"], weights_format="int8")
    with pytest.raises(ConfigError, match="allowed are native, torch"):
        Network(SHAPES["qwen2"], kernels="cuda")
