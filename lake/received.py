"""What the lake has stored since a moment: counts, and the sessions with events since then, in one snapshot."""

from collections.abc import Sequence
from typing import Any

import duckdb
import msgspec

from lake.catalog import quote
from lake.snapshot import in_snapshot


class Received(msgspec.Struct, frozen=True):
    """What was received since a moment.

    `sessions` has one row for each session with events since then: `session_id`, `stored` (events since then),
    `started_by`, `has_user_id` and the columns asked for, which are None if the session has no row yet.
    `duplicates` are those of the whole lake: their rows do not say when they were received.
    """

    sessions: list[dict[str, Any]]
    records: int
    duplicates: int
    refused: int


def read_received(
    lake: duckdb.DuckDBPyConnection,
    *,
    since_ms: int,
    starts_since_ms: int,
    run_key: str,
    columns: Sequence[str],
    moments: Sequence[str],
    moments_from_ms: int,
) -> Received:
    """Return what was received since `since_ms` (milliseconds since 1970).

    `started_by` is the value of `run_key` in the custom metadata of the session's start, looked for among events
    received since `starts_since_ms`: empty if the start has no such key, None if there is no start. Those
    of `columns` that are `moments` come in milliseconds since `moments_from_ms`.
    """
    since = f"received_at >= make_timestamptz({since_ms * 1000})"
    return in_snapshot(
        lake,
        lambda: Received(
            sessions=_sessions(lake, since, starts_since_ms, run_key, columns, moments, moments_from_ms),
            records=_count(lake, "events", since) + _count(lake, "tracking_events", since),
            duplicates=count_duplicates(lake),
            refused=_count(lake, "quarantine", f"source = 'ingest' AND {since}"),
        ),
    )


def count_duplicates(lake: duckdb.DuckDBPyConnection) -> int:
    """Return how many records of the log were repetitions of one that is stored."""
    return _count(lake, "duplicates", "true")


def _count(lake: duckdb.DuckDBPyConnection, table: str, condition: str) -> int:
    ((rows,),) = lake.execute(f"SELECT count(*) FROM {table} WHERE {condition}").fetchall()
    return int(rows)


def _sessions(
    lake: duckdb.DuckDBPyConnection,
    since: str,
    starts_since_ms: int,
    run_key: str,
    columns: Sequence[str],
    moments: Sequence[str],
    moments_from_ms: int,
) -> list[dict[str, Any]]:
    selected = [f"epoch_ms({name}) - {moments_from_ms} AS {name}" if name in moments else name for name in columns]
    query = lake.execute(
        f"""
        WITH counted AS (
            SELECT session_id, count(*) AS stored FROM events WHERE {since} GROUP BY session_id
        ), starts AS (
            SELECT session_id, any_value(coalesce(custom_metadata ->> {quote(run_key)}, '')) AS started_by
            FROM events
            WHERE event_type = 'sessionStart' AND received_at >= make_timestamptz({starts_since_ms * 1000})
            GROUP BY session_id
        ), known AS (
            SELECT session_id, user_id IS NOT NULL AS has_user_id, {", ".join(selected)} FROM sessions
        )
        SELECT * FROM counted LEFT JOIN starts USING (session_id) LEFT JOIN known USING (session_id)
        """
    )
    names = [column[0] for column in query.description]
    return [dict(zip(names, row, strict=True)) for row in query.fetchall()]
