"""Turn what a batch changes into rows of the lake's tables (Arrow, which DuckDB reads without copying)."""

import itertools
from collections.abc import Iterable
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec
import pyarrow as pa

from consumers.decode import Bad, Tracking
from consumers.facts import COLUMNS, SessionFacts
from consumers.fold import Event
from consumers.sessions import Changes, SessionRow

SESSIONS_A_PIECE = 2_000
_MS = pa.timestamp("ms", "UTC")
_TEXTS = pa.list_(pa.string())
_encode = msgspec.json.Encoder().encode


def rows_of(every: Iterable[Changes], *, topic: str) -> dict[str, pa.Table]:
    """Return the rows for each of the tables that only grow."""
    changes = list(every)
    return {
        "events": _events([(event, part.partition) for part in changes for event in part.events], topic),
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
        "session_versions": session_rows((row, part.partition) for part in changes for row in part.closed),
    }


def _events(rows: list[tuple[Event, int]], topic: str) -> pa.Table:
    events = [event for event, _ in rows]
    return pa.table(
        {
            "event_id": pa.array([event.event_id for event in events], pa.string()),
            "session_id": pa.array([event.session_id for event in events], pa.string()),
            "event_type": pa.array([event.type.name for event in events], pa.string()),
            "client_ts": pa.array([event.client_ms for event in events], _MS),
            "received_at": pa.array([event.received_ms for event in events], _MS),
            "playhead_s": pa.array([event.playhead_s for event in events], pa.float64()),
            "params": _json([event.params for event in events]),
            "qoe": _json([event.qoe for event in events]),
            "custom_metadata": _json([event.custom_metadata for event in events]),
            "other": _json([event.other for event in events]),
            "tracking_session_id": pa.array([event.tracking_session_id for event in events], pa.string()),
            "tracking_verified": pa.array([event.tracking_verified for event in events], pa.bool_()),
            "consent": pa.array([event.consent for event in events], pa.string()),
            "flags": pa.array([event.flags for event in events], _TEXTS),
            "source": pa.array([event.source for event in events], pa.string()),
            "topic": pa.array([topic] * len(events), pa.string()),
            "log_partition": pa.array([partition for _, partition in rows], pa.int32()),
            "log_offset": pa.array([event.offset for event in events], pa.int64()),
        }
    )


def _json(values: list[dict[str, Any] | None]) -> "pa.Array[Any]":
    return pa.array([None if value is None else _encode(value) for value in values], pa.binary()).cast(pa.string())


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
        }
    )


_ARROW: dict[Any, pa.DataType] = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}


def _arrow_type(kind: Any) -> pa.DataType:
    """Return the Arrow type of a field's type: a scalar (maybe None), a Literal of texts, or a list of Structs."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is list:
        return pa.list_(pa.struct(_arrow_fields(arguments[0])))
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


_SESSION_SCHEMA = pa.schema(
    [
        *_arrow_fields(SessionFacts),
        pa.field("version", pa.int32()),
        pa.field("state", pa.string()),
        pa.field("close_reason", pa.string()),
        pa.field("as_of", _MS),
        pa.field("as_of_offset", pa.int64()),
        pa.field("log_partition", pa.int32()),
        pa.field("late_events", pa.int64()),
    ]
)


def session_rows(rows: Iterable[tuple[SessionRow, int]]) -> pa.Table:
    """Return rows of session_versions or open_sessions, each a session and its partition."""
    batches = []
    remaining = iter(rows)
    # In pieces: as Python's own objects 100,000 sessions take 400 MB, as columns 90.
    while piece := list(itertools.islice(remaining, SESSIONS_A_PIECE)):
        columns = [_session(row, partition) for row, partition in piece]
        batches.append(pa.RecordBatch.from_pylist(columns, _SESSION_SCHEMA))
    return pa.Table.from_batches(batches, _SESSION_SCHEMA)


def _session(row: SessionRow, partition: int) -> dict[str, Any]:
    columns: dict[str, Any] = msgspec.to_builtins(row.facts)
    columns["version"] = row.version
    columns["state"] = "provisional" if row.close_reason is None else "final"
    columns["close_reason"] = row.close_reason
    columns["as_of"] = row.as_of_ms
    columns["as_of_offset"] = row.as_of_offset
    columns["log_partition"] = partition
    columns["late_events"] = row.late_events
    return columns


def ledger_rows(ledger: msgspec.Struct) -> pa.Table:
    """Return the one row of a ledger table."""
    return pa.Table.from_pylist([msgspec.structs.asdict(ledger)])
