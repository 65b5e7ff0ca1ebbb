"""Creates and migrates the lake: tables, ledger rows, views and comments, from the files in `sql/`.

Only `playhead init` does this, and it creates all ledgers in one transaction: two workers that created the same
ledger table on first use would leave two rows in it.

An older lake is migrated by numbered steps (`sql/schema_3.sql` leads from 2 to 3), all in one transaction. A step
only adds, and new columns come last, so that older programs can still read. New tables need no step: they are
created from `sql/tables.sql` as in a new lake.
"""

import hashlib
import re
from collections.abc import Iterable
from importlib import resources
from pathlib import Path

import duckdb
import structlog

from lake import rollups, settled
from lake.catalog import METADATA, NAME, Location, check_language, connect, quote
from lake.dimensions import replacements
from lake.disk import flush
from lake.meanings import fill_meanings, meanings_text
from lake.metrics import catalog_rows, columns_sql, fill_catalog, measures_sql
from lake.schema import (
    SCHEMA,
    check_schema,
    names_of_tables,
    partitions_of,
    refuse_newer,
    refuse_strangers,
    schema_of,
)
from schemas.faults import SchemaMismatch
from schemas.vocabulary import EVENT_TYPES, EventType
from sessions.rules import RULES

logger = structlog.get_logger(__name__)

_COLUMN = re.compile(r'^ {4}("?\w+"?) .*?-- (.+)$')
_CREATE = re.compile(r"^CREATE (?:OR REPLACE )?(TABLE|VIEW) (?:IF NOT EXISTS )?(\w+)", re.MULTILINE)
_ALTER = re.compile(r"^(?:ALTER TABLE|COMMENT ON COLUMN) (\w+)", re.MULTILINE)
_FIRST_COLUMN = re.compile(r"^CREATE TABLE IF NOT EXISTS (\w+) \(\n(?: *--.*\n)*    (\w+)", re.MULTILINE)

QUESTIONS = (
    "metrics",
    "watching",
    "concurrency",
    "retention",
    "delivery",
    "viewers",
    "quality",
    "health",
    "rollups",
)
# Of these, what needs no other table than sessions, events and what explains them; `quality` without data_quality.
QUESTIONS_OF_SESSIONS = ("metrics", "concurrency", "retention", "delivery", "viewers", "quality")
# The views of lists in sessions: a row for each entry.
LISTS = ("ads", "ad_breaks", "chapters", "player_states", "played_intervals", "spans", "playback_errors")


def sql_text(name: str) -> str:
    """Return one of the files in `sql/`."""
    return resources.files("lake").joinpath("sql", f"{name}.sql").read_text()


def initialize(place: Location, *, partitions: int, migrate: bool = True) -> None:
    """Create whatever is missing, for partitions 0 to `partitions` - 1. Safe to repeat, and to kill.

    A lake of an older schema is migrated first; without `migrate` it is refused. Raises SchemaMismatch.

    Each new table briefly holds one row of nulls: DuckLake has no statistics of a table that never had a row, and
    would query its catalogue for them, once per column, whenever a statement is planned (measured with 8
    partitions: 2.8 s for any query of `sessions`, 0.15 s with statistics). The ledgers are created by the
    transaction that deletes these rows, and without a ledger no worker starts on a partition.
    """
    if place.kind == "sqlite":
        Path(place.catalog).parent.mkdir(parents=True, exist_ok=True)
    connection = connect(place, read_only=False, create=True)
    try:
        check_language(connection, place)
        known = len(partitions_of(connection))
        if known and migrate:
            _migrate(connection, place, known)
        elif known:
            check_schema(connection, place)
        else:
            refuse_strangers(connection, place)
        new = range(known, partitions)
        connection.execute("BEGIN")
        leftovers = set() if known else names_of_tables(connection)
        shared = "" if known else _shared_tables()
        tables = shared + "".join(_of_partition(_with_session_columns("open_sessions"), number) for number in new)
        if leftovers:  # left by a killed `init`, perhaps of an older schema
            _take_steps(connection, range(2, SCHEMA + 1), partitions)
            if "definitions" in leftovers:
                _comment(connection, sql_text("definitions"))
        connection.execute(tables)
        first_columns = _FIRST_COLUMN.findall(tables)
        for table, column in first_columns:
            connection.execute(f"INSERT INTO {table} ({column}) VALUES (NULL)")
        connection.execute("COMMIT")
        connection.execute("BEGIN")
        for table, column in first_columns:
            connection.execute(f"DELETE FROM {table} WHERE {column} IS NULL")
        if not known:
            _fill_event_types(connection)
            settled.start(connection)
            _number(connection)
        _comment(connection, tables + _start_ledgers(connection, new))
        settled.choose_format(connection)
        _define(connection, max(partitions, known))
        connection.execute("COMMIT")
        if not known:  # there are no readers yet, so the rows of nulls can expire at once
            connection.execute(f"CALL ducklake_expire_snapshots('{NAME}', older_than => now())")
            connection.execute(f"CALL ducklake_cleanup_old_files('{NAME}', cleanup_all => true)")
    finally:
        connection.close()


