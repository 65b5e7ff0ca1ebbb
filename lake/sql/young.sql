-- What upkeep has not settled, in numbers: `lake/settled.py` replaces these views whenever it settles. Numbers let the lake
-- skip files before it opens them; a table that is asked for them does not.
CREATE OR REPLACE VIEW young_versions AS
SELECT * FROM session_versions WHERE rowid >= {versions} AND snapshot_id > {versions_snapshot} AND {versions_since};
COMMENT ON VIEW young_versions IS
'Versions of closed sessions that upkeep has not settled yet, see settled_sessions.';

CREATE OR REPLACE VIEW young_tracking AS
SELECT * FROM tracking_events WHERE rowid >= {tracking} AND snapshot_id > {tracking_snapshot};
COMMENT ON VIEW young_tracking IS
'Events of tracking sessions that came since sessions were last settled.';

CREATE OR REPLACE VIEW young_copies AS
SELECT * FROM start_copies WHERE rowid >= {copies} AND snapshot_id > {copies_snapshot};
COMMENT ON VIEW young_copies IS
'Sessions that were found to be retried starts and are not settled yet.';
