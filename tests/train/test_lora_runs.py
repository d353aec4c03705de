"""Adapters in whole runs: transformers, PEFT's formula and torch's AdamW give the same weights; resume; refusals."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from test_resume import Killed, files, losses, trainer
from test_rl_runs import RECIPES, SHORT, check_killed, quiet, recipe_of, trainer_of
from torch.nn import functional

from ponder.core.config import config_toml
from ponder.core.errors import ConfigError, StorageError
from ponder.model.folder import load_model
from ponder.model.ops import native_available
from ponder.model.safetensors import SafetensorsFile
from ponder.model.shapes import named_shape
from ponder.runs import RunFolder
from ponder.text import Tokenizer
from ponder.train.checkpoint import MOMENTS, WEIGHTS, export_folder, start_weights
from ponder.train.config import LoraConfig, OptimizerConfig, Recipe
from ponder.train.documents import DocumentStream, pack_step
from ponder.train.entry import main, read_recipe
from ponder.train.network import Network
from ponder.train.rl.trainer import RlTrainer

CHOSEN = LoraConfig(4, 6.0, ("q_proj", "v_proj", "down_proj"))
COUNT = 4 * 4 * ((64 + 64) + (64 + 64) + (192 + 64))
"""Rank times the sides of each chosen matrix, over four layers."""
ADAMW = OptimizerConfig(matrices="adamw", adam_lr=0.01, weight_decay=0.01, clip_norm=1e9)


@pytest.fixture
def base(tmp_path, tokenizer_folder) -> Path:
    """A model folder of random weights, large enough that every part matters."""
    network = Network(named_shape("micro"), 3)
    with torch.no_grad():
        network.get_parameter("model.embed_tokens.weight").mul_(20)
    export_folder(tmp_path / "base", network.config, network.state_dict(), tokenizer_folder)
    return tmp_path / "base"


def other(base: Path) -> Path:
    """A folder beside it, with one number of one weight changed."""
    config, weights = start_weights(base)
    weights["model.norm.weight"][5] += 1
    export_folder(base.parent / "other", config, weights, base)
    return base.parent / "other"


@pytest.fixture
def tuned(stage, base):
    """Fine-tuning of adapters."""
    schedule = replace(stage.schedule, steps=5, warmup_steps=1, decay_share=0.0)
    return replace(
        stage, type="sft", shape=None, start_from=base, lora=CHOSEN, optimizer=ADAMW,
        schedule=schedule, checkpoint_steps=2,
    )  # fmt: skip


def test_steps_equal_those_of_transformers_with_peft_s_formula_in_float64(stage, tuned, tmp_path):
    """Their model, x·Aᵀ·Bᵀ added behind each matrix, one document at a time, torch's AdamW."""
    from transformers import AutoModelForCausalLM

    ours = trainer(replace(tuned, batch_tokens=300), tmp_path / "run")
    ours.network.double()
    adapters = ours.network.trained()
    for values in (adapters, ours.optimizer.state):
        for tensor in values.values():
            tensor.data = tensor.data.double()
    theirs = AutoModelForCausalLM.from_pretrained(tuned.start_from, dtype=torch.float64)
    theirs.requires_grad_(False)
    copies = {name: value.detach().clone().requires_grad_() for name, value in adapters.items()}

    def put(name: str, module: torch.nn.Module) -> None:
        a, b = (copies[f"{name}.lora_{part}.weight"] for part in "AB")
        module.register_forward_hook(lambda _, x, y: y + 6.0 / 4 * (x[0] @ a.T @ b.T))

    for name, module in theirs.named_modules():
        if name.split(".")[-1] in CHOSEN.targets:
            put(name, module)
    optimizer = torch.optim.AdamW(copies.values(), 0.01, betas=(0.9, 0.98), weight_decay=0.01)
    stream = DocumentStream(stage.documents, Tokenizer.from_folder(stage.tokenizer), stage.seed)
    expected, cursor = [], 0
    for _ in range(3):
        batches, cursor = pack_step(stream, cursor, 300, stage.micro_tokens)
        total = sum(sum(batch.weights_T) for batch in batches)
        loss = torch.zeros((), dtype=torch.float64)
        for batch in batches:
            for a, b in pairwise(batch.starts_S1):
                logits = theirs(torch.tensor([batch.inputs_T[a:b]])).logits[0]
                each = functional.cross_entropy(
                    logits, torch.tensor(batch.targets_T[a:b]), reduction="none"
                )
                loss = loss + each @ torch.tensor(batch.weights_T[a:b]).double() / total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        expected.append(float(loss.detach()))
    found = [ours._step(1.0)["loss"] for _ in range(3)]
    assert found == pytest.approx(expected, abs=1e-5)
    for name, value in copies.items():
        assert torch.allclose(adapters[name], value, atol=1e-6), name
        assert not torch.equal(adapters[name], torch.zeros_like(value))


