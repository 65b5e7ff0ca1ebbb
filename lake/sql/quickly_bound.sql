-- The two views that most others read, with the same columns but not the same rows. They are quick to bind, and exist
-- only while `init` creates the others over them: DuckDB binds whatever a new view or macro reads, with all below it.
CREATE OR REPLACE VIEW newest_sessions AS
SELECT * EXCLUDE (settled_day, settled_round, is_copy), true AS is_settled, false AS is_retried_start
FROM settled_sessions;

CREATE OR REPLACE VIEW sessions AS
SELECT * EXCLUDE (is_settled, tracking_user_id, has_tracking_denial) FROM newest_sessions;
