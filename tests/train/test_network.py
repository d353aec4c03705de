"""train: the torch road against independent truth: the reference op set, transformers' loss and gradients, by hand."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.nn import functional

from ponder.model.config import ModelConfig, RopeConfig
from ponder.model.folder import load_model
from ponder.model.ops.torch_ops import TorchOps
from ponder.model.view import PackedView
from ponder.train.checkpoint import export_folder
from ponder.train.config import OptimizerConfig, ScheduleConfig
from ponder.train.network import Network, best_kernels
from ponder.train.optimizer import Optimizer, orthogonalised
from ponder.train.trainer import Progress, begins_decay, factor_at, is_finished, pace_s, plan_decay

CONFIG = ModelConfig(
    "qwen2", 48, 3, 6, 2, 8, 80, 131, 1e-6, RopeConfig(), True, True, False, 256, 0, (1,)
)  # fmt: skip
LENGTHS = (5, 17, 3, 40, 18, 1)


def sharpened(network: Network) -> Network:
    """Weights large enough that every part of the model matters."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.15)
    return network


def sequences() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(0, 131, (n + 1,), generator=generator) for n in LENGTHS]


def packed_logits(network: Network, parts: list[torch.Tensor]) -> torch.Tensor:
    starts = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int32)
    positions = torch.cat([torch.arange(len(part)) for part in parts])
    rows = torch.arange(int(starts[-1]))
    return network(torch.cat(parts), positions, PackedView(torch.from_numpy(starts)), rows)


def test_logits_equal_the_reference_op_set(tmp_path, tokenizer_folder):
    network = sharpened(Network(CONFIG))
    with torch.no_grad():
        for parameter in network.parameters():  # exact in bfloat16, so that the folder holds them
            parameter.copy_(parameter.to(torch.bfloat16))
    export_folder(tmp_path / "model", CONFIG, network.state_dict(), tokenizer_folder)
    model = load_model(tmp_path / "model", ops="reference", weights="fp32")
    parts = [sequence[:-1] for sequence in sequences()]
    logprobs = functional.log_softmax(packed_logits(network, parts).detach(), -1)
    starts = np.cumsum([0, *(len(part) for part in parts)])
    for part, start in zip(parts, starts, strict=False):
        expected = model.score([*part.tolist(), 0])[: len(part) - 1]
        found = logprobs[start + torch.arange(len(part) - 1), part[1:]].numpy()
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_loss_and_gradients_equal_transformers_one_sequence_at_a_time():
    from transformers import Qwen2Config, Qwen2ForCausalLM

    network = sharpened(Network(CONFIG)).double()
    network.requires_grad_(True)
    theirs = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=131, hidden_size=48, intermediate_size=80, num_hidden_layers=3, num_attention_heads=6,
            num_key_value_heads=2, max_position_embeddings=256, tie_word_embeddings=True, rms_norm_eps=1e-6,
        )
    ).double()  # fmt: skip
    missing = theirs.load_state_dict(network.state_dict(), strict=False).missing_keys
    assert missing == ["lm_head.weight"], missing
    total = sum(LENGTHS)
    targets = torch.cat([sequence[1:] for sequence in sequences()])
    logits = packed_logits(network, [sequence[:-1] for sequence in sequences()])
    ours = functional.cross_entropy(logits, targets)
    ours.backward()
    expected = 0.0
    for sequence in sequences():
        loss = theirs(sequence[None, :-1]).logits[0]
        loss = functional.cross_entropy(loss, sequence[1:], reduction="sum") / total
        loss.backward()
        expected += float(loss.detach())
    assert float(ours.detach()) == pytest.approx(expected, abs=1e-6)
    gradients = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    for name, parameter in network.named_parameters():
        assert torch.allclose(parameter.grad, gradients[name], atol=2e-6), name


def test_attention_cuts_any_lengths_into_blocks():
    ops, generator = TorchOps(), torch.Generator().manual_seed(0)
    for lengths in ([1], [7, 7, 7], [2, 90, 3], list(range(1, 12))):
        starts = np.cumsum([0, *lengths]).astype(np.int32)
        q = torch.randn(int(starts[-1]), 4, 8, generator=generator)
        k, v = (torch.randn(int(starts[-1]), 2, 8, generator=generator) for _ in range(2))
        found = ops.attend(q, k, v, PackedView(torch.from_numpy(starts)), 0, "fp32")
        for a, b in pairwise(starts):
            scores = torch.einsum("thc,shc->hts", q[a:b], k[a:b].repeat_interleave(2, 1)) * 8**-0.5
            scores += torch.triu(torch.full(scores.shape[1:], -torch.inf), 1)
            each = torch.einsum("hts,shc->thc", scores.softmax(-1), v[a:b].repeat_interleave(2, 1))
            assert torch.allclose(found[a:b], each, atol=1e-5), lengths


