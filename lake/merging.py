"""Merging small files: which tables, which files of them, and when.

Every commit leaves a file in each table that it writes to, and files that are merged are written again. So a round
merges small files alone, and those of a middle size once there are some of them: a byte is written a few times,
and not once a minute until its day is over. What is left of a day is merged in the first round of the next.
"""

from collections.abc import Collection
from pathlib import Path

import duckdb

from lake.catalog import NAME, Location
from lake.disk import flush

MERGED = (
    "events",
    "tracking_events",
    "quarantine",
    "quarantine_decisions",
    "duplicates",
    "gaps",
    "removals",
    "log_changes",
    "session_versions",
    "start_requests",
    "start_copies",
)
# Never merged: each write replaces all of their rows, or those of a day.
REPLACED = (
    "column_meanings",
    "event_types",
    "last_upkeep",
    "rolled_up",
    "rolled_viewers",
    "schema_number",
    "session_flags",
    "settled_sessions",
    "settled_upto",
)
SMALL_BYTES = 8_000_000  # of events, three times as many took 1.1 s to merge
MIDDLE_BYTES = 32_000_000  # on one machine commits wait for a merge; one of 437 MB took 12 s
SMALL_FILES = 20
MIDDLE_FILES = 4
FILES_A_STEP = 100


def merge(connection: duckdb.DuckDBPyConnection, table: str, place: Location, *, is_first_of_day: bool) -> bool:
    """Merge the files of a table that are worth it; return whether there were any."""
    before = _files(connection, table)
    below = bytes_below(before.values(), is_first_of_day=is_first_of_day)
    if below is None:
        return False
    connection.execute(
        f"CALL ducklake_merge_adjacent_files('{NAME}', '{table}', schema => 'main', "
        f"max_compacted_files => {FILES_A_STEP}, max_file_size => {below})"
    )
    if place.is_local:
        merged = _files(connection, table).keys() - before.keys()
        flush(merged | {str(Path(file).parent) for file in merged})
    return True


def bytes_below(sizes: Collection[int], *, is_first_of_day: bool) -> int | None:
    """Return the size below which the files of a table are merged now, by all their sizes; None: none of them."""
    small = sum(size < SMALL_BYTES for size in sizes)
    middle = sum(SMALL_BYTES <= size < MIDDLE_BYTES for size in sizes)
    if middle >= MIDDLE_FILES or (is_first_of_day and small + middle > 1):
        return MIDDLE_BYTES
    return SMALL_BYTES if small >= SMALL_FILES else None


def _files(connection: duckdb.DuckDBPyConnection, table: str) -> dict[str, int]:
    """Return the sizes of a table's files in bytes, by path."""
    rows = connection.execute(
        f"SELECT data_file, data_file_size_bytes FROM ducklake_list_files('{NAME}', '{table}', schema => 'main')"
    ).fetchall()
    return dict(rows)
