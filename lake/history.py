"""What the lake already has: events and closed versions of sessions, and known ids.

Always of one partition: offsets of two partitions cannot be compared.
"""

import contextlib
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from itertools import groupby, islice
from operator import itemgetter
from sys import intern
from typing import Any

import duckdb
import pyarrow as pa

from lake.changes import History, Lookup, Over, YoungIds
from schemas.ids import BORN_MS_MAX, born_ms_of_session, is_derived_session, read_event_time_ms
from schemas.vocabulary import EVENT_TYPES
from sessions.admission import EVENTS_MAX, OVER_LIMIT
from sessions.event import AFTER_CLOSE, Event
from sessions.identity import DENIED

FETCHED_ROWS = 2_000  # at a time: a partition may have millions of events in open sessions
YOUNG_IDS_MAX = 50_000
_ENDS = ", ".join(f"'{name}'" for name, row in EVENT_TYPES.items() if row.ends)
_IS_OVER = f"list_contains(flags, '{OVER_LIMIT}')"
_IS_PASSED = f"list_contains(flags, '{AFTER_CLOSE}')"
_COLUMNS = (
    "session_id, event_id, event_type, epoch_ms(client_ts), epoch_ms(received_at), log_offset, playhead_s, "
    "params, qoe, custom_metadata, flags, tracking_session_id, tracking_verified, consent, source, other, client"
)


