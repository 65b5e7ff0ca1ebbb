"""The lake's schema number: which one a lake has, and which one this program supports.

A lake made before there were numbers has schema 1. Code that writes to the lake or depends on its columns refuses
any other number than this program's; queries in SQL work with any.
"""

import contextlib

import duckdb
import structlog

from lake.catalog import NAME, Location, connect
from lake.errors import cause
from schemas.faults import NotReady, SchemaMismatch

SCHEMA = 3

logger = structlog.get_logger(__name__)


def names_of_tables(connection: duckdb.DuckDBPyConnection) -> set[str]:
    """Return the names of all tables of the lake, those of others included."""
    rows = connection.execute(
        "SELECT table_name FROM duckdb_tables() WHERE database_name = ? AND schema_name = 'main'", [NAME]
    ).fetchall()
    return {row[0] for row in rows}


def partitions_of(connection: duckdb.DuckDBPyConnection) -> list[int]:
    """Return the partitions that the lake has tables for."""
    rows = connection.execute(
        "SELECT table_name[-3:]::INTEGER FROM duckdb_tables() "
        "WHERE database_name = ? AND schema_name = 'main' AND regexp_full_match(table_name, 'ledger_p\\d{3}') "
        "ORDER BY 1",
        [NAME],
    ).fetchall()
    return [row[0] for row in rows]


def schema_of(connection: duckdb.DuckDBPyConnection) -> int:
    """Return the schema number of a lake that has tables."""
    if "schema_number" not in names_of_tables(connection):
        return 1
    ((number,),) = connection.execute("SELECT max(number) FROM schema_number").fetchall()
    return 1 if number is None else int(number)


def refuse_newer(found: int, place: Location) -> None:
    """Raise SchemaMismatch if a lake is newer than this program."""
    if found > SCHEMA:
        raise SchemaMismatch(
            f"the lake at {place.catalog} has schema {found}, and this program works with schema {SCHEMA}: "
            f"use the newer release that ran `playhead init` on it"
        )


def refuse_strangers(connection: duckdb.DuckDBPyConnection, place: Location) -> None:
    """Raise NotReady if the DuckLake has tables, but none of Playhead's: a wrong address leads here."""
    names = sorted(names_of_tables(connection))
    if names and "session_versions" not in names:
        raise NotReady(
            f"the DuckLake at {place.catalog} is somebody else's, with the tables {', '.join(names[:3])}: "
            "correct PLAYHEAD_LAKE_CATALOG or PLAYHEAD_DATA_DIR"
        )


def check_tables(connection: duckdb.DuckDBPyConnection, place: Location) -> None:
    """Raise NotReady if a lake has no tables of ours; this reads none of its files."""
    if not partitions_of(connection):
        refuse_strangers(connection, place)
        raise NotReady("the lake has no tables; run `playhead init`")


def check_schema(connection: duckdb.DuckDBPyConnection, place: Location) -> None:
    """Raise SchemaMismatch if a lake has another schema than this program, NotReady if it has no tables."""
    check_tables(connection, place)
    found = schema_of(connection)
    refuse_newer(found, place)
    if found < SCHEMA:
        raise SchemaMismatch(
            f"the lake at {place.catalog} has schema {found}, and this program works with schema {SCHEMA}: "
            f"stop the workers, then run `playhead init`, which migrates it"
        )


def check_lake(place: Location) -> None:
    """Raise NotReady if there is no lake, SchemaMismatch if it is of another schema.

    A lake that does not answer now may be right, and is only logged.
    """
    try:
        with contextlib.closing(connect(place, read_only=True)) as connection:
            check_schema(connection, place)
    except duckdb.Error as error:
        logger.warning("lake not read", error=cause(error))


def open_to_write(
    place: Location, *, memory: str = "1GB", transaction_timeout_s: float = 0.0
) -> duckdb.DuckDBPyConnection:
    """Open a lake for writing, as `connect` does. Raises SchemaMismatch, or NotReady if there is no lake."""
    connection = connect(place, read_only=False, memory=memory, transaction_timeout_s=transaction_timeout_s)
    try:
        check_schema(connection, place)
    except BaseException:
        connection.close()
        raise
    return connection
