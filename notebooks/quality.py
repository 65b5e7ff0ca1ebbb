"""What pages ask of data quality: what is doubtful of sessions, which rules decided, what was refused or lost."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from lake.reading import Reader
from notebooks.connect import read, read_each
from notebooks.filters import UNKNOWN, Choice
from sessions.timeline import FLAGS_MEAN

# Columns of `sessions_checked`: the word for each, and what it means.
CHECKS = {
    "is_reopened": ("reopened", "Events arrived after the session had closed: it was counted again with them."),
    "is_slow": (
        "slow reports",
        "Some events took over a minute longer than others to arrive: tunnels, sleeping devices, later uploads.",
    ),
    "has_wrong_clock": (
        "wrong clock",
        "The player's clock is wrong by more than a minute. Times are corrected by the arrivals.",
    ),
    "has_gap": ("unknown time", "For some time no event shows what the player did; no metric counts it."),
    "is_startless": ("no start", "No sessionStart arrived, so content, player and length are unknown."),
    "has_repeats": ("repeated events", "Events came more than once. They are stored, and counted once."),
    "has_events_after_end": ("events after the end", "Events later than the session's end. They are not counted."),
    "is_retried_start": (
        "retried start",
        "The player did not receive the reply to its start, and started again. The copy is not counted.",
    ),
    "is_capped": ("lists cut short", "A list of ads, ranges, errors and the like reached its greatest length."),
}
LOST = ("is_startless", "has_gap")  # checks that a lost report explains
DELAYS_S = (1, 10, 60, 600, 3600)
CAPPED_MAX = 50
# The columns that numbers of sessions are counted from, and these numbers.
_COUNTED = f"{', '.join(CHECKS)}, state, close_reason, gap_s, started_at, ended_at, stored_events"
_CHECKED = f"""
    count(*) AS n, {", ".join(f"count(*) FILTER ({column}) AS {column}" for column in CHECKS)},
    count(*) FILTER (state = 'final') AS closed,
    count(*) FILTER (state = 'final' AND close_reason <> 'ended') AS unended,
    sum(coalesce(gap_s, 0)) AS gap_s,
    sum((epoch_ms(ended_at) - epoch_ms(started_at)) / 1000) AS length_s,
    sum(stored_events)::BIGINT AS events
