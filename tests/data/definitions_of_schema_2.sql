-- Views and macros as releases with schema 2 defined them: what each must still answer. See lake/test_settled.py.

CREATE OR REPLACE VIEW ledger AS {ledgers};

CREATE OR REPLACE VIEW tracking_sessions AS
SELECT
    tracking_session_id,
    arg_min(playout_id, log_offset) AS playout_id,
    if(bool_or(consent = 'denied'), NULL, arg_min(user_id, log_offset)) AS user_id,
    arg_min(source, log_offset) FILTER (event_type = 'created') AS source,
    min(started_at) AS started_at,
    bool_or(verified) AS verified,
    max(received_at) FILTER (event_type = 'deleted') AS deleted_at
FROM tracking_events
GROUP BY tracking_session_id;

CREATE OR REPLACE VIEW judged_starts AS
WITH used AS (
    SELECT session_id FROM session_versions
    WHERE events > 1 AND session_id IN (SELECT session_id FROM start_requests)
    UNION
    SELECT session_id FROM ({open_sessions})
    WHERE events > 1 AND session_id IN (SELECT session_id FROM start_requests)
), starts AS (
    SELECT
        session_id, request_hash, received_at,
        session_id IN (SELECT session_id FROM used) AS is_used,
        coalesce(received_at - lag(received_at) OVER by_request <= INTERVAL 1 MINUTE, false) AS goes_on
    FROM start_requests
    WHERE received_at <= (SELECT max(coalesce(watermark, partition_time)) FROM ledger) - INTERVAL 1 MINUTE
    WINDOW by_request AS (PARTITION BY request_hash ORDER BY received_at, session_id)
), runs AS (
    SELECT
        *,
        count(*) FILTER (WHERE NOT goes_on)
            OVER (PARTITION BY request_hash ORDER BY received_at, session_id ROWS UNBOUNDED PRECEDING) AS run
    FROM starts
), placed AS (
    SELECT
        *,
        row_number() OVER (PARTITION BY request_hash, run, is_used ORDER BY received_at, session_id) AS place,
        bool_or(is_used) OVER (PARTITION BY request_hash, run) AS has_used
    FROM runs
)
SELECT
    session_id, request_hash, each.received_at, each.is_used,
    NOT each.is_used AND if(
        each.has_used,
        coalesce(abs(epoch_ms(each.received_at) - epoch_ms(twin.received_at)) <= 60000, false),
        each.place > 1
    ) AS is_copy
FROM placed AS each
LEFT JOIN (SELECT request_hash, run, place, received_at, NOT is_used AS is_used FROM placed WHERE is_used) AS twin
    USING (request_hash, run, place, is_used);

CREATE OR REPLACE VIEW sessions AS
WITH every AS NOT MATERIALIZED (
    SELECT *, 1 AS is_closed FROM session_versions
    UNION ALL
    SELECT *, 0 AS is_closed FROM ({open_sessions})
), newest AS NOT MATERIALIZED (
    SELECT * EXCLUDE (is_closed) FROM every
    QUALIFY row_number() OVER (PARTITION BY session_id ORDER BY version DESC, is_closed DESC) = 1
), copies AS NOT MATERIALIZED (
    SELECT session_id FROM start_copies UNION SELECT session_id FROM judged_starts WHERE is_copy
)
SELECT
    newest.* REPLACE (
        if(newest.consent = 'denied', NULL, coalesce(newest.user_id, tracking.user_id)) AS user_id,
        CASE
            WHEN newest.consent = 'denied' THEN NULL
            WHEN newest.user_id_source IS NOT NULL THEN newest.user_id_source
            WHEN tracking.user_id IS NOT NULL THEN 'tracking_session'
        END AS user_id_source,
        if(newest.consent = 'denied', NULL, newest.user_id_auth_state) AS user_id_auth_state,
        if(newest.consent = 'denied', NULL, newest.device_id) AS device_id,
        if(newest.consent = 'denied', NULL, newest.device_id_source) AS device_id_source
    ),
    newest.events = 1 AND copies.session_id IS NOT NULL AS is_retried_start
FROM newest
LEFT JOIN tracking_sessions AS tracking ON tracking.tracking_session_id
    = if(newest.tracking_verified AND newest.consent IS DISTINCT FROM 'denied', newest.tracking_session_id, NULL)
