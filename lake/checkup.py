"""What `playhead doctor` asks a lake: may it be written, what does its clock say, can one of its files be read."""

import contextlib
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import duckdb
import msgspec

from lake.catalog import NAME, Location, ask_postgres, check_language, connect, glob_literal
from lake.schema import check_schema, check_tables, partitions_of
from lake.tables import tables_of
from lake.upkeep import clock_ahead
from lake.verify import elsewhere, missing
from schemas.faults import NotReady

FIRST_TABLES = ("events", "session_versions", "tracking_events")
PRIVILEGES = ("SELECT", "INSERT", "UPDATE", "DELETE")


class Catalogue(msgspec.Struct, frozen=True):
    """What the catalogue of a lake says.

    `partitions` are those that it has tables for. `file` is one of the lake's files, the newest of `table`; both
    are None if it has none. `clock_ahead_s` and `has_clock` are those of `Condition`.
    """

    partitions: list[int]
    table: str | None
    file: str | None
    has_clock: bool
    clock_ahead_s: float
    may_write: bool


def ask_catalogue(place: Location, *, clock: Callable[[], datetime]) -> Catalogue:
    """Ask the catalogue of a lake, without its files. Raises NotReady or duckdb.Error."""
    with contextlib.closing(connect(place, read_only=True)) as lake:
        check_language(lake, place)
        check_tables(lake, place)
        ahead = clock_ahead(lake, place, clock())
        table, file = _newest_file(lake)
        return Catalogue(
            partitions=partitions_of(lake),
            table=table,
            file=file,
            has_clock=place.kind == "postgres",
            clock_ahead_s=ahead.total_seconds(),
            may_write=_may_write(lake, place),
        )


def read_file(place: Location, table: str, file: str) -> None:
    """Read the first rows of one of the lake's files. Raises NotReady if it is missing, or duckdb.Error."""
    if place.is_local and not Path(file).exists():
        if not Path(place.files).is_dir():
            raise NotReady(elsewhere(place, 1))
        raise NotReady(f"{missing(table, file)}; `playhead verify` names all of them")
    with contextlib.closing(connect(place, read_only=True)) as lake:
        lake.execute("FROM read_parquet(?) LIMIT 1", [glob_literal(file)]).fetchall()


def check_number(place: Location) -> None:
    """Raise SchemaMismatch if the lake has another schema than this program."""
    with contextlib.closing(connect(place, read_only=True)) as lake:
        check_schema(lake, place)


def _newest_file(lake: duckdb.DuckDBPyConnection) -> tuple[str, str] | tuple[None, None]:
    tables = tables_of(lake)
    for table in [*(table for table in FIRST_TABLES if table in tables), *tables]:
        ((file,),) = lake.execute(
            f"SELECT max(data_file) FROM ducklake_list_files('{NAME}', '{table}', schema => 'main')"
        ).fetchall()
        if file is not None:
            return table, file
    return None, None


def _may_write(lake: duckdb.DuckDBPyConnection, place: Location) -> bool:
    """Return whether the catalogue lets us write."""
    if place.kind == "sqlite":
        catalog = Path(place.catalog)
        return os.access(catalog, os.W_OK) and os.access(catalog.parent, os.W_OK | os.X_OK)
    rights = " AND ".join(f"has_table_privilege(oid, '{privilege}')" for privilege in PRIVILEGES)
    question = (
        f"SELECT bool_and({rights}) AND NOT pg_is_in_recovery() FROM pg_class WHERE relname LIKE 'ducklake_%'"
    )
    return bool(ask_postgres(lake, question + " AND relkind = 'r'"))
