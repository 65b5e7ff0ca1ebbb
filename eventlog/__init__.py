"""The event log: what a log promises (this file), and the adapters that keep the promise.

A log is divided into partitions. A partition is a sequence of records, numbered by *offset*: dense, ascending,
never reused. A *position* is a partition and an offset, and means "the next record to read". `embedded/` is a
SQLite file for one machine, `kafka/` is Apache Kafka; one contract suite (`tests/eventlog/test_eventlog.py`) holds
both to this page.

Writing. `append()` returns when the record is durable, or raises within the log's own deadline. After
LogUnavailable the outcome is unknown: the record may yet be there, once or (when the caller tries again) twice;
whoever must not count twice tells records apart by the event id inside. Records appended to one partition by one
task, each after the other has returned, keep that order. A full queue raises LogUnavailable at once.

Reading. A reader is given partitions (assigned) and loses them again (revoked): one owner each at a time, as far
as the log can tell; only the owner's ledger can tell for certain. The reader asks its `Owner` where to start
each time a partition is assigned, and reads from there on. Nothing moves a position but the owner: a first
offset other than the one asked for raises LogGap, a log that ends before it raises LogTruncated, a record whose
bytes cannot be had (damaged, or packed in an unknown way) raises LogCorrupt; that partition is not read again
until `seek()`, the others go on. `Owner.release()` may be called while a read is under way, by
another task than the one that reads: what was read of a partition before its release is to be dropped after it.

Looking. A log can be lost and made again under its name; then its offsets begin again, and an owner's position
means nothing in it. Neither writer nor reader can always see that. So an owner remembers a record that it has
read, and compares: an `Inspector` shows single records, where each partition begins and ends, and what the log
calls itself. A reader that had to connect again asks its owner for every position again: it may be another log.
"""

from collections.abc import Collection, Mapping
from typing import Protocol

import msgspec


class Record(msgspec.Struct, frozen=True):
    """One record as read. `appended_ms` is the log's own clock, milliseconds since 1970, never a player's."""

    partition: int
    offset: int
    key: bytes
    value: bytes
    appended_ms: int


class Chunk(msgspec.Struct, frozen=True):
    """What one read found in one partition: records in offset order (maybe none), and where the log ends.

    `end_offset` is the offset that the next record appended will get, as known at the read; a chunk without
    records whose owner stands at `end_offset` means: read to the end.
    """

    partition: int
    records: list[Record]
    end_offset: int


class Appended(msgspec.Struct, frozen=True, gc=False):
    """What the log answers for one record: its offset, and the log's own clock when it took it, milliseconds.

    `appended_ms` is None where the log has no clock but that of the process that appends.
    """

    offset: int
    appended_ms: int | None = None


class View(msgspec.Struct, frozen=True):
    """What is seen of one partition: where it begins and ends, one record, and what its log calls itself.

    `first_offset` is the oldest record's, `end_offset` the one that the next record will get. `record` is the one
    that was asked for; None where there is none at that offset, not yet or not any more. `log_id` is None for a
    log that has no name of its own (Kafka).
    """

    first_offset: int
    end_offset: int
    record: Record | None
    log_id: str | None


class Inspector(Protocol):
    """Looks at the log on nobody's behalf: assigns nothing, moves no position. For one task at a time."""

    async def look(self, at: Mapping[int, int]) -> dict[int, View]:
        """Return a view of every partition, with the record at the offset that `at` names for it, if any.

        Raises NotReady where there is no log, LogUnavailable where it does not answer.
        """

    async def close(self) -> None:
        """Let go of the log."""


class Writer(Protocol):
    """Appends records. Safe for any number of tasks of one event loop."""

    @property
    def partitions(self) -> int:
        """Number of partitions of the log; may grow while running, as soon as the log is next heard of."""

    async def append(self, partition: int, *, key: bytes, value: bytes) -> Appended:
        """Append one record, and return where it is once it is durable.

        Raises TooLarge (the record can never be taken) or LogUnavailable (not taken in time, or queue full).
        """

    async def check(self) -> None:
        """Return if the log could take a record now; raises LogUnavailable within the deadline otherwise."""

    async def close(self) -> None:
        """Wait for what is being appended, within the deadline, and let go of the log."""


class Owner(Protocol):
    """Who reads: takes partitions, says where each is to be read from, and lets go of them when asked."""

    async def acquire(self, partition: int) -> int:
        """Take a partition that was just assigned, and return the offset to read next.

        What it raises comes out of `Reader.read`, and the next read asks again.
        """

    async def release(self, partitions: Collection[int]) -> None:
        """Finish what is under way for these partitions; after this returns they may belong to another."""


class Reader(Protocol):
    """Reads the partitions it is assigned. For one task of one event loop."""

    async def read(self, *, records_max: int, timeout_s: float) -> list[Chunk]:
        """Return a chunk for each partition held, as soon as there is any record or the time is over.

        A partition whose end is not known yet is left out. Holding none, it returns an empty list after the time.
        Raises LogGap, LogTruncated or LogCorrupt for one partition, which is not read again before `seek()`;
        LogUnavailable where the log does not answer.
        """

    def seek(self, partition: int, offset: int) -> None:
        """Read a partition that is held from `offset` on. Ignored where it is not held any more."""

    def pause(self, partition: int) -> None:
        """Read no more of this partition until `seek`, `reposition`, or until it is assigned again."""

    def reposition(self, partition: int) -> None:
        """Ask the owner again where to read this partition from, before the next read."""

    def clock_ms(self) -> int | None:
        """Return the log's own clock, milliseconds since 1970; None where only its records tell."""

    async def commit_offsets(self, positions: Mapping[int, int]) -> None:
        """Let the log's own tools know the offsets to read next. Best effort; nothing is ever read from it."""

    async def retain(self, *, older_than_ms: int, below: Mapping[int, int]) -> int:
        """Drop records appended before `older_than_ms` with offsets below those given; return how many.

        A log that has a retention of its own (Kafka) does nothing.
        """

    async def close(self) -> None:
        """Let go of all partitions, after the owner has released them."""
