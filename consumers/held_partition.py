"""A partition that a worker holds: its ledger, its sessions, and what a batch does to both."""

from collections.abc import Iterable
from datetime import datetime

import msgspec

from consumers.batch import DecodedChunk
from consumers.late_data import Lake
from consumers.partition import PartitionSessions
from consumers.share import Share
from lake.changes import Changes
from lake.marks import Mark
from lake.transaction import Ledger
from schemas.faults import LogCorrupt, LogGap, LogTruncated
from sessions.event import Bad, Event, Tracking

WATERMARK_MS = 5_000  # between two writes of a watermark that moves while nothing arrives
OPEN_SESSION_S = 0.0001  # between two writes for each open session, whose row costs a quarter of that


class HeldPartition(msgspec.Struct):
    """The state of one partition: its ledger as last written, and its sessions.

    `open_written_s` is when the open sessions were last written, by a monotonic clock, and `has_news` whether they
    changed since. `last` is the last record written, `proven` one that was read before the log was last found to
    be the same; `log_id` is what the log calls itself.
    """

    ledger: Ledger
    sessions: PartitionSessions
    open_written_s: float = 0.0
    has_news: bool = True
    last: Mark | None = None
    proven: Mark | None = None
    log_id: str | None = None

    def fold(
        self, chunks: Iterable[DecodedChunk], *, lake: Lake, log_now_ms: int | None, share: Share
    ) -> "PartitionChanges":
        """Apply what was read to the sessions, close those that are due, and return what that changes in the lake.

        `log_now_ms` is what the log's clock has reached, if that is known: the watermark of an idle partition. If
        the changes are not committed, the partition is to be loaded again.
        """
        sessions = self.sessions
        entries, next_offset, is_read_to_end, last = self._continued(chunks)
        changes = sessions.apply(entries, next_offset=next_offset, lake=lake, share=share)
        if not entries and is_read_to_end and log_now_ms is not None:
            sessions.advance_watermark(log_now_ms)
        sessions.close_due(changes)
        changes.watermark_ms = sessions.watermark_ms
        self.has_news = self.has_news or bool(changes.events or changes.closed or changes.folded_again)
        return PartitionChanges(self, changes, last)

    def _continued(
        self, chunks: Iterable[DecodedChunk]
    ) -> tuple[list[Event | Tracking | Bad], int, bool, Mark | None]:
        """Return the records not yet applied, the offset after them, whether the log ends there, and the last."""
        entries: list[Event | Tracking | Bad] = []
        next_offset = self.sessions.next_offset
        end_offset = None
        last = None
        for chunk in chunks:
            read = chunk.entries
            if chunk.log_number != self.ledger.log_number:
                continue  # read ahead from a log that was replaced since
            if read and not read[0].offset <= next_offset <= read[-1].offset:
                continue  # read before the partition was positioned again
            if read:
                # What was read ahead may fit, and the same be read once more after it.
                entries += read[next_offset - read[0].offset :]
                next_offset, last = read[-1].offset + 1, chunk.last
            end_offset = chunk.end_offset
        return entries, next_offset, end_offset == next_offset, last


class PartitionChanges(msgspec.Struct):
    """What a batch changes in one partition: rows to commit, and the state of the partition after that."""

    held: HeldPartition
    changes: Changes
    last: Mark | None

    @property
    def partition(self) -> int:
        return self.changes.partition

    def add_open_sessions(self, *, now_s: float, interval_s: float) -> None:
        """Add the rows of open sessions, if they have news and the interval since they were written is over."""
        if self.held.has_news and now_s - self.held.open_written_s >= interval_s:
            self.changes.open = self.held.sessions.take_open_rows()
            self.held.open_written_s = now_s

    def is_anything(self) -> bool:
        """Return whether there is something to commit."""
        changes, ledger = self.changes, self.held.ledger
        return bool(
            changes.next_offset != ledger.next_offset
            or changes.closed
            or changes.open is not None
            or self._has_waited()
        )

    def _has_waited(self) -> bool:
        """Return whether sessions are open, and the lake does not know how long nothing has come for them."""
        sessions, known = self.held.sessions, self.held.ledger.watermark
        if not sessions.open or not sessions.watermark_ms:
            return False
        return known is None or sessions.watermark_ms - known.timestamp() * 1000 >= WATERMARK_MS

    def ledger_after(self, *, by: str, now: datetime) -> Ledger:
        """Return the ledger row that the transaction leaves, which the worker `by` writes."""
        held = self.held
        # Before anything was read of a log there is nothing to find it changed by.
        mark = held.proven if held.ledger.mark else self.last
        return held.ledger.after(self.changes, by=by, now=now, mark=mark, log_id=held.log_id)

    def advance(self, ledger: Ledger) -> None:
        """Move the partition on to the ledger row that was committed."""
        self.held.ledger = ledger
        self.held.last = self.last or self.held.last
        if self.changes.open is not None:
            self.held.has_news = False


def open_interval_s(every: Iterable[HeldPartition], *, least_s: float) -> float:
    """Return the time between two writes of open sessions: the longer, the more of them there are."""
    return max(least_s, sum(len(held.sessions.open) for held in every) * OPEN_SESSION_S)


def as_in_lake(fault: LogGap | LogTruncated | LogCorrupt, base: int) -> LogGap | LogTruncated | LogCorrupt:
    """Return a fault with the lake's offsets instead of the log's own."""
    if isinstance(fault, LogGap):
        return LogGap(fault.partition, fault.asked + base, fault.found + base)
    if isinstance(fault, LogCorrupt):
        return LogCorrupt(fault.partition, fault.asked + base, fault.following + base, fault.why)
    return LogTruncated(fault.partition, fault.asked + base, fault.end + base)
