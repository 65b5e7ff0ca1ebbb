-- From schema 1 (release 0.1.0) to 2. A statement with a partition in it is run for each one.
ALTER TABLE ledger_p{partition} ADD COLUMN IF NOT EXISTS log_number INTEGER DEFAULT 1;
ALTER TABLE ledger_p{partition} ADD COLUMN IF NOT EXISTS log_base BIGINT DEFAULT 0;
ALTER TABLE ledger_p{partition} ADD COLUMN IF NOT EXISTS log_id VARCHAR;
ALTER TABLE ledger_p{partition} ADD COLUMN IF NOT EXISTS mark_offset BIGINT;
ALTER TABLE ledger_p{partition} ADD COLUMN IF NOT EXISTS mark_appended_at TIMESTAMPTZ;
ALTER TABLE ledger_p{partition} ADD COLUMN IF NOT EXISTS mark_digest VARCHAR;
ALTER TABLE ledger_p{partition} ADD COLUMN IF NOT EXISTS halted_at TIMESTAMPTZ;
ALTER TABLE ledger_p{partition} ADD COLUMN IF NOT EXISTS halted_reason VARCHAR;
ALTER TABLE session_versions ADD COLUMN IF NOT EXISTS events_ignored BIGINT;
ALTER TABLE session_versions ADD COLUMN IF NOT EXISTS events_over_limit BIGINT;
ALTER TABLE session_versions ADD COLUMN IF NOT EXISTS flags VARCHAR[];
ALTER TABLE open_sessions_p{partition} ADD COLUMN IF NOT EXISTS events_ignored BIGINT;
ALTER TABLE open_sessions_p{partition} ADD COLUMN IF NOT EXISTS events_over_limit BIGINT;
ALTER TABLE open_sessions_p{partition} ADD COLUMN IF NOT EXISTS flags VARCHAR[];
-- Columns without a comment get the one that a new lake has.
COMMENT ON COLUMN events.received_at IS NULL;
COMMENT ON COLUMN events.flags IS NULL;
COMMENT ON COLUMN tracking_events.received_at IS NULL;
COMMENT ON COLUMN ledger_p{partition}.partition_time IS NULL;
COMMENT ON COLUMN ledger_p{partition}.open_as_of_offset IS NULL;
COMMENT ON COLUMN session_versions.end_ts IS NULL;
COMMENT ON COLUMN open_sessions_p{partition}.end_ts IS NULL;
