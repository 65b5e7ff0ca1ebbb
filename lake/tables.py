"""Make the lake: its tables, ledger rows, views and comments, from the SQL beside this file; add partitions.

`playhead init` alone calls this, and makes all ledgers in one transaction: two workers that made the same ledger
table on first use would leave two rows in it.
"""

import hashlib
import re
from importlib import resources
from pathlib import Path

import duckdb

from lake.catalog import NAME, Location, check_language, connect
from lake.metrics import catalog_rows, columns_sql, fill_catalog
from schemas.vocabulary import EVENT_TYPES, EventType

_COLUMN = re.compile(r'^ {4}("?\w+"?) .*?-- (.+)$')
_CREATE = re.compile(r"^CREATE (?:OR REPLACE )?(TABLE|VIEW) (?:IF NOT EXISTS )?(\w+)")
_FIRST_COLUMN = re.compile(r"^CREATE TABLE IF NOT EXISTS (\w+) \(\n(?: *--.*\n)*    (\w+)", re.MULTILINE)

QUESTIONS = ("metrics", "concurrency", "retention", "delivery", "viewers", "quality")


def sql_text(name: str) -> str:
    """Return one of the SQL files beside this module."""
    return resources.files("lake").joinpath("sql", f"{name}.sql").read_text()


def initialize(place: Location, *, partitions: int) -> None:
    """Make whatever is not there yet, for partitions 0 to `partitions` - 1. Safe to repeat, and to be killed.

    Each new table holds one row of nulls for a moment: of a table that never had a row DuckLake keeps no
    statistics, and asks its catalogue for them once a column whenever a statement is planned (measured with 8
    partitions: 2.8 s for any question about `sessions`, 0.15 s after). The ledgers come with the transaction that
    takes these rows away, and without its ledger no worker begins a partition.
    """
    if place.kind == "sqlite":
        Path(place.catalog).parent.mkdir(parents=True, exist_ok=True)
    connection = connect(place, read_only=False, create=True)
    try:
        check_language(connection, place)
        known = len(partitions_of(connection))
        new = range(known, partitions)
        connection.execute("BEGIN")
        shared = "" if known else _with_session_columns("tables")
        tables = shared + "".join(_of_partition(_with_session_columns("open_sessions"), number) for number in new)
        _run(connection, tables)
        first_columns = _FIRST_COLUMN.findall(tables)
        for table, column in first_columns:
            connection.execute(f"INSERT INTO {table} ({column}) VALUES (NULL)")
        connection.execute("COMMIT")
        connection.execute("BEGIN")
        for table, column in first_columns:
            connection.execute(f"DELETE FROM {table} WHERE {column} IS NULL")
        if not known:
            _fill_event_types(connection)
        for number in new:
            _run(connection, _of_partition(sql_text("ledger"), number))
            connection.execute(
                f"INSERT INTO ledger_p{number:03} VALUES (?, 0, 0, 0, 0, 0, 0, 0, NULL, 0)", [number]
            )
        _define(connection, max(partitions, known))
        connection.execute("COMMIT")
        if not known:  # nobody reads yet: the rows of nulls need no upkeep to be forgotten
            connection.execute(f"CALL ducklake_expire_snapshots('{NAME}', older_than => now())")
            connection.execute(f"CALL ducklake_cleanup_old_files('{NAME}', cleanup_all => true)")
    finally:
        connection.close()


def _with_session_columns(name: str) -> str:
    return sql_text(name).replace("{session_columns}", "\n" + sql_text("session_columns"))


def _of_partition(text: str, number: int) -> str:
    return text.replace("{partition}", f"{number:03}")


def partitions_of(connection: duckdb.DuckDBPyConnection) -> list[int]:
    """Return the partitions that the lake has tables for."""
    rows = connection.execute(
        "SELECT table_name[-3:]::INTEGER FROM duckdb_tables() "
        "WHERE database_name = ? AND table_name LIKE 'ledger\\_p%' ESCAPE '\\' ORDER BY 1",
        [NAME],
    ).fetchall()
    return [row[0] for row in rows]


def _define(connection: duckdb.DuckDBPyConnection, partitions: int) -> None:
    """Make views, macros and the metric catalogue, where they are not as this version of Playhead has them.

    Every definition made anew adds a version of the schema that is never dropped, so the lake remembers the hash.
    """
    if not connection.execute(
        "SELECT 1 FROM duckdb_tables() WHERE database_name = ? AND table_name = 'definitions'", [NAME]
    ).fetchall():
        _run(connection, sql_text("definitions"))
    text = _views(partitions) + definitions_sql()
    wanted = hashlib.sha256((text + repr(catalog_rows())).encode()).hexdigest()
    if connection.execute("SELECT sha256 FROM definitions").fetchall() != [(wanted,)]:
        _run(connection, text)
        fill_catalog(connection)
        connection.execute("DELETE FROM definitions")
        connection.execute("INSERT INTO definitions VALUES (?)", [wanted])


def definitions_sql() -> str:
    """Return the views and macros that answer questions, with the columns of all metrics."""
    return "\n".join(sql_text(name) for name in QUESTIONS).replace("{metrics}", columns_sql())


def _views(partitions: int) -> str:
    """Return views.sql with its unions over all partitions."""
    numbers = [f"{partition:03}" for partition in range(partitions)]
    ledgers = " UNION ALL ".join(f"SELECT * FROM ledger_p{number}" for number in numbers)
    opened = " UNION ALL ".join(f"SELECT * FROM open_sessions_p{number}" for number in numbers)
    return sql_text("views").replace("{ledgers}", ledgers).replace("{open_sessions}", opened)


def _run(connection: duckdb.DuckDBPyConnection, text: str) -> None:
    """Run statements; a comment behind a column, or above a CREATE, becomes its COMMENT."""
    connection.execute(text)
    comments: list[str] = []
    above: list[str] = []
    table = ""
    for line in text.splitlines():
        if match := _CREATE.match(line):
            kind, table = match[1], match[2]
            comments.append(f"COMMENT ON {kind} {table} IS {_literal(' '.join(above))}")
        elif match := _COLUMN.match(line):
            comments.append(f"COMMENT ON COLUMN {table}.{match[1]} IS {_literal(match[2].strip())}")
        if line.startswith("-- "):
            above.append(line[3:].strip())
        else:
            above = []
    for comment in comments:
        connection.execute(comment)


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _fill_event_types(connection: duckdb.DuckDBPyConnection) -> None:
    values: list[object] = []
    for row in EVENT_TYPES.values():
        optional = [param.key for param in row.params if not param.required]
        values += [row.name, row.rank, [param.key for param in row.required], optional, _does(row)]
    places = ", ".join(["(?, ?, ?, ?, ?)"] * len(EVENT_TYPES))
    connection.execute("DELETE FROM event_types")
    connection.execute(f"INSERT INTO event_types VALUES {places}", values)


def _does(row: EventType) -> str:
    parts = [
        f"player: {row.player}" if row.player else "",
        f"ad break: {row.ad_break}" if row.ad_break else "",
        f"ad: {row.ad}" if row.ad else "",
        f"chapter: {row.chapter}" if row.chapter else "",
        f"state: {row.state}" if row.state else "",
        "session: start" if row.starts else "",
        "session: complete" if row.completes else "",
        "session: end" if row.ends else "",
        "an error" if row.is_error else "",
        "bitrate changes" if row.changes_bitrate else "",
    ]
    return "; ".join(part for part in parts if part)
