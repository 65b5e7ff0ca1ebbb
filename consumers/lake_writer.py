"""The one connection of a worker that works the lake: load and commit."""

import threading
from collections.abc import Callable, Iterable
from datetime import datetime

import duckdb
import msgspec
import structlog

from consumers.decode import decode
from consumers.memory import give_back
from consumers.open_session import Limits
from consumers.partition import PartitionSessions
from consumers.share import Share
from eventlog import Chunk
from lake.catalog import location
from lake.changes import Changes
from lake.history import StoredEvents, read_open_sessions, read_young_ids
from lake.marks import Mark
from lake.schema import check_schema, open_to_write, partitions_of
from lake.tables import check_columns
from lake.transaction import Ledger, commit, read_ledger, record_halt
from schemas.faults import NotReady
from schemas.settings import Settings
from sessions.event import Bad, Event, Tracking

log = structlog.get_logger(__name__)

COMMITS_A_CONNECTION = 400


class Decoded(msgspec.Struct, frozen=True):
    """What a chunk of one partition says, in order of offset. Its bytes are let go: two batches are held at once.

    `end_offset` is where the log ends, `last` the last record, and `log_number` which log it was read from.
    Offsets are the lake's.
    """

    partition: int
    entries: list[Event | Tracking | Bad]
    end_offset: int
    last: Mark | None = None
    log_number: int = 1

    @classmethod
    def of(cls, chunk: Chunk, *, base: int = 0, log_number: int = 1) -> "Decoded":
        """Decode the records of a chunk of a log to whose offsets the lake adds `base`."""
        records = chunk.records
        last = Mark.of(records[-1], base=base) if records else None
        if base:  # only after a log was replaced
            records = [msgspec.structs.replace(record, offset=record.offset + base) for record in records]
        entries = [decode(record) for record in records]
        return cls(chunk.partition, entries, chunk.end_offset + base, last, log_number)


class Held(msgspec.Struct):
    """A partition this worker holds: its ledger as last written, its sessions, when the open ones were written.

    `last` is the last record written, `proven` one that was read before the log was last found to be the same;
    `log_id` is what the log calls itself.
    """

    ledger: Ledger
    sessions: PartitionSessions
    opened_at: float
    has_news: bool = True
    last: Mark | None = None
    proven: Mark | None = None
    log_id: str | None = None

    @property
    def next_in_log(self) -> int:
        """The next offset to read, as the log itself counts."""
        return self.ledger.next_offset - self.ledger.log_base


