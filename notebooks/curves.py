"""Charts along the position in a content: what was played, where it was left, where viewers jumped."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from notebooks.colours import BEFORE, NOW
from notebooks.pictures import DASHES, series

TICKS_MAX = 8
_TICKS_S = (5, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400)


def lines(
    rows: Sequence[Mapping[str, Any]],
    *,
    title: str,
    ends: Sequence[float],
    height: int = 240,
    rule: float | None = None,
) -> Any:
    """Return steps along the position, one line for each `series`, and a band for those with `low` and `high`.

    Rows have `from_s`, `value`, `series` and `shown`, which the tooltip says; `ends` are the first and the last
    position, seconds. `rule` is a value that the others are compared with.
    """
    names = list(dict.fromkeys(row["series"] for row in rows))
    colour = series(names)
    drawn = (
        alt.Chart(_data(rows), height=height, width="container")
        .mark_line(interpolate="step-after")
        .encode(
            _position(ends),
            alt.Y("value:Q", title=title, scale=alt.Scale(zero=True)),
            colour,
            alt.StrokeDash("series:N", scale=alt.Scale(domain=names, range=DASHES[: len(names)]), legend=None),
            tooltip=["where:N", "series:N", "shown:N"],
        )
    )
    layers = [drawn]
    if rule is not None:
        at_rule = alt.Chart(_data([{"from_s": ends[0], "value": rule}]))
        layers.insert(0, at_rule.mark_rule(color=BEFORE, strokeDash=[4, 4]).encode(alt.Y("value:Q")))
    if banded := [row for row in rows if row.get("low") is not None]:
        band = (
            alt.Chart(_data(banded))
            .mark_area(interpolate="step-after", opacity=0.2)
            .encode(_position(ends), alt.Y("low:Q"), alt.Y2("high:Q"), colour)
        )
        layers.insert(0, band)
    return alt.layer(*layers)


def bars(rows: Sequence[Mapping[str, Any]], *, title: str, ends: Sequence[float], height: int = 180) -> Any:
    """Return a bar from `from_s` to `to_s` for each row, as high as its `value`; rows as for `lines`."""
    return (
        alt.Chart(_data(rows), height=height, width="container")
        .mark_bar(color=NOW, orient="vertical")
        .encode(
            _position(ends),
            alt.X2("to_s:Q"),
            alt.Y("value:Q", title=title),
            tooltip=["where:N", "shown:N"],
        )
    )


def clock(position_s: float) -> str:
    """Return a position as a player shows it: 4:05, or 1:04:05."""
    minutes, seconds = divmod(int(position_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _position(ends: Sequence[float]) -> Any:
    low, high = ends
    step = next((step for step in _TICKS_S if high - low <= step * TICKS_MAX), (high - low) / TICKS_MAX)
    ticks = [place * step for place in range(int(low // step), int(high // step) + 1) if place * step >= low]
    format_of = "%-H:%M:%S" if high >= 3600 else "%-M:%S"
    return alt.X(
        "from_s:Q",
        title="position",
        scale=alt.Scale(domain=[low, high], nice=False),
        axis=alt.Axis(values=ticks, labelExpr=f"utcFormat(datum.value * 1000, '{format_of}')", labelOverlap=True),
    )


def _data(rows: Sequence[Mapping[str, Any]]) -> Any:
    return alt.Data(values=[{**row, "where": f"from {clock(row['from_s'])}"} for row in rows])  # type: ignore[no-untyped-call]
