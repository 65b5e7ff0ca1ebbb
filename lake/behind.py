"""How far the lake is behind the log: the records of each partition that it has not read yet."""

import contextlib
from collections.abc import Mapping

import duckdb
import msgspec

from lake.catalog import Location, connect


class Standing(msgspec.Struct, frozen=True):
    """The next offset to read of a partition, by the log's count, and whether reading is halted."""

    next_offset: int
    is_halted: bool


def read_standings(lake: duckdb.DuckDBPyConnection) -> dict[int, Standing]:
    """Return the position of the lake in each partition that has a ledger."""
    rows = lake.execute(
        "SELECT log_partition, next_offset - coalesce(log_base, 0), halted_at IS NOT NULL FROM ledger"
    ).fetchall()
    return {partition: Standing(next_offset, is_halted) for partition, next_offset, is_halted in rows}


def has_read_records(place: Location) -> bool:
    """Return whether the lake has read any record. Raises NotReady if there is no lake."""
    with contextlib.closing(connect(place, read_only=True)) as lake:
        return bool(lake.execute("SELECT 1 FROM ledger WHERE next_offset > first_offset LIMIT 1").fetchall())


def behind(lake: duckdb.DuckDBPyConnection, ends: Mapping[int, int]) -> dict[int, int]:
    """Return how many records wait in each partition of a log that ends there; see `eventlog.adapters.read_ends`.

    A partition without a ledger waits as a whole.
    """
    read = {partition: standing.next_offset for partition, standing in read_standings(lake).items()}
    return {partition: max(0, end - read.get(partition, 0)) for partition, end in ends.items()}
