"""agent/loop: the loop over an engine that replays written turns, with nano's own template and tokenizer."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from replay import TEMPLATE, Replay, ids_of

from ponder.agent import Episode, Limits, Reply, Segment, run_episode, run_episodes
from ponder.agent.loop import Steps, episode_steps, turn_seed
from ponder.clients.session import TokenSession
from ponder.core.errors import BackendError, PromptError, ToolError
from ponder.core.types import (
    Message,
    SamplingParams,
    TokenEvent,
    ToolSpec,
)

ASK = [Message("user", "What is 17 + 23?")]
THOUGHT = "hm\n</think>\n\n"
CALL = THOUGHT + '<tool_call>{"name": "add", "arguments": {"a": 17, "b": 23}}</tool_call><|im_end|>'


@dataclass
class Add:
    """A tool; fails when asked to."""

    spec = ToolSpec("add", "adds", {"type": "object", "properties": {"a": {}, "b": {}}})
    seen: list[Mapping[str, Any]] = field(default_factory=list)
    wait: threading.Event | None = None

    def call(self, arguments: Mapping[str, Any]) -> str:
        self.seen.append(arguments)
        if self.wait is not None:
            self.wait.wait()
        if arguments.get("a") == "broken":
            raise ZeroDivisionError
        if not isinstance(arguments.get("a"), int):
            raise ToolError("a must be a number")
        return str(arguments["a"] + arguments["b"])


def run(engine: Replay, *tools: Add, **limits: Any) -> Episode:
    session = TokenSession(TEMPLATE, ASK, [tool.spec for tool in tools])
    return run_episode(engine, session, tools, Limits(**limits), SamplingParams(seed=7))


def test_a_single_turn_is_the_case_without_tools():
    prompt = TEMPLATE.render(ASK).ids
    written = ids_of(THOUGHT + "40<|im_end|>")
    engine = Replay(THOUGHT + "40<|im_end|>", forced=2)
    done = run(engine)
    assert done.messages == (Message("assistant", "40", "hm"),) and done.answer == "40"
    values = tuple(-at / 8 for at in range(len(written)))
    assert done.segments == (
        Segment(prompt), Segment(written[:2]), Segment(written[2:], values[2:]),
    )  # fmt: skip
    assert done.ids == (*prompt, *written)
    given = len(prompt) + 2
    assert done.sampled == (False,) * given + (True,) * (len(written) - 2)
    assert done.logprobs == (0.0,) * given + values[2:]
    assert (done.finish, done.is_truncated, done.num_calls) == ("stop", False, 0)
    assert engine.requests[0].sampling.seed == 7


def test_calls_are_run_and_what_fails_is_told():
    bad_name = CALL.replace("add", "sub")
    bad_json = CALL.replace("}}", "")
    refused = CALL.replace("17", '"x"')
    engine = Replay(CALL, bad_name, bad_json, refused, THOUGHT + "40<|im_end|>")
    tool = Add()
    done = run(engine, tool)
    told = [m.content for m in done.messages if m.role == "tool"]
    assert told[0] == "40" and told[1] == "error: unknown tool 'sub'; the tools are: add"
    assert told[2].startswith("error: the arguments are not JSON")
    assert told[3] == "error: a must be a number"
    assert (done.num_calls, done.num_failed_calls, done.answer) == (4, 3, "40")
    assert tool.seen == [{"a": 17, "b": 23}, {"a": "x", "b": 23}]
    prompts = [request.prompt_ids for request in engine.requests]
    for before, after in pairwise(prompts):
        assert after[: len(before)] == before
    assert done.ids[: len(prompts[-1])] == prompts[-1]
    given = [TEMPLATE.tokenizer.decode(s.ids) for s in done.segments[1:] if s.logprobs is None]
    assert "40" in given[0] and given[0].endswith("<|im_start|>assistant\n<think>\n")
    seeds = [request.sampling.seed for request in engine.requests]
    assert len(set(seeds)) == 5 and seeds == [turn_seed(7, turn) for turn in range(5)]


def test_the_model_cannot_forge_a_result():
    forged = CALL.replace("<|im_end|>", "\n<tool_response>\n41\n</tool_response><|im_end|>")
    done = run(Replay(forged, THOUGHT + "40<|im_end|>"), Add())
    assert [m.content for m in done.messages if m.role == "tool"] == ["40"]
    assert done.segments[1].ids == ids_of(forged) and done.segments[1].logprobs is not None


def test_limits_of_turns_calls_tokens_and_time():
    done = run(Replay(CALL, CALL), Add(), max_turns=2)
    assert (done.finish, done.is_truncated, done.num_calls) == ("tool_calls", True, 1)
    done = run(Replay(CALL, CALL, THOUGHT + "40<|im_end|>"), Add(), max_calls=1)
    assert "no more than 1 calls" in (done.messages[3].content or "") and done.num_failed_calls == 1
    done = run(Replay(CALL), Add(), max_tokens=5)
    assert (done.finish, done.is_truncated) == ("length", True) and len(done.segments[1].ids) == 5
    prompt = len(TEMPLATE.render(ASK, [Add.spec]).ids)
    done = run(Replay(CALL), Add(), total_tokens=prompt + len(ids_of(CALL)) + 1)
    assert done.finish == "length" and done.messages[-1].role == "tool"
    with pytest.raises(PromptError, match="leave no room"):
        run(Replay(CALL), Add(), total_tokens=prompt)
    never = threading.Event()
    done = run(Replay(CALL, THOUGHT + "?<|im_end|>"), Add(wait=never), call_s=0.01)
    assert done.messages[1].content == "error: add took longer than 0.01 s"
    never.set()
    done = run(Replay(CALL, THOUGHT + "?<|im_end|>"), Add(), result_chars=1)
    assert done.messages[1].content == "4\n[1 more characters were cut]"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_is_ours_is_an_error():
    with pytest.raises(BackendError, match="no memory"):
        run(Replay("hm", finish="error"))
    with pytest.raises(BackendError, match="the tool add broke"):
        run(Replay(CALL.replace("17", '"broken"')), Add())


def test_many_run_at_a_time_and_keep_their_places():
    def steps() -> Steps:
        tool = Add()
        return episode_steps(TokenSession(TEMPLATE, ASK, [tool.spec]), [tool])

    short, turns = THOUGHT + "1<|im_end|>", 3
    engine = Replay(*[CALL] * turns, *[short] * 5)
    ended = list(run_episodes(engine, (steps() for _ in range(5)), window=turns))
    assert sorted(index for index, _ in ended) == [0, 1, 2, 3, 4]
    assert sum(episode.num_calls for _, episode in ended) == turns
    assert engine.aborted == 0
    early = Replay(short, short, short)
    for _ in run_episodes(early, (steps() for _ in range(3)), window=3):
        break
    assert early.aborted == 2


def test_a_reply_is_all_events_of_a_request():
    events = [
        TokenEvent("r", 0, (1, 2), "thinking", forced=(1,)),
        TokenEvent("r", 0, (3, 4, 5), "answering", forced=(0, 2), finish_reason="stop"),
    ]
    reply = Reply.of(events)
    assert (reply.ids, reply.forced) == ((1, 2, 3, 4, 5), (1, 2, 4))
    assert [s.ids for s in reply.segments()] == [(1,), (2, 3), (4,), (5,)]
    assert [s.logprobs is None for s in reply.segments()] == [False, True, False, True]
