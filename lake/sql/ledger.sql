-- The ledger of one partition, rewritten by its owner alone. Where it is, the partition is one of the lake's.

-- How far the lake has read this partition of the log: one row, rewritten by every transaction of its owner.
CREATE TABLE ledger_p{partition} (
    log_partition INTEGER,         -- partition of the log
    first_offset BIGINT,           -- first offset that was there to be read
    next_offset BIGINT,            -- next offset to read
    inserted BIGINT,               -- rows in events and tracking_events
    duplicates BIGINT,             -- rows in duplicates
    quarantined BIGINT,            -- rows in quarantine
    lost BIGINT,                   -- offsets in gaps
    open_as_of_offset BIGINT,      -- first offset whose event the open sessions may lack
    partition_time TIMESTAMPTZ,    -- largest received_at read since the log's clock was last put back
    commits BIGINT,                -- transactions that wrote this row
    log_number INTEGER DEFAULT 1,  -- which log it is: 1 at first, 1 more each time the log was replaced
    log_base BIGINT DEFAULT 0,     -- what the lake adds to this log's own offsets
    log_id VARCHAR,                -- name that the log has given itself; null: the log has none (Kafka)
    mark_offset BIGINT,            -- offset of a record that was read, by which the log is known again
    mark_appended_at TIMESTAMPTZ,  -- when that record was appended, by the log's clock
    mark_digest VARCHAR,           -- BLAKE2b of that record's key and value, hexadecimal
    halted_at TIMESTAMPTZ,         -- when reading of this partition stopped; null while it is read
    halted_reason VARCHAR          -- why it stopped, and what helps
);
