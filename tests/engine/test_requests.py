"""What one request asks for is what it gets: ends, stops, penalties' bounds, and refusals that say what is allowed."""

from __future__ import annotations

import pytest
from engine_toys import VOCAB, HistoryModel, Letters, checksum, drive, greedy_truth
from hypothesis import given, settings
from hypothesis import strategies as st

from ponder.core.errors import ConfigError, PromptError, UserError
from ponder.core.types import SamplingParams, ThinkingParams, TokenRequest
from ponder.engine import Engine, EngineConfig
from ponder.engine.stops import StopMatcher

CONFIG = EngineConfig(page_len=16, num_pages=16)
TRUTH = greedy_truth(checksum, (1, 2, 3), 60)


def ask(end_ids: tuple[int, ...] = (), thinking: ThinkingParams | None = None, **sampling):
    engine = Engine(HistoryModel(checksum, end_ids), Letters(), CONFIG)
    params = SamplingParams(**{"temperature": 0, "max_tokens": 40, **sampling})
    (answer,) = drive(engine, TokenRequest((1, 2, 3), params, thinking))
    return answer


def test_the_limit_ends_with_length():
    answer = ask()
    assert answer.ids == TRUTH[:40]
    assert (answer.end.finish_reason, answer.end.thinking_end) == ("length", None)
    usage = answer.end.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.thinking_tokens) == (3, 40, 0)


def test_without_a_limit_the_context_ends_with_length():
    answer = ask(max_tokens=None)
    assert len(answer.ids) == 16 * 16 - 3
    assert answer.end.finish_reason == "length"


def test_end_ids_and_stop_ids_end_with_stop_and_are_recorded():
    wanted = TRUTH[10]
    at = TRUTH.index(wanted)
    for answer in (ask(end_ids=(wanted,)), ask(stop_ids=(wanted,))):
        assert answer.ids == TRUTH[: at + 1]
        assert (answer.end.finish_reason, answer.end.stop) == ("stop", wanted)
    assert ask(end_ids=(wanted,), ignore_end_ids=True).ids == TRUTH[:40]


def test_a_stop_string_across_tokens_ends_the_answer():
    text = b"".join(Letters().token_bytes(i) for i in TRUTH).decode()
    stop = text[20:25]
    answer = ask(stop=("nowhere", stop))
    assert answer.ids == TRUTH[: text.index(stop) + 5]
    assert (answer.end.finish_reason, answer.end.stop) == ("stop", stop)


def test_stops_do_not_act_inside_the_thinking():
    letter = Letters().token_bytes(TRUTH[4]).decode()
    thinking = ThinkingParams(close_ids=(60,), starts_open=True, budget=20, answer_reserve=0)
    answer = ask(thinking=thinking, stop=(letter,), stop_ids=(TRUTH[5],), max_tokens=200)
    assert answer.ids[:20] == TRUTH[:20]
    assert answer.ids[20] == 60
    assert answer.end.finish_reason == "stop"


STOPS = st.lists(st.text("ab\né", min_size=1, max_size=4), min_size=1, max_size=3).map(tuple)


@given(st.lists(st.text("ab\né", max_size=3), max_size=20), STOPS, st.booleans())
@settings(max_examples=150, deadline=None)
def test_stop_strings_match_as_on_the_whole_text(pieces, stops, splits_characters):
    raw = [piece.encode() for piece in pieces]
    if splits_characters:
        raw = [bytes([byte]) for piece in raw for byte in piece]
    matcher = StopMatcher(stops, raw.__getitem__)
    found = None
    for index in range(len(raw)):
        matched = matcher.feed(index)
        text = b"".join(raw[: index + 1]).lstrip(b"\n")
        here = [(text.find(s.encode()), len(s.encode()), s) for s in stops if s.encode() in text]
        assert matched == (min(here)[2] if here else None)
        found = matched
        if found:
            break


