"""Finds one session in the lake by its id, or by the first characters of it."""

from collections.abc import Sequence
from typing import Any

import duckdb
import msgspec

from schemas.faults import Fault
from schemas.terminal import printable

CANDIDATES_MAX = 10


class NoSuchSession(Fault):
    """No session id, or more than one, begins like this; the message lists those that do."""

    code = "no_such_session"


class Version(msgspec.Struct, frozen=True):
    """One closing of the session; `provisional` while it is open."""

    version: int
    state: str
    close_reason: str | None
    as_of_offset: int
    events: int
    late_events: int


def find(connection: duckdb.DuckDBPyConnection, prefix: str) -> tuple[str, int]:
    """Return id and partition of the one session whose id begins with `prefix`. Raises NoSuchSession."""
    wanted = prefix.strip().lower()
    if not wanted:
        raise NoSuchSession("name a session by the first characters of its id")
    rows = connection.execute(
        """
        SELECT session_id, any_value(log_partition), count(*), min(received_at), max(content_id)
        FROM (
            SELECT session_id, log_partition, received_at, params ->> '$."media.id"' AS content_id
            FROM events WHERE session_id >= $low AND session_id < $high
            UNION ALL
            SELECT session_id, log_partition, first_received_at, content_id
            FROM session_versions WHERE session_id >= $low AND session_id < $high
        )
        GROUP BY session_id ORDER BY session_id LIMIT $most
        """,
        {"low": wanted, "high": wanted + chr(0x10FFFF), "most": CANDIDATES_MAX + 1},
    ).fetchall()
    exact = [row for row in rows if row[0] == wanted]
    if len(exact or rows) == 1:
        return (exact or rows)[0][:2]
    if rows:
        named = [
            printable(f"{row[0]}  from {row[3]:%Y-%m-%d %H:%M:%S}, of {row[4]}") for row in rows[:CANDIDATES_MAX]
        ]
        more = ["..."] if len(rows) > CANDIDATES_MAX else []
        raise NoSuchSession(
            "\n".join([f"several sessions begin with {wanted}; give more characters:", *named, *more])
        )
    named = _named_by(connection, wanted)
    if named:
        raise NoSuchSession("\n".join([f"{wanted} is a tracking session; these sessions named it:", *named]))
    newest = connection.execute(
        "SELECT session_id FROM events GROUP BY session_id ORDER BY max(received_at) DESC LIMIT 3"
    ).fetchall()
    raise NoSuchSession(
        "\n".join([f"no session begins with {wanted[:80]}; the newest are:", *(row[0] for row in newest)])
        if newest
        else "there are no sessions yet"
    )


def _named_by(connection: duckdb.DuckDBPyConnection, tracking_session_id: str) -> list[str]:
    rows = connection.execute(
        "SELECT DISTINCT session_id FROM events WHERE tracking_session_id = ? ORDER BY 1 LIMIT ?",
        [tracking_session_id, CANDIDATES_MAX],
    ).fetchall()
    return [row[0] for row in rows]


def read_row(connection: duckdb.DuckDBPyConnection, session_id: str) -> dict[str, Any]:
    found = connection.execute("SELECT * FROM sessions WHERE session_id = ?", [session_id])
    names = [column[0] for column in found.description or []]
    return {name: value for row in found.fetchall() for name, value in zip(names, row, strict=True)}


def read_newest(
    connection: duckdb.DuckDBPyConnection, session_id: str, partition: int, columns: Sequence[str]
) -> dict[str, Any]:
    """Return columns of a session's newest version, open or closed; nothing if it has none.

    The view `sessions` has the same and its viewer, and takes four times as long to ask for one session.
    """
    named = ", ".join(columns)
    rows = connection.execute(
        f"SELECT {named} FROM ("
        f"SELECT version, as_of_offset, {named} FROM session_versions "
        "WHERE session_id = $id AND log_partition = $partition UNION ALL "
        f"SELECT version, as_of_offset, {named} FROM open_sessions_p{partition:03} WHERE session_id = $id"
        ") ORDER BY version DESC, as_of_offset DESC LIMIT 1",
        {"id": session_id, "partition": partition},
    ).fetchall()
    return {name: value for row in rows for name, value in zip(columns, row, strict=True)}


def read_versions(connection: duckdb.DuckDBPyConnection, session_id: str, partition: int) -> list[Version]:
    columns = "version, state, close_reason, as_of_offset, events, late_events"
    rows = connection.execute(
        f"SELECT {columns} FROM session_versions WHERE session_id = $id "
        f"UNION ALL SELECT {columns} FROM open_sessions_p{partition:03} WHERE session_id = $id ORDER BY 1, 2",
        {"id": session_id},
    ).fetchall()
    return [Version(*row) for row in rows]
