"""What pages ask of the sessions that a reader chose: metrics, who watches now, and what differs from all else."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from lake.metrics import Metric, read_catalogue
from lake.reading import Reader
from notebooks.connect import read
from notebooks.filters import DIMENSIONS, UNKNOWN, Choice, stretches

STANDARD_ERRORS_MIN = 3
SERIES_MAX = 7
LOOKED_BACK = timedelta(days=30)  # for the first session of a version, and the first report of an error
EDGES = ("since", "until")
WATCHING = ("playing", "ad", "ad_outside")
WATCHING_SQL = ", ".join(f"'{name}'" for name in WATCHING)


def definitions() -> dict[str, Metric]:
    """Return the metrics of the catalogue by name."""
    return {metric.name: metric for metric in read_catalogue().metric}


def meaning(name: str) -> str:
    """Return what a number of the catalogue means, a metric or another entry, with its name."""
    return next(f"{name}: {row.meaning}" for row in read_catalogue().every if row.name == name)


def metrics(
    lake: Reader, choice: Choice, names: list[str], *, by: str = "", order: str = "n DESC"
) -> list[dict[str, Any]]:
    """Return metrics of the catalogue over the sessions that the choice leaves, with their number `n`.

    With `by`, an expression over `counted_sessions`, one row for each of its values, as `value`.
    """
    value = f"{by} AS value, " if by else ""
    text = f"SELECT {value}{_measured(names)} FROM counted_sessions WHERE {choice.started()}"
    if by:
        text += f" GROUP BY value ORDER BY {order}"
    return read(lake, text, **choice.values()).to_pylist()


def metrics_of_times(lake: Reader, choices: Sequence[Choice], names: list[str]) -> list[dict[str, Any]]:
    """Return `metrics` of the same choice at several times, a row each; times that touch are one query."""
    found: dict[tuple[datetime, datetime], dict[str, Any]] = {}
    for whole, parts in stretches(choices):
        values = {f"{edge}_{place}": getattr(part, edge) for place, part in enumerate(parts) for edge in EDGES}
        places = ", ".join(
            f"if(started_at >= $since_{place} AND started_at < $until_{place}, {place}, NULL)"
            for place in range(len(parts))
        )
        rows = read(
            lake,
            f"""
            SELECT place, {_measured(names)}
            FROM (SELECT *, unnest([{places}]) AS place FROM counted_sessions WHERE {whole.started()})
            WHERE place IS NOT NULL GROUP BY place
            """,
            **whole.values(),
            **values,
        ).to_pylist()
        found |= {_time(parts[row.pop("place")]): row for row in rows}
    return [found.get(_time(each)) or metrics(lake, each, names)[0] for each in choices]


def _time(choice: Choice) -> tuple[datetime, datetime]:
    return choice.since, choice.until


def _measured(names: Iterable[str]) -> str:
    """Return metrics of the catalogue, and the number of sessions, as SQL."""
    known = definitions()
    return ", ".join(["count(*) AS n", *(f"{known[name].sql} AS {name}" for name in names)])


def heard_now(lake: Reader, choice: Choice) -> dict[str, int]:
    """Return what the open sessions that the choice leaves do at the newest moment: `watching_now` of them."""
    (row,) = read(
        lake,
        f"""
        SELECT
            count(*) FILTER (is_watching) AS watching,
            count(*) FILTER (is_heard AND doing = 'joining') AS starting,
            count(*) FILTER (is_heard AND doing IN ('buffering', 'ad_buffering')) AS buffering,
            count(*) FILTER (is_heard AND doing IN ('paused', 'ad_paused')) AS paused,
            count(*) FILTER (is_heard AND doing = 'idle') AS finished,
            count(*) FILTER (NOT is_heard) AS silent
        FROM open_now WHERE session_id IN (
            SELECT session_id FROM counted_sessions WHERE NOT is_closed AND {choice.condition()}
        )
        """,
        **choice.among_values(),
    ).to_pylist()
    return dict(row)


def watching_at(lake: Reader, choice: Choice, moment: datetime, known_from: datetime) -> int | None:
    """Return how many sessions that the filters leave played main content or an ad at a moment of the past.

    None before `known_from`: nobody knows.
    """
    if moment < known_from:
        return None
    (row,) = read(
        lake,
        f"""
        SELECT count(*) AS watching FROM counted_sessions
        WHERE started_at > $moment::TIMESTAMPTZ - INTERVAL 1 DAY AND started_at <= $moment AND ended_at > $moment
            AND NOT is_downloaded AND {choice.condition()}
            AND len(list_filter(spans, lambda span: span.started_at <= $moment AND span.ended_at > $moment
                AND span.doing IN ({WATCHING_SQL}))) > 0
        """,
        moment=moment,
        **choice.among_values(),
    ).to_pylist()
    return int(row["watching"])


def health(lake: Reader, minute: datetime, dimension: str, value: str | None) -> dict[str, float | None] | None:
    """Return the score of each measure of `health_by_minute` in the last complete minute before `minute`.

    `value` belongs to a dimension that the macro knows; None for `all`. Returns None where there are too few
    sessions.
    """
    rows = read(
        lake,
        """
        SELECT scores FROM health_by_minute($since)
        WHERE dimension = $dimension AND value IS NOT DISTINCT FROM $value ORDER BY minute DESC LIMIT 1
        """,
        since=minute - timedelta(hours=1),
        dimension=dimension,
        value=value,
    ).to_pylist()
    return dict(rows[0]["scores"]) if rows else None


def scored_by(choice: Choice) -> tuple[str, str | None] | None:
    """Return the dimension and value by which `health_by_minute` scores what a choice leaves, or None."""
    if not choice.among:
        return "all", None
    if not choice.among.keys() <= DIMENSIONS.keys():
        return None
    values = {
        name: None if each == [UNKNOWN] else each[0] for name, each in choice.among.items() if len(each) == 1
    }
    if len(values) < len(choice.among):
        return None
    if set(values) == {"player", "app version"} and all(values.values()):
        return "app_version", f"{values['player']} {values['app version']}"
    (name, *others) = values
    return None if others or name == "app version" else (DIMENSIONS[name], values[name])


def most_different(lake: Reader, choice: Choice) -> list[dict[str, Any]]:
    """Return combinations of content, app version, player, CDN and country that suffer most; see `differing`."""
    cut_by = ("content", "app version", "player", "cdn", "country")
    columns = [DIMENSIONS[name] for name in cut_by]
    named = ", ".join(f"coalesce({DIMENSIONS[name]}, '{UNKNOWN} {name}') AS {DIMENSIONS[name]}" for name in cut_by)
    chosen = f"""
        SELECT {named}, {definitions()["rebuffer_over_1_pct_ratio"].numerator} AS suffers
        FROM counted_sessions
        WHERE is_started AND {choice.started()}
    """
    return differing(lake, chosen, columns, sample_min=choice.sample_min, **choice.values())


def differing(
    lake: Reader, chosen: str, columns: Sequence[str], *, sample_min: int, **values: object
) -> list[dict[str, Any]]:
    """Return the combinations of columns whose rows suffer most (`suffers`, 0 or 1), against all other rows.

    `chosen` is the query of the rows. A score is the difference in standard errors of both shares; those below
    three are left out, and of combinations of the same rows all but the shortest.
    """
    return read(lake, differing_sql(chosen, columns), sample_min=sample_min, **values).to_pylist()


def differing_sql(chosen: str, columns: Sequence[str]) -> str:
    """Return the query of `differing`; `$sample_min` is the least number of rows of a combination."""
    listed = ", ".join(columns)
    return f"""
        WITH judged AS ({chosen}), whole AS (
            SELECT count(*) AS n, sum(suffers) AS suffering FROM judged
        ), combined AS (
            SELECT
                {listed}, count(*) AS n, sum(suffers) AS suffering, grouping_id({listed}) AS kind
            FROM judged GROUP BY CUBE ({listed})
            HAVING count(*) >= $sample_min AND grouping_id({listed}) < {2 ** len(columns) - 1}
        ), scored AS (
            SELECT
                concat_ws(' / ', {listed}) AS combination, combined.n, kind,
                combined.suffering / combined.n AS share,
                (whole.suffering - combined.suffering) / (whole.n - combined.n) AS rest_share,
                whole.suffering / whole.n AS mean_share,
                sqrt(mean_share * (1 - mean_share) * (1 / combined.n + 1 / (whole.n - combined.n))) AS error,
                (share - rest_share) / nullif(error, 0) AS score
            FROM combined, whole WHERE whole.n > combined.n
        )
        SELECT combination, n, share, rest_share, score FROM scored
        WHERE score >= {STANDARD_ERRORS_MIN}
        QUALIFY row_number() OVER (PARTITION BY n, share ORDER BY kind DESC) = 1
        ORDER BY score DESC, combination LIMIT 10
    """


def points(
    rows: Iterable[Mapping[str, Any]], choice: Choice, names: Mapping[str, str], *, factor: float = 1
) -> list[dict[str, Any]]:
    """Return metrics by bucket of time as points for `over_time`, one series for each metric, in its words.

    Buckets with too few sessions are left out, and those of which the period has only a part.
    """
    bucket = timedelta(seconds=choice.bucket_s)
    every = [row for row in rows if choice.covers(row["value"], bucket)]
    return [
        {"at": as_clock(choice.local(row["value"])), "value": row[name] * factor, "series": words}
        for name, words in names.items()
        for row in every
        if row["n"] >= choice.sample_min and row[name] is not None
    ]


def points_in_words(rows: Iterable[Mapping[str, Any]], choice: Choice) -> str:
    """Return what a point of `points` is, and how many sessions those of `rows` have that are left out."""
    bucket = timedelta(seconds=choice.bucket_s)
    left_out = sum(
        row["n"] for row in rows if row["n"] < choice.sample_min or not choice.covers(row["value"], bucket)
    )
    return (
        f"Each point is {choice.bucket_words} of starts; points of fewer than {choice.sample_min} sessions, and "
        f"those that the period does not hold whole, are left out ({left_out:,} sessions)."
    )


def as_clock(moment: datetime) -> str:
    """Return a wall clock as text that charts take for UTC, so that no browser shifts it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
