"""What pages ask of ads: how many were delivered, how far they played, what failed in them, and their breaks."""

from typing import Any

import msgspec

from lake.reading import Reader
from notebooks import questions
from notebooks.connect import read_each
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
_IS_OVER = "(outcome <> 'open' OR state = 'final')"
_MEDIAN = f"median(time_s) FILTER ({_IS_OVER}) AS median_s, count(*) FILTER ({_IS_OVER}) AS over"
_REACHED = ", ".join(
    f'count(*) FILTER (reached_ratio >= {share}) AS "{word}"' for word, share in QUARTILES.items()
)
_BY_VALUE = f"""
    SELECT
        cut AS value, count(*) AS n, count(DISTINCT session_id) AS sessions,
        count(*) FILTER (outcome = 'completed') AS completed,
        count(*) FILTER (outcome = 'skipped') AS skipped,
        count(*) FILTER (outcome = 'aborted') AS aborted,
        count(*) FILTER (outcome = 'open' AND state = 'final') AS silent,
        count(*) FILTER (outcome = 'open' AND state <> 'final') AS open,
        count(error_id) AS failed,
        count(*) FILTER (break_index IS NULL) AS outside,
        count(reached_ratio) AS known, {_REACHED},
        sum(time_s) AS time_s, {_MEDIAN}
    FROM chosen GROUP BY value ORDER BY n DESC, value
"""
BREAK_MINUTES = 10  # breaks within so many minutes of the content are one row


class Delivered(msgspec.Struct, frozen=True):
    """What is known of the ads of a choice.

    `by_value`: how many started (`n`) for each `value` of what they are cut by, in how many `sessions`. And of
    them: `completed`, `skipped`, `aborted` (something else ended them), `silent` (the session fell silent in them,
    and closed), `open` (they play now), `failed` (the player reported an error), `outside` (of breaks); `known`:
    those with a known `reached_ratio`; each of `QUARTILES`: those that reached it; `time_s`: time
    played; `median_s`: in the median of those that do not play now, `over`.

    `all`: `median_s` and `over` of all values together.

    `over_time`: the share of completed ads (`completed`) of how many (`n`), by bucket of their start (`begins`),
    for the largest values (`series`); buckets of which the period has only a part are left out.

    `most_aborted`: the combinations of day, player, ad and campaign that end neither completed nor skipped, see
    `questions.differing`. `errors`: those that the player reported while an ad was open, by campaign, those of
    most ads first.
    """

    by_value: list[dict[str, Any]]
    all: dict[str, Any]
    over_time: list[dict[str, Any]]
    most_aborted: list[dict[str, Any]]
    errors: list[dict[str, Any]]


def delivered(lake: Reader, choice: Choice, *, by: str = "'all'") -> Delivered:
    """Return what is known of the ads of a choice; `by` is an expression over `ads_between`."""
    columns = ("day", "session_player_name", "ad", "campaign_id")  # of equal rows the last one is named
    suffering = f"""
        SELECT {", ".join(columns)}, (outcome IN ('aborted', 'open'))::INTEGER AS suffers
        FROM chosen WHERE {_IS_OVER}
    """
    answers = read_each(
        lake,
        f"""
        SELECT
            session_id, state, session_player_name, campaign_id, started_at, break_index, outcome, time_s,
            reached_ratio, error_id, coalesce(name, ad_id) AS ad, coalesce({by}, '{UNKNOWN}') AS cut,
            time_bucket(INTERVAL {choice.bucket_s} SECOND, started_at) AS begins,
            strftime(started_at AT TIME ZONE $zone, '%a %d %b') AS day
        FROM ads_between({ASKED})
        """,
        {
            "by_value": _BY_VALUE,
            "all": f"SELECT {_MEDIAN} FROM chosen",
            "over_time": f"""
                SELECT begins, cut AS series, count(*) AS n, avg((outcome = 'completed')::INTEGER) AS completed
                FROM chosen
                WHERE {choice.is_whole}
                    AND cut IN (SELECT cut FROM chosen GROUP BY cut
                                ORDER BY count(*) DESC, cut LIMIT {questions.SERIES_MAX})
                GROUP BY begins, series ORDER BY series, begins
            """,
            "most_aborted": questions.differing_sql(suffering, columns),
            "errors": f"""
                SELECT
                    error_id AS error, coalesce(campaign_id, '{UNKNOWN}') AS campaign, count(*) AS ads,
                    count(DISTINCT session_id) AS sessions,
                    count(*) FILTER (outcome = 'completed') AS "completed all the same",
                    min(started_at) AS first_at, max(started_at) AS last_at
                FROM chosen WHERE error_id IS NOT NULL
                GROUP BY error, campaign ORDER BY ads DESC, error, campaign
            """,
        },
        **choice.macro_values(),
        zone=choice.zone,
        sample_min=choice.sample_min,
    )
    (every,) = answers.pop("all")
    return Delivered(all=every, **answers)


class Breaks(msgspec.Struct, frozen=True):
    """Ad breaks: how many there were and how many had an ad (`filled`), in the period and in the one before.

    `places`: those of recorded content by their place in it, from the beginning on; `median_s`: how long their ads
    played, in the median of those that are `over`. `minute`: where the place
    begins, in minutes of the content; 0 is before it, None unknown.
    """

    now: dict[str, int]
    then: dict[str, int]
    places: list[dict[str, Any]]


def breaks(lake: Reader, choice: Choice) -> Breaks:
    """Return the ad breaks of a choice, and how many there were in the period that it is compared with."""
    before = choice.before()
    answers = read_each(
        lake,
        f"""
        SELECT
            started_at >= $since AND started_at < $until AS is_now,
            started_at >= $since_before AND started_at < $until_before AS is_then,
            coalesce(is_live, false) AS is_live, state,
            unnest(list_transform(breaks, lambda each: {{
                offset_s: each.offset_s, ads: each.ads, outcome: each.outcome, time_s: each.time_s
            }}), recursive := true)
        FROM counted_sessions
        WHERE started_at >= $since_before AND started_at < $until AND {choice.condition()}
        """,
        {
            "counted": """
                SELECT
                    count(*) FILTER (is_now) AS breaks, count(*) FILTER (is_now AND ads > 0) AS filled,
                    count(*) FILTER (is_then) AS breaks_then, count(*) FILTER (is_then AND ads > 0) AS filled_then
                FROM chosen
            """,
            "places": f"""
                SELECT
                    if(
                        offset_s <= 0, 0, floor(offset_s / 60 / {BREAK_MINUTES}) * {BREAK_MINUTES} + 1
                    )::INTEGER AS minute,
                    count(*) AS breaks, count(*) FILTER (ads = 0) AS empty, sum(ads)::BIGINT AS ads,
                    count(*) FILTER (outcome = 'completed') AS completed,
                    {_MEDIAN}
                FROM chosen WHERE is_now AND NOT is_live GROUP BY minute ORDER BY minute
            """,
        },
        **choice.values(),
        since_before=before.since,
        until_before=before.until,
    )
    (counted,) = answers["counted"]
    return Breaks(
        {"breaks": counted["breaks"], "filled": counted["filled"]},
        {"breaks": counted["breaks_then"], "filled": counted["filled_then"]},
        answers["places"],
    )
