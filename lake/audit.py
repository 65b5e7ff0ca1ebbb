"""Recounts a sample of closed sessions from their events, independently of the fold, and lists differences.

`playhead verify` counts rows; this checks the numbers computed from them. The recount is `sessions/recount/`,
which shares no code with the fold.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import duckdb
import msgspec

from lake.catalog import Location, connect
from lake.changes import History
from lake.history import read_histories
from schemas.records import SOURCE_DOWNLOADED
from sessions.admission import admitted
from sessions.event import Event, read_object
from sessions.facts import COLUMNS
from sessions.recount import DURATIONS, Recount, Report, joined

EVENTS_MAX = 2_000
EVENTS_FOLDED = 20_000  # of a session; the rest is over the limit
SPAN_MS_MAX = 90_000_000
LISTS = ("ads", "breaks", "chapters", "player_states", "played_intervals", "spans")
STORED = ("events", "repeats", "events_after_end", "events_ignored", "events_over_limit")
CLOSE = 1e-6


class Difference(msgspec.Struct, frozen=True):
    """One number of one session, in the lake and by counting its milliseconds."""

    session_id: str
    version: int
    metric: str
    lake: str
    recounted: str


class Audit(msgspec.Struct, frozen=True):
    """What was recounted. `passed_over` are sessions of the sample too long to count millisecond by millisecond
    (more than EVENTS_MAX events, or more than 25 hours by their clock), and those whose events retention or
    erasure removed, or that closed before the rules of today. Lists that were cut short are not compared.
    """

    sample: int
    recounted: int
    passed_over: int
    numbers: int
    differences: list[Difference]


def audit(place: Location, *, sample: int, seed: int, length_ms: int) -> Audit:
    """Recount `sample` closed sessions of a lake, in one snapshot, while others write.

    The same seed draws the same sessions of the same lake; `length_ms` is the longest session that the settings
    allow.
    """
    connection = connect(place, read_only=True, threads=2, one_snapshot=True)
    try:
        rows = _draw(connection, sample, seed)
        histories: dict[str, History] = {}
        for partition in {row["log_partition"] for row in rows}:
            wanted = [row["session_id"] for row in rows if row["log_partition"] == partition]
            histories |= read_histories(connection, wanted, partition=partition)
        has_removals = bool(connection.execute("SELECT 1 FROM removals LIMIT 1").fetchall())
    finally:
        connection.close()
    differences: list[Difference] = []
    recounted = numbers = 0
    for row in rows:
        history = histories.get(row["session_id"])
        events = [event for event in history.events if event.offset < row["as_of_offset"]] if history else []
        is_cut = has_removals and len(events) < sum(row[name] or 0 for name in STORED)
        if is_cut or row["played_error_s"] is None or not _is_countable(events):
            continue
        expected = recount(events, length_ms=length_ms)
        if row["is_capped"]:
            expected = {name: value for name, value in expected.items() if name not in LISTS}
        recounted, numbers = recounted + 1, numbers + len(expected)
        differences += _differences(row, expected)
    return Audit(len(rows), recounted, len(rows) - recounted, numbers, differences)


def _draw(connection: duckdb.DuckDBPyConnection, sample: int, seed: int) -> list[dict[str, Any]]:
    """Return sessions whose newest version is closed, sampled by a hash of their id and the seed."""
    rows = connection.execute(
        """
        SELECT v.* FROM session_versions AS v
        JOIN (
            SELECT session_id, version FROM sessions WHERE state = 'final'
            ORDER BY hash(session_id || ?) LIMIT ?
        ) AS drawn ON v.session_id = drawn.session_id AND v.version = drawn.version
        """,
        [str(seed), sample],
    ).to_arrow_table()
    return rows.to_pylist()


def _is_countable(events: list[Event]) -> bool:
    if not 0 < len(events) <= EVENTS_MAX:
        return False
    times = [event.order_ms for event in admitted(events)[1]]
    return max(times) - min(times) <= SPAN_MS_MAX


def recount(events: Iterable[Event], *, length_ms: int) -> Mapping[str, Any]:
    """Return the numbers of a session, recounted, by the names of the facts; durations in ms."""
    in_order_of_arrival = sorted(events, key=lambda event: event.offset)
    reports: list[Report] = []
    said: set[Any] = set()
    has_end = False
    for event in in_order_of_arrival:
        words = _words(event)
        is_over_limit = len(reports) >= EVENTS_FOLDED and not (event.type.ends and not has_end)
        has_end = has_end or event.type.ends
        reports.append(
            Report(
                event.type.name,
                event.client_ms,
                event.received_ms,
                event.offset,
                event.playhead_s,
                read_object(event.params),
                read_object(event.qoe),
                is_repeat=words in said,
                is_over_limit=is_over_limit,
                metadata=read_object(event.custom_metadata),
            )
        )
        if not is_over_limit:
            said.add(words)
    is_downloaded = any(
        event.type.starts and event.source == SOURCE_DOWNLOADED and "repeat" not in event.flags
        for event in in_order_of_arrival
    )
    return Recount(reports, length_ms=length_ms, is_downloaded=is_downloaded).numbers()


def _words(event: Event) -> Any:
    """Return the content of an event as a value that is equal for events with equal content."""
    texts = (event.params, event.qoe, event.custom_metadata, event.other)
    body = [None if text is None else _hashable(read_object(text)) for text in texts]
    return (event.client_ms, event.type.name, event.playhead_s, tuple(body))


def _hashable(value: Any) -> Any:
    if isinstance(value, dict):
        return frozenset((key, _hashable(inner)) for key, inner in value.items())
    if isinstance(value, list):
        return tuple(map(_hashable, value))
    return (bool, value) if isinstance(value, bool) else value  # in Python True equals 1, in JSON it does not


def _differences(row: Mapping[str, Any], expected: Mapping[str, Any]) -> list[Difference]:
    differences = []
    for name, value in expected.items():
        found = _comparable(name, row[COLUMNS.get(name, name)])
        if not _is_equal(found, value):
            differences.append(
                Difference(row["session_id"], row["version"], COLUMNS.get(name, name), str(found), str(value))
            )
    return differences


def _comparable(name: str, value: Any) -> Any:
    """Return a value of the lake in the form of the recount: moments and durations in ms, lists as tuples."""
    if value is None:
        return None
    if name in COLUMNS:
        return _ms(value)
    if name in ("ads", "breaks", "chapters"):
        return [(round(entry["time_s"] * 1000), entry["outcome"]) for entry in value]
    if name == "player_states":
        return {entry["name"]: (entry["starts"], round(entry["time_s"] * 1000)) for entry in value}
    if name == "played_intervals":
        return [(entry["start_s"], entry["end_s"], entry["passes"]) for entry in value]
    if name == "spans":
        return joined((entry["doing"], _ms(entry["started_at"]), _ms(entry["ended_at"])) for entry in value)
    if name in DURATIONS:
        return round(value * 1000)
    return value


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _is_equal(found: Any, expected: Any) -> bool:
    if isinstance(found, list) and isinstance(expected, list):
        return len(found) == len(expected) and all(map(_is_equal, found, expected))
    if isinstance(found, tuple) and isinstance(expected, tuple):
        return len(found) == len(expected) and all(map(_is_equal, found, expected))
    if isinstance(found, float) or isinstance(expected, float):
        return (
            found is not None and expected is not None and abs(found - expected) <= CLOSE * max(1, abs(expected))
        )
    return bool(found == expected)
