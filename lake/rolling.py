"""Upkeep of the roll-ups: which days are rolled up in a round, and how they are written.

A day is replaced whole, in one transaction with the state that says how far sessions are rolled up: a process that
is killed leaves either the old rows or the new ones. A round first computes its days, in one snapshot, while
workers commit; it writes them later, in its turn. Days that newer versions of sessions touch are rolled up again:
today and yesterday once an hour, older ones once a day.
"""

import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
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
JOIN_EVERY = timedelta(days=1)
SESSIONS_A_ROUND = 200_000
DAYS_A_ROUND = 3  # on one machine the worker waits while they are written
LONE_STARTS_JUDGED = timedelta(hours=3)  # a start may be found to be a retry until its hash is deleted
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = timedelta(days=1)


class State(msgspec.Struct, frozen=True):
    """The row of `rolled_up`, by the names of its columns."""

    rolled_until: datetime | None
    definition: str
    removals: int
    read_until: list[int] = []
    looked_at: datetime = _EPOCH
    due: list[date] = []
    due_tomorrow: list[date] = []
    joined_at: datetime = _EPOCH

    def looking(self, touched: list[date], *, read_until: list[int], at: datetime) -> "State":
        """Return the state after newer versions were found to touch these days."""
        near = [day for day in touched if day >= (at - _DAY).date()]
        far = sorted({*self.due_tomorrow, *touched} - set(near))
        joins = at - self.joined_at >= JOIN_EVERY
        return msgspec.structs.replace(
            self,
            read_until=read_until,
            looked_at=at,
            due=sorted({*self.due, *near, *(far if joins else [])}),
            due_tomorrow=[] if joins else far,
            joined_at=at if joins else self.joined_at,
        )

    def rolled(self, day: date, until: datetime) -> "State":
        """Return the state after a day was rolled up, as far as `until`."""
        return msgspec.structs.replace(
            self,
            rolled_until=max(until, self.rolled_until or until),
            due=[other for other in self.due if other != day],
        )


class Rolled(msgspec.Struct, frozen=True):
    """One transaction: the rows of a day by table (None: nothing but the state), and the state after it."""

    after: State
    day: date | None = None
    rows: dict[str, pa.Table] = {}


class Round(msgspec.Struct, frozen=True):
    """What a round writes, and the state that it was computed from. `is_first`: older roll-ups are deleted."""

    before: State | None
    steps: list[Rolled]
    is_first: bool


NOTHING = Round(None, [], is_first=False)


def prepare(connection: duckdb.DuckDBPyConnection, *, days: int = DAYS_A_ROUND) -> Round:
    """Compute what a round of upkeep writes, in one snapshot: at most so many days.

    Raises duckdb.Error.
    """
    if not all(columns_in(connection, each) == columns(each) for each in ROLL_UPS):
        logger.warning("metrics differ from those of the roll-ups", remedy="run `playhead init`")
        return NOTHING
    return in_snapshot(connection, lambda: _prepare(connection, days))


def _prepare(connection: duckdb.DuckDBPyConnection, days: int) -> Round:
    before = read_one(connection, STATE, State)
    fresh = State(None, definition(), _one(connection, "SELECT count(*) FROM removals"))
    is_first = before is None or (before.definition, before.removals) != (fresh.definition, fresh.removals)
    state = fresh if before is None or is_first else before
    as_of = _one(connection, "SELECT max(coalesce(watermark, partition_time)) FROM ledger")
    if as_of is None:
        return Round(before, [], is_first)
    return Round(before, list(_steps(connection, state, as_of, days)), is_first)


def _steps(connection: duckdb.DuckDBPyConnection, state: State, as_of: datetime, days: int) -> Iterator[Rolled]:
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
    for _ in range(days):
        piece = _next_piece(connection, state, until)
        if piece is None or sessions >= SESSIONS_A_ROUND:
            return
        day, day_until = piece
        rows = _rows(connection, day, day_until)
        state = state.rolled(day, day_until)
        yield Rolled(state, day, rows)
        sessions += sum(filter(None, rows[HOURS.table]["sessions_sum"].to_pylist()))