"""


class Found(msgspec.Struct, frozen=True):
    """What is doubtful of the sessions of a choice, retried starts included.

    `by_time`, by bucket of their start, and `by_value`, of what they are cut by, have for each `value` how many
    sessions (`n`) each check of `CHECKS` found. Also: `closed` ones, of which `unended` reported no end; `gap_s`
    of `length_s`, their time in seconds; and `events`, which they sent.

    `delays`: how many sessions had a slowest event of each delay (`place` in `DELAYS_S`, or None), without
    downloaded ones, which arrive late by design.

    `session_flags`: how many sessions of each player have each flag (`found`), of how many (`n`), and its
    `meaning`; `event_flags`: the same of their events.

    `capped`: sessions of which not everything is kept or counted, the longest first, at most `CAPPED_MAX`.
    """

    by_time: list[dict[str, Any]]
    by_value: list[dict[str, Any]]
    delays: list[dict[str, Any]]
    session_flags: list[dict[str, Any]]
    event_flags: list[dict[str, Any]]
    capped: list[dict[str, Any]]


def found(lake: Reader, choice: Choice, *, by: str) -> Found:
    """Return what is doubtful of the chosen sessions; `by` is an expression over `sessions_checked`."""
    limits = ", ".join(str(limit * 1000) for limit in DELAYS_S)
    answers = read_each(
        lake,
        f"""
        SELECT
            session_id, flags, clock_spread_ms, is_downloaded, events_over_limit, player_name,
            coalesce(player_name, '{UNKNOWN}') AS player, {choice.bucket} AS begins, {by} AS cut, {_COUNTED}
        FROM sessions_checked WHERE {choice.started()}
        """,
        {
            "by_time": f"SELECT begins AS value, {_CHECKED} FROM chosen GROUP BY value ORDER BY value",
            "by_value": f"SELECT cut AS value, {_CHECKED} FROM chosen GROUP BY value ORDER BY n DESC, value",
            "delays": f"""
                SELECT
                    if(
                        clock_spread_ms IS NULL, NULL,
                        len(list_filter([{limits}], lambda ms: clock_spread_ms >= ms))
                    ) AS place,
                    count(*) AS sessions
                FROM chosen WHERE NOT is_downloaded GROUP BY place ORDER BY place NULLS LAST
            """,
            "session_flags": """
                SELECT flag, any_value(meaning) AS meaning, player, any_value(n) AS n, count(*) AS found
                FROM (SELECT unnest(flags) AS flag, player FROM chosen WHERE len(flags) > 0)
                JOIN (SELECT player, count(*) AS n FROM chosen GROUP BY player) USING (player)
                LEFT JOIN session_flags USING (flag)
                GROUP BY flag, player ORDER BY flag, player
            """,
            "event_flags": """
                SELECT flag, player, any_value(n) AS n, count(*) AS found
                FROM (
                    SELECT unnest(flags) AS flag, session_id FROM events
                    WHERE len(flags) > 0 AND received_at >= $since
                )
                JOIN (SELECT session_id, player FROM chosen) USING (session_id)
                JOIN (SELECT player, sum(stored_events)::BIGINT AS n FROM chosen GROUP BY player) USING (player)
                GROUP BY flag, player ORDER BY flag, player
            """,
            "capped": f"""
                SELECT
                    session_id AS session, player_name AS player, stored_events AS events,
                    coalesce(events_over_limit, 0) AS "events not counted",
                    list_filter([
                        if(is_capped, 'lists', NULL),
                        if(list_contains(flags, 'ranges_joined'), 'ranges joined', NULL)
                    ], lambda what: what IS NOT NULL) AS "cut short"
                FROM chosen WHERE is_capped OR events_over_limit > 0 OR list_contains(flags, 'ranges_joined')
                ORDER BY events DESC, session LIMIT {CAPPED_MAX}
            """,
        },
        **choice.values(),
    )
    answers["event_flags"] = [{**row, "meaning": FLAGS_MEAN.get(row["flag"])} for row in answers["event_flags"]]
    return Found(**answers)


def checked(lake: Reader, choice: Choice) -> dict[str, Any]:
    """Return the numbers of `Found.by_time` of all chosen sessions together."""
    text = f"SELECT {_CHECKED} FROM (SELECT {_COUNTED} FROM sessions_checked WHERE {choice.started()})"
    (row,) = read(lake, text, **choice.values()).to_pylist()
    return dict(row)


def added(parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return rows of `Found.by_time` as one: every number of them is a sum."""
    numbers = ("n", *CHECKS, "closed", "unended", "gap_s", "length_s", "events")
    every = list(parts)
    return {name: sum(row[name] for row in every) for name in numbers}


def refused(lake: Reader, since: datetime, until: datetime) -> list[dict[str, Any]]:
    """Return what was refused in a time: reason, what was wrong, how often, and the place of the newest record.

    A record's bytes are never shown, since they may identify people. What the ingest says is wrong has had its
    identities removed; what the worker says may quote another producer's record, so quotes are cut off.
    """
    return read(
        lake,
        """
        SELECT
            source, reason,
            if(source = 'ingest', detail, regexp_replace(detail, '(CloudEvents |at `|got [^`]|[''"]).*', '…', 's'))
                AS "what was wrong",
            count(*) AS records,
            min(received_at) AS first_at, max(received_at) AS newest_at,
            max(octet_length(value)) AS largest_bytes,
            arg_max(log_partition || ':' || log_offset, (received_at, log_offset)) AS "newest is at"
        FROM quarantine WHERE received_at >= $since AND received_at < $until
        GROUP BY ALL ORDER BY records DESC, reason, "what was wrong"
        """,
        since=since,
        until=until,
    ).to_pylist()


def arrived(lake: Reader, since: datetime, until: datetime) -> int:
    """Return how many events arrived in a time and were taken."""
    (row,) = read(
        lake,
        "SELECT count(*) AS n FROM events WHERE received_at >= $since AND received_at < $until",
        since=since,
        until=until,
    ).to_pylist()
    return int(row["n"])


def missing(lake: Reader) -> list[dict[str, Any]]:
    """Return what of the log is not in the tables as an event, of all time."""
    return read(
        lake,
        """
        SELECT 'lost by the log' AS what, log_partition AS "partition", next_offset - first_offset AS records,
            accepted_at AS at, why
        FROM gaps
        UNION ALL
        SELECT 'removed on purpose', log_partition, next_offset - first_offset, removed_at, why FROM removals
        UNION ALL
        SELECT 'delivered twice', log_partition, count(*), NULL, why FROM duplicates GROUP BY log_partition, why
        UNION ALL
        SELECT 'not read any more', log_partition, NULL, halted_at, halted_reason FROM ledger
        WHERE halted_at IS NOT NULL
        ORDER BY 1, 2, 3 DESC
        """,
    ).to_pylist()
