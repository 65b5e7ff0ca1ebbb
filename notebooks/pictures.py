"""Charts, alike on every page: times in the reader's zone, n always."""

import functools
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, Concatenate, ParamSpec

import altair as alt

from notebooks.colours import BEFORE, COLOURS, NOW
from notebooks.questions import as_clock

DASHES = [[1, 0], [5, 3], [2, 2], [8, 2], [1, 0], [5, 3], [2, 2], [8, 2]]
SHAPES = ["circle", "diamond", "square", "triangle-up"]
BARS_MAX = 40
ROWS_DRAWN_MAX = 5_000
DATES_MAX = 10  # on an axis of days
POINTS_MAX = 60  # lines of fewer rows show each as a point
CLOCK = "utcFormat(datum.value, utchours(datum.value) || utcminutes(datum.value) ? '%H:%M' : '%a %d %b')"
_MOMENT = alt.Tooltip("at:T", title="from", timeUnit="utcyearmonthdatehoursminutes")

P = ParamSpec("P")
Rows = Sequence[Mapping[str, Any]]


def _or_a_sentence(picture: Callable[Concatenate[Rows, P], Any]) -> Callable[Concatenate[Rows, P], Any]:
    """Let a picture without rows be a sentence: with an empty legend it is as high as a canvas can be."""

    @functools.wraps(picture)
    def drawn(rows: Rows, /, *arguments: P.args, **options: P.kwargs) -> Any:
        return picture(rows, *arguments, **options) if rows else _in_words("There is nothing to draw yet.")

    return drawn


def _in_words(sentence: str) -> Any:
    return (
        alt.Chart(data([{"sentence": sentence}]), height=30, width="container")
        .mark_text(align="left", fontSize=14, color="black")
        .encode(x=alt.value(0), text="sentence:N")
        .configure_view(stroke=None)
    )


@_or_a_sentence
def over_time(rows: Sequence[Mapping[str, Any]], *, title: str, note: str, height: int = 240) -> Any:
    """Return lines over time, one for each `series`; rows have `at`, `value` and `series`.

    `at` is the wall clock of the zone that the reader chose, as text, so that no browser shifts it. Rows of the
    first series may have `low` and `high`, which are drawn as a band.
    """
    names = list(dict.fromkeys(row["series"] for row in rows))
    drawn = (
        alt.Chart(data(rows), height=height, width="container")
        .mark_line(point=len(rows) < POINTS_MAX)
        .encode(
            _time(note, rows),
            alt.Y("value:Q", title=title, scale=alt.Scale(zero=True)),
            series(names),
            alt.StrokeDash("series:N", scale=alt.Scale(domain=names, range=DASHES), legend=None),
            tooltip=[_MOMENT, "series:N", alt.Tooltip("value:Q", format=",.4~f")],
        )
    )
    banded = [row for row in rows if "low" in row]
    if not banded:
        return drawn
    extent = [alt.Tooltip(f"{edge}:Q", format=",.4~f") for edge in ("low", "high")]
    band = (
        alt.Chart(data(banded))
        .mark_area(opacity=0.25, color=NOW)
        .encode(_time(note, rows), alt.Y("low:Q"), alt.Y2("high:Q"), tooltip=[_MOMENT, *extent])
    )
    return band + drawn


