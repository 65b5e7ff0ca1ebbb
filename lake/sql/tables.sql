-- The tables that all partitions share: append-only in normal work. What follows `--` on a column's line becomes
-- its COMMENT; what stands above CREATE becomes the table's.

-- Every accepted media event, once. Raw: what a player said, as it said it, identities replaced by pseudonyms.
CREATE TABLE IF NOT EXISTS events (
    event_id VARCHAR,              -- id of the accepted request's event (UUID); unique
    session_id VARCHAR,            -- media session, 64 hexadecimal characters
    event_type VARCHAR,            -- sessionStart, play, ping, ...; see event_types
    client_ts TIMESTAMPTZ,         -- when, by the player's own clock, as given
    received_at TIMESTAMPTZ,       -- when the ingest took it; by the log's clock where flags has ingest_clock
    playhead_s DOUBLE,             -- position in the content, seconds; live: second of the day; as given
    params JSON,                   -- params of the event, unknown keys included
    qoe JSON,                      -- qoeData of the event
    custom_metadata JSON,          -- customMetadata of the event
    other JSON,                    -- top-level keys that the protocol does not know
    tracking_session_id VARCHAR,   -- tracking session that the call named; null under a denial
    tracking_verified BOOLEAN,     -- whether Playhead issued that tracking session
    consent VARCHAR,               -- denied: a signal came that is no grant; given: a user identity came; else null
    flags VARCHAR[],               -- what is odd: off_schema, playhead_range, future_ts, repeat, over_limit, ingest_clock, ...
    source VARCHAR,                -- route it came by; /api/v1/downloaded for offline sessions
    topic VARCHAR,                 -- log it was read from
    log_partition INTEGER,         -- partition of the log
    log_offset BIGINT              -- offset in that partition
);
ALTER TABLE events SET PARTITIONED BY (year(received_at), month(received_at), day(received_at));

-- Tracking sessions as they were created and deleted.
CREATE TABLE IF NOT EXISTS tracking_events (
    event_id VARCHAR,              -- id of the accepted request's event (UUID); unique
    event_type VARCHAR,            -- created or deleted
    tracking_session_id VARCHAR,   -- id given to the client
    playout_id VARCHAR,            -- playout in the path, null where the path had none
    user_id VARCHAR,               -- pseudonym of the user id sent with consent
    source VARCHAR,                -- which API made it
    started_at TIMESTAMPTZ,        -- start of the tracking session
    verified BOOLEAN,              -- whether Playhead issued the id
    consent VARCHAR,               -- given, denied or null
    received_at TIMESTAMPTZ,       -- when the ingest took it; by the log's clock where the ingest's was wrong
    log_partition INTEGER,         -- partition of the log
    log_offset BIGINT              -- offset in that partition
);

-- Records that are no event: refused bodies (source ingest) and undecodable records (source worker).
CREATE TABLE IF NOT EXISTS quarantine (
    log_partition INTEGER,         -- partition of the log
    log_offset BIGINT,             -- offset in that partition
    received_at TIMESTAMPTZ,       -- when the ingest, or else the log, took it
    source VARCHAR,                -- ingest: refused at the door; worker: not decodable
    reason VARCHAR,                -- code of the fault
    detail VARCHAR,                -- what was expected, in words
    value BLOB                     -- the record's bytes
);

-- Records whose event was stored already: repetitions below the API, each stored once.
CREATE TABLE IF NOT EXISTS duplicates (
    log_partition INTEGER,         -- partition of the log
    log_offset BIGINT,             -- offset in that partition
    event_id VARCHAR,              -- event that was stored already
    why VARCHAR                    -- how it was told
);

-- Offsets that the log had lost before they were read, accepted by an operator.
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
    removed_at TIMESTAMPTZ,        -- when
    why VARCHAR                    -- retention or erasure
);

-- Logs that took the place of another, accepted by an operator: from that offset on, offsets are those of the new log.
CREATE TABLE IF NOT EXISTS log_changes (
    log_partition INTEGER,         -- partition of the log
    log_number INTEGER,            -- number of the new log
    first_offset BIGINT,           -- first offset in the lake that belongs to the new log
    log_first_offset BIGINT,       -- the same offset as the new log itself counts
    changed_at TIMESTAMPTZ,        -- when the operator accepted it
    why VARCHAR                    -- what was known about it
);

-- The number of the schema of these tables, one row.
CREATE TABLE IF NOT EXISTS schema_number (
    number INTEGER                 -- 1 was release 0.1.0
);

-- Closed sessions, a row a version: a later event reopens a session, and it closes again as the next version.
CREATE TABLE IF NOT EXISTS session_versions ({session_columns});

-- The event types of the protocol and what each does.
CREATE TABLE IF NOT EXISTS event_types (
    event_type VARCHAR,            -- name on the wire
    rank INTEGER,                  -- order among events of equal client timestamp
    required VARCHAR[],            -- parameters it may not lack
    optional VARCHAR[],            -- further parameters it may carry
    does VARCHAR                   -- what it does to player, ad, chapter and state
);
