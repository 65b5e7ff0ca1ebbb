"""Orphans: files of the lake that its catalogue does not list. They are found, kept for a while, then deleted.

Killed transactions leave them. Files are identified by name, a UUID that DuckLake chose: a file whose name is
anywhere in the catalogue is never touched, whatever its path looks like, and nothing is touched while a live file
is missing.

On a local disk an orphan is first moved into the folder of orphans, to `<time>/<its path below the files>`, and
deleted after some time there. Objects on S3 are not moved: they are scheduled for deletion once two listings, far
enough apart, both contain them. `listed.json` in the folder of orphans records earlier listings.
"""

import contextlib
import errno
import os
import re
import shutil
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import msgspec
import structlog

from lake.catalog import METADATA, NAME, Location, glob_literal
from lake.disk import flush

logger = structlog.get_logger(__name__)

MEMORY = "listed.json"
_OURS = re.compile(r"ducklake-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(-delete)?\.\w+")
_TIME = "%Y%m%dT%H%M%S.%fZ"
# Ids of orphans among the files scheduled for deletion; DuckLake's own ids count up from 0.
_FIRST_ID = 1 << 62
_NAMES_SHOWN = 20


class Memory(msgspec.Struct, frozen=True):
    """When orphans were last searched for, and since when each object on S3 has been listed as one."""

    looked_at: datetime | None = None
    listed_since: dict[str, datetime] = {}


class Sweep(msgspec.Struct, frozen=True):
    """How many orphans were set aside (on S3: scheduled for deletion), and how many were deleted."""

    aside: int = 0
    deleted: int = 0


def sweep(
    connection: duckdb.DuckDBPyConnection,
    place: Location,
    folder: Path,
    *,
    now: datetime,
    older_than: timedelta,
    kept: timedelta,
    interval: timedelta,
) -> Sweep:
    """Search for orphans once per interval, set aside those older than `older_than`, delete those aside for long.

    `folder` keeps orphans and the record of listings.
    """
    deleted = _delete_kept(folder, before=now - kept)
    memory = _remembered(folder)
    if memory.looked_at is not None and timedelta(0) <= now - memory.looked_at < interval:
        return Sweep(deleted=deleted)
    if (found := _find(connection, place, folder, before=now - older_than)) is None:
        _remember(folder, Memory(now, memory.listed_since))
        return Sweep(deleted=deleted)
    since: dict[str, datetime] = {}
    if place.is_local:
        _move_aside(found, place, folder / now.astimezone(UTC).strftime(_TIME))
        aside = len(found)
    else:
        confirmed, since = twice_listed(memory.listed_since, found, now=now, apart=kept)
        _schedule(connection, confirmed, now)
        aside = len(confirmed)
    _remember(folder, Memory(now, since))
    return Sweep(aside, deleted)


def twice_listed(
    since: Mapping[str, datetime], listed: Iterable[str], *, now: datetime, apart: timedelta
) -> tuple[list[str], dict[str, datetime]]:
    """Return the files listed for at least `apart`, and since when each of the others has been listed."""
    first = {file: since.get(file, now) for file in sorted(listed)}
    confirmed = [file for file, at in first.items() if now - at >= apart]
    return confirmed, {file: at for file, at in first.items() if file not in confirmed}


def names_in_use(connection: duckdb.DuckDBPyConnection) -> set[str]:
    """Return the names of all files that a snapshot references."""
    return _names(connection, "ducklake_data_file", "ducklake_delete_file")


def name_of(path: str) -> str:
    """Return the last part of a path."""
    return path.rpartition("/")[2]


def shown(names: Collection[str]) -> list[str]:
    """Return the first few names, for a log line."""
    return sorted(names)[:_NAMES_SHOWN]


def _names(connection: duckdb.DuckDBPyConnection, *tables: str) -> set[str]:
    paths = " UNION ALL ".join(f"SELECT path FROM {METADATA}.{table}" for table in tables)
    return {name_of(path) for (path,) in connection.execute(paths).fetchall()}


def _find(
    connection: duckdb.DuckDBPyConnection, place: Location, folder: Path, *, before: datetime
) -> set[str] | None:
    """Return the orphans from before a time, or None if live files are missing, so that nothing is certain."""
    if missing := _live_names(connection) - {name_of(file) for file in _files_there(connection, place)}:
        logger.error("orphans not removed: live files are missing", files=shown(missing), count=len(missing))
        return None
    if place.is_local and "[" in place.files:
        logger.warning("orphans not removed: DuckLake takes a [ in the path as a pattern", path=place.files)
        return set()
    rows = connection.execute(
        f"CALL ducklake_delete_orphaned_files('{NAME}', older_than => ?::TIMESTAMPTZ, dry_run => true)", [before]
    ).fetchall()
    listed = {row[0] for row in rows if _OURS.fullmatch(name_of(row[0]))}
    # Read after the listing, so that it includes what was committed meanwhile.
    known = names_in_use(connection) | _names(connection, "ducklake_files_scheduled_for_deletion")
    if wrong := {file for file in listed if name_of(file) in known}:
        logger.error("files of the lake were listed as orphans", files=shown(wrong), count=len(wrong))
    orphans = listed - wrong
    if place.is_local:
        return {file for file in orphans if _may_be_moved(Path(file), Path(place.files), folder, before)}
    return orphans


