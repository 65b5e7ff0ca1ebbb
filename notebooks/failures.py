"""What pages ask of errors that players reported: how many, when, first seen when, and in which version most."""

from typing import Any

import msgspec

from lake.reading import Reader
from notebooks.connect import read, read_each
from notebooks.filters import UNKNOWN, Choice
from notebooks.questions import LOOKED_BACK, SERIES_MAX, STANDARD_ERRORS_MIN
from notebooks.releases import APP

OTHERS = "all others"
_VERSION = f"concat_ws(' ', {APP}, coalesce(app_version, '{UNKNOWN}'))"
_NAMED = f"coalesce(told.error_id, '{UNKNOWN}') AS error, coalesce(told.source, '{UNKNOWN}') AS source"


class Errors(msgspec.Struct, frozen=True):
    """The errors of the sessions that a choice leaves, by `error` and `source`.

    `ranked`: each with its `errors`, the `sessions` that have it, `before_start` those that have it before main
    content played, and `ended_sessions` those that it ended; those that ended most first. `often_in`: the version
    of an app that has it most clearly more often (`share`, of `version_n` sessions) than all other sessions
    (`rest_share`). None if no version with enough sessions does, by three standard errors.

    `over_time`: how many (`errors`) in each bucket of time (`begins`), by when they happened: the largest errors
    (`series`), and all others together. Buckets that are not whole within the period are left out.
    """

    ranked: list[dict[str, Any]]
    over_time: list[dict[str, Any]]


def reported(lake: Reader, choice: Choice) -> Errors:
    """Return the errors of the sessions that a choice leaves."""
    answers = read_each(
        lake,
        f"""
        SELECT
            if(errors > 0, session_id, NULL) AS session_id, is_failed, {_VERSION} AS version,
            if(errors > 0, playback_errors, []) AS playback_errors
        FROM counted_sessions WHERE {choice.started()}
        """,
        {"ranked": _RANKED, "over_time": _over_time(choice)},
        **choice.values(),
        sample_min=choice.sample_min,
    )
    return Errors(**answers)


_EACH = f"""
    each AS (
        SELECT {_NAMED}, told."at" AS happened_at, told.is_before_start AS is_early, version, session_id, is_last
        FROM (
            SELECT
                session_id, version, unnest(playback_errors) AS told,
                is_failed AND unnest(range(1, len(playback_errors) + 1)) = len(playback_errors) AS is_last
            FROM chosen
        )
    )
"""
_RANKED = f"""
    WITH {_EACH}, versions AS (
        SELECT version, count(*) AS version_n, sum(count(*)) OVER () AS n FROM chosen GROUP BY version
    ), totals AS (
        SELECT
            error, source, count(*) AS errors, count(DISTINCT session_id) AS sessions,
            count(DISTINCT session_id) FILTER (is_early) AS before_start,
            count(DISTINCT session_id) FILTER (is_last) AS ended_sessions
        FROM each GROUP BY error, source
    ), shared AS (
        SELECT
            error, source, version AS often_in, version_n, within / version_n AS share,
            (sessions - within) / (n - version_n) AS rest_share, sessions / n AS mean_share,
            sqrt(mean_share * (1 - mean_share) * (1 / version_n + 1 / (n - version_n))) AS deviation,
            (share - rest_share) / nullif(deviation, 0) AS score
        FROM (SELECT error, source, version, count(DISTINCT session_id) AS within FROM each GROUP BY ALL)
        JOIN versions USING (version) JOIN totals USING (error, source)
        WHERE version_n >= $sample_min AND n > version_n AND score >= {STANDARD_ERRORS_MIN}
        QUALIFY row_number() OVER (PARTITION BY error, source ORDER BY score DESC, version) = 1
    )
    SELECT totals.*, often_in, version_n, share, rest_share FROM totals LEFT JOIN shared USING (error, source)
    ORDER BY ended_sessions DESC, errors DESC, error, source
"""


def _over_time(choice: Choice) -> str:
    width = f"INTERVAL {choice.bucket_s} SECOND"
    return f"""
        WITH {_EACH}, largest AS (
            SELECT error FROM each GROUP BY error ORDER BY count(*) DESC, error LIMIT {SERIES_MAX}
        )
        SELECT
            time_bucket({width}, happened_at) AS begins,
            if(error IN (FROM largest), error, '{OTHERS}') AS series,
            count(*) AS errors
        FROM each
        GROUP BY begins, series
        HAVING {choice.is_whole}
        ORDER BY series = '{OTHERS}', sum(errors) OVER (PARTITION BY series) DESC, series, begins
    """


def first_seen(lake: Reader, choice: Choice) -> dict[tuple[str, str], dict[str, Any]]:
    """Return when each error, by it and its source, was first reported in 30 days, whatever the filters.

    `first_in` is the version. `first_at` is None if that was on the first of these days: it may be older.
    """
    rows = read(
        lake,
        f"""
        SELECT
            {_NAMED}, arg_min(version, told."at") AS first_in,
            if(min(told."at") < $back::TIMESTAMPTZ + INTERVAL 1 DAY, NULL, min(told."at")) AS first_at
        FROM (
            SELECT {_VERSION} AS version, unnest(playback_errors) AS told
            FROM counted_sessions WHERE errors > 0 AND started_at >= $back AND started_at < $until
        ) GROUP BY error, source
        """,
        back=choice.until - LOOKED_BACK,
        until=choice.until,
    ).to_pylist()
    return {(row["error"], row["source"]): row for row in rows}
