"""Upkeep of the roll-ups: which hours and days are rolled up in a round, and how they are written.

Sessions of today and yesterday are rolled up by the hour, older ones by the day. A period is replaced whole, in
one transaction with the state that says how far sessions are rolled up: a process that is killed leaves either the
old rows or the new ones. A round first computes its periods, in one snapshot, while workers commit; it writes them
later, in its turn. Periods that newer versions of sessions touch are rolled up again: an hour at most once while
it becomes half as old again, a day at most once a day.
"""

import math
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import msgspec
import pyarrow as pa
import structlog

from lake.catalog import Location, transaction
from lake.disk import flush_new_files
from lake.one_row import read_one, write_one
from lake.rollups import (
    HOURS,
    IS_PLAUSIBLE,
    PLACED_AT,
    ROLL_UPS,
    STATE,
    VIEWERS,
    columns,
    columns_in,
    definition,
    rows_sql,
    viewers_sql,
)
from lake.snapshot import in_snapshot

logger = structlog.get_logger(__name__)

LIVE = timedelta(hours=2)  # younger sessions are mostly open, and are read as they are
LOOK_EVERY = timedelta(hours=1)
OLDER = 1.5  # an hour is rolled up again at most once while it grows older by this factor
SESSIONS_A_ROUND = 200_000
PERIODS_A_ROUND = 3  # on one machine the worker waits while they are written
LONE_STARTS_JUDGED = timedelta(hours=3)  # a start may be found to be a retry until its hash is deleted
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)


class Period(msgspec.Struct, frozen=True):
    """An hour or a day (UTC), whose sessions are rolled up together."""

    start: datetime
    end: datetime


class State(msgspec.Struct, frozen=True):
    """The row of `rolled_up`, by the names of its columns."""

    rolled_until: datetime | None
    definition: str
    removals: int
    read_until: list[int] = []
    looked_at: datetime = _EPOCH
    days_until: datetime = _EPOCH
    due: list[datetime] = []
    touched: list[datetime] = []

    def period(self, moment: datetime) -> Period:
        """Return the period that sessions of a moment are rolled up with."""
        start = moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        if start >= self.days_until:
            return Period(start, start + _HOUR)
        start = start.replace(hour=0)
        return Period(start, start + _DAY)

    def looking(self, touched: list[datetime], *, read_until: list[int], at: datetime) -> "State":
        """Return the state after newer versions were found to touch periods with these moments."""
        days_until = max(self.days_until, _start_of_day(at) - _DAY)
        after = msgspec.structs.replace(self, read_until=read_until, looked_at=at, days_until=days_until)
        waiting = {after.period(moment).start for moment in (*self.touched, *touched)}
        again = {start for start in waiting if self._is_due_again(start, after)}
        due = {after.period(moment).start for moment in (*self.due, *self._become_days(after))} | again
        return msgspec.structs.replace(after, due=sorted(due), touched=sorted(waiting - due))

    def _is_due_again(self, start: datetime, after: "State") -> bool:
        """Return whether a period is due, if it was touched: a day with the first look of each day."""
        if start < after.days_until:
            return after.days_until > self.days_until
        return _times_older(after.looked_at - start) > _times_older(self.looked_at - start)

    def _become_days(self, after: "State") -> Iterator[datetime]:
        """Yield the days that were rolled up by the hour, and are now rolled up whole."""
        day = self.days_until
        while self.rolled_until is not None and day < min(after.days_until, self.rolled_until):
            yield day
            day += _DAY

    def rolled(self, period: Period, until: datetime) -> "State":
        """Return the state after a period was rolled up, as far as `until`."""
        return msgspec.structs.replace(
            self,
            rolled_until=max(until, self.rolled_until or until),
            due=[start for start in self.due if start != period.start],
            touched=[start for start in self.touched if start != period.start],
        )


class Rolled(msgspec.Struct, frozen=True):
    """One transaction: the rows of a period by table (None: nothing but the state), and the state after it."""

    after: State
    period: Period | None = None
    rows: dict[str, pa.Table] = {}


class Round(msgspec.Struct, frozen=True):
    """What a round writes, and the state that it was computed from. `is_first`: older roll-ups are deleted."""

    before: State | None
    steps: list[Rolled]
    is_first: bool


NOTHING = Round(None, [], is_first=False)