def _start_ledgers(connection: duckdb.DuckDBPyConnection, partitions: Iterable[int]) -> str:
    """Create the ledgers of these partitions; return the SQL, whose comments they do not have yet."""
    text = "".join(_of_partition(sql_text("ledger"), number) for number in partitions)
    connection.execute(text)
    for number in partitions:
        connection.execute(
            f"INSERT INTO ledger_p{number:03} BY NAME SELECT ? AS log_partition, 0 AS first_offset, "
            "0 AS next_offset, 0 AS inserted, 0 AS duplicates, 0 AS quarantined, 0 AS lost, "
            "0 AS open_as_of_offset, 0 AS commits",
            [number],
        )
    return text


def _with_session_columns(name: str) -> str:
    return sql_text(name).replace("{session_columns}", "\n" + sql_text("session_columns"))


def _shared_tables() -> str:
    """Return the CREATE statements of the tables that all partitions share."""
    return _with_session_columns("tables") + rollups.tables_sql()


def _of_partition(text: str, number: int) -> str:
    return text.replace("{partition}", f"{number:03}")


def _migrate(connection: duckdb.DuckDBPyConnection, place: Location, partitions: int) -> None:
    """Bring a lake to this program's schema, in one transaction. Raises SchemaMismatch if it has a newer one.

    Each ledger row is rewritten, which fences running workers; they find the new number when they read the ledger
    again.
    """
    found = schema_of(connection)
    refuse_newer(found, place)
    if found == SCHEMA:
        return
    logger.info("lake is being migrated", from_schema=found, to_schema=SCHEMA)
    connection.execute("BEGIN")
    there = names_of_tables(connection)
    for statement in _statements(_shared_tables()):
        if (match := _CREATE.search(statement)) and match[2] not in there:
            connection.execute(statement)
    _take_steps(connection, range(found + 1, SCHEMA + 1), partitions)
    _comment(connection, _every_table(range(partitions)) + sql_text("definitions"))
    rewritten = [f"ledger_p{number:03}" for number in range(partitions)]
    for ledger in rewritten:
        connection.execute(f"UPDATE {ledger} SET commits = commits + 1")
    settled.start(connection)
    _number(connection)
    _define(connection, partitions)
    if place.is_local:
        folders = [Path(place.files, "main", name) for name in (*rewritten, "schema_number", "definitions")]
        flush([path for folder in folders for path in (folder, folder.parent, *folder.rglob("*"))])
    connection.execute("COMMIT")


def check_columns(connection: duckdb.DuckDBPyConnection, place: Location) -> None:
    """Raise as `check_schema` does, and SchemaMismatch if a table or column of the schema is missing.

    But for roll-ups: their columns depend on the metrics, and `init` makes them again.
    """
    check_schema(connection, place)
    # Not duckdb_columns(): that binds every view first, which takes a second.
    rows = connection.execute(
        f"SELECT t.table_name, c.column_name FROM {METADATA}.ducklake_table AS t "
        f"JOIN {METADATA}.ducklake_column AS c ON c.table_id = t.table_id "
        "WHERE t.end_snapshot IS NULL AND c.end_snapshot IS NULL AND c.parent_column IS NULL"
    ).fetchall()
    wanted = _columns_of(_every_table(partitions_of(connection)))
    missing = sorted(column for column in wanted - set(rows) if column[0] not in rollups.TABLES)
    if missing:
        listed = ", ".join(f"{table}.{column}" for table, column in missing[:5])
        raise SchemaMismatch(
            f"the lake at {place.catalog} has schema {SCHEMA}, which this program works with, but "
            f"{len(missing)} of its columns are missing: {listed}. Restore them, or move the lake away "
            "and run `playhead rebuild`"
        )


