-- The ledger of one partition, written only by its owner. A partition belongs to the lake once it has a ledger.

-- How far the lake has read this partition of the log: one row, rewritten by every transaction of its owner.
CREATE TABLE ledger_p{partition} (
    log_partition INTEGER,         -- partition of the log
    first_offset BIGINT,           -- first offset that the lake could read
    next_offset BIGINT,            -- next offset to read
    inserted BIGINT,               -- rows in events and tracking_events
    duplicates BIGINT,             -- rows in duplicates
    quarantined BIGINT,            -- rows in quarantine
    lost BIGINT,                   -- offsets in gaps
    open_as_of_offset BIGINT,      -- first offset whose event may be missing from the open sessions
    partition_time TIMESTAMPTZ,    -- watermark: largest received_at read since the log's clock was last set back
    commits BIGINT,                -- transactions that wrote this row
    log_number INTEGER DEFAULT 1,  -- number of the log: 1 at first, incremented each time the log is replaced
    log_base BIGINT DEFAULT 0,     -- added to this log's own offsets to give offsets in the lake
    log_id VARCHAR,                -- id that the log generated; null if it has none (Kafka)
    mark_offset BIGINT,            -- offset of a record that was read, by which the log is recognized
    mark_appended_at TIMESTAMPTZ,  -- append time of that record, by the log's clock
    mark_digest VARCHAR,           -- BLAKE2b hash of that record's key and value, hexadecimal
    halted_at TIMESTAMPTZ,         -- when reading of this partition halted; null while it is read
    halted_reason VARCHAR,         -- why reading halted, and the remedy
    watermark TIMESTAMPTZ,         -- log time up to which this partition is known: partition_time, or the log's clock while it is idle and read to its end and has open sessions; null before schema 2
    written_by VARCHAR,            -- worker that wrote this row last: host and process id; null before schema 3
    written_at TIMESTAMPTZ         -- when, by the clock of that worker
);
