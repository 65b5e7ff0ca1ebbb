-- The open sessions of one partition, written only by its owner.

-- Sessions that are still open, each as its next version would close now; rewritten every few seconds.
CREATE TABLE IF NOT EXISTS open_sessions_p{partition} ({session_columns});