def _every_table(partitions: Iterable[int]) -> str:
    """Return the CREATE statements of all tables of a lake with these partitions."""
    of_partition = sql_text("ledger") + _with_session_columns("open_sessions")
    return _shared_tables() + "".join(_of_partition(of_partition, number) for number in partitions)


def _columns_of(text: str) -> set[tuple[str, str]]:
    """Return table and name of every column in CREATE statements."""
    found = set()
    table = ""
    for line in text.splitlines():
        if match := _CREATE.match(line):
            table = match[2]
        elif match := _COLUMN.match(line):
            found.add((table, match[1].strip('"')))
    return found


def _take_steps(connection: duckdb.DuckDBPyConnection, numbers: Iterable[int], partitions: int) -> None:
    """Run the steps to each of these schemas; tables that do not exist are skipped, and created complete later."""
    there = names_of_tables(connection)
    for number in numbers:
        for template in _statements(sql_text(f"schema_{number}")):
            for statement in _repeated(template, partitions):
                if (match := _ALTER.search(statement)) is None or match[1] in there:
                    connection.execute(statement)


def _repeated(template: str, partitions: int) -> list[str]:
    """Return a step's statement once for each table or partition that it is for."""
    if "{sessions}" in template:
        tables = [
            "session_versions",
            "settled_sessions",
            *(f"open_sessions_p{number:03}" for number in range(partitions)),
        ]
        return [template.replace("{sessions}", table) for table in tables]
    if "{partition}" in template:
        return [_of_partition(template, number) for number in range(partitions)]
    return [template]


def _statements(text: str) -> list[str]:
    """Return the statements of a SQL file; each ends with a semicolon at the end of a line."""
    return [part for part in re.split(r";\s*$", text, flags=re.MULTILINE) if part.strip()]


