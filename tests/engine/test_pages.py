"""No page is lost or shared wrongly, and each choice ends once, whatever arrives, leaves or is preempted."""

from __future__ import annotations

from engine_toys import Answer, HistoryModel, Letters, checksum, collect, drive, greedy_truth
from hypothesis import given, settings
from hypothesis import strategies as st

from ponder.core.types import SamplingParams, ThinkingParams, TokenRequest
from ponder.engine import Engine, EngineConfig

PROMPTS = st.builds(
    lambda head, tail: (3,) * head + tuple(tail),
    st.integers(1, 40),
    st.lists(st.integers(1, 50), max_size=12),
)
THINKING = st.none() | st.builds(
    ThinkingParams,
    close_ids=st.sampled_from([(60,), (60, 61)]),
    starts_open=st.booleans(),
    open_ids=st.sampled_from([(), (62,)]),
    budget=st.none() | st.integers(0, 12),
    closing_ids=st.sampled_from([(), (58, 59)]),
    answer_open_ids=st.sampled_from([(), (57,)]),
    answer_reserve=st.integers(0, 8),
)
REQUESTS = st.builds(
    lambda prompt, n, limit, logprobs, thinking: TokenRequest(
        prompt, SamplingParams(temperature=0, n=n, max_tokens=limit, logprobs=logprobs), thinking
    ),
    PROMPTS, st.integers(1, 3), st.integers(1, 40), st.sampled_from([None, 0, 2]), THINKING,
)  # fmt: skip
ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), REQUESTS),
        st.tuples(st.just("step"), st.integers(1, 6)),
        st.tuples(st.just("abort"), st.integers(0, 9)),
        st.tuples(st.just("answer_now"), st.integers(0, 9)),
    ),
    max_size=25,
)


@given(ACTIONS, st.integers(4, 9), st.sampled_from([4, 7, 64]))
@settings(max_examples=80, deadline=None)
def test_random_lives_keep_every_page_and_end_once(actions, num_pages, step_tokens):
    config = EngineConfig(page_len=16, num_pages=num_pages, step_tokens=step_tokens, max_running=4)
    engine = Engine(HistoryModel(checksum, end_ids=(5,)), Letters(), config)
    answers: dict[tuple[str, int], Answer] = {}
    requests: dict[str, TokenRequest] = {}
    aborted: set[str] = set()

    def advance() -> None:
        collect(engine.step(), answers)
        engine.check_pages()

    for verb, value in actions:
        if verb == "add":
            if len(value.prompt_ids) < engine.context_len:
                requests[engine.add(value)] = value
        elif verb == "step":
            for _ in range(value):
                advance()
        elif value < len(requests):
            name = list(requests)[value]
            getattr(engine, verb)(name)
            aborted |= {name} if verb == "abort" else set()
            engine.check_pages()
    for _ in range(800):
        if engine.is_idle:
            break
        advance()
    assert engine.is_idle, "requests are stuck"
    expected = {(name, i) for name, request in requests.items() for i in range(request.sampling.n)}
    assert set(answers) == expected
    for (name, _), answer in answers.items():
        check_answer(requests[name], answer, name in aborted, engine.context_len)


def check_answer(request: TokenRequest, answer: Answer, is_aborted: bool, context_len: int) -> None:
    """Every id is what the history demands or what the thinking state may force."""
    end, params, thinking = answer.end, request.sampling, request.thinking
    limit = min(params.max_tokens or 0, context_len - len(request.prompt_ids))
    assert end.usage is not None
    assert end.usage.completion_tokens == len(answer.ids) <= limit
    assert end.finish_reason in (
        ("abort",) if is_aborted and not answer.ids else ("stop", "length", "abort")
    )
    assert is_aborted or end.finish_reason != "abort"
    if end.finish_reason == "length":
        assert len(answer.ids) == limit
    if end.finish_reason == "stop":
        assert answer.ids[-1] == end.stop == 5
    if params.logprobs is not None:
        assert [each.token_id for each in answer.logprobs] == answer.ids
    if thinking is not None and thinking.budget is not None:
        assert end.usage.thinking_tokens <= thinking.budget
    forced = (
        ()
        if thinking is None
        else (*thinking.closing_ids, *thinking.close_ids, *thinking.answer_open_ids)
    )
    banned = () if thinking is None else thinking.open_ids
    for index, token_id in enumerate(answer.ids):
        history = [*request.prompt_ids, *answer.ids[:index]]
        wanted = checksum(history)
        assert token_id in (wanted, *forced) or wanted in banned, (index, token_id, wanted)


def test_a_tiny_pool_preempts_and_changes_nothing():
    prompts = [tuple(range(1, 12 + i)) for i in range(6)]
    requests = [TokenRequest(p, SamplingParams(temperature=0, max_tokens=40)) for p in prompts]
    config = EngineConfig(page_len=16, num_pages=8, watermark=0)
    engine = Engine(HistoryModel(checksum), Letters(), config)
    answers = drive(engine, *requests)
    assert engine.num_preempted > 0
    for prompt, answer in zip(prompts, answers):
        assert answer.ids == greedy_truth(checksum, prompt, 40)


def test_a_prompt_that_fills_the_pool_runs_whatever_the_watermark():
    config = EngineConfig(page_len=16, num_pages=8, watermark=0.9)
    engine = Engine(HistoryModel(checksum), Letters(), config)
    prompts = [(i,) * 120 for i in (1, 2)]
    params = SamplingParams(temperature=0, max_tokens=20)
    answers = drive(engine, *(TokenRequest(prompt, params) for prompt in prompts))
    assert [each.ids for each in answers] == [greedy_truth(checksum, p, 8) for p in prompts]


def test_choices_share_the_pages_of_their_prompt():
    prompt = tuple(range(1, 51))
    params = SamplingParams(temperature=0, n=4, max_tokens=5)
    engine = Engine(HistoryModel(checksum), Letters(), EngineConfig(page_len=16, num_pages=32))
    first, *others = drive(engine, TokenRequest(prompt, params))
    assert first.end.usage.cached_tokens == 0
    assert [each.end.usage.cached_tokens for each in others] == [48, 48, 48]
    assert all(each.ids == first.ids for each in others)


def test_a_second_turn_finds_the_first_in_the_cache_until_the_weights_change():
    engine = Engine(HistoryModel(checksum), Letters(), EngineConfig(page_len=16, num_pages=32))
    prompt = tuple(range(1, 41))
    params = SamplingParams(temperature=0, max_tokens=30)
    (first,) = drive(engine, TokenRequest(prompt, params))
    (second,) = drive(engine, TokenRequest((*prompt, *first.ids, 9), params))
    assert second.end.usage.cached_tokens == 64
    engine.reset_cache(weights_version=1)
    (third,) = drive(engine, TokenRequest(prompt, params))
    assert third.end.usage.cached_tokens == 0
    assert third.ids == first.ids


def test_the_oldest_cached_leaf_is_evicted_first():
    engine = Engine(HistoryModel(checksum), Letters(), EngineConfig(page_len=16, num_pages=6))
    params = SamplingParams(temperature=0, max_tokens=1)

    def cached(prompt: tuple[int, ...]) -> int:
        (answer,) = drive(engine, TokenRequest(prompt, params))
        return answer.end.usage.cached_tokens

    old, new = (1,) * 33, (2,) * 33
    assert (cached(old), cached(new)) == (0, 0)
    assert cached((3,) * 40) == 0  # takes the two free pages and the older prompt's last one
    assert cached(new) == 32
    assert cached(old) == 16
