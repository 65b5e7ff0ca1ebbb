"""The worker's transaction: rows, sessions and ledger are written together or not at all.

Every transaction rewrites the ledger row of each partition that it writes for, even if the offset does not move.
That is the fence: two owners of one partition cannot both commit, because each first checks that the whole row is
as it left it, and concurrent rewrites conflict.
"""

import itertools
import re
import time
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

import duckdb
import msgspec
import pyarrow as pa

from lake import settled
from lake.catalog import Location, transaction
from lake.changes import Changes, OpenRows
from lake.disk import flush_new_files
from lake.marks import Mark
from lake.rows import days_of, ledger_rows, rows_of, session_rows
from schemas.faults import Fault, NotReady

SESSIONS_A_FILE = 10_000  # writing more at once takes more memory
SESSIONS_FETCHED = 2_000  # at a time: DuckDB allocates this many of each column in advance


class LedgerBroken(Fault):
    """A ledger does not have exactly one row, or rows of open sessions are missing: the worker must stop."""

    code = "ledger_broken"


class Fenced(Fault):
    """The ledger is not as this worker left it: the partition has, or had, another owner."""

    code = "fenced"


class Gap(msgspec.Struct, frozen=True):
    """Offsets that the log has lost: from `first_offset` up to, but not including, `next_offset`."""

    partition: int
    first_offset: int
    next_offset: int

    @classmethod
    def parse(cls, text: str) -> "Gap":
        """Read `partition:first-last`, both offsets included. Raises NotReady for anything else."""
        match = re.fullmatch(r"(\d+):(\d+)-(\d+)", text)
        if match is None or int(match[3]) < int(match[2]):
            raise NotReady(f"{text!r} is not a gap; write partition:first-last, such as 0:1000-1999")
        return cls(int(match[1]), int(match[2]), int(match[3]) + 1)


class LogChange(msgspec.Struct, frozen=True):
    """A replacement log that an operator accepts: its first offset and its id."""

    partition: int
    first_offset: int
    log_id: str | None
    why: str


class Ledger(msgspec.Struct, frozen=True):
    """One row of a ledger table, by the names of its columns. Offsets are "the next to read".

    Fields with a default were added by later schemas, with the same default.
    """

    log_partition: int
    first_offset: int
    next_offset: int
    inserted: int
    duplicates: int
    quarantined: int
    lost: int
    open_as_of_offset: int
    partition_time: datetime | None
    commits: int
    log_number: int = 1
    log_base: int = 0
    log_id: str | None = None
    mark_offset: int | None = None
    mark_appended_at: datetime | None = None
    mark_digest: str | None = None
    halted_at: datetime | None = None
    halted_reason: str | None = None
    watermark: datetime | None = None
    written_by: str | None = None
    written_at: datetime | None = None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "Ledger":
        """Return the ledger of a row, which may be of another schema."""
        return cls(**{name: row[name] for name in cls.__struct_fields__ if name in row})

    @property
    def mark(self) -> Mark | None:
        """The record by which the log is recognized; None before anything of it was read."""
        if self.mark_offset is None or self.mark_appended_at is None or self.mark_digest is None:
            return None
        return Mark(self.mark_offset, _ms(self.mark_appended_at), self.mark_digest)

    @property
    def time_ms(self) -> int:
        return _ms(self.partition_time) if self.partition_time else 0

    @property
    def next_in_log(self) -> int:
        """The next offset to read, as the log itself counts."""
        return self.next_offset - self.log_base

    def after(
        self, changes: Changes, *, by: str, now: datetime, mark: Mark | None = None, log_id: str | None = None
    ) -> "Ledger":
        """Return the row after the transaction of these changes, which the worker `by` writes.

        `mark` is a newer record by which the log is recognized, `log_id` its id; None: as before.
        """
        read = _moment(changes.read_ms) or self.partition_time
        is_read_on = changes.next_offset > self.next_offset
        return msgspec.structs.replace(
            self,
            next_offset=changes.next_offset,
            inserted=self.inserted + len(changes.events) + len(changes.tracking),
            duplicates=self.duplicates + len(changes.duplicates),
            quarantined=self.quarantined + len(changes.bad),
            open_as_of_offset=self.open_as_of_offset if changes.open is None else changes.open.as_of_offset,
            partition_time=read,
            watermark=_moment(changes.watermark_ms) or self.watermark,
            commits=self.commits + 1,
            log_id=log_id or self.log_id,
            halted_at=None if is_read_on else self.halted_at,
            halted_reason=None if is_read_on else self.halted_reason,
            written_by=by,
            written_at=now,
        ).marked(mark or self.mark)

    def marked(self, mark: Mark | None) -> "Ledger":
        """Return the row with this mark, or without one."""
        return msgspec.structs.replace(
            self,
            mark_offset=mark.offset if mark else None,
            mark_appended_at=datetime.fromtimestamp(mark.appended_ms / 1000, UTC) if mark else None,
            mark_digest=mark.digest if mark else None,
        )


