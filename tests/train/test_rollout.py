"""train/rollout: an episode is the same whatever runs beside it, in bits, and is what a plain forward scores."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_folder import write_toy

from ponder.agent import Episode
from ponder.core.errors import ConfigError
from ponder.core.types import Message
from ponder.engine import Engine, EngineConfig, EngineWorker
from ponder.model.config import read_model_config
from ponder.model.folder import FolderTensors, load_model
from ponder.model.ops import make_ops
from ponder.model.ops.scalar import float32_of
from ponder.model.weights import tensor_shapes
from ponder.tasks import generate
from ponder.text import ChatTemplate
from ponder.train.rollout import Ask, RemoteRollouts, RolloutConfig, Rollouts, judge

CONFIG = RolloutConfig(max_tokens=24, max_running=8, step_tokens=64, cache_mib=4)
PROBLEMS = [generate(family, "S", 0, 5) for family in ("arithmetic", "countdown", "equations")]
ASKS = [Ask(problem, 100 + index, 3) for index, problem in enumerate(PROBLEMS)]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy(tmp_path_factory.mktemp("rollout") / "toy")


def tensors_of(folder: Path, factor: float = 1.0) -> dict[str, np.ndarray]:
    config = read_model_config(folder)
    stored = FolderTensors(folder, config)
    return {
        name: float32_of(stored.tensor(name)) * np.float32(factor if "proj" in name else 1.0)
        for name in tensor_shapes(config)
    }


def rollouts(folder: Path, config: RolloutConfig = CONFIG, **more: Any) -> Rollouts:
    made = Rollouts(read_model_config(folder), ChatTemplate.from_folder(folder), config, **more)
    made.load(1, tensors_of(folder))
    return made


def test_an_episode_depends_on_weights_problem_seed_and_sample_alone(toy):
    groups = rollouts(toy).run(ASKS)
    ids = [[scored.episode.ids for scored in group] for group in groups]
    assert [len(group) for group in groups] == [3, 3, 3]
    assert len({each for group in ids for each in group}) == 9
    wide = rollouts(toy, replace(CONFIG, max_running=64, step_tokens=512))
    assert wide.run(ASKS) == groups
    assert wide.run(ASKS[::-1]) == groups[::-1]  # now with every prefix in the cache
    assert rollouts(toy, ops=make_ops("auto", threads=2)).run(ASKS[1:2]) == groups[1:2]
    assert wide.run([replace(ASKS[0], samples=2)]) == [groups[0][:2]]
    assert wide.run([replace(ASKS[0], seed=5)])[0][0].episode.ids != ids[0][0]


def test_logprobs_are_those_of_a_plain_forward(toy):
    config = replace(CONFIG, thinking_budget=6, max_tokens=90)
    model = load_model(toy, weights="fp32")
    for group in rollouts(toy, config).run(ASKS):
        for scored in group:
            episode = scored.episode
            truth = model.score(episode.ids)
            got = np.array(episode.logprobs, np.float32)
            sampled = np.array(episode.sampled)
            assert (got[1:][sampled[1:]] == truth[sampled[1:]]).all()
            assert sampled.any() and not got[~sampled].any()
            close = model_id(toy, "</think>")
            at = episode.ids.index(close)
            if episode.thinking_end == "budget":
                assert not sampled[at] and episode.is_truncated


def model_id(folder: Path, text: str) -> int:
    found = ChatTemplate.from_folder(folder).tokenizer.id_of(text)
    assert found is not None
    return found


def test_new_weights_leave_nothing_behind(toy):
    warm = rollouts(toy)
    warm.run(ASKS)
    warm.load(2, tensors_of(toy, 1.25))
    fresh = Rollouts(read_model_config(toy), ChatTemplate.from_folder(toy), CONFIG)
    with pytest.raises(ConfigError, match="no weights yet"):
        fresh.run(ASKS)
    fresh.load(7, tensors_of(toy, 1.25))
    assert warm.run(ASKS) == fresh.run(ASKS) != rollouts(toy).run(ASKS)


def test_finished_groups_are_told_and_a_broken_run_can_go_on(toy):
    runner = rollouts(toy)
    told: dict[int, Any] = {}
    groups = runner.run(ASKS, told.__setitem__)
    assert [told[index] for index in range(3)] == groups

    kept: dict[int, Any] = {}

    def dies(index: int, group: Any) -> None:
        kept[index] = group
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runner.run(ASKS, dies)
    assert len(kept) == 1
    left = [index for index in range(3) if index not in kept]
    again = runner.run([ASKS[index] for index in left])
    assert {**kept, **dict(zip(left, again, strict=True))} == dict(enumerate(groups))

    seen: list[int] = []

    def on_demand():
        """The next group is chosen by what was told before."""
        for ask in ASKS:
            yield ask
            seen.append(len(read))

    read: list[int] = []
    small = rollouts(toy, replace(CONFIG, max_running=1))
    assert small.run(on_demand(), lambda index, group: read.append(index)) == groups
    assert seen == [1, 2, 3]


def test_any_token_engine_gives_the_same(toy):
    model = load_model(toy, weights="fp32")
    template = ChatTemplate.from_folder(toy)
    engine = Engine(model, template.tokenizer, EngineConfig(cache_mib=4))
    told: list[int] = []
    with EngineWorker(engine) as worker:
        remote = RemoteRollouts(worker, template, CONFIG, context_len=512)
        groups = remote.run(ASKS, lambda index, group: told.append(index))
    mine = rollouts(toy).run(ASKS)
    assert sorted(told) == [0, 1, 2]
    for got, want in zip(groups, mine, strict=True):
        for a, b in zip(got, want, strict=True):
            assert (a.episode.segments, a.verdict, a.reward) == (
                b.episode.segments,
                b.verdict,
                b.reward,
            )


def test_a_lost_episode_has_no_reward_and_a_wrong_one_has_zero():
    problem = PROBLEMS[0]

    def scored(finish, said):
        return judge(problem, Episode((), (Message("assistant", said),), finish, error="no disk"))

    assert scored("stop", problem.answer).reward == 1.0
    assert scored("stop", "minus one zillion").reward == 0.0
    lost = scored("error", problem.answer)
    assert (lost.reward, lost.verdict.status) == (
        None,
        "undecided",
    ) and "no disk" in lost.verdict.reason
