"""Which ids are certainly new, without a query of the lake. Pure."""

import heapq
from collections.abc import Callable, Iterable, Iterator

from lake.changes import YoungIds
from schemas.ids import BORN_MS_MAX

FILTER_BITS = 2**23
REMEMBERED = 200_000  # ids of closed sessions and tracking events kept in memory, to know what is new


class KnownIds:
    """Which ids were seen since the partition was loaded, so that most new ones need no look-up.

    An id that carries its time of birth is new unless it was remembered, where that time is after everything that
    is no longer remembered (`floor_ms`) and before everything that never was (`until_ms`). That holds whatever the
    clocks say by which the ids were made: it compares ids with ids alone.
    """

    def __init__(self, floor_ms: int) -> None:
        self.floor_ms = floor_ms
        self.until_ms = BORN_MS_MAX
        self._seen: set[str] = set()
        self._oldest: list[tuple[int, str]] = []

    def load(self, young: YoungIds, born_ms: Callable[[str], int | None]) -> None:
        """Take note of ids that the lake has, although they say that they were made after `floor_ms`."""
        self.until_ms = young.until_ms
        for id in young.ids:
            self.remember(id, born_ms(id))

    def is_certainly_new(self, id: str, born_ms: int | None) -> bool:
        """Return whether no record with this id was read before; if False, it must be looked up."""
        return born_ms is not None and self.floor_ms < born_ms < self.until_ms and id not in self._seen

    def remember(self, id: str, born_ms: int | None) -> None:
        """Record an id. The oldest are forgotten first, since an ingest may be years ahead."""
        if born_ms is None or born_ms <= self.floor_ms or id in self._seen:
            return
        self._seen.add(id)
        heapq.heappush(self._oldest, (born_ms, id))
        if len(self._seen) > REMEMBERED:
            self.floor_ms, oldest = heapq.heappop(self._oldest)
            self._seen.remove(oldest)


class DerivedIds:
    """Which session ids that carry no time were read: a Bloom filter, so what it has not seen is new.

    Its 1 MiB is taken when the first such id comes. With 500,000 of them, one new id in 500 is taken for a known
    one, and looked up in vain.
    """

    def __init__(self) -> None:
        self._filter: bytearray | None = None

    def add(self, ids: Iterable[str]) -> None:
        """Record derived session ids."""
        for id in ids:
            if self._filter is None:
                self._filter = bytearray(FILTER_BITS // 8)
            for bit in _bits(id):
                self._filter[bit >> 3] |= 1 << (bit & 7)

    def is_certainly_new(self, id: str) -> bool:
        """Return whether this derived id was never added; if False, it must be looked up."""
        seen = self._filter
        return seen is None or not all(seen[bit >> 3] >> (bit & 7) & 1 for bit in _bits(id))


def _bits(id: str) -> Iterator[int]:
    """Return the bits of a derived id: four parts of its MAC, which is as good as random."""
    return (int(id[at : at + 8], 16) % FILTER_BITS for at in (32, 40, 48, 56))
