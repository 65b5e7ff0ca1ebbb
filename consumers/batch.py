"""Decoded records until they are committed, and when a batch is full or due. Pure."""

from collections.abc import Mapping

import msgspec

from consumers.decode import decode
from eventlog import Chunk
from lake.marks import Mark
from sessions.event import Bad, Event, Tracking

BATCH_BYTES_MAX = 33_554_432
RECORDS_READ_MAX = 10_000  # at a time
INTERVALS_BEHIND = 5  # that a batch may take while the log already has all that it can hold


class DecodedChunk(msgspec.Struct, frozen=True):
    """What a chunk of one partition contains, in order of offset. Its bytes are let go: two batches are in memory.

    `end_offset` is where the log ends, `last` the last record, `log_number` which log it was read from, and
    `size_bytes` the size of the records, `first_ms` when the first was appended. Offsets are the lake's.
    """

    partition: int
    entries: list[Event | Tracking | Bad]
    end_offset: int
    last: Mark | None = None
    log_number: int = 1
    size_bytes: int = 0
    first_ms: int | None = None

    @classmethod
    def of(cls, chunk: Chunk, *, base: int = 0, log_number: int = 1) -> "DecodedChunk":
        """Decode the records of a chunk of a log to whose offsets the lake adds `base`."""
        records = chunk.records
        last = Mark.of(records[-1], base=base) if records else None
        size_bytes = sum([len(record.value) for record in records])
        first_ms = records[0].appended_ms if records else None
        if base:  # only after a log was replaced
            records = [msgspec.structs.replace(record, offset=record.offset + base) for record in records]
        entries = [decode(record) for record in records]
        return cls(chunk.partition, entries, chunk.end_offset + base, last, log_number, size_bytes, first_ms)


class Batch:
    """Decoded chunks that are committed together. Times are seconds of one monotonic clock.

    A commit is due at once after a quiet time, and at the interval under load. A worker that is so far behind that
    the log has the rest of the batch already fills it: what a transaction costs is then shared by more records.
    """

    def __init__(self, *, records_max: int, interval_s: float, began_s: float) -> None:
        self.by_partition: dict[int, list[DecodedChunk]] = {}
        self._interval_s = interval_s
        self._began_s = began_s
        self._left = records_max
        self._unread: dict[int, int] = {}  # records of the log after the last chunk, by partition
        self.records = 0
        self._size_bytes = 0

    def add(self, chunk: DecodedChunk) -> None:
        """Add the next chunk."""
        self.by_partition.setdefault(chunk.partition, []).append(chunk)
        self._left -= len(chunk.entries)
        self.records += len(chunk.entries)
        self._size_bytes += chunk.size_bytes
        self._unread[chunk.partition] = chunk.end_offset - chunk.last.offset - 1 if chunk.last else 0

    @property
    def records_wanted(self) -> int:
        """How many records the next read may return."""
        return min(self._left, RECORDS_READ_MAX)

    def wait_s(self, *, now_s: float, committed_s: float) -> float:
        """Return how long the next read may wait for records; the last commit was at `committed_s`."""
        return max(self._due_s(committed_s) - now_s, 0.0)

    def is_due(self, *, now_s: float, committed_s: float) -> bool:
        """Return whether the batch must be committed now."""
        return self._left <= 0 or self._size_bytes >= BATCH_BYTES_MAX or now_s >= self._due_s(committed_s)

    def _due_s(self, committed_s: float) -> float:
        until_s = self._began_s + self._interval_s
        if not self.records:
            return until_s
        if sum(self._unread.values()) >= self._left:
            return self._began_s + INTERVALS_BEHIND * self._interval_s
        return min(until_s, committed_s + self._interval_s)

    def is_stored(self, next_offsets: Mapping[int, int]) -> bool:
        """Return whether the lake, which goes on at these offsets, has every partition to where the log ended."""
        ends = {partition: chunks[-1].end_offset for partition, chunks in self.by_partition.items()}
        return (
            bool(ends)
            and ends.keys() == next_offsets.keys()
            and all(next_offsets[partition] >= end for partition, end in ends.items())
        )
