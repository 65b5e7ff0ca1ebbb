"""Maintenance of the lake: merges small files, expires old snapshots, deletes unreferenced files and statistics.

It runs in short-lived processes (`playhead upkeep`), because DuckLake's maintenance calls leak memory.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import TypeVar

import duckdb
import msgspec
import structlog

from lake import rolling, statistics
from lake.catalog import METADATA, NAME, Location, ask_postgres, transaction
from lake.disk import flush_new_files
from lake.errors import cause
from lake.merging import MERGED, merge
from lake.one_row import read_one, write_one
from lake.orphans import Sweep, name_of, names_in_use, shown, sweep
from lake.schema import open_to_write
from lake.settled import is_far_behind, settle
from lake.size import Size, read_size
from schemas.faults import NotReady
from schemas.process_name import process_name
from schemas.settings import Settings

T = TypeVar("T")
logger = structlog.get_logger(__name__)

_REQUESTS = ("start_requests", "start_copies")
REQUESTS_KEPT = timedelta(hours=1)
CLOCKS_DIFFER_MAX = timedelta(minutes=1)


class Ages(msgspec.Struct, frozen=True):
    """How long upkeep keeps what is no longer needed."""

    snapshots: timedelta  # the fence between two owners of a partition needs the snapshots between them
    days: timedelta  # how long the first snapshot of each day is kept
    grace: timedelta  # a reader may still use a file that newer snapshots do not reference
    orphans: timedelta  # files of an open transaction look like orphans until it commits
    orphans_aside: timedelta  # between setting an orphan aside and deleting it; on S3, between two listings
    orphans_interval: timedelta  # a search for orphans lists every file

    @classmethod
    def of(cls, settings: Settings) -> "Ages":
        """Return the ages that the settings give."""
        return cls(
            snapshots=timedelta(seconds=settings.lake_snapshots_kept_s),
            days=timedelta(days=settings.lake_daily_snapshots_kept_days),
            grace=timedelta(seconds=settings.lake_files_kept_s),
            orphans=timedelta(seconds=settings.lake_orphan_age_s),
            orphans_aside=timedelta(seconds=settings.lake_orphans_kept_s),
            orphans_interval=timedelta(seconds=settings.lake_orphans_interval_s),
        )


class LastUpkeep(msgspec.Struct, frozen=True):
    """The row of `last_upkeep`: when the last complete round ended, how long it took, and which process did it."""

    finished_at: datetime
    took_s: float
    done_by: str


class Maintenance(msgspec.Struct, frozen=True):
    """What one round did, how long it took, and how large the lake is after it."""

    merged_tables: list[str]
    snapshots_expired: int
    files_deleted: int
    orphans: Sweep
    requests_forgotten: int
    periods_rolled_up: int
    sessions_settled: int
    took_s: float
    size: Size


def maintain(place: Location, ages: Ages, *, orphans: Path, now: Callable[[], datetime]) -> Maintenance:
    """Do one round of maintenance. `orphans` is the folder that keeps orphans.

    `now` is called once, after everything is open, and may block. Raises duckdb.Error if a writer was in the way
    (retry later), SchemaMismatch, or NotReady, without deleting anything, if the clocks of this machine and the
    catalogue differ by more than a minute.
    """
    connection = open_to_write(place)
    try:
        rolled = _if_readable("roll-ups", lambda: _prepare_roll_ups(connection), rolling.NOTHING)
        time, began_s = now(), monotonic()
        check_clock(connection, place, time)
        forgotten = _forget_requests(connection, place, time)
        settled = _if_readable("settled sessions", lambda: settle(connection, place, now=time), 0)
        last = read_one(connection, "last_upkeep", LastUpkeep)
        is_first = last is not None and last.finished_at.date() < time.date()
        merged = [table for table in MERGED if merge(connection, table, place, is_first_of_day=is_first)]
        expired = _expire(connection, ages, time)
        deleted = _clean_up(connection, place, time - ages.grace)
        swept = sweep(
            connection,
            place,
            orphans,
            now=time,
            older_than=ages.orphans,
            kept=ages.orphans_aside,
            interval=ages.orphans_interval,
        )
        periods = rolling.write(connection, place, rolled)
        statistics.forget(connection)
        took_s = monotonic() - began_s
        done = LastUpkeep(time + timedelta(seconds=took_s), took_s, process_name())
        with transaction(connection):
            write_one(connection, "last_upkeep", done)
            flush_new_files(place, ["last_upkeep"], since_ms=int(time.timestamp() * 1000))
        return Maintenance(
            merged, expired, deleted, swept, forgotten, periods, settled, took_s, read_size(connection, place)
        )
    finally:
        connection.close()


def _prepare_roll_ups(connection: duckdb.DuckDBPyConnection) -> rolling.Round:
    """Compute roll-ups, unless settling is far behind: a day of sessions that are not settled takes all memory."""
    return rolling.NOTHING if is_far_behind(connection) else rolling.prepare(connection)


def _if_readable(part: str, work: Callable[[], T], otherwise: T) -> T:
    """Do a part of a round that reads sessions; if it cannot, that must not keep the rest from its work."""
    try:
        return work()
    except duckdb.IOException as error:
        logger.error("a file of the lake cannot be read", part=part, error=cause(error))
    except duckdb.OutOfMemoryException as error:
        logger.error("a part of upkeep needs more memory", part=part, error=cause(error))
    return otherwise


def check_clock(connection: duckdb.DuckDBPyConnection, place: Location, now: datetime) -> None:
    """Raise NotReady if this machine's clock and the catalogue's differ by more than a minute.

    A fast clock would expire snapshots that the fence between two workers needs, and treat files of open
    transactions as orphans. SQLite has no clock of its own, so there the newest snapshot must not be in the
    future.
    """
    ahead = clock_ahead(connection, place, now)
    is_right = abs(ahead) <= CLOCKS_DIFFER_MAX if place.kind == "postgres" else -ahead <= CLOCKS_DIFFER_MAX
    if not is_right:
        other = "PostgreSQL's clock" if place.kind == "postgres" else "the newest snapshot of the lake"
        direction = "ahead of" if ahead > timedelta(0) else "behind"
        raise NotReady(
            f"this machine's clock is {abs(ahead).total_seconds():.0f} s {direction} {other}; "
            "nothing is expired or deleted until they agree: correct the clock that is wrong"
        )


def clock_ahead(connection: duckdb.DuckDBPyConnection, place: Location, now: datetime) -> timedelta:
    """Return how far a clock is ahead of PostgreSQL's; with SQLite, of the newest snapshot."""
    if place.kind == "postgres":
        theirs_s = ask_postgres(connection, "SELECT extract(epoch FROM clock_timestamp())::float8")
    else:
        # The newest by number, so that a clock that was ahead and was corrected does not block upkeep.
        newest = f"SELECT epoch(arg_max(snapshot_time, snapshot_id)) FROM ducklake_snapshots('{NAME}')"
        ((theirs_s,),) = connection.execute(newest).fetchall()
    return timedelta(seconds=now.timestamp() - theirs_s)