def tables_of(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Return Playhead's tables in the lake, sorted; it may contain others."""
    text = _every_table(partitions_of(connection)) + sql_text("definitions")
    made = {name for kind, name in _CREATE.findall(text) if kind == "TABLE"}
    return sorted(made & names_of_tables(connection))


def _comments(connection: duckdb.DuckDBPyConnection) -> dict[tuple[str, str | None], str | None]:
    """Return the comment of each table, view and column of the lake; None if it has none."""
    rows = connection.execute(
        "SELECT table_name, NULL, comment FROM duckdb_tables() "
        "WHERE database_name = $1 AND schema_name = 'main' UNION ALL "
        "SELECT view_name, NULL, comment FROM duckdb_views() "
        "WHERE database_name = $1 AND schema_name = 'main' UNION ALL "
        "SELECT table_name, column_name, comment FROM duckdb_columns() "
        "WHERE database_name = $1 AND schema_name = 'main'",
        [NAME],
    ).fetchall()
    return {(table, column): comment for table, column, comment in rows}


def _number(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("DELETE FROM schema_number")
    connection.execute("INSERT INTO schema_number VALUES (?)", [SCHEMA])


def _define(connection: duckdb.DuckDBPyConnection, partitions: int) -> None:
    """Create views, macros and the metric catalogue, unless those of the lake are this version's already.

    Each definition adds a schema version that is never dropped, so the lake stores a hash to compare.
    """
    if "definitions" not in names_of_tables(connection):
        _run(connection, sql_text("definitions"))
    text = _views(partitions) + definitions_sql()
    # Views must be created again when their tables have new columns, even if their text is the same.
    wanted = hashlib.sha256(
        (text + repr(catalog_rows()) + repr(RULES) + meanings_text() + str(SCHEMA)).encode()
    ).hexdigest()
    if connection.execute("SELECT sha256 FROM definitions").fetchall() != [(wanted,)]:
        _renew_rollups(connection)
        connection.execute(_quickly_bound(text))
        _comment(connection, text)
        fill_catalog(connection)
        _fill_session_flags(connection)
        fill_meanings(connection)
        connection.execute("DELETE FROM definitions")
        connection.execute("INSERT INTO definitions VALUES (?)", [wanted])


def _quickly_bound(text: str) -> str:
    """Return these definitions in an order that takes a third of the time: what most others read comes last.

    Binding `sessions` takes 45 ms with 8 partitions, and sixty views and macros read it.
    """
    quick = {_name_of(statement): statement for statement in _statements(sql_text("quickly_bound"))}
    statements = _statements(text)
    first = [quick.get(_name_of(statement), statement) for statement in statements]
    return ";".join([*first, *(statement for statement in statements if _name_of(statement) in quick)])


def _renew_rollups(connection: duckdb.DuckDBPyConnection) -> None:
    """Recreate the roll-ups, empty, if one has other columns than today's; upkeep fills them."""
    wanted = ";".join(text for text in _statements(_shared_tables()) if _name_of(text) in rollups.TABLES)
    found = {(table, name) for table in rollups.TABLES for name in rollups.columns_in(connection, table)}
    if found != _columns_of(wanted):
        connection.execute("".join(f"DROP TABLE {table};" for table in rollups.TABLES))
        _run(connection, wanted)


def copied_definitions_sql() -> str:
    """Return the views and macros that need only sessions, events and what explains them: those of a copy."""
    views = _statements(sql_text("views"))
    of_sessions = [_name_of(text) for text in views].index("sessions")
    asked = [
        text for text in _statements(definitions_sql(QUESTIONS_OF_SESSIONS)) if _name_of(text) != "data_quality"
    ]
    newest = "CREATE VIEW newest_sessions AS FROM sessions"  # a copy has no other versions
    return ";".join([newest, *views[of_sessions + 1 :], *asked])


def _name_of(statement: str) -> str:
    """Return the name of the table or view that a statement creates; empty if it creates none."""
    return match[2] if (match := _CREATE.search(statement)) else ""


def definitions_sql(names: Iterable[str] = QUESTIONS) -> str:
    """Return the SQL of the views and macros for queries, with all metrics and dimensions in it."""
    text = "\n".join(sql_text(name) for name in names)
    generated = replacements() | rollups.replacements()
    for placeholder, sql in (generated | {"{metrics}": columns_sql(), "{measures}": measures_sql()}).items():
        text = text.replace(placeholder, sql)
    return text


def _views(partitions: int) -> str:
    """Return views.sql with its unions over all partitions, and with what upkeep has not settled."""
    numbers = [f"{partition:03}" for partition in range(partitions)]
    ledgers = " UNION ALL ".join(f"SELECT * FROM ledger_p{number}" for number in numbers)
    opened = " UNION ALL ".join(f"SELECT * FROM open_sessions_p{number}" for number in numbers)
    text = sql_text("views").replace("{ledgers}", ledgers).replace("{open_sessions}", opened)
    for name, table in (
        ("versions", "session_versions"),
        ("tracking", "tracking_events"),
        ("copies", "start_copies"),
    ):
        text = text.replace(f"{{young_{name}}}", settled.unsettled_sql(table, name))
    return text


def _run(connection: duckdb.DuckDBPyConnection, text: str) -> None:
    """Run statements; the comment after a column, or above a CREATE, becomes its COMMENT."""
    connection.execute(text)
    _comment(connection, text)


def _comment(connection: duckdb.DuckDBPyConnection, text: str) -> None:
    """Give tables, views and columns that exist the comments of these CREATE statements, where theirs differ.

    To know those that they have, DuckDB binds every view, which takes half a second.
    """
    if not text:
        return
    there = _comments(connection)
    statements: list[str] = []
    above: list[str] = []
    table = ""
    for line in text.splitlines():
        if match := _CREATE.match(line):
            kind, table = match[1], match[2]
            wanted = " ".join(above)
            if there.get((table, None), wanted) != wanted:
                statements.append(f"COMMENT ON {kind} {table} IS {quote(wanted)}")
        elif match := _COLUMN.match(line):
            wanted = match[2].strip()
            if there.get((table, match[1].strip('"')), wanted) != wanted:
                statements.append(f"COMMENT ON COLUMN {table}.{match[1]} IS {quote(wanted)}")
        above = [*above, line[3:].strip()] if line.startswith("-- ") else []
    if statements:
        connection.execute(";".join(statements))


def _fill_event_types(connection: duckdb.DuckDBPyConnection) -> None:
    values: list[object] = []
    for row in EVENT_TYPES.values():
        optional = [param.key for param in row.params if not param.required]
        values += [row.name, row.rank, [param.key for param in row.required], optional, _does(row)]
    places = ", ".join(["(?, ?, ?, ?, ?)"] * len(EVENT_TYPES))
    connection.execute("DELETE FROM event_types")
    connection.execute(f"INSERT INTO event_types VALUES {places}", values)


def _fill_session_flags(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("DELETE FROM session_flags")
    values = [value for rule in RULES for value in (rule.flag, rule.meaning, rule.example)]
    connection.execute(f"INSERT INTO session_flags VALUES {', '.join(['(?, ?, ?)'] * len(RULES))}", values)


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
