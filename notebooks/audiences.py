"""What pages ask of the audience: how many watched in each minute or bucket of time, and which of these count."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from lake.reading import Reader
from notebooks.connect import read, read_each
from notebooks.filters import UNKNOWN, Choice, stretches
from notebooks.questions import SERIES_MAX, WATCHING_SQL, as_clock

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
    places = low, high = _known_places(choice, known_from, MINUTE_MS)
    answers = read_each(
        lake,
        _watching(choice, places, MINUTE_MS, WATCHING_SQL),
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


def compared(
    lake: Reader, choice: Choice, known_from: datetime, *others: Choice
) -> tuple[list[dict[str, Any]], int]:
    """Return how many watched, in the mean of each bucket of time: main content or ads, by the spans.

    Of the period and of the one before, at the same times of the chart, for `over_time`. Left out are buckets that
    are not whole within a period, or that began before `known_from`. `others` are the same choice, compared with
    other times. Times that touch are one query. And how many sessions the audience of the period is made of.
    """
    step_ms = choice.bucket_s * 1000
    asked = [("this period", choice, timedelta(0))]
    asked += [(each.compared, each.before(), each.back) for each in (choice, *others)]
    low, high = _known_places(choice, known_from, step_ms)
    watched: dict[int, float] = {}
    sessions = 0
    for whole, parts in stretches(when for _, when, _ in asked):
        known = _known_places(whole, known_from, step_ms)
        answers = read_each(
            lake,
            _watching(whole, _places(whole, step_ms), step_ms, WATCHING_SQL),
            {
                "audience": f"SELECT place, viewers FROM ({_watched('chosen', step_ms)})",
                "within": f"""
                    SELECT count(DISTINCT session_id) AS sessions
                    FROM chosen WHERE to_ms > {low * step_ms} AND from_ms < {high * step_ms}
                """,
            },
            **whole.values(),
        )
        watched |= dict.fromkeys(range(*known), 0.0)
        watched |= {row["place"]: row["viewers"] for row in answers["audience"] if row["place"] in watched}
        sessions += answers["within"][0]["sessions"] if choice in parts else 0
    return [
        {"at": as_clock(choice.local(at + moved)), "value": watched[place], "series": series}
        for series, when, moved in asked
        for place in range(*_known_places(when, known_from, step_ms))
        for at in [datetime.fromtimestamp(place * choice.bucket_s, UTC)]
    ], sessions


def by_value(lake: Reader, choice: Choice, column: str) -> list[dict[str, Any]]:
    """Return the audience of main content by the largest values of a column, and of all others together."""
    step_ms = choice.bucket_s * 1000
    spans = _watching(
        choice, _places(choice, step_ms), step_ms, "'playing'", by=f"coalesce({column}, '{UNKNOWN}')"
    )
    return read(
        lake,
        f"""
        WITH summed AS ({_watched(f"({spans})", step_ms)}), largest AS (
            SELECT value FROM summed GROUP BY value ORDER BY sum(viewers) DESC, value LIMIT {SERIES_MAX}
        )
        SELECT
            make_timestamptz(place * {step_ms * 1000}) AS at,
            if(value IN (FROM largest), value, 'all others') AS value,
            sum(viewers) AS viewers
        FROM summed GROUP BY ALL ORDER BY 1, 2
        """,
        **choice.values(),
    ).to_pylist()


def _places(choice: Choice, step_ms: int) -> tuple[int, int]:
    """Return the numbers of the first bucket of time whole within the period, and of the one behind the last."""
    since_ms, until_ms = (int(moment.timestamp() * 1000) for moment in (choice.since, choice.until))
    return -(-since_ms // step_ms), until_ms // step_ms


def _known_places(choice: Choice, known_from: datetime, step_ms: int) -> tuple[int, int]:
    """Return `_places` without those that began before `known_from`."""
    low, high = _places(choice, step_ms)
    low = max(low, -(-int(known_from.timestamp() * 1000) // step_ms))
    return low, max(low, high)


def _watching(choice: Choice, places: tuple[int, int], step_ms: int, doing: str, *, by: str = "1") -> str:
    """Return SQL: when sessions of a choice watched (`doing`) within buckets, each with its `value` of `by`."""
    low, high = places
    return f"""
        SELECT * FROM (
            SELECT
                session_id, value, span.doing <> 'playing' AS is_ad,
                greatest(epoch_ms(span.started_at), {low * step_ms}) AS from_ms,
                least(epoch_ms(span.ended_at), {high * step_ms}) AS to_ms
            FROM (
                SELECT session_id, {by} AS value, unnest(spans) AS span FROM counted_sessions
                WHERE ended_at >= $since AND started_at < $until AND {choice.condition()}
            ) WHERE span.doing IN ({doing})
        ) WHERE to_ms > from_ms
    """


def _watched(rows: str, step_ms: int) -> str:
    """Return SQL: for each bucket (`place`) and `value` of rows of `_watching`, how many watched in its mean."""
    return f"""
        SELECT
            place, value,
            sum(least(to_ms, (place + 1) * {step_ms}) - greatest(from_ms, place * {step_ms})) / {step_ms}
                AS viewers
        FROM (
            SELECT
                value, from_ms, to_ms,
                unnest(range(from_ms // {step_ms}, (to_ms - 1) // {step_ms} + 1)) AS place
            FROM {rows}
        ) GROUP BY place, value
    """