LEFT JOIN copies ON copies.session_id = newest.session_id;

CREATE OR REPLACE VIEW events_checked AS
SELECT
    e.*,
    coalesce(
        if(list_contains(e.flags, 'future_ts'), e.received_at, e.client_ts)
        > least(s.end_ts, s.start_ts + INTERVAL 24 HOUR),
        false
    ) AS after_end
FROM events AS e LEFT JOIN sessions AS s USING (session_id);

CREATE OR REPLACE VIEW ads AS
SELECT session_id, content_id, state, is_capped, unnest(ads, recursive := true) FROM sessions;

CREATE OR REPLACE VIEW ad_breaks AS
SELECT session_id, content_id, state, is_capped, unnest(breaks, recursive := true) FROM sessions;

CREATE OR REPLACE VIEW chapters AS
SELECT session_id, content_id, state, is_capped, unnest(chapters, recursive := true) FROM sessions;

CREATE OR REPLACE VIEW player_states AS
SELECT session_id, content_id, state, is_capped, unnest(player_states, recursive := true) FROM sessions;

CREATE OR REPLACE VIEW played_intervals AS
SELECT session_id, content_id, state, is_capped, unnest(played_intervals, recursive := true) FROM sessions;

CREATE OR REPLACE VIEW spans AS
SELECT session_id, content_id, state, is_capped, unnest(spans, recursive := true) FROM sessions;

CREATE OR REPLACE VIEW playback_errors AS
SELECT session_id, content_id, state, is_capped, unnest(playback_errors, recursive := true) FROM sessions;

CREATE OR REPLACE VIEW viewers AS
SELECT
    user_id,
    min(started_at) AS first_seen,
    max(ended_at) AS last_seen,
    count(*) AS sessions,
    sum(content_time_s) AS content_time_s,
    count(DISTINCT content_id) AS contents
FROM sessions
WHERE user_id IS NOT NULL AND NOT is_retried_start
GROUP BY user_id;

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

CREATE OR REPLACE VIEW metrics AS
SELECT
{metrics}
FROM counted_sessions;

CREATE OR REPLACE MACRO metrics_between(since, until) AS TABLE
SELECT
{metrics}
FROM counted_sessions
WHERE started_at >= since AND started_at < until;

CREATE OR REPLACE VIEW metrics_by_day AS
SELECT
    date_trunc('day', started_at) AS day,
    count(DISTINCT user_id) AS known_viewers,
{metrics}
FROM counted_sessions
GROUP BY day;

CREATE OR REPLACE VIEW metrics_by_content AS
SELECT
    content_id,
    arg_max(content_name, started_at) AS content_name,
    max(recorded_length_s) AS length_s,
    count(DISTINCT user_id) AS known_viewers,
{metrics}
FROM counted_sessions
GROUP BY content_id;

CREATE OR REPLACE VIEW metrics_by_player AS
SELECT
    player_name,
    count(DISTINCT user_id) AS known_viewers,
{metrics}
FROM counted_sessions
GROUP BY player_name;

CREATE OR REPLACE VIEW metrics_by_channel AS
SELECT
    channel,
    count(DISTINCT user_id) AS known_viewers,
{metrics}
FROM counted_sessions
GROUP BY channel;

CREATE OR REPLACE VIEW metrics_by_app_version AS
SELECT
    player_name,
    app_version,
    count(DISTINCT user_id) AS known_viewers,
{metrics}
FROM counted_sessions
GROUP BY player_name, app_version;

CREATE OR REPLACE VIEW open_now AS
SELECT
    session_id, content_id, content_name, player_name, channel, user_id, last_doing AS doing, last_received_at,
    newest_at AS as_of,
    (epoch_ms(newest_at) - epoch_ms(last_received_at)) / 1000 AS silent_s,
    silent_s <= greatest(30, least(90, 3 * coalesce(ping_interval_s, 0))) + coalesce(open_ad_length_s, 0) AS is_heard,
    is_heard AND NOT is_downloaded AND last_doing IN ('playing', 'ad', 'ad_outside') AS is_watching
FROM counted_sessions, (SELECT max(coalesce(watermark, partition_time)) AS newest_at FROM ledger)
WHERE NOT is_closed;

