"""engine/scheduler: which ids of which choices run in the next step. Counts and pages only; no arrays, no clock.

Decode goes first, one id a choice; what is left of the step's tokens goes to longer runs (prefill, forced
closings, recompute) and to newcomers, oldest first. A choice is admitted when its known ids fit the pool
with a watermark to spare, not when its whole answer would: if the pool runs dry, the youngest gives its pages
back, keeps its tokens, and later recomputes what the prefix cache does not still hold. One choice alone always fits,
so the oldest always moves.
"""

from __future__ import annotations

from bisect import insort
from operator import attrgetter
from typing import NamedTuple

from ponder.engine.cache import PageCache
from ponder.engine.choice import Choice

_by_order = attrgetter("order")


class Slice(NamedTuple):
    """The next `num_ids` uncomputed ids of a choice."""

    choice: Choice
    num_ids: int
    num_wanted: int
    """How many of its last rows need logits: those that score or sample an id."""
    samples: bool
    """It ends in a newly sampled id."""


def slice_of(choice: Choice, count: int) -> Slice:
    """A slice as things stand; it holds for this step."""
    end, known = choice.num_computed + count, len(choice.ids)
    samples = end == known and known - choice.prompt_len < choice.limit
    if choice.params.logprobs is None:
        return Slice(choice, count, int(samples), samples)
    first = max(choice.num_computed, choice.num_skippable)
    return Slice(choice, count, max(0, end - first), samples)


class Scheduler:
    """Owns the two queues, both oldest first; every choice is in exactly one of them until `remove`."""

    def __init__(
        self, cache: PageCache, *, step_tokens: int, max_running: int, watermark: float
    ) -> None:
        self._cache = cache
        self._step_tokens = step_tokens
        self._max_running = max_running
        self._watermark_pages = int(watermark * cache.num_pages)
        self.waiting: list[Choice] = []
        self.running: list[Choice] = []
        self.num_preempted = 0
        """Preemptions so far."""

    def add(self, choice: Choice) -> None:
        self.waiting.append(choice)

    def remove(self, choice: Choice) -> None:
        """Take a choice out, wherever it is, and give its pages back."""
        queue = self.running if choice in self.running else self.waiting
        queue.remove(choice)
        choice.has_prefilled = True
        self._cache.release(choice.lease)

    def plan(self) -> list[Slice]:
        """The next step; pages for every slice are reserved. Empty only when there are no choices."""
        is_full = self._make_room()
        slices, left = self._share_tokens()
        if not is_full:
            self._admit(slices, left)
        return slices

    def _make_room(self) -> bool:
        """Reserve pages for all known ids of the running, oldest first; True if someone was preempted."""
        has_preempted = False
        page_len = self._cache.page_len
        index = 0
        while index < len(self.running):
            choice = self.running[index]
            lease, known = choice.lease, len(choice.ids)
            if known <= len(lease.pages) * page_len or self._cache.reserve(lease, known):
                index += 1
            else:
                self._preempt(self.running.pop())
                has_preempted = True
        return has_preempted

    def _preempt(self, choice: Choice) -> None:
        self._cache.release(choice.lease)
        choice.num_computed = 0
        self.num_preempted += 1
        insort(self.waiting, choice, key=_by_order)

    def _share_tokens(self) -> tuple[list[Slice], int]:
        """Slices for the running, decode before longer runs, and the tokens left over."""
        left = self._step_tokens
        slices: list[Slice] = []
        longer: list[Choice] = []
        for choice in self.running:
            if choice.num_uncomputed == 1:
                slices.append(slice_of(choice, 1))
                left -= 1
            else:
                longer.append(choice)
        for choice in longer:
            if left == 0:
                break
            count = min(left, choice.num_uncomputed)
            slices.append(slice_of(choice, count))
            left -= count
        return slices, left

    def _admit(self, slices: list[Slice], left: int) -> None:
        """Move the oldest waiting choices into the step while tokens, places and pages last."""
        index = 0
        while index < len(self.waiting) and left and len(self.running) < self._max_running:
            choice = self.waiting[index]
            if choice.is_blocked:
                index += 1
                continue
            if not self._seat(choice):
                break
            del self.waiting[index]
            insort(self.running, choice, key=_by_order)
            count = min(left, choice.num_uncomputed)
            slices.append(slice_of(choice, count))
            left -= count

    def _seat(self, choice: Choice) -> bool:
        """Attach the cached prefix and reserve the rest; False, and nothing held, if it does not fit."""
        cached = self._cache.attach(choice.lease, choice.ids, choice.num_skippable)
        missing = -(-len(choice.ids) // self._cache.page_len) - len(choice.lease.pages)
        spare = self._watermark_pages if self.running else 0
        if missing + spare > self._cache.num_available:
            self._cache.release(choice.lease)
            return False
        self._cache.reserve(choice.lease, len(choice.ids))
        choice.num_computed = cached
        if choice.cached_tokens is None:
            choice.cached_tokens = min(cached, choice.prompt_len)
        return True
