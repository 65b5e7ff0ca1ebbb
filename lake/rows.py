"""The changes of a batch as rows of the lake's tables, in Arrow, which DuckDB reads without copying."""

import functools
import itertools
from collections.abc import Iterable, Sequence
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec
import pyarrow as pa
from msgspec.structs import astuple

from lake.changes import Changes, SessionRow
from sessions.event import Bad, Event, Tracking
from sessions.facts import COLUMNS, SessionFacts

SESSIONS_A_PIECE = 2_000
EVENTS_A_PIECE = 1_024  # DuckDB takes as many at a time; a processor's cache holds them while they become columns
HASH_CHARACTERS = 16
_MS = pa.timestamp("ms", "UTC")
_TEXTS = pa.list_(pa.string())
_TEXTS_BY_NAME = pa.map_(pa.string(), pa.string())


def rows_of(every: Iterable[Changes], *, topic: str) -> dict[str, pa.Table]:
    """Return the rows for each append-only table."""
    changes = list(every)
    return {
        "events": pa.concat_tables(
            _events(part.events[first : first + EVENTS_A_PIECE], topic, part.partition)
            for part in changes
            for first in range(0, len(part.events) or 1, EVENTS_A_PIECE)
        ),
        "tracking_events": _tracking([(entry, part.partition) for part in changes for entry in part.tracking]),
        "quarantine": _quarantine([(entry, part.partition) for part in changes for entry in part.bad]),
        "duplicates": pa.table(
            {
                "log_partition": pa.array(
                    [part.partition for part in changes for _ in part.duplicates], pa.int32()
                ),
                "log_offset": pa.array(
                    [offset for part in changes for offset, _, _ in part.duplicates], pa.int64()
                ),
                "event_id": pa.array([id for part in changes for _, id, _ in part.duplicates], pa.string()),
                "why": pa.array([why for part in changes for _, _, why in part.duplicates], pa.string()),
            }
        ),
        "start_requests": _start_requests([event for part in changes for event in part.events]),
        "session_versions": session_rows((row, part.partition) for part in changes for row in part.closed),
    }


def _events(events: list[Event], topic: str, partition: int) -> pa.Table:
    return pa.table(
        {
            "event_id": pa.array([event.event_id for event in events], pa.string()),
            "session_id": pa.array([event.session_id for event in events], pa.string()),
            "event_type": pa.array([event.type.name for event in events], pa.string()),
            "client_ts": pa.array([event.client_ms for event in events], _MS),
            "received_at": pa.array([event.received_ms for event in events], _MS),
            "playhead_s": pa.array([event.playhead_s for event in events], pa.float64()),
            "params": pa.array([event.params for event in events], pa.string()),
            "qoe": pa.array([event.qoe for event in events], pa.string()),
            "custom_metadata": pa.array([event.custom_metadata for event in events], pa.string()),
            "other": pa.array([event.other for event in events], pa.string()),
            "tracking_session_id": pa.array([event.tracking_session_id for event in events], pa.string()),
            "tracking_verified": pa.array([event.tracking_verified for event in events], pa.bool_()),
            "consent": pa.array([event.consent for event in events], pa.string()),
            "flags": pa.array([event.flags for event in events], _TEXTS),
            "source": pa.array([event.source for event in events], pa.string()),
            "topic": pa.repeat(topic, len(events)),
            "log_partition": pa.repeat(pa.scalar(partition, pa.int32()), len(events)),
            "log_offset": pa.array([event.offset for event in events], pa.int64()),
            "client": pa.array([event.client for event in events], pa.string()),
        }
    )


def days_of(events: pa.Table) -> set[int]:
    """Return the days since 1970 on which events arrived."""
    days = events["received_at"].cast(pa.date32()).cast(pa.int32()).unique()
    return {day for day in days.to_pylist() if day is not None}


def _start_requests(events: list[Event]) -> pa.Table:
    # The ingest gives one or two; who else writes to the log may give anything.
    hashes = [
        (event, text)
        for event in events
        if event.request_hashes
        for text in event.request_hashes.split(",")[:2]
        if len(text) == HASH_CHARACTERS
    ]
    return pa.table(
        {
            "session_id": pa.array([event.session_id for event, _ in hashes], pa.string()),
            "request_hash": pa.array([text for _, text in hashes], pa.string()),
            "received_at": pa.array([event.received_ms for event, _ in hashes], _MS),
        }
    )


def _tracking(rows: list[tuple[Tracking, int]]) -> pa.Table:
    entries = [entry for entry, _ in rows]
    return pa.table(
        {
            "event_id": pa.array([entry.event_id for entry in entries], pa.string()),
            "event_type": pa.array([entry.change for entry in entries], pa.string()),
            "tracking_session_id": pa.array([entry.tracking_session_id for entry in entries], pa.string()),
            "playout_id": pa.array([entry.playout_id for entry in entries], pa.string()),
            "user_id": pa.array([entry.user_id for entry in entries], pa.string()),
            "source": pa.array([entry.source for entry in entries], pa.string()),
            "started_at": pa.array([entry.started_at for entry in entries], pa.timestamp("us", "UTC")),
            "verified": pa.array([entry.verified for entry in entries], pa.bool_()),
            "consent": pa.array([entry.consent for entry in entries], pa.string()),
            "received_at": pa.array([entry.received_ms for entry in entries], _MS),
            "log_partition": pa.array([partition for _, partition in rows], pa.int32()),
            "log_offset": pa.array([entry.offset for entry in entries], pa.int64()),
        }
    )


