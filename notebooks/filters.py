"""The bar of filters that every page has, and the sessions that it leaves."""

import zoneinfo
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pyarrow as pa

from lake.metrics import Metric, read_catalogue
from lake.reading import Reader
from notebooks.connect import read

PERIODS = {
    "last hour": timedelta(hours=1),
    "last 6 hours": timedelta(hours=6),
    "last 24 hours": timedelta(days=1),
    "last 7 days": timedelta(days=7),
    "last 30 days": timedelta(days=30),
}
COMPARED = {"the period before": None, "a day before": timedelta(days=1), "a week before": timedelta(days=7)}
# What sessions are filtered and cut by: the word for it, and the column of `sessions`.
DIMENSIONS = {
    "site": "site",
    "content": "content_id",
    "player": "player_name",
    "app version": "app_version",
    "channel": "channel",
    "cdn": "cdn",
}
SAMPLES_MIN = ("10", "1", "30", "100", "1000")
VALUES_MAX = 300  # in the list of one dimension: those with the most sessions
UNKNOWN = "unknown"
WATCHING = ("playing", "ad", "ad_outside")


class Choice(msgspec.Struct, frozen=True):
    """What a reader chose: a period and the one it is compared with, and values of dimensions.

    `sample_min` is the least number of sessions that a number is shown for.
    """

    since: datetime
    until: datetime
    back: timedelta
    among: Mapping[str, list[str]]
    sample_min: int
    zone: str

    def before(self) -> "Choice":
        """Return the same choice, of the period that this one is compared with."""
        return msgspec.structs.replace(self, since=self.since - self.back, until=self.until - self.back)

    @property
    def bucket_s(self) -> int:
        """The width of a point in a chart over time, seconds."""
        hours = (self.until - self.since) / timedelta(hours=1)
        return next(
            width
            for limit, width in ((2, 60), (12, 300), (48, 1800), (24 * 8, 7200), (1e9, 28800))
            if hours <= limit
        )

    @property
    def bucket_words(self) -> str:
        """The width of a point, as a person says it."""
        minutes = self.bucket_s // 60
        return "minute" if minutes == 1 else f"{minutes} minutes" if minutes < 120 else f"{minutes // 60} hours"

    def condition(self) -> str:
        """The condition on a row of `counted_sessions`, without the period; values are those of `values`."""
        return " AND ".join(
            [
                "true",
                *(
                    f"list_contains($in_{place}, coalesce({DIMENSIONS[name]}, '{UNKNOWN}'))"
                    for place, name in enumerate(self.among)
                ),
            ]
        )

    def values(self) -> dict[str, object]:
        """The values that the condition and the period name."""
        among = {f"in_{place}": values for place, values in enumerate(self.among.values())}
        return {"since": self.since, "until": self.until, **among}

    @property
    def words(self) -> str:
        """The choice, as a person says it."""
        zone = zoneinfo.ZoneInfo(self.zone)
        since, until = (moment.astimezone(zone).strftime("%Y-%m-%d %H:%M") for moment in (self.since, self.until))
        chosen = [f"{name} {', '.join(values)}" for name, values in self.among.items()]
        return "; ".join([f"{since} to {until} ({self.zone})", *chosen])


def newest_moment(lake: Reader) -> datetime | None:
    """Return the newest moment that the lake knows, or None while it is empty."""
    row = read(lake, "SELECT max(coalesce(watermark, partition_time)) AS newest_at FROM ledger").to_pylist()[0]
    newest: datetime | None = row["newest_at"]
    return newest


def bar(mo: Any, lake: Reader, *, period: str = "last 24 hours") -> Any:
    """Return the bar, with what the address of the page says; its value is for `chosen`."""
    given = mo.query_params()

    def one(name: str, options: Mapping[str, object] | tuple[str, ...], label: str, usual: str) -> Any:
        value = given.get(name)
        return mo.ui.dropdown(list(options), value=value if value in options else usual, label=label)

    elements = {
        "period": one("period", PERIODS, "period", period),
        "compare": one("compare", COMPARED, "compared with", "the period before"),
        "n": one("n", SAMPLES_MIN, "at least n sessions", SAMPLES_MIN[0]),
        "zone": one("zone", tuple(sorted(zoneinfo.available_timezones())), "zone", "UTC"),
    }
    for name, column in DIMENSIONS.items():
        known = values_of(lake, column)
        wanted = [value for value in given.get_all(name) if value in known]
        elements[name] = mo.ui.multiselect(known, value=wanted, label=name)
    return mo.ui.dictionary(elements)


