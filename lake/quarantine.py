"""Records in quarantine, and what operators decided about them: counted by reason, read, marked.

A row of `quarantine` is never changed: it accounts for its offset. A decision is a row of `quarantine_decisions`,
and a record without one is still open.
"""

import re
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Literal

import duckdb
import msgspec
import pyarrow as pa

from lake.catalog import Location, transaction
from lake.disk import flush_new_files
from schemas.faults import Fault, NotReady

PAGE_RECORDS, PAGE_BYTES = 2_000, 16_777_216
COMMIT_S_MAX = 30.0  # while others commit to the same catalogue
COMMIT_AGAIN_S = 0.2
REFUSED_MAX = 500
REPLAYED, DISCARDED = "replayed", "discarded"
_DECIDED = (
    "SELECT log_partition, log_offset, arg_max(decision, decided_at) AS decision, "
    "arg_max(new_partition || ':' || new_offset, decided_at) AS new_position, max(decided_at) AS decided_at, "
    "arg_max(why, decided_at) AS why FROM quarantine_decisions GROUP BY ALL"
)


class NoSuchRecord(Fault):
    """No record with this partition and offset is in quarantine."""

    code = "no_such_record"


class Position(msgspec.Struct, frozen=True, order=True):
    """A partition and an offset, by the lake's count."""

    partition: int
    offset: int

    @classmethod
    def parse(cls, text: str) -> "Position":
        """Read `partition:offset`. Raises NotReady for anything else."""
        match = re.fullmatch(r"(\d{1,4}):(\d{1,18})", text)
        if match is None:
            raise NotReady(f"{text!r} is no record; write partition:offset, such as 0:1017")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.partition}:{self.offset}"


class Choice(msgspec.Struct, frozen=True):
    """Which records of the quarantine are meant; None, or nothing in `at`: any."""

    reason: str | None = None
    source: Literal["worker", "ingest"] | None = None
    partition: int | None = None
    since: datetime | None = None
    at: tuple[Position, ...] = ()

    @property
    def is_everything(self) -> bool:
        """Whether nothing narrows it."""
        return self == Choice()


class Reason(msgspec.Struct, frozen=True):
    """The records of one source and reason: how many are open, or were dealt with, and the newest of those open.

    If none is open, the example is the newest of all.
    """

    source: str
    reason: str
    open: int
    replayed: int
    discarded: int
    first_at: datetime
    newest_at: datetime
    example: str
    detail: str


class Entry(msgspec.Struct, frozen=True):
    """One record in quarantine, and what was decided about it last, if anything."""

    partition: int
    offset: int
    received_at: datetime
    source: str
    reason: str
    detail: str
    value: bytes
    key_name: str | None
    player_name: str | None
    app_version: str | None
    session_id: str | None
    decision: str | None
    new_position: str | None
    decided_at: datetime | None
    why: str | None

    @property
    def position(self) -> Position:
        return Position(self.partition, self.offset)


class RefusedBody(msgspec.Struct, frozen=True):
    """A body that was posted to a session and refused: when it arrived, and why."""

    partition: int
    offset: int
    received_ms: int
    reason: str
    detail: str


class Decision(msgspec.Struct, frozen=True):
    """What is decided about one record."""

    position: Position
    decision: str
    new: Position | None
    why: str


def read_refused(connection: duckdb.DuckDBPyConnection, session_id: str) -> list[RefusedBody]:
    """Return the bodies that were posted to a session and refused, the newest of many, in the order of arrival."""
    rows = connection.execute(
        "SELECT log_partition, log_offset, epoch_ms(received_at), reason, detail FROM quarantine "
        "WHERE session_id = ? AND source = 'ingest' ORDER BY received_at DESC, log_offset DESC LIMIT ?",
        [session_id, REFUSED_MAX],
    ).fetchall()
    return [RefusedBody(*row) for row in reversed(rows)]


def read_reasons(connection: duckdb.DuckDBPyConnection, choice: Choice, *, limit: int) -> list[Reason]:
    """Return the chosen records by source and reason, those with most open records first."""
    condition, values = _condition(choice)
    rows = connection.execute(
        f"""
        SELECT source, reason, count(*) FILTER (decision IS NULL) AS open,
            count(*) FILTER (decision = '{REPLAYED}'), count(*) FILTER (decision = '{DISCARDED}'),
            min(received_at), max(received_at) AS newest,
            max_by(log_partition || ':' || log_offset, (decision IS NULL, received_at, log_offset)),
            max_by(detail, (decision IS NULL, received_at, log_offset))
        FROM quarantine LEFT JOIN ({_DECIDED}) USING (log_partition, log_offset)
        WHERE {condition} GROUP BY source, reason ORDER BY open DESC, newest DESC, source, reason LIMIT {limit}
        """,
        values,
    ).fetchall()
    return [Reason(*row) for row in rows]


def read_entry(connection: duckdb.DuckDBPyConnection, position: Position) -> Entry:
    """Return one record. Raises NoSuchRecord."""
    found = _entries(connection, [position])
    if not found:
        raise NoSuchRecord(f"no record {position} is in quarantine; `playhead quarantine list` names examples")
    return found[0]


def open_positions(connection: duckdb.DuckDBPyConnection, choice: Choice) -> list[Position]:
    """Return which of the chosen records are open, in order of partition and offset."""
    return [Position(*row) for row in _open(connection, choice, "log_partition, log_offset")]