def test_prefill_in_chunks_reports_the_prompts_tokens_once():
    engine = Engine(
        HistoryModel(checksum),
        Letters(),
        EngineConfig(page_len=16, num_pages=32, step_tokens=5, max_running=2),
    )
    prompt = tuple(range(1, 60))
    params = SamplingParams(temperature=0, max_tokens=3, logprobs=0)
    (answer,) = drive(engine, TokenRequest(prompt, params))
    assert answer.ids == greedy_truth(checksum, prompt, 3)
    assert len(answer.logprobs) == 3


REFUSED = [
    ((), {}, PromptError, "the prompt has no tokens"),
    ((1,) * 256, {}, PromptError, "the prompt has 256 tokens; the context holds 256"),
    ((1, VOCAB), {}, PromptError, f"prompt_ids holds the id {VOCAB}"),
    ((-1,), {}, PromptError, "prompt_ids holds the id -1"),
    ((1,), {"temperature": -0.1}, ConfigError, "temperature -0.1 is outside"),
    ((1,), {"temperature": float("nan")}, ConfigError, "temperature nan is outside"),
    ((1,), {"temperature": 1e-6}, ConfigError, "neither 0 nor at least 0.001"),
    ((1,), {"top_p": 0}, ConfigError, "top_p 0 keeps no token"),
    ((1,), {"top_p": 1.5}, ConfigError, "top_p 1.5 is outside 0 … 1"),
    ((1,), {"top_k": -1}, ConfigError, "top_k -1 is outside"),
    ((1,), {"min_p": 2}, ConfigError, "min_p 2 is outside"),
    ((1,), {"n": 0}, ConfigError, "n 0 is outside"),
    ((1,), {"max_tokens": 0}, ConfigError, "max_tokens 0 is outside"),
    ((1,), {"logprobs": 999}, ConfigError, "logprobs 999 is outside"),
    ((1,), {"repetition_penalty": 0}, ConfigError, "repetition_penalty 0 is outside"),
    ((1,), {"seed": -1}, ConfigError, "seed -1 is outside"),
    ((1,), {"stop": ("",)}, ConfigError, "a stop string is empty"),
    ((1,), {"stop_ids": (VOCAB,)}, UserError, "stop_ids holds the id"),
    ((1,), {"logit_bias": {VOCAB: 1.0}}, UserError, "logit_bias holds the id"),
    ((1,), {"logit_bias": {1: float("inf")}}, ConfigError, "logit_bias inf of token 1"),
]


@pytest.mark.parametrize(("prompt", "sampling", "kind", "says"), REFUSED)
def test_refusals_say_what_was_given(prompt, sampling, kind, says):
    engine = Engine(HistoryModel(checksum), Letters(), CONFIG)
    with pytest.raises(kind, match=says.replace("…", ".")):
        engine.add(TokenRequest(prompt, SamplingParams(**sampling)))
    assert engine.is_idle


def test_thinking_without_a_closing_tag_is_refused():
    engine = Engine(HistoryModel(checksum), Letters(), CONFIG)
    with pytest.raises(ConfigError, match="close_ids is empty"):
        engine.add(TokenRequest((1,), thinking=ThinkingParams((), starts_open=True)))


@pytest.mark.parametrize(
    "sizes",
    [{"page_len": 48}, {"step_tokens": 8}, {"watermark": 1.0}, {"num_pages": 0}, {"max_queue": 0}],
)
def test_sizes_out_of_range_are_refused(sizes):
    with pytest.raises(ConfigError):
        EngineConfig(**sizes)


def test_a_request_id_in_use_is_refused_and_free_again_at_the_end():
    engine = Engine(HistoryModel(checksum), Letters(), CONFIG)
    request = TokenRequest((1,), SamplingParams(temperature=0, max_tokens=2), request_id="mine")
    engine.add(request)
    with pytest.raises(ConfigError, match="'mine' is in use"):
        engine.add(request)
    while not engine.is_idle:
        engine.step()
    assert engine.add(request) == "mine"
