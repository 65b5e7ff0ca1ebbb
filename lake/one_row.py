"""A Struct as the only row of a table, by the names of its columns."""

from typing import TypeVar

import duckdb
import msgspec

T = TypeVar("T", bound=msgspec.Struct)


def read_one(connection: duckdb.DuckDBPyConnection, table: str, kind: type[T]) -> T | None:
    """Return the row, or None if the table is empty."""
    rows = connection.execute(f"SELECT {', '.join(kind.__struct_fields__)} FROM {table}").fetchall()
    return kind(*rows[0]) if rows else None


def write_one(connection: duckdb.DuckDBPyConnection, table: str, row: msgspec.Struct) -> None:
    """Replace the row: two writers at once would conflict here."""
    connection.execute(f"DELETE FROM {table}")
    named = ", ".join(f"? AS {name}" for name in row.__struct_fields__)
    connection.execute(f"INSERT INTO {table} BY NAME SELECT {named}", list(msgspec.structs.astuple(row)))
