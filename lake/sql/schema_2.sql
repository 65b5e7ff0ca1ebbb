-- From schema 1 (release 0.1.0) to 2. A statement that names a partition runs once for each; one that names the tables
-- of sessions runs for session_versions and for each table of open sessions. Comments need no step: the migration
-- gives tables and columns those of a new lake.
ALTER TABLE ledger_p{partition} ADD COLUMN IF NOT EXISTS log_number INTEGER DEFAULT 1;
ALTER TABLE ledger_p{partition} ADD COLUMN IF NOT EXISTS log_base BIGINT DEFAULT 0;
ALTER TABLE ledger_p{partition} ADD COLUMN IF NOT EXISTS log_id VARCHAR;
ALTER TABLE ledger_p{partition} ADD COLUMN IF NOT EXISTS mark_offset BIGINT;
ALTER TABLE ledger_p{partition} ADD COLUMN IF NOT EXISTS mark_appended_at TIMESTAMPTZ;
ALTER TABLE ledger_p{partition} ADD COLUMN IF NOT EXISTS mark_digest VARCHAR;
ALTER TABLE ledger_p{partition} ADD COLUMN IF NOT EXISTS halted_at TIMESTAMPTZ;
ALTER TABLE ledger_p{partition} ADD COLUMN IF NOT EXISTS halted_reason VARCHAR;
ALTER TABLE ledger_p{partition} ADD COLUMN IF NOT EXISTS watermark TIMESTAMPTZ;
ALTER TABLE {sessions} ADD COLUMN IF NOT EXISTS events_ignored BIGINT;
ALTER TABLE {sessions} ADD COLUMN IF NOT EXISTS events_over_limit BIGINT;
ALTER TABLE {sessions} ADD COLUMN IF NOT EXISTS flags VARCHAR[];
ALTER TABLE {sessions} ADD COLUMN IF NOT EXISTS last_doing VARCHAR;
ALTER TABLE {sessions} ADD COLUMN IF NOT EXISTS ping_interval_s DOUBLE;
ALTER TABLE {sessions} ADD COLUMN IF NOT EXISTS open_ad_length_s DOUBLE;
ALTER TABLE {sessions} ADD COLUMN IF NOT EXISTS playback_rate DOUBLE;
ALTER TABLE {sessions} ADD COLUMN IF NOT EXISTS fast_forward_s DOUBLE;
ALTER TABLE {sessions} ADD COLUMN IF NOT EXISTS ad_time_outside_breaks_s DOUBLE;
ALTER TABLE {sessions} ADD COLUMN IF NOT EXISTS seek_buffer_time_s DOUBLE;
ALTER TABLE {sessions} ADD COLUMN IF NOT EXISTS seek_buffers BIGINT;
ALTER TABLE {sessions} ADD COLUMN IF NOT EXISTS loops BIGINT;
ALTER TABLE {sessions} ADD COLUMN IF NOT EXISTS played_error_s DOUBLE;
ALTER TABLE {sessions} ADD COLUMN IF NOT EXISTS spans STRUCT(doing VARCHAR, started_at TIMESTAMPTZ, ended_at TIMESTAMPTZ, head_from_s DOUBLE, head_to_s DOUBLE)[];
