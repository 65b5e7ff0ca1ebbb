"""The bar of filters that every page has, and the sessions that it leaves."""

import zoneinfo
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec

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
    "device": "device_type",
    "country": "country",
}
IN_ADDRESS = ("period", "compare", "n", "zone", *DIMENSIONS)  # what the bar has, by its names in the address
SAMPLES_MIN = ("10", "1", "30", "100", "1000")
VALUES_MAX = 300  # in the list of one dimension: those with the most sessions
UNKNOWN = "unknown"
# The arguments of the lake's table macros that take a period and filters, with the values of `macro_values`.
ASKED = "since := $since, until := $until, filters := $filters"
EMPTY = "Nothing has arrived yet. `make run` simulates viewers; README shows how to send an event with curl."


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
    compared: str = "the period before"  # in words

    def before(self) -> "Choice":
        """Return the same choice, of the period that this one is compared with."""
        return msgspec.structs.replace(self, since=self.since - self.back, until=self.until - self.back)

    def beside_a_week_before(self) -> list["Choice"]:
        """Return the same choice, compared with a week before; nothing if it is already."""
        week = timedelta(days=7)
        other = msgspec.structs.replace(self, back=week, compared="a week before")
        return [] if self.back == week else [other]

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
    def bucket(self) -> str:
        """The bucket of time in which a session started, as SQL."""
        return f"time_bucket(INTERVAL {self.bucket_s} SECOND, started_at)"

    def covers(self, begins: datetime, length: timedelta) -> bool:
        """Return whether a stretch of time is whole within the period: only such a one is drawn as a point."""
        return self.since <= begins and begins + length <= self.until

    @property
    def bucket_words(self) -> str:
        """The width of a point, as a person says it."""
        minutes = self.bucket_s // 60
        return "minute" if minutes == 1 else f"{minutes} minutes" if minutes < 120 else f"{minutes // 60} hours"

    def local(self, moment: datetime) -> datetime:
        """The wall clock of a moment in the zone that the reader chose."""
        return moment.astimezone(zoneinfo.ZoneInfo(self.zone))

    def clock(self, moment: datetime, *, seconds: bool = False) -> str:
        """Return the wall clock of a moment as text, to the minute or to the second."""
        return f"{self.local(moment):%Y-%m-%d %H:%M{':%S' if seconds else ''}}"

    def condition(self) -> str:
        """The condition on a row of `counted_sessions`, without the period; values are those of `values`."""
        return " AND ".join(
            [
                "true",
                *(f"list_contains($in_{place}, {cut(name)})" for place, name in enumerate(self.among)),
            ]
        )

    def started(self) -> str:
        """The condition on a row of `counted_sessions`: it started in the period, and the filters leave it."""
        return f"started_at >= $since AND started_at < $until AND {self.condition()}"

    def among_values(self) -> dict[str, object]:
        """The values that the condition names."""
        return {f"in_{place}": values for place, values in enumerate(self.among.values())}

    def values(self) -> dict[str, object]:
        """The values that the condition and the period name."""
        return {"since": self.since, "until": self.until, **self.among_values()}

    def filters(self) -> dict[str, list[str]]:
        """The values of each column, as the lake's table macros take them; an empty one is unknown."""
        return {
            DIMENSIONS[name]: [*values, ""] if UNKNOWN in values else values for name, values in self.among.items()
        }

    def macro_values(self) -> dict[str, object]:
        """The values that `ASKED` names."""
        return {"since": self.since, "until": self.until, "filters": self.filters()}

    @property
    def words(self) -> str:
        """The choice, as a person says it."""
        chosen = [f"{name} {', '.join(values)}" for name, values in self.among.items()]
        return "; ".join([f"{self.clock(self.since)} to {self.clock(self.until)} ({self.zone})", *chosen])