def test_orthogonalised_keeps_singular_vectors_and_levels_singular_values():
    generator = torch.Generator().manual_seed(0)
    matrices = torch.randn(3, 40, 16, generator=generator)
    found = orthogonalised(matrices)
    assert ((s := torch.linalg.svdvals(found)) > 0.6).all() and (s < 1.3).all()
    u, _, vh = torch.linalg.svd(matrices, full_matrices=False)
    assert (torch.einsum("nab,nab->n", found, u @ vh) / 16 > 0.8).all()
    assert torch.allclose(orthogonalised(matrices.mT.contiguous()).mT, found, atol=1e-5)
    rounded = Network(CONFIG, kernels=best_kernels(), weights_format="bf16").polynomial
    assert torch.allclose(orthogonalised(matrices, polynomial=rounded), found, atol=0.05)


def test_adamw_equals_torch():
    config = OptimizerConfig(adam_lr=0.01, weight_decay=0.1, clip_norm=1e9)
    start = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    ours, theirs = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    optimizer = Optimizer(config, {"model.embed_tokens.weight": ours})
    truth = torch.optim.AdamW([theirs], 0.01, (config.beta1, config.beta2), 1e-8, 0.1)
    for step in range(5):
        for parameter in (ours, theirs):
            parameter.grad = torch.sin(parameter.detach() * (step + 2))
        optimizer.step(1.0)
        truth.step()
        assert torch.allclose(ours, theirs, atol=1e-6), step


def test_schedule_warms_up_stays_and_decays():
    schedule = ScheduleConfig(warmup_steps=4, steps=20, decay_share=0.25)
    progress, factors = Progress(), []
    while not is_finished(schedule, progress):
        if begins_decay(schedule, progress):
            plan_decay(schedule, progress, step_s=1.0)
        factors.append(factor_at(schedule, progress))
        progress.step += 1
    assert factors == pytest.approx([0.25, 0.5, 0.75, *[1.0] * 13, 0.8, 0.6, 0.4, 0.2])


def test_a_schedule_in_flop_falls_by_them_and_ends_with_the_step_that_reaches_them():
    schedule = ScheduleConfig(warmup_steps=2, flops=100.0, decay_share=0.5)
    progress, factors = Progress(), []
    while not is_finished(schedule, progress):
        if begins_decay(schedule, progress):
            plan_decay(schedule, progress, step_s=1.0)
        factors.append(factor_at(schedule, progress))
        progress.step, progress.flops = progress.step + 1, progress.flops + 8
    assert factors == pytest.approx([0.5, *[1.0] * 6, 0.88, 0.72, 0.56, 0.4, 0.24, 0.08])
    assert (progress.decay_from, progress.decay_steps, progress.flops) == (7, 6, 104.0)
    whole = ScheduleConfig(warmup_steps=2, flops=100.0, decay_share=0.0)
    assert factor_at(whole, progress) == 1.0 and not begins_decay(whole, progress)


def test_a_schedule_in_seconds_plans_its_decay():
    schedule = ScheduleConfig(stop_after_s=100, decay_share=0.2)
    progress = Progress(step=500, elapsed_s=79.0)
    assert not begins_decay(schedule, progress) and not is_finished(schedule, progress)
    progress.elapsed_s = 80.5
    assert begins_decay(schedule, progress)
    plan_decay(schedule, progress, step_s=0.5)
    assert (progress.decay_from, progress.decay_steps) == (500, 39)


def test_a_decay_that_is_due_on_resuming_goes_by_the_pace_of_the_whole_run():
    schedule = ScheduleConfig(stop_after_s=100, decay_share=0.4)
    progress = Progress(step=160, elapsed_s=80.0)
    plan_decay(schedule, progress, pace_s([], progress))
    assert progress.decay_steps == 40
    assert pace_s([0.25, 0.75], progress) == 0.5
    assert not begins_decay(ScheduleConfig(stop_after_s=100, decay_share=1.0), Progress())
