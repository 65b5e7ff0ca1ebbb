-- Viewers over time, as far as consent allows linking their sessions.

-- Viewers of a window (sessions that started from `since` up to `until`): new (first seen in it), returning (seen in it and before), lapsed (not seen in it, but in the `before_days` before it; 0, the default: as long as the window). filters as in metrics_by: of all that a viewer did, only such sessions are seen. Cost: 0.5 s.
CREATE OR REPLACE MACRO viewers_between(since, until, before_days := 0, filters := '{}') AS TABLE
WITH bounds AS MATERIALIZED (
    SELECT
        since_at, until_at,
        since_at - if(before_days > 0, to_days(before_days::INTEGER), until_at - since_at) AS before_at
    FROM (SELECT since::TIMESTAMPTZ AS since_at, until::TIMESTAMPTZ AS until_at)
), seen AS (
    SELECT
        user_id,
        min(started_at) AS first_seen,
        max(ended_at) AS last_seen,
        count(*) FILTER (WHERE started_at >= since_at) AS sessions,
        count(*) FILTER (WHERE started_at < since_at AND started_at >= before_at) AS sessions_before,
        coalesce(sum(content_time_s) FILTER (WHERE started_at >= since_at), 0) AS content_time_s
    FROM counted_sessions AS s, bounds
    WHERE user_id IS NOT NULL AND started_at < until_at
        AND {filters}
    GROUP BY user_id
)
SELECT
    user_id,
    CASE
        WHEN sessions > 0 AND first_seen >= since_at THEN 'new'
        WHEN sessions > 0 THEN 'returning'
        ELSE 'lapsed'
    END AS status,
    first_seen, last_seen, sessions, sessions_before, content_time_s
FROM seen, bounds
WHERE sessions > 0 OR sessions_before > 0;

-- Viewers of each hour, day, week or month (`unit`) that began from `since` up to `until`, in the time zone `zone`: new (first seen in it), returning (seen before it), and their sessions. filters as in viewers_between. Cost: 0.5 s.
CREATE OR REPLACE MACRO viewers_by_time(unit, since, until, filters := '{}', zone := 'UTC') AS TABLE
WITH seen AS (
    SELECT user_id, date_trunc(unit, s.started_at AT TIME ZONE zone) AS begins, count(*) AS sessions
    FROM counted_sessions AS s
    WHERE user_id IS NOT NULL AND s.started_at < until::TIMESTAMPTZ
        AND {filters}
    GROUP BY user_id, begins
), placed AS (
    SELECT *, min(begins) OVER (PARTITION BY user_id) AS first_begins FROM seen
)
SELECT
    begins,
    count(*) FILTER (WHERE begins = first_begins) AS new_viewers,
    count(*) FILTER (WHERE begins > first_begins) AS returning_viewers,
    sum(sessions)::BIGINT AS sessions
FROM placed
WHERE begins >= since::TIMESTAMPTZ AT TIME ZONE zone AND begins < until::TIMESTAMPTZ AT TIME ZONE zone
GROUP BY begins
ORDER BY begins;

-- Viewers by the day, week (from Monday) or month (`unit`) in which they were first seen, in the time zone `zone`, and how many of them returned in each later one; of sessions that started before `until`. filters as in viewers_between. Cost: 0.5 s.
CREATE OR REPLACE MACRO cohorts_by(unit, until := 'infinity', filters := '{}', zone := 'UTC') AS TABLE
WITH periods AS (
    SELECT
        user_id, date_trunc(unit, s.started_at AT TIME ZONE zone)::DATE AS period,
        count(*) AS sessions, sum(content_time_s) AS content_time_s
    FROM counted_sessions AS s
    WHERE user_id IS NOT NULL AND s.started_at < until::TIMESTAMPTZ
        AND {filters}
    GROUP BY user_id, period
), placed AS (
    SELECT *, min(period) OVER (PARTITION BY user_id) AS cohort FROM periods
), counted AS (
    SELECT
        cohort,
        date_diff(unit, cohort, period) AS number,
        count(*) AS viewers,
        sum(sessions)::BIGINT AS sessions,
        sum(content_time_s) AS content_time_s
    FROM placed
    GROUP BY cohort, number
)
SELECT
    *,
    max(viewers) FILTER (WHERE number = 0) OVER (PARTITION BY cohort) AS cohort_viewers,
    viewers / cohort_viewers AS retained_ratio
FROM counted
ORDER BY cohort, number;

-- cohorts_by week, UTC, of all sessions. Cost: 0.5 s.
CREATE OR REPLACE VIEW cohorts_by_week AS
SELECT
    cohort AS cohort_week, number AS week_number, viewers, sessions, content_time_s, cohort_viewers, retained_ratio
FROM cohorts_by('week');

-- Sequences of content: what the same viewer played next, if it started within `hours` of the end of the previous; next_ratio is relative to all plays of the first. Names are those of the newest of these plays. Repeats of the same content count too. Of plays that started from `since` up to `until`; filters as in metrics_by apply to these plays only; the next play may be of any content. Cost: 0.6 s.
CREATE OR REPLACE MACRO sequences_within(hours, since := '-infinity', until := 'infinity', filters := '{}') AS TABLE
WITH plays AS (
    SELECT
        *,
        lead(content_id) OVER by_viewer AS next_content_id,
        lead(content_name) OVER by_viewer AS next_content_name,
        lead(started_at) OVER by_viewer AS next_at
    FROM counted_sessions
    WHERE user_id IS NOT NULL AND is_started AND started_at >= since::TIMESTAMPTZ
    WINDOW by_viewer AS (PARTITION BY user_id ORDER BY started_at, session_id)
), followed AS (
    SELECT
        user_id, content_id, content_name, ended_at, next_content_id, next_content_name, next_at,
        coalesce(epoch_ms(next_at) - epoch_ms(ended_at) <= hours * 3600000, false) AS is_followed
    FROM plays AS s
    WHERE s.started_at < until::TIMESTAMPTZ
        AND {filters}
), pairs AS (
    SELECT
        content_id,
        if(is_followed, next_content_id, NULL) AS next_content_id,
        is_followed,
        arg_max(content_name, ended_at) AS content_name,
        arg_max(next_content_name, next_at) AS next_content_name,
        count(*) AS sessions,
        count(DISTINCT user_id) AS viewers,
        quantile_cont((epoch_ms(next_at) - epoch_ms(ended_at)) / 1000, 0.5) AS gap_median_s
    FROM followed
    GROUP BY ALL
)
SELECT
    content_id, content_name, next_content_id, next_content_name, sessions, viewers, gap_median_s,
    sessions / sum(sessions) OVER (PARTITION BY content_id) AS next_ratio
FROM pairs
QUALIFY is_followed
ORDER BY sessions DESC, content_id, next_content_id;

-- sequences_within 24 hours. Cost: 0.6 s.
CREATE OR REPLACE VIEW sequences AS
FROM sequences_within(24);
