-- What people ask of sessions: views, and table macros where a question needs arguments. What stands above CREATE
-- says what it means and what it costs: seconds over 300,000 sessions, on two cores. (No argument may default to
-- NULL: DuckLake keeps defaults as texts, and one that it cannot read again makes the whole lake unreadable.)

-- Sessions that count, with what metrics are made of: retried starts are left out. is_closed: it ended. age_s: first to last event. startup_wait_s: waiting for main content to play, also where it never did (then with buffering in ads before it). stalled_s: rebuffering and stalls. watched_s: content_time_s + startup_wait_s + stalled_s. first_frame_s: wait for the first frame of content or ad. recorded_length_s: length of the content; null if live or unknown. Cost: 0.4 s.
CREATE OR REPLACE VIEW counted_sessions AS
SELECT
    *,
    state = 'final' AS is_closed,
    (epoch_ms(ended_at) - epoch_ms(started_at)) / 1000 AS age_s,
    if(is_started, startup_s, join_s + buffer_time_s) AS startup_wait_s,
    rebuffer_time_s + stall_time_s AS stalled_s,
    content_time_s + if(is_started, startup_s, join_s + buffer_time_s) + rebuffer_time_s + stall_time_s AS watched_s,
    least(startup_s, (epoch_ms(ads[1].started_at) - epoch_ms(started_at)) / 1000) AS first_frame_s,
    if(is_live OR length_s <= 0, NULL, length_s) AS recorded_length_s
FROM sessions
WHERE NOT is_retried_start;

-- Every metric over all sessions, side by side; metric_catalog defines each. Cost: 1.3 s for all, 0.3 s for one (0.7 s where it needs ads).
CREATE OR REPLACE VIEW metrics AS
SELECT
{metrics}
FROM counted_sessions;

-- Every metric over the sessions that started from `since` up to `until`. Cost: up to 1.3 s.
CREATE OR REPLACE MACRO metrics_between(since, until) AS TABLE
SELECT
{metrics}
FROM counted_sessions
WHERE started_at >= since AND started_at < until;

-- Every metric by day of the session's start (UTC). Cost: 1.7 s for all, 0.4 s for a few.
CREATE OR REPLACE VIEW metrics_by_day AS
SELECT
    date_trunc('day', started_at) AS day,
    count(DISTINCT user_id) AS known_viewers,
{metrics}
FROM counted_sessions
GROUP BY day;

-- Every metric by content. Cost: 1.7 s for all, 0.4 s for a few.
CREATE OR REPLACE VIEW metrics_by_content AS
SELECT
    content_id,
    arg_max(content_name, started_at) AS content_name,
    max(recorded_length_s) AS length_s,
    count(DISTINCT user_id) AS known_viewers,
{metrics}
FROM counted_sessions
GROUP BY content_id;

-- Every metric by player. Cost: 1.7 s for all, 0.4 s for a few.
CREATE OR REPLACE VIEW metrics_by_player AS
SELECT
    player_name,
    count(DISTINCT user_id) AS known_viewers,
{metrics}
FROM counted_sessions
GROUP BY player_name;

-- Every metric by channel. Cost: 1.7 s for all, 0.4 s for a few.
CREATE OR REPLACE VIEW metrics_by_channel AS
SELECT
    channel,
    count(DISTINCT user_id) AS known_viewers,
{metrics}
FROM counted_sessions
GROUP BY channel;

-- Every metric by player and version of the app. Cost: 1.7 s for all, 0.4 s for a few.
CREATE OR REPLACE VIEW metrics_by_app_version AS
SELECT
    player_name,
    app_version,
    count(DISTINCT user_id) AS known_viewers,
{metrics}
FROM counted_sessions
GROUP BY player_name, app_version;

-- ---- how many at once

