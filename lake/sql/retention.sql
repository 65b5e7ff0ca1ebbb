-- How sessions start, how far viewers watch, and where they leave or seek.

-- How many of the sessions that started from `since` up to `until` reached each step: intent, first frame, 10 to 95 %, complete; and for how many each was the last. Closed sessions with a sessionStart, of content of known length. filters as in metrics_by: {content_id: 'film'}. Cost: that of the sessions asked for, at most 0.5 s.
CREATE OR REPLACE MACRO funnel(since := '-infinity', until := 'infinity', filters := '{}') AS TABLE
WITH chosen AS (
    SELECT
        is_started, is_completed, progress_pct,
        CASE
            WHEN is_completed THEN 8
            WHEN progress_pct > 0 THEN 2 + list_position([10, 25, 50, 75, 95], progress_pct)
            WHEN is_started THEN 2
            ELSE 1
        END AS furthest
    FROM counted_sessions AS s
    WHERE is_closed AND has_start AND progress_pct IS NOT NULL
        AND s.started_at >= since::TIMESTAMPTZ AND s.started_at < until::TIMESTAMPTZ
        AND {filters}
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

-- The funnel of all sessions of a content (of all: NULL). Cost: 0.5 s.
CREATE OR REPLACE MACRO start_funnel_of(content) AS TABLE
FROM funnel(filters := MAP {'content_id': content});

-- The funnel of all sessions. Cost: 0.5 s.
CREATE OR REPLACE VIEW start_funnel AS
FROM funnel();

-- Where viewers leave a content: plays that started from `since` up to `until` and closed without completion, by the bucket of their last playhead, and as a share of all these plays. filters as in metrics_by. Cost: 0.4 s.
CREATE OR REPLACE MACRO leaving_points(content, bucket_s := 60, since := '-infinity', until := 'infinity', filters := '{}') AS TABLE
WITH plays AS (
    SELECT is_completed, last_playhead_s
    FROM counted_sessions AS s
    WHERE content_id = content AND is_closed AND is_started AND recorded_length_s > 0
        AND s.started_at >= since::TIMESTAMPTZ AND s.started_at < until::TIMESTAMPTZ
        AND {filters}
)
SELECT
    floor(last_playhead_s / bucket_s) * bucket_s AS from_s,
    count(*) AS sessions,
    count(*) / (SELECT count(*) FROM plays) AS left_ratio
FROM plays
WHERE NOT is_completed AND last_playhead_s IS NOT NULL
GROUP BY from_s
ORDER BY from_s;

-- Retention of a content, over its sessions that started from `since` up to `until`: for each bucket the sessions that played any of it, and how often its seconds were played (absolute: all passes; unique: once per session), divided by the sessions whose main content played. filters as in metrics_by. Cost: 0.5 s; with buckets of 1 s for a popular content, some seconds.
CREATE OR REPLACE MACRO retention(content, bucket_s := 10, since := '-infinity', until := 'infinity', filters := '{}') AS TABLE
WITH chosen AS (
    SELECT session_id, is_started, recorded_length_s, played_intervals
    FROM counted_sessions AS s
    WHERE content_id = content
        AND s.started_at >= since::TIMESTAMPTZ AND s.started_at < until::TIMESTAMPTZ
        AND {filters}
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

-- Most replayed: how often each bucket of a content was played, relative to the bucket played most. Arguments and cost: as retention.
CREATE OR REPLACE MACRO heat_map(content, bucket_s := 10, since := '-infinity', until := 'infinity', filters := '{}') AS TABLE
SELECT from_s, to_s, plays, plays / nullif(max(plays) OVER (), 0) AS heat_ratio
FROM retention(content, bucket_s := bucket_s, since := since, until := until, filters := filters)
ORDER BY from_s;

-- How well a content keeps its viewers, compared with others of similar length (its length divided by `length_factor` up to its length times it). For each of `buckets` equal parts: its absolute retention, the mean of the others' (each content counts once), the ratio of the two, and its rank among them (0: all others keep more, 1: all keep less, equal ones count half). The last three are null if no other content is of similar length. Over the sessions that started from `since` up to `until`; filters as in metrics_by. Cost: 1 s, more if many contents are of similar length.
CREATE OR REPLACE MACRO relative_retention(content, buckets := 100, length_factor := 1.25, since := '-infinity', until := 'infinity', filters := '{}') AS TABLE
WITH asked AS MATERIALIZED (
    SELECT content::VARCHAR AS asked_id, buckets::BIGINT AS parts, length_factor::DOUBLE AS factor
), contents AS (
    SELECT content_id, max(recorded_length_s) AS length_s, count(*) FILTER (WHERE is_started) AS starts
    FROM counted_sessions AS s
    WHERE s.started_at >= since::TIMESTAMPTZ AND s.started_at < until::TIMESTAMPTZ
        AND {filters}
    GROUP BY content_id
    HAVING length_s > 0 AND starts > 0
), compared AS MATERIALIZED (
    SELECT each.content_id, each.length_s, each.starts, each.content_id = asked_id AS is_own, parts
    FROM asked
    JOIN contents AS own ON own.content_id = asked_id
    JOIN contents AS each ON each.length_s BETWEEN own.length_s / factor AND own.length_s * factor
), pieces AS (
    SELECT content_id, compared.length_s, parts, unnest(played_intervals, recursive := true)
    FROM counted_sessions AS s JOIN compared USING (content_id)
    WHERE s.started_at >= since::TIMESTAMPTZ AND s.started_at < until::TIMESTAMPTZ
        AND {filters}
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

-- Seeks from `since` up to `until`, of one content if named: jumps of the playhead while main content played, from one span to the next, and moves by more than 2 s in a pause or in buffering after it had played. seek_at: when the playhead was there; from_s: where it was last before; distance_s: how far it moved, below 0 backward, with what was played between those two events. sessions.seeks counts them all; here those are missing that the spans do not show, as of sessions with more spans than are kept. Cost: 0.6 s.
CREATE OR REPLACE MACRO seeks_between(since, until, content := '') AS TABLE
WITH asked AS MATERIALIZED (
    SELECT since::TIMESTAMPTZ AS since_at, until::TIMESTAMPTZ AS until_at
), told AS (
    SELECT
        *,
        lag(doing) OVER in_order = 'playing' AND lag(to_ms) OVER in_order = from_ms AS follows_play,
        lag(next_playhead_s) OVER in_order AS last_playhead_s,
        coalesce(bool_or(doing = 'playing') OVER so_far, false) AS was_started
    FROM timeline_between(since, until, content := content)
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
