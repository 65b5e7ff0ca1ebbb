"""What a query read of the lake's tables: files and rows, as DuckDB's profile says."""

import contextlib
import json
from collections.abc import Iterator

import msgspec

from lake.catalog import connect
from rigs.lake import Lake


class Scan(msgspec.Struct, frozen=True):
    """What a query read of one table, and by which filters."""

    table: str
    filters: str
    files: int
    rows: int


def scans(lake: Lake, query: str) -> Iterator[Scan]:
    """Run a query and yield what it read."""
    with contextlib.closing(connect(lake.place, read_only=True)) as connection:
        rows = connection.execute(f"EXPLAIN (ANALYZE, FORMAT json) {query}").fetchall()
    waiting = [json.loads(rows[0][1])]
    while waiting:
        node = waiting.pop()
        waiting += node["children"]
        said = node.get("extra_info", {})
        if node.get("operator_name") == "DUCKLAKE_SCAN":
            filters = f"{said.get('Filters', '')} {said.get('Dynamic Filters', '')}"
            files = int(said.get("Total Files Read", 0))
            yield Scan(said["Table"], filters, files, node["operator_cardinality"])