def _quarantine(rows: list[tuple[Bad, int]]) -> pa.Table:
    entries = [entry for entry, _ in rows]
    return pa.table(
        {
            "log_partition": pa.array([partition for _, partition in rows], pa.int32()),
            "log_offset": pa.array([entry.offset for entry in entries], pa.int64()),
            "received_at": pa.array([entry.received_ms for entry in entries], _MS),
            "source": pa.array([entry.source for entry in entries], pa.string()),
            "reason": pa.array([entry.reason for entry in entries], pa.string()),
            "detail": pa.array([entry.detail for entry in entries], pa.string()),
            "value": pa.array([entry.value for entry in entries], pa.binary()),
            "key_name": pa.array([entry.key_name for entry in entries], pa.string()),
            "player_name": pa.array([entry.player_name for entry in entries], pa.string()),
            "app_version": pa.array([entry.app_version for entry in entries], pa.string()),
            "session_id": pa.array([entry.session_id for entry in entries], pa.string()),
        }
    )


_ARROW: dict[Any, pa.DataType] = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}


def _arrow_type(kind: Any) -> pa.DataType:
    """Return the Arrow type of a field: a scalar, a Literal, texts by name, a list of texts or Structs."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is dict:
        return _TEXTS_BY_NAME
    if origin is list:
        return _TEXTS if arguments[0] is str else pa.list_(pa.struct(_arrow_fields(arguments[0])))
    if origin is Literal:
        return pa.string()
    if origin is UnionType:
        return _arrow_type(next(part for part in arguments if part is not type(None)))
    return _ARROW[kind]


def _arrow_fields(struct: type[msgspec.Struct]) -> "list[pa.Field[Any]]":
    hints = get_type_hints(struct)
    return [
        pa.field(COLUMNS.get(name, name), _MS if name in COLUMNS else _arrow_type(hints[name]))
        for name in struct.__struct_fields__
    ]


_FACTS = pa.schema(_arrow_fields(SessionFacts))


def session_rows(rows: Iterable[tuple[SessionRow, int]]) -> pa.Table:
    """Return rows of session_versions or open_sessions, each a session and its partition."""
    remaining = iter(rows)
    # In pieces: 100,000 sessions take 400 MB as Python objects and 90 MB as columns.
    pieces = []
    while piece := list(itertools.islice(remaining, SESSIONS_A_PIECE)):
        pieces.append(_sessions(piece))
    return pa.concat_tables(pieces) if pieces else _no_sessions()


@functools.cache
def _no_sessions() -> pa.Table:
    return _sessions([])


def _sessions(rows: list[tuple[SessionRow, int]]) -> pa.Table:
    sessions = [row for row, _ in rows]
    columns = dict(zip(_FACTS.names, _columns([row.facts for row in sessions], list(_FACTS)), strict=True))
    states = ["provisional" if row.close_reason is None else "final" for row in sessions]
    return pa.table(
        {
            **columns,
            "version": pa.array([row.version for row in sessions], pa.int32()),
            "state": pa.array(states, pa.string()),
            "close_reason": pa.array([row.close_reason for row in sessions], pa.string()),
            "as_of": pa.array([row.as_of_ms for row in sessions], _MS),
            "as_of_offset": pa.array([row.as_of_offset for row in sessions], pa.int64()),
            "log_partition": pa.array([partition for _, partition in rows], pa.int32()),
            "late_events": pa.array([row.late_events for row in sessions], pa.int64()),
            "first_offset": pa.array([row.first_offset for row in sessions], pa.int64()),
        }
    )


def _columns(structs: Sequence[msgspec.Struct], fields: "Sequence[pa.Field[Any]]") -> "list[pa.Array[Any]]":
    """Return Structs as one array per field; a list of Structs becomes an array of lists of their columns."""
    values = zip(*map(astuple, structs), strict=True) if structs else [()] * len(fields)
    return [_column(column, field.type) for column, field in zip(values, fields, strict=True)]


def _column(values: Sequence[Any], kind: pa.DataType) -> "pa.Array[Any]":
    if kind == _TEXTS_BY_NAME:
        return pa.array([None if value is None else list(value.items()) for value in values], kind)
    if not pa.types.is_list(kind) or kind == _TEXTS:
        return pa.array(values, kind)
    ends = pa.array(itertools.accumulate(map(len, values), initial=0), pa.int32())
    fields = list(kind.value_type)
    parts = _columns(list(itertools.chain.from_iterable(values)), fields)
    return pa.ListArray.from_arrays(ends, pa.StructArray.from_arrays(parts, fields=fields))


def ledger_rows(ledger: msgspec.Struct) -> pa.Table:
    """Return the one row of a ledger table."""
    return pa.Table.from_pylist([msgspec.structs.asdict(ledger)])
