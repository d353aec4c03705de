"""train/rl: every algorithm and every option in whole runs that are stopped and resumed; tools; ids never sampled."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch
from test_rl_runs import RECIPES, SHORT, check_killed, contents, quiet, recipe_of, trainer_of

from ponder.model.ops import native_available
from ponder.model.view import PackedView
from ponder.tasks import generate
from ponder.text import ChatTemplate
from ponder.train.checkpoint import export_folder, start_weights
from ponder.train.entry import main
from ponder.train.restricted import banned_ids
from ponder.train.rl.algorithms import ALGORITHMS, streams
from ponder.train.rl.gradient import forward, pack
from ponder.train.rl.trainer import RlTrainer
from ponder.train.rollout import Ask, RolloutConfig, Rollouts

SMALL = (
    "stage.sampling.prompts=4", "stage.sampling.samples=4", "stage.schedule.steps=4",
    "stage.checkpoint_steps=2", "stage.sample_steps=2", "stage.preflight=skip", "stage.mix.share=0.2",
)  # fmt: skip
KL = ("stage.algorithm.kl_weight=0.1",)
SHORTER = (
    "stage.sampling.max_tokens=40",
    "stage.sampling.first_max_tokens=36",
    "stage.sampling.length_steps=3",
)
PROBE = ("stage.pools.probe=3", "stage.pools.fresh=0.3", "stage.pools.refresh_steps=2")
OPTIONS = {
    "updates": ("stage.algorithm.updates=3",),
    "kl": KL,
    "k1 dual clip": (*KL, "stage.algorithm.kl=k1", "stage.algorithm.dual_clip=3.0"),
    "importance cap": ("stage.algorithm.importance_cap=2.0",),
    "overlong": ("stage.reward.overlong_penalty=0.5", "stage.reward.overlong_tokens=16"),
    "left out": ('stage.reward.overlong="left_out"',),
    "length": (*SHORTER, "stage.algorithm.name=grpo"),
    "rounds": ("stage.sampling.rounds=4", "stage.sampling.samples=2"),
    "probe": PROBE,
    "few problems": ("stage.problem_count=3", "stage.pools.refresh_steps=2"),
    "kinds": ("stage.problems.stories/S=1", "stage.micro_tokens=100"),
}  # fmt: skip
ALL_AT_ONCE = (
    "stage.algorithm.name=dapo", "stage.algorithm.updates=2", *KL, *SHORTER, *PROBE, "stage.sampling.rounds=3",
    "stage.reward.overlong_penalty=0.5",
)  # fmt: skip
CASES = {name: (f"stage.algorithm.name={name}",) for name in ALGORITHMS} | OPTIONS


class Stopped(Exception):
    pass


def check_resumed(start: Path, path: Path, options: tuple[str, ...]) -> list[dict[str, object]]:
    """A run stopped after step 3, its journal cut in the middle, ends as one never stopped; the steps' metrics."""
    given = [f"stage.start_from={start}", *SMALL, *options]
    main([RECIPES / "rl.toml"], given, run_dir=path / "whole", say=quiet)

    def stop(line: str) -> None:
        if line.startswith("step 3"):
            raise Stopped

    with pytest.raises(Stopped):
        main([RECIPES / "rl.toml"], given, run_dir=path / "cut", say=stop)
    journal = path / "cut" / "rollouts.jsonl"
    held = journal.read_bytes()
    journal.write_bytes(held[: len(held) // 2])
    main([], run_dir=path / "cut", resume=True, say=quiet)
    left, right = contents(path / "whole"), contents(path / "cut")
    assert set(left) == set(right)
    assert [name for name in left if left[name] != right[name]] == []
    lines = (path / "whole" / "metrics.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if "reward" in record]


def check_metrics(records: list[dict[str, object]], options: tuple[str, ...]) -> None:
    trained = [record for record in records if "loss" in record]
    assert trained, "nothing was ever learned from"
    assert all(record["grad_norm"] > 0 for record in trained)
    if "stage.algorithm.name=expert" in options:
        assert all(record["entropy"] > 0 for record in trained)
        return
    first = trained[0]
    if native_available()[0]:
        assert all(record["gap"] == 0 for record in trained)
    assert first["reference_kl"] < 1e-3 and trained[-1]["kl"] < 0.1
    if any("updates" in each for each in options):
        assert any(record["ratio_max"] > 1 > record["ratio_min"] for record in trained)
    elif native_available()[0]:
        assert all(record["ratio_max"] == record["ratio_min"] == 1 for record in trained)
        assert first["reference_kl"] == 0
    if KL[0] in options:
        assert any(record["reference_kl"] != 0 for record in trained)


def test_all_options_at_once_resume_to_the_bit(warm, tmp_path):
    check_metrics(check_resumed(warm, tmp_path, ALL_AT_ONCE), ALL_AT_ONCE)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_every_algorithm_and_option_resumes_to_the_bit(warm, tmp_path, name):
    check_metrics(check_resumed(warm, tmp_path, CASES[name]), CASES[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_killed(warm, tmp_path, name):
    options = (*SHORT, f"stage.algorithm.name={name}")
    assert check_killed(warm, tmp_path, random.Random(name), 1, options) >= 1


def with_row(warm: Path, folder: Path, tag: str, like: str) -> Path:
    """`warm` with the embedding of a tag made that of what it often says, so that it says the tag as often."""
    config, weights = start_weights(warm)
    tokenizer = ChatTemplate.from_folder(warm).tokenizer
    embedding, tag_id = weights["model.embed_tokens.weight"], tokenizer.id_of(tag)
    assert tag_id is not None
    embedding[tag_id] = embedding[tokenizer.encode(like, allow_special=True)[0]]
    export_folder(folder, config, weights, warm)
    return folder


TOOLS = (
    'stage.problems={"tools/S"=2.0, "tools/R"=1.0}', "stage.algorithm.name=grpo", "stage.sampling.max_tokens=32",
    "stage.sampling.max_turns=3", "stage.reward.overlong_penalty=0.5", "stage.reward.overlong_tokens=24",
)  # fmt: skip


def check_tool_tokens(trainer: RlTrainer) -> int:
    """Every sampled token of several turns is learned from, and nothing else; calls that did not fail."""
    groups = trainer.probe("tools/S", range(8))
    rows = streams(ALGORITHMS["grpo"], [group.answers for group in groups], max_tokens=32)
    answers = [answer for group in groups for answer in group.answers if answer.reward is not None]
    several = 0
    for row, answer in zip(rows, answers, strict=True):
        (batch,) = pack([row], 10_000, shares=False)
        places = [at for at, sampled in enumerate(answer.sampled) if sampled]
        assert batch.rows_N == [at - 1 for at in places]
        assert batch.targets_N == [answer.ids[at] for at in places]
        with torch.no_grad():
            logp_N = forward(trainer.network, batch, trainer.banned_ids)[0]
        recorded = [answer.logprobs[at] for at in places]
        if native_available()[0]:
            assert logp_N.tolist() == recorded  # so every ratio is exactly 1
        given = [i for i, s in zip(answer.ids, answer.sampled, strict=True) if not s]
        several += len(places) < places[-1] - places[0] + 1
        assert not set(trainer.banned_ids) & {answer.ids[at] for at in places}
        assert answer.num_calls == 0 or set(trainer.banned_ids) & set(given)
    assert several >= 3, "too few answers of several turns"
    return sum(answer.num_calls - answer.num_failed_calls for answer in answers)


def test_tools_over_several_turns(warm, tmp_path):
    caller = with_row(warm, tmp_path / "caller", "<tool_call>", "I was")
    records = check_resumed(caller, tmp_path, TOOLS)
    assert any(record["calls"] > 0 for record in records)
    check_metrics(records, TOOLS)
    trainer = trainer_of(recipe_of(caller, *SMALL, *TOOLS), tmp_path / "tools")
    check_tool_tokens(trainer)


@pytest.mark.slow
def test_tools_that_answer(tokenizer_folder, tmp_path):
    """A model that has learned to call: the calculator and the interpreter give results in mid-episode."""
    given = [
        f"stage.tokenizer={tokenizer_folder}", "stage.documents.mixture={tools=1.0}",
        "stage.schedule.steps=250", "stage.documents.max_len=400",
    ]  # fmt: skip
    made = main([RECIPES / "pretrain.toml"], given, run_dir=tmp_path / "sft", say=quiet)
    options = (*TOOLS, "stage.sampling.max_tokens=96", "stage.sampling.samples=8")
    records = check_resumed(made, tmp_path, options)
    check_metrics(records, options)
    trainer = trainer_of(recipe_of(made, *SMALL, *options), tmp_path / "tools")
    assert check_tool_tokens(trainer) >= 1


def test_what_only_a_template_writes_is_never_sampled(warm, tmp_path):
    """A model that likes to forge tool results cannot, its ratio is 1, and the forbidden row learns nothing."""
    tag = "<tool_response>"
    forger = with_row(warm, tmp_path / "forger", tag, "I was")
    template, (config, start) = ChatTemplate.from_folder(forger), start_weights(forger)
    banned, tag_id = banned_ids(template, config), template.tokenizer.id_of(tag)
    names = {template.tokenizer.decode([each]) for each in banned}
    assert names == {"<|endoftext|>", "<|im_start|>", "<tool_response>", "</tool_response>"}
    stage = recipe_of(forger, *SMALL, "stage.mix.share=0", "stage.algorithm.name=dr_grpo")
    trainer = trainer_of(stage, tmp_path / "run")
    groups = trainer.probe("decline/S", range(4))
    answers = [answer for group in groups for answer in group.answers]
    assert not any(tag_id in answer.ids for answer in answers)

    free = Rollouts(config, template, RolloutConfig(max_tokens=48))
    free.load(1, {name: value.numpy() for name, value in start.items()})
    asks = [Ask(generate("decline", "S", 0, n), n, 4) for n in range(4)]
    assert sum(tag_id in s.episode.ids for group in free.run(asks) for s in group) >= 3

    for answer in answers[:4]:
        ids = torch.tensor(answer.ids)
        view = torch.tensor([0, len(ids) - 1], dtype=torch.int32)
        rows = torch.arange(len(ids) - 1)
        logits = trainer.network(ids[:-1], rows, PackedView(view), rows).detach().double()
        logits[:, list(banned)] = -torch.inf
        truth = logits.log_softmax(-1).gather(1, ids[1:, None])[:, 0]
        for at, sampled in enumerate(answer.sampled[1:]):
            assert not sampled or answer.logprobs[at + 1] == pytest.approx(
                float(truth[at]), abs=1e-4
            )
    before = trainer.network.get_parameter("model.embed_tokens.weight").detach().clone()
    trainer.train(3)
    after = trainer.network.get_parameter("model.embed_tokens.weight").detach()
    assert torch.equal(before[tag_id], after[tag_id]) and not torch.equal(before, after)
    records = [record for record in trainer.run.records() if "ratio_max" in record]
    if native_available()[0]:
        assert all(r["ratio_max"] == r["ratio_min"] == 1 and r["gap"] == 0 for r in records)
