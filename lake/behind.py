"""How far the lake is behind the log: the records of each partition that it has not read yet."""

from collections.abc import Mapping

import duckdb


def behind(lake: duckdb.DuckDBPyConnection, ends: Mapping[int, int]) -> dict[int, int]:
    """Return how many records wait in each partition of a log that ends there; see `eventlog.adapters.read_ends`.

    A partition that the lake has no ledger of waits as a whole.
    """
    rows = lake.execute("SELECT log_partition, next_offset - coalesce(log_base, 0) FROM ledger").fetchall()
    read = dict(rows)
    return {partition: max(0, end - read.get(partition, 0)) for partition, end in ends.items()}
