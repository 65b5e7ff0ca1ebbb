-- Is something broken right now? What arrived minute by minute, compared with an hour and with a week before.

-- How many standard errors a share (part of n) is above another (part_before of n_before), after a quarter of it and half a percentage point are allowed for. Null if n is below 20 or n_before below 100. Shares are compared by the arc sine of their root, so that two of twenty do not look like many.
CREATE OR REPLACE MACRO share_score(part, n, part_before, n_before) AS if(
    n >= 20 AND n_before >= 100,
    2 * (
        asin(sqrt(least(1, (part + 0.375) / (n + 0.75))))
        - asin(sqrt(least(1, 1.25 * (part_before + 0.375) / (n_before + 0.75) + 0.005)))
    ) / sqrt(1 / n + 1 / n_before),
    NULL
);

-- How many standard errors a count is below 70 % of the count that was expected; null if fewer than 5 were expected.
CREATE OR REPLACE MACRO drop_score(found, expected) AS if(
    expected >= 5, 2 * (sqrt(0.7 * expected + 0.375) - sqrt(found + 0.375)), NULL
);

-- What arrived in each complete minute of `hours` hours from `since`, over all sessions and by value of each dimension: `all`, site, player_name, app_version (with the player's name), channel, cdn, device_type, country, content_id. Left out are downloaded sessions, those that first arrived more than a day before the hours compared, and values that appear in fewer than 20 sessions (60 for a content). sessions: active in the minute, from their first event to their last. starts: sessions whose sessionStart arrived in the minute; startup_p95_s, failures_before_start and exits_before_start are of these, and an exit is known when its session closes, which may be 10 minutes later. failures_after_start: plays that an error ended, by the arrival of their last event. bufferings: sessions in which a rebuffering or stall began in the minute. hour_before, week_before: the same of the hour before the row's hour, and of the same hour a week before (sessions: in its average minute). score: how many standard errors the five minutes up to this one (of those asked for) are worse than both hours, by `worst`, their worst measure, of `sample` sessions; a value without a past is compared with all sessions of the hour. Starts are worse if they are fewer, except of a content or app version, whose time may be over. scores: the score of each measure. A quarter more and half a percentage point is no difference, and scores below 4 count as 0: chance. Null: too few sessions to say. Highest score first. Cost: 0.3 s for an hour.
CREATE OR REPLACE MACRO health_by_minute(since, hours := 1) AS TABLE
-- Conditions on arrival are written with `since` itself: constants let the lake leave files out. First
-- arrivals leave out the most: one late event makes the last arrival of its session late, and so of a whole file.
WITH asked AS MATERIALIZED (
    SELECT
        epoch_ms(since::TIMESTAMPTZ) // 60000 AS low,
        (SELECT epoch_ms(max(coalesce(watermark, partition_time))) // 60000 FROM ledger) AS newest
), heard AS (
    SELECT
        'now' AS era, -60 AS from_minute, 60 * hours AS to_minute, 0 AS shift,
        first_received_at, last_received_at, state, has_start, is_started, is_failed, startup_s, spans,
        site, player_name, app_version, channel, cdn, device_type, country, content_id
    FROM newest_sessions
    WHERE last_received_at >= since::TIMESTAMPTZ - INTERVAL 1 HOUR
        AND first_received_at >= since::TIMESTAMPTZ - INTERVAL 25 HOUR
        AND first_received_at < since::TIMESTAMPTZ + to_hours(hours)
        AND NOT is_downloaded AND NOT is_retried_start
    UNION ALL
    -- A week before, sessions that went on for more than 6 hours after the time asked for do not count.
    SELECT
        'week', 0, 60 * hours, 7 * 1440,
        first_received_at, last_received_at, state, has_start, is_started, is_failed, startup_s, spans,
        site, player_name, app_version, channel, cdn, device_type, country, content_id
    FROM newest_sessions
    WHERE last_received_at >= since::TIMESTAMPTZ - INTERVAL 7 DAY
        AND last_received_at < since::TIMESTAMPTZ - INTERVAL 7 DAY + to_hours(hours + 6)
        AND first_received_at >= since::TIMESTAMPTZ - INTERVAL 8 DAY
        AND first_received_at < since::TIMESTAMPTZ - INTERVAL 7 DAY + to_hours(hours)
        AND NOT is_downloaded AND NOT is_retried_start
), placed AS (
    SELECT
        *,
        epoch_ms(first_received_at) // 60000 + shift - low AS first_minute,
        epoch_ms(last_received_at) // 60000 + shift - low AS last_minute,
        list_distinct(list_filter(
            list_transform(
                list_filter(coalesce(spans, []), lambda span: span.doing IN ('buffering', 'stalled')),
                lambda span: epoch_ms(span.started_at) // 60000 + shift - low
            ),
            lambda minute: minute BETWEEN greatest(first_minute, from_minute) AND least(last_minute, to_minute - 1)
        )) AS buffer_minutes
    FROM heard, asked
), facts AS (
    SELECT
        era,
        coalesce(site, '') AS site,
        coalesce(player_name, '') AS player_name,
        concat_ws(' ', player_name, app_version) AS app_version,
        coalesce(channel, '') AS channel,
        coalesce(cdn, '') AS cdn,
        coalesce(device_type, '') AS device_type,
        coalesce(country, '') AS country,
        coalesce(content_id, '') AS content_id,
        first_minute, last_minute, from_minute, to_minute, buffer_minutes,
        (has_start AND first_minute >= from_minute)::INT AS starts,
        if(starts = 1 AND is_started, startup_s, NULL) AS startup_s,
        (is_failed AND NOT is_started)::INT * starts AS failures_before_start,
        (state = 'final' AND NOT is_started AND NOT is_failed)::INT * starts AS exits_before_start,
        (is_failed AND is_started AND last_minute < to_minute)::INT AS failures_after_start
    FROM placed
), shown AS (
    -- A content with too few sessions for `axis` is not counted minute by minute.
    SELECT
        * REPLACE (if(count(*) OVER (PARTITION BY era, content_id) >= 60, content_id, NULL) AS content_id)
    FROM facts
), changes AS (
    SELECT
        * EXCLUDE (first_minute, last_minute, from_minute, to_minute, buffer_minutes, failures_after_start),
        unnest(
            [
                {minute: greatest(first_minute, from_minute), more: 1, begun: 1, failed: 0, buffered: 0},
                {minute: if(failures_after_start = 1, last_minute, NULL), more: 0, begun: 0, failed: 1, buffered: 0},
                {
                    minute: if(last_minute + 1 < to_minute, last_minute + 1, NULL),
                    more: -1, begun: 0, failed: 0, buffered: 0
                }
            ]
            || list_transform(
                buffer_minutes, lambda minute: {minute: minute, more: 0, begun: 0, failed: 0, buffered: 1}
            ),
            recursive := true
        )
    FROM shown
), cells AS (
    SELECT
        era,
        CASE 0
            WHEN grouping(site) THEN 'site'
            WHEN grouping(player_name) THEN 'player_name'
            WHEN grouping(app_version) THEN 'app_version'
            WHEN grouping(channel) THEN 'channel'
            WHEN grouping(cdn) THEN 'cdn'
            WHEN grouping(device_type) THEN 'device_type'
            WHEN grouping(country) THEN 'country'
            WHEN grouping(content_id) THEN 'content_id'
            ELSE 'all'
        END AS dimension,
        coalesce(site, player_name, app_version, channel, cdn, device_type, country, content_id, '') AS value,
        minute,
        sum(more) AS more,
        sum(begun * starts) AS starts,
        sum(begun * failures_before_start) AS failures_before_start,
        sum(failed) AS failures_after_start,
        sum(begun * exits_before_start) AS exits_before_start,
        sum(buffered) AS bufferings,
        list(startup_s) FILTER (WHERE begun = 1 AND startup_s IS NOT NULL) AS startups_s
    FROM changes
    WHERE minute IS NOT NULL
    GROUP BY era, minute, GROUPING SETS (
        (), (site), (player_name), (app_version), (channel), (cdn), (device_type), (country), (content_id)
    )
    HAVING grouping(content_id) = 1 OR content_id IS NOT NULL
), axis AS (
    SELECT
        era, dimension, value,
        unnest(if(era = 'now', range(-60, 60 * hours), range(0, 60 * hours))) AS minute
    FROM cells
    GROUP BY era, dimension, value
    HAVING sum(greatest(more, 0)) >= if(dimension = 'content_id', 60, 20)
), minutes AS (
    SELECT
        era, dimension, value, minute,
        (minute + 60) // 60 AS hour_number,
        (sum(coalesce(more, 0)) OVER (PARTITION BY era, dimension, value ORDER BY minute))::BIGINT AS sessions,
        coalesce(starts, 0)::BIGINT AS starts,
        coalesce(failures_before_start, 0)::BIGINT AS failures_before_start,
        coalesce(failures_after_start, 0)::BIGINT AS failures_after_start,
        coalesce(exits_before_start, 0)::BIGINT AS exits_before_start,
        coalesce(bufferings, 0)::BIGINT AS bufferings,
        coalesce(startups_s, []) AS startups_s
    FROM axis LEFT JOIN cells USING (era, dimension, value, minute)
), totals AS (
    SELECT
        era, dimension, value, hour_number,
        sum(starts)::BIGINT AS starts,
        sum(failures_before_start)::BIGINT AS failures_before_start,
        sum(failures_after_start)::BIGINT AS failures_after_start,
        sum(exits_before_start)::BIGINT AS exits_before_start,
        sum(bufferings)::BIGINT AS bufferings,
        sum(sessions)::BIGINT AS session_minutes,
        flatten(list(startups_s)) AS startups_s
    FROM minutes
    GROUP BY era, dimension, value, hour_number
), hours_past AS (
    SELECT
        * REPLACE (if(era = 'now', hour_number + 1, hour_number) AS hour_number),
        len(startups_s) AS startups,
        list_aggregate(startups_s, 'quantile_cont', 0.95) AS startup_p95_s
    FROM totals
), past AS (
    SELECT
        hour_number, era, dimension, value, startup_p95_s,
        unnest([
            {measure: 'failures_before_start', part: failures_before_start::DOUBLE, n: starts},
            {measure: 'failures_after_start', part: failures_after_start, n: session_minutes},
            {measure: 'exits_before_start', part: exits_before_start, n: starts},
            {measure: 'bufferings', part: bufferings, n: session_minutes},
            {measure: 'startup_p95_s', part: 0.05 * startups, n: startups},
            {measure: 'starts', part: starts / 60, n: starts}
        ], recursive := true)
    FROM hours_past
), recent AS (
    SELECT
        dimension, value, minute, hour_number,
        count(*) OVER recently AS minutes,
        sum(starts) OVER recently AS starts,
        sum(failures_before_start) OVER recently AS failures_before_start,
        sum(failures_after_start) OVER recently AS failures_after_start,
        sum(exits_before_start) OVER recently AS exits_before_start,
        sum(bufferings) OVER recently AS bufferings,
        sum(sessions) OVER recently AS session_minutes,
        flatten(list(startups_s) OVER recently) AS startups_s
    FROM minutes, asked
    WHERE era = 'now' AND minute >= 0 AND low + minute < newest
    WINDOW recently AS (PARTITION BY dimension, value ORDER BY minute ROWS BETWEEN 4 PRECEDING AND CURRENT ROW)
), now AS (
    SELECT
        dimension, value, minute, hour_number, minutes,
        unnest([
            {measure: 'failures_before_start', part: failures_before_start, n: starts, startups_s: []},
            {measure: 'failures_after_start', part: failures_after_start, n: session_minutes, startups_s: []},
            {measure: 'exits_before_start', part: exits_before_start, n: starts, startups_s: []},
            {measure: 'bufferings', part: bufferings, n: session_minutes, startups_s: []},
            {measure: 'startup_p95_s', part: 0, n: len(startups_s), startups_s: startups_s},
            {measure: 'starts', part: starts, n: starts, startups_s: []}
        ], recursive := true)
    FROM recent
), beside AS (
    SELECT
        now.dimension, now.value, now.minute, now.minutes, now.measure, now.n,
        if(
            now.measure = 'startup_p95_s',
            len(list_filter(
                now.startups_s, lambda startup_s: startup_s > coalesce(own.startup_p95_s, every.startup_p95_s)
            )),
            now.part
        ) AS part,
        if(now.measure = 'starts', own.part, coalesce(own.part, every.part)) AS part_before,
        coalesce(own.n, every.n) AS n_before
    FROM now
    CROSS JOIN (SELECT unnest(['now', 'week']) AS era)
    LEFT JOIN (FROM past WHERE n >= 100 OR measure = 'starts') AS own
        USING (era, dimension, value, hour_number, measure)
    LEFT JOIN (FROM past WHERE dimension = 'all') AS every USING (era, hour_number, measure)
), scored AS (
    SELECT
        dimension, value, minute, measure,
        any_value(n)::BIGINT AS n,
        min(CASE
            WHEN measure <> 'starts' THEN share_score(part, n, part_before, n_before)
            WHEN dimension NOT IN ('app_version', 'content_id') THEN drop_score(part, minutes * part_before)
        END) AS score
    FROM beside
    GROUP BY dimension, value, minute, measure
), worst AS (
    SELECT
        dimension, value, minute,
        max(told) AS score,
        if(max(told) >= 4, arg_max(measure, told), NULL) AS worst,
        if(max(told) >= 4, arg_max(n, told), NULL) AS sample,
        {
            starts: max(told) FILTER (measure = 'starts'),
            failures_before_start: max(told) FILTER (measure = 'failures_before_start'),
            failures_after_start: max(told) FILTER (measure = 'failures_after_start'),
            exits_before_start: max(told) FILTER (measure = 'exits_before_start'),
            bufferings: max(told) FILTER (measure = 'bufferings'),
            startup_p95_s: max(told) FILTER (measure = 'startup_p95_s')
        } AS scores
    FROM (SELECT *, if(score >= 4, score, 0 * score) AS told FROM scored)
    GROUP BY dimension, value, minute
), counts_past AS (
    SELECT
        hour_number, era, dimension, value,
        {
            starts: starts,
            failures_before_start: failures_before_start,
            failures_after_start: failures_after_start,
            exits_before_start: exits_before_start,
            bufferings: bufferings,
            startup_p95_s: startup_p95_s,
            sessions: session_minutes / 60
        } AS counts
    FROM hours_past
)
SELECT
    make_timestamptz((low + minute) * 60000000) AS minute,
    dimension,
    nullif(value, '') AS value,
    starts, failures_before_start, failures_after_start, exits_before_start, bufferings,
    list_aggregate(startups_s, 'quantile_cont', 0.95) AS startup_p95_s,
    sessions,
    hour_before.counts AS hour_before,
    week_before.counts AS week_before,
    score, worst, sample, scores
FROM worst
JOIN (FROM minutes WHERE era = 'now') USING (dimension, value, minute)
LEFT JOIN (FROM counts_past WHERE era = 'now') AS hour_before USING (dimension, value, hour_number)
LEFT JOIN (FROM counts_past WHERE era = 'week') AS week_before USING (dimension, value, hour_number),
asked
ORDER BY score DESC NULLS LAST, minute, dimension, value;

-- The combinations of player, app version, CDN, country and content whose sessions differ most from all others, of those active in the `hours` hours from `since`; downloaded ones are left out, and those that first arrived more than a day before. A column is null where the combination takes any value, and empty where the value is unknown; of combinations of the same sessions the shortest is shown. starts and sessions: of the combination. worst: the measure in which it is worst: failures_before_start and exits_before_start (of starts), failures_after_start and bufferings (sessions that rebuffered or stalled, of those that played), startup_p95_s (starts that took longer than 95 % of the others'). share: of the `sample` sessions, those that the measure counts. rest_share: the same of all other sessions. score: how many standard errors they differ, as in health_by_minute. Combinations that are not worse than the rest are left out. Highest score first. Cost: 0.3 s for an hour.
CREATE OR REPLACE MACRO health_by_combination(since, hours := 1) AS TABLE
WITH heard AS (
    SELECT
        coalesce(player_name, '') AS player_name,
        coalesce(app_version, '') AS app_version,
        coalesce(cdn, '') AS cdn,
        coalesce(country, '') AS country,
        coalesce(content_id, '') AS content_id,
        hash(session_id) AS fingerprint,
        has_start::INT AS starts,
        is_started::INT AS plays,
        (is_failed AND NOT is_started AND has_start)::INT AS failures_before_start,
        (is_failed AND is_started)::INT AS failures_after_start,
        (state = 'final' AND has_start AND NOT is_started AND NOT is_failed)::INT AS exits_before_start,
        (is_started AND rebuffers + stalls > 0)::INT AS bufferings,
        (is_started AND startup_s IS NOT NULL)::INT AS startups,
        if(is_started, startup_s, NULL) AS startup_s
    FROM newest_sessions
    WHERE last_received_at >= since::TIMESTAMPTZ
        AND first_received_at >= since::TIMESTAMPTZ - INTERVAL 1 DAY
        AND first_received_at < since::TIMESTAMPTZ + to_hours(hours)
        AND NOT is_downloaded AND NOT is_retried_start
), judged AS (
    SELECT heard.*, (startup_s > usual_s)::INT AS slow_startups
    FROM heard, (SELECT quantile_cont(startup_s, 0.95) AS usual_s FROM heard)
), counted AS (
    SELECT
        player_name, app_version, cdn, country, content_id,
        bit_xor(fingerprint) AS fingerprint,
        count(*) AS sessions,
        sum(starts) AS starts,
        sum(plays) AS plays,
        sum(failures_before_start) AS failures_before_start,
        sum(failures_after_start) AS failures_after_start,
        sum(exits_before_start) AS exits_before_start,
        sum(bufferings) AS bufferings,
        sum(startups) AS startups,
        coalesce(sum(slow_startups), 0) AS slow_startups
    FROM judged
    GROUP BY CUBE (player_name, app_version, cdn, country, content_id)
    HAVING count(*) >= 20
), long AS (
    SELECT
        player_name, app_version, cdn, country, content_id, fingerprint, sessions, starts,
        unnest([
            {measure: 'failures_before_start', part: failures_before_start, n: starts},
            {measure: 'failures_after_start', part: failures_after_start, n: plays},
            {measure: 'exits_before_start', part: exits_before_start, n: starts},
            {measure: 'bufferings', part: bufferings, n: plays},
            {measure: 'startup_p95_s', part: slow_startups, n: startups}
        ], recursive := true)
    FROM counted
), scored AS (
    SELECT
        combination.* EXCLUDE (measure),
        combination.measure AS worst,
        combination.part / combination.n AS share,
        (every.part - combination.part) / nullif(every.n - combination.n, 0) AS rest_share,
        share_score(
            combination.part, combination.n, every.part - combination.part, every.n - combination.n
        ) AS score
    FROM long AS combination
    JOIN (FROM long WHERE coalesce(player_name, app_version, cdn, country, content_id) IS NULL) AS every USING (measure)
), ranked AS (
    FROM scored
    WHERE score >= 4
    QUALIFY row_number() OVER (
        PARTITION BY fingerprint
        ORDER BY score DESC, len(list_filter(
            [player_name, app_version, cdn, country, content_id], lambda name: name IS NOT NULL
        )), worst
    ) = 1
)
SELECT
    player_name, app_version, cdn, country, content_id, sessions, starts, worst, share, rest_share, score, n AS sample
FROM ranked
ORDER BY score DESC;
