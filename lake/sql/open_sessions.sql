-- The open sessions of one partition, rewritten by its owner alone.

-- Sessions that are still open, as the next version of each would close; rewritten every few seconds.
CREATE TABLE IF NOT EXISTS open_sessions_p{partition} ({session_columns});
