"""core/types: the nouns every room shares. Plain frozen data; no arithmetic, no input or output.

Shape letters, used as suffixes of array names here and everywhere (`x_TD`, `rewards_PG`):

    B sequences   T tokens, all of them when packed   D model width   H query heads   K key/value heads
    C head size   F feed-forward width   V vocabulary   E experts   L layers   P prompts   G answers per prompt
    S sequences in one step   N rows whose logits are wanted
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

Role = Literal["system", "user", "assistant", "tool"]

FinishReason = Literal["stop", "length", "tool_calls", "abort", "error"]
"""`stop`: an end token or stop string; `length`: max_tokens or the context ended; `abort`: the caller left."""

ThinkingEnd = Literal["self", "budget", "loop", "user", "length"]
"""Why thinking ended: by itself, by its budget, by the loop cut, by "answer now", or with the whole output."""

Phase = Literal["thinking", "answering"]


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as a model sees it."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    """JSON Schema of the arguments object."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call that an assistant message asks for, e.g. `ToolCall("call_0", "add", '{"a": 1, "b": 2}')`."""

    id: str
    name: str
    arguments: str
    """JSON text of an object, as the model wrote it."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation, e.g. `Message("user", "What is 17 * 23?")`."""

    role: Role
    content: str | None = None
    reasoning: str | None = None
    """The thinking of an assistant turn, without its tags."""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    """For role `tool`: the call this is the result of."""
    name: str | None = None


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How one request is sampled. Order of application: penalties and bias, top_k, top_p, min_p, temperature."""

    temperature: float = 0.6
    """0 means greedy."""
    top_k: int = 0
    """Keep the k likeliest tokens; 0 keeps all."""
    top_p: float = 1.0
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: Mapping[int, float] = field(default_factory=dict[int, float])
    seed: int | None = None
    """None: drawn once when the request is submitted, and recorded in the result."""
    max_tokens: int | None = None
    """Limit on completion tokens, thinking included; None: whatever the context still holds."""
    stop: tuple[str, ...] = ()
    """Stop strings; they act in the answer only and are not part of the text."""
    stop_ids: tuple[int, ...] = ()
    """Token ids that end the answer, beside the model's own end ids."""
    ignore_end_ids: bool = False
    """True: the model's end ids do not stop generation (benchmarks)."""
    n: int = 1
    logprobs: int | None = None
    """None: none recorded; k ≥ 0: the sampled token's log-probability and the k likeliest alternatives."""


@dataclass(frozen=True, slots=True)
class ThinkingParams:
    """The state machine beside the sampler. Token ids come from the model's folder, through `text`."""

    close_ids: tuple[int, ...]
    """Ids of `</think>`; forced in this order when thinking must end."""
    starts_open: bool
    """True when the rendered prompt ends inside an open thinking tag."""
    open_ids: tuple[int, ...] = ()
    """Ids of `<think>`, for a model that opens its own tag; empty: it never does."""
    budget: int | None = None
    """Most tokens between the opening and the closing tag, the closing sentence included; None: no limit of its own."""
    closing_ids: tuple[int, ...] = ()
    """A sentence forced before the closing tag when the budget, a loop or the user ends thinking."""
    answer_open_ids: tuple[int, ...] = ()
    """Ids forced right after a forced closing tag, e.g. the two newlines QwQ writes there."""
    cut_loops: bool = True
    answer_reserve: int = 64
    """Tokens kept for the answer: thinking is cut when only this many are left under `max_tokens` or the context."""


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """Token ids in. The engine tokenizes nothing and renders nothing."""

    prompt_ids: tuple[int, ...]
    sampling: SamplingParams = SamplingParams()
    thinking: ThinkingParams | None = None
    request_id: str = ""
    """Chosen by the engine when empty."""


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """Raw model log-probability of one token (fp32, before temperature, penalties and bias)."""

    token_id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()
    """The likeliest alternatives, likeliest first; ties by lower id."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of one request."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    """Prompt tokens whose keys and values came from the prefix cache."""
    completion_tokens: int = 0
    thinking_tokens: int = 0
    """Tokens between the tags; part of `completion_tokens`."""


class TokenEvent(NamedTuple):
    """What one engine step gave one choice of one request. A tuple: hundreds are made in a step."""

    request_id: str
    choice: int
    """0 … n−1."""
    token_ids: tuple[int, ...]
    phase: Phase
    """Phase of these ids; the tags themselves count as `thinking`."""
    logprobs: tuple[TokenLogprob, ...] = ()
    finish_reason: FinishReason | None = None
    thinking_end: ThinkingEnd | None = None
    """Set on the last event when there was thinking."""
    stop: str | int | None = None
    """The stop string or id that matched, on the last event."""
    usage: Usage | None = None
    """Set on the last event."""
    seed: int = 0
    error: str = ""
    """For finish_reason `error`: what failed."""
    forced: tuple[int, ...] = ()
    """Indices into `token_ids` of ids that the thinking state wrote, not the model."""


DeltaKind = Literal["reasoning", "content", "tool_call"]


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of a streamed message; text pieces of one kind concatenate to the final message's field."""

    kind: DeltaKind
    text: str = ""
    tool_call: ToolCall | None = None
    """A complete call (kind `tool_call`)."""
    choice: int = 0


@dataclass(frozen=True, slots=True)
class Completion:
    """A finished answer. Ids and log-probabilities are the engine's record, never rebuilt from text."""

    message: Message
    finish_reason: FinishReason
    usage: Usage
    thinking_end: ThinkingEnd | None = None
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    seed: int = 0
    stop: str | int | None = None


VerdictStatus = Literal["right", "wrong", "undecided"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """A verifier's judgement; `undecided` is never scored as wrong."""

    status: VerdictStatus
    reason: str
    """One line a person can read, e.g. `765 = (25 + 26) * 15` or `not a number: 'seven'`."""


Band = Literal["S", "R", "O"]
"""S: solutions are shown in training; R: only answers are checked; O: never trained."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem of a task family, e.g. family `arithmetic`, question `What is 17 * 23?`, answer `391`."""

    family: str
    band: Band
    question: str
    answer: str
    """A right answer in canonical form; a verifier may accept others."""
    canonical: str
    """Canonical form of the problem: two problems with the same one are the same."""
    difficulty: int = 1
    data: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What the verifier needs beside the answer, e.g. Countdown's numbers and target."""
    structure: str = ""
    """What is hashed to keep training and held-out sets apart, e.g. a template or a target; empty: `canonical`."""
