-- The columns of a session: the same in session_versions and in the open sessions of each partition.
    session_id VARCHAR,            -- media session, 64 hexadecimal characters
    version INTEGER,               -- 1 at first, incremented each time the session is reopened
    state VARCHAR,                 -- provisional while open, final when closed
    close_reason VARCHAR,          -- ended (sessionEnd), idle, stuck, too_long; null while open
    as_of TIMESTAMPTZ,             -- watermark of the partition up to which events are counted
    as_of_offset BIGINT,           -- log offset up to which events are counted
    log_partition INTEGER,         -- partition of the log
    late_events BIGINT,            -- events that arrived after the session had first closed
    started_at TIMESTAMPTZ,        -- start, corrected by clock_offset_ms
    ended_at TIMESTAMPTZ,          -- last counted event, corrected by clock_offset_ms
    start_ts TIMESTAMPTZ,          -- start, by the player's own clock; by its first, if it was set (clocks)
    end_ts TIMESTAMPTZ,            -- earliest sessionEnd that takes effect, by the player's own clock; later events do not count
    last_event_ts TIMESTAMPTZ,     -- newest event, counted or not, by the player's own clock
    first_received_at TIMESTAMPTZ, -- arrival of its first event
    last_received_at TIMESTAMPTZ,  -- arrival of its newest event
    last_moved_at TIMESTAMPTZ,     -- arrival of the newest event whose playhead differs from the previous one
    events BIGINT,                 -- events that count
    events_after_end BIGINT,       -- events later than the end or the longest session; stored, not counted; without those flagged after_close
    repeats BIGINT,                -- events equal to an earlier one; stored, not counted
    has_start BOOLEAN,             -- whether its sessionStart is known
    is_started BOOLEAN,            -- main content played
    is_completed BOOLEAN,          -- sessionComplete was received
    is_resumed BOOLEAN,            -- the player reported that it resumes an earlier viewing
    is_downloaded BOOLEAN,         -- told as a whole afterwards: watched offline, or while no ingest answered
    is_live BOOLEAN,               -- live content: playheads are seconds of the day
    is_failed BOOLEAN,             -- it ended with an error and did not play again
    is_capped BOOLEAN,             -- a list below reached its maximum length; further entries are only counted
    content_id VARCHAR,            -- media.id
    content_name VARCHAR,          -- media.name
    content_type VARCHAR,          -- media.contentType, as sent
    stream_type VARCHAR,           -- media.streamType: video or audio
    length_s DOUBLE,               -- length of the content, seconds; null if unknown
    player_name VARCHAR,           -- media.playerName
    channel VARCHAR,               -- media.channel
    app_version VARCHAR,           -- media.sdkVersion
    user_id VARCHAR,               -- pseudonym of the user; null if any event of the session denied consent
    user_id_source VARCHAR,        -- key of the body that the user id came from
    user_id_auth_state INTEGER,    -- authState with it: 0 unknown, 1 authenticated, 2 logged out
    device_id VARCHAR,             -- pseudonym of the device; null if any event of the session denied consent
    device_id_source VARCHAR,      -- key of the body that the device id came from
    tracking_session_id VARCHAR,   -- tracking session that its requests named; null if any of them denied consent
    tracking_verified BOOLEAN,     -- whether Playhead issued that tracking session
    consent VARCHAR,               -- denied if any event of the session denied it, else given if a user identity came, else null
    startup_s DOUBLE,              -- from sessionStart to the first main play, ads left out, seconds; null where nothing says
    time_to_start_ms BIGINT,       -- media.qoe.timeToStart as the player reported it, milliseconds
    join_s DOUBLE,                 -- before the first main play, ads left out, seconds
    content_time_s DOUBLE,         -- main content playing, seconds of wall clock
    ad_time_s DOUBLE,              -- ads playing, seconds of wall clock
    media_time_s DOUBLE,           -- content_time_s + ad_time_s + ad_time_outside_breaks_s
    pause_time_s DOUBLE,           -- paused, seconds
    buffer_time_s DOUBLE,          -- buffering, seconds
    rebuffer_time_s DOUBLE,        -- the part of buffer_time_s after main content had started, seconds
    stall_time_s DOUBLE,           -- claimed to play while the playhead did not move, seconds
    gap_s DOUBLE,                  -- unknown: silence longer than allowed, or what neither playhead nor ad's length bears out, seconds
    idle_s DOUBLE,                 -- nothing that counts: between the ads of a break, after completion, standing at the end or after an error, seconds
    pauses BIGINT,                 -- number of pauses
    buffers BIGINT,                -- number of bufferings
    rebuffers BIGINT,              -- number of bufferings after main content had started
    stalls BIGINT,                 -- number of stalls
    seeks BIGINT,                  -- jumps of the playhead, as far as events show them
    errors BIGINT,                 -- error events
    errors_before_start BIGINT,    -- error events before main content played
    bitrate_changes BIGINT,        -- bitrateChange events
    average_bitrate_bps DOUBLE,    -- bitrate weighted by playing time, as reported
    dropped_frames BIGINT,         -- last media.qoe.droppedFrames
    ads_started BIGINT,            -- ads started inside an ad break
    ads_completed BIGINT,          -- ads completed inside an ad break
    ads_skipped BIGINT,            -- ads skipped inside an ad break
    ads_aborted BIGINT,            -- of those, ended by something else
    ads_outside_break BIGINT,      -- ads without an ad break; their time is ad_time_outside_breaks_s, not ad_time_s
    ad_breaks BIGINT,              -- ad breaks started
    ad_breaks_completed BIGINT,    -- ad breaks completed
    chapters_started BIGINT,       -- chapters started
    chapters_completed BIGINT,     -- chapters completed
    states BIGINT,                 -- distinct player states, at most 10
    concurrent_states_max BIGINT,  -- most player states that were on at once
    progress_pct INTEGER,          -- highest marker of 10, 25, 50, 75, 95 passed; 0: none; null: unknown length
    first_playhead_s DOUBLE,       -- first playhead of main content, seconds
    last_playhead_s DOUBLE,        -- last playhead, seconds, before a reset to 0 at the very end
    unique_played_s DOUBLE,        -- length of the union of played intervals, seconds of content
    clock_offset_ms BIGINT,        -- how far the player's clock is behind ours, estimated, milliseconds; of the first, if it was set (clocks)
    clock_spread_ms BIGINT,        -- spread of received_at - client_ts over its events, milliseconds
    ads STRUCT(ad_id VARCHAR, name VARCHAR, advertiser VARCHAR, campaign_id VARCHAR, creative_id VARCHAR, player_name VARCHAR, length_s DOUBLE, break_index BIGINT, position BIGINT, started_at TIMESTAMPTZ, ended_at TIMESTAMPTZ, time_s DOUBLE, outcome VARCHAR)[], -- ads, also those outside of breaks; see view ads
    breaks STRUCT("index" BIGINT, name VARCHAR, offset_s DOUBLE, ads BIGINT, started_at TIMESTAMPTZ, ended_at TIMESTAMPTZ, time_s DOUBLE, outcome VARCHAR)[], -- ad breaks; see view ad_breaks
    chapters STRUCT("index" BIGINT, name VARCHAR, offset_s DOUBLE, length_s DOUBLE, started_at TIMESTAMPTZ, ended_at TIMESTAMPTZ, time_s DOUBLE, outcome VARCHAR)[], -- chapters; see view chapters
    player_states STRUCT(name VARCHAR, starts BIGINT, time_s DOUBLE, is_on BOOLEAN)[], -- player states; see view player_states
    played_intervals STRUCT(start_s DOUBLE, end_s DOUBLE, passes BIGINT)[], -- ranges of content played; see view played_intervals
    playback_errors STRUCT("at" TIMESTAMPTZ, playhead_s DOUBLE, error_id VARCHAR, source VARCHAR, is_before_start BOOLEAN)[], -- errors; see view playback_errors
    events_ignored BIGINT,         -- sessionEnds without effect, dated far before earlier arrivals; stored, not counted; null before schema 2
    events_over_limit BIGINT,      -- events after its first 20,000 by offset; stored, not counted; null before schema 2
    flags VARCHAR[],               -- rules that decided something of its numbers; see session_flags; null before schema 2
    last_doing VARCHAR,            -- what the player did after the last counted event: joining, playing, ad, ad_outside, paused, ad_paused, buffering, ad_buffering, idle; null before schema 2
    ping_interval_s DOUBLE,        -- time from ping to ping, the longer of the last two, seconds; null if unknown, and before schema 2
    open_ad_length_s DOUBLE,       -- length of the ad that was open after the last counted event, seconds; null without one, and before schema 2
    playback_rate DOUBLE,          -- seconds of content a second while it played steadily; null where unknown, and before schema 2
    fast_forward_s DOUBLE,         -- the part of content_time_s in which the playhead ran faster than twice the clock; null before schema 2
    ad_time_outside_breaks_s DOUBLE, -- ads outside of breaks playing, seconds of wall clock; null before schema 2
    seek_buffer_time_s DOUBLE,     -- the part of rebuffer_time_s that a seek caused; null before schema 2
    seek_buffers BIGINT,           -- the part of rebuffers that a seek caused; null before schema 2
    loops BIGINT,                  -- how often content began again where it ends; null before schema 2
    played_error_s DOUBLE,         -- how far unique_played_s may be wrong, as too many ranges were played; null before schema 2
    spans STRUCT(doing VARCHAR, started_at TIMESTAMPTZ, ended_at TIMESTAMPTZ, head_from_s DOUBLE, head_to_s DOUBLE)[], -- what happened, from when to when: joining, playing, ad, ad_outside, paused, ad_paused, buffering, ad_buffering, stalled, idle, unknown; see view spans; null before schema 2
    site VARCHAR,                  -- analytics.reportSuite, in lower case; without one, the name of the start's API key; null before schema 3
    library_version VARCHAR,       -- media.libraryVersion: version of the SDK; null before schema 3
    cdn VARCHAR,                   -- CDN, in lower case: custom metadata `cdn`, or the keys that PLAYHEAD_DIMENSION_COLUMNS names; else media.cdn; null before schema 3
    "show" VARCHAR,                -- media.show: series; a reserved word, so write "show"; null before schema 3
    season VARCHAR,                -- media.season; null before schema 3
    episode VARCHAR,               -- media.episode; null before schema 3
    genre VARCHAR,                 -- media.genre, in lower case; null before schema 3
    network VARCHAR,               -- media.network, in lower case; null before schema 3
    publisher VARCHAR,             -- media.publisher; null before schema 3
    originator VARCHAR,            -- media.originator; null before schema 3
    asset_id VARCHAR,              -- media.assetId; null before schema 3
    rating VARCHAR,                -- media.rating, in lower case; null before schema 3
    show_type VARCHAR,             -- media.showType, in lower case: 0 full episode, 1 preview, 2 clip, 3 other; null before schema 3
    stream_format VARCHAR,         -- media.streamFormat, in lower case; null before schema 3
    first_air_date VARCHAR,        -- media.firstAirDate, as sent; null before schema 3
    first_digital_date VARCHAR,    -- media.firstDigitalDate, as sent; null before schema 3
    ad_load VARCHAR,               -- media.adLoad, in lower case; null before schema 3
    mvpd VARCHAR,                  -- media.pass.mvpd: pay-TV provider, in lower case; null before schema 3
    mvpd_auth VARCHAR,             -- media.pass.auth, in lower case: true if the provider authorized the viewer; null before schema 3
    day_part VARCHAR,              -- media.dayPart, in lower case; null before schema 3
    feed VARCHAR,                  -- media.feed, in lower case; null before schema 3
    artist VARCHAR,                -- media.artist; null before schema 3
    album VARCHAR,                 -- media.album; null before schema 3
    label VARCHAR,                 -- media.label: record label; null before schema 3
    author VARCHAR,                -- media.author; null before schema 3
    station VARCHAR,               -- media.station: radio station; null before schema 3
    dims MAP(VARCHAR, VARCHAR),    -- custom metadata of the sessionStart: at most 16 texts, numbers and booleans, without ids; dims['key']; null before schema 3
    first_offset BIGINT,           -- log offset before which it has no event; null before schema 3
    device_type VARCHAR,           -- phone, tablet, tv, console, desktop or other, by the User-Agent of the sessionStart; null if it had none, or before schema 3
    os VARCHAR,                    -- operating system by the User-Agent, from a closed list, else other; null also if consent was denied
    browser VARCHAR,               -- browser by the User-Agent, from a closed list, else other (most apps); null also if consent was denied
    is_bot BOOLEAN,                -- whether the User-Agent is that of a crawler, a headless browser or a script; null also if consent was denied
    country VARCHAR,               -- country of the sender (ISO 3166-1: BE), by a trusted proxy or the operator's file; null if not known, or before schema 3
    region VARCHAR,                -- region of that country (ISO 3166-2: BE-BRU), likewise; null also if consent was denied
    clocks STRUCT(since_at TIMESTAMPTZ, until_at TIMESTAMPTZ, offset_ms BIGINT)[] -- where timestamps alone do not date its events: the clocks that did, each since the last arrival with the one before, until the first with the next, and how far it is behind ours, milliseconds; see events_checked; null before schema 3
