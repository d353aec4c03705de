"""engine/choice: what the engine knows of one answer to one request, and the door a request enters by.

A choice is a list of *known* ids: prompt, completion, and ids the thinking state forces. Whatever is
known but not yet computed is run in chunks; prefill, decode, forced closing and recompute after a
preemption are one thing.

    ids      0 ─────────── num_computed ─────────── len(ids)
             in the cache   to be run
    emitted  0 ─── prompt_len ─── num_emitted ─── len(ids)
                   given to the caller   known, not yet given
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass, field

from ponder.core.errors import ConfigError, PromptError
from ponder.core.types import SamplingParams, ThinkingParams, TokenLogprob, TokenRequest
from ponder.engine.cache import Lease
from ponder.engine.sampler import RowSampler
from ponder.engine.stops import StopMatcher
from ponder.engine.thinking import ThinkingState


@dataclass(slots=True, eq=False)
class Choice:
    """One of the n answers of a request."""

    request_id: str
    index: int
    order: int
    """Rank by arrival over all choices; the youngest is preempted first."""
    params: SamplingParams
    seed: int
    ids: array[int]
    prompt_len: int
    limit: int
    """Most completion tokens."""
    end_ids: frozenset[int]
    """The model's end ids, unless ignored; they end the text anywhere."""
    sampler: RowSampler
    thinking: ThinkingState
    stops: StopMatcher | None
    leader: Choice | None
    """The choice whose prompt pages this one waits for; None for the first."""
    lease: Lease = field(default_factory=Lease)
    num_computed: int = 0
    num_emitted: int = 0
    """Ids given to the caller; starts at `prompt_len`."""
    cached_tokens: int | None = None
    """Prompt tokens found in the cache at the first admission."""
    has_prefilled: bool = False
    """The prompt has been computed once, or nobody will compute it any more."""
    matched: str | int | None = None
    """The stop string or id that ended the text."""
    forced: list[int] = field(default_factory=list[int])
    """Places in `ids` of what the thinking state wrote, from `num_emitted` on; ascending."""
    scored: list[TokenLogprob] = field(default_factory=list[TokenLogprob])
    """Log-probabilities of the ids from `num_emitted` on."""

    @property
    def num_uncomputed(self) -> int:
        return len(self.ids) - self.num_computed

    @property
    def is_blocked(self) -> bool:
        """Its leader is still computing the prompt that both share."""
        return self.leader is not None and not self.leader.has_prefilled

    @property
    def num_completed(self) -> int:
        return len(self.ids) - self.prompt_len

    @property
    def num_ready(self) -> int:
        """Completion ids that are, or can now be, given to the caller: with their log-probabilities if asked."""
        if self.params.logprobs is None:
            return self.num_completed
        return self.num_emitted - self.prompt_len + len(self.scored)

    @property
    def num_skippable(self) -> int:
        """Leading ids that need not be run if the cache has them: no logits of theirs are wanted any more."""
        if self.params.logprobs is not None:
            return self.num_emitted - 1
        return len(self.ids) - 1

    def accept(self, token_id: int) -> None:
        """Append a sampled id, and whatever the thinking state makes follow it."""
        self.ids.append(token_id)
        if self.sampler.counts:
            self.sampler.observe(token_id)
        thinking = self.thinking
        is_answer = thinking.state == "answering"
        if token_id in self.end_ids or (is_answer and token_id in self.params.stop_ids):
            thinking.end_text()
            self.matched = token_id
            return
        if forced := thinking.advance(token_id):
            self.force(forced)
        if self.stops is not None and is_answer and thinking.state == "answering":
            self.matched = self.stops.feed(token_id)

    def force(self, ids: tuple[int, ...]) -> None:
        """Append ids that the thinking state demands and has counted."""
        self.forced.extend(range(len(self.ids), len(self.ids) + len(ids)))
        self.ids.extend(ids)
        for token_id in ids:
            self.sampler.observe(token_id)


