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

-- Open sessions of all partitions, each as its next version would close now.
CREATE OR REPLACE VIEW open_sessions AS {open_sessions};

-- Versions of closed sessions that upkeep has not settled yet, see settled_sessions.
CREATE OR REPLACE VIEW young_versions AS {young_versions};

-- Versions of which the next one is known, closed or open, since sessions were last settled.
CREATE OR REPLACE VIEW superseded_versions AS
SELECT session_id, version - 1 AS version FROM young_versions WHERE version > 1
UNION ALL
SELECT session_id, version - 1 AS version FROM open_sessions WHERE version > 1;

-- Recent sessionStarts that are older than a minute, by the newest watermark, and which of them are copies (is_copy): the player did not hear that its start was taken, and sent the same request again (start_requests). A copy was not used (its session has no other event) and has a twin of the same request that was used, within a minute; there are never more copies than twins. If none of them was used, the first counts and the others are copies of it.
CREATE OR REPLACE VIEW judged_starts AS
WITH requests AS MATERIALIZED (
    SELECT session_id, request_hash, received_at, count(*) OVER (PARTITION BY request_hash) > 1 AS is_repeated
    FROM start_requests
), used AS (
    SELECT session_id FROM young_versions WHERE events > 1 AND session_id IN (SELECT session_id FROM requests)
    UNION
    SELECT session_id FROM open_sessions WHERE events > 1 AND session_id IN (SELECT session_id FROM requests)
), starts AS (
    SELECT *, session_id IN (SELECT session_id FROM used) AS is_used
    FROM requests
    WHERE received_at <= (SELECT max(coalesce(watermark, partition_time)) FROM ledger) - INTERVAL 1 MINUTE
), steps AS (
    SELECT
        session_id, request_hash, received_at, is_used,
        coalesce(received_at - lag(received_at) OVER by_request <= INTERVAL 1 MINUTE, false) AS goes_on
    FROM starts
    WHERE is_repeated
    WINDOW by_request AS (PARTITION BY request_hash ORDER BY received_at, session_id)
), runs AS (
    SELECT
        *,
        count(*) FILTER (WHERE NOT goes_on)
            OVER (PARTITION BY request_hash ORDER BY received_at, session_id ROWS UNBOUNDED PRECEDING) AS run
    FROM steps
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
    USING (request_hash, run, place, is_used)
UNION ALL
SELECT session_id, request_hash, received_at, is_used, false AS is_copy FROM starts WHERE NOT is_repeated;

-- The newest version of each session, open ones included, for questions that need neither users nor devices: only the view sessions applies tracking sessions and denials of consent to these.
CREATE OR REPLACE VIEW newest_sessions AS
-- A filter on a session's own columns must reach the scans, where it skips files. So the newest version is found by
-- anti-joins, each only on equal keys: another condition would make DuckDB compare every row with every other. There is
-- no CTE: with several references to one, DuckDB 1.5.5 waits for ever, or materializes whole rows.
SELECT every.* EXCLUDE (is_copy), events = 1 AND coalesce(is_copy, copies.session_id IS NOT NULL) AS is_retried_start
FROM (
    SELECT * EXCLUDE (settled_day, settled_round), true AS is_settled FROM settled_sessions
    UNION ALL BY NAME
    SELECT *, false AS is_settled FROM young_versions
    UNION ALL BY NAME
    SELECT *, false AS is_settled FROM open_sessions ANTI JOIN (
        SELECT session_id, version FROM young_versions
    ) AS closed_since USING (session_id, version)
) AS every
ANTI JOIN superseded_versions AS newer ON newer.session_id = every.session_id AND newer.version = every.version
LEFT JOIN (
    SELECT session_id FROM ({young_copies}) UNION SELECT session_id FROM judged_starts WHERE is_copy
) AS copies ON copies.session_id = if(is_settled OR events > 1, NULL, every.session_id);

-- Sessions, one row each: the newest version, open ones included; the user may come from the tracking session it named.
-- A session in which consent was denied has no user and no device, whatever was sent before or after the denial.
CREATE OR REPLACE VIEW sessions AS
SELECT
    * EXCLUDE (is_settled, tracking_user_id, has_tracking_denial, told_user_id) REPLACE (
        if(consent = 'denied', NULL, coalesce(user_id, told_user_id)) AS user_id,
        CASE
            WHEN consent = 'denied' THEN NULL
            WHEN user_id_source IS NOT NULL THEN user_id_source
            WHEN told_user_id IS NOT NULL THEN 'tracking_session'
        END AS user_id_source,
        if(consent = 'denied', NULL, user_id_auth_state) AS user_id_auth_state,
        if(consent = 'denied', NULL, device_id) AS device_id,
        if(consent = 'denied', NULL, device_id_source) AS device_id_source
    )
FROM (
    SELECT
        every.*,
        CASE
            WHEN NOT is_settled THEN named_user_id
            WHEN NOT has_tracking_denial AND since.has_denial IS DISTINCT FROM true
                THEN coalesce(tracking_user_id, since.first_user_id)
        END AS told_user_id
    FROM newest_sessions AS every
    LEFT JOIN (
        SELECT
            tracking_session_id,
            arg_min(user_id, log_offset) AS first_user_id,
            bool_or(consent = 'denied') AS has_denial
        FROM ({young_tracking})
        WHERE user_id IS NOT NULL OR consent = 'denied'
        GROUP BY tracking_session_id
        HAVING first_user_id IS NOT NULL OR has_denial
    ) AS since
        ON since.tracking_session_id = if(is_settled AND tracking_verified, every.tracking_session_id, NULL)
    LEFT JOIN (
        SELECT
            session_id, tracking_session_id,
            if(bool_or(consent = 'denied'), NULL, arg_min(user_id, log_offset)) AS named_user_id
        FROM (
            SELECT session_id, tracking_session_id FROM young_versions WHERE tracking_verified
            UNION
            SELECT session_id, tracking_session_id FROM open_sessions WHERE tracking_verified
        ) AS young
        JOIN (SELECT tracking_session_id, consent, user_id, log_offset FROM tracking_events) USING (tracking_session_id)
        GROUP BY session_id, tracking_session_id
        HAVING named_user_id IS NOT NULL
    ) AS tracking
        ON tracking.session_id = every.session_id
        AND tracking.tracking_session_id = if(NOT is_settled AND tracking_verified, every.tracking_session_id, NULL)
);

-- Every media event, with happened_at: when it happened, by the true clock, as far as its session tells (its timestamp, by the clock that dated it, and that clock's offset; its arrival where no clock fits); and after_end: it is later than its session's end, or than 24 hours after its start.
CREATE OR REPLACE VIEW events_checked AS
-- The same rules as in sessions/clock_steps.py.
WITH dated AS (
    SELECT
        e.*,
        epoch_ms(e.client_ts) AS client_ms,
        epoch_ms(e.received_at) AS received_ms,
        s.start_ts, s.end_ts, s.clock_offset_ms, s.clocks,
        list_contains(s.flags, 'clock_unsteady') AS is_unsteady,
        list_max(list_transform(
            list_filter(s.clocks, lambda clock:
                clock.offset_ms - 2000 <= epoch_ms(e.received_at) - epoch_ms(e.client_ts)
                AND epoch_ms(e.client_ts) + clock.offset_ms
                    BETWEEN coalesce(epoch_ms(clock.since_at), 0) - 2000
                    AND coalesce(epoch_ms(clock.until_at), 9000000000000) + 2000
            ),
            lambda clock: clock.offset_ms
        )) AS offset_ms
    FROM events AS e LEFT JOIN newest_sessions AS s USING (session_id)
), ordered AS (
    SELECT
        *,
        CASE
            WHEN is_unsteady THEN received_ms
            WHEN len(clocks) > 1 THEN coalesce(client_ms + offset_ms, received_ms) - clocks[1].offset_ms
            WHEN len(clocks) = 1 AND received_ms - client_ms < clocks[1].offset_ms - 300000
                THEN received_ms - clocks[1].offset_ms
            WHEN len(clocks) = 1 THEN client_ms
            WHEN client_ms - received_ms > 86400000 THEN received_ms
            ELSE client_ms
        END AS order_ms
    FROM dated
)
SELECT
    * EXCLUDE (
        client_ms, received_ms, start_ts, end_ts, clock_offset_ms, clocks, is_unsteady, offset_ms, order_ms
    ),
    make_timestamptz((order_ms + coalesce(clock_offset_ms, 0)) * 1000) AS happened_at,
    coalesce(order_ms > least(epoch_ms(end_ts), epoch_ms(start_ts) + 86400000), false) AS after_end
FROM ordered;

-- Ads of the newest version of each session, which started at session_started_at and was played by session_player_name; started_at and player_name are the ad's own.
CREATE OR REPLACE VIEW ads AS
SELECT
    session_id, content_id, state, started_at AS session_started_at, player_name AS session_player_name, app_version,
    channel, is_capped, unnest(ads, recursive := true)
FROM newest_sessions;

-- Ad breaks of the newest version of each session, which started at session_started_at.
CREATE OR REPLACE VIEW ad_breaks AS
SELECT
    session_id, content_id, state, started_at AS session_started_at, player_name, app_version, channel, is_capped,
    unnest(breaks, recursive := true)
FROM newest_sessions;

-- Chapters of the newest version of each session, which started at session_started_at.
CREATE OR REPLACE VIEW chapters AS
SELECT
    session_id, content_id, state, started_at AS session_started_at, player_name, app_version, channel, is_capped,
    unnest(chapters, recursive := true)
FROM newest_sessions;

-- Player states (fullscreen, mute, ...) of the newest version of each session, which started at started_at.
CREATE OR REPLACE VIEW player_states AS
SELECT
    session_id, content_id, state, started_at, player_name, app_version, channel, is_capped,
    unnest(player_states, recursive := true)
FROM newest_sessions;

-- Ranges of content played, of the newest version of each session, which started at started_at; they do not overlap within a session.
CREATE OR REPLACE VIEW played_intervals AS
SELECT
    session_id, content_id, state, started_at, player_name, app_version, channel, is_capped,
    unnest(played_intervals, recursive := true)
FROM newest_sessions;

-- What each session did, from when to when, of its newest version, which started at session_started_at: without overlap, in order; null before schema 2.
CREATE OR REPLACE VIEW spans AS
SELECT
    session_id, content_id, state, started_at AS session_started_at, player_name, app_version, channel, is_capped,
    unnest(spans, recursive := true)
FROM newest_sessions;

-- Errors that players reported, of the newest version of each session, which started at started_at.
CREATE OR REPLACE VIEW playback_errors AS
SELECT
    session_id, content_id, state, started_at, player_name, app_version, channel, is_capped,
    unnest(playback_errors, recursive := true)
FROM newest_sessions;

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
