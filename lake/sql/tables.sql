-- The tables that all partitions share: append-only in normal operation. Text after `--` on a column's line becomes
-- its COMMENT; the comment above CREATE becomes the table's.

-- Every accepted media event, once. Raw: as the player sent it, with identities replaced by pseudonyms.
CREATE TABLE IF NOT EXISTS events (
    event_id VARCHAR,              -- id of the accepted request's event (UUID); unique
    session_id VARCHAR,            -- media session, 64 hexadecimal characters
    event_type VARCHAR,            -- sessionStart, play, ping, ...; see event_types
    client_ts TIMESTAMPTZ,         -- time of the event by the player's own clock, as sent
    received_at TIMESTAMPTZ,       -- arrival at the ingest; by the log's clock if flags has ingest_clock
    playhead_s DOUBLE,             -- position in the content, seconds; live: second of the day; as sent
    params JSON,                   -- params of the event, unknown keys included
    qoe JSON,                      -- qoeData of the event
    custom_metadata JSON,          -- customMetadata of the event
    other JSON,                    -- top-level keys that the protocol does not define
    tracking_session_id VARCHAR,   -- tracking session that the request named; null if consent was denied
    tracking_verified BOOLEAN,     -- whether Playhead issued that tracking session
    consent VARCHAR,               -- denied: the request had a signal other than a grant; given: it had a user identity; else null
    flags VARCHAR[],               -- irregularities: off_schema, playhead_range, future_ts, past_ts, no_state, repeat, over_limit, after_close, ingest_clock, ...
    source VARCHAR,                -- route of the request; /api/v1/downloaded for offline sessions
    topic VARCHAR,                 -- log it was read from
    log_partition INTEGER,         -- partition of the log
    log_offset BIGINT,             -- offset in that partition
    client JSON                    -- of a sessionStart: device and place of its sender, as in sessions; null before schema 3
);
ALTER TABLE events SET PARTITIONED BY (year(received_at), month(received_at), day(received_at));

-- Tracking sessions as they were created and deleted.
CREATE TABLE IF NOT EXISTS tracking_events (
    event_id VARCHAR,              -- id of the accepted request's event (UUID); unique
    event_type VARCHAR,            -- created or deleted
    tracking_session_id VARCHAR,   -- id returned to the client
    playout_id VARCHAR,            -- playout in the path; null if the path had none
    user_id VARCHAR,               -- pseudonym of the user id sent with consent
    source VARCHAR,                -- API that created it
    started_at TIMESTAMPTZ,        -- start of the tracking session
    verified BOOLEAN,              -- whether Playhead issued the id
    consent VARCHAR,               -- given, denied or null
    received_at TIMESTAMPTZ,       -- arrival at the ingest; by the log's clock if the ingest's was wrong
    log_partition INTEGER,         -- partition of the log
    log_offset BIGINT              -- offset in that partition
);

-- Recent sessionStarts by keyed hashes of their requests, by which retries are told; upkeep deletes them after an hour.
CREATE TABLE IF NOT EXISTS start_requests (
    session_id VARCHAR,            -- media session
    request_hash VARCHAR,          -- keyed hash of the request's body, address and user agent, 64 bits, under a key of the day
    received_at TIMESTAMPTZ        -- arrival at the ingest
);

-- Sessions that were found to be retried starts before upkeep deleted the hashes; see judged_starts.
CREATE TABLE IF NOT EXISTS start_copies (
    session_id VARCHAR             -- media session that nobody used at the time
);

-- Records that are not events: refused bodies (source ingest) and records that cannot be decoded (source worker).
CREATE TABLE IF NOT EXISTS quarantine (
    log_partition INTEGER,         -- partition of the log
    log_offset BIGINT,             -- offset in that partition
    received_at TIMESTAMPTZ,       -- arrival at the ingest, or append time if that is unknown
    source VARCHAR,                -- ingest: refused request; worker: cannot be decoded
    reason VARCHAR,                -- code of the fault
    detail VARCHAR,                -- what was expected
    value BLOB,                    -- the record's bytes
    key_name VARCHAR,              -- of a refused body: name of its API key; unknown: a wrong key; null if it had none, and before schema 3
    player_name VARCHAR,           -- of a refused body: media.playerName, if it says that; null before schema 3
    app_version VARCHAR,           -- of a refused body: media.sdkVersion, if it says that; null before schema 3
    session_id VARCHAR             -- of a refused body: media session that it was posted to; null if it named none of ours, and before schema 3
);

-- What operators decided about records in quarantine, which stay there: see `playhead quarantine`.
CREATE TABLE IF NOT EXISTS quarantine_decisions (
    log_partition INTEGER,         -- partition of the quarantined record
    log_offset BIGINT,             -- its offset
    decision VARCHAR,              -- replayed: its event is in the log once more; discarded: nothing more is done with it
    new_partition INTEGER,         -- partition of the record that now has its event; null if discarded
    new_offset BIGINT,             -- offset of that record
    decided_at TIMESTAMPTZ,        -- when it was decided, by the clock of that machine
    why VARCHAR                    -- the operator's reason to discard it; how a replayed event got into the log
);

-- Records whose event was already stored: retries below the API, so that each event is stored once.
CREATE TABLE IF NOT EXISTS duplicates (
    log_partition INTEGER,         -- partition of the log
    log_offset BIGINT,             -- offset in that partition
    event_id VARCHAR,              -- event that was already stored
    why VARCHAR                    -- how it was recognized
);

