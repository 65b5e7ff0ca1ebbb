"""The roll-ups: their tables, and the SQL that makes and reads them, all from the catalogue of metrics.

A metric is stored as the sums that it is made of (`Metric.parts`), by hour and dimensions, or by day and content;
a percentile as a histogram of buckets that grow by 3 %. `lake/rolling.py` writes the tables, and the views and
macros of `sql/rollups.sql` read them; what is not rolled up yet they read from the sessions, with the same SQL.
"""

import functools
import hashlib
from collections.abc import Iterator
from importlib import resources

import duckdb
import msgspec

from lake.metrics import Metric, read_catalogue

STATE = "rolled_up"
VIEWERS = "rolled_viewers"
DIMENSIONS = ("site", "player_name", "app_version", "channel", "device_type", "country")
# The moment that places a session in the roll-ups: its start, or its arrival if the start is not plausible: no
# wrong clock makes files of its own.
IS_PLAUSIBLE = "(started_at BETWEEN first_received_at - INTERVAL 31 DAY AND first_received_at + INTERVAL 1 HOUR)"
PLACED_AT = f"if({IS_PLAUSIBLE}, started_at, first_received_at)"


class RollUp(msgspec.Struct, frozen=True):
    """A table of rolled up sessions: a row for each value of its key. `facts` are columns that are no metrics."""

    table: str
    meaning: str
    key: dict[str, tuple[str, str, str]]  # column: type, SQL over counted_sessions, meaning
    facts: dict[str, tuple[str, str, str]]


# The time zone is not the client's.
_HOUR_SQL = "date_trunc('hour', started_at AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'"
_DAY_SQL = "(started_at AT TIME ZONE 'UTC')::DATE"
_HOUR = ("TIMESTAMPTZ", _HOUR_SQL, "hour of the sessions' start (UTC)")
_DAY = ("DATE", _DAY_SQL, "day of the sessions' start (UTC)")
HOURS = RollUp("rolled_hours", "Sessions rolled up by hour", {"hour": _HOUR}, {})
CUTS = RollUp(
    "rolled_cuts",
    "Sessions rolled up by hour and dimensions",
    {"hour": _HOUR, **{name: ("VARCHAR", name, f"sessions.{name}") for name in DIMENSIONS}},
    {},
)
CONTENTS = RollUp(
    "rolled_contents",
    "Sessions rolled up by day and content",
    {"day": _DAY, "content_id": ("VARCHAR", "content_id", "sessions.content_id")},
    {
        "named_at": (
            "TIMESTAMPTZ",
            "max(started_at) FILTER (WHERE content_name IS NOT NULL)",
            "start of the newest session that names the content",
        ),
        "content_name": ("VARCHAR", "arg_max(content_name, started_at)", "the name that it gives"),
        "length_s": ("DOUBLE", "max(recorded_length_s)", "length of the content, seconds"),
    },
)
ROLL_UPS = (HOURS, CUTS, CONTENTS)
TABLES = (STATE, VIEWERS, *(each.table for each in ROLL_UPS))


@functools.cache
def parts() -> dict[str, str]:
    """Return the columns of all roll-ups, with their SQL: the parts of every metric, equal ones once."""
    named: dict[str, str] = {}
    for metric in read_catalogue().metric:
        for name, sql in metric.parts.items():
            named.setdefault(sql, f"{metric.name}_{name}")
    return {column: sql for sql, column in named.items()}


def _column(metric: Metric, part: str) -> str:
    """Return the column that holds a part of a metric."""
    sql = metric.parts[part]
    return next(column for column, found in parts().items() if found == sql)


def _spreads() -> list[str]:
    return [column for column in parts() if column.endswith("_spread")]


def tables_sql() -> str:
    """Return the CREATE statements of the roll-ups."""
    return "\n".join(table_sql(each) for each in ROLL_UPS)


def table_sql(each: RollUp) -> str:
    """Return the CREATE statement of a roll-up."""
    known = {**each.key, **each.facts}
    rows = [f"    {name} {kind}, -- {meaning}" for name, (kind, _, meaning) in known.items()]
    rows += [f"    {name} {_type(name)}, -- {_meaning(name)}" for name in parts()]
    rows[-1] = rows[-1].replace(", -- ", " -- ", 1)
    listed = "\n".join(
        ["    period_start TIMESTAMPTZ, -- start of the hour or day that the row was rolled up with", *rows]
    )
    return f"""
-- {each.meaning}, with a column for each part of a metric. sum: of values; n: sessions with a value; above, below:
-- the two sums of a ratio; spread: a histogram, for percentiles. Written by upkeep alone.
CREATE TABLE IF NOT EXISTS {each.table} (
{listed}
);
"""


