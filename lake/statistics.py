"""Which statistics of its files the catalogue keeps: those of the columns by which questions skip files.

DuckLake writes down the least and the greatest value of every column of every file, 180 for a file of sessions.
To list the files of a table it reads all of these rows, of all tables, once for each column that a filter names
(in SQLite and in PostgreSQL), and a question over sessions does that twenty times. So statistics that skip nothing
made each question slower with every file. A file without statistics of a column is read: answers stay the same.
"""

import duckdb

from lake.catalog import METADATA

# Ids begin with their time; versions, offsets and times rise from file to file.
SKIPPED_BY = (
    *("session_id", "event_id", "tracking_session_id", "version", "log_partition", "log_offset"),
    *("started_at", "ended_at", "first_received_at", "last_received_at", "received_at", "client_ts", "as_of"),
    *("settled_day", "settled_round", "period_start", "hour", "day"),
)


def forget(connection: duckdb.DuckDBPyConnection) -> None:
    """Delete the statistics of all other columns, nested ones included.

    Those of whole tables, by which queries are planned, stay. Raises duckdb.Error if a writer is in the way.
    """
    connection.execute(
        f"""
        DELETE FROM {METADATA}.ducklake_file_column_stats WHERE (table_id, column_id) NOT IN (
            SELECT (table_id, column_id) FROM {METADATA}.ducklake_column
            WHERE parent_column IS NULL AND column_name IN {SKIPPED_BY}
        )
        """
    )