def _forget_requests(connection: duckdb.DuckDBPyConnection, place: Location, now: datetime) -> int:
    """Write down which starts are retries, and delete the hashes of requests that have served; return how many.

    They have served an hour after the newest watermark: a lake that lags behind its log judges them first.
    """
    if not connection.execute("SELECT 1 FROM start_requests LIMIT 1").fetchall():
        return 0
    with transaction(connection):
        connection.execute(
            "INSERT INTO start_copies SELECT DISTINCT session_id FROM judged_starts "
            "WHERE is_copy AND session_id NOT IN (SELECT session_id FROM start_copies)"
        )
        rows = connection.execute(
            "DELETE FROM start_requests WHERE received_at < "
            "(SELECT max(coalesce(watermark, partition_time)) FROM ledger) - ?::INTERVAL",
            [REQUESTS_KEPT],
        ).fetchall()
        touched = [table for table in _REQUESTS if Path(place.files, "main", table).exists()]
        flush_new_files(place, touched, since_ms=int(now.timestamp() * 1000))
    return int(rows[0][0])


def _clean_up(connection: duckdb.DuckDBPyConnection, place: Location, older_than: datetime) -> int:
    """Delete files that are no longer referenced; return how many."""
    scheduled = f"{METADATA}.ducklake_files_scheduled_for_deletion"
    if place.kind == "sqlite":
        # DuckLake compares these times as text, its own "2026-01-01 12:00" with our "2026-01-01T11:00", and would
        # delete everything scheduled today, which readers may still use.
        connection.execute(
            f"UPDATE {scheduled} SET schedule_start = replace(schedule_start, ' ', 'T') "
            "WHERE contains(schedule_start, ' ')"
        )
    paths = [row[0] for row in connection.execute(f"SELECT path FROM {scheduled}").fetchall()]
    needed = names_in_use(connection)
    if wrong := [path for path in paths if name_of(path) in needed]:
        logger.error("files of the lake were scheduled for deletion", files=shown(wrong), count=len(wrong))
        connection.executemany(f"DELETE FROM {scheduled} WHERE path = ?", [[path] for path in wrong])
    return len(
        connection.execute(
            f"CALL ducklake_cleanup_old_files('{NAME}', older_than => ?::TIMESTAMPTZ)", [older_than]
        ).fetchall()
    )


def _expire(connection: duckdb.DuckDBPyConnection, ages: Ages, now: datetime) -> int:
    """Expire old snapshots; the youngest are kept, and of the others the first of each day, for some days."""
    rows = connection.execute(
        f"""
        SELECT snapshot_id FROM ducklake_snapshots('{NAME}')
        WHERE snapshot_time < ?::TIMESTAMPTZ
        QUALIFY row_number() OVER (PARTITION BY snapshot_time::DATE ORDER BY snapshot_id) > 1
             OR snapshot_time < ?::TIMESTAMPTZ
        ORDER BY 1
        """,
        [now - ages.snapshots, now - ages.days],
    ).fetchall()
    versions = [row[0] for row in rows]
    if versions:
        listed = ", ".join(str(version) for version in versions)
        connection.execute(f"CALL ducklake_expire_snapshots('{NAME}', versions => [{listed}])")
    return len(versions)