def columns(each: RollUp) -> list[str]:
    """Return the columns of a roll-up."""
    return ["period_start", *each.key, *each.facts, *parts()]


def columns_in(connection: duckdb.DuckDBPyConnection, table: str) -> list[str]:
    """Return the columns that a lake's table has."""
    return [row[0] for row in connection.execute(f"DESCRIBE {table}").fetchall()]


def _meaning(column: str) -> str:
    metric, _, part = column.rpartition("_")
    words = {
        "sum": "sum of",
        "n": "sessions with a value for",
        "above": "sum above the line of",
        "below": "sum below the line of",
        "spread": "values by bucket, see spread_bucket, for",
    }
    return f"{words[part]} {metric}, and of metrics made of the same"


def _type(column: str) -> str:
    return "MAP(SMALLINT, UBIGINT)" if column.endswith("_spread") else "DOUBLE"


def definition() -> str:
    """Return the hash of the SQL by which sessions are rolled up, and of the views below it."""
    folder = resources.files("lake").joinpath("sql")
    views = [folder.joinpath(f"{name}.sql").read_text() for name in ("views", "metrics")]
    text = repr([*views, PLACED_AT, viewers_sql(), *(rows_sql(each) for each in ROLL_UPS)])
    return hashlib.sha256(text.encode()).hexdigest()


def rows_sql(each: RollUp, condition: str = "true", *, source: str = "counted_sessions") -> str:
    """Return the SELECT that rolls up the counted sessions, or those of another table, that meet a condition."""
    known = {name: sql for name, (_, sql, _) in {**each.key, **each.facts}.items()} | parts()
    columns = ",\n    ".join(f"{sql} AS {name}" for name, sql in known.items())
    keys = ", ".join(str(number) for number in range(1, len(each.key) + 1))
    return f"SELECT\n    {columns}\nFROM {source}\nWHERE {condition}\nGROUP BY {keys}"


def viewers_sql(condition: str = "true", *, source: str = "counted_sessions") -> str:
    """Return the SELECT of the viewers of these sessions."""
    return (
        f"SELECT DISTINCT {_DAY_SQL} AS day, content_id, md5_number_lower(user_id) AS viewer "
        f"FROM {source} WHERE user_id IS NOT NULL AND {condition}"
    )


# Sessions that are not rolled up yet. The second condition follows from the first, and lets files be left out.
_UNTIL = "(SELECT rolled_until FROM rolled_up_until)"
LIVE = f"{PLACED_AT} >= {_UNTIL} AND first_received_at >= {_UNTIL} - INTERVAL 1 HOUR"
_IS_ROLLED = f"{_UNTIL} > '-infinity'"


def replacements() -> dict[str, str]:
    """Return the SQL of each placeholder of `sql/rollups.sql`."""
    return {
        "{rolled_definition}": definition(),
        "{metrics_by_day_rolled}": by_day(),
        "{metrics_by_content_rolled}": by_content(),
        "{metrics_by_rolled}": by_cut(),
    }


def by_day() -> str:
    """Return the query of every metric by day."""
    return _query(HOURS, {"day": "(hour AT TIME ZONE 'UTC')::DATE"}, viewers="day")


def by_content() -> str:
    """Return the query of every metric by content, of the days from `since` up to `until`."""
    return _query(
        CONTENTS,
        {"content_id": "content_id"},
        facts={"content_name": "arg_max(content_name, named_at)", "length_s": "max(length_s)"},
        viewers="content_id",
        within="day",
    )


def by_cut() -> str:
    """Return the query of every metric by `dims`, of the hours from `since` up to `until`."""
    grouped = {name: f"CASE WHEN list_contains(dims::VARCHAR[], '{name}') THEN {name} END" for name in DIMENSIONS}
    known = ", ".join(f"'{name}'" for name in DIMENSIONS)
    unknown = f"list_filter(dims::VARCHAR[], lambda name: NOT list_contains([{known}], name))"
    fault = f"'Not rolled up by ' || array_to_string({unknown}, ', ') || '; there are {', '.join(DIMENSIONS)}'"
    return f"""SELECT COLUMNS(lambda name: name NOT IN ({known}) OR list_contains(dims::VARCHAR[], name))
FROM (
{_query(CUTS, grouped, within="hour")}
)
WHERE if(len({unknown}) = 0, true, error({fault}))"""


def _window(within: str) -> str:
    """Return the condition that a row lies in a period, by its column `within`; none: always."""
    if not within:
        return "true"
    since, until = (f"{name}::TIMESTAMPTZ" for name in ("since", "until"))
    if within == "day":
        since, until = (f"({moment} AT TIME ZONE 'UTC')::DATE" for moment in (since, until))
    return f"{within} >= {since} AND {within} < {until}"


