"""One session as a picture: what it did, its states, its events and their arrivals, its playhead, its bitrate."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import altair as alt
import msgspec

from lake.one_session import Timeline
from notebooks.colours import DOING, NOW
from notebooks.filters import Choice
from notebooks.pictures import data
from notebooks.questions import as_clock

LATE_MS = 10_000
ROOM_PX = 90
SECONDS = "utcFormat(datum.value, '%H:%M:%S')"
SENT, ARRIVED = "sent", "arrived"
Rows = list[dict[str, Any]]


class Viewing(msgspec.Struct, frozen=True):
    """The rows of the picture; moments (`from`, `to`, `at`) are wall clocks of the zone that the reader chose.

    `doing`: spans. `states`: player states, each time from being on to being off. `marks`: each event twice, when
    it happened (`sent`) and when it came (`arrived`). `heads`: the playhead with each event. `bitrates`: the
    bitrate from then on, as reported. `left_out`: how many arrivals are later than the end by more than the
    session's length, and are not drawn.
    """

    doing: Rows
    states: Rows
    marks: Rows
    heads: Rows
    bitrates: Rows
    left_out: int


def viewing(timeline: Timeline, spans: Sequence[Mapping[str, Any]], choice: Choice) -> Viewing:
    """Return what the picture of a session shows; `spans` are its rows of the view `spans`."""

    def clock(moment: datetime) -> str:
        return as_clock(choice.local(moment))

    def at(ms: float) -> str:
        return clock(datetime.fromtimestamp(ms / 1000, UTC))

    length_ms = timeline.ended_ms - timeline.started_ms
    latest_ms = timeline.ended_ms + max(length_ms, LATE_MS)
    marks: Rows = []
    for line in timeline.lines:
        about = {"event": line.event_type, "took_ms": line.delay_ms, "is_late": line.delay_ms > LATE_MS}
        marks.append({"at": at(_happened_ms(timeline, line)), "row": SENT, **about})
        if line.received_ms <= latest_ms:
            marks.append({"at": at(line.received_ms), "row": ARRIVED, **about})
    return Viewing(
        doing=[
            {
                "doing": span["doing"],
                "from": clock(span["started_at"]),
                "to": clock(span["ended_at"]),
                "seconds": (span["ended_at"] - span["started_at"]).total_seconds(),
            }
            for span in spans
        ],
        states=list(_states(timeline, at)),
        marks=marks,
        heads=[
            {"at": at(_happened_ms(timeline, line)), "playhead_s": line.playhead_s, "event": line.event_type}
            for line in timeline.lines
        ],
        bitrates=[
            {"at": at(_happened_ms(timeline, line)), "bitrate": line.bitrate}
            for line in timeline.lines
            if line.bitrate is not None
        ],
        left_out=sum(line.received_ms > latest_ms for line in timeline.lines),
    )


def _happened_ms(timeline: Timeline, line: Any) -> float:
    """Return when an event happened, by the true clock: spans have that, too."""
    return timeline.started_ms + line.at_s * 1000


def _states(timeline: Timeline, at: Callable[[float], str]) -> Iterator[dict[str, Any]]:
    """Yield each time that a player state was on; one that never ends is on until the session's end."""
    since: dict[str, float] = {}
    ends: list[tuple[float, list[str]]] = [(_happened_ms(timeline, line), line.states) for line in timeline.lines]
    for now_ms, on in [*ends, (timeline.ended_ms, [])]:
        for name in [name for name in since if name not in on]:
            yield {
                "state": name,
                "from": at(since[name]),
                "to": at(now_ms),
                "seconds": (now_ms - since.pop(name)) / 1000,
            }
        for name in on:
            since.setdefault(name, now_ms)


def picture(mo: Any, shown: Viewing) -> Any:
    """Return the picture: charts below each other, in which one moment is one place."""
    moments = [row["at"] for row in shown.marks] + [row[edge] for row in shown.doing for edge in ("from", "to")]
    shared: dict[str, Any] = {
        "title": None,
        "scale": alt.Scale(type="utc", domain=[min(moments), max(moments)]),
        "axis": alt.Axis(labelExpr=SECONDS, labelFlush=True),
    }
    # The same room on the left of each.
    room: dict[str, Any] = {"minExtent": ROOM_PX, "maxExtent": ROOM_PX}
    did = _doing(shown.doing, shared, _named("blank", room, labels=False))
    charts = [did, _marks(shown.marks, shared, _named("row", room, sort=[SENT, ARRIVED]))]
    if shown.states:
        charts.insert(1, _bars(shown.states, shared, _named("state", room)))
    charts.append(_line(shown.heads, "playhead_s", "playhead, s", shared, room, interpolate="linear"))
    if shown.bitrates:
        charts.append(
            _line(shown.bitrates, "bitrate", "bitrate, as reported", shared, room, interpolate="step-after")
        )
    return mo.vstack(charts, gap=0)


def _named(field: str, room: Mapping[str, Any], *, labels: bool = True, sort: Sequence[str] | None = None) -> Any:
    axis = alt.Axis(labels=labels, labelLimit=ROOM_PX - 10, ticks=False, domain=False, **room)
    return alt.Y(f"{field}:N", title=None, sort=sort, axis=axis)


def _doing(rows: Rows, shared: Mapping[str, Any], blank: Any) -> Any:
    """Return what a session did as bars in a row. `shared` is of each time axis, `blank` the axis beside it."""
    names = list(DOING)
    return (
        alt.Chart(data(rows), height=60, width="container")
        .mark_bar(height=40)
        .encode(
            alt.X("from:T", **shared),
            alt.X2("to:T"),
            blank,
            alt.Color(
                "doing:N",
                title=None,
                scale=alt.Scale(domain=names, range=[DOING[name] for name in names]),
                legend=alt.Legend(
                    orient="bottom", values=[name for name in names if any(row["doing"] == name for row in rows)]
                ),
            ),
            tooltip=["doing:N", alt.Tooltip("seconds:Q", format=",.1f")],
        )
    )


def _bars(rows: Rows, shared: Mapping[str, Any], named: Any) -> Any:
    """Return player states, a row each."""
    return (
        alt.Chart(data(rows), height=alt.Step(22), width="container")
        .mark_bar(color=NOW, height=10)
        .encode(
            alt.X("from:T", **shared),
            alt.X2("to:T"),
            named,
            tooltip=["state:N", alt.Tooltip("seconds:Q", format=",.1f")],
        )
    )


def _marks(rows: Rows, shared: Mapping[str, Any], named: Any) -> Any:
    """Return events as ticks: when they happened, and below when they came; late ones are red."""
    late = alt.Scale(domain=[False, True], range=["#444444", "#D55E00"])
    return (
        alt.Chart(data(rows), height=60, width="container")
        .mark_tick(thickness=2, size=24)
        .encode(
            alt.X("at:T", **shared),
            named,
            alt.Color("is_late:N", scale=late, legend=None),
            tooltip=["row:N", "event:N", "took_ms:Q"],
        )
    )


def _line(
    rows: Rows, value: str, title: str, shared: Mapping[str, Any], room: Mapping[str, Any], *, interpolate: Any
) -> Any:
    """Return a number over the time of the session."""
    return (
        alt.Chart(
            data(rows), height=120, width="container", title=alt.TitleParams(title, anchor="start", fontSize=11)
        )
        .mark_line(color=NOW, interpolate=interpolate)
        .encode(
            alt.X("at:T", **shared),
            alt.Y(f"{value}:Q", title=None, scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=5, **room)),
            tooltip=[alt.Tooltip(f"{value}:Q", format=",.6~g")],
        )
    )