def test_only_adapters_are_trained_kept_and_exported(tuned, base, tmp_path):
    (tmp_path / "lora.toml").write_text(config_toml(Recipe(tuned)))
    said: list[str] = []
    model = main([tmp_path / "lora.toml"], run_dir=tmp_path / "run", say=said.append)
    assert model is not None and said[-2:] == [
        f"model: {model}", f"adapter: {tmp_path / 'run' / 'adapter'}"
    ]  # fmt: skip
    checkpoint = RunFolder.open(tmp_path / "run").checkpoint()
    weights, moments = (SafetensorsFile(checkpoint / name).entries for name in (WEIGHTS, MOMENTS))
    assert all("lora_" in name for name in weights)
    assert sum(int(np.prod(each.shape)) for each in weights.values()) == COUNT
    assert sum(int(np.prod(each.shape)) for each in moments.values()) == 2 * COUNT
    adapter = SafetensorsFile(tmp_path / "run" / "adapter" / "adapter_model.safetensors")
    before, after = start_weights(base)[1], start_weights(model)[1]
    for name, value in before.items():
        key = f"base_model.model.{name.removesuffix('.weight')}"
        if key + ".lora_A.weight" not in adapter.entries:
            assert torch.equal(after[name], value), name
            continue
        a, b = (adapter.tensor(f"{key}.lora_{part}.weight").astype(np.float64) for part in "AB")
        merged = value.double() + 6.0 / 4 * torch.from_numpy(b @ a)
        assert torch.allclose(after[name].double(), merged, rtol=2**-8, atol=1e-6), name
        assert not torch.equal(after[name], value), name
    assert load_model(model).config == named_shape("micro")


def test_killed_and_resumed_equals_uninterrupted(tuned, tmp_path):
    whole = trainer(tuned, tmp_path / "whole")
    whole.train()
    with pytest.raises(Killed):
        trainer(replace(tuned, checkpoint_steps=1), tmp_path / "cut", kill_at=4).train()
    second = trainer(tuned, tmp_path / "cut", resume=True)
    assert second.progress.step == 3
    second.train()
    assert files(whole.run) == files(second.run) and losses(whole.run) == losses(second.run)
    with pytest.raises(StorageError, match="stand on other weights, or have another alpha"):
        trainer(replace(tuned, lora=replace(CHOSEN, alpha=7.0)), tmp_path / "cut", resume=True)
    with pytest.raises(StorageError, match="stand on other weights"):
        trainer(replace(tuned, start_from=other(tuned.start_from)), tmp_path / "cut", resume=True)
    with pytest.raises(StorageError, match="of another shape than the recipe's"):
        trainer(replace(tuned, lora=None), tmp_path / "cut", resume=True)


@pytest.mark.slow
def test_reinforcement_learning_of_adapters_is_on_policy_to_the_bit_and_resumes(warm, tmp_path):
    options = [each for each in SHORT if "steps=8" not in each]
    stage = recipe_of(
        warm,
        *options,
        "stage.schedule.steps=3",
        "stage.lora.rank=4",
        "stage.sampling.max_tokens=32",
    )
    whole = trainer_of(stage, tmp_path / "whole")
    whole.train()
    config, start = start_weights(warm)

    def killed(record) -> None:
        if record["step"] == 3:
            raise Killed

    cut = RunFolder.create(tmp_path / "cut", "")
    with pytest.raises(Killed):
        RlTrainer(stage, config, cut, start, killed).train()
    again = RlTrainer(stage, config, cut, start)
    again.resume()
    assert again.progress.step == 2
    again.train()
    assert files(whole.run) == files(again.run)
    records = [each for each in whole.run.records() if "ratio_max" in each]
    assert len(records) == 3 and records[-1]["grad_norm"] > 0
    if native_available()[0]:
        assert all(each["ratio_max"] == each["ratio_min"] == 1 for each in records), records
        assert all(each["gap"] == each["kl"] == 0 for each in records), records
    assert all(torch.equal(start[n], v) for n, v in whole.network.state_dict().items())
    changed = {n for n, v in whole.weights().items() if not torch.equal(start[n], v)}
    assert changed == {n for n in start if n.endswith("_proj.weight")}


