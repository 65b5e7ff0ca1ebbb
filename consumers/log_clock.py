"""A log's clock now, as far as its records show it. Pure; times in milliseconds.

The time of an idle partition goes on by the clock of the log, which also stamped the records: a worker whose own
clock is an hour ahead would close the sessions of everybody. A log on other machines cannot be asked for its time,
but each record says that it is at least the time of its append, and the worker's monotonic clock says how long ago
that was. So the answer is never later than the log's clock, and as close to it as records were read soon.
"""

from eventlog import Chunk

CLOCK_BACK_MS = 300_000  # a new record that is further behind says that the log's clock was put back


class LogClock:
    """The latest that the log's clock is known to have reached. `monotonic_ms` is any clock that is never set."""

    def __init__(self) -> None:
        self._ahead_ms: int | None = None  # of the log's clock before the monotonic one
        self._next: dict[int, int] = {}
        self._read_to_end: set[int] = set()

    def hear(self, chunk: Chunk, *, monotonic_ms: int) -> None:
        """Record what was just read of a partition."""
        partition = chunk.partition
        if chunk.records:
            newest = chunk.records[-1]
            # Read after all others, so appended since the read before.
            self.learn(newest.appended_ms, monotonic_ms=monotonic_ms, is_new=partition in self._read_to_end)
            self._next[partition] = newest.offset + 1
        if self._next.get(partition) == chunk.end_offset:
            self._read_to_end.add(partition)
        else:
            self._read_to_end.discard(partition)

    def learn(self, time_ms: int, *, monotonic_ms: int, is_new: bool = False) -> None:
        """Record that the log's clock was at `time_ms`; `is_new`: a moment ago."""
        ahead_ms = time_ms - monotonic_ms
        if (
            self._ahead_ms is None
            or ahead_ms > self._ahead_ms
            or (is_new and ahead_ms < self._ahead_ms - CLOCK_BACK_MS)
        ):
            self._ahead_ms = ahead_ms

    def forget(self, partition: int) -> None:
        """Record that a partition was released: others may read it meanwhile."""
        self._next.pop(partition, None)
        self._read_to_end.discard(partition)

    def now_ms(self, *, monotonic_ms: int) -> int | None:
        """Return the least time that the log's clock has reached; None if no record was read."""
        return None if self._ahead_ms is None else self._ahead_ms + monotonic_ms
