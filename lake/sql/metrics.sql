-- Every metric: over all sessions, cut by any dimensions, and two times compared.
-- The comment above a CREATE explains the view and its cost: seconds over 300,000 sessions, on two cores. (No argument
-- may default to NULL: DuckLake stores defaults as text, and one that it cannot parse makes the whole lake unreadable.)

-- Sessions that count, without retried starts, with the columns that metrics use. is_closed: it has ended. age_s: from first to last event. startup_wait_s: waiting for main content to play, even if it never did (then including buffering in ads before it). stalled_s: rebuffering and stalls. stalled_without_seeks_s and rebuffers_without_seeks: stalls and rebufferings without those that a seek caused. watched_s: content_time_s + startup_wait_s + stalled_s, without the startup where it is unknown. first_frame_s: wait for the first frame of content or ad. recorded_length_s: length of the content; null if live or unknown. Cost: 0.4 s.
CREATE OR REPLACE VIEW counted_sessions AS
SELECT
    *,
    state = 'final' AS is_closed,
    (epoch_ms(ended_at) - epoch_ms(started_at)) / 1000 AS age_s,
    if(is_started, startup_s, join_s + buffer_time_s) AS startup_wait_s,
    rebuffer_time_s + stall_time_s AS stalled_s,
    rebuffer_time_s + stall_time_s - coalesce(seek_buffer_time_s, 0) AS stalled_without_seeks_s,
    rebuffers + stalls - coalesce(seek_buffers, 0) AS rebuffers_without_seeks,
    content_time_s + rebuffer_time_s + stall_time_s
        + coalesce(if(is_started, startup_s, join_s + buffer_time_s), 0) AS watched_s,
    least(startup_s, (epoch_ms(ads[1].started_at) - epoch_ms(started_at)) / 1000) AS first_frame_s,
    if(is_live OR length_s <= 0, NULL, length_s) AS recorded_length_s
FROM sessions
WHERE NOT is_retried_start;

-- True if all of `names` are among `known`, or begin with `dims.`; an error otherwise, which lists those that are known.
CREATE OR REPLACE MACRO all_known(names, known) AS if(
    len(list_filter(
        coalesce(names::VARCHAR[], []), lambda name: NOT (list_contains(known, name) OR starts_with(name, 'dims.'))
    )) = 0,
    true,
    error(
        'There is no dimension ' || array_to_string(list_filter(
            names::VARCHAR[], lambda name: NOT (list_contains(known, name) OR starts_with(name, 'dims.'))
        ), ', ')
        || '. There are ' || array_to_string(list_sort(known), ', ')
        || ', and dims.<key> for a key of custom metadata'
    )
);

-- Whether a session's value of a dimension is the one that `filters` has for it or one of its list, or `filters` does not name the dimension. An empty text matches sessions without a value.
CREATE OR REPLACE MACRO is_asked(filters, name, value) AS (
    map_extract_value(filters::MAP(VARCHAR, VARCHAR), name) IS NULL
    OR value::VARCHAR = map_extract_value(filters::MAP(VARCHAR, VARCHAR), name)
    OR (map_extract_value(filters::MAP(VARCHAR, VARCHAR), name) = '' AND value IS NULL)
    -- One value alone stays an equation, which skips files.
    OR (
        try_cast(map_extract_value(filters::MAP(VARCHAR, VARCHAR), name) AS VARCHAR[]) IS NOT NULL
        AND list_contains(
            try_cast(map_extract_value(filters::MAP(VARCHAR, VARCHAR), name) AS VARCHAR[]),
            coalesce(value::VARCHAR, '')
        )
    )
);

-- Whether a session's custom metadata has the values that `filters` has for `dims.<key>`.
CREATE OR REPLACE MACRO is_asked_own(filters, own) AS if(
    len(list_filter(map_keys(filters::MAP(VARCHAR, VARCHAR)), lambda name: starts_with(name, 'dims.'))) = 0,
    true,
    len(list_filter(
        map_entries(filters::MAP(VARCHAR, VARCHAR)),
        lambda entry: starts_with(entry.key, 'dims.')
            AND coalesce(own[entry.key[6:]], '') <> entry.value
            AND NOT list_contains(coalesce(try_cast(entry.value AS VARCHAR[]), []), coalesce(own[entry.key[6:]], ''))
    )) = 0
);

-- Every metric by any dimensions, of the sessions that started from `since` up to `until`: metrics_by(['player_name', 'country'], '2026-09-01', '2026-09-02'); by nothing: []. Dimensions are columns of sessions that name something (an unknown name is an error that lists them), hour, day, week, month, weekday (1: Monday) and hour_of_day of the start in the time zone `zone`, and keys of custom metadata as `dims.<key>`, whose values are together in the column `cut`. filters: only sessions with these values, such as {player_name: 'web', "dims.group": 'B'}; an empty text matches sessions without a value, a list any of its values: {country: ['PL', '']}. Without sessions there is no row. Cost: that of the sessions asked for.
CREATE OR REPLACE MACRO metrics_by(dims, since := '-infinity', until := 'infinity', filters := '{}', zone := 'UTC') AS TABLE
SELECT
    COLUMNS(lambda name: name = 'cut' OR list_contains(coalesce(dims::VARCHAR[], []), name)),
    count(DISTINCT user_id) AS known_viewers,
{metrics}
FROM (
    SELECT
        s.*,
        {times},
        {cut}
    FROM counted_sessions AS s
    WHERE s.started_at >= since::TIMESTAMPTZ AND s.started_at < until::TIMESTAMPTZ
        AND all_known(dims, [{dimensions}])
        AND {filters}
)
GROUP BY ALL;

