"""What pages ask of ads: how many were delivered, how far they played, what failed in them, and their breaks."""

from typing import Any

from lake.reading import Reader
from notebooks import questions
from notebooks.connect import read
from notebooks.filters import ASKED, UNKNOWN, Choice

# What ads are cut by: the word for it, and an expression over `ads_between`.
OF = {
    "campaign": "campaign_id",
    "ad": "coalesce(name, ad_id)",
    "advertiser": "advertiser",
    "creative": "creative_id",
    "ad player": "player_name",
    "player": "session_player_name",
    "app version": "app_version",
    "content": "content_id",
}
QUARTILES = {"1/4": 0.25, "1/2": 0.5, "3/4": 0.75}
BREAK_MINUTES = 10  # breaks within so many minutes of the content are one row


def delivered(lake: Reader, choice: Choice, *, by: str = "'all'") -> list[dict[str, Any]]:
    """Return how many ads started (`n`) for each value of an expression over `ads_between`.

    And of them: `completed`, `skipped`, `aborted` (something else ended them), `silent` (the session fell silent
    in them, and closed), `open` (they play now), `failed` (the player reported an error), `outside` (of breaks);
    `known`: those with a known `reached_ratio`; each of `QUARTILES`: those that reached it; `time_s`: time played.
    """
    reached = ", ".join(
        f'count(*) FILTER (reached_ratio >= {share}) AS "{word}"' for word, share in QUARTILES.items()
    )
    return read(
        lake,
        f"""
        SELECT
            coalesce({by}, '{UNKNOWN}') AS value, count(*) AS n, count(DISTINCT session_id) AS sessions,
            count(*) FILTER (outcome = 'completed') AS completed,
            count(*) FILTER (outcome = 'skipped') AS skipped,
            count(*) FILTER (outcome = 'aborted') AS aborted,
            count(*) FILTER (outcome = 'open' AND state = 'final') AS silent,
            count(*) FILTER (outcome = 'open' AND state <> 'final') AS open,
            count(error_id) AS failed,
            count(*) FILTER (break_index IS NULL) AS outside,
            count(reached_ratio) AS known, {reached},
            sum(time_s) AS time_s
        FROM ads_between({ASKED}) GROUP BY value ORDER BY n DESC, value
        """,
        **choice.macro_values(),
    ).to_pylist()


def completed_over_time(lake: Reader, choice: Choice, by: str) -> list[dict[str, Any]]:
    """Return the share of completed ads (`completed`) of how many (`n`), by bucket of their start (`begins`).

    For the largest values (`series`) of an expression over `ads_between`; buckets that are not over are left out.
    """
    bucket = f"time_bucket(INTERVAL {choice.bucket_s} SECOND, started_at)"
    return read(
        lake,
        f"""
        WITH chosen AS (
            SELECT {bucket} AS begins, coalesce({by}, '{UNKNOWN}') AS series, outcome FROM ads_between({ASKED})
        ), largest AS (
            SELECT series FROM chosen GROUP BY series ORDER BY count(*) DESC, series LIMIT {questions.SERIES_MAX}
        )
        SELECT begins, series, count(*) AS n, avg((outcome = 'completed')::INTEGER) AS completed
        FROM chosen
        WHERE series IN (FROM largest) AND begins + INTERVAL {choice.bucket_s} SECOND <= $until::TIMESTAMPTZ
        GROUP BY begins, series ORDER BY series, begins
        """,
        **choice.macro_values(),
    ).to_pylist()


def most_aborted(lake: Reader, choice: Choice) -> list[dict[str, Any]]:
    """Return the combinations of day, campaign, ad and player that end neither completed nor skipped.

    See `differing`.
    """
    chosen = f"""
        SELECT
            strftime(started_at AT TIME ZONE $zone, '%a %d %b') AS day, session_player_name,
            coalesce(name, ad_id) AS ad, campaign_id, (outcome IN ('aborted', 'open'))::INTEGER AS suffers
        FROM ads_between({ASKED}) WHERE outcome <> 'open' OR state = 'final'
    """
    columns = ("day", "session_player_name", "ad", "campaign_id")  # of equal rows the last one is named
    values = {**choice.macro_values(), "zone": choice.zone}
    return questions.differing(lake, chosen, columns, sample_min=choice.sample_min, **values)


def errors(lake: Reader, choice: Choice) -> list[dict[str, Any]]:
    """Return the errors that players reported while an ad was open, by campaign, those of most ads first."""
    return read(
        lake,
        f"""
        SELECT
            error_id AS error, coalesce(campaign_id, '{UNKNOWN}') AS campaign, count(*) AS ads,
            count(DISTINCT session_id) AS sessions,
            count(*) FILTER (outcome = 'completed') AS "completed all the same",
            min(started_at) AS first_at, max(started_at) AS last_at
        FROM ads_between({ASKED}) WHERE error_id IS NOT NULL
        GROUP BY error, campaign ORDER BY ads DESC, error, campaign
        """,
        **choice.macro_values(),
    ).to_pylist()


def fill(lake: Reader, choice: Choice) -> dict[str, Any]:
    """Return how many ad breaks there were, and how many of them had an ad (`filled`)."""
    (row,) = read(
        lake,
        "SELECT coalesce(sum(breaks), 0)::BIGINT AS breaks, "
        "coalesce(sum(breaks - empty_breaks), 0)::BIGINT AS filled "
        f"FROM ad_break_delivery({ASKED})",
        **choice.macro_values(),
    ).to_pylist()
    return dict(row)


def breaks(lake: Reader, choice: Choice) -> list[dict[str, Any]]:
    """Return the ad breaks of recorded content by their place in it, from the beginning on.

    `minute`: where the place begins, in minutes of the content; 0 is before it, None unknown.
    """
    return read(
        lake,
        f"""
        SELECT
            if(offset_s <= 0, 0, floor(offset_s / 60 / {BREAK_MINUTES}) * {BREAK_MINUTES} + 1)::INTEGER AS minute,
            sum(breaks)::BIGINT AS breaks, sum(empty_breaks)::BIGINT AS empty, sum(ads)::BIGINT AS ads,
            sum(completed)::BIGINT AS completed, sum(time_per_break_s * breaks) / sum(breaks) AS time_per_break_s
        FROM ad_break_delivery({ASKED}) GROUP BY minute ORDER BY minute
        """,
        **choice.macro_values() | {"filters": choice.filters() | {"is_live": ["false"]}},
    ).to_pylist()
