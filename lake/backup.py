"""Backups of a running lake, and restoring them: every table as Parquet, from one snapshot, with a manifest.

A backup does not depend on the kind of catalogue, and lies in a folder or on S3. The manifest is written last, and
then a local folder gets its final name; without a manifest nothing is a backup. A backup and the log after the
manifest's offsets are complete together: `playhead rebuild` restores the newest backup and replays the rest of the
log. The embedded log keeps what no backup holds.
"""

import contextlib
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import msgspec

from lake import settled
from lake.backup_folder import Folder, LocalFolder
from lake.catalog import Location, check_s3_address, connect, connect_to_files, glob_literal, quote, s3_of
from lake.draft import UNFINISHED, draft_of
from lake.errors import cause
from lake.rollups import TABLES as ROLLED
from lake.s3 import S3Folder
from lake.schema import SCHEMA, open_to_write, partitions_of, refuse_newer, schema_of
from lake.tables import initialize, tables_of
from lake.verify import verify
from lake.watch import Watch, unwatched
from schemas.faults import NotReady, SchemaMismatch
from schemas.settings import Settings

MANIFEST = "manifest.json"
FIRST_BACKUP_WITHIN = timedelta(hours=1)
CLOCKS_DIFFER_MAX = timedelta(minutes=1)
FILE_BYTES = "256MB"
_TIME = "%Y%m%dT%H%M%S.%fZ"
F = TypeVar("F", bound=Folder)
_NAME = re.compile(r"\d{8}T\d{6}\.\d{6}Z(\.restored)?(\.unfinished)?")


class Manifest(msgspec.Struct, frozen=True):
    """The contents of a backup: rows by table, and for each partition the next offset that is not in it.

    `schema` is the schema number of its lake; release 0.1.0 wrote none, and its lakes have 1.
    """

    made_at: datetime
    next_offsets: dict[int, int]
    rows: dict[str, int]
    schema: int = 1


def folder_of_backups(settings: Settings) -> Folder:
    """Return where the settings want backups. Raises NotReady if that is no usable address."""
    if (folder := settings.local_backups) is not None:
        return LocalFolder(folder)
    check_s3_address(settings.lake_backups, "PLAYHEAD_LAKE_BACKUPS")
    return S3Folder(settings.lake_backups, s3_of(settings))


def back_up(place: Location, folder: F, *, now: datetime, watch: Watch = unwatched) -> tuple[F, Manifest]:
    """Write a new backup into `folder`; return its path and manifest. If that fails, nothing of it remains.

    Raises SchemaMismatch for a lake of a newer schema, whose backup would lack tables that this program does not
    know; OSError if the folder cannot be written.
    """
    target = folder / now.astimezone(UTC).strftime(_TIME)
    with target.drafted() as draft:
        return target, _write(_reaching(place, draft), draft, now, watch)


def _reaching(place: Location, folder: Folder) -> Location:
    """Return a lake whose connections also reach a folder."""
    return place if folder.s3 is None else msgspec.structs.replace(place, s3=folder.s3)


def _write(place: Location, target: Folder, now: datetime, watch: Watch) -> Manifest:
    connection = connect(place, read_only=True, threads=2, one_snapshot=True)
    try:
        schema = schema_of(connection)
        refuse_newer(schema, place)
        rows = {table: _copy_out(connection, table, target / table, watch) for table in _tables(connection)}
        offsets = dict(connection.execute("SELECT log_partition, next_offset FROM ledger").fetchall())
    finally:
        connection.close()
    manifest = Manifest(now, offsets, rows, schema)
    (target / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest)))
    return manifest


def newest(folder: F) -> tuple[F, Manifest] | None:
    """Return the complete backup in a folder that holds most of the log, or None.

    Raises NotReady if there are backups but none of them can be read, OSError if the folder cannot be reached.
    """
    complete, damaged = _look(folder)
    if damaged and not complete:
        raise next(iter(damaged.values()))
    return complete[-1] if complete else None


def last_made_at(folder: Folder, *, now: datetime) -> datetime | None:
    """Return when the last backup was made, ignoring any from the future, made under a wrong clock.

    Raises OSError if the folder cannot be reached.
    """
    complete, _ = _look(folder)
    return max((one.made_at for _, one in complete if one.made_at <= now + CLOCKS_DIFFER_MAX), default=None)


def is_due(made_at: datetime | None, *, now: datetime, interval: timedelta) -> bool:
    """Return whether the last backup is older than the interval."""
    return made_at is None or now - made_at >= interval


def is_overdue(made_at: datetime | None, *, now: datetime, retention: timedelta, watched_since: datetime) -> bool:
    """Return whether the newest backup is older than the log's retention, so that the log grows without limit.

    The age of a lake without backups is unknown: it gets an hour, or the retention if that is shorter.
    """
    if made_at is not None:
        return now - made_at > retention
    return now - watched_since > min(retention, FIRST_BACKUP_WITHIN)


def drop_older(folder: F, *, keep: int, now: datetime) -> list[F]:
    """Delete all but the newest `keep` complete backups, and the remains of killed ones; return what was deleted.

    A backup whose manifest cannot be read is kept, since it may be repairable.
    """
    complete, damaged = _look(folder)
    old = {path for path, _ in complete[:-keep]}
    kept = {path for path, _ in complete[-keep:]} | damaged.keys()
    for path in old:  # if killed while deleting, it must not look complete
        (path / MANIFEST).unlink()
    dropped = [
        path
        for path in folder.entries()
        if _NAME.fullmatch(path.name) and path not in kept and (path in old or not path.may_be_written(now))
    ]
    for path in dropped:
        path.rmtree()
    return dropped


