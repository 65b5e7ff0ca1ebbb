"""What pages ask of the audience: how many watched main content in each minute, and which minutes are drawn."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import msgspec

from lake.reading import Reader
from notebooks.connect import read_each
from notebooks.filters import Choice
from notebooks.questions import as_clock

MINUTE_MS = 60_000
BY_MINUTE = timedelta(days=1)  # a longer period is not drawn minute by minute


class Audience(msgspec.Struct, frozen=True):
    """The audience of a period: of its whole minutes (`minutes`) that the lake knows.

    `average`: how many sessions played main content, in the mean. `with_ads`: main content or ads. `peak`: in the
    mean of the largest minute, which began at `peak_at`. None without minutes. `sessions`: those that played any
    main content. `drawn`: the mean (`viewers`) of each stretch of `width` from `begins`, and of its minutes the
    least (`low`) and the largest (`high`); only stretches whose minutes all count.
    """

    minutes: int
    average: float | None
    with_ads: float | None
    peak: float | None
    peak_at: datetime | None
    sessions: int
    width: timedelta
    drawn: list[dict[str, Any]]


def watched(lake: Reader, choice: Choice, known_from: datetime) -> Audience:
    """Return the audience of a choice; minutes that began before `known_from` do not count: nobody knows."""
    width_s = 60 if choice.until - choice.since <= BY_MINUTE else choice.bucket_s
    since_ms, until_ms = (int(moment.timestamp() * 1000) for moment in (choice.since, choice.until))
    low = -(-max(since_ms, int(known_from.timestamp() * 1000)) // MINUTE_MS)
    high = max(until_ms // MINUTE_MS, low)
    answers = read_each(
        lake,
        f"""
        SELECT
            session_id, is_ad,
            greatest(from_ms, {low * MINUTE_MS}) AS from_ms, least(to_ms, {high * MINUTE_MS}) AS to_ms
        FROM (
            SELECT
                session_id, span.doing <> 'playing' AS is_ad,
                epoch_ms(span.started_at) AS from_ms, epoch_ms(span.ended_at) AS to_ms
            FROM (
                SELECT session_id, unnest(spans) AS span FROM counted_sessions
                WHERE ended_at >= $since AND started_at < $until AND {choice.condition()}
            ) WHERE span.doing IN ('playing', 'ad', 'ad_outside')
        ) WHERE to_ms > {low * MINUTE_MS} AND from_ms < {high * MINUTE_MS} AND to_ms > from_ms
        """,
        {
            "whole": f"""
                WITH {_minutes(low, high)}
                SELECT
                    count(*) AS minutes, avg(viewers) AS average, avg(every) AS with_ads, max(viewers) AS peak,
                    arg_max("at", viewers) AS peak_at,
                    (SELECT count(DISTINCT session_id) FROM chosen WHERE NOT is_ad) AS sessions
                FROM minutes
            """,
            "drawn": f"""
                WITH {_minutes(low, high)}
                SELECT
                    time_bucket(INTERVAL {width_s} SECOND, "at") AS begins, avg(viewers) AS viewers,
                    min(viewers) AS low, max(viewers) AS high
                FROM minutes GROUP BY 1 HAVING count(*) = {width_s // 60} ORDER BY 1
            """,
        },
        **choice.values(),
    )
    (whole,) = answers["whole"]
    return Audience(**whole, width=timedelta(seconds=width_s), drawn=answers["drawn"])


def _minutes(low: int, high: int) -> str:
    """Return the CTE `minutes`: each with `viewers`, of main content, and `every`, of ads too.

    Each edge of what was played adds to its minute what is left of it, and to the next one the rest, so that the
    running sum is the time played in each: the cost does not depend on how long sessions are.
    """
    return f"""
        edges AS (
            SELECT unnest([from_ms, to_ms]) AS at_ms, unnest([1, -1]) AS sign, is_ad FROM chosen
        ), parts AS (
            SELECT
                is_ad, unnest([at_ms // {MINUTE_MS}, at_ms // {MINUTE_MS} + 1]) AS place,
                unnest([sign * ({MINUTE_MS} - at_ms % {MINUTE_MS}), sign * (at_ms % {MINUTE_MS})]) AS ms
            FROM edges
            UNION ALL SELECT false, unnest(range({low}, {high})), 0
        ), minutes AS (
            SELECT
                make_timestamptz(place * {MINUTE_MS * 1000}) AS "at",
                sum(coalesce(sum(ms) FILTER (NOT is_ad), 0)) OVER (ORDER BY place) / {MINUTE_MS} AS viewers,
                sum(sum(ms)) OVER (ORDER BY place) / {MINUTE_MS} AS every
            FROM parts GROUP BY place QUALIFY place < {high}
        )
    """


def lines(choice: Choice, now: Audience, then: Audience) -> list[dict[str, Any]]:
    """Return both periods at the same times, for `over_time`; with a band if minutes are summed up."""
    is_summed = now.width > timedelta(minutes=1)

    def points(rows: Iterable[dict[str, Any]], series: str, moved: timedelta) -> Iterable[dict[str, Any]]:
        for row in rows:
            point = {"at": as_clock(choice.local(row["begins"] + moved)), "value": round(row["viewers"], 3)}
            band = {name: round(row[name], 3) for name in ("low", "high")} if is_summed and not moved else {}
            yield {**point, "series": series, **band}

    return [
        *points(now.drawn, "this period", timedelta(0)),
        *points(then.drawn, choice.compared, choice.back),
    ]