def _seen(viewers: str, window: str) -> str:
    """Return the part of a query that counts distinct viewers by the columns `viewers`."""
    return f"""), viewers AS (
    SELECT {viewers}, count(DISTINCT viewer) AS known_viewers
    FROM (
        SELECT {viewers}, viewer FROM {VIEWERS} WHERE {_IS_ROLLED} AND {window}
        UNION ALL
        SELECT {viewers}, viewer FROM ({viewers_sql(LIVE)}) WHERE {window}
    )
    GROUP BY {viewers}
"""


def _query(
    each: RollUp,
    group: dict[str, str],
    *,
    facts: dict[str, str] | None = None,
    viewers: str = "",
    within: str = "",
) -> str:
    """Return a query that sums up a roll-up, and the sessions that are not in it yet, by `group`."""
    window = _window(within)
    keys = ", ".join(group)
    grouped = ", ".join(f"{sql} AS {name}" for name, sql in group.items())
    same = " AND ".join(f"sums.{name} IS NOT DISTINCT FROM {{other}}.{name}" for name in group)
    plain = ", ".join(name for name in (*each.facts, *parts()))
    summed = [f"{sql} AS {name}" for name, sql in (facts or {}).items()]
    spread_columns = _spreads()
    summed += [f"sum({name}) AS {name}" for name in parts() if name not in spread_columns]
    spreads = ", ".join(f"{{spread: '{name}', counts: {name}}}" for name in spread_columns)
    metrics = ",\n    ".join(f"{_of_parts(metric)} AS {metric.name}" for metric in read_catalogue().metric)
    shown = [*(f"sums.{name}" for name in group), *(facts or {})]
    joined = f"LEFT JOIN percentiles ON {same.format(other='percentiles')}"
    seen = ""
    if viewers:
        seen = _seen(viewers, window)
        joined += f"\nLEFT JOIN viewers ON {same.format(other='viewers')}"
        shown.append("coalesce(known_viewers, 0) AS known_viewers")
    return f"""WITH pieces AS (
    SELECT {grouped}, {plain} FROM {each.table} WHERE {_IS_ROLLED} AND {window}
    UNION ALL
    SELECT {grouped}, {plain} FROM (
{rows_sql(each, LIVE)}
    ) WHERE {window}
), sums AS (
    SELECT {keys}, {", ".join(summed)} FROM pieces GROUP BY {keys}
), spreads AS (
    SELECT {keys}, each.spread AS spread, unnest(map_entries(each.counts)) AS entry
    FROM (SELECT {keys}, unnest([{spreads}]) AS each FROM pieces)
), buckets AS (
    SELECT {keys}, spread, entry.key AS bucket, sum(entry.value) AS n FROM spreads GROUP BY {keys}, spread, bucket
), ranked AS (
    SELECT
        {keys}, spread, bucket,
        sum(n) OVER (PARTITION BY {keys}, spread ORDER BY bucket) AS up_to,
        sum(n) OVER (PARTITION BY {keys}, spread) - 1 AS last
    FROM buckets
), percentiles AS (
    SELECT {keys}, {", ".join(_percentiles())} FROM ranked GROUP BY {keys}
{seen})
SELECT
    {", ".join(shown)},
    {metrics}
FROM sums {joined}"""


def _percentiles() -> Iterator[str]:
    """Return each percentile by its buckets: as `quantile_cont`, between the two values next to its rank."""
    for metric in read_catalogue().metric:
        if metric.quantile is not None:
            is_its = f"spread = '{_column(metric, 'spread')}'"
            rank = f"{metric.quantile} * last"
            below = f"bucket_value(min(bucket) FILTER (WHERE {is_its} AND up_to > floor({rank})))"
            above = f"bucket_value(min(bucket) FILTER (WHERE {is_its} AND up_to > ceil({rank})))"
            share = f"any_value({rank} - floor({rank})) FILTER (WHERE {is_its})"
            yield f"{below} + ({above} - {below}) * {share} AS {metric.name}"


def _of_parts(metric: Metric) -> str:
    """Return a metric as SQL over the sums of its parts."""
    match metric.how:
        case "sum" if metric.unit == "count":
            return f"coalesce({_column(metric, 'sum')}, 0)::BIGINT"
        case "sum":
            return _column(metric, "sum")
        case "mean":
            return f"{_column(metric, 'sum')} / nullif({_column(metric, 'n')}, 0)"
        case "ratio":
            return f"{_column(metric, 'above')} / nullif({_column(metric, 'below')}, 0)"
        case "median" | "p75" | "p95":
            return f"percentiles.{metric.name}"
