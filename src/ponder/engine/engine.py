"""engine/engine: the pure core. Nothing moves unless `step` is called; it knows no thread, clock or text."""

from __future__ import annotations

import os
from dataclasses import replace

from ponder.core.errors import BackendError, ConfigError
from ponder.core.protocols import Detokenizer
from ponder.core.types import TokenEvent, TokenRequest
from ponder.engine.cache import PageCache
from ponder.engine.choice import Choice, check_request, new_choice
from ponder.engine.config import EngineConfig, context_len_of, num_pages_of
from ponder.engine.deliver import Sampled, events_of, sample_slices, score_slices
from ponder.engine.finish import Finish, finish_of
from ponder.engine.runner import LanguageModel, Runner
from ponder.engine.scheduler import Scheduler, Slice


class Engine:
    """Token ids in, token events out: `add` requests, then `step` until `is_idle`."""

    def __init__(
        self,
        model: LanguageModel,
        detokenizer: Detokenizer,
        config: EngineConfig | None = None,
        weights_version: int = 0,
    ) -> None:
        self.config = EngineConfig() if config is None else config
        num_pages = num_pages_of(self.config, model.config, model.token_bytes)
        self.context_len = context_len_of(self.config, model.config, num_pages)
        self.vocab_size = model.config.vocab_size
        self._end_ids = frozenset(model.config.end_ids)
        self._detokenizer = detokenizer
        self._runner = Runner(model, num_pages, self.config.page_len)
        self._cache = PageCache(num_pages, self.config.page_len, weights_version)
        self._scheduler = Scheduler(
            self._cache,
            step_tokens=self.config.step_tokens,
            max_running=self.config.max_running,
            watermark=self.config.watermark,
        )
        self._choices: dict[str, list[Choice]] = {}
        self._outbox: list[TokenEvent] = []
        self._num_requests = 0
        self._order = 0

    @property
    def is_idle(self) -> bool:
        """No choice is alive and no event is left to fetch."""
        return not self._choices and not self._outbox

    @property
    def num_preempted(self) -> int:
        """Preemptions since the engine was made."""
        return self._scheduler.num_preempted

    def check_pages(self) -> None:
        """Assert that every page is held by exactly those who list it. Slow; for tests."""
        queues = (self._scheduler.waiting, self._scheduler.running)
        self._cache.check(choice.lease for queue in queues for choice in queue)

    def check(self, request: TokenRequest) -> None:
        """PromptError or ConfigError for a request that could not run. Safe from any thread."""
        check_request(request, self.vocab_size, self.context_len)

    def add(self, request: TokenRequest) -> str:
        """Take a request in; returns its id. Raises as `check` does, and for an id that is in use."""
        self.check(request)
        if request.request_id in self._choices:
            raise ConfigError(
                f"request id {request.request_id!r} is in use", "leave it empty to get a free one"
            )
        self._num_requests += 1
        if not request.request_id:
            request = replace(request, request_id=f"request-{self._num_requests}")
        params = request.sampling
        room = self.context_len - len(request.prompt_ids)
        seed = int.from_bytes(os.urandom(6), "little") if params.seed is None else params.seed
        choices: list[Choice] = []
        for index in range(params.n):
            self._order += 1
            choice = new_choice(
                request,
                index=index,
                order=self._order,
                seed=seed,
                limit=room if params.max_tokens is None else min(params.max_tokens, room),
                end_ids=self._end_ids,
                vocab_size=self.vocab_size,
                bytes_of=self._detokenizer.token_bytes,
                leader=choices[0] if choices else None,
            )
            choices.append(choice)
            self._scheduler.add(choice)
        self._choices[request.request_id] = choices
        return request.request_id

    def abort(self, request_id: str) -> None:
        """End what is left of a request; the next `step` gives its last events. No effect if it has ended."""
        for choice in list(self._choices.get(request_id, ())):
            self._end(choice, finish_of(choice, is_aborted=True))

    def answer_now(self, request_id: str) -> None:
        """End the thinking of every choice of a request; no effect on those that answer, or if it has ended."""
        for choice in self._choices.get(request_id, ()):
            choice.force(choice.thinking.answer_now())

    def fail(self, error: str) -> None:
        """End every request with finish reason `error`, after a step that raised; the next `step` gives the events."""
        for choices in list(self._choices.values()):
            for choice in list(choices):
                choice.scored.clear()
                self._end(choice, finish_of(choice, error=error))

    def reset_cache(self, weights_version: int) -> None:
        """Forget all cached prefixes because the weights have changed. BackendError unless idle."""
        if not self.is_idle:
            raise BackendError(
                f"weights version {weights_version} came while {len(self._choices)} requests run; "
                "finish or abort them first"
            )
        self._cache.reset(weights_version)

    def replace_model(self, model: LanguageModel, weights_version: int) -> None:
        """Go on with other weights of the same shape. BackendError unless idle."""
        self.reset_cache(weights_version)
        self._runner.replace_model(model)

    def step(self) -> list[TokenEvent]:
        """Run one batch and return what it gave, each choice's events in order. Empty work when idle."""
        slices = self._scheduler.plan()
        assert bool(self._choices) == bool(slices) and all(each.num_ids for each in slices), (
            f"{len(self._choices)} requests are alive, planned are {[s.num_ids for s in slices]} ids"
        )
        if slices:
            logits_NV = self._runner.run(slices)
            sampled = sample_slices(slices, logits_NV, self._runner.ops)
            score_slices(slices, sampled, self._runner)
            for each, new in zip(slices, sampled, strict=True):
                self._deliver(each, new)
        if not self._choices:
            self._cache.check_idle()
        events, self._outbox = self._outbox, []
        return events

    def _deliver(self, each: Slice, new: Sampled | None) -> None:
        choice = each.choice
        choice.num_computed += each.num_ids
        if choice.num_computed >= choice.prompt_len:
            choice.has_prefilled = True
        self._cache.register(choice.lease, choice.ids, choice.num_computed)
        if new is not None:
            choice.accept(new.token_id)
        finish = finish_of(choice)
        if finish is None:
            self._outbox.extend(events_of(choice, None))
        else:
            self._end(choice, finish)

    def _end(self, choice: Choice, finish: Finish | None) -> None:
        assert finish is not None, f"choice {choice.index} of {choice.request_id!r} has not ended"
        self._scheduler.remove(choice)
        self._outbox.extend(events_of(choice, finish))
        choices = self._choices[choice.request_id]
        choices.remove(choice)
        if not choices:
            del self._choices[choice.request_id]
