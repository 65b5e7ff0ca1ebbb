"""What lakes for `make bench-lake` lack, and tests want: dimensions, clocks that were set, events, refused bodies.

`has_more` of a Shape asks for it. It also draws each value of a session apart from the others: in lakes without it
one number decides all of them, so that, say, all sessions of a content are equally long.
"""

import duckdb

MACROS = """
CREATE OR REPLACE TEMP MACRO drawn(number, name) AS (hash(concat(number, ' ', name)) >> 11) / 9007199254740992.0;
CREATE OR REPLACE TEMP MACRO one_of(many, number, name) AS (hash(concat(number, ' ', name)) % many)::BIGINT;
"""

# Columns that a session has besides, or in place of what it has. Clocks that are steady date events by timestamps
# alone, and so did schema 2; those that were set are wrong by an hour from the start, which it found too.
_COLUMNS = {
    "site": "nullif('site-' || one_of(3, session_id, 'site'), 'site-0')",
    "device_type": "['phone', 'tv', 'desktop', NULL][1 + one_of(4, session_id, 'device type')]",
    "country": "['BE', 'PL', 'FR', 'JP', NULL][1 + one_of(5, session_id, 'country')]",
    "cdn": "['fast', 'edgewise', NULL][1 + one_of(3, session_id, 'cdn')]",
    "clock_offset_ms": """
        CASE
            WHEN drawn(session_id, 'offset') < 0.02 THEN 3_600_000
            WHEN drawn(session_id, 'offset') < 0.04 THEN -90_000
            ELSE one_of(4000, session_id, 'clock')
        END
    """,
    "clock_spread_ms": """
        if(drawn(session_id, 'slow') < 0.02, 61_000, 0) + one_of(900, session_id, 'spread')
    """,
    "clocks": """
        CASE
            WHEN drawn(session_id, 'offset') < 0.01 THEN [
                {since_at: NULL::TIMESTAMPTZ, until_at: first_received_at, offset_ms: 3_600_000::BIGINT},
                {since_at: first_received_at, until_at: NULL::TIMESTAMPTZ, offset_ms: 3_900_000::BIGINT}
            ]
            WHEN drawn(session_id, 'offset') < 0.015
                THEN [{since_at: NULL::TIMESTAMPTZ, until_at: NULL::TIMESTAMPTZ, offset_ms: 3_600_000::BIGINT}]
        END
    """,
    "gap_s": "(drawn(session_id, 'gap') < 0.02)::DOUBLE",
    "ads": """
        list_transform(ads, lambda ad: struct_update(
            ad, outcome := ['completed', 'skipped', 'aborted', 'open'][1 + one_of(4, session_id, ad.position)]
        ))
    """,
    "ads_skipped": "len(list_filter(ads, lambda ad: one_of(4, session_id, ad.position) = 1))",
    "ads_aborted": "len(list_filter(ads, lambda ad: one_of(4, session_id, ad.position) = 2))",
    "ads_outside_break": "if(ads_started > 1, one_of(2, session_id, 'outside'), 0)",
    "ad_time_outside_breaks_s": "if(ads_started > 1, 15.0 * one_of(2, session_id, 'outside'), 0)::DOUBLE",
    "ad_breaks_completed": "if(ad_breaks > 0, one_of(2, session_id, 'break'), 0)",
    "seek_buffers": "if(rebuffers > 1, one_of(2, session_id, 'seek buffers'), 0)",
    "seek_buffer_time_s": "if(rebuffers > 1, rebuffer_time_s / 3 * one_of(2, session_id, 'seek buffers'), 0)",
    **{
        name: f"(drawn(session_id, '{name}') < 0.02)::{type}"
        for name, type in (
            ("events_after_end", "BIGINT"),
            ("events_ignored", "BIGINT"),
            ("events_over_limit", "BIGINT"),
            ("loops", "BIGINT"),
            ("fast_forward_s", "DOUBLE"),
            ("played_error_s", "DOUBLE"),
        )
    },
}

# Up to five events of one session of four, by its own clock; the last of some is after its end, or a day late.
_EVENTS = """
INSERT INTO events BY NAME
WITH told AS (
    SELECT
        session_id, start_ts, end_ts, len(clocks) > 1 AS is_set, clock_offset_ms, clocks, log_partition,
        ended_at - started_at AS length, player_name, least(events, 5) AS many, unnest(range(many)) AS n
    FROM sessions
    WHERE one_of(4, session_id, 'is told') = 0
), sent AS (
    SELECT
        *,
        n = many - 1 AND n > 0 AND NOT coalesce(is_set, false) AS may_be_late,
        CASE
            WHEN may_be_late AND drawn(session_id, 'late by') < 0.2 THEN length + INTERVAL 5 SECOND
            WHEN may_be_late AND drawn(session_id, 'late by') < 0.3 THEN INTERVAL 25 HOUR
            ELSE n * (length / many)
        END AS passed,
        start_ts + passed AS client_by_first,
        client_by_first + to_milliseconds(clock_offset_ms)
            - if(may_be_late AND drawn(session_id, 'ahead') < 0.1, INTERVAL 2 DAY, INTERVAL 0 DAY) AS received_at
    FROM told
)
SELECT
    concat(session_id, '.', n) AS event_id,
    session_id,
    ['sessionStart', 'play', 'ping', 'ping', 'sessionEnd'][n + 1] AS event_type,
    client_by_first - if(is_set AND n > 0, INTERVAL 5 MINUTE, INTERVAL 0 MINUTE) AS client_ts,
    received_at,
    n * 10.0 AS playhead_s,
    list_filter([
        if(client_ts - received_at > INTERVAL 1 DAY, 'future_ts', NULL),
        if(drawn(event_id, 'flag') < 0.02, 'off_schema', NULL),
        if(drawn(event_id, 'flag') BETWEEN 0.01 AND 0.03, 'repeat', NULL)
    ], lambda flag: flag IS NOT NULL) AS flags,
    '/api/v1/sessions' AS source, 'playhead.events' AS topic, log_partition,
    row_number() OVER (PARTITION BY log_partition ORDER BY received_at, event_id) - 1 AS log_offset
FROM sent
UNION ALL BY NAME
SELECT 'of no session' AS event_id, 'unknown' AS session_id, 'ping' AS event_type, now() AS client_ts,
    now() AS received_at, ['no_start'] AS flags, 0 AS log_partition, 1_000_000 AS log_offset
"""

_REFUSED = """
INSERT INTO quarantine BY NAME
SELECT
    0 AS log_partition, 2_000_000 + n AS log_offset, now() AS received_at, 'ingest' AS source,
    ['missing', 'wrong_type'][1 + n % 2] AS reason
FROM range(5) AS numbers(n)
"""


def with_more(query: str) -> str:
    """Return a query of sessions with those columns."""
    columns = ", ".join(f"{sql} AS {name}" for name, sql in _COLUMNS.items())
    return f"SELECT COLUMNS(name -> NOT list_contains({list(_COLUMNS)}, name)), {columns} FROM ({query})"


def fill_events(lake: duckdb.DuckDBPyConnection) -> None:
    """Write events of the sessions that the lake has, and bodies that were refused."""
    lake.execute(_EVENTS)
    lake.execute(_REFUSED)
