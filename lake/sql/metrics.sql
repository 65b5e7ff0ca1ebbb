-- Every metric over all sessions, and by day, content, player, channel and app version.
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

-- Every metric over all sessions, side by side; metric_catalog defines each. Cost: 1.3 s for all, 0.3 s for one (0.7 s if it needs ads).
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
