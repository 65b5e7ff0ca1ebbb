-- Who watches now: of the open sessions those that play, and that were heard from as lately as their pings allow.

-- Open sessions at the newest moment that the lake knows (as_of: the largest watermark of its partitions; while nothing arrives, the log's clock, written every 5 seconds as long as a session is open). is_heard: its last event came within three of its own ping intervals (at least 30 s, at most 90 s), and the length of an ad that is open; silence is longer than that. is_watching: it is heard from, and plays main content or an ad: not after sessionComplete, and not before it started to play. Cost: 0.3 s.
CREATE OR REPLACE VIEW open_now AS
SELECT
    session_id, content_id, content_name, player_name, channel, user_id, last_doing AS doing, last_received_at,
    newest_at AS as_of,
    (epoch_ms(newest_at) - epoch_ms(last_received_at)) / 1000 AS silent_s,
    silent_s <= greatest(30, least(90, 3 * coalesce(ping_interval_s, 0))) + coalesce(open_ad_length_s, 0) AS is_heard,
    is_heard AND NOT is_downloaded AND last_doing IN ('playing', 'ad', 'ad_outside') AS is_watching
FROM counted_sessions, (SELECT max(coalesce(watermark, partition_time)) AS newest_at FROM ledger)
WHERE NOT is_closed;

-- Who watches now, at one moment (as_of), from open_now. viewers: sessions that play main content or ads; starting, buffering, paused: those that are heard from and do that instead, in main content or in ads; finished: those that are heard from after sessionComplete or between ads; silent: open, and not heard from. Cost: 0.3 s.
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