class StoredEvents:
    """What the lake has of one partition's sessions, for `PartitionSessions`.

    All events before `open_as_of_offset` are of sessions that are open, or that have closed (`OpenRows`).
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, *, partition: int, open_as_of_offset: int) -> None:
        self._connection = connection
        self._partition = partition
        self._open_as_of_offset = open_as_of_offset

    def histories(
        self, session_ids: Collection[str], *, since: Mapping[str, int]
    ) -> Generator[tuple[str, History], None, None]:
        """Yield the histories of those of these sessions that the lake has.

        `since` has the first offset of as many of them as are known to have none before: of all open ones.
        """
        for ids, first_offset in self._groups(session_ids, since):
            yield from _histories(self._connection, ids, self._partition, first_offset)

    def known(
        self, events: Collection[Event], *, without_moments: Collection[str], since: Mapping[str, int]
    ) -> dict[str, Lookup]:
        """Return what decides whether these events are new; for sessions `without_moments`, only by event id."""
        known: dict[str, Lookup] = {}
        for ids, first_offset in self._groups({event.session_id for event in events}, since):
            group = frozenset(ids)
            of_group = [event for event in events if event.session_id in group]
            known |= self._known(of_group, without_moments, _between(ids, self._partition, first_offset))
        return known

    def _known(
        self, events: list[Event], without_moments: Collection[str], between: tuple[str, list[str | int]]
    ) -> dict[str, Lookup]:
        condition, ends = between
        where = f"session_id IN (SELECT session_id FROM wanted) AND {condition}"
        client_ms = [None if event.session_id in without_moments else event.client_ms for event in events]
        with _wanted(
            self._connection,
            session_id=[event.session_id for event in events],
            event_id=[event.event_id for event in events],
            client_ms=pa.array(client_ms, pa.int64()),
        ):
            counts = self._connection.execute(
                f"SELECT session_id, count(*), bool_or(event_type IN ({_ENDS})) "
                f"FROM events WHERE {where} GROUP BY 1",
                ends,
            ).fetchall()
            known = {row[0]: Lookup([], row[1], has_end=row[2]) for row in counts}
            rows = self._connection.execute(
                f"SELECT {_COLUMNS} FROM events WHERE {where} AND (event_id IN (SELECT event_id FROM wanted) "
                f"OR (NOT {_IS_OVER} AND epoch_ms(client_ts) IN (SELECT client_ms FROM wanted)))",
                ends,
            )
            for row in _fetched(rows):
                known[row[0]].events.append(_event(row))
        return known

    def _groups(self, session_ids: Collection[str], since: Mapping[str, int]) -> Iterator[tuple[list[str], int]]:
        """Group sessions by what narrows the search for their events; give each group, and their first offset.

        One session whose id says nothing of its age would make the search for all others one of the whole lake.
        """
        begun = [id for id in session_ids if id in since]
        others = [id for id in session_ids if id not in since]
        born = [id for id in others if born_ms_of_session(id) is not None]
        derived = [id for id in others if born_ms_of_session(id) is None]
        if begun:
            yield begun, min(since[id] for id in begun)
        if born:
            yield born, 0
        if derived:
            yield derived, self._first_offset_of_closed(derived)

    def _first_offset_of_closed(self, session_ids: list[str]) -> int:
        """Return the offset before which none of these sessions, which are not open, has an event."""
        between, ends = _between(session_ids, self._partition)
        with _wanted(self._connection, session_id=session_ids):
            ((count, first_offset),) = self._connection.execute(
                "SELECT count(DISTINCT session_id), min(coalesce(first_offset, 0)) FROM session_versions "
                f"WHERE session_id IN (SELECT session_id FROM wanted) AND {between}",
                ends,
            ).fetchall()
        known = [] if first_offset is None else [int(first_offset)]
        return min(known if count == len(session_ids) else [*known, self._open_as_of_offset])

    def known_tracking(self, event_ids: Collection[str]) -> set[str]:
        """Return which of these ids of tracking events are stored."""
        return read_known_tracking(self._connection, event_ids)


def read_open_sessions(
    connection: duckdb.DuckDBPyConnection, *, partition: int, open_as_of_offset: int
) -> Iterator[tuple[str, History]]:
    """Yield the history of every session of a partition that may be open."""
    rows = connection.execute(
        f"SELECT session_id FROM open_sessions_p{partition:03} "
        "UNION SELECT session_id FROM events WHERE log_partition = ? AND log_offset >= ?",
        [partition, open_as_of_offset],
    ).fetchall()
    return _histories(connection, [row[0] for row in rows], partition)


def read_derived_ids(connection: duckdb.DuckDBPyConnection, *, partition: int) -> Iterator[str]:
    """Give the session ids of closed sessions that say nothing of their age."""
    return (
        row[0]
        for row in _fetched(
            connection.execute(
                "SELECT DISTINCT session_id FROM session_versions WHERE log_partition = ? AND session_id < ?",
                [partition, f"{1:012x}"],
            )
        )
        if is_derived_session(row[0])
    )


def read_young_ids(
    connection: duckdb.DuckDBPyConnection, *, partition: int, floor_ms: int
) -> tuple[YoungIds, YoungIds]:
    """Return the ids of sessions and tracking events that were made after `floor_ms`, by their own time.

    An ingest whose clock is ahead keeps making such ids; the earliest are returned.
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
    """Return these ids; if there may be more, only up to the last one that has a time."""
    ids = [row[0] for row in rows]
    if len(ids) < YOUNG_IDS_MAX:
        return YoungIds(ids, BORN_MS_MAX)
    return YoungIds(ids, max((born for id in ids if (born := born_ms(id)) is not None), default=0))


def read_histories(
    connection: duckdb.DuckDBPyConnection, session_ids: Iterable[str], *, partition: int
) -> dict[str, History]:
    """Return the histories of those of these sessions that the lake has."""
    return dict(_histories(connection, list(session_ids), partition))


def _histories(
    connection: duckdb.DuckDBPyConnection, wanted: list[str], partition: int, first_offset: int = 0
) -> Generator[tuple[str, History], None, None]:
    """Yield histories while events are fetched; the longest sessions come last, with a query each."""
    if wanted:
        with _wanted(connection, session_id=wanted):
            yield from _registered_histories(connection, partition, wanted, first_offset)


@contextlib.contextmanager
def _wanted(connection: duckdb.DuckDBPyConnection, **columns: Any) -> Iterator[None]:
    """Let statements name these columns as the table `wanted`."""
    connection.register("wanted", pa.table(columns))
    try:
        yield
    finally:
        connection.unregister("wanted")


