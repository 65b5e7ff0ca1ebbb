"""Settles sessions: copies what will rarely change into a table by day, so that a question reads only its days.

A version of a session is settled a while after the day on which it closed. A round settles a bounded number, since
memory is bounded: in a lake that was restored, all are to be settled. It replaces whole days in one transaction:
what they had, without what newer versions supersede, and what closed since. Rows are written in the order of their
ids, which begin with their time; derived ids do not, and get files of their own. The view `sessions` adds what is
not settled yet, so it is right at any time, and whatever a killed round leaves.

Only upkeep writes these tables. They are derived: `reset` empties them, and the next rounds fill them again.
"""

import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import msgspec

from lake.catalog import NAME, Location, quote, transaction
from lake.disk import flush_new_files
from lake.one_row import read_one, write_one

SETTLED_AFTER = timedelta(hours=1)  # after the end of a day: hashes of requests have served by then
SESSIONS_A_ROUND = 1_000_000  # the next round settles the rest
SESSIONS_A_FILE = 200_000  # sorting more at once takes more memory
SESSIONS_A_ROW_GROUP = 30_720  # looking one session up reads one of these; with 122,880 it took thrice as long
FIRST_BORN = f"{1:012x}"  # derived ids are smaller: they have no time
TABLES = ("settled_sessions", "settled_upto")
BOUND_FOR = timedelta(days=7)  # a new bound replaces one that is this much earlier
_BOUND = re.compile(r"\bas_of >= CAST\('([^']+)'")  # in the text that DuckDB makes of a view

# The day that a session belongs to. Starts that a wrong clock invented have none, or each would get a file.
_DAY = (
    "if(started_at <= first_received_at + INTERVAL 1 DAY AND started_at > first_received_at - INTERVAL 31 DAY, "
    "started_at::DATE, NULL)"
)

# What tracking sessions tell of their sessions; the braces are for which of their events.
_TOLD = """
SELECT
    tracking_session_id,
    arg_min(user_id, log_offset) AS first_user_id,
    bool_or(consent = 'denied') AS has_denial
FROM tracking_events {} GROUP BY tracking_session_id
"""


class Upto(msgspec.Struct, frozen=True):
    """The row of `settled_upto`: up to which rows of each table sessions are settled."""

    round: int = 0
    day: date | None = None
    versions: int = 0
    versions_snapshot: int = -1
    tracking: int = 0
    tracking_snapshot: int = -1
    copies: int = 0
    copies_snapshot: int = -1


def start(connection: duckdb.DuckDBPyConnection) -> None:
    """Put the row into `settled_upto` that says that nothing is settled, if it has none."""
    if read_one(connection, "settled_upto", Upto) is None:
        write_one(connection, "settled_upto", Upto())


def choose_format(connection: duckdb.DuckDBPyConnection) -> None:
    """Choose how files of settled sessions are written from now on. Their table must have been committed.

    They are written once and read often: as zstd they take two thirds of the space, and no longer to read.
    """
    for option, value in (("row_group_size", SESSIONS_A_ROW_GROUP), ("compression", "zstd")):
        connection.execute(
            f"CALL ducklake_set_option('{NAME}', 'parquet_{option}', '{value}', table_name => 'settled_sessions')"
        )


def reset(connection: duckdb.DuckDBPyConnection) -> None:
    """Forget what is settled; the next rounds settle it again. Whoever deletes rows of sessions must call this."""
    connection.execute("DELETE FROM settled_sessions")
    write_one(connection, "settled_upto", Upto())
    _bound(connection, None)


def unsettled_sql(table: str, name: str) -> str:
    """Return the query of a table's rows that upkeep has not settled, by the columns `name` of settled_upto.

    Row ids say it exactly, since they stay when files are merged or rewritten. Only snapshot ids skip files, once
    these are open. All come from one subquery, which DuckDB runs once.
    """
    first = ", ".join(
        f"{each}: coalesce(max({each}), 0), {each}_snapshot: coalesce(max({each}_snapshot), -1)"
        for each in ("versions", "tracking", "copies")
    )
    upto = f"(SELECT {{{first}}} FROM settled_upto)"
    return f"SELECT * FROM {table} WHERE rowid >= {upto}.{name} AND snapshot_id > {upto}.{name}_snapshot"


def drop_bound(connection: duckdb.DuckDBPyConnection) -> None:
    """Let versions as of any time follow: the time of a partition goes back in this transaction."""
    write_one(connection, "settled_upto", _upto(connection))  # conflicts with a round that settles meanwhile
    _bound(connection, None)


