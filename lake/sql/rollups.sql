-- Metrics from roll-ups, which upkeep writes (lake/rolling.py), and from the sessions that are not rolled up yet.

-- The bucket of a value in a histogram: buckets grow by 3 %.
CREATE OR REPLACE MACRO spread_bucket(value) AS (
    sign(value) * if(abs(value) < 0.000001, 0, 1 + floor(ln(abs(value) / 0.000001) / ln(1.03)))
)::SMALLINT;

-- The value in the middle of a bucket, at most 1.5 % from any value in it.
CREATE OR REPLACE MACRO bucket_value(bucket) AS sign(bucket) * if(bucket = 0, 0, 0.000001 * pow(1.03, abs(bucket) - 0.5));

-- How far sessions are rolled up: -infinity if not at all, and if rows were removed or metrics were defined otherwise since.
CREATE OR REPLACE VIEW rolled_up_until AS
SELECT coalesce(max(rolled_until), '-infinity') AS rolled_until
FROM rolled_up
WHERE definition = '{rolled_definition}' AND removals = (SELECT count(*) FROM removals);

-- Every metric by day of the session's start (UTC), from roll-ups: sums as in metrics_by_day, percentiles within 2 %. Sessions of the last two to three hours are read as they are now; changes to older ones, as late events make them, appear before these are half as old again, and within a day. Cost: that of the last hours' sessions.
CREATE OR REPLACE VIEW metrics_by_day_rolled AS
{metrics_by_day_rolled};

-- Every metric by content, of the sessions that started on the days (UTC) from `since` up to `until`, from roll-ups, as metrics_by_day_rolled.
CREATE OR REPLACE MACRO metrics_by_content_rolled(since, until) AS TABLE
{metrics_by_content_rolled};

-- Every metric by the dimensions that the list `dims` names ([]: all sessions), of the sessions that started in the hours from `since` up to `until`, from roll-ups, as metrics_by_day_rolled. An unknown name is an error that lists the known.
CREATE OR REPLACE MACRO metrics_by_rolled(dims, since, until) AS TABLE
{metrics_by_rolled};