def _registered_histories(
    connection: duckdb.DuckDBPyConnection, partition: int, wanted: list[str], first_offset: int
) -> Generator[tuple[str, History], None, None]:
    between, ends = _between(wanted, partition)
    versions = connection.execute(
        "SELECT session_id, max(version), max(as_of_offset), max(late_events) FROM session_versions "
        f"WHERE session_id IN (SELECT session_id FROM wanted) AND {between} GROUP BY 1",
        ends,
    ).fetchall()
    closed = {row[0]: row[1:] for row in versions}
    between, ends = _between(wanted, partition, first_offset)
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM events "
        f"WHERE session_id IN (SELECT session_id FROM wanted) AND {between} ORDER BY session_id",
        ends,
    )
    full: list[str] = []
    for session_id, group in groupby(_fetched(rows), key=itemgetter(0)):
        events = [_event(row) for row in islice(group, EVENTS_MAX)]
        if len(events) < EVENTS_MAX:
            yield session_id, History(events, *closed.pop(session_id, ()))
        else:
            full.append(session_id)
    for session_id in full:
        version = closed.pop(session_id, ())
        yield session_id, _full_history(connection, partition, session_id, first_offset, version)
    for session_id, versions_only in closed.items():
        yield session_id, History([], *versions_only)


def _full_history(
    connection: duckdb.DuckDBPyConnection,
    partition: int,
    session_id: str,
    first_offset: int,
    version: tuple[int, int, int] | tuple[()],
) -> History:
    """Return the history of a session that may have more events than are folded; the others are counted."""
    where = f"log_partition = {partition} AND log_offset >= {first_offset} AND session_id = ?"
    (over,) = connection.execute(
        "SELECT count(*), max(log_offset), epoch_ms(arg_max(received_at, log_offset)), "
        f"coalesce(bool_or(consent = '{DENIED}'), false) FROM events WHERE {where} AND {_IS_OVER} "
        f"AND NOT {_IS_PASSED}",
        [session_id],
    ).fetchall()
    rows = connection.execute(f"SELECT {_COLUMNS} FROM events WHERE {where} AND NOT {_IS_OVER}", [session_id])
    events = [_event(row) for row in _fetched(rows)]
    return History(events, *(version or (0, -1, 0)), Over(*over) if over[0] else Over())


def _between(session_ids: Collection[str], partition: int, first_offset: int = 0) -> tuple[str, list[str | int]]:
    """Return a condition for events of these sessions, and its parameters; without an offset for versions too.

    The ids imply it, but only such comparisons let DuckLake skip files.
    """
    condition = f"log_partition = {partition} AND session_id BETWEEN ? AND ?"
    ends: list[str | int] = [min(session_ids), max(session_ids)]
    return (f"{condition} AND log_offset >= ?", [*ends, first_offset]) if first_offset else (condition, ends)


def _fetched(result: duckdb.DuckDBPyConnection) -> Iterator[tuple[Any, ...]]:
    while rows := result.fetchmany(FETCHED_ROWS):
        yield from rows


def read_known_tracking(connection: duckdb.DuckDBPyConnection, event_ids: Iterable[str]) -> set[str]:
    """Return which of these event ids are in tracking_events."""
    with _wanted(connection, event_id=list(event_ids)):
        rows = connection.execute(
            "SELECT event_id FROM tracking_events WHERE event_id IN (SELECT event_id FROM wanted)"
        ).fetchall()
    return {row[0] for row in rows}


def _event(row: tuple[Any, ...]) -> Event:
    event_type = EVENT_TYPES[row[2]]
    return Event(
        event_id=row[1],
        session_id=intern(row[0]),
        type=event_type,
        client_ms=row[3],
        received_ms=row[4],
        order_ms=row[3],
        offset=row[5],
        playhead_s=row[6],
        params=_json(row[7]),
        qoe=_json(row[8]),
        custom_metadata=_json(row[9]),
        flags=tuple(row[10]),
        tracking_session_id=_kept_once(row[11]),
        tracking_verified=row[12],
        consent=_kept_once(row[13]),
        source=intern(row[14]),
        other=_json(row[15]),
        client=_json(row[16]),
    )


def _json(text: str | None) -> bytes | None:
    return None if text is None else text.encode()


def _kept_once(text: str | None) -> str | None:
    return None if text is None else intern(text)