def _next_piece(
    connection: duckdb.DuckDBPyConnection, state: State, until: datetime
) -> tuple[date, datetime] | None:
    """Return the next day, and how far: first the oldest that is not rolled up yet, then the days due again."""
    since = state.rolled_until or _EPOCH
    oldest = _one(
        connection,
        f"SELECT min({PLACED_AT}) FROM session_versions WHERE {PLACED_AT} >= $since AND {PLACED_AT} < $until "
        "AND first_received_at >= $since - INTERVAL 1 HOUR",
        {"since": since, "until": until},
    )
    if oldest is not None:
        day = oldest.astimezone(UTC).date()
        return day, min(_start_of(day) + _DAY, until)
    if state.due:  # none while nothing is rolled up
        return state.due[0], min(_start_of(state.due[0]) + _DAY, since)
    return None


def _touched(connection: duckdb.DuckDBPyConnection, state: State) -> list[date]:
    """Return the days, as far as they are rolled up, of which sessions may have changed since the last look.

    Their versions closed since then, or replace older ones of another day; they may have been judged to be retried
    starts, or their tracking session got a user or lost it.
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
        SELECT DISTINCT placed_at::DATE FROM every WHERE placed_at < $rolled_until ORDER BY 1
        """,
        {
            "least": min(state.read_until, default=0),
            "read_until": state.read_until,
            "judged": state.looked_at - LONE_STARTS_JUDGED,
            "rolled_until": state.rolled_until,
        },
    ).fetchall()
    return [row[0] for row in rows]


def _rows(connection: duckdb.DuckDBPyConnection, day: date, until: datetime) -> dict[str, pa.Table]:
    """Return the rows of each table for the sessions that are placed on a day, before `until`."""
    low, high = f"TIMESTAMPTZ '{_start_of(day)}'", f"TIMESTAMPTZ '{until}'"
    its = (
        f"{PLACED_AT} >= {low} AND {PLACED_AT} < {high} "
        f"AND first_received_at >= {low} - INTERVAL 1 HOUR AND first_received_at < {high} + INTERVAL 31 DAY"
    )
    queries = {each.table: rows_sql(each, its) for each in ROLL_UPS} | {VIEWERS: viewers_sql(its)}
    return {
        table: connection.execute(f"SELECT DATE '{day}' AS rolled_day, * FROM ({query})").to_arrow_table()
        for table, query in queries.items()
    }


def write(connection: duckdb.DuckDBPyConnection, place: Location, prepared: Round) -> int:
    """Write a round's days, each in one transaction with the state; return how many.

    Nothing is written if another process wrote the state in the meantime. Raises duckdb.Error.
    """
    before, days = prepared.before, 0
    for number, step in enumerate(prepared.steps):
        since_ms = time.time_ns() // 1_000_000
        with transaction(connection):
            if read_one(connection, STATE, State) != before:
                return days
            if number == 0 and prepared.is_first:
                for table in (*(each.table for each in ROLL_UPS), VIEWERS):
                    connection.execute(f"DELETE FROM {table}")
            touched = _write_day(connection, step)
            write_one(connection, STATE, step.after)
            flush_new_files(place, [*touched, STATE], since_ms=since_ms)
        before, days = step.after, days + (step.day is not None)
    return days


def _write_day(connection: duckdb.DuckDBPyConnection, step: Rolled) -> list[str]:
    """Replace the rows of a day; return the tables that got files. A day has files of its own, which go whole."""
    touched = []
    for table, rows in step.rows.items():
        connection.execute(f"DELETE FROM {table} WHERE rolled_day = ?", [step.day])
        if rows.num_rows:
            connection.execute(f"INSERT INTO {table} BY NAME SELECT * FROM rows")
            touched.append(table)
    return touched


def _one(connection: duckdb.DuckDBPyConnection, query: str, values: object = None) -> Any:
    rows = connection.execute(query, values).fetchall()
    return rows[0][0] if rows else None


def _start_of(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