CREATE OR REPLACE VIEW watching_now AS
SELECT
    count(*) FILTER (WHERE is_watching) AS viewers,
    count(*) FILTER (WHERE is_heard AND doing = 'joining') AS starting,
    count(*) FILTER (WHERE is_heard AND doing IN ('buffering', 'ad_buffering')) AS buffering,
    count(*) FILTER (WHERE is_heard AND doing IN ('paused', 'ad_paused')) AS paused,
    count(*) FILTER (WHERE is_heard AND doing = 'idle') AS finished,
    count(*) FILTER (WHERE NOT is_heard) AS silent,
    count(*) AS open_sessions,
    (SELECT max(coalesce(watermark, partition_time)) FROM ledger) AS as_of
FROM open_now;

CREATE OR REPLACE MACRO concurrency_between(since, until) AS TABLE
WITH bounds AS MATERIALIZED (
    SELECT
        since_at, until_at, epoch_ms(since_at) // 60000 AS low, (epoch_ms(until_at) + 59999) // 60000 AS high
    FROM (SELECT since::TIMESTAMPTZ AS since_at, until::TIMESTAMPTZ AS until_at)
), chosen AS (
    SELECT
        session_id, coalesce(user_id, session_id) AS viewer, is_started, started_at, ended_at,
        coalesce(list_filter(spans, lambda span: span.doing = 'unknown'), []) AS silences
    FROM counted_sessions, bounds
    WHERE ended_at >= since_at AND started_at < until_at
), heard AS (
    SELECT
        session_id, viewer, is_started,
        unnest(list_prepend(
            epoch_ms(started_at), list_transform(silences, lambda span: epoch_ms(span.ended_at))
        )) AS heard_from_ms,
        unnest(list_append(
            list_transform(silences, lambda span: epoch_ms(span.started_at)), epoch_ms(ended_at)
        )) AS heard_to_ms
    FROM chosen
), active AS (
    SELECT
        session_id, viewer, is_started,
        greatest(heard_from_ms, low * 60000) AS from_ms,
        least(heard_to_ms, high * 60000 - 1) AS to_ms
    FROM heard, bounds
    WHERE heard_to_ms >= epoch_ms(since_at) AND heard_from_ms < epoch_ms(until_at) AND heard_to_ms >= heard_from_ms
), by_session AS (
    SELECT
        from_ms // 60000 AS first_minute,
        to_ms // 60000 AS last_minute,
        max(to_ms // 60000) OVER (
            PARTITION BY session_id ORDER BY from_ms, to_ms ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS covered_minute
    FROM active
), by_viewer AS (
    SELECT
        from_ms // 60000 AS first_minute,
        to_ms // 60000 AS last_minute,
        max(to_ms // 60000) OVER (
            PARTITION BY viewer ORDER BY from_ms, to_ms ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS covered_minute
    FROM active
), changes AS (
    SELECT greatest(first_minute, coalesce(covered_minute, -1) + 1) AS minute, 1 AS sessions, 0 AS viewers
    FROM by_session
    WHERE last_minute > coalesce(covered_minute, -1)
    UNION ALL
    SELECT last_minute + 1, -1, 0 FROM by_session WHERE last_minute > coalesce(covered_minute, -1)
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

CREATE OR REPLACE VIEW concurrency_by_minute AS
FROM concurrency_between(
    (SELECT max(ended_at) - INTERVAL 24 HOUR FROM counted_sessions), (SELECT max(ended_at) FROM counted_sessions)
);

CREATE OR REPLACE MACRO timeline_between(since, until, content := '', on_channel := '') AS TABLE
WITH bounds AS MATERIALIZED (
    SELECT since::TIMESTAMPTZ AS since_at, until::TIMESTAMPTZ AS until_at
), chosen AS (
    SELECT
        session_id, content_id, coalesce(user_id, session_id) AS viewer, is_live, recorded_length_s, loops,
        unnest(range(1, len(spans) + 1)) AS place,
        unnest(spans) AS span
    FROM counted_sessions, bounds
    WHERE ended_at >= since_at AND started_at < until_at
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

CREATE OR REPLACE MACRO start_funnel_of(content) AS TABLE
WITH chosen AS (
    SELECT
        is_started, is_completed, progress_pct,
        CASE
            WHEN is_completed THEN 8
            WHEN progress_pct > 0 THEN 2 + list_position([10, 25, 50, 75, 95], progress_pct)
            WHEN is_started THEN 2
            ELSE 1
        END AS furthest
    FROM counted_sessions
    WHERE is_closed AND has_start AND progress_pct IS NOT NULL AND (content IS NULL OR content_id = content)
), counts AS (
    SELECT
        [
            count(*), count(*) FILTER (WHERE is_started),
            count(*) FILTER (WHERE progress_pct >= 10), count(*) FILTER (WHERE progress_pct >= 25),
            count(*) FILTER (WHERE progress_pct >= 50), count(*) FILTER (WHERE progress_pct >= 75),
            count(*) FILTER (WHERE progress_pct >= 95), count(*) FILTER (WHERE is_completed)
        ] AS reached,
        [
            count(*) FILTER (WHERE furthest = 1), count(*) FILTER (WHERE furthest = 2),
            count(*) FILTER (WHERE furthest = 3), count(*) FILTER (WHERE furthest = 4),
            count(*) FILTER (WHERE furthest = 5), count(*) FILTER (WHERE furthest = 6),
            count(*) FILTER (WHERE furthest = 7), count(*) FILTER (WHERE furthest = 8)
        ] AS ended
    FROM chosen
)
SELECT
    unnest(range(1, 9)) AS position,
    unnest(['intent', 'first frame', '10 %', '25 %', '50 %', '75 %', '95 %', 'complete']) AS step,
    unnest(reached) AS sessions,
    unnest(list_transform(reached, lambda n: n / nullif(reached[1], 0))) AS reached_ratio,
    unnest(ended) AS ended_here
FROM counts;

CREATE OR REPLACE VIEW start_funnel AS
FROM start_funnel_of(NULL);

CREATE OR REPLACE MACRO leaving_points(content, bucket_s := 60) AS TABLE
WITH plays AS (
    SELECT is_completed, last_playhead_s
    FROM counted_sessions
    WHERE content_id = content AND is_closed AND is_started AND recorded_length_s > 0
)
SELECT
    floor(last_playhead_s / bucket_s) * bucket_s AS from_s,
    count(*) AS sessions,
    count(*) / (SELECT count(*) FROM plays) AS left_ratio
FROM plays
WHERE NOT is_completed AND last_playhead_s IS NOT NULL
GROUP BY from_s
ORDER BY from_s;

CREATE OR REPLACE MACRO retention(content, bucket_s := 10) AS TABLE
WITH chosen AS (
    SELECT session_id, is_started, recorded_length_s, played_intervals
    FROM counted_sessions
    WHERE content_id = content
), content_of AS (
    SELECT
        count(*) FILTER (WHERE is_started) AS starts,
        max(recorded_length_s) AS length_s,
        max(played_intervals[-1].end_s) AS played_to_s
    FROM chosen
), buckets AS (
    SELECT unnest(range(0, least(ceil(coalesce(length_s, played_to_s, 0) / bucket_s), 100000)::BIGINT)) AS bucket
    FROM content_of
), pieces AS (
    SELECT session_id, unnest(played_intervals, recursive := true) FROM chosen
), cut AS (
    SELECT
        session_id, start_s, end_s, passes,
        unnest(range(floor(start_s / bucket_s)::BIGINT, ceil(end_s / bucket_s)::BIGINT)) AS bucket
    FROM pieces
), seconds AS (
    SELECT
        bucket,
        count(DISTINCT session_id) AS sessions,
        sum(least(end_s, (bucket + 1) * bucket_s) - greatest(start_s, bucket * bucket_s)) AS once_s,
        sum((least(end_s, (bucket + 1) * bucket_s) - greatest(start_s, bucket * bucket_s)) * passes) AS played_s
    FROM cut
    GROUP BY bucket
)
SELECT
    (bucket * bucket_s)::DOUBLE AS from_s,
    least((bucket + 1) * bucket_s, coalesce(length_s, (bucket + 1) * bucket_s))::DOUBLE AS to_s,
    coalesce(sessions, 0) AS sessions,
    coalesce(played_s, 0) / (to_s - from_s) AS plays,
    coalesce(played_s, 0) / (to_s - from_s) / nullif(starts, 0) AS absolute_retention_ratio,
    coalesce(once_s, 0) / (to_s - from_s) / nullif(starts, 0) AS unique_retention_ratio
FROM buckets LEFT JOIN seconds USING (bucket), content_of
ORDER BY from_s;

CREATE OR REPLACE MACRO heat_map(content, bucket_s := 10) AS TABLE
SELECT from_s, to_s, plays, plays / nullif(max(plays) OVER (), 0) AS heat_ratio
FROM retention(content, bucket_s := bucket_s)
ORDER BY from_s;

CREATE OR REPLACE MACRO relative_retention(content, buckets := 100, length_factor := 1.25) AS TABLE
WITH asked AS MATERIALIZED (
    SELECT content::VARCHAR AS asked_id, buckets::BIGINT AS parts, length_factor::DOUBLE AS factor
), contents AS (
    SELECT content_id, max(recorded_length_s) AS length_s, count(*) FILTER (WHERE is_started) AS starts
    FROM counted_sessions
    GROUP BY content_id
    HAVING length_s > 0 AND starts > 0
), compared AS MATERIALIZED (
    SELECT each.content_id, each.length_s, each.starts, each.content_id = asked_id AS is_own, parts
    FROM asked
    JOIN contents AS own ON own.content_id = asked_id
    JOIN contents AS each ON each.length_s BETWEEN own.length_s / factor AND own.length_s * factor
), pieces AS (
    SELECT content_id, compared.length_s, parts, unnest(played_intervals, recursive := true)
    FROM counted_sessions JOIN compared USING (content_id)
), cut AS (
    SELECT
        content_id, passes,
        start_s / length_s * parts AS low,
        end_s / length_s * parts AS high,
        unnest(range(floor(low)::BIGINT, ceil(high)::BIGINT)) AS bucket
    FROM pieces
), played AS (
    SELECT content_id, bucket, sum((least(high, bucket + 1) - greatest(low, bucket)) * passes) AS plays
    FROM cut
    GROUP BY content_id, bucket
), curves AS (
    SELECT bucket, parts, is_own, coalesce(plays, 0) / starts AS kept_ratio
    FROM (SELECT *, unnest(range(parts)) AS bucket FROM compared) LEFT JOIN played USING (content_id, bucket)
), own AS (
    SELECT bucket, parts, kept_ratio AS own_ratio FROM curves WHERE is_own
)
SELECT
    bucket / any_value(parts) AS from_ratio,
    (bucket + 1) / any_value(parts) AS to_ratio,
    any_value(own_ratio) AS absolute_retention_ratio,
    count(kept_ratio) AS similar_contents,
    avg(kept_ratio) AS similar_retention_ratio,
    any_value(own_ratio) / nullif(avg(kept_ratio), 0) AS relative_retention_ratio,
    avg(CASE WHEN kept_ratio < own_ratio THEN 1 WHEN kept_ratio = own_ratio THEN 0.5 ELSE 0 END)
        FILTER (WHERE kept_ratio IS NOT NULL) AS rank_ratio
FROM own LEFT JOIN (SELECT bucket, kept_ratio FROM curves WHERE NOT is_own) USING (bucket)
GROUP BY bucket
ORDER BY bucket;

CREATE OR REPLACE MACRO seeks_between(since, until, content := '') AS TABLE
WITH asked AS MATERIALIZED (
    SELECT since::TIMESTAMPTZ AS since_at, until::TIMESTAMPTZ AS until_at
), told AS (
    SELECT
        *,
        lag(doing) OVER in_order = 'playing' AND lag(to_ms) OVER in_order = from_ms AS follows_play,
        lag(next_playhead_s) OVER in_order AS last_playhead_s,
        coalesce(bool_or(doing = 'playing') OVER so_far, false) AS was_started
    FROM timeline_between((SELECT since_at FROM asked), (SELECT until_at FROM asked), content := content)
    WINDOW
        in_order AS (PARTITION BY session_id ORDER BY place),
        so_far AS (PARTITION BY session_id ORDER BY place ROWS UNBOUNDED PRECEDING)
), moves AS (
    SELECT
        session_id, content_id, viewer, is_live, from_ms AS ms, last_playhead_s AS from_s, playhead_s AS to_s,
        -- A playhead that moved otherwise within the span went on from before the jump: that was a slip.
        abs(to_s - from_s) > 0.0005
        AND coalesce(next_playhead_s - playhead_s BETWEEN -2 AND 2 + 2.06 * passed_s, true) AS is_jump,
        loops > 0 AND to_s < from_s AND to_s + recorded_length_s - from_s <= 120 AS is_loop
    FROM told
    WHERE follows_play
    UNION ALL
    SELECT
        session_id, content_id, viewer, is_live, to_ms, playhead_s, next_playhead_s,
        next_playhead_s - playhead_s
            NOT BETWEEN -2 AND greatest(2, if(is_live, passed_s / 20, 0)) + if(is_live, passed_s, 0),
        false
    FROM told
    WHERE doing IN ('paused', 'buffering') AND was_started
)
SELECT
    session_id, content_id, viewer,
    make_timestamptz(ms * 1000) AS seek_at,
    from_s, to_s,
    to_s - from_s - if(is_live AND abs(to_s - from_s) > 43200, 86400 * sign(to_s - from_s), 0) AS distance_s
FROM moves, asked
WHERE is_jump AND NOT coalesce(is_loop, false) AND seek_at >= since_at AND seek_at < until_at
ORDER BY seek_at, session_id;

CREATE OR REPLACE VIEW ad_delivery AS
SELECT
    ad_id,
    any_value(name) AS name,
    advertiser,
    campaign_id,
    count(*) AS starts,
    count(DISTINCT session_id) AS sessions,
    count(*) FILTER (WHERE outcome = 'completed') AS completes,
    count(*) FILTER (WHERE outcome = 'skipped') AS skips,
    count(*) FILTER (WHERE outcome = 'aborted') AS aborted,
    count(*) FILTER (WHERE outcome = 'open') AS open,
    count(*) FILTER (WHERE outcome = 'completed') / count(*) AS completion_ratio,
    sum(time_s) AS time_s,
    sum(time_s) FILTER (WHERE length_s > 0) / sum(length_s) FILTER (WHERE length_s > 0) AS played_ratio
FROM ads
GROUP BY ad_id, advertiser, campaign_id;

CREATE OR REPLACE VIEW ad_break_delivery AS
SELECT
    "index" AS break_index,
    offset_s,
    count(*) AS breaks,
    count(*) FILTER (WHERE ads = 0) AS empty_breaks,
    sum(ads)::BIGINT AS ads,
    count(*) FILTER (WHERE outcome = 'completed') AS completed,
    sum(time_s) / count(*) AS time_per_break_s
FROM ad_breaks
GROUP BY break_index, offset_s;

CREATE OR REPLACE VIEW error_ranking AS
WITH every AS (
    SELECT
        session_id, content_id, coalesce(user_id, session_id) AS viewer, is_failed,
        len(playback_errors) AS in_session,
        unnest(playback_errors) AS error,
        unnest(range(1, len(playback_errors) + 1)) AS place
    FROM counted_sessions
    WHERE errors > 0
)
SELECT
    error.error_id AS error_id,
    error.source AS source,
    count(*) AS errors,
    count(DISTINCT session_id) AS sessions,
    count(DISTINCT viewer) AS viewers,
    count(DISTINCT content_id) AS contents,
    count(*) FILTER (WHERE error.is_before_start) AS before_start,
    count(*) FILTER (WHERE is_failed AND place = in_session) AS ended_sessions,
    min(error.at) AS first_at,
    max(error.at) AS last_at
FROM every
GROUP BY ALL
ORDER BY errors DESC, error_id;

CREATE OR REPLACE MACRO viewers_between(since, until, before_days := 0) AS TABLE
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
    FROM counted_sessions, bounds
    WHERE user_id IS NOT NULL AND started_at < until_at
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

CREATE OR REPLACE VIEW cohorts_by_week AS
WITH weeks AS (
    SELECT user_id, date_trunc('week', started_at) AS week, count(*) AS sessions, sum(content_time_s) AS content_time_s
    FROM counted_sessions
    WHERE user_id IS NOT NULL
    GROUP BY user_id, week
), placed AS (
    SELECT *, min(week) OVER (PARTITION BY user_id) AS cohort_week FROM weeks
), counted AS (
    SELECT
        cohort_week,
        date_diff('day', cohort_week, week) // 7 AS week_number,
        count(*) AS viewers,
        sum(sessions)::BIGINT AS sessions,
        sum(content_time_s) AS content_time_s
    FROM placed
    GROUP BY cohort_week, week_number
)
SELECT
    *,
    max(viewers) FILTER (WHERE week_number = 0) OVER (PARTITION BY cohort_week) AS cohort_viewers,
    viewers / cohort_viewers AS retained_ratio
FROM counted
ORDER BY cohort_week, week_number;

CREATE OR REPLACE MACRO sequences_within(hours) AS TABLE
WITH plays AS (
    SELECT
        user_id, content_id, ended_at,
        lead(content_id) OVER by_viewer AS next_content_id,
        lead(started_at) OVER by_viewer AS next_at
    FROM counted_sessions
    WHERE user_id IS NOT NULL AND is_started
    WINDOW by_viewer AS (PARTITION BY user_id ORDER BY started_at, session_id)
), followed AS (
    SELECT *, coalesce(epoch_ms(next_at) - epoch_ms(ended_at) <= hours * 3600000, false) AS is_followed FROM plays
), pairs AS (
    SELECT
        content_id,
        if(is_followed, next_content_id, NULL) AS next_content_id,
        is_followed,
        count(*) AS sessions,
        count(DISTINCT user_id) AS viewers,
        quantile_cont((epoch_ms(next_at) - epoch_ms(ended_at)) / 1000, 0.5) AS gap_median_s
    FROM followed
    GROUP BY ALL
)
SELECT
    content_id, next_content_id, sessions, viewers, gap_median_s,
    sessions / sum(sessions) OVER (PARTITION BY content_id) AS next_ratio
FROM pairs
QUALIFY is_followed
ORDER BY sessions DESC, content_id, next_content_id;

CREATE OR REPLACE VIEW sequences AS
FROM sequences_within(24);

CREATE OR REPLACE VIEW late_sessions AS
SELECT session_id, version, state, late_events, events, started_at, ended_at, last_received_at, is_downloaded, content_id
FROM sessions
WHERE late_events > 0;

CREATE OR REPLACE VIEW flagged_events AS
SELECT
    flag,
    count(*) AS events,
    count(DISTINCT session_id) AS sessions,
    min(received_at) AS first_at,
    max(received_at) AS last_at
FROM (SELECT unnest(flags) AS flag, session_id, received_at FROM events WHERE len(flags) > 0)
GROUP BY flag;

CREATE OR REPLACE VIEW sessions_without_start AS
SELECT session_id, state, events, started_at, ended_at, log_partition FROM sessions WHERE NOT has_start;

CREATE OR REPLACE VIEW repeats AS
SELECT session_id, repeats, events, started_at, player_name, app_version FROM sessions WHERE repeats > 0;

CREATE OR REPLACE VIEW retried_starts AS
SELECT session_id, start_ts, first_received_at, content_id, player_name, channel FROM sessions WHERE is_retried_start;

CREATE OR REPLACE VIEW wrong_clocks AS
SELECT session_id, clock_offset_ms, clock_spread_ms, start_ts, first_received_at, is_downloaded, player_name, app_version
FROM sessions
WHERE abs(clock_offset_ms) > 60000 OR clock_spread_ms > 60000;

CREATE OR REPLACE VIEW data_quality AS
WITH counts AS (
    SELECT
        count(*) AS sessions,
        count(*) FILTER (WHERE late_events > 0) AS late,
        count(*) FILTER (WHERE NOT has_start) AS startless,
        count(*) FILTER (WHERE is_retried_start) AS retried,
        count(*) FILTER (WHERE abs(clock_offset_ms) > 60000) AS clocks,
        count(*) FILTER (WHERE clock_spread_ms > 60000) AS slow,
        count(*) FILTER (WHERE gap_s > 0) AS gaps,
        count(*) FILTER (WHERE is_capped) AS capped,
        count(*) FILTER (WHERE repeats > 0) AS repeated,
        count(*) FILTER (WHERE events_after_end > 0) AS after_end
    FROM sessions
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
