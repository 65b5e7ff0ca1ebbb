"""Copies sessions, and all that belongs to them, into a DuckDB file or Parquet files: of one snapshot, and whole.

The file answers the lake's questions without the lake: it has the views and macros that need nothing but these
tables. A folder has the same tables as Parquet, and the views of the lists in sessions.
"""

import contextlib
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import duckdb
import msgspec

from lake.catalog import Location, connect, quote, snapshot_number
from lake.disk import flush
from lake.draft import draft_of
from lake.query import one_line
from lake.reading import QueryRefused, check, confine
from lake.schema import check_schema
from lake.tables import LISTS, copied_definitions_sql
from lake.watch import Watch
from schemas.faults import Fault

FILE_SUFFIX = ".duckdb"
RECORD = "exported"  # the table that says what was exported
EXPLAINED = ("event_types", "session_flags", "metric_catalog", "column_meanings")
_COPY = "copy"  # the name of the new file's database while it is written
_OTHER_FILES = frozenset((".csv", ".db", ".json", ".parquet", ".sqlite"))


class ExportRefused(Fault):
    """The target cannot be written; the message says what to do."""

    code = "export_refused"


class Choice(msgspec.Struct, frozen=True):
    """Which sessions: those that started from `since` up to `until`, and fulfil a condition in SQL."""

    since: datetime | None = None
    until: datetime | None = None
    where: str | None = None

    @property
    def conditions(self) -> list[str]:
        found = [] if self.since is None else [f"started_at >= TIMESTAMPTZ {quote(self.since.isoformat())}"]
        found += [] if self.until is None else [f"started_at < TIMESTAMPTZ {quote(self.until.isoformat())}"]
        return found + ([] if self.where is None else [f"(\n{self.where}\n)"])


class Exported(msgspec.Struct, frozen=True):
    """What was written: rows by table, the lake's snapshot, and the size."""

    rows: dict[str, int]
    snapshot: int
    size_bytes: int


def export(
    place: Location, target: Path, choice: Choice, *, now: datetime, overwrite: bool, watch: Watch
) -> Exported:
    """Write a file, if the target ends with .duckdb, or else a folder; only what is complete gets that name.

    Raises ExportRefused if the target exists or is unsuitable, QueryRefused if the condition is invalid, and
    SchemaMismatch if the lake has another schema than this program.
    """
    if any(part.endswith(":") for part in target.parts[:1]):
        raise ExportRefused(f"{target} is an address; export to a path on this machine")
    target = target.expanduser().absolute()
    is_file = target.suffix == FILE_SUFFIX
    _check_target(place, target, is_file=is_file, overwrite=overwrite)
    with draft_of(target) as draft:
        made = draft / "new"
        made.mkdir()
        file = made / f"{target.stem}{FILE_SUFFIX}"
        with contextlib.closing(connect(place, read_only=True, threads=2, one_snapshot=True)) as connection:
            check_schema(connection, place)
            for statement in _preparations(file, draft):
                connection.execute(statement)
            confine(connection, [place.files, str(draft)])
            rows, number = _copy(connection, choice, now, watch)
            if not is_file:
                _write_parquet(connection, made, watch)
        if not is_file:
            file.unlink()
        size_bytes = sum(path.stat().st_size for path in made.iterdir())
        flush([*made.iterdir(), made])
        _publish(file if is_file else made, target, aside=draft / "old")
    flush([target.parent])
    return Exported(rows, number, size_bytes)


def _check_target(place: Location, target: Path, *, is_file: bool, overwrite: bool) -> None:
    resolved = target.resolve()
    own = [Path(place.files)] if place.is_local else []
    own += [Path(place.catalog).parent] if place.kind == "sqlite" else []
    if any(resolved.is_relative_to(folder) or folder.is_relative_to(resolved) for folder in own):
        raise ExportRefused(f"{target} belongs to the lake; export to another folder")
    if target.suffix in _OTHER_FILES:
        raise ExportRefused(f"{target.name} is neither a file that ends with {FILE_SUFFIX} nor a folder")
    if not target.exists() or (target.is_dir() and not is_file and not any(target.iterdir())):
        return
    if target.is_dir() and (is_file or not (target / f"{RECORD}.parquet").exists()):
        raise ExportRefused(f"{target} is a folder that no export wrote; choose another name")
    if not target.is_dir() and not is_file:
        raise ExportRefused(f"{target} is a file; name a folder, or a file that ends with {FILE_SUFFIX}")
    if not overwrite:
        raise ExportRefused(f"{target} exists; --overwrite replaces it")
    if (log := target.with_name(f"{target.name}.wal")).exists():  # DuckDB would add it to the new file
        raise ExportRefused(f"{target} is open in another program, or was not closed: {log} exists")