def values_of(lake: Reader, column: str) -> list[str]:
    """Return the values that a dimension has in 30 days, those with the most sessions first."""
    rows = read(
        lake,
        f"SELECT coalesce({column}, '{UNKNOWN}') AS value FROM counted_sessions "
        "WHERE started_at >= (SELECT max(coalesce(watermark, partition_time)) FROM ledger) - INTERVAL 30 DAY "
        f"GROUP BY value ORDER BY count(*) DESC, value LIMIT {VALUES_MAX}",
    )
    return [row["value"] for row in rows.to_pylist()]


def shown(mo: Any, bar: Any) -> Any:
    """Return the bar as it is laid out: the period first, the dimensions below."""
    first = [bar[name] for name in ("period", "compare", "n", "zone")]
    rest = [bar[name] for name in DIMENSIONS]
    return mo.vstack([mo.hstack(row, justify="start", wrap=True, gap=1) for row in (first, rest)], gap=0.5)


def chosen(mo: Any, value: Mapping[str, Any], newest: datetime | None) -> Choice:
    """Return what the bar says at the newest moment that the lake knows, and put it into the page's address."""
    given = mo.query_params()
    for name, now in value.items():
        if now and given.get_all(name) != (wanted := now if isinstance(now, list) else [now]):
            given.set(name, wanted if len(wanted) > 1 else wanted[0])
        elif not now and name in given:
            given.remove(name)
    length = PERIODS[value["period"]]
    until = (newest or datetime.now(UTC)) + timedelta(milliseconds=1)  # what happened right then is in
    back = COMPARED[value["compare"]] or length
    return Choice(
        until - length,
        until,
        back,
        {name: value[name] for name in DIMENSIONS if value[name]},
        int(value["n"]),
        value["zone"],
    )


def definitions() -> dict[str, Metric]:
    """Return the metrics of the catalogue by name."""
    return {metric.name: metric for metric in read_catalogue().metric}


def metrics(
    lake: Reader, choice: Choice, names: list[str], *, by: str = "", order: str = "n DESC"
) -> list[dict[str, Any]]:
    """Return metrics of the catalogue over the sessions that the choice leaves, with their number `n`.

    With `by`, an expression over `counted_sessions`, one row for each of its values, as `value`.
    """
    known = definitions()
    columns = [f"{by} AS value"] if by else []
    columns += ["count(*) AS n", *(f"{known[name].sql} AS {name}" for name in names)]
    text = (
        f"SELECT {', '.join(columns)} FROM counted_sessions "
        f"WHERE started_at >= $since AND started_at < $until AND {choice.condition()}"
    )
    if by:
        text += f" GROUP BY value ORDER BY {order}"
    return read(lake, text, **choice.values()).to_pylist()


def heard_now(lake: Reader, choice: Choice) -> dict[str, int]:
    """Return what the open sessions that the choice leaves do at the newest moment: `watching_now` of them."""
    among = {name: value for name, value in choice.values().items() if name.startswith("in_")}
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
        **among,
    ).to_pylist()
    return dict(row)


def audience(lake: Reader, choice: Choice) -> pa.Table:
    """Return how many watched, in the mean of each bucket of time: main content or ads played, by the spans.

    Buckets that are not over are left out, and so are sessions that closed before there were spans.
    """
    step_ms = choice.bucket_s * 1000
    low, high = (int(moment.timestamp() * 1000) // step_ms for moment in (choice.since, choice.until))
    names = ", ".join(f"'{name}'" for name in WATCHING)
    return read(
        lake,
        f"""
        WITH chosen AS (
            SELECT unnest(spans) AS span FROM counted_sessions
            WHERE ended_at >= $since AND started_at < $until AND {choice.condition()}
        ), played AS (
            SELECT
                greatest(epoch_ms(span.started_at), {low * step_ms}) AS from_ms,
                least(epoch_ms(span.ended_at), {high * step_ms}) AS to_ms
            FROM chosen WHERE span.doing IN ({names})
        ), cut AS (
            SELECT from_ms, to_ms, unnest(range(from_ms // {step_ms}, (to_ms - 1) // {step_ms} + 1)) AS place
            FROM played WHERE to_ms > from_ms
        ), summed AS (
            SELECT
                place,
                sum(least(to_ms, (place + 1) * {step_ms}) - greatest(from_ms, place * {step_ms})) / {step_ms}
                    AS viewers
            FROM cut GROUP BY place
        )
        SELECT make_timestamptz(place * {step_ms * 1000}) AS at, coalesce(viewers, 0) AS viewers
        FROM (SELECT unnest(range({low}, {high})) AS place) LEFT JOIN summed USING (place) ORDER BY place
        """,
        **choice.values(),
    )
