"""What the lake already has: events and closed versions of sessions, and known ids.

Always of one partition: offsets of two partitions cannot be compared.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from operator import itemgetter
from sys import intern
from typing import Any

import duckdb
import pyarrow as pa

from consumers.fold import Event
from consumers.sessions import BORN_MS_MAX, History, YoungIds, born_ms_of_session
from schemas.ids import read_event_time_ms
from schemas.vocabulary import EVENT_TYPES

FETCHED_ROWS = 2_000  # at a time: a partition may have millions of events in open sessions
YOUNG_IDS_MAX = 50_000
_COLUMNS = (
    "session_id, event_id, event_type, epoch_ms(client_ts), epoch_ms(received_at), log_offset, playhead_s, "
    "params, qoe, custom_metadata, flags, tracking_session_id, tracking_verified, consent, source, other"
)


def read_open_sessions(
    connection: duckdb.DuckDBPyConnection, *, partition: int, open_as_of_offset: int
) -> Iterator[tuple[str, History]]:
    """Give the history of every session of a partition that may be open, one at a time."""
    rows = connection.execute(
        f"SELECT session_id FROM open_sessions_p{partition:03} "
        "UNION SELECT session_id FROM events WHERE log_partition = ? AND log_offset >= ?",
        [partition, open_as_of_offset],
    ).fetchall()
    return _histories(connection, [row[0] for row in rows], partition)


def read_young_ids(
    connection: duckdb.DuckDBPyConnection, *, partition: int, floor_ms: int
) -> tuple[YoungIds, YoungIds]:
    """Return the session ids, and the ids of tracking events, that say they were made after `floor_ms`.

    An ingest whose clock is ahead makes such ids, for as long as it runs: those made first are returned.
    """
    since, until = (f"{moment:012x}" for moment in (floor_ms + 1, BORN_MS_MAX))
    sessions = connection.execute(
        "SELECT DISTINCT session_id FROM events WHERE log_partition = ? AND session_id >= ? AND session_id < ? "
        f"ORDER BY session_id LIMIT {YOUNG_IDS_MAX}",
        [partition, since, until],
    ).fetchall()
    tracking = connection.execute(
        "SELECT DISTINCT event_id FROM tracking_events WHERE log_partition = ? AND event_id >= ? AND event_id < ? "
        f"ORDER BY event_id LIMIT {YOUNG_IDS_MAX}",
        [partition, f"{since[:8]}-{since[8:]}", f"{until[:8]}-{until[8:]}"],
    ).fetchall()
    return _young(sessions, born_ms_of_session), _young(tracking, read_event_time_ms)


def _young(rows: list[tuple[str]], born_ms: Callable[[str], int | None]) -> YoungIds:
    """Return these ids; where there may be more, up to the last of them that has a time."""
    ids = [row[0] for row in rows]
    if len(ids) < YOUNG_IDS_MAX:
        return YoungIds(ids, BORN_MS_MAX)
    return YoungIds(ids, max((born for id in ids if (born := born_ms(id)) is not None), default=0))


def read_histories(
    connection: duckdb.DuckDBPyConnection, session_ids: Iterable[str], *, partition: int
) -> dict[str, History]:
    """Return the history of those of these sessions that the lake knows."""
    return dict(_histories(connection, list(session_ids), partition))


def _histories(
    connection: duckdb.DuckDBPyConnection, wanted: list[str], partition: int
) -> Iterator[tuple[str, History]]:
    if not wanted:
        return
    # Follows from the question, but DuckLake passes over files by such comparisons alone.
    between = f"log_partition = {partition} AND session_id BETWEEN ? AND ?"
    ends = [min(wanted), max(wanted)]
    connection.register("wanted", pa.table({"session_id": wanted}))
    versions = connection.execute(
        "SELECT session_id, max(version), max(as_of_offset), max(late_events) FROM session_versions "
        f"WHERE session_id IN (SELECT session_id FROM wanted) AND {between} GROUP BY 1",
        ends,
    ).fetchall()
    closed = {row[0]: row[1:] for row in versions}
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM events "
        f"WHERE session_id IN (SELECT session_id FROM wanted) AND {between} ORDER BY session_id",
        ends,
    )
    for session_id, group in groupby(_fetched(rows), key=itemgetter(0)):
        yield session_id, History([_event(row) for row in group], *closed.pop(session_id, ()))
    for session_id, versions_only in closed.items():
        yield session_id, History([], *versions_only)
    connection.unregister("wanted")


def _fetched(result: duckdb.DuckDBPyConnection) -> Iterator[tuple[Any, ...]]:
    while rows := result.fetchmany(FETCHED_ROWS):
        yield from rows


def read_known_tracking(connection: duckdb.DuckDBPyConnection, event_ids: Iterable[str]) -> set[str]:
    """Return those of these event ids that stand in tracking_events."""
    connection.register("wanted", pa.table({"event_id": list(event_ids)}))
    try:
        rows = connection.execute(
            "SELECT event_id FROM tracking_events WHERE event_id IN (SELECT event_id FROM wanted)"
        ).fetchall()
    finally:
        connection.unregister("wanted")
    return {row[0] for row in rows}


def _event(row: tuple[Any, ...]) -> Event:
    event_type, flags = EVENT_TYPES[row[2]], tuple(row[10])
    return Event(
        event_id=row[1],
        session_id=intern(row[0]),
        type=event_type,
        client_ms=row[3],
        received_ms=row[4],
        order_ms=row[4] if "future_ts" in flags else row[3],
        offset=row[5],
        playhead_s=row[6],
        params=_json(row[7]),
        qoe=_json(row[8]),
        custom_metadata=_json(row[9]),
        flags=flags,
        tracking_session_id=_kept_once(row[11]),
        tracking_verified=row[12],
        consent=_kept_once(row[13]),
        source=intern(row[14]),
        other=_json(row[15]),
    )


def _json(text: str | None) -> bytes | None:
    return None if text is None else text.encode()


def _kept_once(text: str | None) -> str | None:
    return None if text is None else intern(text)
