"""Our transformer against transformers on the same random weights: logits within 1e-4, the same greedy tokens."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers
from toy import BASE, LLAMA3, YARN, save_toy, toy_config

from ponder.model.folder import load_model
from ponder.model.view import PackedView, PagedView

QWEN2, QWEN3, LLAMA = "Qwen2", "Qwen3", "Llama"
SCALED = {"rope_theta": 10000.0}
MODELS = {
    "qwen2 gqa bias untied": (QWEN2, {"tie_word_embeddings": False}),
    "qwen2 tied": (QWEN2, {"tie_word_embeddings": True}),
    "qwen2 mha": (QWEN2, {"num_key_value_heads": 6}),
    "qwen2 yarn": (QWEN2, {"rope_parameters": YARN | SCALED}),
    "qwen2 yarn attention_factor": (
        QWEN2,
        {"rope_parameters": YARN | SCALED | {"attention_factor": 0.8}},
    ),
    "qwen2 yarn untruncated": (QWEN2, {"rope_parameters": YARN | SCALED | {"truncate": False}}),
    "qwen3 head size not width / heads": (QWEN3, {"head_dim": 16}),
    "qwen3 bias": (QWEN3, {"head_dim": 8, "attention_bias": True}),
    "qwen3 tied yarn": (
        QWEN3,
        {"head_dim": 32, "tie_word_embeddings": True, "rope_parameters": YARN | SCALED},
    ),
    "llama": (LLAMA, {}),
    "llama3 rope": (LLAMA, {"rope_parameters": LLAMA3 | {"rope_theta": 500000.0}}),
    "llama bias mqa": (LLAMA, {"attention_bias": True, "num_key_value_heads": 1}),
}


def build(kind, changes):
    torch.manual_seed(7)
    config = getattr(transformers, f"{kind}Config")(**(BASE | changes))
    config._attn_implementation = "eager"
    theirs = getattr(transformers, f"{kind}ForCausalLM")(config).float().eval()
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0, 0.3)
            if "norm" in name:
                parameter.normal_(1, 0.2)
    return theirs


def our_logits(model, ids):
    view = PackedView(np.array([0, len(ids)], np.int32))
    tokens = np.asarray(ids, np.int32)
    return model.logits(model.forward(tokens, np.arange(len(ids), dtype=np.int32), view))


def our_greedy(model, prompt, count):
    pool = model.new_pool(40, 16)
    pages = np.arange(40, dtype=np.int32)[None]
    ids, done = list(prompt), 0
    while len(ids) < len(prompt) + count:
        new = np.array(ids[done:], np.int32)
        view = PagedView(pool, np.array([0, len(new)], np.int32), np.array([done], np.int32), pages)
        hidden = model.forward(new, np.arange(done, len(ids), dtype=np.int32), view)
        done = len(ids)
        ids.append(int(model.logits(hidden[-1:])[0].argmax()))
    return ids


@pytest.mark.parametrize("name", MODELS)
def test_parity(name, tmp_path):
    theirs = build(*MODELS[name])
    theirs.save_pretrained(tmp_path)
    ours = load_model(tmp_path, ops="reference")
    assert ours.weights_format == "fp32"
    ids = np.random.default_rng(3).integers(0, BASE["vocab_size"], 290)
    with torch.no_grad():
        expected = theirs(torch.from_numpy(ids)[None]).logits[0].numpy()
        prompt = torch.from_numpy(ids[:20])[None]
        greedy = theirs.generate(prompt, max_new_tokens=40, do_sample=False, eos_token_id=[-1])[0]
    assert np.abs(our_logits(ours, ids) - expected).max() < 1e-4
    assert our_greedy(ours, ids[:20].tolist(), 40) == greedy.tolist()
    assert ours.config.parameter_count() == theirs.num_parameters()


def test_sharded_bf16_folder_of_transformers(tmp_path):
    build(QWEN2, {}).bfloat16().save_pretrained(tmp_path, max_shard_size="60KB")
    theirs = transformers.Qwen2ForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    ours = load_model(tmp_path, ops="reference")
    assert ours.weights_format == "bf16"
    ids = np.arange(60) * 7 % 131
    with torch.no_grad():
        expected = theirs(torch.from_numpy(ids)[None]).logits[0].numpy()
        rounded = theirs.bfloat16()(torch.from_numpy(ids)[None]).logits[0].float().numpy()
    exact = load_model(tmp_path, "fp32", "reference")
    assert np.abs(our_logits(exact, ids) - expected).max() < 1e-4
    # Linear layers round their inputs to bf16, nothing else is rounded.
    error = np.abs(our_logits(ours, ids) - expected).mean()
    assert 0 < error < np.abs(rounded - expected).mean(), error


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        (QWEN2, {"rope_scaling": YARN}),
        (QWEN3, {"head_dim": 16, "tie_word_embeddings": True}),
        (LLAMA, {"rope_scaling": LLAMA3, "attention_bias": True}),
    ],
)
def test_transformers_reads_what_we_save(kind, changes, tmp_path):
    config = toy_config(architectures=[f"{kind}ForCausalLM"], **changes)
    save_toy(tmp_path, config, shard_bytes=40_000)
    theirs, report = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    ids = np.arange(100) * 11 % 131
    with torch.no_grad():
        expected = theirs(torch.from_numpy(ids)[None]).logits[0].numpy()
    ours = load_model(tmp_path, ops="reference")
    assert ours.config == config
    assert np.abs(our_logits(ours, ids) - expected).max() < 1e-4


@pytest.mark.parametrize(("weights", "share"), [("bf16", 0.02), ("int8", 0.06), ("int4", 0.4)])
def test_smaller_formats_stay_near(weights, share, tmp_path):
    save_toy(tmp_path, toy_config(hidden_size=96, intermediate_size=200))
    ids = np.arange(50) * 3 % 131
    exact = our_logits(load_model(tmp_path, "fp32", "reference"), ids)
    near = our_logits(load_model(tmp_path, weights, "reference"), ids)
    assert 0 < np.linalg.norm(near - exact) < share * np.linalg.norm(exact)