def _bound(connection: duckdb.DuckDBPyConnection, earliest: datetime | None) -> None:
    """Let `young_versions` open only files with versions as of `earliest` or later; None: any file.

    A number in the view's text skips files before they are opened, by what the catalogue knows of each. Replacing
    a view makes every connection read the schema again, in 0.1 s and 6 MB that it never frees, so a bound is
    replaced only by one that is a week later.
    """
    ((text, comment),) = connection.execute(
        "SELECT sql, comment FROM duckdb_views() WHERE database_name = ? AND view_name = 'young_versions'", [NAME]
    ).fetchall()
    found = _BOUND.search(text)
    known = datetime.fromisoformat(found[1]) if found else None
    if known == earliest or (known and earliest and known <= earliest < known + BOUND_FOR):
        return
    query = unsettled_sql("session_versions", "versions")
    if earliest is not None:
        query += f" AND as_of >= TIMESTAMPTZ '{earliest.astimezone(UTC)}'"
    connection.execute(f"CREATE OR REPLACE VIEW young_versions AS {query}")
    connection.execute(f"COMMENT ON VIEW young_versions IS {quote(comment or '')}")


def _earliest(connection: duckdb.DuckDBPyConnection, upto: Upto) -> datetime | None:
    """Return a time before which no version is or will be that is not settled; None if there is no such time.

    Partitions continue from the times in their ledgers; `drop_bound` is for one that does not.
    """
    ((found,),) = connection.execute(
        f"""
        SELECT nullif(least(
            min(coalesce(partition_time, '-infinity')),
            (SELECT min(coalesce(as_of, '-infinity')) FROM {_young(upto)})
        ), '-infinity')
        FROM ledger
        """
    ).fetchall()
    earliest: datetime | None = found
    return earliest


def is_far_behind(connection: duckdb.DuckDBPyConnection, *, sessions_max: int = SESSIONS_A_ROUND) -> bool:
    """Return whether more is to be settled than a round settles."""
    upto, day = _upto(connection), _day_over(connection)
    if day is None or day == upto.day:
        return False
    ((ripe,),) = connection.execute(f"SELECT count(*) FROM {_young(upto)} AND as_of < ?::DATE", [day]).fetchall()
    return int(ripe) > sessions_max


def settle(
    connection: duckdb.DuckDBPyConnection, place: Location, *, now: datetime, sessions_max: int = SESSIONS_A_ROUND
) -> int:
    """Settle what closed up to the last day that is over by the newest watermark; return the number of rows.

    Does nothing if that day is settled. At most `sessions_max` versions are settled; the next round continues.
    `now` is this machine's clock. Raises duckdb.Error if another process settled at the same time.
    """
    if _day_over(connection) == _upto(connection).day:
        return 0
    with transaction(connection):
        written = _settle(connection, sessions_max)
        touched = [table for table in TABLES if Path(place.files, "main", table).exists()]
        flush_new_files(place, touched, since_ms=int(now.timestamp() * 1000))
    return written


def _settle(connection: duckdb.DuckDBPyConnection, sessions_max: int) -> int:
    before, day = _upto(connection), _day_over(connection)
    if day is None or day == before.day:
        return 0
    after = _advanced(connection, before, day, sessions_max)
    _find_ripe(connection, before, after)
    written = 0
    for (touched,) in connection.execute("SELECT * FROM touched ORDER BY 1").fetchall():
        written += _replace_day(connection, touched, before, after)
    after = msgspec.structs.replace(after, **_passed_copies(connection, before))
    write_one(connection, "settled_upto", after)
    if after.versions > before.versions and (earliest := _earliest(connection, after)) is not None:
        _bound(connection, earliest)
    for table in ("ripe", "tracking", "ripe_tracking", "touched"):
        connection.execute(f"DROP TABLE temp.{table}")
    return written


def _upto(connection: duckdb.DuckDBPyConnection) -> Upto:
    return read_one(connection, "settled_upto", Upto) or Upto()


def _day_over(connection: duckdb.DuckDBPyConnection) -> date | None:
    """Return the day before which sessions may be settled, by the newest watermark."""
    rows = connection.execute(
        "SELECT (max(coalesce(watermark, partition_time)) - ?::INTERVAL)::DATE FROM ledger", [SETTLED_AFTER]
    ).fetchall()
    found: date | None = rows[0][0]
    return found


