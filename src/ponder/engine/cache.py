"""engine/cache: which sequence holds which page, and which pages can be reused. Counts; no arrays.

A page holds the keys and values of `page_len` consecutive positions. A *full* page is registered
under the digest of all tokens up to its end, chained from page to page and salted with the version
of the weights, so equal digests mean equal contents (to the bit: the arithmetic contract).

    state of a page    where it is listed           who may write
    free               `_free`                      nobody
    private            one lease, refs 1            its sequence
    shared             `_by_digest`, refs ≥ 1       nobody: read only
    idle               `_by_digest` and `_idle`     nobody; evicted oldest first

A lease holds a whole chain from position 0 and gives it back from its end, so a page is idle only
when its children are, and stands behind them in `_idle`: eviction takes the oldest leaf.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field


def _pages() -> array[int]:
    return array("i")


@dataclass(slots=True)
class Lease:
    """The pages of one sequence, in order of position."""

    pages: array[int] = field(default_factory=_pages)
    num_shared: int = 0
    """Leading pages that are registered; the rest are private."""
    digests: list[bytes] = field(default_factory=list[bytes])
    """Digest of every full page of the sequence's tokens seen so far; survives `release`."""


class PageCache:
    """`attach` a cached prefix, `reserve` room, `register` what was computed, `release` it all."""

    def __init__(self, num_pages: int, page_len: int, weights_version: int = 0) -> None:
        self.num_pages = num_pages
        self.page_len = page_len
        self._refs = [0] * num_pages
        self._by_digest: dict[bytes, int] = {}
        self._digest_of: dict[int, bytes] = {}
        self._idle: OrderedDict[int, None] = OrderedDict()
        self._free = list(range(num_pages - 1, -1, -1))
        self._root = b""
        self.reset(weights_version)

    @property
    def num_available(self) -> int:
        """Pages that a reservation could get: the free and the idle."""
        return len(self._free) + len(self._idle)

    def reset(self, weights_version: int) -> None:
        """Forget every cached page. Only when no lease holds any."""
        held = self.num_pages - self.num_available
        assert held == 0, f"{held} pages are held while the cache is reset"
        self._by_digest.clear()
        self._digest_of.clear()
        self._free.extend(self._idle)
        self._idle.clear()
        self._root = hashlib.blake2b(b"weights %d" % weights_version, digest_size=16).digest()

    def attach(self, lease: Lease, ids: array[int], most: int) -> int:
        """Give an empty lease the longest cached prefix of at most `most` ids; returns its length in tokens."""
        assert not lease.pages, f"attach to a lease that holds {len(lease.pages)} pages"
        for index in range(most // self.page_len):
            page = self._by_digest.get(self._digest(lease, ids, index))
            if page is None:
                break
            self._hold(page)
            lease.pages.append(page)
        lease.num_shared = len(lease.pages)
        return lease.num_shared * self.page_len

    def reserve(self, lease: Lease, num_tokens: int) -> bool:
        """Make the lease long enough for `num_tokens`; False, and nothing taken, if pages lack."""
        missing = -(-num_tokens // self.page_len) - len(lease.pages)
        if missing > len(self._free) + len(self._idle):
            return False
        for _ in range(missing):
            page = self._free.pop() if self._free else self._evict()
            self._refs[page] = 1
            lease.pages.append(page)
        return True

    def register(self, lease: Lease, ids: array[int], num_computed: int) -> None:
        """Share the pages that are now full; a page whose twin is registered is swapped for it."""
        for index in range(lease.num_shared, num_computed // self.page_len):
            digest = self._digest(lease, ids, index)
            page = lease.pages[index]
            twin = self._by_digest.get(digest)
            if twin is None:
                self._by_digest[digest] = page
                self._digest_of[page] = digest
            else:
                self._hold(twin)
                lease.pages[index] = twin
                self._refs[page] = 0
                self._free.append(page)
            lease.num_shared = index + 1

    def release(self, lease: Lease) -> None:
        """Give every page back, the last position first."""
        for page in reversed(lease.pages):
            self._refs[page] -= 1
            if self._refs[page] == 0:
                if page in self._digest_of:
                    self._idle[page] = None
                else:
                    self._free.append(page)
        del lease.pages[:]
        lease.num_shared = 0

    def check_idle(self) -> None:
        """Assert that no page is held; cheap enough for every idle moment."""
        assert self.num_available == self.num_pages, (
            f"{self.num_pages - self.num_available} of {self.num_pages} pages are lost while idle"
        )

    def check(self, leases: Iterable[Lease]) -> None:
        """Assert every statement of the table above against the leases that are out."""
        held = [0] * self.num_pages
        for lease in leases:
            for index, page in enumerate(lease.pages):
                held[page] += 1
                is_shared = page in self._digest_of
                assert is_shared == (index < lease.num_shared), (page, index, lease)
                assert is_shared or self._refs[page] == 1, (page, self._refs[page])
        assert held == self._refs, (held, self._refs)
        listed = sorted([*self._free, *self._idle, *(p for p, refs in enumerate(held) if refs)])
        assert listed == list(range(self.num_pages)), listed
        assert {p: d for d, p in self._by_digest.items()} == self._digest_of, "digests differ"
        assert all(page in self._digest_of for page in self._idle), "an idle page has no digest"

    def _digest(self, lease: Lease, ids: array[int], index: int) -> bytes:
        digests = lease.digests
        while len(digests) <= index:
            start = len(digests) * self.page_len
            chain = hashlib.blake2b(digests[-1] if digests else self._root, digest_size=16)
            chain.update(ids[start : start + self.page_len].tobytes())
            digests.append(chain.digest())
        return digests[index]

    def _hold(self, page: int) -> None:
        if self._refs[page] == 0:
            del self._idle[page]
        self._refs[page] += 1

    def _evict(self) -> int:
        page, _ = self._idle.popitem(last=False)
        del self._by_digest[self._digest_of.pop(page)]
        return page