def _moment(ms: int) -> datetime | None:
    return datetime.fromtimestamp(ms / 1000, UTC) if ms else None


def _ms(moment: datetime) -> int:
    # Rounded, not truncated: one millisecond less would make ids of that millisecond count as new.
    return round(moment.timestamp() * 1000)


def read_ledger(connection: duckdb.DuckDBPyConnection, partition: int) -> Ledger:
    """Return the ledger row of a partition. Raises LedgerBroken if there is not exactly one."""
    (ledger,) = read_ledgers(connection, [partition])
    return ledger


def read_ledgers(connection: duckdb.DuckDBPyConnection, partitions: Collection[int]) -> list[Ledger]:
    """Return the ledger rows of partitions, by one statement. Raises as `read_ledger` does."""
    columns = ", ".join(Ledger.__struct_fields__)
    each = (f"SELECT {partition}, {columns} FROM ledger_p{partition:03}" for partition in partitions)
    rows: dict[int, list[Ledger]] = {partition: [] for partition in partitions}
    for partition, *row in connection.execute(" UNION ALL ".join(each)).fetchall():
        rows[partition].append(Ledger(*row))
    for partition, found in rows.items():
        if len(found) != 1:
            raise LedgerBroken(f"ledger_p{partition:03} has {len(found)} rows; run `playhead verify`")
    return [found[0] for found in rows.values()]


def commit(
    connection: duckdb.DuckDBPyConnection,
    work: Collection[tuple[Ledger, Changes, Ledger]],
    *,
    topic: str,
    place: Location,
) -> None:
    """Write the changes of some partitions in one transaction, each with its ledger row before and after.

    Raises Fenced if a ledger row has changed, duckdb.Error if the lake refused or does not answer. After either,
    only reading the ledgers again shows the outcome.
    """
    since_ms = time.time_ns() // 1_000_000
    touched: set[str] = set()
    made = rows_of([changes for _, changes, _ in work], topic=topic)
    with transaction(connection):
        _check_fence(connection, *(ledger for ledger, _, _ in work))
        for name, rows in made.items():
            if rows.num_rows:
                _insert(connection, name, rows)
                touched.add(name)
        if any(after.time_ms < before.time_ms for before, _, after in work):  # the log's clock was set back
            settled.drop_bound(connection)
            touched.add("settled_upto")
        for _, changes, after in work:
            touched.add(_rewrite_ledger(connection, after))
            if changes.open is not None:
                touched.add(_rewrite_open(connection, changes.partition, changes.open))
        days = days_of(made["events"])
        flush_new_files(place, touched - {"events"}, days=days, since_ms=since_ms)


def _check_fence(connection: duckdb.DuckDBPyConnection, *ledgers: Ledger) -> None:
    written = read_ledgers(connection, [ledger.log_partition for ledger in ledgers])
    for ledger, found in zip(ledgers, written, strict=True):
        if found != ledger:
            name = f", {found.written_by}" if found.written_by != ledger.written_by else ""
            raise Fenced(f"partition {ledger.log_partition} was written by another owner{name}")


def record_halt(
    connection: duckdb.DuckDBPyConnection, ledger: Ledger, reason: str | None, *, now: datetime, place: Location
) -> Ledger:
    """Record since when and why a partition is halted, or (None) that it is not; return its new ledger row.

    Raises Fenced if the row has changed, duckdb.Error as `commit` does.
    """
    with transaction(connection):
        _check_fence(connection, ledger)
        after = msgspec.structs.replace(
            ledger, halted_at=now if reason else None, halted_reason=reason, commits=ledger.commits + 1
        )
        name = _rewrite_ledger(connection, after)
        flush_new_files(place, [name], since_ms=int(now.timestamp() * 1000))
    return after


def _insert(connection: duckdb.DuckDBPyConnection, name: str, incoming: pa.Table) -> None:
    """Insert rows. DuckDB finds `incoming` by its variable name; registered, it would be held until COMMIT."""
    connection.execute(f"INSERT INTO {name} BY NAME SELECT * FROM incoming")