def _young(upto: Upto) -> str:
    """Return the versions that are not settled yet, to be followed by further conditions."""
    return f"session_versions WHERE rowid >= {upto.versions} AND snapshot_id > {upto.versions_snapshot}"


def _advanced(connection: duckdb.DuckDBPyConnection, before: Upto, day: date | None, sessions_max: int) -> Upto:
    """Return up to where this round settles, copies left as they are.

    Rows are settled in the order of their commits, which row ids keep. Not settled, with what follows it, is a
    session that the open sessions still list in the same version, or whose start may yet be judged to be a copy.
    """
    young = _young(before)
    ((ripe,),) = connection.execute(f"SELECT max(rowid) + 1 FROM {young} AND as_of < ?::DATE", [day]).fetchall()
    ((unripe,),) = connection.execute(
        f"""
        SELECT min(young_row) FROM (
            SELECT min(v.rowid) AS young_row FROM {young.replace(" ", " AS v ", 1)}
                AND session_id IN (SELECT session_id FROM start_requests)
            UNION ALL
            SELECT min(young_row)
            FROM (SELECT rowid AS young_row, session_id, version FROM {young})
            SEMI JOIN open_sessions USING (session_id, version)
        )
        """
    ).fetchall()
    upto = before.versions if ripe is None else max(before.versions, min(ripe, ripe if unripe is None else unripe))
    if upto > before.versions + sessions_max:
        upto, day = before.versions + sessions_max, before.day
    ((kept, newest),) = connection.execute(
        f"SELECT min(snapshot_id) FILTER (WHERE rowid >= {upto}), max(snapshot_id) FROM {young}"
    ).fetchall()
    snapshot = kept - 1 if kept is not None else newest if newest is not None else before.versions_snapshot
    ((tracking, tracking_snapshot),) = connection.execute(
        "SELECT max(rowid) + 1, max(snapshot_id) FROM tracking_events "
        f"WHERE rowid >= {before.tracking} AND snapshot_id > {before.tracking_snapshot}"
    ).fetchall()
    return msgspec.structs.replace(
        before,
        round=before.round + 1,
        day=day,
        versions=upto,
        versions_snapshot=snapshot,
        tracking=before.tracking if tracking is None else tracking,
        tracking_snapshot=before.tracking_snapshot if tracking_snapshot is None else tracking_snapshot,
    )