def _time(note: str, rows: Sequence[Mapping[str, Any]]) -> Any:
    """Return the axis of `at`; of more than two days, with a tick at midnight, so that each label is a date."""
    moments = [datetime.fromisoformat(row["at"]) for row in rows]
    days = (max(moments) - min(moments)).days if moments else 0
    ticks: dict[str, Any] = {"tickCount": {"interval": "day", "step": 1 + days // DATES_MAX}} if days >= 2 else {}
    return alt.X(
        "at:T",
        title=note,
        axis=alt.Axis(labelOverlap=True, labelSeparation=8, labelExpr=CLOCK, **ticks),
        scale=alt.Scale(type="utc"),
    )


def series(names: Sequence[str], *, grey: str = "", across: int = 0) -> Any:
    """Return the colour of each series, the first in `NOW`, with a legend below of `across` names per line."""
    colours = [BEFORE if name == grey else COLOURS[place % len(COLOURS)] for place, name in enumerate(names)]
    scale = alt.Scale(domain=list(names), range=colours)
    return alt.Color(
        "series:N", title=None, scale=scale, legend=alt.Legend(orient="bottom", labelLimit=300, columns=across)
    )


def bars(rows: Sequence[Mapping[str, Any]], value: str, label: str, *, title: str) -> Any:
    """Return horizontal bars, in the order of the rows; tooltips show every column."""
    columns = list(rows[0]) if rows else [label, value]
    return (
        alt.Chart(data(rows), height=alt.Step(22), width="container")
        .mark_bar(color=NOW)
        .encode(
            alt.X(f"{value}:Q", title=title),
            alt.Y(f"{label}:N", title=None, sort=None, axis=alt.Axis(labelLimit=280)),
            tooltip=[f"{column}:N" for column in columns],
        )
    )


@_or_a_sentence
def stacked(
    rows: Sequence[Mapping[str, Any]],
    *,
    title: str,
    note: str,
    height: int = 260,
    names: Sequence[str] | None = None,
) -> Any:
    """Return stacked areas over time, one for each `series`; rows as for `over_time`.

    `names`: the series in the order of their colours, else that of the alphabet.
    """
    return (
        alt.Chart(data(rows), height=height, width="container")
        .mark_area()
        .encode(
            _time(note, rows),
            alt.Y("value:Q", title=title, stack="zero"),
            series(names or sorted({row["series"] for row in rows})),
            tooltip=[_MOMENT, "series:N", alt.Tooltip("value:Q", format=",.2~f")],
        )
    )


@_or_a_sentence
def columns(rows: Sequence[Mapping[str, Any]], *, title: str, note: str) -> Any:
    """Return stacked columns over time, from `at` to `to`, one for each `series`; rows as for `over_time`."""
    return (
        alt.Chart(data(rows), height=240, width="container")
        .mark_bar(stroke="white", strokeWidth=0.5, orient="vertical")
        .encode(
            _time(note, rows),
            alt.X2("to:T"),
            alt.Y("value:Q", title=title, stack="zero"),
            series(list(dict.fromkeys(row["series"] for row in rows))),
            tooltip=[_MOMENT, "series:N", alt.Tooltip("value:Q", format=",d")],
        )
    )


@_or_a_sentence
def parts(rows: Sequence[Mapping[str, Any]], down: str, *, title: str, grey: str) -> Any:
    """Return a bar for each value of `down`, made of the `share` of each `series`, in the order of `place`.

    `grey` is the series of what is not known.
    """
    names = list(dict.fromkeys(row["series"] for row in sorted(rows, key=lambda row: row["place"])))
    return (
        alt.Chart(data(rows), height=alt.Step(30), width="container")
        .mark_bar(stroke="white", strokeWidth=0.5)
        .encode(
            alt.X("share:Q", title=title, axis=alt.Axis(format="%"), scale=alt.Scale(domain=[0, 1])),
            alt.Y(f"{down}:N", title=None, sort=None, axis=alt.Axis(labelLimit=180)),
            series(names, grey=grey, across=2),
            order=alt.Order("place:Q"),
            tooltip=[alt.Tooltip(f"{name}:N", title=name) for name in rows[0] if name != "place"] if rows else [],
        )
    )


def histogram(rows: Sequence[Mapping[str, Any]], start: str, count: str, *, title: str, step: float) -> Any:
    """Return bars over ranges of a number, each beginning at `start` and `step` wide."""
    wide = [{**row, "_end": row[start] + step} for row in rows]
    return (
        alt.Chart(data(wide), height=200, width="container")
        .mark_bar(color=NOW, orient="vertical")
        .encode(
            alt.X(f"{start}:Q", title=title),
            alt.X2("_end:Q"),
            alt.Y(f"{count}:Q", title=count),
            tooltip=[f"{start}:Q", f"{count}:Q"],
        )
    )


def shares(
    rows: Sequence[Mapping[str, Any]],
    across: str,
    down: str,
    value: str,
    *,
    title: str,
    order: Sequence[str] | None = None,
) -> Any:
    """Return a table of shares as a picture, darker where they are larger; tooltips show every column.

    `order` is that of the columns, if it is not their names'.
    """
    largest = max((row[value] for row in rows), default=0)
    base = alt.Chart(data(rows), height=alt.Step(24), width="container").encode(
        alt.X(
            f"{across}:N",
            title=None,
            sort=order or "ascending",
            axis=alt.Axis(orient="top", labelAngle=-30, labelLimit=120),
        ),
        alt.Y(f"{down}:N", title=None, sort=None, axis=alt.Axis(labelLimit=180)),
        tooltip=[alt.Tooltip(f"{name}:N", title=name) for name in rows[0]] if rows else [],
    )
    colour = alt.Color(
        f"{value}:Q", title=title, scale=alt.Scale(scheme="blues", domain=[0, largest]), legend=None
    )
    dark = alt.datum[value] > largest / 2
    return base.mark_rect().encode(colour) + base.mark_text(fontSize=11).encode(
        alt.Text(f"{value}:Q", format=".2~p"),
        color=alt.condition(dark, alt.value("#FFFFFF"), alt.value("#1A1A1A")),
    )


@_or_a_sentence
def intervals(rows: Sequence[Mapping[str, Any]], *, title: str) -> Any:
    """Return a point with its interval for each row, below each other, one colour and form for each `series`.

    Rows have `label`, `series`, `value`, `low` and `high`, and `shown`, which the tooltip says. An interval
    without one of its bounds is not drawn.
    """
    names = list(dict.fromkeys(row["series"] for row in rows))
    label = alt.Y("label:N", title=None, sort=None, axis=alt.Axis(labelLimit=280))
    aside = alt.YOffset("series:N", sort=names)
    whole = [row for row in rows if row["low"] is not None and row["high"] is not None]
    bars = (
        alt.Chart(data(whole), height=alt.Step(14), width="container")
        .mark_rule(strokeWidth=3, opacity=0.5)
        .encode(alt.X("low:Q", title=title), alt.X2("high:Q"), label, aside, series(names))
    )
    dots = (
        alt.Chart(data(rows))
        .mark_point(filled=True, size=70, opacity=1)
        .encode(
            alt.X("value:Q"),
            label,
            aside,
            series(names),
            alt.Shape("series:N", scale=alt.Scale(domain=names, range=SHAPES[: len(names)]), legend=None),
            tooltip=["label:N", "series:N", "shown:N"],
        )
    )
    return bars + dots


def answer(rows: Sequence[Mapping[str, Any]], along: str, value: str) -> Any:
    """Return any answer as a picture: a line along times and numbers, bars along everything else."""
    first = next((row[along] for row in rows if row[along] is not None), None)
    plain = [{"along": _plain(row[along]), "value": row[value]} for row in rows[:ROWS_DRAWN_MAX]]
    titled = alt.Y("value:Q", title=value)
    if isinstance(first, datetime | date):
        return (
            alt.Chart(data(plain), height=260, width="container")
            .mark_line(point=True)
            .encode(
                alt.X("along:T", title=along, scale=alt.Scale(type="utc"), axis=alt.Axis(labelExpr=CLOCK)), titled
            )
        )
    if isinstance(first, int | float):
        return (
            alt.Chart(data(plain), height=260, width="container")
            .mark_line(point=True)
            .encode(alt.X("along:Q", title=along), titled)
        )
    return bars(
        [{along: row["along"], value: row["value"]} for row in plain[:BARS_MAX]], value, along, title=value
    )


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return as_clock(value.astimezone(UTC) if value.tzinfo else value)
    return value if isinstance(value, int | float | None) else str(value)


def data(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Return rows as a chart takes them."""
    return alt.Data(values=list(rows))  # type: ignore[no-untyped-call]