def open_pages(connection: duckdb.DuckDBPyConnection, choice: Choice) -> Iterator[list[Entry]]:
    """Give the chosen records that are open, in order, as many at a time as memory easily holds."""
    page: list[Position] = []
    size_bytes = 0
    for partition, offset, value_bytes in _open(
        connection, choice, "log_partition, log_offset, octet_length(value)"
    ):
        if page and (len(page) == PAGE_RECORDS or size_bytes + value_bytes > PAGE_BYTES):
            yield _entries(connection, page)
            page, size_bytes = [], 0
        page.append(Position(partition, offset))
        size_bytes += value_bytes
    if page:
        yield _entries(connection, page)


def _open(connection: duckdb.DuckDBPyConnection, choice: Choice, columns: str) -> list[tuple[Any, ...]]:
    """Return columns of the chosen records that are open; a record that is named may have been discarded."""
    condition, values = _condition(choice)
    final = f"decision = '{REPLAYED}'" if choice.at else "true"
    return connection.execute(
        f"SELECT {columns} FROM quarantine ANTI JOIN (FROM quarantine_decisions WHERE {final}) "
        f"USING (log_partition, log_offset) WHERE {condition} ORDER BY log_partition, log_offset",
        values,
    ).fetchall()


def _condition(choice: Choice) -> tuple[str, list[Any]]:
    """Return the condition of a choice, and its parameters."""
    parts: dict[str, Any] = {}
    if choice.reason is not None:
        parts["reason = ?"] = choice.reason
    if choice.source is not None:
        parts["source = ?"] = choice.source
    if choice.partition is not None:
        parts["log_partition = ?"] = choice.partition
    if choice.since is not None:
        parts["received_at >= ?"] = choice.since
    if choice.at:
        parts["list_contains(?, log_partition || ':' || log_offset)"] = [str(position) for position in choice.at]
    return " AND ".join(parts) or "true", list(parts.values())


def _entries(connection: duckdb.DuckDBPyConnection, positions: Sequence[Position]) -> list[Entry]:
    wanted = pa.table(  # noqa: F841  (DuckDB finds it by its name)
        {
            "log_partition": pa.array([each.partition for each in positions], pa.int32()),
            "log_offset": pa.array([each.offset for each in positions], pa.int64()),
        }
    )
    rows = connection.execute(
        f"""
        SELECT log_partition, log_offset, received_at, source, reason, detail, value,
            key_name, player_name, app_version, session_id, decision, new_position, decided_at, why
        FROM quarantine SEMI JOIN wanted USING (log_partition, log_offset)
        LEFT JOIN ({_DECIDED}) USING (log_partition, log_offset)
        WHERE log_offset BETWEEN ? AND ? ORDER BY 1, 2
        """,
        [min(each.offset for each in positions), max(each.offset for each in positions)],
    ).fetchall()
    return [Entry(*row) for row in rows]


def read_stored(
    connection: duckdb.DuckDBPyConnection, *, events: Collection[tuple[str, str]], tracking: Collection[str]
) -> dict[str, Position]:
    """Return where those of these events are that the lake has, by their id.

    Media events are given as (session id, event id), since sessions narrow the search.
    """
    found: dict[str, Position] = {}
    for table, ids, sessions in (
        ("events", [event for _, event in events], [session for session, _ in events]),
        ("tracking_events", list(tracking), []),
    ):
        if not ids:
            continue
        column, ends = ("session_id", sessions) if sessions else ("event_id", ids)
        wanted = pa.table({"event_id": pa.array(ids, pa.string())})  # noqa: F841
        rows = connection.execute(
            f"SELECT event_id, log_partition, log_offset FROM {table} SEMI JOIN wanted USING (event_id) "
            f"WHERE {column} BETWEEN ? AND ?",
            [min(ends), max(ends)],
        ).fetchall()
        found |= {id: Position(partition, offset) for id, partition, offset in rows}
    return found


def decide(
    connection: duckdb.DuckDBPyConnection, decisions: Iterable[Decision], *, now: datetime, place: Location
) -> None:
    """Store decisions. Other processes may commit meanwhile, so a refused commit is tried again for a while.

    Raises duckdb.Error if the lake refuses for longer.
    """
    every = list(decisions)
    rows = pa.table(  # noqa: F841
        {
            "log_partition": pa.array([each.position.partition for each in every], pa.int32()),
            "log_offset": pa.array([each.position.offset for each in every], pa.int64()),
            "decision": pa.array([each.decision for each in every], pa.string()),
            "new_partition": pa.array([each.new and each.new.partition for each in every], pa.int32()),
            "new_offset": pa.array([each.new and each.new.offset for each in every], pa.int64()),
            "decided_at": pa.array([now] * len(every), pa.timestamp("us", "UTC")),
            "why": pa.array([each.why for each in every], pa.string()),
        }
    )
    until_s = time.monotonic() + COMMIT_S_MAX
    while every:
        try:
            with transaction(connection):
                connection.execute("INSERT INTO quarantine_decisions BY NAME SELECT * FROM rows")
                flush_new_files(place, ["quarantine_decisions"], since_ms=int(now.timestamp() * 1000))
            return
        except duckdb.Error:
            if time.monotonic() > until_s:
                raise
            time.sleep(COMMIT_AGAIN_S)
