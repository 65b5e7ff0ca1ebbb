-- Delivery of ads, and the errors that players report.

-- Ads of the sessions that started from `since` up to `until`, a row each, those outside of breaks too (break_index is null). reached_ratio: how much of the ad played: 1 if it completed, else time played divided by length, as far as the last event shows it (an ad followed by silence may have played up to one ping interval longer); null without a length, and while the session is open. outcome is open also where the session fell silent in the ad and closed (state is final). error_id: the first error that the player reported while the ad was open. filters as in metrics_by. Cost: that of the sessions asked for, at most 0.9 s.
CREATE OR REPLACE MACRO ads_between(since := '-infinity', until := 'infinity', filters := '{}') AS TABLE
SELECT
    * EXCLUDE (errors_reported),
    CASE
        WHEN outcome = 'completed' THEN 1
        WHEN (outcome <> 'open' OR state = 'final') AND length_s > 0 THEN least(time_s / length_s, 1)
    END::DOUBLE AS reached_ratio,
    list_filter(
        errors_reported,
        -- What ends an ad is reported when it ends, and the next begins in the same millisecond.
        lambda error: error."at" <= ended_at AND (error."at" > started_at OR started_at = ended_at)
    )[1].error_id AS error_id
FROM (
    SELECT
        s.session_id, s.content_id, s.state, s.started_at AS session_started_at,
        s.player_name AS session_player_name, s.app_version, s.channel, s.is_capped, s.playback_errors AS errors_reported,
        unnest(s.ads, recursive := true)
    FROM counted_sessions AS s
    WHERE s.started_at >= since::TIMESTAMPTZ AND s.started_at < until::TIMESTAMPTZ
        AND {filters}
);

-- Each ad of the sessions that started from `since` up to `until`: starts, outcomes, and how much of it played (played_ratio: time played divided by length, over starts of known length). filters as in metrics_by. Cost: that of the sessions asked for, at most 0.7 s.
CREATE OR REPLACE MACRO ad_delivery(since := '-infinity', until := 'infinity', filters := '{}') AS TABLE
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
FROM (
    SELECT session_id, unnest(ads, recursive := true)
    FROM sessions AS s
    WHERE s.started_at >= since::TIMESTAMPTZ AND s.started_at < until::TIMESTAMPTZ
        AND {filters}
)
GROUP BY ad_id, advertiser, campaign_id;

-- ad_delivery of all sessions. Cost: 0.7 s.
CREATE OR REPLACE VIEW ad_delivery AS
FROM ad_delivery();

-- Ad breaks of the sessions that started from `since` up to `until`, by number and position in the content: how many, how many without ads, ads in them, outcomes. filters as in metrics_by. Cost: that of the sessions asked for, at most 0.6 s.
CREATE OR REPLACE MACRO ad_break_delivery(since := '-infinity', until := 'infinity', filters := '{}') AS TABLE
SELECT
    "index" AS break_index,
    offset_s,
    count(*) AS breaks,
    count(*) FILTER (WHERE ads = 0) AS empty_breaks,
    sum(ads)::BIGINT AS ads,
    count(*) FILTER (WHERE outcome = 'completed') AS completed,
    sum(time_s) / count(*) AS time_per_break_s
FROM (
    SELECT unnest(breaks, recursive := true)
    FROM sessions AS s
    WHERE s.started_at >= since::TIMESTAMPTZ AND s.started_at < until::TIMESTAMPTZ
        AND {filters}
)
GROUP BY break_index, offset_s;

-- ad_break_delivery of all sessions. Cost: 0.6 s.
CREATE OR REPLACE VIEW ad_break_delivery AS
FROM ad_break_delivery();

-- Errors of the sessions that started from `since` up to `until`, by id and source, most frequent first: events, sessions, viewers (a session without a user counts as one), events before main content played, and sessions that the error ended. filters as in metrics_by. Cost: that of the sessions asked for, at most 0.5 s.
CREATE OR REPLACE MACRO error_ranking(since := '-infinity', until := 'infinity', filters := '{}') AS TABLE
WITH every AS (
    SELECT
        session_id, content_id, coalesce(user_id, session_id) AS viewer, is_failed,
        len(playback_errors) AS in_session,
        unnest(playback_errors) AS error,
        unnest(range(1, len(playback_errors) + 1)) AS place
    FROM counted_sessions AS s
    WHERE errors > 0
        AND s.started_at >= since::TIMESTAMPTZ AND s.started_at < until::TIMESTAMPTZ
        AND {filters}
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

-- error_ranking of all sessions. Cost: 0.5 s.
CREATE OR REPLACE VIEW error_ranking AS
FROM error_ranking();