-- Every metric of two times, compared, by any dimensions: a row for each of them and each metric. a: the value from `a_since` up to `a_until`; b: that from `b_since` up to `b_until`; difference: a - b; change_ratio: difference divided by b. a_sample, b_sample: the sessions that the value is computed from. is_small: one of them is less than `sample_min`; then difference and change_ratio are null, since chance explains them. Other arguments are those of metrics_by. Cost: twice that of metrics_by for each time.
CREATE OR REPLACE MACRO compare(dims, a_since, a_until, b_since, b_until, filters := '{}', zone := 'UTC', sample_min := 30) AS TABLE
WITH chosen AS NOT MATERIALIZED (
    SELECT 'a' AS side, *
    FROM counted_sessions
    WHERE started_at >= a_since::TIMESTAMPTZ AND started_at < a_until::TIMESTAMPTZ
    UNION ALL
    SELECT 'b' AS side, *
    FROM counted_sessions
    WHERE started_at >= b_since::TIMESTAMPTZ AND started_at < b_until::TIMESTAMPTZ
), placed AS NOT MATERIALIZED (
    SELECT
        s.*,
        {times},
        {cut}
    FROM chosen AS s
    WHERE all_known(dims, [{dimensions}])
        AND {filters}
), measured AS (
    SELECT
        COLUMNS(lambda name: name IN ('side', 'cut') OR list_contains(coalesce(dims::VARCHAR[], []), name)),
        [
{measures}
        ] AS measures
    FROM placed
    GROUP BY ALL
), listed AS (
    SELECT * EXCLUDE (measures), unnest(measures, recursive := true) FROM measured
), beside AS (
    SELECT
        * EXCLUDE (side, "value", sample),
        any_value("value") FILTER (side = 'a') AS a,
        any_value("value") FILTER (side = 'b') AS b,
        coalesce(any_value(sample) FILTER (side = 'a'), 0) AS a_sample,
        coalesce(any_value(sample) FILTER (side = 'b'), 0) AS b_sample
    FROM listed
    GROUP BY ALL
)
SELECT
    * EXCLUDE (a, b, a_sample, b_sample),
    a, b,
    if(least(a_sample, b_sample) < sample_min, NULL, a - b) AS difference,
    if(least(a_sample, b_sample) < sample_min, NULL, (a - b) / nullif(abs(b), 0)) AS change_ratio,
    a_sample, b_sample,
    least(a_sample, b_sample) < sample_min AS is_small
FROM beside;

-- Every metric over all sessions, side by side; metric_catalog defines each. Cost: 1.3 s for all, 0.3 s for one (0.7 s if it needs ads).
CREATE OR REPLACE VIEW metrics AS
SELECT
{metrics}
FROM counted_sessions;

-- Every metric over the sessions that started from `since` up to `until`. Cost: that of the sessions asked for.
CREATE OR REPLACE MACRO metrics_between(since, until) AS TABLE
SELECT
{metrics}
FROM counted_sessions
WHERE started_at >= since::TIMESTAMPTZ AND started_at < until::TIMESTAMPTZ;

-- Every metric by day of the session's start, in a time zone. Cost: as metrics_by.
CREATE OR REPLACE MACRO metrics_by_day(since, until, zone := 'UTC') AS TABLE
SELECT * EXCLUDE ("cut") FROM metrics_by(['day'], since, until, zone := zone);

-- Every metric by day of the session's start, in UTC whatever the client's time zone; metrics_by_day(since, until, zone) has less of them or another zone. Cost: 1.7 s for all, 0.4 s for a few.
CREATE OR REPLACE VIEW metrics_by_day AS
SELECT * EXCLUDE ("cut") FROM metrics_by(['day']);

-- Every metric by content; of a time: metrics_by. Cost: 1.7 s for all, 0.4 s for a few.
CREATE OR REPLACE VIEW metrics_by_content AS
SELECT
    content_id,
    arg_max(content_name, started_at) AS content_name,
    max(recorded_length_s) AS length_s,
    count(DISTINCT user_id) AS known_viewers,
{metrics}
FROM counted_sessions
GROUP BY content_id;

-- Every metric by player; of a time: metrics_by. Cost: 1.7 s for all, 0.4 s for a few.
CREATE OR REPLACE VIEW metrics_by_player AS
SELECT * EXCLUDE ("cut") FROM metrics_by(['player_name']);

-- Every metric by channel; of a time: metrics_by. Cost: 1.7 s for all, 0.4 s for a few.
CREATE OR REPLACE VIEW metrics_by_channel AS
SELECT * EXCLUDE ("cut") FROM metrics_by(['channel']);

-- Every metric by player and version of the app; of a time: metrics_by. Cost: 1.7 s for all, 0.4 s for a few.
CREATE OR REPLACE VIEW metrics_by_app_version AS
SELECT * EXCLUDE ("cut") FROM metrics_by(['player_name', 'app_version']);
