"""Keep the lake quick: merge small files, forget old snapshots, delete files that nothing names any more.

Runs as a short-lived process (`playhead upkeep`), because DuckLake's maintenance calls leak memory. Ledger and
open-session tables are never merged: they are rewritten whole anyway.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import msgspec

from lake.catalog import NAME, Location
from lake.disk import flush
from lake.schema import open_to_write

MERGED = ("events", "tracking_events", "quarantine", "duplicates", "session_versions")
FILES_A_STEP = 100
FILES_WORTH_MERGING = 20
# Two owners of a partition are told apart by the snapshots between them, so none younger than this is forgotten.
SNAPSHOTS_KEPT = timedelta(hours=1)
DAYS_KEPT = timedelta(days=30)
GRACE = timedelta(hours=1)  # a reader may still be reading a file that a newer snapshot no longer names
# What a killed transaction left lies about; what an open one has written looks the same until it commits.
ORPHANS_KEPT = timedelta(hours=24)
ORPHANS_MINUTE = 7  # of each hour: looking for orphans lists every file


class Tidied(msgspec.Struct, frozen=True):
    """What one run did."""

    merged_tables: list[str]
    snapshots_expired: int
    files_deleted: int


def tidy(place: Location, *, now: datetime, when_ready: Callable[[], None] = lambda: None) -> Tidied:
    """Do one round of upkeep. Raises duckdb.Error where a writer was in the way (repeat it later), or
    SchemaMismatch.

    `when_ready` is called when all is open, and may take its time. Files are deleted an hour after the last
    snapshot let go of them, orphans when they are a day old.
    """
    connection = open_to_write(place)
    try:
        when_ready()
        merged = [table for table in MERGED if _merge(connection, table, place)]
        expired = _expire(connection, now)
        deleted = _clean_up(connection, place, now)
        return Tidied(merged, expired, deleted)
    finally:
        connection.close()


def _clean_up(connection: duckdb.DuckDBPyConnection, place: Location, now: datetime) -> int:
    """Delete files that nothing names any more; return how many."""
    if place.kind == "sqlite":
        # DuckLake compares these times as text, its own "2026-01-01 12:00" with our "2026-01-01T11:00", and so
        # would delete everything that was scheduled today under the eyes of its readers.
        connection.execute(
            f"UPDATE __ducklake_metadata_{NAME}.ducklake_files_scheduled_for_deletion "
            "SET schedule_start = replace(schedule_start, ' ', 'T') WHERE contains(schedule_start, ' ')"
        )
    deleted = connection.execute(
        f"CALL ducklake_cleanup_old_files('{NAME}', older_than => ?::TIMESTAMPTZ)", [now - GRACE]
    ).fetchall()
    if now.minute == ORPHANS_MINUTE:
        deleted += connection.execute(
            f"CALL ducklake_delete_orphaned_files('{NAME}', older_than => ?::TIMESTAMPTZ)", [now - ORPHANS_KEPT]
        ).fetchall()
    return len(deleted)


def _merge(connection: duckdb.DuckDBPyConnection, table: str, place: Location) -> bool:
    before = _files(connection, table)
    if len(before) < FILES_WORTH_MERGING:
        return False
    connection.execute(
        f"CALL ducklake_merge_adjacent_files('{NAME}', '{table}', max_compacted_files => {FILES_A_STEP})"
    )
    if place.is_local:
        merged = _files(connection, table) - before
        flush(merged | {str(Path(file).parent) for file in merged})
    return True


def _files(connection: duckdb.DuckDBPyConnection, table: str) -> set[str]:
    rows = connection.execute(f"SELECT data_file FROM ducklake_list_files('{NAME}', '{table}')").fetchall()
    return {row[0] for row in rows}


def _expire(connection: duckdb.DuckDBPyConnection, now: datetime) -> int:
    """Forget old snapshots: all of the last hour stay, before that the first of each day for 30 days."""
    rows = connection.execute(
        f"""
        SELECT snapshot_id FROM ducklake_snapshots('{NAME}')
        WHERE snapshot_time < ?::TIMESTAMPTZ
        QUALIFY row_number() OVER (PARTITION BY snapshot_time::DATE ORDER BY snapshot_id) > 1
             OR snapshot_time < ?::TIMESTAMPTZ
        ORDER BY 1
        """,
        [now - SNAPSHOTS_KEPT, now - DAYS_KEPT],
    ).fetchall()
    versions = [row[0] for row in rows]
    if versions:
        listed = ", ".join(str(version) for version in versions)
        connection.execute(f"CALL ducklake_expire_snapshots('{NAME}', versions => [{listed}])")
    return len(versions)