def prepare(connection: duckdb.DuckDBPyConnection, *, periods: int = PERIODS_A_ROUND) -> Round:
    """Compute what a round of upkeep writes, in one snapshot: at most so many periods.

    Raises duckdb.Error.
    """
    if not all(columns_in(connection, each.table) == columns(each) for each in ROLL_UPS):
        logger.warning("metrics differ from those of the roll-ups", remedy="run `playhead init`")
        return NOTHING
    return in_snapshot(connection, lambda: _prepare(connection, periods))


def _prepare(connection: duckdb.DuckDBPyConnection, periods: int) -> Round:
    before = read_one(connection, STATE, State)
    fresh = State(None, definition(), _one(connection, "SELECT count(*) FROM removals"))
    is_first = before is None or (before.definition, before.removals) != (fresh.definition, fresh.removals)
    state = fresh if before is None or is_first else before
    as_of = _one(connection, "SELECT max(coalesce(watermark, partition_time)) FROM ledger")
    if as_of is None:
        return Round(before, [], is_first)
    return Round(before, list(_steps(connection, state, as_of, periods)), is_first)


def _steps(connection: duckdb.DuckDBPyConnection, state: State, as_of: datetime, periods: int) -> Iterator[Rolled]:
    if as_of - state.looked_at >= LOOK_EVERY:
        touched = _touched(connection, state) if state.rolled_until else []
        offsets = [
            row[0]
            for row in connection.execute("SELECT next_offset FROM ledger ORDER BY log_partition").fetchall()
        ]
        state = state.looking(touched, read_until=offsets, at=as_of)
        yield Rolled(state)
    until = (as_of - LIVE).replace(minute=0, second=0, microsecond=0)
    sessions = 0.0
    for _ in range(periods):
        found = _next_period(connection, state, until)
        if found is None or sessions >= SESSIONS_A_ROUND:
            return
        period, its_until = found
        rows = _rows(connection, period.start, its_until)
        state = state.rolled(period, its_until)
        yield Rolled(state, period, rows)
        sessions += sum(filter(None, rows[HOURS.table]["sessions_sum"].to_pylist()))


def _next_period(
    connection: duckdb.DuckDBPyConnection, state: State, until: datetime
) -> tuple[Period, datetime] | None:
    """Return the next period, and how far: first the oldest that is not rolled up yet, then those due again."""
    since = state.rolled_until or _EPOCH
    oldest = _oldest(connection, since, min(since + _DAY, until))
    if oldest is None and since + _DAY < until:  # nothing for a day
        oldest = _oldest(connection, since + _DAY, until)
    if oldest is not None:
        period = state.period(oldest)
        return period, min(period.end, until)
    if state.due:  # none while nothing is rolled up
        period = state.period(state.due[0])
        return period, min(period.end, since)
    return None


def _oldest(connection: duckdb.DuckDBPyConnection, since: datetime, until: datetime) -> datetime | None:
    """Return the first moment of these at which a session is placed."""
    sessions = _placed("started_at, first_received_at", "session_versions", since, until)
    found: datetime | None = _one(connection, f"SELECT min({PLACED_AT}) FROM ({sessions})")
    return found


def _placed(columns: str, table: str, since: datetime, until: datetime) -> str:
    """Return the SELECT of the sessions of a table that are placed at `since` or later, before `until`.

    Those placed by start and those by arrival apart, so that either leaves out files and row groups by its column.
    """
    low, high = f"TIMESTAMPTZ '{since}'", f"TIMESTAMPTZ '{until}'"
    return f"""
        SELECT {columns} FROM {table}
        WHERE started_at >= {low} AND started_at < {high} AND {IS_PLAUSIBLE}
            AND first_received_at >= {low} - INTERVAL 1 HOUR
        UNION ALL
        SELECT {columns} FROM {table}
        WHERE first_received_at >= {low} AND first_received_at < {high} AND {IS_PLAUSIBLE} IS NOT TRUE
    """


