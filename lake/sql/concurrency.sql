-- How many sessions and viewers at once, minute by minute.

-- For each minute from `since` up to `until`: sessions active within it, pauses included, and silence (spans unknown) left out; viewers active within it (a session without a user counts as one viewer); and the most sessions at one moment of it, of those whose main content played. Cost: 0.6 s, and 0.2 s for each week asked for.
CREATE OR REPLACE MACRO concurrency_between(since, until) AS TABLE
-- Sessions are chosen by `since` and `until` themselves: constants let the lake leave files out. A subquery, which an
-- argument may also be, runs at each use, so all else takes them from `bounds`.
WITH bounds AS MATERIALIZED (
    SELECT
        since_at, until_at, epoch_ms(since_at) // 60000 AS low, (epoch_ms(until_at) + 59999) // 60000 AS high
    FROM (SELECT since::TIMESTAMPTZ AS since_at, until::TIMESTAMPTZ AS until_at)
), chosen AS (
    SELECT
        session_id, coalesce(user_id, session_id) AS viewer, is_started, started_at, ended_at,
        coalesce(list_filter(spans, lambda span: span.doing = 'unknown'), []) AS silences,
        len(silences) = 0 AS is_whole,
        is_whole AND user_id IS NULL AS is_alone
    FROM counted_sessions
    WHERE ended_at >= since::TIMESTAMPTZ AND started_at < until::TIMESTAMPTZ
), heard AS (
    SELECT
        session_id, viewer, is_started, is_whole, is_alone,
        unnest(list_prepend(
            epoch_ms(started_at), list_transform(silences, lambda span: epoch_ms(span.ended_at))
        )) AS heard_from_ms,
        unnest(list_append(
            list_transform(silences, lambda span: epoch_ms(span.started_at)), epoch_ms(ended_at)
        )) AS heard_to_ms
    FROM chosen
), active AS (
    SELECT
        session_id, viewer, is_started, is_whole, is_alone,
        greatest(heard_from_ms, low * 60000) AS from_ms,
        least(heard_to_ms, high * 60000 - 1) AS to_ms,
        from_ms // 60000 AS first_minute,
        to_ms // 60000 AS last_minute
    FROM heard, bounds
    WHERE heard_to_ms >= epoch_ms(since_at) AND heard_from_ms < epoch_ms(until_at) AND heard_to_ms >= heard_from_ms
), apart AS (
    -- Of each session, and of each viewer, the minutes that no earlier piece covers. Most have one piece.
    SELECT first_minute, last_minute, 1 AS sessions, is_alone::INT AS viewers FROM active WHERE is_whole
    UNION ALL
    SELECT greatest(first_minute, coalesce(covered_minute, -1) + 1), last_minute, 1, 0
    FROM (
        SELECT first_minute, last_minute, max(last_minute) OVER (
            PARTITION BY session_id ORDER BY from_ms, to_ms ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS covered_minute
        FROM active
        WHERE NOT is_whole
    )
    WHERE last_minute > coalesce(covered_minute, -1)
    UNION ALL
    SELECT greatest(first_minute, coalesce(covered_minute, -1) + 1), last_minute, 0, 1
    FROM (
        SELECT first_minute, last_minute, max(last_minute) OVER (
            PARTITION BY viewer ORDER BY from_ms, to_ms ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS covered_minute
        FROM active
        WHERE NOT is_alone
    )
    WHERE last_minute > coalesce(covered_minute, -1)
), changes AS (
    SELECT first_minute AS minute, sessions, viewers FROM apart
    UNION ALL SELECT last_minute + 1, -sessions, -viewers FROM apart
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
WITH last AS MATERIALIZED (SELECT max(ended_at) AS ended_at FROM counted_sessions)
FROM concurrency_between((SELECT ended_at - INTERVAL 24 HOUR FROM last), (SELECT ended_at FROM last));

-- What the sessions active from `since` up to `until` did, of one content or channel if named: their spans, in order (place). from_ms, to_ms: when, by the true clock, milliseconds since 1970. doing: joining, playing, paused, buffering, stalled, idle, ad, ad_paused, ad_buffering, ad_outside, unknown (see sessions.spans). playhead_s, next_playhead_s: the playhead at its beginning and its end; null if unknown. Of a session that closed before schema 2 there are no spans. Cost: 0.5 s.
CREATE OR REPLACE MACRO timeline_between(since, until, content := '', on_channel := '') AS TABLE
-- Constants let the lake leave files out, so other macros pass their own arguments on. Where those are made of a table
-- of theirs, it must not be named like one here.
WITH chosen AS (
    SELECT
        session_id, content_id, coalesce(user_id, session_id) AS viewer, is_live, recorded_length_s, loops,
        unnest(range(1, len(spans) + 1)) AS place,
        unnest(spans) AS span
    FROM counted_sessions
    WHERE ended_at >= since::TIMESTAMPTZ AND started_at < until::TIMESTAMPTZ
        AND (content = '' OR content_id = content)
        AND (on_channel = '' OR channel = on_channel)
)
SELECT
    session_id, content_id, viewer, is_live, recorded_length_s, loops, place,
    epoch_ms(span.started_at) AS from_ms,
    epoch_ms(span.ended_at) AS to_ms,
    (to_ms - from_ms) / 1000 AS passed_s,
    span.head_from_s AS playhead_s,
    span.head_to_s AS next_playhead_s,
    span.doing AS doing
FROM chosen;

-- For each minute from `since` up to `until`: sessions that played main content in the mean (seconds played in it by 60); of one content if named. What counts as playing is in timeline_between. Cost: as timeline_between.
CREATE OR REPLACE MACRO audience_by_minute(since, until, content := '') AS TABLE
WITH asked AS MATERIALIZED (
    SELECT since_at, until_at, epoch_ms(since_at) AS low_ms, epoch_ms(until_at) AS high_ms
    FROM (SELECT since::TIMESTAMPTZ AS since_at, until::TIMESTAMPTZ AS until_at)
), playing AS (
    SELECT greatest(from_ms, low_ms) AS since_ms, least(to_ms, high_ms) AS until_ms
    FROM timeline_between(since, until, content := content), asked
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
        list_min(list_transform(slots, lambda slot: slot.since::TIMESTAMPTZ)),
        list_max(list_transform(slots, lambda slot: slot.until::TIMESTAMPTZ)),
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