def new_choice(
    request: TokenRequest,
    *,
    index: int,
    order: int,
    seed: int,
    limit: int,
    end_ids: frozenset[int],
    vocab_size: int,
    bytes_of: Callable[[int], bytes],
    leader: Choice | None,
) -> Choice:
    """A choice of a request that `check_request` has let in."""
    params = request.sampling
    choice = Choice(
        request_id=request.request_id,
        index=index,
        order=order,
        params=params,
        seed=seed,
        ids=array("i", request.prompt_ids),
        prompt_len=len(request.prompt_ids),
        limit=limit,
        end_ids=frozenset() if params.ignore_end_ids else end_ids,
        sampler=RowSampler(params, vocab_size, request.prompt_ids, index),
        thinking=ThinkingState(request.thinking, limit),
        stops=StopMatcher(params.stop, bytes_of) if params.stop else None,
        leader=leader,
        num_emitted=len(request.prompt_ids),
    )
    choice.force(choice.thinking.start())
    return choice


MAX_CHOICES = 128
MAX_TOP_LOGPROBS = 128
_RANGES: tuple[tuple[str, float, float], ...] = (
    ("temperature", 0, 100),
    ("top_k", 0, 1 << 31),
    ("top_p", 0, 1),
    ("min_p", 0, 1),
    ("presence_penalty", -100, 100),
    ("frequency_penalty", -100, 100),
    ("repetition_penalty", 0.01, 100),
    ("n", 1, MAX_CHOICES),
    ("max_tokens", 1, 1 << 31),
    ("logprobs", 0, MAX_TOP_LOGPROBS),
    ("seed", 0, (1 << 64) - 1),
)


def check_request(request: TokenRequest, vocab_size: int, context_len: int) -> None:
    """PromptError for a prompt that can never run, ConfigError for a number out of range."""
    num_prompt = len(request.prompt_ids)
    if not num_prompt:
        raise PromptError("the prompt has no tokens", "give at least one token id")
    if num_prompt >= context_len:
        raise PromptError(
            f"the prompt has {num_prompt} tokens; the context holds {context_len}, and at least "
            "one must be left for the answer",
            "shorten the prompt or load the model with a longer context",
        )
    _check_ids("prompt_ids", request.prompt_ids, vocab_size)
    params = request.sampling
    for name, low, high in _RANGES:
        value: float | None = getattr(params, name)
        if value is not None and not low <= value <= high:
            raise ConfigError(f"{name} {value} is outside {low} … {high}", f"give {name} in range")
    if 0 < params.temperature < 1e-3:
        raise ConfigError(
            f"temperature {params.temperature} is neither 0 nor at least 0.001", "0 means greedy"
        )
    if params.top_p == 0:
        raise ConfigError("top_p 0 keeps no token", "give a value above 0, or top_k 1")
    _check_ids("stop_ids", params.stop_ids, vocab_size)
    _check_ids("logit_bias", tuple(params.logit_bias), vocab_size)
    for token_id, bias in params.logit_bias.items():
        if not -1e4 <= bias <= 1e4:
            raise ConfigError(f"logit_bias {bias} of token {token_id} is outside -10000 … 10000")
    if "" in params.stop:
        raise ConfigError("a stop string is empty", "give at least one character")
    if request.thinking is not None:
        _check_thinking(request.thinking, vocab_size)


def _check_thinking(thinking: ThinkingParams, vocab_size: int) -> None:
    if not thinking.close_ids:
        raise ConfigError("close_ids is empty", "give the ids of the closing tag")
    for name in ("close_ids", "open_ids", "closing_ids", "answer_open_ids"):
        _check_ids(name, getattr(thinking, name), vocab_size)
    for name in ("budget", "answer_reserve"):
        value: int | None = getattr(thinking, name)
        if value is not None and value < 0:
            raise ConfigError(f"thinking {name} {value} is negative", "give 0 or more")


def _check_ids(name: str, ids: tuple[int, ...], vocab_size: int) -> None:
    if ids and not (min(ids) >= 0 and max(ids) < vocab_size):
        bad = next(i for i in ids if not 0 <= i < vocab_size)
        raise PromptError(f"{name} holds the id {bad}", f"ids are 0 … {vocab_size - 1}")
