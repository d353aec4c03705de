"""Distillation: torch's own KL in float64, transformers as the teacher, a teacher of oneself, whole runs, refusals."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from packing import Sample, packed, sharp
from test_resume import Killed, files, losses, trainer
from torch.nn import functional
from toy import toy_config

from ponder.core.config import config_toml
from ponder.core.errors import ConfigError, ModelFolderError
from ponder.model.shapes import named_shape
from ponder.runs import RunFolder
from ponder.text import Tokenizer
from ponder.train.checkpoint import export_folder, start_weights
from ponder.train.config import Recipe, TeacherConfig
from ponder.train.distill import Teacher, divergence, teach
from ponder.train.documents import DocumentStream, pack_step
from ponder.train.entry import main
from ponder.train.network import Network

RECIPES = Path(__file__).parents[2] / "recipes" / "micro"
CONFIG = toy_config(vocab_size=61, num_hidden_layers=2)
IDS = tuple((7 * i * i + 3) % 61 for i in range(30))
BATCH = packed([Sample(IDS, 1), Sample(IDS[5:], 3)])[:4]


def logprobs(seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(9, 61, generator=generator, dtype=torch.float64).log_softmax(-1)


def test_the_whole_divergence_is_torch_s_in_both_directions():
    student, teacher = logprobs(0).requires_grad_(), logprobs(1)
    for direction, (a, b) in {"forward": (student, teacher), "reverse": (teacher, student)}.items():
        found = divergence(student, Teacher(teacher), direction)
        truth = functional.kl_div(a, b, reduction="none", log_target=True).sum(1)
        assert torch.allclose(found, truth, atol=1e-12)
        ours, theirs = (torch.autograd.grad(x.sum(), student)[0] for x in (found, truth))
        assert torch.allclose(ours, theirs, atol=1e-12)


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_kept_ids_and_one_rest_make_a_lower_bound_that_is_exact_at_the_end(direction):
    student, teacher = logprobs(0), logprobs(1)
    whole, last = divergence(student, Teacher(teacher), direction), torch.zeros(9)
    for k in (1, 5, 40, 60):
        kept = teacher.topk(k)
        found = divergence(student, Teacher(kept.values, kept.indices), direction)
        p, q = (x.exp().gather(1, kept.indices) for x in (teacher, student))
        p, q = (torch.cat([x, 1 - x.sum(1, keepdim=True)], 1) for x in (p, q))
        if direction == "reverse":
            p, q = q, p
        assert torch.allclose(found, (p * (p / q).log()).sum(1), atol=1e-10)
        assert (found >= last - 1e-12).all() and (found <= whole + 1e-12).all()
        last = found
    assert torch.allclose(last, whole, atol=1e-10)


def test_what_a_teacher_says_is_over_the_ids_that_both_have():
    teacher = sharp(CONFIG, seed=8)
    whole, cut = teach(teacher, BATCH), teach(teacher, BATCH, size=50)
    shares = whole.logprobs_NK.exp()[:, :50]
    assert torch.allclose(cut.logprobs_NK.exp(), shares / shares.sum(1, keepdim=True), atol=1e-6)
    kept = teach(teacher, BATCH, top_k=3)
    assert kept.ids_NK is not None
    assert torch.equal(whole.logprobs_NK.gather(1, kept.ids_NK), kept.logprobs_NK)
    assert float(kept.logprobs_NK.min()) >= float(whole.logprobs_NK.sort(1).values[:, -3].min())


@pytest.fixture
def folders(tmp_path, tokenizer_folder):
    """Student and teacher of random weights; the teacher is smaller and pads its embedding further."""
    teacher = replace(named_shape("micro"), num_layers=1, intermediate_size=64, vocab_size=520)
    for name, config, seed in (("student", named_shape("micro"), 1), ("teacher", teacher, 2)):
        network = Network(config, seed)
        with torch.no_grad():
            network.get_parameter("model.embed_tokens.weight").mul_(15)
        export_folder(tmp_path / name, config, network.state_dict(), tokenizer_folder)
    return tmp_path / "student", tmp_path / "teacher"


@pytest.fixture
def taught(stage, folders):
    schedule = replace(stage.schedule, steps=4, warmup_steps=1, decay_share=0.0)
    student, teacher = folders
    return replace(
        stage, type="sft", shape=None, start_from=student, schedule=schedule, batch_tokens=300,
        teacher=TeacherConfig(teacher, 0.3), checkpoint_steps=2,
    )  # fmt: skip


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_the_first_step_s_loss_is_that_of_transformers_and_torch(taught, tmp_path, direction):
    from transformers import AutoModelForCausalLM

    stage = replace(taught, teacher=replace(taught.teacher, direction=direction))
    made = trainer(stage, tmp_path / "run")
    made.train(1)
    (record,) = [each for each in made.run.records() if "loss" in each]
    student, teacher = (
        AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        for folder in (stage.start_from, stage.teacher.model)
    )
    stream = DocumentStream(stage.documents, Tokenizer.from_folder(stage.tokenizer), stage.seed)
    batches, _ = pack_step(stream, 0, stage.batch_tokens, stage.micro_tokens)
    total, ce, kl = sum(sum(batch.weights_T) for batch in batches), 0.0, 0.0
    for batch in batches:
        for a, b in pairwise(batch.starts_S1):
            ids, weights = torch.tensor([batch.inputs_T[a:b]]), torch.tensor(batch.weights_T[a:b])
            with torch.no_grad():
                ours, theirs = student(ids).logits[0], teacher(ids).logits[0, :, :512]
            each = functional.cross_entropy(
                ours, torch.tensor(batch.targets_T[a:b]), reduction="none"
            )
            ce += float(each @ weights) / total
            p, q = (ours, theirs) if direction == "forward" else (theirs, ours)
            each = functional.kl_div(
                p.log_softmax(-1), q.log_softmax(-1), reduction="none", log_target=True
            )
            kl += float(each.sum(1) @ weights) / total
    assert kl > 0.3, "a teacher that says something else"
    assert (record["ce"], record["kl"]) == pytest.approx((ce, kl), abs=1e-4)
    assert record["loss"] == pytest.approx(0.7 * ce + 0.3 * kl, abs=1e-4)


def test_a_teacher_teaches_nothing_to_itself_and_something_to_another(taught, tmp_path):
    alone = replace(taught.teacher, model=taught.start_from, weight=1.0)
    made = trainer(replace(taught, teacher=alone), tmp_path / "itself")
    made.train(1)
    (record,) = [each for each in made.run.records() if "loss" in each]
    assert abs(record["kl"]) < 1e-5 and record["grad_norm"] < 1e-4 and record["ce"] > 1, record
    schedule = replace(taught.schedule, steps=8)
    other = replace(
        taught, schedule=schedule, teacher=replace(taught.teacher, weight=1.0, top_k=40)
    )
    made = trainer(other, tmp_path / "another")
    made.train()
    found = [each["kl"] for each in made.run.records() if "kl" in each]
    assert found[-1] < 0.8 * found[0], found


def test_killed_and_resumed_equals_uninterrupted_and_flops_count_the_teacher(taught, tmp_path):
    whole = trainer(taught, tmp_path / "whole")
    whole.train()
    with pytest.raises(Killed):
        trainer(taught, tmp_path / "cut", kill_at=3).train()
    second = trainer(taught, tmp_path / "cut", resume=True)
    assert second.progress.step == 2
    second.train()
    assert files(whole.run) == files(second.run) and losses(whole.run) == losses(second.run)
    alone = trainer(replace(taught, teacher=None), tmp_path / "alone")
    alone.train(1)
    with_teacher, without = (each.run.records()[0] for each in (whole, alone))
    rows, parameters = without["tokens"], start_weights(taught.teacher.model)[0].parameter_count()
    more = with_teacher["flops"] - without["flops"]
    assert 2 * rows * parameters < more < 3 * rows * parameters
    assert with_teacher["ce"] == without["loss"]


def changed_tokenizer(folder: Path, change) -> Path:
    """A copy of a model folder with another tokenizer."""
    copy = folder.with_name("changed")
    shutil.copytree(folder, copy)
    data = json.loads((copy / "tokenizer.json").read_text())
    change(data)
    (copy / "tokenizer.json").write_text(json.dumps(data))
    return copy


def swap(data) -> None:
    vocabulary = data["model"]["vocab"]
    a, b = [name for name, number in vocabulary.items() if number in (100, 101)]
    vocabulary[a], vocabulary[b] = vocabulary[b], vocabulary[a]


def drop_merges(data) -> None:
    data["model"]["merges"] = data["model"]["merges"][:5]


def add_token(data) -> None:
    data["added_tokens"].append({**data["added_tokens"][-1], "id": 515, "content": "<x>"})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (swap, "id 100 is b"),
        (drop_merges, "it cuts the same text in another way"),
        (add_token, "516 ids, not 512"),
    ],
)
def test_a_teacher_of_another_tokenizer_is_refused(taught, folders, tmp_path, change, words):
    teacher = replace(taught.teacher, model=changed_tokenizer(folders[1], change))
    recipe = tmp_path / "distill.toml"
    recipe.write_text(config_toml(Recipe(replace(taught, teacher=teacher))))
    for options in ({"run_dir": tmp_path / "run"}, {"dry_run": True}):
        with pytest.raises(ConfigError) as error:
            main([recipe], say=lambda line: None, **options)
        assert "has another tokenizer than" in str(error.value) and words in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("override", "error", "words"),
    [
        ("stage.teacher.weight=0", ConfigError, "allowed is more than 0, up to 1"),
        ("stage.teacher.weight=nan", ConfigError, "teacher weight is nan"),
        ("stage.teacher.top_k=0", ConfigError, "teacher top_k is 0"),
        ("stage.teacher.top_k=512", ConfigError, "allowed are 1 to 511"),
        ("stage.teacher.direction=sideways", ConfigError, "allowed are forward, reverse"),
        ("stage.teacher.model=nothing", ModelFolderError, "nothing"),
        ("stage.documents.max_len=4096", ConfigError, "takes 2048 positions"),
    ],
)
def test_what_is_refused_leaves_no_folder(taught, tmp_path, override, error, words):
    (tmp_path / "distill.toml").write_text(config_toml(Recipe(taught)))
    with pytest.raises(error, match=words):
        main([tmp_path / "distill.toml"], [override], run_dir=tmp_path / "run", say=str)
    assert not (tmp_path / "run").exists()


def test_a_dry_run_counts_the_teacher(taught, tmp_path):
    def told(recipe) -> dict[str, str]:
        (tmp_path / "recipe.toml").write_text(config_toml(Recipe(recipe)))
        said: list[str] = []
        main([tmp_path / "recipe.toml"], dry_run=True, say=said.append)
        return {line.split(":")[0]: line for line in said[1:]}

    taught_lines, alone = told(taught), told(replace(taught, teacher=None))
    count = start_weights(taught.teacher.model)[0].parameter_count()
    assert taught_lines["# teacher"] == f"# teacher: {count:,} parameters, not trained"
    assert "# teacher" not in alone

    def number(lines: dict[str, str], name: str) -> int:
        return int(lines[name].split("about ")[1].split()[0].replace(",", ""))

    assert number(taught_lines, "# memory") > number(alone, "# memory")


@pytest.mark.slow
def test_two_processes_share_a_run_with_a_teacher(taught, tmp_path):
    (tmp_path / "distill.toml").write_text(config_toml(Recipe(taught)))
    for name, more in (("one", []), ("two", ["stage.cluster.trainer_processes=2"])):
        main([tmp_path / "distill.toml"], more, run_dir=tmp_path / name, say=str)
    one, two = (losses(RunFolder.open(tmp_path / name)) for name in ("one", "two"))
    assert [loss for _, loss in two] == pytest.approx([loss for _, loss in one], rel=1e-3)


@pytest.mark.slow
def test_the_recipe_runs(warm, tokenizer_folder, tmp_path):
    """At equal steps the documents' loss is not above that of the recipe that made the teacher."""
    given = [f"stage.teacher.model={warm}", f"stage.tokenizer={tokenizer_folder}"]
    main([RECIPES / "distill.toml"], given, run_dir=tmp_path / "run", say=str)
    ends = [RunFolder.open(run).records()[-1] for run in (tmp_path / "run", warm.parent)]
    assert ends[0]["step"] == ends[1]["step"] and ends[0]["kl"] < 0.1
    assert ends[0]["ce"] < 1.02 * ends[1]["loss"], ends
