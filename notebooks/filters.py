"""The bar of filters that every page has, and the sessions that it leaves."""

import html
import zoneinfo
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, time, timedelta
from typing import Any

import msgspec

from lake.dimensions import COLUMNS
from lake.reading import Reader
from notebooks.connect import read, read_each

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
OTHERS = tuple(sorted(set(COLUMNS) - set(DIMENSIONS.values())))  # columns that the bar filters by one at a time
OWN = "dims."  # and keys of custom metadata, as the lake's macros name them
EDGES = ("since", "until")
# What the bar has, by its names in the address.
IN_ADDRESS = ("period", *EDGES, "compare", "n", "zone", *DIMENSIONS, "dimension", "value")
SAMPLES_MIN = ("10", "1", "30", "100", "1000")
VALUES_MAX = 300  # in the list of one dimension: those with the most sessions
KEYS_MAX = 50
NAMED_MAX = 10  # values of another dimension, named to choose from
YEARS = range(2000, 2200)
UNKNOWN = "unknown"
# The arguments of the lake's table macros that take a period and filters, with the values of `macro_values`.
ASKED = "since := $since, until := $until, filters := $filters"
EMPTY = "Nothing has arrived yet. `make run` simulates viewers; README shows how to send an event with curl."


class Choice(msgspec.Struct, frozen=True):
    """What a reader chose: a period and the one it is compared with, and values of dimensions.

    `sample_min` is the least number of sessions that a number is shown for. `newest` is the newest moment of the
    lake; the period may end before it. `remarks` say what of the bar is ignored.
    """

    since: datetime
    until: datetime
    back: timedelta
    among: Mapping[str, list[str]]
    sample_min: int
    zone: str
    compared: str = "the period before"  # in words
    newest: datetime | None = None
    remarks: tuple[str, ...] = ()

    @property
    def now(self) -> datetime:
        """The moment right behind the newest one of the lake."""
        return self.until if self.newest is None else _behind(self.newest)

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
            for limit, width in ((2, 60), (12, 300), (48, 1800), (24 * 8, 7200), (24 * 100, 28800), (1e9, 86400))
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
    def is_whole(self) -> str:
        """The condition that the bucket of time from `begins` is whole within the period, as SQL over `values`."""
        width = f"INTERVAL {self.bucket_s} SECOND"
        return f"begins >= $since::TIMESTAMPTZ AND begins + {width} <= $until::TIMESTAMPTZ"

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
            DIMENSIONS.get(name, name): [*values, ""] if UNKNOWN in values else values
            for name, values in self.among.items()
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
    return f"coalesce({column(name)}, '{UNKNOWN}')"


def column(name: str) -> str:
    """Return a dimension as an expression over `sessions`; null where it is unknown.

    It is one of `DIMENSIONS`, of `OTHERS`, or `dims.<key>` with any key. Raises KeyError for any other.
    """
    if name.startswith(OWN):
        key = name.removeprefix(OWN).replace("'", "''")
        return f"dims['{key}']"
    if name in OTHERS:
        return f'"{name}"::VARCHAR'
    return DIMENSIONS[name]


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


def in_address(mo: Any, name: str) -> str | None:
    """Return what the address of the page says of a name, the last if it does so several times."""
    values: list[str] = mo.query_params().get_all(name)
    return values[-1] if values else None


def bar(mo: Any, lake: Reader, *, period: str = "last 24 hours") -> Any:
    """Return the bar, with what the address of the page says; its value is for `chosen`."""
    given = mo.query_params()
    values, keys = values_of(lake)

    def one(name: str, options: Iterable[str], label: str, usual: str | None) -> Any:
        listed = list(options)
        value = in_address(mo, name)
        return mo.ui.dropdown(listed, value=value if value in listed else usual, label=label)

    def text(name: str, label: str, placeholder: str) -> Any:
        return mo.ui.text(value=in_address(mo, name) or "", label=label, placeholder=placeholder)

    elements = {
        "period": one("period", PERIODS, "period", period),
        "since": text("since", "or since", "2026-08-03 20:15"),
        "until": text("until", "until", "2026-08-03"),
        "compare": one("compare", COMPARED, "compared with", "the period before"),
        "n": one("n", SAMPLES_MIN, "at least n sessions", SAMPLES_MIN[0]),
        "zone": one("zone", sorted(zoneinfo.available_timezones()), "zone", "UTC"),
        "dimension": one("dimension", [*OTHERS, *keys], "another dimension", None),
        "value": text("value", "has the value", "choose a dimension"),
    }
    for name, known in values.items():
        wanted = [value for value in given.get_all(name) if value in known]
        elements[name] = mo.ui.multiselect(known, value=wanted, label=name)
    return mo.ui.dictionary(elements)