-- For each minute from `since` up to `until`: sessions active within it, pauses included; viewers active within it (a session without a user counts as one viewer); and the most sessions at one moment of it, of those whose main content played. Cost: 0.5 s, and 0.2 s for each week asked for.
CREATE OR REPLACE MACRO concurrency_between(since, until) AS TABLE
-- An argument may be a question itself, and is asked wherever it stands: so it stands once.
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
-- Other macros hand over questions about a table of theirs called asked or schedule: no table here may be.
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
        does LIKE '%session: complete%' AS completes
    FROM event_types
), told AS (
    SELECT
        session_id, player, ad_break, starts, completes, rank, log_offset,
        if(playhead_s >= 0 AND playhead_s < 1e13, playhead_s, NULL) AS head_s,
        epoch_ms(if('future_ts' IN flags, received_at, client_ts)) AS ms
    FROM events JOIN chosen USING (session_id) JOIN kinds USING (event_type)
    WHERE received_at >= (SELECT min(first_received_at) FROM chosen)
        AND received_at <= (SELECT max(last_received_at) FROM chosen)
        AND 'repeat' NOT IN flags
        AND (end_ms IS NULL OR ms <= end_ms)
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

-- For each minute from `since` up to `until`: sessions that played main content in the mean (seconds played in it by 60); of one content if named. Made from events, because sessions do not say when they paused; what counts as playing is in timeline_between. Cost: as timeline_between.
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

-- Audience of programmes by the caller's schedule: `slots` is a list of {programme, since, until}, of one content or channel if named. For each slot the sessions and viewers (a session without a user counts as one viewer) that played any main content in it, the seconds they played in it, and the audience in its average minute: those by the seconds of the slot, also where it is not over yet. What counts as playing is in timeline_between; ads in breaks do not. Cost: as timeline_between, over the time of all slots.
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

-- Who watches now, of the open sessions: starting, playing, or buffering for no more than 5 minutes; beside it who is paused, and who has been buffering for longer. Cost: 0.3 s, and the events since the oldest open session began.
CREATE OR REPLACE VIEW watching_now AS
WITH opened AS (
    SELECT session_id, first_received_at, as_of FROM counted_sessions WHERE NOT is_closed
), moves AS (
    SELECT
        e.session_id,
        arg_max(regexp_extract(k.does, 'player: (\w+)', 1), (e.client_ts, k.rank, e.log_offset)) AS player,
        max(e.received_at) AS since
    FROM events AS e
    JOIN event_types AS k ON k.event_type = e.event_type AND k.does LIKE '%player: %'
    JOIN opened ON opened.session_id = e.session_id
    WHERE e.received_at >= (SELECT min(first_received_at) FROM opened)
    GROUP BY e.session_id
), judged AS (
    SELECT as_of, coalesce(player, 'starting') AS player, as_of - since > INTERVAL 5 MINUTE AS is_long
    FROM opened LEFT JOIN moves USING (session_id)
)
SELECT
    count(*) FILTER (WHERE player != 'paused' AND NOT (player = 'buffering' AND is_long)) AS viewers,
    count(*) FILTER (WHERE player = 'paused') AS paused,
    count(*) FILTER (WHERE player = 'buffering' AND is_long) AS buffering_long,
    count(*) AS open_sessions,
    max(as_of) AS as_of
FROM judged;

-- ---- start, and how far

-- How many sessions of a content (of all: NULL) reached each step: intent, first frame, 10 to 95 %, complete; and for how many it was the last. Closed sessions with a sessionStart, of content of known length. Cost: 0.5 s.
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

-- start_funnel_of all contents. Cost: 0.5 s.
CREATE OR REPLACE VIEW start_funnel AS
FROM start_funnel_of(NULL);

-- Where people leave a content: its plays that closed without completion, by the bucket of their last playhead; by plays of it. Cost: 0.4 s.
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

-- Retention of a content: for each bucket the sessions that played any of it, and how often its seconds were played (absolute: all passes, unique: once a session), by the sessions whose main content played. Cost: 0.5 s; a bucket of 1 s of a much watched content some seconds.
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

-- Most replayed: how often each bucket of a content was played, by the bucket played most. Cost: as retention.
CREATE OR REPLACE MACRO heat_map(content, bucket_s := 10) AS TABLE
SELECT from_s, to_s, plays, plays / nullif(max(plays) OVER (), 0) AS heat_ratio
FROM retention(content, bucket_s := bucket_s)
ORDER BY from_s;

-- How a content keeps its viewers, against others of similar length (from its own by `length_factor` to its own times it): for each of `buckets` equal parts of the content its own absolute retention, the mean of the others' (each content counts once), its own by that mean, and where it ranks among them (0: all others keep more, 1: all keep less, equal ones half). Without another content of such length the last three are null. Cost: 1 s, and more where many contents are of similar length.
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

-- Seeks from `since` up to `until`, of one content if named: as many as sessions.seeks counts. seek_at: when the playhead was there again; distance_s: how far it moved beyond what playing explains, at least: below 0 backward. What a player does not tell (a seek and back again between two events) is not there. Cost: grows with the events of the sessions asked for, 3 s for a million.
CREATE OR REPLACE MACRO seeks_between(since, until, content := '') AS TABLE
WITH asked AS MATERIALIZED (
    SELECT since::TIMESTAMPTZ AS since_at, until::TIMESTAMPTZ AS until_at
), moves AS (
    SELECT
        *,
        doing = 'playing' OR (doing IN ('paused', 'buffering') AND was_started) AS shows,
        if(doing = 'playing', passed_s, 0) AS advance_s,
        if(doing = 'playing' OR is_live, passed_s, 0) AS allowed_s,
        next_playhead_s - playhead_s AS shift_s,
        shift_s + if(is_live AND shift_s < -43200, 86400, 0) AS moved_s,
        least(next_playhead_s, recorded_length_s) - least(playhead_s, recorded_length_s)
            - if(is_live AND abs(shift_s) > 43200, 86400 * sign(shift_s), 0) AS within_s
    FROM timeline_between((SELECT since_at FROM asked), (SELECT until_at FROM asked), content := content)
), jumps AS (
    SELECT
        *,
        coalesce(shows AND moved_s NOT BETWEEN -2 AND allowed_s + 2, false) AS is_jump,
        shows AND playhead_s IS NOT NULL AND next_playhead_s IS NULL AS is_blank
    FROM moves
), bridges AS (
    -- The playhead goes on from where it was two events before: the one between was a slip, or unknown.
    SELECT
        *,
        coalesce(
            shows AND (is_jump OR playhead_s IS NULL)
            AND (lag(is_jump) OVER in_order OR lag(is_blank) OVER in_order)
            AND abs(
                next_playhead_s - lag(playhead_s) OVER in_order - lag(advance_s) OVER in_order - advance_s
            ) <= 2,
            false
        ) AS may_bridge
    FROM jumps
    WINDOW in_order AS (PARTITION BY session_id ORDER BY place)
), bridged AS (
    -- What has bridged a slip is none itself: in a row of such every second one does.
    SELECT
        *,
        may_bridge AND (place - max(if(may_bridge, NULL, place)) OVER so_far) % 2 = 1 AS is_bridge
    FROM bridges
    WINDOW so_far AS (PARTITION BY session_id ORDER BY place ROWS UNBOUNDED PRECEDING)
), seeks AS (
    SELECT
        *,
        is_jump AND NOT is_bridge AND NOT is_last
        AND NOT coalesce(lead(is_bridge) OVER (PARTITION BY session_id ORDER BY place), false) AS is_seek
    FROM bridged
)
SELECT
    session_id, content_id, viewer,
    make_timestamptz(to_ms * 1000) AS seek_at,
    playhead_s AS from_s,
    next_playhead_s AS to_s,
    if(within_s > 0, greatest(within_s - allowed_s, 0), within_s) AS distance_s
FROM seeks, asked
WHERE is_seek AND seek_at >= since_at AND seek_at < until_at
ORDER BY seek_at, session_id;

-- ---- ads and errors

-- Each ad: starts, how they ended, and how much of it played (played_ratio: time played by length, over starts of known length). Cost: 0.7 s.
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

-- Ad breaks by number and place in the content: how many, how many without any ad, ads in them, how they ended. Cost: 0.6 s.
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

-- Errors by id and source, the most frequent first: events, sessions, viewers (a session without a user is one), before main content played, and sessions that such an error ended. Cost: 0.5 s.
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

-- ---- viewers

-- Viewers of a window (sessions that started from `since` up to `until`): new (first seen in it), returning (seen in it, and before), lapsed (not seen in it, but in the `before_days` ahead of it; 0, the default: as long as the window). Cost: 0.5 s.
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

-- Viewers by the week (from Monday, UTC) in which they were first seen, and how many of them came in each later week. Cost: 0.5 s.
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

-- What is watched after what: the next content that the same viewer played, if it started within `hours` of the end of the one before; next_ratio is by all plays of the first. The same content again is a sequence too. Cost: 0.6 s.
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

-- sequences_within 24 hours. Cost: 0.6 s.
CREATE OR REPLACE VIEW sequences AS
FROM sequences_within(24);

-- ---- what to doubt

-- Sessions that were reopened by events that came after they had closed; version counts how often they closed. Cost: 0.4 s.
CREATE OR REPLACE VIEW late_sessions AS
SELECT session_id, version, state, late_events, events, started_at, ended_at, last_received_at, is_downloaded, content_id
FROM sessions
WHERE late_events > 0;

-- Events by flag: what is odd about them. Cost: reads every event's flags, 0.5 s for 10 million.
CREATE OR REPLACE VIEW flagged_events AS
SELECT
    flag,
    count(*) AS events,
    count(DISTINCT session_id) AS sessions,
    min(received_at) AS first_at,
    max(received_at) AS last_at
FROM (SELECT unnest(flags) AS flag, session_id, received_at FROM events WHERE len(flags) > 0)
GROUP BY flag;

-- Sessions whose sessionStart is not known: what they watched is not known either. Cost: 0.4 s.
CREATE OR REPLACE VIEW sessions_without_start AS
SELECT session_id, state, events, started_at, ended_at, log_partition FROM sessions WHERE NOT has_start;

-- Sessions that players said something twice in: stored, counted once. Cost: 0.4 s.
CREATE OR REPLACE VIEW repeats AS
SELECT session_id, repeats, events, started_at, player_name, app_version FROM sessions WHERE repeats > 0;

-- Sessions that nobody used: the player did not hear that its sessionStart was taken, and started once more. Not counted. Cost: 0.4 s.
CREATE OR REPLACE VIEW retried_starts AS
SELECT session_id, start_ts, first_received_at, content_id, player_name, channel FROM sessions WHERE is_retried_start;

-- Sessions whose player's clock is more than a minute wrong (offset), or whose events took more than a minute longer than others to come (spread). Cost: 0.4 s.
CREATE OR REPLACE VIEW wrong_clocks AS
SELECT session_id, clock_offset_ms, clock_spread_ms, start_ts, first_received_at, is_downloaded, player_name, app_version
FROM sessions
WHERE abs(clock_offset_ms) > 60000 OR clock_spread_ms > 60000;

-- What is odd, counted: each check, how many it found, of how many. Cost: 0.5 s, and flagged_events.
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
    SELECT 'quarantined: ' || reason, count(*), (SELECT count(*) FROM quarantine), 'records'
    FROM quarantine GROUP BY reason
)
SELECT "check", what, found, out_of, found / nullif(out_of, 0) AS found_ratio FROM checks;