def _preparations(file: Path, draft: Path) -> list[str]:
    """Return what must be done before the connection is confined to the lake and the draft."""
    return [
        f"ATTACH {quote(str(file))} AS {_COPY}",
        f"SET temp_directory = {quote(str(draft / 'spilled'))}",
        "SET preserve_insertion_order = false",  # or whole tables would be held in memory
        "SET enable_progress_bar = true",  # for whoever watches
        "SET enable_progress_bar_print = false",
    ]


def _copy(
    connection: duckdb.DuckDBPyConnection, choice: Choice, now: datetime, watch: Watch
) -> tuple[dict[str, int], int]:
    """Copy tables; define views and macros over them."""
    sessions = " AND ".join(["SELECT * FROM sessions WHERE true", *choice.conditions])
    rows: dict[str, int] = {}

    def copied(table: str, query: str) -> None:
        with watch(connection, table):
            ((rows[table],),) = connection.execute(f"CREATE TABLE {_COPY}.main.{table} AS {query}").fetchall()

    number = snapshot_number(connection)
    try:
        check(connection, sessions)
        copied("sessions", sessions)
    except duckdb.Error as error:
        raise QueryRefused(one_line(error)) from error
    copied("events", f"SELECT * FROM events {_of_copied(connection, choice)}")
    named = f"WHERE tracking_session_id IN (SELECT tracking_session_id FROM {_COPY}.main.sessions)"
    copied("tracking_sessions", f"SELECT * FROM tracking_sessions {named if choice.conditions else ''}")
    for table in EXPLAINED:
        copied(table, f"SELECT * FROM {table}")
    _record(connection, choice, number, now)
    connection.execute(f"USE {_COPY}.main")
    connection.execute(copied_definitions_sql())
    connection.execute(f"CHECKPOINT {_COPY}")
    return rows, number


def _record(connection: duckdb.DuckDBPyConnection, choice: Choice, number: int, now: datetime) -> None:
    """Write what is exported, from which snapshot, and when."""
    values = {
        "made_at": now,
        "snapshot": number,
        "since": choice.since,
        "until": choice.until,
        "condition": choice.where,
        "program": f"playhead {version('playhead')}",
    }
    columns = ", ".join(f'${name} AS "{name}"' for name in values)
    connection.execute(f"CREATE TABLE {_COPY}.main.{RECORD} AS SELECT {columns}", values)


def _of_copied(connection: duckdb.DuckDBPyConnection, choice: Choice) -> str:
    """Return the condition for the events of the copied sessions, the first of which arrived at a known time."""
    if not choice.conditions:
        return ""
    ((first,),) = connection.execute(
        f"SELECT min(first_received_at)::VARCHAR FROM {_COPY}.main.sessions"
    ).fetchall()
    since = "" if first is None else f"received_at >= TIMESTAMPTZ {quote(first)} AND "
    return f"WHERE {since}session_id IN (SELECT session_id FROM {_COPY}.main.sessions)"


def _write_parquet(connection: duckdb.DuckDBPyConnection, folder: Path, watch: Watch) -> None:
    """Write the copied tables, and the lists of sessions, as Parquet."""
    for table in ("sessions", "events", "tracking_sessions", *LISTS, *EXPLAINED, RECORD):
        with watch(connection, f"{table}.parquet"):
            connection.execute(f"COPY {table} TO {quote(str(folder / f'{table}.parquet'))} (FORMAT parquet)")


def _publish(made: Path, target: Path, *, aside: Path) -> None:
    """Give what is complete its name; a folder that is replaced is moved aside first."""
    if target.is_dir() and any(target.iterdir()):
        target.rename(aside)
    made.replace(target)
