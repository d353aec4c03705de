"""train/exports: a row carries its problem whole; TRL and `verifiers` give the verdicts that our verifier gives."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import json
from pathlib import Path

import pytest
from toy_folder import write_toy

from ponder.core.errors import ConfigError
from ponder.tasks import FAMILIES, generate, verify
from ponder.tasks.catalogue import TOOL_FAMILIES
from ponder.train.exports import COLUMN, judged, problem_of, problem_text, rows, text_of, trl_reward

PLAIN = sorted(set(FAMILIES) - set(TOOL_FAMILIES))
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "ponder_taskset.py"


@pytest.mark.parametrize("family", PLAIN)
def test_a_problem_from_a_row_is_judged_as_the_problem_itself(family):
    others = [generate(family, "S", 3, index).answer for index in range(20)]
    for index in range(10):
        problem = generate(family, "R", 7, index)
        back = problem_of(problem_text(family, "R", 7, index))
        assert back == problem
        for answer in (problem.answer, "", "1e9999999", "</think>", *others):
            assert verify(back, answer) == verify(problem, answer)
        assert verify(back, problem.answer).status == "right"


def test_the_answer_is_what_follows_the_thinking():
    problem = generate("arithmetic", "S", 0, 0)
    right, wrong = problem.answer, problem.answer + "7"
    for text, status in (
        (right, "right"),
        (f"<think>{wrong}</think>\n\n{right}", "right"),
        (f"{right}</think>{wrong}", "wrong"),
        (f"{wrong}</think>{right}</think>", "wrong"),
        (f"<think>{right}", "wrong"),
        ("", "wrong"),
    ):
        assert judged(problem, text).status == status, text


def test_messages_and_texts_get_the_same_reward():
    (row,) = rows("arithmetic", "S", 1)
    answer = problem_of(row[COLUMN]).answer
    done = [{"role": "assistant", "content": answer}]
    apart = [{"role": "assistant", "content": answer, "reasoning_content": "hm"}]
    given = [answer, done, apart, [], "0.5", [{"role": "assistant", "content": None}]]
    assert trl_reward(given, **{COLUMN: [row[COLUMN]] * 6}) == [1.0, 1.0, 1.0, 0.0, 0.0, 0.0]
    assert row["prompt"] == [{"role": "user", "content": problem_of(row[COLUMN]).question}]
    assert text_of(apart) == f"hm</think>{answer}"


def test_bad_input_is_said():
    with pytest.raises(ConfigError, match="no column 'ponder_problem'"):
        trl_reward(["1"], prompts=["?"])
    for text in ("{", "[]", '{"family": "x"}', "7"):
        with pytest.raises(ConfigError, match="the column 'ponder_problem' holds"):
            trl_reward(["1"], **{COLUMN: [text]})
    place = json.loads(problem_text("arithmetic", "S", 0, 0)) | {"index": 1}
    with pytest.raises(ConfigError, match="another version of Ponder"):
        problem_of(json.dumps(place))
    with pytest.raises(ConfigError, match="needs tools"):
        rows("tools", "S", 1)


@pytest.mark.slow
def test_trl_trains_with_it(tmp_path):
    """One real GRPO step on CPU: the column reaches the function, and what it returns reaches the advantage."""
    trl = importlib.import_module("trl")
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer

    toy = write_toy(tmp_path / "toy")
    tokenizer = AutoTokenizer.from_pretrained(toy)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    seen: list[tuple[list, list]] = []

    def reward(completions, **columns):
        given = trl_reward(completions, **columns)
        seen.append((completions, given))
        return [None, 1.0, *given[2:]]  # one undecided among the four

    settings = trl.GRPOConfig(
        output_dir=str(tmp_path / "out"), max_steps=1, per_device_train_batch_size=4,
        num_generations=4, max_completion_length=8, use_cpu=True, bf16=False, report_to=[],
        save_strategy="no", logging_steps=1,
    )  # fmt: skip
    trainer = trl.GRPOTrainer(
        AutoModelForCausalLM.from_pretrained(toy), reward_funcs=[reward], args=settings,
        train_dataset=Dataset.from_list(rows("arithmetic", "S", 4)), processing_class=tokenizer,
    )  # fmt: skip
    trainer.train()
    ((completions, given),) = seen
    assert len(completions) == len(given) == 4 and set(given) <= {0.0, 1.0}
    (log,) = [each for each in trainer.state.log_history if "reward" in each]
    assert log["reward"] == pytest.approx((1.0 + sum(given[2:])) / 3), "None is left out, not 0"


@pytest.mark.slow
def test_verifiers_scores_with_it():
    vf = importlib.import_module("verifiers.v1")
    spec = importlib.util.spec_from_file_location("ponder_taskset", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    taskset = module.PonderTaskset(
        module.PonderConfig(id="ponder-taskset", family="arithmetic", count=3)
    )
    tasks = list(taskset)
    assert [task.data.idx for task in tasks] == [0, 1, 2]
    problem = problem_of(tasks[0].data.ponder_problem)
    assert tasks[0].data.prompt == problem.question == generate("arithmetic", "R", 0, 0).question

    def scored(reply: str):
        task = vf.TraceTask(type="PonderTask", data=tasks[0].data)
        trace = vf.Trace(task=task, agent=vf.AgentInfo(config=vf.AgentConfig()))
        trace.root_reply = reply
        asyncio.run(tasks[0].score(trace))
        return trace

    assert scored(f"hm</think>{problem.answer}").reward == 1.0
    assert scored(problem.answer + "1").reward == 0.0
    assert "is not" in scored(problem.answer + "1").info["reason"]