def stretches(choices: Iterable[Choice]) -> list[tuple[Choice, list[Choice]]]:
    """Return the same choice of each stretch of time that several cover without a hole, with those within it.

    A question about a stretch costs little more than one about a part of it.
    """
    found: list[tuple[Choice, list[Choice]]] = []
    for each in sorted(choices, key=lambda choice: choice.since):
        if found and each.since <= found[-1][0].until:
            whole, parts = found.pop()
            found.append((msgspec.structs.replace(whole, until=max(whole.until, each.until)), [*parts, each]))
        else:
            found.append((each, [each]))
    return found


def cut(name: str) -> str:
    """Return the value of a dimension as an expression over `sessions`: that of its column, or `UNKNOWN`."""
    return f"coalesce({DIMENSIONS[name]}, '{UNKNOWN}')"


def newest_moment(lake: Reader) -> datetime | None:
    """Return the newest moment that the lake knows, or None while it is empty."""
    row = read(lake, "SELECT max(coalesce(watermark, partition_time)) AS newest_at FROM ledger").to_pylist()[0]
    newest: datetime | None = row["newest_at"]
    return newest


def first_moment(lake: Reader) -> datetime | None:
    """Return when the first session of the lake arrived, of what was before nothing is known; None without one."""
    row = read(
        lake,
        "SELECT min(first_received_at) AS first_at FROM ("
        "SELECT first_received_at FROM session_versions UNION ALL SELECT first_received_at FROM open_sessions)",
    ).to_pylist()[0]
    first: datetime | None = row["first_at"]
    return first


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
    for name, known in values_of(lake).items():
        wanted = [value for value in given.get_all(name) if value in known]
        elements[name] = mo.ui.multiselect(known, value=wanted, label=name)
    return mo.ui.dictionary(elements)


def values_of(lake: Reader) -> dict[str, list[str]]:
    """Return the values that each dimension has in 30 days, those with the most sessions first."""
    columns = [cut(name) for name in DIMENSIONS]
    sets = ", ".join(f"({column})" for column in columns)
    rows = read(
        lake,
        f"""
        SELECT
            list_position([{", ".join(f"grouping({column})" for column in columns)}], 0) - 1 AS place,
            coalesce({", ".join(columns)}) AS value
        FROM counted_sessions
        WHERE started_at >= (SELECT max(coalesce(watermark, partition_time)) FROM ledger) - INTERVAL 30 DAY
        GROUP BY GROUPING SETS ({sets})
        QUALIFY row_number() OVER (PARTITION BY place ORDER BY count(*) DESC, value) <= {VALUES_MAX}
        ORDER BY place, count(*) DESC, value
        """,
    ).to_pylist()
    names = list(DIMENSIONS)
    return {name: [row["value"] for row in rows if names[row["place"]] == name] for name in names}


def shown(mo: Any, bar: Any) -> Any:
    """Return the bar as it is laid out: the period first, the dimensions below."""
    first = [bar[name] for name in ("period", "compare", "n", "zone")]
    rest = [bar[name] for name in DIMENSIONS]
    return mo.vstack([mo.hstack(row, justify="start", wrap=True, gap=1) for row in (first, rest)], gap=0.5)


def chosen(mo: Any, value: Mapping[str, Any], newest: datetime) -> Choice:
    """Return what the bar says at the newest moment that the lake knows, and put it into the page's address."""
    given = mo.query_params()
    for name, now in value.items():
        if now and given.get_all(name) != (wanted := now if isinstance(now, list) else [now]):
            given.set(name, wanted if len(wanted) > 1 else wanted[0])
        elif not now and name in given:
            given.remove(name)
    length = PERIODS[value["period"]]
    until = newest + timedelta(milliseconds=1)  # what happened right then is in
    back = COMPARED[value["compare"]] or length
    return Choice(
        until - length,
        until,
        back,
        {name: value[name] for name in DIMENSIONS if value[name]},
        int(value["n"]),
        value["zone"],
        value["compare"],
    )
