"""What the columns of tables and views mean, as rows to query: DuckLake takes no comments on columns of views."""

import tomllib
from collections.abc import Mapping
from importlib import resources

import duckdb
import pyarrow as pa

from lake.catalog import NAME
from lake.metrics import read_catalogue

ANY = "any"  # in `meanings.toml`: words for all views without their own


def meanings_text() -> str:
    """Return `meanings.toml`."""
    return resources.files("lake").joinpath("meanings.toml").read_text()


def fill_meanings(connection: duckdb.DuckDBPyConnection) -> None:
    """Replace the rows of `column_meanings`; tables and views exist, with their comments."""
    columns = connection.execute(
        "SELECT table_name, column_name, row_number() OVER (PARTITION BY table_name ORDER BY column_index), "
        "data_type, comment, table_name IN (SELECT table_name FROM duckdb_tables() WHERE database_name = $1) "
        "FROM duckdb_columns() WHERE database_name = $1 AND schema_name = 'main' "
        "AND NOT regexp_matches(table_name, '_p[0-9]{3}$') ORDER BY ALL",
        [NAME],
    ).fetchall()
    of_partition = connection.execute(
        "SELECT column_name, comment FROM duckdb_columns() "
        "WHERE database_name = ? AND schema_name = 'main' AND table_name = 'ledger_p000'",
        [NAME],
    ).fetchall()
    # Of the tables that have a column, session_versions and events come last: theirs are the words for it.
    in_order = sorted(columns, key=lambda row: (row[0] == "session_versions", row[0] == "events"))
    commented = dict(of_partition) | {row[1]: row[4] for row in in_order if row[4] is not None}
    words = tomllib.loads(meanings_text())
    metrics = {metric.name: metric.meaning for metric in read_catalogue().metric}
    rows = [
        (
            table,
            column,
            position,
            kind,
            comment
            if is_table
            else _meaning(words, metrics if table.startswith("metrics") else {}, commented, table, column),
        )
        for table, column, position, kind, comment, is_table in columns
    ]
    names = ("table_name", "column_name", "position", "data_type", "meaning")
    filled = pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))
    connection.execute("DELETE FROM column_meanings")
    connection.register("filled", filled)
    connection.execute("INSERT INTO column_meanings BY NAME SELECT * FROM filled")
    connection.unregister("filled")


def _meaning(
    words: Mapping[str, Mapping[str, str]],
    metrics: Mapping[str, str],
    commented: Mapping[str, str],
    view: str,
    column: str,
) -> str | None:
    """Return the meaning of a view's column: its own words, or those of its name; `metrics` are those it has."""
    own = words.get(view, {}).get(column)
    if own is not None:
        return own
    return metrics.get(column) or words[ANY].get(column) or commented.get(column)