def values_of(lake: Reader) -> tuple[dict[str, list[str]], list[str]]:
    """Return the values that each dimension has in 30 days, those with the most sessions first.

    And the keys of custom metadata, as `dims.<key>`.
    """
    names = list(DIMENSIONS)
    columns = [f"d{place}" for place in range(len(names))]
    named_columns = [f"{cut(name)} AS {column}" for name, column in zip(names, columns, strict=True)]
    grouped = ", ".join(f"grouping({column})" for column in columns)
    answers = read_each(
        lake,
        f"""
        SELECT {", ".join(named_columns)}, map_keys(dims) AS keys
        FROM counted_sessions
        WHERE started_at >= (SELECT max(coalesce(watermark, partition_time)) FROM ledger) - INTERVAL 30 DAY
        """,
        {
            "listed": f"""
                SELECT
                    list_position([{grouped}], 0) - 1 AS place, coalesce({", ".join(columns)}) AS value
                FROM chosen
                GROUP BY GROUPING SETS ({", ".join(f"({column})" for column in columns)})
                QUALIFY row_number() OVER (PARTITION BY place ORDER BY count(*) DESC, value) <= {VALUES_MAX}
                ORDER BY place, count(*) DESC, value
            """,
            "keys": f"""
                SELECT key FROM (SELECT unnest(keys) AS key FROM chosen)
                GROUP BY key ORDER BY count(*) DESC, key LIMIT {KEYS_MAX}
            """,
        },
    )
    return (
        {
            name: [row["value"] for row in answers["listed"] if row["place"] == place]
            for place, name in enumerate(names)
        },
        [f"{OWN}{row['key']}" for row in answers["keys"]],
    )


def shown(mo: Any, bar: Any) -> Any:
    """Return the bar as it is laid out: the period, the dimensions, and what of the address is unknown."""
    first = [bar[name] for name in ("period", *EDGES, "compare", "n", "zone")]
    rest = [bar[name] for name in (*DIMENSIONS, "dimension", "value")]
    rows = [mo.hstack(row, justify="start", wrap=True, gap=1) for row in (first, rest)]
    return mo.vstack([*rows, *(sentence(mo, words) for words in _unknown(mo, bar))], gap=0.5)


def sentence(mo: Any, words: str) -> Any:
    """Return words as a paragraph; values in them come from players and addresses, so they are text."""
    return mo.Html(f"<p>{html.escape(words)}</p>")


def _unknown(mo: Any, bar: Any) -> Iterator[str]:
    """Return a sentence about each value of the address that the bar does not offer."""
    given = mo.query_params()
    for name in IN_ADDRESS:
        options = getattr(bar[name], "options", None)  # a field for text has none
        for value in given.get_all(name):
            if options is not None and value not in options:
                yield f"The address has {name} {value[:80]!r}, which is unknown here: it is ignored."


def chosen(mo: Any, value: Mapping[str, Any], newest: datetime) -> Choice:
    """Return what the bar says at the newest moment that the lake knows, and put it into the page's address."""
    given = mo.query_params()
    for name, now in value.items():
        if now and given.get_all(name) != (wanted := now if isinstance(now, list) else [now]):
            given.set(name, wanted if len(wanted) > 1 else wanted[0])
        elif not now and name in given:
            given.remove(name)
    since, until, remarks = _period(value, newest)
    among = {name: value[name] for name in DIMENSIONS if value[name]}
    other, wanted_value = value["dimension"], value["value"].strip()
    if other and wanted_value:
        among[other] = [wanted_value]
    elif wanted_value:
        remarks.append(f"The value {wanted_value!r} is ignored: choose another dimension that has it.")
    return Choice(
        since,
        until,
        COMPARED[value["compare"]] or until - since,
        among,
        int(value["n"]),
        value["zone"],
        value["compare"],
        newest,
        tuple(remarks),
    )


def named(lake: Reader, choice: Choice, dimension: str) -> str:
    """Return the values that a dimension has in the chosen sessions, those with the most first, as a sentence."""
    rows = read(
        lake,
        f"SELECT {cut(dimension)} AS value FROM counted_sessions WHERE {choice.started()} "
        f"GROUP BY value ORDER BY count(*) DESC, value LIMIT {NAMED_MAX}",
        **choice.values(),
    ).to_pylist()
    values = ", ".join(row["value"] for row in rows) or "none"
    return f"Write a value of {dimension} beside it. Those with the most sessions of this period: {values}."


def _period(value: Mapping[str, Any], newest: datetime) -> tuple[datetime, datetime, list[str]]:
    """Return the beginning and the end of the period that the bar says, and what of it is ignored, in words.

    `since` and `until` are stronger than a period with a name; nothing ends behind the newest moment.
    """
    zone = zoneinfo.ZoneInfo(value["zone"])
    written = {edge: value[edge].strip() for edge in EDGES}
    known = {edge: moment(text, zone, is_end=edge == "until") for edge, text in written.items()}
    remarks = [
        f"{edge} is {text[:80]!r}, which is no time: write 2026-08-03, or 2026-08-03 20:15. It is ignored."
        for edge, text in written.items()
        if text and known[edge] is None
    ]
    length = PERIODS[value["period"]]
    end = _behind(newest)
    until = min(known["until"] or end, end)
    since = known["since"] or until - length
    if since >= until:
        remarks.append("Since and until are ignored: nothing that has happened is between them.")
        since, until = end - length, end
    return since, until, remarks


def moment(text: str, zone: zoneinfo.ZoneInfo, *, is_end: bool = False) -> datetime | None:
    """Return the moment that a reader wrote: a day, or a day and a time; None if it is neither.

    A day is its beginning in the zone, or its end if the moment `is_end` of a period.
    """
    try:
        if len(text) <= len("2026-08-03"):
            day = date.fromisoformat(text)
            found = datetime.combine(day + timedelta(days=is_end), time(), zone)
        else:
            found = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        return None
    if found.year not in YEARS:
        return None
    return found if found.tzinfo else found.replace(tzinfo=zone)


def _behind(newest: datetime) -> datetime:
    """Return the end of a period in which the newest moment is."""
    return newest + timedelta(milliseconds=1)
