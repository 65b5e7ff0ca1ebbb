"""How large a lake is: its data files, its snapshots and its catalogue."""

from datetime import datetime
from pathlib import Path

import duckdb
import msgspec

from lake.catalog import METADATA, NAME, Location, ask_postgres
from lake.held import log_bytes


class Size(msgspec.Struct, frozen=True):
    """The size of a lake; `files` and `files_bytes` are those of the newest snapshot."""

    files: int
    files_bytes: int
    catalogue_bytes: int
    snapshots: int
    oldest_snapshot_at: datetime | None


def read_size(lake: duckdb.DuckDBPyConnection, place: Location) -> Size:
    """Return the size of a lake that is attached."""
    ((snapshots, oldest),) = lake.execute(
        f"SELECT count(*), min(snapshot_time) FROM ducklake_snapshots('{NAME}')"
    ).fetchall()
    ((files, files_bytes),) = lake.execute(
        f"SELECT count(*), coalesce(sum(file_size_bytes), 0)::BIGINT FROM {METADATA}.ducklake_data_file "
        "WHERE end_snapshot IS NULL"
    ).fetchall()
    return Size(files, files_bytes, _catalogue_bytes(lake, place), snapshots, oldest)


def _catalogue_bytes(lake: duckdb.DuckDBPyConnection, place: Location) -> int:
    if place.kind == "sqlite":
        return Path(place.catalog).stat().st_size + log_bytes(place)
    return int(ask_postgres(lake, "SELECT pg_database_size(current_database())"))