def _touched(connection: duckdb.DuckDBPyConnection, state: State) -> list[datetime]:
    """Return the hours, as far as they are rolled up, of which sessions may have changed since the last look.

    Their versions closed since then, or replace older ones of another hour; they may have been judged to be
    retried starts, or their tracking session got a user or lost it.
    """
    rows = connection.execute(
        f"""
        WITH changed AS (
            SELECT * FROM session_versions
            WHERE as_of_offset >= $least AND as_of_offset >= coalesce($read_until[log_partition + 1], 0)
        ), reopened AS (
            SELECT session_id FROM changed WHERE version > 1
        ), linked AS (
            SELECT tracking_session_id, started_at FROM tracking_events
            WHERE log_offset >= $least AND log_offset >= coalesce($read_until[log_partition + 1], 0)
        ), every AS (
            SELECT {PLACED_AT} AS placed_at FROM changed
            UNION ALL
            SELECT {PLACED_AT} FROM session_versions
            WHERE session_id IN (FROM reopened)
                AND first_received_at >= (SELECT min(first_received_at) FROM changed WHERE version > 1)
            UNION ALL
            SELECT {PLACED_AT} FROM session_versions
            WHERE events = 1 AND last_received_at >= $judged
            UNION ALL
            SELECT {PLACED_AT} FROM session_versions
            WHERE tracking_session_id IN (SELECT tracking_session_id FROM linked)
                AND started_at >= (SELECT min(started_at) FROM linked) - INTERVAL 1 DAY
        )
        SELECT DISTINCT date_trunc('hour', placed_at AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'
        FROM every WHERE placed_at < $rolled_until
        """,
        {
            "least": min(state.read_until, default=0),
            "read_until": state.read_until,
            "judged": state.looked_at - LONE_STARTS_JUDGED,
            "rolled_until": state.rolled_until,
        },
    ).fetchall()
    return [row[0] for row in rows]


def _rows(connection: duckdb.DuckDBPyConnection, start: datetime, until: datetime) -> dict[str, pa.Table]:
    """Return the rows of each table for the sessions that are placed at `start` or later, before `until`.

    The sessions are read once, into a table of this connection.
    """
    source = "temp.main.sessions_of_period"
    queries = {each.table: rows_sql(each, source=source) for each in ROLL_UPS} | {
        VIEWERS: viewers_sql(source=source)
    }
    words = set(re.findall(r"\w+", " ".join(queries.values())))
    known = [row[0] for row in connection.execute("DESCRIBE counted_sessions").fetchall()]
    needed = ", ".join(name for name in known if name in words)
    sessions = _placed(needed, "counted_sessions", start, until)
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {source} AS {sessions}")
    try:
        return {
            table: connection.execute(
                f"SELECT TIMESTAMPTZ '{start}' AS period_start, * FROM ({query})"
            ).to_arrow_table()
            for table, query in queries.items()
        }
    finally:
        connection.execute(f"DROP TABLE {source}")


def write(connection: duckdb.DuckDBPyConnection, place: Location, prepared: Round) -> int:
    """Write a round's periods, each in one transaction with the state; return how many.

    Nothing is written if another process wrote the state in the meantime. Raises duckdb.Error.
    """
    before, periods = prepared.before, 0
    for number, step in enumerate(prepared.steps):
        since_ms = time.time_ns() // 1_000_000
        with transaction(connection):
            if read_one(connection, STATE, State) != before:
                return periods
            if number == 0 and prepared.is_first:
                for table in (*(each.table for each in ROLL_UPS), VIEWERS):
                    connection.execute(f"DELETE FROM {table}")
            touched = _write_rows(connection, step.period, step.rows) if step.period else []
            write_one(connection, STATE, step.after)
            flush_new_files(place, [*touched, STATE], since_ms=since_ms)
        before, periods = step.after, periods + (step.period is not None)
    return periods


def _write_rows(connection: duckdb.DuckDBPyConnection, period: Period, tables: dict[str, pa.Table]) -> list[str]:
    """Replace the rows of a period; return the tables that got files. It has files of its own, which go whole."""
    touched = []
    for table, rows in tables.items():
        within = "period_start >= $start AND period_start < $end"
        connection.execute(f"DELETE FROM {table} WHERE {within}", msgspec.structs.asdict(period))
        if rows.num_rows:
            connection.execute(f"INSERT INTO {table} BY NAME SELECT * FROM rows")
            touched.append(table)
    return touched


def _one(connection: duckdb.DuckDBPyConnection, query: str, values: object = None) -> Any:
    rows = connection.execute(query, values).fetchall()
    return rows[0][0] if rows else None


def _start_of_day(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def _times_older(age: timedelta) -> int:
    """Return how many times an hour has grown older by the factor since it was first rolled up."""
    return math.floor(math.log(max(1.0, age / (LIVE + _HOUR)), OLDER))
