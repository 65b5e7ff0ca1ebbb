"""Questions that are answered together, from one snapshot of the lake."""

from collections.abc import Callable
from typing import TypeVar

import duckdb

from lake.catalog import METADATA, NAME, snapshot_number

T = TypeVar("T")

_MERGES_SINCE = f"""
SELECT 1 FROM {METADATA}.ducklake_snapshot_changes
WHERE (SELECT catalog_type = 'sqlite' FROM ducklake_settings('{NAME}'))
    AND snapshot_id > ? AND contains(changes_made, 'merge_adjacent')
LIMIT 1
"""


def in_snapshot(connection: duckdb.DuckDBPyConnection, read: Callable[[], T]) -> T:
    """Return what `read` returns, whose queries see one snapshot of the lake; what it writes is rolled back.

    Over SQLite it is called again if files were merged meanwhile: a transaction that has not written reads only
    those rows of the catalogue that were there at first, so a table whose files were merged since is empty in it.
    """
    while True:
        first = snapshot_number(connection)
        connection.execute("BEGIN")
        try:
            found = read()
        finally:
            connection.execute("ROLLBACK")
        if not connection.execute(_MERGES_SINCE, [first]).fetchall():
            return found
