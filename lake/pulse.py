"""What is happening now, in a few numbers from the lake."""

import duckdb
import msgspec


class Pulse(msgspec.Struct, frozen=True):
    """The lake at one moment.

    `watching` and `contents` count the sessions that are watched now, as in the view `watching_now`. `behind_s` is
    the age of the newest event; None: no events.
    """

    events: int
    quarantined: int
    duplicates: int
    sessions: int
    watching: int
    contents: list[tuple[str, int]]
    behind_s: float | None


def feel(connection: duckdb.DuckDBPyConnection) -> Pulse:
    """Return the pulse: totals from the ledger, the sessions being watched, and their contents."""
    ((events, quarantined, duplicates),) = connection.execute(
        "SELECT sum(inserted), sum(quarantined), sum(duplicates) FROM ledger"
    ).fetchall()
    watched = connection.execute(
        "SELECT coalesce(content_name, content_id, 'unknown') AS content, count(*) FROM open_now "
        "WHERE is_watching GROUP BY 1 ORDER BY 2 DESC, 1"
    ).fetchall()
    ((sessions,),) = connection.execute("SELECT count(*) FROM sessions").fetchall()
    return Pulse(
        events=events or 0,
        quarantined=quarantined or 0,
        duplicates=duplicates or 0,
        sessions=sessions,
        watching=sum(count for _, count in watched),
        contents=watched[:8],
        behind_s=newest_age_s(connection),
    )


def newest_age_s(connection: duckdb.DuckDBPyConnection) -> float | None:
    """Return the age of the lake's newest event, seconds; None if it has none."""
    ((age_s,),) = connection.execute("SELECT epoch(now()) - epoch(max(partition_time)) FROM ledger").fetchall()
    return None if age_s is None else float(age_s)
