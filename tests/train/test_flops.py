"""train/flops: what a rollout and a training step are said to cost, against adding up token by token."""

from __future__ import annotations

import pytest

from ponder.model.shapes import named_shape
from ponder.runs import RunFolder
from ponder.train.checkpoint import export_folder
from ponder.train.entry import read_recipe
from ponder.train.flops import num_parameters
from ponder.train.network import Network
from ponder.train.rl.algorithms import algorithm_of, streams
from ponder.train.rl.answers import Answer, Draw, Group
from ponder.train.rl.trainer import RlTrainer
from ponder.train.stages import start_weights

MICRO = named_shape("micro")
PROMPT, LENS = 40, (60, 100, 41)


@pytest.fixture(scope="module")
def trainer(tokenizer_folder, tmp_path_factory) -> RlTrainer:
    """With random weights; nothing is trained."""
    path = tmp_path_factory.mktemp("flops")
    export_folder(path / "model", MICRO, Network(MICRO, 0).state_dict(), tokenizer_folder)
    recipe = path / "rl.toml"
    recipe.write_text(
        f'[stage]\ntype = "rl"\nstart_from = "{path / "model"}"\n[stage.schedule]\nflops = 1e9\n'
        '[stage.problems]\n"decline/R" = 1\n[stage.mix]\nshare = 0.0\n'
    )
    stage = read_recipe([recipe]).stage
    config, start = start_weights(path / "model")
    return RlTrainer(stage, config, RunFolder.create(path / "run", ""), start)


def group() -> Group:
    answers = [
        Answer(
            ids=tuple(range(1, n + 1)),
            logprobs=(0.0,) * n,
            sampled=tuple(i >= PROMPT for i in range(n)),
            finish="stop", is_truncated=False, num_calls=0, num_failed_calls=0, thinking="", text="",
            verdict="right", reason="", reward=float(n > 50),
        )
        for n in LENS
    ]  # fmt: skip
    return Group(Draw("decline/R", 0), "", tuple(answers))


def forward(positions: range) -> float:
    """Each weight is multiplied and added once a token; each head meets every key and value up to it."""
    width = MICRO.num_layers * MICRO.num_heads * MICRO.head_dim
    weights = sum(p.numel() for p in Network(MICRO, 0).parameters())
    return sum(2.0 * weights + 4.0 * width * (at + 0.5) for at in positions)


def test_a_rollout_costs_its_prompt_once_and_every_further_token(trainer):
    trainer.progress.flops = 0.0
    trainer._spend_rollout([group()])
    truth = forward(range(PROMPT)) + sum(forward(range(PROMPT, n)) for n in LENS)
    assert trainer.progress.flops == pytest.approx(truth, rel=1e-12)
    lost = Group(Draw("decline/R", 0), "", ())
    trainer._spend_rollout([lost])
    assert trainer.progress.flops == pytest.approx(truth, rel=1e-12)


def test_an_update_costs_three_forwards_of_what_it_packs(trainer):
    rows = streams(algorithm_of("centred"), [group().answers], max_tokens=300)
    trainer.progress.flops = 0.0
    trainer._update(rows, 1.0)
    last = PROMPT - 1  # the prompt's last token is where the first answer token is predicted
    truth = 3 * (forward(range(last)) + sum(forward(range(last, n - 1)) for n in LENS))
    assert trainer.progress.flops == pytest.approx(
        truth, rel=2e-3
    )  # its mean context is rounded down


def test_the_control_is_over_three_times_nano():
    ratio = num_parameters(named_shape("control")) / num_parameters(named_shape("nano"))
    assert 3 < ratio < 3.5
