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
    open_as_of_offset BIGINT,      -- next_offset when the open sessions were last written
    partition_time TIMESTAMPTZ,    -- largest received_at read
    commits BIGINT                 -- transactions that wrote this row
);