def _rewrite_ledger(connection: duckdb.DuckDBPyConnection, ledger: Ledger) -> str:
    """Replace the row of a ledger; return the table's name."""
    name = f"ledger_p{ledger.log_partition:03}"
    connection.execute(f"DELETE FROM {name}")  # drops whole files; UPDATE would leave dead rows for ever
    _insert(connection, name, ledger_rows(ledger))
    return name


def _rewrite_open(connection: duckdb.DuckDBPyConnection, partition: int, rows: OpenRows) -> str:
    """Replace the rows of open sessions, unchanged ones by themselves; return the table's name."""
    name = f"open_sessions_p{partition:03}"
    kept = _standing(connection, name, pa.table({"session_id": pa.array(rows.kept, pa.string())}))
    connection.execute(f"DELETE FROM {name}")
    for first in range(0, kept.num_rows, SESSIONS_A_FILE):
        _insert(connection, name, kept.slice(first, SESSIONS_A_FILE))
    fresh = ((row, partition) for row in rows.fresh)
    while (piece := session_rows(itertools.islice(fresh, SESSIONS_A_FILE))).num_rows:
        _insert(connection, name, piece)
    return name


def _standing(connection: duckdb.DuckDBPyConnection, name: str, wanted: pa.Table) -> pa.Table:
    """Return the rows of these sessions from a table. Raises LedgerBroken if one is missing."""
    if not wanted.num_rows:
        return wanted
    rows = connection.execute(f"SELECT * FROM {name} SEMI JOIN wanted USING (session_id)")
    found = rows.to_arrow_table(SESSIONS_FETCHED)
    if found.num_rows != wanted.num_rows:
        raise LedgerBroken(f"{name} has {found.num_rows} of {wanted.num_rows} rows; run `playhead verify`")
    return found


def accept_gap(connection: duckdb.DuckDBPyConnection, gap: Gap, *, now: datetime, place: Location) -> Ledger:
    """Skip a gap that an operator accepts, and leave a row in `gaps`. Returns the new ledger row.

    Raises NotReady if the ledger is not at the gap's first offset, so that nothing else is skipped.
    """
    with transaction(connection):
        ledger = read_ledger(connection, gap.partition)
        if ledger.next_offset != gap.first_offset:
            raise NotReady(
                f"partition {gap.partition} is read up to {ledger.next_offset}, not {gap.first_offset}: "
                "the gap does not begin there, or was accepted before"
            )
        connection.execute(
            "INSERT INTO gaps VALUES (?, ?, ?, ?, 'accepted by an operator')",
            [gap.partition, gap.first_offset, gap.next_offset, now],
        )
        after = msgspec.structs.replace(
            ledger,
            next_offset=gap.next_offset,
            lost=ledger.lost + gap.next_offset - gap.first_offset,
            commits=ledger.commits + 1,
            halted_at=None,
            halted_reason=None,
        )
        _rewrite_ledger(connection, after)
        flush_new_files(place, ["gaps", f"ledger_p{gap.partition:03}"], since_ms=int(now.timestamp() * 1000))
    return after


def change_log(
    connection: duckdb.DuckDBPyConnection, ledger: Ledger, change: LogChange, *, now: datetime, place: Location
) -> Ledger:
    """Continue with a replacement log, and leave a row in `log_changes`. Returns the new ledger row.

    The lake's offsets continue: what it adds to the log's own offsets is chosen for that. Raises Fenced if the
    ledger row moved since it was compared with the log.
    """
    with transaction(connection):
        _check_fence(connection, ledger)
        after = msgspec.structs.replace(
            ledger,
            log_number=ledger.log_number + 1,
            log_base=ledger.next_offset - change.first_offset,
            log_id=change.log_id,
            commits=ledger.commits + 1,
            halted_at=None,
            halted_reason=None,
        ).marked(None)
        connection.execute(
            "INSERT INTO log_changes BY NAME SELECT ? AS log_partition, ? AS log_number, ? AS first_offset, "
            "? AS log_first_offset, ?::TIMESTAMPTZ AS changed_at, ? AS why",
            [change.partition, after.log_number, ledger.next_offset, change.first_offset, now, change.why],
        )
        name = _rewrite_ledger(connection, after)
        flush_new_files(place, ["log_changes", name], since_ms=int(now.timestamp() * 1000))
    return after