def _find_ripe(connection: duckdb.DuckDBPyConnection, before: Upto, after: Upto) -> None:
    """Find what this round settles, its tracking sessions, later news of others, and the days to rewrite."""
    since = (
        f"WHERE rowid >= {before.tracking} AND snapshot_id > {before.tracking_snapshot} "
        "AND (user_id IS NOT NULL OR consent = 'denied')"
    )
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE ripe AS
        SELECT
            session_id, version, {_DAY} AS settled_day,
            if(tracking_verified, tracking_session_id, NULL) AS tracking_session_id
        FROM session_versions WHERE {_ripe(before, after)};
        CREATE OR REPLACE TEMP TABLE tracking AS {_TOLD.format("SEMI JOIN ripe USING (tracking_session_id)")};
        CREATE OR REPLACE TEMP TABLE ripe_tracking AS {_TOLD.format(since)};
        CREATE OR REPLACE TEMP TABLE touched AS
        SELECT settled_day FROM ripe
        UNION SELECT settled_day FROM settled_sessions
            SEMI JOIN (SELECT session_id, version - 1 AS version FROM ripe WHERE version > 1)
            USING (session_id, version)
        UNION SELECT settled_day FROM settled_sessions SEMI JOIN ripe_tracking USING (tracking_session_id)
        """
    )


def _replace_day(connection: duckdb.DuckDBPyConnection, day: date | None, before: Upto, after: Upto) -> int:
    """Write the rows of a day, and drop those of earlier rounds in whole files; return the number of rows."""
    of_day = "settled_day IS NULL" if day is None else f"settled_day = DATE '{day}'"
    written = 0
    for span in _spans(connection, of_day):
        rows = connection.execute(
            f"INSERT INTO settled_sessions BY NAME {_rows_of_day(of_day, span, before, after)} ORDER BY session_id"
        ).fetchall()
        written += rows[0][0]
    connection.execute(f"DELETE FROM settled_sessions WHERE {of_day} AND settled_round < {after.round}")
    return written


def _spans(connection: duckdb.DuckDBPyConnection, of_day: str) -> list[str]:
    """Return conditions that divide a day's ids into files: derived ids, and the others in spans of like size."""
    ids = " UNION ALL ".join(
        f"SELECT session_id FROM {table} WHERE {of_day}" for table in ("ripe", "settled_sessions")
    )
    ((derived, born),) = connection.execute(
        f"SELECT count(*) FILTER (WHERE session_id < '{FIRST_BORN}'), count(*) FROM ({ids})"
    ).fetchall()
    born -= derived
    spans = [f"session_id < '{FIRST_BORN}'"] if derived else []
    if not born:
        return spans
    edges = [FIRST_BORN]
    if files := -(-born // SESSIONS_A_FILE) - 1:
        shares = [n / (files + 1) for n in range(1, files + 1)]
        ((found,),) = connection.execute(
            f"SELECT quantile_disc(session_id, {shares}) FROM ({ids}) WHERE session_id >= '{FIRST_BORN}'"
        ).fetchall()
        edges += sorted(set(found) - {FIRST_BORN})
    for low, high in zip(edges, [*edges[1:], None], strict=True):
        spans.append(f"session_id >= '{low}'" + (f" AND session_id < '{high}'" if high else ""))
    return spans


def _rows_of_day(of_day: str, span: str, before: Upto, after: Upto) -> str:
    """Return the query of a day's rows: the settled ones that nothing supersedes, and the ripe ones."""
    return f"""
        WITH newer AS MATERIALIZED (
            SELECT session_id, version - 1 AS version FROM ripe WHERE version > 1
        ), fresh AS NOT MATERIALIZED (
            SELECT *
            FROM (SELECT *, {_DAY} AS settled_day FROM session_versions WHERE {_ripe(before, after)} AND {span})
            ANTI JOIN newer USING (session_id, version)
            WHERE {of_day}
        )
        SELECT
            settled.* EXCLUDE (settled_round, tracking_user_id, has_tracking_denial),
            {after.round} AS settled_round,
            coalesce(settled.tracking_user_id, since.first_user_id) AS tracking_user_id,
            settled.has_tracking_denial OR coalesce(since.has_denial, false) AS has_tracking_denial
        FROM (FROM settled_sessions WHERE {of_day} AND settled_round < {after.round} AND {span}) AS settled
        ANTI JOIN newer ON newer.session_id = settled.session_id AND newer.version = settled.version
        LEFT JOIN ripe_tracking AS since ON since.tracking_session_id
            = if(settled.tracking_verified, settled.tracking_session_id, NULL)
        UNION ALL BY NAME
        SELECT
            fresh.*,
            {after.round} AS settled_round,
            tracking.first_user_id AS tracking_user_id,
            coalesce(tracking.has_denial, false) AS has_tracking_denial,
            copies.session_id IS NOT NULL AS is_copy
        FROM fresh
        LEFT JOIN tracking
            ON tracking.tracking_session_id = if(fresh.tracking_verified, fresh.tracking_session_id, NULL)
        LEFT JOIN (SELECT DISTINCT session_id FROM start_copies) AS copies ON copies.session_id = fresh.session_id
    """


def _ripe(before: Upto, after: Upto) -> str:
    """Return the condition of the rows of `session_versions` that a round settles."""
    return f"rowid >= {before.versions} AND rowid < {after.versions} AND snapshot_id > {before.versions_snapshot}"


def _passed_copies(connection: duckdb.DuckDBPyConnection, before: Upto) -> dict[str, int]:
    """Return the position in start_copies before which each copy belongs to a settled session."""
    young = f"start_copies WHERE rowid >= {before.copies} AND snapshot_id > {before.copies_snapshot}"
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE copied AS "
        f"SELECT rowid AS copy_row, snapshot_id AS copied_in, session_id FROM {young}"
    )
    ((needed, kept),) = connection.execute(
        "SELECT min(copy_row), min(copied_in) FROM copied WHERE session_id NOT IN "
        "(SELECT session_id FROM settled_sessions SEMI JOIN copied USING (session_id))"
    ).fetchall()
    ((last, newest),) = connection.execute("SELECT max(copy_row), max(copied_in) FROM copied").fetchall()
    connection.execute("DROP TABLE temp.copied")
    if last is None:
        return {}
    if needed is None:
        return {"copies": last + 1, "copies_snapshot": newest}
    return {"copies": needed, "copies_snapshot": kept - 1}
