"""Each version of an app against the one before it: what a release changed, and how sure that is."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from lake.metrics.intervals import difference_sql, measure_sql
from lake.reading import Reader
from notebooks.connect import read
from notebooks.filters import UNKNOWN, Choice
from notebooks.questions import LOOKED_BACK, SERIES_MAX, STANDARD_ERRORS_MIN, definitions

PAIRS_MAX = 40
APP = f"coalesce(player_name, '{UNKNOWN}')"
# 7.9.4 before 7.10.0: versions are in the order of the numbers in them.
_NUMBERS = "list_transform(regexp_extract_all(version, '[0-9]+'), lambda part: try_cast(part AS UBIGINT))"


def versions(lake: Reader, choice: Choice, *, is_at_once: bool) -> list[dict[str, Any]]:
    """Return the versions of each app among the sessions that the choice leaves, oldest first.

    `n`: its sessions, `share`: of those of its app. `since_at`: its first session in the last 30 days, whatever
    the filters; null if it was there on the first of them, and so may be older. `older`: the next lower version
    that has enough sessions since `from_at`, or null. `from_at`: since when sessions count; with `is_at_once` only
    since the newer version was there, so that both saw the same evenings and outages.
    """
    return read(
        lake,
        f"""
        WITH known AS (
            SELECT {APP} AS app, app_version AS version, min(started_at) AS first_at
            FROM counted_sessions
            WHERE app_version IS NOT NULL AND started_at >= $back AND started_at < $until
            GROUP BY ALL
        ), chosen AS MATERIALIZED (
            SELECT {APP} AS app, app_version AS version, started_at
            FROM counted_sessions WHERE app_version IS NOT NULL AND {choice.started()}
        ), placed AS MATERIALIZED (
            SELECT
                app, version, n,
                if(first_at < min(first_at) OVER () + INTERVAL 1 DAY, NULL, first_at) AS since_at,
                if($is_at_once, greatest(coalesce(since_at, $since), $since), $since) AS from_at,
                row_number() OVER (PARTITION BY app ORDER BY {_NUMBERS}, version) AS place,
                n / sum(n) OVER (PARTITION BY app) AS share
            FROM known JOIN (SELECT app, version, count(*) AS n FROM chosen GROUP BY ALL) USING (app, version)
        ), together AS (
            SELECT newer.app, newer.version, older.version AS older, older.place
            FROM placed AS newer
            JOIN placed AS older ON older.app = newer.app AND older.place < newer.place
            JOIN chosen ON chosen.app = older.app AND chosen.version = older.version
                AND chosen.started_at >= newer.from_at
            WHERE least(newer.n, older.n) >= $sample_min
            GROUP BY ALL HAVING count(*) >= $sample_min
        )
        SELECT app, version, n, share, since_at, from_at, older
        FROM placed LEFT JOIN (
            SELECT app, version, arg_max(older, place) AS older FROM together GROUP BY ALL
        ) USING (app, version)
        ORDER BY app, place
        """,
        back=choice.until - LOOKED_BACK,
        is_at_once=is_at_once,
        sample_min=choice.sample_min,
        **choice.values(),
    ).to_pylist()


def changes(
    lake: Reader, choice: Choice, of: Iterable[Mapping[str, Any]], names: Iterable[str]
) -> list[dict[str, Any]]:
    """Return each metric of versions (rows of `versions`) and of their older ones, with the difference.

    `newer` and `older` are measures: `n`, `value`, `low` and `high`. `change` has `difference`, `low` and `high`.
    Bounds are three standard errors away. `sure` is the difference divided by the distance of its bound that is
    nearer to 0: beyond 1 or -1 it is more than chance. Null where a sample is too small.
    """
    pairs = [
        {"app": row["app"], "newest": row["version"], "before": row["older"], "from_at": row["from_at"]}
        for row in sorted(of, key=lambda row: -row["n"])
        if row["older"] is not None
    ][:PAIRS_MAX]
    if not pairs:
        return []
    known = definitions()
    measures = ", ".join(measure_sql(known[name], STANDARD_ERRORS_MIN) for name in names)
    return read(
        lake,
        f"""
        WITH measured AS (
            SELECT app, newest, before, app_version = newest AS is_newest, unnest([{measures}]) AS measure
            FROM counted_sessions
            JOIN (SELECT unnest($pairs, recursive := true)) AS pair
                ON {APP} = pair.app AND app_version IN (pair.newest, pair.before)
            WHERE started_at >= from_at AND {choice.started()}
            GROUP BY app, newest, before, is_newest
        ), beside AS (
            SELECT
                app, newest, before, measure.metric AS metric,
                any_value(measure) FILTER (is_newest) AS newer,
                any_value(measure) FILTER (NOT is_newest) AS older
            FROM measured GROUP BY ALL
        ), compared AS (
            SELECT *, if(least(newer.n, older.n) < $sample_min, NULL, {difference_sql("newer", "older")}) AS change
            FROM beside
        )
        SELECT
            *,
            change.difference / nullif(if(
                change.difference < 0, change.high - change.difference, change.difference - change.low
            ), 0) AS sure
        FROM compared ORDER BY app, newest, metric
        """,
        pairs=pairs,
        sample_min=choice.sample_min,
        **choice.values(),
    ).to_pylist()


def over_time(
    lake: Reader, choice: Choice, of: Sequence[Mapping[str, Any]], name: str
) -> tuple[list[dict[str, Any]], timedelta]:
    """Return versions of one app (rows of `versions`) over time, the newest first, and the length of each stretch.

    `at`, `version`, `n`, `share`: of the app's sessions, and `value`: the metric. Only the largest versions, each
    in every stretch that is whole within the period. Stretches are longer than on other pages, since a version has
    few sessions.
    """
    length = timedelta(seconds=choice.bucket_s * 4)
    largest = sorted(of, key=lambda row: -row["n"])[:SERIES_MAX]
    rows = read(
        lake,
        f"""
        SELECT *, n / sum(n) OVER (PARTITION BY "at") AS share
        FROM (
            SELECT
                time_bucket(INTERVAL {int(length.total_seconds())} SECOND, started_at) AS "at",
                app_version AS version, count(*) AS n, {definitions()[name].sql} AS value
            FROM counted_sessions
            WHERE {APP} = $app AND app_version IS NOT NULL AND {choice.started()}
            GROUP BY ALL
        )
        """,
        app=of[0]["app"],
        **choice.values(),
    ).to_pylist()
    known = {(row["version"], row["at"]): row for row in rows}
    over = sorted({row["at"] for row in rows if choice.covers(row["at"], length)})
    return [
        known.get((row["version"], at), {"at": at, "version": row["version"], "n": 0, "share": 0.0, "value": None})
        for row in reversed(of)
        if row in largest
        for at in over
    ], length


def errors(lake: Reader, choice: Choice, pair: Mapping[str, Any]) -> tuple[int, int, list[dict[str, Any]]]:
    """Return the sessions of a version and of the one before (a row of `versions`), and their errors.

    `newer` and `older` are the sessions with the error, `before_start` those of the newer version before the first
    frame. First come those whose share of the sessions grew most.
    """
    rows = read(
        lake,
        f"""
        WITH chosen AS MATERIALIZED (
            SELECT session_id, app_version = $newest AS is_newer, playback_errors
            FROM counted_sessions
            WHERE {APP} = $app AND app_version IN ($newest, $before) AND started_at >= $from_at
                AND {choice.started()}
        ), whole AS (
            SELECT count(*) FILTER (is_newer) AS newer_n, count(*) FILTER (NOT is_newer) AS older_n FROM chosen
        ), ranked AS (
            SELECT
                coalesce(error.error_id, '{UNKNOWN}') AS error,
                coalesce(error.source, '{UNKNOWN}') AS source,
                count(DISTINCT session_id) FILTER (is_newer) AS newer,
                count(DISTINCT session_id) FILTER (NOT is_newer) AS older,
                count(DISTINCT session_id) FILTER (is_newer AND error.is_before_start) AS before_start,
                min(error.at) AS first_at
            FROM (SELECT session_id, is_newer, unnest(playback_errors) AS error FROM chosen) GROUP BY ALL
        )
        SELECT * FROM whole LEFT JOIN ranked ON true
        ORDER BY newer / greatest(newer_n, 1) - older / greatest(older_n, 1) DESC, error, source
        """,
        app=pair["app"],
        newest=pair["version"],
        before=pair["older"],
        from_at=pair["from_at"],
        **choice.values(),
    ).to_pylist()
    return rows[0]["newer_n"], rows[0]["older_n"], [row for row in rows if row["error"] is not None]


def verdicts(changed: Iterable[Mapping[str, Any]], is_more_worse: Mapping[str, bool]) -> list[dict[str, Any]]:
    """Return each version of `changes`, with the rows in which it is `worse` or `better`, the surest first."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in sorted(changed, key=lambda row: -abs(row["sure"] or 0)):
        names = {name: row[name] for name in ("app", "newest", "before")}
        version = found.setdefault((row["app"], row["newest"]), {**names, "worse": [], "better": []})
        if abs(row["sure"] or 0) > 1:
            is_worse = (row["sure"] > 0) is is_more_worse[row["metric"]]
            version["worse" if is_worse else "better"].append(row)
    return sorted(
        found.values(), key=lambda version: -max((abs(row["sure"]) for row in version["worse"]), default=0)
    )