def _look(folder: F) -> tuple[list[tuple[F, Manifest]], dict[F, NotReady]]:
    """Return the complete backups in a folder, and those that cannot be read, with the reason.

    They are ordered by how much of the log they hold: names and times depend on clocks, which may be wrong.
    """
    complete: list[tuple[F, Manifest]] = []
    damaged: dict[F, NotReady] = {}
    for path in folder.entries():
        if path.name.endswith(UNFINISHED):
            continue
        try:
            complete.append((path, _manifest(path)))
        except FileNotFoundError:
            continue
        except NotReady as fault:
            damaged[path] = fault
    complete.sort(key=lambda found: (sum(found[1].next_offsets.values()), found[0].name))
    return complete, damaged


def ledgers_of(backup: Folder) -> list[dict[str, Any]]:
    """Return the ledger rows in a backup, by column name."""
    pattern = quote(f"{glob_literal(str(backup))}/ledger_p*/*.parquet")
    with contextlib.closing(connect_to_files(backup.s3)) as connection:
        rows = connection.execute(f"FROM read_parquet({pattern}, union_by_name = true) ORDER BY log_partition")
        names = [column[0] for column in rows.description or []]
        return [dict(zip(names, row, strict=True)) for row in rows.fetchall()]


def restore(place: Location, backup: Folder, *, watch: Watch = unwatched) -> Manifest:
    """Create a lake from a backup, which may be of an older schema.

    Columns that the backup lacks get their defaults. Raises NotReady if there is a lake already, and
    SchemaMismatch if the backup is of a newer schema.
    """
    place = _reaching(place, backup)
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
        found = connection.execute("SELECT count(*), sum(next_offset) FROM ledger").fetchall()
        if found != [(len(manifest.next_offsets), 0)]:
            raise NotReady(f"there is a lake at {place.catalog} already; move it away to rebuild it")
        for table in _tables(connection):
            if table in manifest.rows and table != "schema_number":
                with watch(connection, table):
                    _copy_in(connection, table, backup / table, manifest.rows[table])
        connection.execute("COMMIT")
    finally:
        connection.close()
    return manifest


def check(backup: Folder, *, data: Path, watch: Watch = unwatched) -> None:
    """Restore a backup into a lake beside it, verify that lake, and delete it: it takes as much room again.

    A backup on S3 is restored into the folder `data`, where queries also put what exceeds their memory. Raises
    NotReady if it cannot be restored, or is not complete.
    """
    with draft_of(backup.beside(data) / f"{backup.name}.restored") as scratch:
        place = Location("sqlite", str(scratch / "catalog.sqlite"), str(scratch / "files"), spills=data)
        try:
            restore(place, backup, watch=watch)
            findings = verify(place).findings
        except duckdb.Error as error:
            raise NotReady(f"the backup {backup} cannot be restored: {cause(error)}") from error
    if findings:
        raise NotReady(f"the backup {backup} is not complete: {findings[0].detail}")


def _tables(connection: duckdb.DuckDBPyConnection) -> list[str]:
    if not partitions_of(connection):
        raise NotReady("the lake has no tables; run `playhead init`")
    # Settled tables are derived from the others, and their row ids are valid in this lake only. Upkeep computes
    # roll-ups again after a restore, with the metrics of the program that restores.
    return [table for table in tables_of(connection) if table not in (*settled.TABLES, *ROLLED)]


def _copy_out(connection: duckdb.DuckDBPyConnection, table: str, target: Folder, watch: Watch) -> int:
    target.make()
    options = f"FORMAT parquet, FILE_SIZE_BYTES '{FILE_BYTES}', OVERWRITE_OR_IGNORE"
    with watch(connection, table):
        ((copied,),) = connection.execute(f"COPY {table} TO {quote(str(target))} ({options})").fetchall()
    if (rows := _count(connection, table)) != copied:
        raise NotReady(f"{copied} of {rows} rows of {table} were copied; make the backup again")
    return rows


def _copy_in(connection: duckdb.DuckDBPyConnection, table: str, source: Folder, rows: int) -> None:
    connection.execute(f"DELETE FROM {table}")
    if rows:
        saved = f"FROM read_parquet({quote(f'{glob_literal(str(source))}/*.parquet')})"
        if table == "session_versions":
            # Sessions are settled up to a row (`settled.py`), so a version must not come before an earlier one. A
            # backup's files have the rows in any order.
            saved = f"{saved} WHERE version = 1 UNION ALL FROM ({saved} WHERE version > 1 ORDER BY version)"
        connection.execute(f"INSERT INTO {table} BY NAME {saved}")
    if (found := _count(connection, table)) != rows:
        raise NotReady(f"the backup of {table} in {source} has {found} rows instead of {rows}; it is damaged")


def _count(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    ((rows,),) = connection.execute(f"SELECT count(*) FROM {table}").fetchall()
    return int(rows)


def _manifest(backup: Folder) -> Manifest:
    """Return the manifest of a backup. Raises FileNotFoundError, or NotReady if it cannot be read."""
    try:
        return msgspec.json.decode((backup / MANIFEST).read_bytes(), type=Manifest)
    except msgspec.MsgspecError as error:
        raise NotReady(f"{backup} is not a complete backup: {error}") from error