-- Offsets that the log lost before they were read, accepted by an operator.
CREATE TABLE IF NOT EXISTS gaps (
    log_partition INTEGER,         -- partition of the log
    first_offset BIGINT,           -- first lost offset
    next_offset BIGINT,            -- first offset after the gap
    accepted_at TIMESTAMPTZ,       -- when the operator accepted it
    why VARCHAR                    -- what was known about it
);

-- Offsets whose rows were removed on purpose (retention, erasure).
CREATE TABLE IF NOT EXISTS removals (
    log_partition INTEGER,         -- partition of the log
    first_offset BIGINT,           -- first removed offset
    next_offset BIGINT,            -- first offset after the removed ones
    removed_at TIMESTAMPTZ,        -- time of removal
    why VARCHAR                    -- retention or erasure
);

-- Replacements of the log, accepted by an operator: from first_offset on, offsets belong to the new log.
CREATE TABLE IF NOT EXISTS log_changes (
    log_partition INTEGER,         -- partition of the log
    log_number INTEGER,            -- number of the new log
    first_offset BIGINT,           -- first offset in the lake that belongs to the new log
    log_first_offset BIGINT,       -- the same offset by the new log's own count
    changed_at TIMESTAMPTZ,        -- when the operator accepted it
    why VARCHAR                    -- what was known about it
);

-- The schema number of these tables, one row.
CREATE TABLE IF NOT EXISTS schema_number (
    number INTEGER                 -- 1 was release 0.1.0
);

-- Closed sessions, one row per version: a late event reopens a session, which then closes again as the next version.
CREATE TABLE IF NOT EXISTS session_versions ({session_columns});

-- How far sessions are rolled up: one row, rewritten by upkeep. Views and macros that read roll-ups use it.
CREATE TABLE IF NOT EXISTS rolled_up (
    rolled_until TIMESTAMPTZ,      -- sessions placed before this (by start, or by arrival if the start is not plausible) are rolled up
    definition VARCHAR,            -- SHA-256 of the SQL by which they were; with another they are rolled up again
    removals BIGINT,               -- rows of the table removals at the time; after another removal all are rolled up again
    read_until BIGINT[],           -- next offset of each partition up to which versions of sessions were looked at
    looked_at TIMESTAMPTZ,         -- watermark of the lake when they were last looked at
    days_until TIMESTAMPTZ,        -- sessions placed before this are rolled up by the day, later ones by the hour
    due TIMESTAMPTZ[],             -- starts of the hours and days to be rolled up, or rolled up again, now
    touched TIMESTAMPTZ[]          -- starts of those that newer versions touch, and that become due later
);

-- Viewers rolled up by day and content: a row for each, by the hash of the pseudonym.
CREATE TABLE IF NOT EXISTS rolled_viewers (
    period_start TIMESTAMPTZ,      -- start of the hour or day that the row was rolled up with
    day DATE,                      -- day of the sessions' start (UTC)
    content_id VARCHAR,            -- sessions.content_id
    viewer UBIGINT                 -- lower half of the MD5 of sessions.user_id
);

-- Closed sessions as upkeep settled them, their newest version at the time, whole days at once, in the order of their ids. Derived from other tables: it can be emptied and is then filled again. The view sessions has them with what came since.
CREATE TABLE IF NOT EXISTS settled_sessions (
    settled_day DATE,              -- day (UTC) of its start, if that is within 31 days before its first arrival; else null
    settled_round BIGINT,          -- round of settling that wrote the row
    is_copy BOOLEAN,               -- whether it was found to be a retried start, if it has no other event
    tracking_user_id VARCHAR,      -- pseudonym of the user that its tracking session named by then
    has_tracking_denial BOOLEAN,   -- whether a request for that tracking session denied consent by then
{session_columns});

-- Up to where sessions are settled, one row: first row that is not settled, and last snapshot with settled rows only.
CREATE TABLE IF NOT EXISTS settled_upto (
    round BIGINT,                  -- how often sessions were settled
    day DATE,                      -- day (UTC) up to which sessions had closed by then; null at first
    versions BIGINT,               -- first row id of session_versions that is not settled
    versions_snapshot BIGINT,      -- newest snapshot before any such row
    tracking BIGINT,               -- the same of tracking_events
    tracking_snapshot BIGINT,      -- the same of tracking_events
    copies BIGINT,                 -- the same of start_copies
    copies_snapshot BIGINT         -- the same of start_copies
);

-- The last round of upkeep that did all of its work: one row, none before the first.
CREATE TABLE IF NOT EXISTS last_upkeep (
    finished_at TIMESTAMPTZ,       -- when it ended, by its machine's clock
    took_s DOUBLE,                 -- how long it took, seconds
    done_by VARCHAR                -- its process: host and process id
);

-- The rules that a session's flags may name.
CREATE TABLE IF NOT EXISTS session_flags (
    flag VARCHAR,                  -- name of the rule, as in sessions.flags
    meaning VARCHAR,               -- what a session with the flag is
    example VARCHAR                -- what may happen, and what it gives
);

-- What the columns of tables and views mean, in their order: see columns_of.
CREATE TABLE IF NOT EXISTS column_meanings (
    table_name VARCHAR,            -- table or view
    column_name VARCHAR,           -- column
    position BIGINT,               -- its place, from 1
    data_type VARCHAR,             -- type
    meaning VARCHAR                -- what it means, with its unit
);

-- The event types of the protocol and their effects.
CREATE TABLE IF NOT EXISTS event_types (
    event_type VARCHAR,            -- name on the wire
    rank INTEGER,                  -- order among events of equal client timestamp
    required VARCHAR[],            -- parameters that the documentation requires; an event without one is flagged off_schema
    optional VARCHAR[],            -- optional parameters
    does VARCHAR                   -- effect on player, ad break, ad, chapter, state and session
);
