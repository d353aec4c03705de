"""agent/loop: the one episode loop. The model writes a turn; calls in it are run; their results are given; and so on.

    request ──► the engine ──► Reply ──► session.receive ──► calls? ──no──► Episode
       ▲                                                       │yes
       └──────────────── session.extend ◄── results ◄── tools ◄┘

`episode_steps` is the loop without an engine: it yields requests and is sent replies, so that one driver runs a
single episode on a `TokenEngine` and another runs hundreds on the pure engine. A single-turn answer is the case
with no tools.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from ponder.agent.episode import Episode, Reply, Segment
from ponder.core.errors import BackendError, PonderError, PromptError, ToolError
from ponder.core.protocols import Session, TokenEngine, TokenStream, Tool
from ponder.core.types import (
    FinishReason,
    Message,
    SamplingParams,
    ThinkingEnd,
    TokenRequest,
    ToolCall,
    Usage,
)

Steps = Generator[TokenRequest, Reply, Episode]
"""An episode under way: yields what it asks of the engine, is sent the reply, returns its record."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one episode may use."""

    max_tokens: int | None = None
    """Most tokens of one turn, thinking included."""
    total_tokens: int | None = None
    """Most tokens of the whole episode, prompt and results included; at most the engine's context."""
    max_turns: int = 16
    """Most turns of the model."""
    max_calls: int = 32
    """Most calls that are run; further ones are refused in words."""
    call_s: float = 10.0
    """Longest the loop waits for one call. A tool that runs programs must end them itself."""
    result_chars: int = 8_000
    """Most characters of one result; the rest is cut and the model is told."""


