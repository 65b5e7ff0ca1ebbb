"""What the lake knows of its own condition, for an operator: ledgers, files, catalogue, upkeep, clocks."""

import contextlib
import os
from collections.abc import Callable
from datetime import datetime, timedelta

import duckdb
import msgspec

from lake.catalog import NAME, Location, connect
from lake.held import held_by, log_bytes
from lake.one_row import read_one
from lake.schema import SCHEMA, check_schema, partitions_of
from lake.size import read_size
from lake.snapshot import in_snapshot
from lake.transaction import Ledger, read_ledgers
from lake.upkeep import LastUpkeep, clock_ahead

RECENT = timedelta(hours=1)


class Quarantined(msgspec.Struct, frozen=True):
    """Records in quarantine that nobody has dealt with, for one reason: of the last hour, and of all time.

    `source` is `ingest` (a refused request) or `worker` (a record that cannot be decoded).
    """

    source: str
    reason: str
    last_hour: int
    total: int


class Condition(msgspec.Struct, frozen=True):
    """The condition of a lake at one moment.

    `ledgers` are by partition, `files` and `files_bytes` those of the newest snapshot. `clock_ahead_s` is how far
    this machine's clock is ahead of PostgreSQL's. SQLite has no clock (`has_clock`): there the newest snapshot
    counts, which must not be in the future. `foreign_schemas` are those that somebody else made in the lake.
    `catalogue_log_bytes` is SQLite's write-ahead log, part of `catalogue_bytes`; the processes `held_by` keep it.
    """

    schema: int
    ledgers: dict[int, Ledger]
    open_sessions: int
    quarantine: list[Quarantined]
    files: int
    files_bytes: int
    catalogue_bytes: int
    snapshots: int
    oldest_snapshot_at: datetime | None
    upkeep: LastUpkeep | None
    has_clock: bool
    clock_ahead_s: float
    foreign_schemas: list[str]
    catalogue_log_bytes: int
    held_by: list[int]


def read_condition(place: Location, *, clock: Callable[[], datetime]) -> Condition:
    """Return the condition of a lake. `clock` is read when PostgreSQL's is, to compare them.

    Raises NotReady if there is no lake, SchemaMismatch, or duckdb.Error.
    """
    with contextlib.closing(connect(place, read_only=True)) as lake:
        return in_snapshot(lake, lambda: _read(lake, place, clock))


def _read(lake: duckdb.DuckDBPyConnection, place: Location, clock: Callable[[], datetime]) -> Condition:
    check_schema(lake, place)
    now = clock()
    ahead = clock_ahead(lake, place, now)
    partitions = partitions_of(lake)
    size = read_size(lake, place)
    ((open_sessions,),) = lake.execute("SELECT count(*) FROM open_sessions").fetchall()
    return Condition(
        schema=SCHEMA,
        ledgers=dict(zip(partitions, read_ledgers(lake, partitions), strict=True)),
        open_sessions=open_sessions,
        quarantine=_quarantine(lake, now),
        files=size.files,
        files_bytes=size.files_bytes,
        catalogue_bytes=size.catalogue_bytes,
        snapshots=size.snapshots,
        oldest_snapshot_at=size.oldest_snapshot_at,
        upkeep=read_one(lake, "last_upkeep", LastUpkeep),
        has_clock=place.kind == "postgres",
        clock_ahead_s=ahead.total_seconds(),
        foreign_schemas=_foreign_schemas(lake),
        catalogue_log_bytes=log_bytes(place),
        held_by=[pid for pid in held_by(place) if pid != os.getpid()],
    )


def _quarantine(lake: duckdb.DuckDBPyConnection, now: datetime) -> list[Quarantined]:
    rows = lake.execute(
        "SELECT source, reason, count(*) FILTER (WHERE received_at >= ?), count(*) "
        "FROM quarantine ANTI JOIN quarantine_decisions USING (log_partition, log_offset) "
        "GROUP BY ALL ORDER BY 3 DESC, 4 DESC, 1, 2",
        [now - RECENT],
    ).fetchall()
    return [Quarantined(*row) for row in rows]


def _foreign_schemas(lake: duckdb.DuckDBPyConnection) -> list[str]:
    rows = lake.execute(
        "SELECT schema_name FROM duckdb_schemas() WHERE database_name = ? AND schema_name <> 'main' "
        "AND NOT internal ORDER BY 1",
        [NAME],
    ).fetchall()
    return [name for (name,) in rows]
