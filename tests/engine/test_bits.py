"""The arithmetic contract seen from the engine: how a sequence was run leaves no trace in its tokens or bits."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from engine_toys import TOY, Letters, drive, toy_model

from ponder.core.types import SamplingParams, TokenRequest
from ponder.engine import Engine, EngineConfig

NATIVE = pytest.param("native", marks=pytest.mark.native)
CASES = [
    (weights, ops, threads)
    for ops, counts in (("reference", (1,)), ("native", (1, 2)))
    for weights in ("int8", "fp32")
    for threads in counts
]
PARAMS = [
    pytest.param(*case, marks=pytest.mark.native) if case[1] == "native" else case for case in CASES
]

Record = list[tuple[tuple[int, ...], tuple[float, ...], tuple[tuple[tuple[int, float], ...], ...]]]


def requests() -> list[TokenRequest]:
    """32 prompts, some with a common start, sampled in four ways."""
    rng = random.Random(7)
    common = tuple(rng.randrange(1, 90) for _ in range(40))
    ways = (
        SamplingParams(temperature=0),
        SamplingParams(temperature=1),
        SamplingParams(temperature=0.7, top_p=0.9, min_p=0.01),
        SamplingParams(temperature=1, top_k=20, presence_penalty=0.5, repetition_penalty=1.1),
    )
    result: list[TokenRequest] = []
    for index in range(32):
        tail = tuple(rng.randrange(1, 90) for _ in range(rng.randrange(1, 12)))
        params = replace(ways[index % 4], seed=index, max_tokens=8, logprobs=2, ignore_end_ids=True)
        result.append(TokenRequest((common if index % 3 else ()) + tail, params))
    return result


def run(
    weights: str, ops: str, threads: int, config: EngineConfig, batch: list[TokenRequest]
) -> Record:
    engine = Engine(toy_model(weights, ops, threads), Letters(), config)
    answers = drive(engine, *batch)
    if config.watermark == 0:
        assert engine.num_preempted > 0, "the pool was meant to be too small"
    return record(answers)


def record(answers) -> Record:
    return [
        (
            tuple(answer.ids),
            tuple(each.logprob for each in answer.logprobs),
            tuple(each.top for each in answer.logprobs),
        )
        for answer in answers
    ]


@cache
def alone(weights: str, ops: str) -> Record:
    config = EngineConfig(page_len=256, num_pages=2)
    return [run(weights, ops, 1, config, [each])[0] for each in requests()]


@pytest.mark.parametrize(("weights", "ops", "threads"), PARAMS)
def test_tokens_and_logprobs_are_the_same_however_they_are_run(weights, ops, threads):
    batch = requests()
    truth = alone(weights, ops)
    whole = EngineConfig(page_len=32, num_pages=128)
    chunks = EngineConfig(page_len=16, num_pages=256, step_tokens=37, max_running=32)
    scarce = EngineConfig(page_len=16, num_pages=13, max_running=8, watermark=0)
    assert run(weights, ops, threads, whole, batch) == truth, "in a batch of 32"
    assert run(weights, ops, threads, chunks, batch) == truth, "in chunks"
    assert run(weights, ops, threads, scarce, batch) == truth, "after preemption"
    engine = Engine(toy_model(weights, ops, threads), Letters(), replace(whole, page_len=16))
    drive(engine, *batch[16:])
    again = drive(engine, *batch)
    assert sum(each.end.usage.cached_tokens for each in again) > 0
    assert record(again) == truth, "after a prefix hit"


@pytest.mark.native
def test_int8_native_answers_as_int8_reference():
    assert alone("int8", "native") == alone("int8", "reference")


@pytest.mark.parametrize("ops", ["reference", NATIVE])
@pytest.mark.parametrize("weights", ["int8", "fp32"])
def test_rollout_logprobs_are_those_that_scoring_gives(weights, ops):
    model = toy_model(weights, ops)
    for request, (ids, logprobs, _) in list(zip(requests(), alone(weights, ops)))[:6]:
        scores = model.score((*request.prompt_ids, *ids))
        expected = scores[len(request.prompt_ids) - 1 :]
        assert np.array_equal(np.array(logprobs, np.float32), expected)


def test_the_recorded_seed_gives_the_same_text_again():
    config = EngineConfig(page_len=16, num_pages=64)
    engine = Engine(toy_model("int8", "reference"), Letters(), config)
    params = SamplingParams(temperature=1, max_tokens=12, n=3)
    first = drive(engine, TokenRequest((1, 2, 3), params))
    second = drive(engine, TokenRequest((1, 2, 3), replace(params, seed=first[0].end.seed)))
    assert [each.ids for each in second] == [each.ids for each in first]
    assert len({tuple(each.ids) for each in first}) == 3
    assert TOY.max_positions >= engine.context_len