@pytest.mark.slow
def test_reinforcement_learning_of_adapters_survives_sigkill(warm, tmp_path):
    options = (*SHORT, "stage.lora.rank=4")
    assert check_killed(warm, tmp_path, random.Random(2), rounds=1, options=options) >= 2


@pytest.mark.slow
def test_health_reward_rises_by_adapters_alone(warm, tmp_path):
    made = trainer_of(
        recipe_of(warm, "stage.lora.rank=8", "stage.optimizer.adam_lr=0.004"), tmp_path / "run"
    )
    made.train()
    rewards = [each["reward"] for each in made.run.records() if "reward" in each]
    assert sum(rewards[:2]) / 2 < 0.3 and sum(rewards[-8:]) / 8 > 0.5, rewards


@pytest.mark.slow
def test_the_recipe_learns_a_new_family(warm, tokenizer_folder, tmp_path):
    given = [f"stage.start_from={warm}", f"stage.tokenizer={tokenizer_folder}"]
    main([RECIPES / "lora.toml"], given, run_dir=tmp_path / "run", say=quiet)
    found = [loss for _, loss in losses(RunFolder.open(tmp_path / "run"))]
    assert found[0] > 2.5 and sum(found[-5:]) / 5 < 2.2, found


def test_a_dry_run_says_what_is_trained(base, tokenizer_folder):
    said: list[str] = []
    given = [f"stage.start_from={base}", f"stage.tokenizer={tokenizer_folder}"]
    given += ["stage.lora.rank=4", 'stage.lora.targets=["q_proj","v_proj","down_proj"]']
    main([RECIPES / "lora.toml"], given, dry_run=True, say=said.append)
    expected = f"parameters: 247,104, {COUNT:,} more are trained, in adapters of rank 4 ("
    assert any(expected in line for line in said), said


def test_adapters_larger_than_their_matrices_are_refused(base, tokenizer_folder, tmp_path):
    given = [f"stage.start_from={base}", f"stage.tokenizer={tokenizer_folder}"]
    given.append("stage.lora.rank=1000000000")
    for options in ({"run_dir": tmp_path / "run"}, {"dry_run": True}):
        with pytest.raises(ConfigError, match="allowed are 1 to 64, the smallest side"):
            main([RECIPES / "lora.toml"], given, say=quiet, **options)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("stage.lora.rank=0", "lora rank is 0"),
        ("stage.lora.rank=true", "allowed is a whole number"),
        ("stage.lora.alpha=inf", "lora alpha is inf"),
        ("stage.lora.alpha=-1", "lora alpha is -1.0"),
        ('stage.lora.targets=["q_proj","q_proj"]', "each once"),
        ('stage.lora.targets=["lm_head"]', "allowed are q_proj"),
        ("stage.lora.targets=[]", "lora targets are []"),
        ("stage.lora.targets=q_proj", "allowed is a list"),
        ("stage.lora.dropout=0.1", "allowed are rank, alpha, targets"),
        ("stage.lora=8", "allowed is a table"),
        ("stage.cluster.trainer_processes=2", "lora with cluster.trainer_processes = 2"),
        ('stage={type="pretrain"}', "adapters would stand on random weights"),
    ],
)
def test_what_is_refused(override, words):
    given = ["stage.lora.rank=8", override]
    recipe = "pretrain" if "pretrain" in override else "lora"
    with pytest.raises(ConfigError) as error:
        read_recipe([RECIPES / f"{recipe}.toml"], given)
    assert words in str(error.value)
