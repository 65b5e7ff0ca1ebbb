"""The event log: what a log promises (this file), and the adapters that implement it.

A log is divided into partitions. A partition is a sequence of records, numbered by *offset*: dense, ascending,
never reused. A *position* is a partition and an offset, the next record to read. `embedded/` is a SQLite file for
one machine, `kafka/` is Apache Kafka; `test_looking.py`, `test_appending.py` and `test_reading.py` in
`tests/eventlog/` test both against this page.

Writing. `append()` returns when the record is durable, or raises within the log's deadline. After LogUnavailable
the outcome is unknown: the record may still be written, once or, if the caller tries again, twice; the event id
inside identifies duplicates. Records that one task appends to one partition, each after the previous has returned,
keep that order. A full queue raises LogUnavailable at once.

Reading. A reader is assigned partitions, and they are revoked again. Each has one owner at a time, as far as the
log knows; only the owner's ledger can be certain. The reader asks its `Owner` where to start each time a partition
is assigned. Only the owner moves a position: a first offset other than the one asked for raises LogGap, a log that
ends before it raises LogTruncated, and a record that cannot be read (damaged, or in an unknown compression) raises
LogCorrupt. That partition is then not read until `seek()`; the others are. `Owner.release()` may be called during
a read, by another task than the reader's: records of a partition that were read before its release must be dropped
after it.

Inspecting. A log can be lost and created again under its name. Its offsets then start over, and an owner's
position means nothing in it. Neither writer nor reader can always notice that, so an owner remembers a record that
it has read, and compares: an `Inspector` returns single records, the first and last offset of each partition, and
the id of the log. A reader that had to reconnect asks its owner for every position again, since it may be another
log.
"""

from collections.abc import Collection, Mapping
from typing import Protocol

import msgspec


class Record(msgspec.Struct, frozen=True, gc=False):
    """One record as read. `appended_ms` is by the log's clock, milliseconds since 1970, never a player's."""

    partition: int
    offset: int
    key: bytes
    value: bytes
    appended_ms: int


class Chunk(msgspec.Struct, frozen=True):
    """The result of one read of one partition: records in offset order (perhaps none), and the end of the log.

    `end_offset` is the offset that the next appended record will get, as known at the read. A chunk without
    records whose owner is at `end_offset` means that the partition is read to its end.
    """

    partition: int
    records: list[Record]
    end_offset: int


class Receipt(msgspec.Struct, frozen=True, gc=False):
    """The log's reply for one record: its offset, and its append time by the log's clock, milliseconds since 1970.

    `appended_ms` is None if the log has no clock other than that of the appending process.
    """

    offset: int
    appended_ms: int | None = None


class View(msgspec.Struct, frozen=True):
    """A view of one partition: its first and last offset, one record, and the id of the log.

    `first_offset` is the oldest record's, `end_offset` the one that the next record will get. `record` is the one
    that was asked for, or None if there is none at that offset, not yet or no longer. `log_id` is None for a log
    without an id (Kafka).
    """

    first_offset: int
    end_offset: int
    record: Record | None
    log_id: str | None


class Setup(msgspec.Struct, frozen=True):
    """How a log is set up, compared with the settings, and what this process may do with it.

    `partitions` is None if there is no log, or none that we may see. `mistakes` are sentences, each with one thing
    that is wrong and what to do. `no_append` and `no_read` say why this process may not append or read, and what
    to do; None: it may. `unknown` says what could not be found out, and why.
    """

    partitions: int | None
    mistakes: list[str] = []
    no_append: str | None = None
    no_read: str | None = None
    unknown: str | None = None


class Inspector(Protocol):
    """Looks at the log without assigning partitions or moving positions. For one task at a time."""

    async def look(self, at: Mapping[int, int]) -> dict[int, View]:
        """Return a view of every partition, with the record at the offset that `at` names for it, if any.

        Raises NotReady if there is no log, LogUnavailable if it does not answer.
        """

    async def owners(self) -> dict[int, str]:
        """Return who reads each partition now, as far as the log knows; partitions without a reader are left out.

        Raises as `look` does.
        """

    async def close(self) -> None:
        """Release the log."""


class Writer(Protocol):
    """Appends records. Safe for any number of tasks of one event loop."""

    @property
    def partitions(self) -> int:
        """Number of partitions of the log; it may grow while running, when the log is next contacted."""

    @property
    def waiting(self) -> int:
        """Number of appends that have no result yet."""

    async def append(self, partition: int, *, key: bytes, value: bytes) -> Receipt:
        """Append one record, and return its position once it is durable.

        Raises TooLarge if the log can never take the record, LogUnavailable if it did not in time or is full.
        """

    async def check(self) -> None:
        """Return if the log could take a record now. Raises LogUnavailable, within the deadline, if not."""

    async def close(self) -> None:
        """Wait for appends in progress, within the deadline, and release the log."""


class Owner(Protocol):
    """The owner of partitions: acquires them, decides where reading starts, and releases them when asked."""

    async def acquire(self, partition: int) -> int:
        """Acquire a partition that was just assigned, and return the offset to read next.

        `Reader.read` passes on what it raises, and the next read asks again.
        """

    async def release(self, partitions: Collection[int]) -> None:
        """Finish work in progress on these partitions; after this returns they may belong to another owner."""


class Reader(Protocol):
    """Reads the partitions it is assigned. For one task of one event loop."""

    async def read(self, *, records_max: int, timeout_s: float) -> list[Chunk]:
        """Return a chunk for each assigned partition, as soon as there is a record or the time is over.

        Partitions whose end is not known yet are left out. Without partitions, it returns an empty list after the
        time. Raises LogGap, LogTruncated or LogCorrupt for one partition, which is not read again before `seek()`,
        and LogUnavailable if the log does not answer.
        """

    def seek(self, partition: int, offset: int) -> None:
        """Read an assigned partition from `offset` on. Ignored if the partition is no longer assigned."""

    def pause(self, partition: int) -> None:
        """Stop reading this partition until `seek`, `reposition` or the next assignment."""

    def reposition(self, partition: int) -> None:
        """Ask the owner again where to read this partition, before the next read."""

    def clock_ms(self) -> int | None:
        """Return the log's clock, milliseconds since 1970; None if only its records show it."""

    async def commit_offsets(self, positions: Mapping[int, int]) -> None:
        """Commit offsets for the log's own tools. Best effort; Playhead never reads them."""

    async def retain(self, *, older_than_ms: int, below: Mapping[int, int]) -> int:
        """Drop records appended before `older_than_ms` with offsets below those given; return how many.

        A log with its own retention (Kafka) does nothing.
        """

    async def close(self) -> None:
        """Give up all partitions, after the owner has released them."""
