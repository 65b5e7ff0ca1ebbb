-- How far the lake has read each partition of the log.
CREATE OR REPLACE VIEW ledger AS {ledgers};

-- Tracking sessions, one row each; without a user if any request for one denied consent.
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

-- Sessions, one row each: the newest version, open ones included; the user may come from the tracking session it named.
-- A session in which consent was denied has no user and no device, whatever was sent before or after the denial.
CREATE OR REPLACE VIEW sessions AS
-- Nothing here may be materialized, or every query reads every column; and each join is only on equal keys: another
-- condition on the left side of a LEFT JOIN makes DuckDB compare every row with every other.
WITH every AS NOT MATERIALIZED (
    SELECT *, 1 AS is_closed FROM session_versions
    UNION ALL
    SELECT *, 0 AS is_closed FROM ({open_sessions})
), newest AS NOT MATERIALIZED (
    SELECT * EXCLUDE (is_closed) FROM every
    QUALIFY row_number() OVER (PARTITION BY session_id ORDER BY version DESC, is_closed DESC) = 1
), retried_starts AS NOT MATERIALIZED (
    SELECT DISTINCT retried.session_id
    FROM every AS retried JOIN every AS used
        ON used.start_ts = retried.start_ts
        AND used.content_id = retried.content_id
        AND used.player_name = retried.player_name
        AND used.channel = retried.channel
        AND used.length_s IS NOT DISTINCT FROM retried.length_s
        AND used.app_version IS NOT DISTINCT FROM retried.app_version
        AND used.user_id IS NOT DISTINCT FROM retried.user_id
        AND used.device_id IS NOT DISTINCT FROM retried.device_id
    WHERE retried.has_start AND retried.events = 1 AND used.has_start AND used.events > 1
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
    newest.events = 1 AND retried_starts.session_id IS NOT NULL AS is_retried_start
FROM newest
LEFT JOIN tracking_sessions AS tracking ON tracking.tracking_session_id
    = if(newest.tracking_verified AND newest.consent IS DISTINCT FROM 'denied', newest.tracking_session_id, NULL)
LEFT JOIN retried_starts ON retried_starts.session_id = newest.session_id;

-- Every media event, with after_end: it is later than its session's end, or than 24 hours after its start.
CREATE OR REPLACE VIEW events_checked AS
SELECT
    e.*,
    coalesce(
        if(list_contains(e.flags, 'future_ts'), e.received_at, e.client_ts)
        > least(s.end_ts, s.start_ts + INTERVAL 24 HOUR),
        false
    ) AS after_end
FROM events AS e LEFT JOIN sessions AS s USING (session_id);

-- Ads of the newest version of each session.
CREATE OR REPLACE VIEW ads AS
SELECT session_id, content_id, state, unnest(ads, recursive := true) FROM sessions;

-- Ad breaks of the newest version of each session.
CREATE OR REPLACE VIEW ad_breaks AS
SELECT session_id, content_id, state, unnest(breaks, recursive := true) FROM sessions;

-- Chapters of the newest version of each session.
CREATE OR REPLACE VIEW chapters AS
SELECT session_id, content_id, state, unnest(chapters, recursive := true) FROM sessions;

-- Player states (fullscreen, mute, ...) of the newest version of each session.
CREATE OR REPLACE VIEW player_states AS
SELECT session_id, content_id, state, unnest(player_states, recursive := true) FROM sessions;

-- Ranges of content played, of the newest version of each session; they do not overlap within a session.
CREATE OR REPLACE VIEW played_intervals AS
SELECT session_id, content_id, state, unnest(played_intervals, recursive := true) FROM sessions;

-- Errors that players reported, of the newest version of each session.
CREATE OR REPLACE VIEW playback_errors AS
SELECT session_id, content_id, state, unnest(playback_errors, recursive := true) FROM sessions;

-- Users by pseudonym, over the sessions that consent allows to link; retried starts are excluded.
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
