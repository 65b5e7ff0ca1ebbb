"""Back up a lake while it runs, and restore it: every table as Parquet, of one snapshot, with a manifest.

A backup does not depend on the kind of catalogue, and is good only once its manifest stands, which is written
last. Together with the log from the manifest's offsets on, it is the whole truth: `playhead rebuild` restores the
newest backup and replays the rest. The embedded log keeps what no backup holds.
"""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import msgspec

from lake.catalog import NAME, Location, connect
from lake.disk import flush
from lake.schema import SCHEMA, open_to_write, partitions_of, schema_of
from lake.tables import initialize
from schemas.faults import NotReady, SchemaMismatch

MANIFEST = "manifest.json"
FILE_BYTES = "256MB"


class Manifest(msgspec.Struct, frozen=True):
    """What a backup holds: rows by table, and for each partition the next offset that is not in it.

    `schema` is the schema number of the lake it was made of; release 0.1.0 wrote none, and its lakes have 1.
    """

    made_at: datetime
    next_offsets: dict[int, int]
    rows: dict[str, int]
    schema: int = 1


def back_up(place: Location, folder: Path, *, now: datetime) -> tuple[Path, Manifest]:
    """Write one more backup into `folder`; return where, and what it holds."""
    target = folder / now.astimezone(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    target.mkdir(parents=True)
    connection = connect(place, read_only=True, threads=2)
    try:
        connection.execute("BEGIN")
        rows = {table: _copy_out(connection, table, target / table) for table in _tables(connection)}
        offsets = dict(connection.execute("SELECT log_partition, next_offset FROM ledger").fetchall())
        schema = schema_of(connection)
    finally:
        connection.close()
    manifest = Manifest(now, offsets, rows, schema)
    flush([target, *target.rglob("*")])
    unfinished = target / (MANIFEST + ".part")
    unfinished.write_bytes(msgspec.json.format(msgspec.json.encode(manifest)))
    flush([unfinished.rename(target / MANIFEST), target])
    return target, manifest


def newest(folder: Path) -> tuple[Path, Manifest] | None:
    """Return the newest complete backup in a folder, or None."""
    complete = sorted(path.parent for path in folder.glob(f"*/{MANIFEST}"))
    return (complete[-1], _manifest(complete[-1])) if complete else None


def drop_older(folder: Path, *, keep: int) -> list[Path]:
    """Delete all but the newest `keep` complete backups, and what never became complete before them."""
    complete = sorted(path.parent for path in folder.glob(f"*/{MANIFEST}"))
    if len(complete) <= keep:
        return []
    dropped = sorted(path for path in folder.iterdir() if path.is_dir() and path < complete[-keep])
    for path in dropped:
        shutil.rmtree(path)
    return dropped


def restore(place: Location, backup: Path) -> Manifest:
    """Fill a lake that is not there yet from a backup, which may be of an older schema.

    Columns that the backup lacks have their defaults. Raises NotReady where there is a lake already, and
    SchemaMismatch where the backup is of a newer schema.
    """
    manifest = _manifest(backup)
    if manifest.schema > SCHEMA:
        raise SchemaMismatch(
            f"the backup {backup} has schema {manifest.schema}, and this program works with schema {SCHEMA}: "
            "restore it with the newer release"
        )
    initialize(place, partitions=len(manifest.next_offsets), migrate=False)
    connection = open_to_write(place)
    try:
        connection.execute("BEGIN")
        found = connection.execute("SELECT count(*), sum(next_offset) FROM ledger").fetchone()
        if found is None or found[0] != len(manifest.next_offsets) or found[1] != 0:
            raise NotReady(f"there is a lake at {place.catalog} already; move it away to rebuild it")
        for table in _tables(connection):
            if table in manifest.rows and table != "schema_number":
                _copy_in(connection, table, backup / table, manifest.rows[table])
        connection.execute("COMMIT")
    finally:
        connection.close()
    return manifest


def _tables(connection: duckdb.DuckDBPyConnection) -> list[str]:
    if not partitions_of(connection):
        raise NotReady("the lake has no tables; run `playhead init`")
    rows = connection.execute(
        "SELECT table_name FROM duckdb_tables() WHERE database_name = ? ORDER BY 1", [NAME]
    ).fetchall()
    return [row[0] for row in rows]


def _copy_out(connection: duckdb.DuckDBPyConnection, table: str, target: Path) -> int:
    target.mkdir()
    options = f"FORMAT parquet, FILE_SIZE_BYTES '{FILE_BYTES}', OVERWRITE_OR_IGNORE"
    connection.execute(f"COPY {table} TO '{target}' ({options})")
    return _count(connection, table)


def _copy_in(connection: duckdb.DuckDBPyConnection, table: str, source: Path, rows: int) -> None:
    connection.execute(f"DELETE FROM {table}")
    if rows:
        connection.execute(f"INSERT INTO {table} BY NAME SELECT * FROM read_parquet('{source}/*.parquet')")
    if (found := _count(connection, table)) != rows:
        raise NotReady(f"the backup of {table} in {source} has {found} rows instead of {rows}; it is damaged")


def _count(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    return row[0] if row else 0


def _manifest(backup: Path) -> Manifest:
    try:
        return msgspec.json.decode((backup / MANIFEST).read_bytes(), type=Manifest)
    except (OSError, msgspec.MsgspecError) as error:
        raise NotReady(f"{backup} is no complete backup: {error}") from error
