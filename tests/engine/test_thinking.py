"""Budgets hold for every number, loops are cut and answered, and ordinary repetition is left alone."""

from __future__ import annotations

import itertools
import random
import re

import pytest
from engine_toys import HistoryModel, Letters, collect, drive
from hypothesis import given, settings
from hypothesis import strategies as st

from ponder.core.types import SamplingParams, ThinkingParams, TokenRequest
from ponder.engine import Engine, EngineConfig
from ponder.engine.loops import LoopDetector
from ponder.engine.thinking import ANSWER, TAG, THOUGHT, ThinkingState, answer_reserve

OPEN, CLOSE, NEWLINES, END = 60, 61, 62, 63
PROMPT = (1, 2, OPEN)
CONFIG = EngineConfig(page_len=64, num_pages=64)


def dawdler(history: list[int]) -> int:
    """Thinks for ever and never the same; once the tag is closed it answers 7, 8, 9 and ends."""
    if CLOSE not in history:
        return 10 + (len(history) * len(history) // 3) % 40
    said = [i for i in history[history.index(CLOSE) :] if i not in (CLOSE, NEWLINES)]
    return [7, 8, 9, END][min(len(said), 3)]


def looper(history: list[int]) -> int:
    return (10, 11, 12, 13)[len(history) % 4] if CLOSE not in history else dawdler(history)


def thinking_of(**changes) -> ThinkingParams:
    given_ = {"close_ids": (CLOSE,), "starts_open": True, "answer_open_ids": (NEWLINES,), **changes}
    return ThinkingParams(**given_)


def ask(model, thinking: ThinkingParams, max_tokens: int = 200, **sampling):
    params = SamplingParams(temperature=0, max_tokens=max_tokens, **sampling)
    engine = Engine(HistoryModel(model, end_ids=(END,)), Letters(), CONFIG)
    (answer,) = drive(engine, TokenRequest(PROMPT, params, thinking))
    return answer


def test_a_budget_of_b_tokens_is_never_exceeded_for_all_b():
    for budget, sentence, logprobs in itertools.product(range(41), (0, 1, 5), (None, 0)):
        closing = tuple(range(50, 50 + sentence))
        thinking = thinking_of(budget=budget, closing_ids=closing)
        answer = ask(dawdler, thinking, logprobs=logprobs)
        tag = answer.ids.index(CLOSE)
        assert tag <= budget, (budget, sentence)
        assert answer.end.usage.thinking_tokens == tag == budget
        assert answer.end.thinking_end == "budget"
        assert answer.ids[tag:] == [CLOSE, NEWLINES, 7, 8, 9, END]
        written = sentence if 2 * sentence <= budget else 0
        assert tuple(answer.ids[tag - written : tag]) == closing[:written]
        assert answer.forced == list(range(tag - written, tag + 2))
        assert answer.phases == ["thinking"] * (tag + 1) + ["answering"] * 5
        if logprobs is not None:
            assert [each.token_id for each in answer.logprobs] == answer.ids


def test_a_loop_is_cut_and_still_answered():
    answer = ask(looper, thinking_of(closing_ids=(50, 51)), max_tokens=4000)
    assert answer.end.thinking_end == "loop"
    assert answer.ids[-8:] == [50, 51, CLOSE, NEWLINES, 7, 8, 9, END]
    assert answer.forced == [len(answer.ids) - back for back in (8, 7, 6, 5)]
    assert answer.end.finish_reason == "stop"
    assert len(answer.ids) < 600
    unguarded = ask(looper, thinking_of(cut_loops=False, answer_reserve=0), max_tokens=2000)
    assert (unguarded.end.thinking_end, unguarded.end.finish_reason) == ("length", "length")


def test_thinking_that_closes_itself_says_so():
    model = lambda history: CLOSE if len(history) == 9 else dawdler(history)  # noqa: E731
    answer = ask(model, thinking_of(budget=20))
    assert answer.end.thinking_end == "self"
    assert answer.end.usage.thinking_tokens == 6
    tag_and_answer = b"".join(map(Letters().token_bytes, (CLOSE, 7))).decode()
    assert ask(model, thinking_of(budget=20), stop=(tag_and_answer,)).ids == answer.ids


def test_text_that_ends_inside_the_thinking_ended_by_itself():
    model = lambda history: END if len(history) == 9 else dawdler(history)  # noqa: E731
    answer = ask(model, thinking_of())
    assert (answer.end.finish_reason, answer.end.thinking_end) == ("stop", "self")
    assert answer.end.usage.thinking_tokens == 6


def test_the_reserve_leaves_room_for_the_answer_and_grows_with_the_limit():
    assert [answer_reserve(64, limit) for limit in (10, 128, 1024, 32768)] == [5, 64, 64, 2048]
    assert answer_reserve(0, 1000) == 0
    for limit in range(8, 40):
        answer = ask(dawdler, thinking_of(answer_reserve=4), max_tokens=limit)
        assert answer.end.thinking_end == "length"
        assert answer.end.finish_reason == "stop"
        assert answer.ids[-6:] == [CLOSE, NEWLINES, 7, 8, 9, END]


@pytest.mark.parametrize("logprobs", [None, 1])
def test_answer_now_acts_at_any_moment(logprobs):
    params = SamplingParams(temperature=0, max_tokens=100, logprobs=logprobs)
    for moment in range(12):
        config = EngineConfig(page_len=16, num_pages=16, step_tokens=2, max_running=2)
        engine = Engine(HistoryModel(dawdler, end_ids=(END,)), Letters(), config)
        answers = {}
        name = engine.add(
            TokenRequest((1, 2, 3, 4, 5, OPEN), params, thinking_of(closing_ids=(50,)))
        )
        for _ in range(moment):
            collect(engine.step(), answers)
        engine.answer_now(name)
        engine.answer_now(name)
        while not engine.is_idle:
            collect(engine.step(), answers)
        (answer,) = answers.values()
        assert answer.end.thinking_end == "user"
        assert answer.ids[-7:] == [50, CLOSE, NEWLINES, 7, 8, 9, END]
        assert len(answer.ids) == max(0, moment - 2) + 7
        assert logprobs is None or len(answer.logprobs) == len(answer.ids)


def test_a_model_whose_thinking_was_closed_cannot_reopen_it():
    reopener = lambda history: OPEN  # noqa: E731
    answer = ask(reopener, thinking_of(budget=5, open_ids=(OPEN,)), max_tokens=30)
    assert OPEN not in answer.ids[answer.ids.index(CLOSE) :]
    free = ask(reopener, thinking_of(starts_open=False, open_ids=(OPEN,), budget=3), max_tokens=30)
    assert free.ids[0] == OPEN
    assert free.ids.index(CLOSE) == 4
    assert OPEN not in free.ids[4:]
    state = ThinkingState(thinking_of(open_ids=(OPEN, 3), answer_reserve=0), 100)
    assert (state.banned_id(), state.answer_now()) == (None, (CLOSE, NEWLINES))
    assert state.advance(9) == () and state.banned_id() is None
    assert state.advance(OPEN) == () and state.banned_id() == 3


def test_a_model_that_closed_its_thinking_may_open_it_again_within_the_budget():
    state = ThinkingState(thinking_of(open_ids=(OPEN,), budget=4, answer_reserve=0), 100)
    for token_id in (8, 8, CLOSE, 9):
        assert state.advance(token_id) == ()
    assert (state.end, state.banned_id()) == ("self", None)
    assert state.advance(OPEN) == () and state.end is None
    assert (state.advance(8), state.advance(8)) == ((), (CLOSE, NEWLINES))
    assert (state.end, state.banned_id()) == ("budget", OPEN)


@given(
    st.lists(st.integers(1, 4), max_size=60),
    st.integers(1, 50),
    st.none() | st.integers(0, 30),
    st.sampled_from([(1,), (1, 2), (1, 1, 2)]),
    st.sampled_from([(), (3,), (3, 4)]),
    st.integers(0, 4),
    st.booleans(),
    st.integers(0, 20),
    st.integers(-1, 60),
)
@settings(max_examples=200, deadline=None)
def test_marks_agree_with_the_text(
    sampled, limit, budget, close, opening, sentence, starts_open, reserve, asked_at
):
    """An independent reading of the finished ids finds every tag and thought where the state marked them."""
    params = ThinkingParams(
        close, starts_open, opening, budget, (5,) * sentence, (6,), answer_reserve=reserve
    )
    state = ThinkingState(params, limit)
    ids = list(state.start())
    is_forced = bool(ids)
    for index, token_id in enumerate(sampled):
        if len(ids) >= limit:
            break
        if index == asked_at:
            forced = state.answer_now()
            is_forced = is_forced or bool(forced)
            ids.extend(forced)
        if len(ids) >= limit or state.banned_id() == token_id:
            break
        was_thinking = state.state == "thinking"
        forced = state.advance(token_id)
        is_forced = is_forced or (was_thinking and bool(forced))
        ids.extend((token_id, *forced))
        assert len(ids) == len(state.marks) <= limit
        if is_forced:
            assert state.state == "answering"
    assert budget is None or state.marks.count(THOUGHT) <= budget
    marks = bytes(state.marks)
    tags = "|".join("".join(map(str, tag)) for tag in (close, opening) if tag)
    for run in re.finditer(bytes((TAG,)) + b"+", marks):
        text = "".join(map(str, ids[run.start() : run.end()]))
        begun = [close[:length] for length in range(len(close))] if run.end() == limit else [()]
        ends = "|".join("".join(map(str, each)) for each in begun)
        assert re.fullmatch(f"(?:{tags})*(?:{ends})", text), text
    assert bool(marks) == bool(ids)
    assert set(marks) <= {THOUGHT, TAG, ANSWER}


def tokens_of(text: str) -> list[int]:
    """Single digits, words and signs: what a small reasoning tokenizer makes of it."""
    names: dict[str, int] = {}
    pieces = re.findall(r"\d|[A-Za-z]+|.|\n", text)
    return [names.setdefault(piece, len(names)) for piece in pieces]


def cut_at(text: str) -> int | None:
    detector = LoopDetector()
    return next((i for i, token_id in enumerate(tokens_of(text)) if detector.push(token_id)), None)


def column(a: str, b: str) -> str:
    lines, carry = [], 0
    for x, y in zip(reversed(a), reversed(b)):
        total = int(x) + int(y) + carry
        lines.append(f"{x} + {y} + {carry} = {total}, write {total % 10}, carry {total // 10}\n")
        carry = total // 10
    return "".join(lines)


def long_multiplication(a: str, b: str) -> str:
    lines = []
    for place, y in enumerate(reversed(b)):
        lines.append(f"row {place}: digit {y}\n")
        carry = 0
        for x in reversed(a):
            total = int(x) * int(y) + carry
            lines.append(
                f"{x} * {y} + {carry} = {total}, write {total % 10}, carry {total // 10}\n"
            )
            carry = total // 10
    return "".join(lines)


def search(numbers: list[int], target: int) -> str:
    lines: list[str] = []

    def visit(left: list[int]) -> None:
        if len(left) == 1:
            lines.append(f"{left[0]} is not {target}. back\n")
            return
        for i, j in itertools.combinations(range(len(left)), 2):
            rest = [n for k, n in enumerate(left) if k not in (i, j)]
            a, b = left[i], left[j]
            for sign, value in (("+", a + b), ("-", abs(a - b)), ("*", a * b)):
                lines.append(
                    f"try {a} {sign} {b} = {value}, left {' '.join(map(str, rest))} {value}\n"
                )
                visit([*rest, value])

    visit(numbers)
    return "".join(lines)


SUM = column("8264019375", "1537280644")
ORDINARY = {
    "column arithmetic": column("90817263544536271809" * 3, "12345678909876543210" * 3),
    "equal digits": column("1" * 20, "2" * 20),
    "round numbers": column("1" + "0" * 15, "2" + "0" * 15),
    "long multiplication": long_multiplication("73649182", "51829374"),
    "search": search([25, 26, 7, 3], 765),
    "search with equal numbers": search([9, 9, 4], 100),
    "counting": "".join(f"{i} is not prime, next {i + 1}\n" for i in range(500)),
    "checking twice": SUM + "Let me check.\n" + SUM + "Let me check again.\n" + SUM,
}
LOOPS = {
    "one sign": "!",
    "one word": "wait ",
    "a sentence": "Wait, let me reconsider the problem from the start, maybe I made an error. ",
    "a paragraph": SUM + "Wait, let me check this again from the start.\n",
}


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_repetition_is_no_loop(name):
    assert cut_at(ORDINARY[name]) is None


@pytest.mark.parametrize("name", LOOPS)
def test_a_true_loop_is_found(name):
    start = SUM + "So the answer should be near.\n"
    found = cut_at(start + LOOPS[name] * 800)
    unit = len(tokens_of(LOOPS[name]))
    assert found is not None
    assert len(tokens_of(start)) < found <= len(tokens_of(start)) + max(600, 5 * unit)


def test_a_loop_with_a_counter_is_found():
    rng = random.Random(1)
    story = "".join(
        f"Attempt {i}: wait, let me reconsider. We have 25 and 26 and 15 and we want 765. So 25 plus 26 is 51 "
        "and 51 times 15 is 765. Hmm, but maybe that is not right, because each number may be used only "
        f"once. So let me try again from the start and be careful {'this time' if rng.random() < 0.5 else 'now'}.\n"
        for i in range(300)
    )
    assert cut_at(story) is not None