def _may_be_moved(file: Path, files: Path, folder: Path, before: datetime) -> bool:
    """Return whether a file belongs to this lake and is old; DuckLake takes a * in its path as a pattern."""
    path = file.resolve()
    if not path.is_relative_to(files) or path.is_relative_to(folder):
        return False
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_mtime < before.timestamp()
    return False


def _live_names(connection: duckdb.DuckDBPyConnection) -> set[str]:
    """Return the names of the files of the newest snapshot that are below the lake's own path."""
    rows = connection.execute(
        f"""
        SELECT f.path FROM {METADATA}.ducklake_data_file AS f
        JOIN {METADATA}.ducklake_table AS t ON t.table_id = f.table_id AND t.end_snapshot IS NULL
        JOIN {METADATA}.ducklake_schema AS s ON s.schema_id = t.schema_id AND s.end_snapshot IS NULL
        WHERE f.end_snapshot IS NULL
            AND f.path_is_relative::BOOLEAN AND t.path_is_relative::BOOLEAN AND s.path_is_relative::BOOLEAN
        """
    ).fetchall()
    return {name_of(path) for (path,) in rows}


def _files_there(connection: duckdb.DuckDBPyConnection, place: Location) -> Iterable[str]:
    if place.is_local:
        return (name for _, _, names in os.walk(place.files) for name in names)
    pattern = f"{glob_literal(place.files).rstrip('/')}/**"
    return [row[0] for row in connection.execute("SELECT file FROM glob(?)", [pattern]).fetchall()]


def _move_aside(found: Iterable[str], place: Location, target: Path) -> None:
    for file in sorted(found):
        source = Path(file).resolve()
        moved = target / source.relative_to(place.files)
        moved.parent.mkdir(parents=True, exist_ok=True)
        flush([path for path in moved.parents if path.is_relative_to(target.parent)] + [target.parent.parent])
        try:
            source.rename(moved)
        except FileNotFoundError:
            continue  # another round has moved it
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            _move_to_other_disk(source, moved)
        flush([moved, moved.parent, source.parent])


def _move_to_other_disk(source: Path, moved: Path) -> None:
    """Copy a file, then delete it; if killed between, both exist, and the next round moves it again."""
    draft = moved.with_name(moved.name + ".part")
    shutil.copy2(source, draft)
    flush([draft])
    draft.rename(moved)
    flush([moved.parent])
    source.unlink()


def _schedule(connection: duckdb.DuckDBPyConnection, files: Iterable[str], now: datetime) -> None:
    """Schedule objects for deletion by DuckLake, like its own old files: after the grace and a check of names."""
    scheduled = f"{METADATA}.ducklake_files_scheduled_for_deletion"
    for file in files:
        connection.execute(
            f"INSERT INTO {scheduled} (data_file_id, path, path_is_relative, schedule_start) "
            f"SELECT greatest({_FIRST_ID}, coalesce(max(data_file_id) + 1, 0)), ?, false, ?::TIMESTAMPTZ "
            f"FROM {scheduled}",
            [file, now],
        )


def _delete_kept(folder: Path, *, before: datetime) -> int:
    """Delete the orphans that were set aside before a time; return how many files."""
    deleted = 0
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if (moved_at := _time_of(path.name)) is None or moved_at >= before:
            continue
        deleted += sum(len(names) for _, _, names in os.walk(path))
        shutil.rmtree(path)
    return deleted


def _time_of(name: str) -> datetime | None:
    with contextlib.suppress(ValueError):
        return datetime.strptime(name, _TIME).replace(tzinfo=UTC)
    return None


def _remembered(folder: Path) -> Memory:
    """Return the record of earlier rounds; if it is unreadable, an empty one, which keeps orphans longer."""
    try:
        return msgspec.json.decode((folder / MEMORY).read_bytes(), type=Memory)
    except FileNotFoundError:
        return Memory()
    except msgspec.MsgspecError as error:
        logger.warning("memory of orphans lost", file=str(folder / MEMORY), error=str(error))
        return Memory()


def _remember(folder: Path, memory: Memory) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f"{MEMORY}.{os.getpid()}"
    draft.write_bytes(msgspec.json.encode(memory))
    flush([draft])
    flush([draft.rename(folder / MEMORY), folder])