class LakeWriter:
    """The one connection of this process that works the lake; its calls block and take turns.

    Also with one whose task was cancelled: its thread goes on, and closing waits for it.

    It is opened anew after `COMMITS_A_CONNECTION`: each commit leaves about 0.1 MB in a connection (measured with
    ducklake 1.0), which only closing it frees.
    """

    def __init__(self, settings: Settings, *, limits: Limits) -> None:
        self._settings, self._limits = settings, limits
        self._place = location(settings)
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._commits = 0
        self._turn = threading.RLock()

    def connection(self) -> duckdb.DuckDBPyConnection:
        if self._connection is None:
            self._connection = open_to_write(
                self._place,
                memory=self._settings.lake_memory,
                transaction_timeout_s=self._settings.worker_transaction_timeout_s,
            )
        return self._connection

    def is_busy(self) -> bool:
        """Return whether a thread waits for the lake."""
        if self._turn.acquire(blocking=False):
            self._turn.release()
            return False
        return True

    def close(self) -> None:
        with self._turn:
            connection, self._connection, self._commits = self._connection, None, 0
            if connection is not None:
                connection.close()

    def check(self) -> None:
        """Raise NotReady where the lake has not been made, SchemaMismatch where it is of another schema."""
        with self._turn:
            check_columns(self.connection(), self._place)

    def load(self, partition: int, kept: Held | None) -> Held:
        """Return the state of a partition as its ledger says: the kept one if the ledger still fits, or anew.

        Raises NotReady where the partition has no tables, SchemaMismatch where the lake was migrated meanwhile.
        """
        with self._turn:
            return self._load(self.connection(), partition, kept)

    def _load(self, connection: duckdb.DuckDBPyConnection, partition: int, kept: Held | None) -> Held:
        if partition not in partitions_of(connection):
            raise NotReady(f"the lake has no tables for partition {partition}; run `playhead init`")
        connection.execute("BEGIN")
        try:
            check_schema(connection, self._place)
            ledger = read_ledger(connection, partition)
            if kept is not None and kept.ledger == ledger:
                return kept
            sessions = PartitionSessions(
                partition, next_offset=ledger.next_offset, watermark_ms=ledger.time_ms, limits=self._limits
            )
            opened = read_open_sessions(
                connection, partition=partition, open_as_of_offset=ledger.open_as_of_offset
            )
            sessions.restore(opened)
            young, young_tracking = read_young_ids(connection, partition=partition, floor_ms=ledger.time_ms)
            sessions.remember(sessions=young, tracking=young_tracking)
            give_back()
            return Held(ledger, sessions, 0.0)
        finally:
            connection.execute("ROLLBACK")

    def has_moved(self, held: Held) -> bool:
        """Return whether the ledger row is not as this worker left it, as after `--accept-gap` or `--new-log`."""
        with self._turn:
            return read_ledger(self.connection(), held.ledger.log_partition) != held.ledger

    def note_halt(self, held: Held, reason: str | None, *, now: datetime) -> None:
        """Write down why a partition is read no further, or (None) that it is read. Raises as `write` does."""
        with self._turn:
            if held.ledger.halted_reason != reason:
                held.ledger = record_halt(self.connection(), held.ledger, reason, now=now, place=self._place)

    def write(
        self,
        parts: list[tuple[Held, list[Decoded]]],
        *,
        now_ms: int | None,
        renew_open: Callable[[Held], bool],
        folding_again: Share,
    ) -> list[Held]:
        """Apply decoded records and commit what they change; return the partitions that were written.

        `now_ms` is what the log's clock has reached, where that is known: the time of idle partitions.
        """
        with self._turn:
            written = self._write(self.connection(), parts, now_ms, renew_open, folding_again)
            self._commits += bool(written)
            if self._commits >= COMMITS_A_CONNECTION:
                self.close()
            return written

    def _write(
        self,
        connection: duckdb.DuckDBPyConnection,
        parts: list[tuple[Held, list[Decoded]]],
        now_ms: int | None,
        renew_open: Callable[[Held], bool],
        folding_again: Share,
    ) -> list[Held]:
        work: list[tuple[Held, Changes, Mark | None, Ledger]] = []
        for held, decoded in parts:
            changes, last = self._changes(held, decoded, now_ms, folding_again)
            held.has_news = held.has_news or bool(changes.events or changes.closed or changes.folded_again)
            if held.has_news and renew_open(held):
                changes.open = held.sessions.take_open_rows()
            if changes.next_offset != held.ledger.next_offset or changes.closed or changes.open is not None:
                # Before anything was read of a log there is nothing to find it changed by.
                mark = held.proven if held.ledger.mark else last
                work.append((held, changes, last, held.ledger.after(changes, mark=mark, log_id=held.log_id)))
        if not work:
            return []
        commit(
            connection,
            [(held.ledger, changes, after) for held, changes, _, after in work],
            topic=self._settings.kafka_topic,
            place=self._place,
        )
        for held, changes, last, after in work:
            held.ledger = after
            held.last = last or held.last
            if changes.open is not None:
                held.has_news = False
        if any(changes.open is not None for _, changes, _, _ in work):
            give_back()
        return [held for held, *_ in work]

    def _changes(
        self, held: Held, decoded: Iterable[Decoded], now_ms: int | None, folding_again: Share
    ) -> tuple[Changes, Mark | None]:
        """Apply what was read; return what it changes, and the last record of it."""
        sessions = held.sessions
        entries: list[Event | Tracking | Bad] = []
        next_offset = sessions.next_offset
        end_offset = None
        last = None
        for part in decoded:
            read = part.entries
            if part.log_number != held.ledger.log_number:
                continue  # read ahead from a log that was replaced since
            if read and not read[0].offset <= next_offset <= read[-1].offset:
                continue  # read before the partition was positioned anew
            if read:
                # What was read ahead may fit, and the same be read once more after it.
                entries += read[next_offset - read[0].offset :]
                next_offset, last = read[-1].offset + 1, part.last
            end_offset = part.end_offset
        changes = sessions.apply(
            entries,
            next_offset=next_offset,
            lake=StoredEvents(self.connection(), partition=sessions.partition),
            share=folding_again,
        )
        if not entries and end_offset == next_offset and now_ms is not None:
            sessions.advance_watermark(now_ms)
        sessions.close_due(changes)
        return changes, last
