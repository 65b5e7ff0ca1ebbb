"""What has come into the lake since a position of the log: events, and bodies that were refused."""

from datetime import datetime
from functools import partial
from typing import Final

import duckdb
import msgspec

from lake.snapshot import in_snapshot

# All records of both kinds between two positions, and of those the wanted ones. The lowest offset is there once
# more, so that files are passed over by their statistics.
_ARRIVALS = """
WITH place AS (SELECT unnest($partitions) AS log_partition, unnest($lows) AS low, unnest($highs) AS high),
arrived AS (
    SELECT log_partition, log_offset, received_at, session_id, event_type, playhead_s,
        params ->> '$."media.id"' AS content_id, coalesce(flags, []) AS flags, NULL AS reason, NULL AS detail
    FROM events WHERE log_offset >= $lowest
    UNION ALL
    SELECT log_partition, log_offset, received_at, session_id, NULL, NULL, NULL, [], reason, detail
    FROM quarantine WHERE source = 'ingest' AND log_offset >= $lowest
),
batch AS (
    SELECT arrived.* FROM arrived JOIN place USING (log_partition)
    WHERE log_offset >= low AND log_offset < high
)
SELECT
    log_partition, log_offset, received_at, session_id, event_type, playhead_s, content_id, flags, reason, detail
FROM batch
WHERE ($session IS NULL OR starts_with(session_id, $session))
    AND ($event_type IS NULL OR event_type = $event_type)
    AND ($flag IS NULL OR list_contains(flags, $flag))
    AND (NOT $refused OR reason IS NOT NULL)
    AND ($content IS NULL OR list_contains($sessions, session_id)
        OR session_id IN (SELECT session_id FROM batch WHERE content_id = $content)
        OR session_id IN (SELECT session_id FROM sessions WHERE content_id = $content))
ORDER BY received_at DESC, log_partition DESC, log_offset DESC
LIMIT $most
"""

# So many of the newest records of the log are looked at, equally many of each partition.
BACK_RECORDS_MAX: Final = 1_000_000


class Wanted(msgspec.Struct, frozen=True):
    """Which arrivals are wanted: None, or False: any."""

    session: str | None = None
    content: str | None = None
    event_type: str | None = None
    flag: str | None = None
    refused: bool = False


class Arrival(msgspec.Struct, frozen=True):
    """One event, or a body that was refused: then it has a reason and a detail, and no type."""

    partition: int
    offset: int
    received_at: datetime
    session_id: str | None
    event_type: str | None
    playhead_s: float | None
    content_id: str | None
    flags: list[str]
    reason: str | None
    detail: str | None


class Newest(msgspec.Struct, frozen=True):
    """The newest arrivals that are wanted, and whether all of the lake was looked at for them."""

    found: list[Arrival]
    is_all: bool


class Arrivals:
    """Follows a lake: `newest` begins it."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, wanted: Wanted) -> None:
        self._connection = connection
        self._wanted = wanted
        self._sessions: set[str] = set()  # of the content, whose rows may not be written yet
        self._next: dict[int, int] = {}

    def _ends(self) -> dict[int, int]:
        rows = self._connection.execute("SELECT log_partition, next_offset FROM ledger").fetchall()
        return {partition: end for partition, end in rows if end is not None}

    def newest(self, count: int) -> Newest:
        """Return the last so many that are wanted, of the newest `BACK_RECORDS_MAX` records."""
        ends = self._ends()
        back = BACK_RECORDS_MAX // max(1, len(ends)) if count else 0
        self._next = {partition: max(0, end - back) for partition, end in ends.items()}
        is_all = not any(self._next.values())
        return Newest(self._read_on(count) if count else [], is_all)

    def read(self) -> list[Arrival]:
        """Return what is wanted of all that has come since it was read last, in the order of arrival."""
        return self._read_on(None)

    def _read_on(self, most: int | None) -> list[Arrival]:
        self._next, found = in_snapshot(self._connection, partial(self._read, most))
        if self._wanted.content is not None:
            self._sessions |= {
                each.session_id for each in found if each.content_id == self._wanted.content and each.session_id
            }
        return found

    def _read(self, most: int | None) -> tuple[dict[int, int], list[Arrival]]:
        """Return the ends of the partitions, and what is wanted of what came before them; or the last of it."""
        ends = self._ends()
        lows = {partition: self._next.get(partition, 0) for partition in ends}
        moved = [partition for partition in ends if lows[partition] < ends[partition]]
        if not moved:
            return self._next, []
        values = {
            "partitions": moved,
            "lows": [lows[partition] for partition in moved],
            "highs": [ends[partition] for partition in moved],
            "lowest": min(lows[partition] for partition in moved),
            "sessions": sorted(self._sessions),
            "most": most,
        }
        rows = self._connection.execute(_ARRIVALS, values | msgspec.structs.asdict(self._wanted)).fetchall()
        return ends, [Arrival(*row) for row in reversed(rows)]
