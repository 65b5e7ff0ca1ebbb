"""The worker's only connection that writes to the lake: load and commit."""

import contextlib
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import duckdb

from consumers.closing import Limits
from consumers.held_partition import HeldPartition, PartitionChanges
from consumers.memory import give_back
from consumers.partition import PartitionSessions
from lake.catalog import location
from lake.history import read_derived_ids, read_open_sessions, read_young_ids
from lake.schema import check_schema, open_to_write, partitions_of
from lake.snapshot import in_snapshot
from lake.tables import check_columns
from lake.transaction import Ledger, commit, read_ledger, record_halt
from schemas.faults import NotReady
from schemas.process_name import process_name
from schemas.settings import Settings

COMMITS_A_CONNECTION = 400


class LakeWriter:
    """The only connection of this process that writes to the lake; its calls block and take turns.

    The thread of a task that was cancelled goes on; closing waits for it. The connection is opened again after
    `COMMITS_A_CONNECTION`: each commit leaves about 0.1 MB in it (measured with ducklake 1.0), which only closing
    it frees.
    """

    def __init__(self, settings: Settings, *, limits: Limits) -> None:
        self._settings, self._limits = settings, limits
        self._place = location(settings)
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._commits = 0
        self._name = process_name()
        self._turn = threading.RLock()

    @contextlib.contextmanager
    def connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Lend the connection, opening it if necessary; other callers wait meanwhile."""
        with self._turn:
            if self._connection is None:
                self._connection = open_to_write(
                    self._place,
                    memory=self._settings.lake_memory,
                    transaction_timeout_s=self._settings.worker_transaction_timeout_s,
                )
            yield self._connection

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
        """Raise NotReady if there is no lake, SchemaMismatch if it has another schema."""
        with self.connection() as connection:
            check_columns(connection, self._place)

    def load(self, partition: int, kept: HeldPartition | None) -> HeldPartition:
        """Return the state of a partition as its ledger says: the kept one if the ledger still fits.

        Raises NotReady if the partition has no tables, SchemaMismatch if the lake was migrated meanwhile.
        """
        with self.connection() as connection:
            return self._load(connection, partition, kept)

    def _load(
        self, connection: duckdb.DuckDBPyConnection, partition: int, kept: HeldPartition | None
    ) -> HeldPartition:
        if partition not in partitions_of(connection):
            raise NotReady(f"the lake has no tables for partition {partition}; run `playhead init`")
        return in_snapshot(connection, lambda: self._read(connection, partition, kept))

    def _read(
        self, connection: duckdb.DuckDBPyConnection, partition: int, kept: HeldPartition | None
    ) -> HeldPartition:
        check_schema(connection, self._place)
        ledger = read_ledger(connection, partition)
        if kept is not None and kept.ledger == ledger:
            return kept
        sessions = PartitionSessions(
            partition, next_offset=ledger.next_offset, watermark_ms=ledger.time_ms, limits=self._limits
        )
        opened = read_open_sessions(connection, partition=partition, open_as_of_offset=ledger.open_as_of_offset)
        sessions.restore(opened)
        young, young_tracking = read_young_ids(connection, partition=partition, floor_ms=ledger.time_ms)
        derived = read_derived_ids(connection, partition=partition)
        sessions.remember(sessions=young, tracking=young_tracking, derived=derived)
        give_back()
        return HeldPartition(ledger, sessions)

    def has_moved(self, held: HeldPartition) -> bool:
        """Return whether the ledger row is not as this worker left it, as after `--accept-gap` or `--new-log`."""
        with self.connection() as connection:
            return read_ledger(connection, held.ledger.log_partition) != held.ledger

    def note_halt(self, held: HeldPartition, reason: str | None, *, now: datetime) -> None:
        """Record why a partition is halted, or (None) that it is not. Raises as `commit` does."""
        with self.connection() as connection:
            if held.ledger.halted_reason != reason:
                held.ledger = record_halt(connection, held.ledger, reason, now=now, place=self._place)

    def commit(self, work: Sequence[PartitionChanges]) -> list[Ledger]:
        """Write changes in one transaction, and return the ledger rows that it leaves.

        Raises as `lake.transaction.commit` does.
        """
        if not work:
            return []
        now = datetime.now(UTC)
        ledgers = [each.ledger_after(by=self._name, now=now) for each in work]
        rows = [(each.held.ledger, each.changes, after) for each, after in zip(work, ledgers, strict=True)]
        with self.connection() as connection:
            commit(connection, rows, topic=self._settings.kafka_topic, place=self._place)
            if any(each.changes.open is not None for each in work):
                give_back()
            self._commits += 1
            if self._commits >= COMMITS_A_CONNECTION:
                self.close()
        return ledgers
