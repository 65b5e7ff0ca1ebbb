"""Attach the lake: where its catalogue and files are, and the one way to open them."""

import importlib.util
from pathlib import Path
from typing import Literal

import duckdb
import msgspec

from schemas.faults import NotReady
from schemas.settings import Settings

NAME = "lake"
# The scanner each kind of catalogue needs beside `ducklake`, as DuckDB and as the package index call it.
_SCANNERS = {"sqlite": "sqlite_scanner", "postgres": "postgres_scanner"}


class Location(msgspec.Struct, frozen=True):
    """Where a lake is: the kind and address of its catalogue, and the folder or s3:// address of its files."""

    kind: Literal["sqlite", "postgres"]
    catalog: str
    files: str

    @property
    def uri(self) -> str:
        return f"ducklake:{self.kind}:{self.catalog}"

    @property
    def is_local(self) -> bool:
        return "://" not in self.files


def location(settings: Settings) -> Location:
    """Return where the settings put the lake. Raises NotReady where they contradict themselves."""
    folder = settings.data_dir.absolute() / "lake"
    files = settings.lake_files or str(folder / "files")
    if settings.lake_catalog == "sqlite":
        return Location("sqlite", str(folder / "catalog.sqlite"), files)
    kind, _, connection = settings.lake_catalog.partition(":")
    if kind != "postgres" or not connection:
        raise NotReady("PLAYHEAD_LAKE_CATALOG must be `sqlite` or `postgres:<connection string>`")
    return Location("postgres", connection, files)


def extension_path(name: str) -> str:
    """Return the file of a DuckDB extension that is installed as a Python package (nothing is downloaded)."""
    spec = importlib.util.find_spec(f"duckdb_extension_{name}")
    if spec is None or not spec.submodule_search_locations:
        raise NotReady(f"the package duckdb-extension-{name.replace('_', '-')} is not installed")
    (path,) = Path(spec.submodule_search_locations[0]).glob("extensions/*/*.duckdb_extension")
    return str(path)


def attach_sql(place: Location, *, read_only: bool) -> str:
    """Return the ATTACH statement of a lake under the name `lake`."""
    options = [f"DATA_PATH {_quote(place.files)}", "OVERRIDE_DATA_PATH true"]
    if read_only:
        options.append("READ_ONLY")
    else:
        options.append("DATA_INLINING_ROW_LIMIT 0")
        if place.kind == "sqlite":
            # Without WAL, readers and the writer stop each other for seconds.
            options += ["META_JOURNAL_MODE 'WAL'", "META_BUSY_TIMEOUT 5000"]
    return f"ATTACH {_quote(place.uri)} AS {NAME} ({', '.join(options)})"


def paste_sql(place: Location) -> str:
    """Return the statements that any DuckDB client can paste to read this lake."""
    scanner = {"sqlite": "sqlite", "postgres": "postgres"}[place.kind]
    wanted = ["ducklake", scanner] + ([] if place.is_local else ["httpfs"])
    lines = [f"INSTALL {name}; LOAD {name};" for name in wanted]
    return "\n".join([*lines, attach_sql(place, read_only=True) + ";", f"USE {NAME};", "SET TimeZone = 'UTC';"])


def connect(
    place: Location, *, read_only: bool, memory: str = "1GB", threads: int = 1
) -> duckdb.DuckDBPyConnection:
    """Open a lake and make it the default catalogue; times are UTC.

    Raises NotReady where there is none yet. A process that has the lake attached must never open the catalogue
    with another SQLite library: two in one process drop each other's locks, and the file is destroyed.
    """
    if place.kind == "sqlite" and read_only and not Path(place.catalog).exists():
        raise NotReady(f"there is no lake at {place.catalog}; `playhead init` makes one")
    connection = duckdb.connect(config={"threads": threads, "memory_limit": memory})
    try:
        for extension in ("ducklake", _SCANNERS[place.kind], *([] if place.is_local else ["httpfs"])):
            connection.execute(f"LOAD {_quote(extension_path(extension))}")
        connection.execute("SET ducklake_max_retry_count = 20")
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(attach_sql(_with_timeout(place), read_only=read_only))
        connection.execute(f"USE {NAME}")
    except duckdb.Error:
        connection.close()
        raise
    return connection


def _with_timeout(place: Location) -> Location:
    """Let PostgreSQL end transactions that sleep: the ledger's fence is only as old as the kept snapshots."""
    if place.kind != "postgres" or "idle_in_transaction_session_timeout" in place.catalog:
        return place
    options = " options='-c idle_in_transaction_session_timeout=60000 -c lc_messages=C'"
    return Location(place.kind, place.catalog + options, place.files)


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
