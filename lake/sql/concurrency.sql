-- How many sessions and viewers at once, minute by minute.

-- For each minute from `since` up to `until`: sessions active within it, including pauses; viewers active within it (a session without a user counts as one viewer); and the most sessions at one moment of it, among those whose main content played. Cost: 0.5 s, and 0.2 s per week of the range.
CREATE OR REPLACE MACRO concurrency_between(since, until) AS TABLE
-- An argument may be a subquery, which runs at each use, so each argument is used once.
WITH bounds AS MATERIALIZED (
    SELECT
        since_at, until_at, epoch_ms(since_at) // 60000 AS low, (epoch_ms(until_at) + 59999) // 60000 AS high
    FROM (SELECT since::TIMESTAMPTZ AS since_at, until::TIMESTAMPTZ AS until_at)
), active AS (
    SELECT
        coalesce(user_id, session_id) AS viewer,
        is_started,
        greatest(epoch_ms(started_at), low * 60000) AS from_ms,
        least(epoch_ms(ended_at), high * 60000 - 1) AS to_ms
    FROM counted_sessions, bounds
    WHERE ended_at >= since_at AND started_at < until_at
), by_viewer AS (
    SELECT
        from_ms // 60000 AS first_minute,
        to_ms // 60000 AS last_minute,
        max(to_ms // 60000) OVER (
            PARTITION BY viewer ORDER BY from_ms, to_ms ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS covered_minute
    FROM active
), changes AS (
    SELECT first_minute AS minute, 1 AS sessions, 0 AS viewers FROM by_viewer
    UNION ALL SELECT last_minute + 1, -1, 0 FROM by_viewer
    UNION ALL
    SELECT greatest(first_minute, covered_minute + 1), 0, 1 FROM by_viewer
    WHERE last_minute > coalesce(covered_minute, -1)
    UNION ALL
    SELECT last_minute + 1, 0, -1 FROM by_viewer WHERE last_minute > coalesce(covered_minute, -1)
    UNION ALL SELECT unnest(range(low, high)), 0, 0 FROM bounds
), running AS (
    SELECT
        minute,
        sum(sum(sessions)) OVER (ORDER BY minute) AS sessions,
        sum(sum(viewers)) OVER (ORDER BY minute) AS viewers
    FROM changes
    GROUP BY minute
), moments AS (
    SELECT from_ms AS ms, 1 AS change FROM active WHERE is_started
    UNION ALL SELECT to_ms, -1 FROM active WHERE is_started
    UNION ALL SELECT 60000 * unnest(range(low, high)), 0 FROM bounds
), plays AS (
    SELECT ms // 60000 AS minute, sum(change) OVER (ORDER BY ms, change ROWS UNBOUNDED PRECEDING) AS plays
    FROM moments
), peaks AS (
    SELECT minute, max(plays) AS plays_max FROM plays GROUP BY minute
)
SELECT
    make_timestamptz(minute * 60000000) AS minute,
    sessions::BIGINT AS sessions,
    viewers::BIGINT AS viewers,
    plays_max::BIGINT AS plays_max
FROM running JOIN peaks USING (minute), bounds
WHERE minute < high
ORDER BY minute;

-- The last 24 hours of concurrency_between, up to the newest session. Cost: 0.6 s.
CREATE OR REPLACE VIEW concurrency_by_minute AS
FROM concurrency_between(
    (SELECT max(ended_at) - INTERVAL 24 HOUR FROM counted_sessions), (SELECT max(ended_at) FROM counted_sessions)
);

-- What main content did, event by event, in the sessions active from `since` up to `until`, of one content or channel if named: from each event that counts to the next one. from_ms, to_ms: when, by the true clock, milliseconds since 1970. doing: joining, playing, paused, buffering, completed; in a break: of ads; unknown: playing by its word, but silent for over a minute, and the playhead does not bear it out (the gap of sessions.gap_s). Stalls, and standing at the content's end, count as playing. was_started: main content had played by then. playhead_s: null if unknown. Cost: grows with the events of the sessions asked for, 2 s for a million.
CREATE OR REPLACE MACRO timeline_between(since, until, content := '', on_channel := '') AS TABLE
-- Other macros pass subqueries on their own tables `asked` and `schedule`, so no table here may have those names.
WITH bounds AS MATERIALIZED (
    SELECT since::TIMESTAMPTZ AS since_at, until::TIMESTAMPTZ AS until_at
), chosen AS MATERIALIZED (
    SELECT
        session_id, content_id, coalesce(user_id, session_id) AS viewer, is_live, recorded_length_s,
        epoch_ms(start_ts) AS start_ms, epoch_ms(end_ts) AS end_ms, clock_offset_ms,
        first_received_at, last_received_at
    FROM counted_sessions, bounds
    WHERE ended_at >= since_at AND started_at < until_at
        AND (content = '' OR content_id = content)
        AND (on_channel = '' OR channel = on_channel)
), kinds AS (
    SELECT
        event_type,
        rank,
        nullif(regexp_extract(does, 'player: (\w+)', 1), '') AS player,
        nullif(regexp_extract(does, 'ad break: (\w+)', 1), '') AS ad_break,
        does LIKE '%session: start%' AS starts,
        does LIKE '%session: complete%' AS completes,
        does LIKE '%session: end%' AS ends
    FROM event_types
), told AS (
    SELECT
        session_id, player, ad_break, starts, completes, rank, log_offset,
        if(playhead_s >= 0 AND playhead_s < 1e13, playhead_s, NULL) AS head_s,
        epoch_ms(if('future_ts' IN flags, received_at, client_ts)) AS ms
    FROM events JOIN chosen USING (session_id) JOIN kinds USING (event_type)
    WHERE received_at >= (SELECT min(first_received_at) FROM chosen)
        AND received_at <= (SELECT max(last_received_at) FROM chosen)
        AND 'repeat' NOT IN flags AND 'over_limit' NOT IN flags
        AND (end_ms IS NULL OR ms <= end_ms)
        AND NOT (ends AND (end_ms IS NULL OR ms < end_ms))  -- an end without effect
        AND ms <= start_ms + 86400000
), in_breaks AS (
    SELECT
        *,
        last_value(ad_break IGNORE NULLS) OVER so_far AS break_was,
        last_value(if(ad_break = 'start', ms, NULL) IGNORE NULLS) OVER so_far AS break_ms,
        row_number() OVER in_order AS place,
        lead(ms) OVER in_order AS next_ms,
        lead(starts) OVER in_order AS start_is_next,
        lead(head_s) OVER in_order AS next_head_s,
        lead(ms, 2) OVER in_order IS NULL AS is_last
    FROM told
    WINDOW
        in_order AS (PARTITION BY session_id ORDER BY ms, rank, log_offset),
        so_far AS (PARTITION BY session_id ORDER BY ms, rank, log_offset ROWS UNBOUNDED PRECEDING)
), moves AS (
    SELECT
        *,
        CASE
            WHEN completes THEN 'completed'
            WHEN break_was IS DISTINCT FROM 'start' OR (player = 'paused' AND ms = break_ms) THEN player
        END AS move
    FROM in_breaks
), done AS (
    SELECT
        *,
        last_value(move IGNORE NULLS) OVER so_far AS main,
        bool_or(starts) OVER so_far AS has_begun,
        coalesce(bool_or(move = 'playing') OVER so_far, false) AS was_started
    FROM moves
    WINDOW so_far AS (PARTITION BY session_id ORDER BY ms, rank, log_offset ROWS UNBOUNDED PRECEDING)
), stretches AS (
    -- What leads up to the sessionStart takes no time, and before it nobody knows that content is live.
    SELECT
        * REPLACE (is_live AND (has_begun OR start_is_next) AS is_live),
        if(start_is_next AND NOT has_begun, next_ms, ms) AS since_ms,
        (next_ms - since_ms) / 1000 AS passed_s
    FROM done JOIN chosen USING (session_id)
    WHERE next_ms IS NOT NULL
)
SELECT
    session_id, content_id, viewer, is_live, recorded_length_s, place, is_last, was_started,
    since_ms + clock_offset_ms AS from_ms,
    next_ms + clock_offset_ms AS to_ms,
    passed_s,
    head_s AS playhead_s,
    next_head_s AS next_playhead_s,
    CASE
        WHEN break_was = 'start' THEN 'in a break'
        WHEN main = 'playing' AND passed_s > 60 AND NOT coalesce(
            NOT is_live AND next_head_s - head_s - passed_s BETWEEN -greatest(2, passed_s / 20) AND 2, false
        ) THEN 'unknown'
        ELSE coalesce(main, 'joining')
    END AS doing
FROM stretches;

-- For each minute from `since` up to `until`: mean number of sessions that played main content (seconds played in it divided by 60); of one content if named. Computed from events, because sessions do not show when they paused; what counts as playing is in timeline_between. Cost: as timeline_between.
CREATE OR REPLACE MACRO audience_by_minute(since, until, content := '') AS TABLE
WITH asked AS MATERIALIZED (
    SELECT since_at, until_at, epoch_ms(since_at) AS low_ms, epoch_ms(until_at) AS high_ms
    FROM (SELECT since::TIMESTAMPTZ AS since_at, until::TIMESTAMPTZ AS until_at)
), playing AS (
    SELECT greatest(from_ms, low_ms) AS since_ms, least(to_ms, high_ms) AS until_ms
    FROM
        timeline_between((SELECT since_at FROM asked), (SELECT until_at FROM asked), content := content),
        asked
    WHERE doing = 'playing'
), cut AS (
    SELECT since_ms, until_ms, unnest(range(since_ms // 60000, (until_ms + 59999) // 60000)) AS minute
    FROM playing
    WHERE until_ms > since_ms
), played AS (
    SELECT minute, sum(least(until_ms, (minute + 1) * 60000) - greatest(since_ms, minute * 60000)) AS played_ms
    FROM cut
    GROUP BY minute
), minutes AS (
    SELECT unnest(range(low_ms // 60000, (high_ms + 59999) // 60000)) AS minute FROM asked
)
SELECT make_timestamptz(minute * 60000000) AS minute, coalesce(played_ms, 0) / 60000 AS average_audience
FROM minutes LEFT JOIN played USING (minute)
ORDER BY minute;

-- Audience of programmes, by the caller's schedule: `slots` is a list of {programme, since, until}, of one content or channel if named. For each slot the sessions and viewers (a session without a user counts as one viewer) that played any main content in it, the seconds they played in it, and the audience in its average minute: seconds played divided by the seconds of the slot, even if it is not over yet. What counts as playing is in timeline_between; ads in breaks do not. Cost: as timeline_between, over the time of all slots.
CREATE OR REPLACE MACRO programme_audience(slots, content := '', on_channel := '') AS TABLE
WITH schedule AS MATERIALIZED (
    SELECT DISTINCT
        slot.programme AS programme, slot.since::TIMESTAMPTZ AS since_at, slot.until::TIMESTAMPTZ AS until_at,
        epoch_ms(since_at) AS low_ms, epoch_ms(until_at) AS high_ms
    FROM (SELECT unnest(slots) AS slot)
), playing AS (
    SELECT session_id, viewer, from_ms, to_ms
    FROM timeline_between(
        (SELECT min(since_at) FROM schedule), (SELECT max(until_at) FROM schedule),
        content := content, on_channel := on_channel
    )
    WHERE doing = 'playing' AND to_ms > from_ms
)
SELECT
    programme, since_at, until_at,
    count(DISTINCT session_id) AS sessions,
    count(DISTINCT viewer) AS viewers,
    coalesce(
        sum(least(to_ms, high_ms) - greatest(from_ms, low_ms)) FILTER (WHERE session_id IS NOT NULL), 0
    ) / 1000 AS played_s,
    played_s / nullif((any_value(high_ms) - any_value(low_ms)) / 1000, 0) AS average_audience
FROM schedule LEFT JOIN playing ON from_ms < high_ms AND to_ms > low_ms
GROUP BY programme, since_at, until_at
ORDER BY since_at, until_at, programme;
