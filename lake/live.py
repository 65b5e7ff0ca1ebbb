"""One session while it plays: what the lake has of it, asked again and again over one connection."""

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import duckdb
import msgspec

from lake.catalog import Location, connect
from lake.find import read_newest
from lake.history import read_histories
from lake.one_session import Timeline, timeline_of_history
from lake.pulse import newest_age_s
from lake.quarantine import read_refused
from lake.snapshot import in_snapshot
from schemas.ids import read_media_session


class Look(msgspec.Struct, frozen=True):
    """The lake at one moment.

    `behind_s` is the age of the newest event of all, None without any. While the lake has no event of the session,
    there is no `timeline`; its `row` comes a little later than its first event.
    """

    behind_s: float | None
    timeline: Timeline | None = None
    row: dict[str, Any] = {}


class Live:
    """Looks at one session at a time, whoever asks. `length_ms` is the longest session that the settings allow."""

    def __init__(self, place: Location, *, length_ms: int) -> None:
        self._place = place
        self._length_ms = length_ms
        self._turn = threading.Lock()
        self._connection: duckdb.DuckDBPyConnection | None = None

    def look(self, session_id: str, columns: Sequence[str]) -> Look:
        """Return what the lake has of a session now, with these columns of its row.

        Raises NotReady if there is no lake, or DuckDB's error.
        """
        with self._turn, self._opened() as connection:
            return in_snapshot(connection, lambda: self._look(connection, session_id, columns))

    def _look(self, connection: duckdb.DuckDBPyConnection, session_id: str, columns: Sequence[str]) -> Look:
        behind_s = newest_age_s(connection)
        session = read_media_session(session_id)
        if session is None:
            return Look(behind_s)
        history = read_histories(connection, [session_id], partition=session.partition).get(session_id)
        if history is None or not history.events:
            return Look(behind_s)
        row = read_newest(connection, session_id, session.partition, columns)
        refused = read_refused(connection, session_id)
        timeline = timeline_of_history(history, session.partition, length_ms=self._length_ms, row=row)
        return Look(behind_s, msgspec.structs.replace(timeline, refused=refused), row)

    def meanings(self) -> dict[str, str]:
        """Return what each column of `sessions` means. Raises as `look` does."""
        with self._turn, self._opened() as connection:
            rows = connection.execute("SELECT column_name, meaning FROM columns_of('sessions')").fetchall()
        return dict(rows)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Give the connection, opened if there is none; after an error the next look opens another."""
        if self._connection is None:
            self._connection = connect(self._place, read_only=True)
        try:
            yield self._connection
        except duckdb.Error:
            self._connection.close()
            self._connection = None
            raise