def turn_seed(seed: int | None, turn: int) -> int | None:
    """The sampling seed of a turn, of 63 bits: the episode's own for the first, others derived, so that no draw
    repeats."""
    if seed is None or turn == 0:
        return seed
    digest = hashlib.blake2b(b"turn %d %d" % (seed, turn), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def episode_steps(
    session: Session,
    tools: Sequence[Tool] = (),
    limits: Limits | None = None,
    sampling: SamplingParams | None = None,
) -> Steps:
    """The loop. A `ToolError`, an unknown tool and bad arguments become text for the model; what fails on our side
    ends the episode with `error`. PromptError when the prompt leaves no room under the limits."""
    limits, sampling = limits or Limits(), sampling or SamplingParams()
    log = _Log([Segment(session.ids)])
    desk = _Desk({tool.spec.name: tool for tool in tools}, limits)
    for turn in range(limits.max_turns):
        room = _room(limits, sampling, len(session.ids))
        if room is not None and room < 1:
            if turn == 0:
                raise PromptError(
                    f"the prompt's {len(session.ids)} tokens leave no room of {limits.total_tokens}",
                    "shorten the prompt or raise total_tokens",
                )
            return log.episode("length", desk)
        params = replace(sampling, seed=turn_seed(sampling.seed, turn), max_tokens=room)
        reply = yield session.request(params)
        message = session.receive(reply.ids, reply.finish)
        log.add(reply, message)
        if reply.finish != "stop" or not message.tool_calls:
            return log.episode(reply.finish, desk, reply.error)
        if turn + 1 == limits.max_turns:
            break
        try:
            results = [desk.run(call) for call in message.tool_calls]
        except BackendError as error:
            return log.episode("error", desk, str(error))
        log.messages.extend(results)
        log.segments.append(Segment(session.extend(results)))
    return log.episode("tool_calls", desk)


def run_episode(
    engine: TokenEngine,
    session: Session,
    tools: Sequence[Tool] = (),
    limits: Limits | None = None,
    sampling: SamplingParams | None = None,
) -> Episode:
    """One episode to its end. BackendError when the engine or a tool failed."""
    ((_, episode),) = run_episodes(engine, [episode_steps(session, tools, limits, sampling)])
    if episode.finish == "error":
        raise BackendError(episode.error)
    return episode


def run_episodes(
    engine: TokenEngine, episodes: Iterable[Steps], window: int = 64
) -> Iterator[tuple[int, Episode]]:
    """Each episode with its place in `episodes`, as they end; `window` of them run at a time.

    An episode that was lost has the finish `error`; BackendError when the engine as a whole broke. Leaving early
    aborts what runs.
    """
    coming = enumerate(episodes)
    running: deque[tuple[int, Steps, TokenStream]] = deque()
    try:
        while True:
            while len(running) < window and (fresh := next(coming, None)) is not None:
                running.append((*fresh, engine.submit(next(fresh[1]))))
            if not running:
                return
            index, steps, stream = running[0]
            reply = Reply.of(list(stream))
            running.popleft()
            try:
                request = steps.send(reply)
            except StopIteration as ended:
                yield index, ended.value
            else:
                running.append((index, steps, engine.submit(request)))
    finally:
        for _, steps, stream in running:
            stream.abort()
            steps.close()


def _room(limits: Limits, sampling: SamplingParams, used: int) -> int | None:
    """Tokens left for the next turn; None: whatever the context holds."""
    total = None if limits.total_tokens is None else limits.total_tokens - used
    rooms = [n for n in (sampling.max_tokens, limits.max_tokens, total) if n is not None]
    return min(rooms, default=None)


class _Log:
    """What has happened so far."""

    def __init__(self, segments: list[Segment]) -> None:
        self.segments = segments
        self.messages: list[Message] = []
        self._usage = Usage()
        self._end: ThinkingEnd | None = None

    def add(self, reply: Reply, message: Message) -> None:
        self.segments.extend(reply.segments())
        self.messages.append(message)
        old, new = self._usage, reply.usage
        self._usage = Usage(
            prompt_tokens=old.prompt_tokens or new.prompt_tokens,
            completion_tokens=old.completion_tokens + new.completion_tokens,
            thinking_tokens=old.thinking_tokens + new.thinking_tokens,
        )
        if self._end in (None, "self"):
            self._end = reply.thinking_end

    def episode(self, finish: FinishReason, desk: _Desk, error: str = "") -> Episode:
        return Episode(
            segments=tuple(self.segments),
            messages=tuple(self.messages),
            finish=finish,
            thinking_end=self._end,
            num_calls=desk.num_calls,
            num_failed_calls=desk.num_failed,
            usage=self._usage,
            error=error,
        )


class _Desk:
    """Runs one episode's calls; what goes wrong with a call is told to the model."""

    def __init__(self, tools: Mapping[str, Tool], limits: Limits) -> None:
        self._tools = tools
        self._limits = limits
        self.num_calls = 0
        self.num_failed = 0

    def run(self, call: ToolCall) -> Message:
        """The result of a call, as the message the model reads."""
        self.num_calls += 1
        try:
            if self.num_calls > self._limits.max_calls:
                raise ToolError(f"no more than {self._limits.max_calls} calls are allowed; answer")
            text = self._result(self._tool(call), _arguments(call))
        except ToolError as error:
            self.num_failed += 1
            text = f"error: {error}"
        most = self._limits.result_chars
        if len(text) > most:
            text = f"{text[:most]}\n[{len(text) - most} more characters were cut]"
        return Message("tool", text, tool_call_id=call.id, name=call.name)

    def _tool(self, call: ToolCall) -> Tool:
        if call.name not in self._tools:
            known = ", ".join(self._tools) or "none"
            raise ToolError(f"unknown tool {call.name!r}; the tools are: {known}")
        return self._tools[call.name]

    def _result(self, tool: Tool, arguments: dict[str, Any]) -> str:
        """What the tool says within its time. Its own thread does the work, and is left behind when it is late."""
        said: list[str | PonderError] = []

        def work() -> None:
            try:
                said.append(tool.call(arguments))
            except PonderError as error:
                said.append(error)

        thread = threading.Thread(target=work, name=f"tool-{tool.spec.name}", daemon=True)
        thread.start()
        thread.join(self._limits.call_s)
        outcome = said[0] if said else None
        if isinstance(outcome, str):
            return outcome
        if outcome is not None:
            raise outcome
        if thread.is_alive():
            raise ToolError(f"{tool.spec.name} took longer than {self._limits.call_s:g} s")
        raise BackendError(f"the tool {tool.spec.name} broke; its traceback stands above")


def _arguments(call: ToolCall) -> dict[str, Any]:
    try:
        value = json.loads(call.arguments)
    except (ValueError, RecursionError) as error:
        raise ToolError(f"the arguments are not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ToolError('the arguments are no JSON object; give one such as {"a": 1}')
    return cast(dict[str, Any], value)
