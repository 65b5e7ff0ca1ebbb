-- Data that is late, irregular, repeated or missing; and what columns mean.

-- The columns of a table or view, and what each means: columns_of('sessions'). Cost: 0.1 s.
CREATE OR REPLACE MACRO columns_of(named) AS TABLE
SELECT column_name, data_type, meaning FROM column_meanings WHERE table_name = named ORDER BY position;

-- Sessions that late events reopened; version is how often each closed. Cost: 0.4 s.
CREATE OR REPLACE VIEW late_sessions AS
SELECT session_id, version, state, late_events, events, started_at, ended_at, last_received_at, is_downloaded, content_id
FROM sessions
WHERE late_events > 0;

-- Events by flag. Cost: reads the flags of every event, 0.5 s for 10 million.
CREATE OR REPLACE VIEW flagged_events AS
SELECT
    flag,
    count(*) AS events,
    count(DISTINCT session_id) AS sessions,
    min(received_at) AS first_at,
    max(received_at) AS last_at
FROM (SELECT unnest(flags) AS flag, session_id, received_at FROM events WHERE len(flags) > 0)
GROUP BY flag;

-- Sessions without a known sessionStart, so that their content is unknown too. Cost: 0.4 s.
CREATE OR REPLACE VIEW sessions_without_start AS
SELECT session_id, state, events, started_at, ended_at, log_partition FROM sessions WHERE NOT has_start;

-- Sessions with repeated events, which are stored but counted once. Cost: 0.4 s.
CREATE OR REPLACE VIEW repeats AS
SELECT session_id, repeats, events, started_at, player_name, app_version FROM sessions WHERE repeats > 0;

-- Retried starts: the player did not receive the reply to its sessionStart and started another session. Not counted. Cost: 0.4 s.
CREATE OR REPLACE VIEW retried_starts AS
SELECT session_id, start_ts, first_received_at, content_id, player_name, channel FROM sessions WHERE is_retried_start;

-- Sessions, retried starts included, with a flag for each reason to doubt one. is_reopened: late events reopened it. is_startless: without sessionStart. has_wrong_clock: the player's clock is wrong by more than a minute. is_slow: some of its events took over a minute longer than others to arrive. has_gap: some of its time is unknown. has_repeats, has_events_after_end: some of its events are not counted. stored_events: all its stored events, counted or not. Cost: 0.4 s.
CREATE OR REPLACE VIEW sessions_checked AS
SELECT
    *,
    late_events > 0 AS is_reopened,
    NOT has_start AS is_startless,
    coalesce(abs(clock_offset_ms) > 60000, false) AS has_wrong_clock,
    coalesce(clock_spread_ms > 60000, false) AS is_slow,
    coalesce(gap_s > 0, false) AS has_gap,
    repeats > 0 AS has_repeats,
    events_after_end > 0 AS has_events_after_end,
    events + repeats + events_after_end + coalesce(events_ignored, 0) + coalesce(events_over_limit, 0) AS stored_events
FROM sessions;

-- Sessions whose player's clock is wrong by more than a minute (offset) or was set while they ran (clocks), or some of whose events took over a minute longer than others to arrive (spread). Cost: 0.4 s.
CREATE OR REPLACE VIEW wrong_clocks AS
SELECT session_id, clock_offset_ms, clock_spread_ms, clocks, start_ts, first_received_at, is_downloaded, player_name, app_version
FROM sessions_checked
WHERE has_wrong_clock OR is_slow OR len(clocks) > 1;

-- Checks of data quality: what each checks, how many it found, out of how many. Cost: 0.5 s, and flagged_events.
CREATE OR REPLACE VIEW data_quality AS
WITH counts AS (
    SELECT
        count(*) AS sessions,
        count(*) FILTER (WHERE is_reopened) AS late,
        count(*) FILTER (WHERE is_startless) AS startless,
        count(*) FILTER (WHERE is_retried_start) AS retried,
        count(*) FILTER (WHERE has_wrong_clock) AS clocks,
        count(*) FILTER (WHERE is_slow) AS slow,
        count(*) FILTER (WHERE has_gap) AS gaps,
        count(*) FILTER (WHERE is_capped) AS capped,
        count(*) FILTER (WHERE has_repeats) AS repeated,
        count(*) FILTER (WHERE has_events_after_end) AS after_end
    FROM sessions_checked
), checks AS (
    SELECT
        unnest([
            'reopened by late events', 'without sessionStart', 'retried starts', 'wrong clocks', 'late uploads',
            'with unknown time', 'with lists cut short', 'with repeated events', 'with events after the end'
        ]) AS "check",
        unnest([late, startless, retried, clocks, slow, gaps, capped, repeated, after_end]) AS found,
        sessions AS out_of,
        'sessions' AS what
    FROM counts
    UNION ALL
    SELECT 'flag ' || flag, events, (SELECT count(*) FROM events), 'events' FROM flagged_events
    UNION ALL
    SELECT 'session flag ' || any_value(f.flag), count(s.flag), (SELECT sessions FROM counts), 'sessions'
    FROM session_flags AS f LEFT JOIN (SELECT unnest(flags) AS flag FROM sessions) AS s ON s.flag = f.flag
    GROUP BY f.flag
    UNION ALL
    SELECT 'quarantined: ' || reason, count(*), (SELECT count(*) FROM quarantine), 'records'
    FROM quarantine GROUP BY reason
)
SELECT "check", what, found, out_of, found / nullif(out_of, 0) AS found_ratio FROM checks;
