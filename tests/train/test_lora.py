"""Adapters: the forward of PEFT on transformers with the same numbers, rollout bits, and bad folders."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from packing import Sample, packed, sharp
from toy import toy_config

from ponder.core.errors import ConfigError, StorageError
from ponder.model.model import Model
from ponder.model.ops import make_ops
from ponder.model.weights import prepare_weights
from ponder.train.config import LoraConfig
from ponder.train.lora import Adapters
from ponder.train.network import Network, token_logprobs

CONFIG = toy_config()
CHOSEN = LoraConfig(4, 6.0, ("q_proj", "v_proj", "down_proj"))
IDS = tuple(np.random.default_rng(0).integers(0, 131, 40).tolist())


def adapted(network: Network, config: LoraConfig = CHOSEN) -> Adapters:
    adapters = Adapters(network, config)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in adapters.parameters.values():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return adapters


def test_new_adapters_change_nothing_and_freeze_the_rest():
    network = sharp(CONFIG)
    before = token_logprobs(network, *packed([Sample(IDS, 1)]))[0]
    adapters = Adapters(network, CHOSEN)
    found = token_logprobs(network, *packed([Sample(IDS, 1)]))[0]
    assert torch.equal(before, found)
    found.sum().backward()
    assert all(p.grad is None for p in network.parameters())
    count = sum(p.numel() for p in adapters.parameters.values())
    assert count == 3 * 4 * ((48 + 48) + (48 + 16) + (80 + 48)), count


@pytest.mark.native
def test_rollout_and_training_have_the_same_bits():
    network = sharp(CONFIG, "native")
    adapters = adapted(network)
    ops = make_ops("native", 2)

    def difference() -> float:
        tensors = {name: value.numpy() for name, value in network.tensors().items()}
        model = Model(
            CONFIG, ops, prepare_weights(ops, CONFIG, tensors.__getitem__, "fp32"), "fp32"
        )
        with torch.no_grad():
            found = token_logprobs(network, *packed([Sample(IDS, 1)]))[0]
        return float(np.abs(found.numpy() - model.score(IDS)).max())

    assert difference() == 0
    found = token_logprobs(network, *packed([Sample(IDS, 1)]))[0]
    gradients = torch.autograd.grad(found.sum(), list(adapters.parameters.values()))
    with torch.no_grad():
        for parameter, gradient in zip(adapters.parameters.values(), gradients, strict=True):
            assert gradient.abs().max() > 0
            parameter.sub_(0.01 * gradient)
    assert difference() == 0


def test_an_adapter_folder_is_the_same_and_damage_is_told(tmp_path):
    network = sharp(CONFIG)
    adapters = adapted(network)
    adapters.save(tmp_path / "adapter", "base")
    other = sharp(CONFIG)
    again = Adapters(other, CHOSEN)
    again.load(tmp_path / "adapter")
    for name, value in network.tensors().items():
        assert torch.equal(other.tensors()[name], value), name
    with pytest.raises(StorageError, match=r"r of the adapter in .* is 4, not 8"):
        Adapters(sharp(CONFIG), LoraConfig(8, 6.0, CHOSEN.targets)).load(tmp_path / "adapter")
    with pytest.raises(StorageError, match="do not fit its targets"):
        Adapters(sharp(CONFIG), LoraConfig(4, 6.0, ("q_proj",))).load(tmp_path / "adapter")
    for bad, what in (
        ({"rank": 0}, "rank is 0"),
        ({"alpha": 0.0}, "alpha is"),
        ({"targets": ("x",)}, "targets"),
    ):
        with pytest.raises(ConfigError, match=what):
            LoraConfig(**bad)


@pytest.mark.slow
def test_peft_s_forward_on_transformers_is_ours(tmp_path):
    """Needs peft (see docs/numbers.md): it reads the folder we wrote."""
    import peft
    from transformers import Qwen2Config, Qwen2ForCausalLM

    network = sharp(CONFIG)
    base = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=131, hidden_size=48, intermediate_size=80, num_hidden_layers=3, num_attention_heads=6,
            num_key_value_heads=2, max_position_embeddings=512, tie_word_embeddings=CONFIG.tied_head,
            rms_norm_eps=1e-6, rope_theta=CONFIG.rope.theta,
        )
    ).eval()  # fmt: skip
    missing = base.load_state_dict(network.state_dict(), strict=False).missing_keys
    assert missing == (["lm_head.weight"] if CONFIG.tied_head else [])
    adapted(network).save(tmp_path / "adapter", "base")
    theirs = peft.PeftModel.from_pretrained(base, tmp_path / "adapter")
    ids = torch.tensor(IDS)
    with torch.no_grad():
        expected = theirs(ids[None]).logits[0].log_softmax(-1)[:-1].gather(1, ids[1:, None])[:, 0]
        found = token_logprobs(network, *packed([Sample(IDS, 1)]))[0]
    assert float((found - expected).abs().max()) < 1e-4
    assert json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())["r"] == 4
