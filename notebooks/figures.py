"""Numbers as a person reads them, in words, tiles and tables: n always, small samples guarded, values as text."""

import html
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from lake.metrics import Metric
from lake.reading import Reader
from notebooks.filters import Choice, cut
from notebooks.names import as_text
from notebooks.questions import definitions, metrics, metrics_of_times

HOURS_FROM_S = 7200
TILES = """<style>
.tiles {display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .75rem}
.tile {border: 1px solid var(--border, #d0d0d0); border-radius: .5rem; padding: .75rem}
.tile b {display: block; font-size: 1.6rem; line-height: 1.2; font-variant-numeric: tabular-nums}
.tile span, .tile small {display: block; opacity: .75} .tile small {font-variant-numeric: tabular-nums}
.tile:hover {border-color: #0072b2}
.tile.worse {border-left: .4rem solid #d55e00} .tile.worse small:last-child {opacity: 1; font-weight: 600}
</style>"""
_UNITS = {"s": " s", "ratio": "%", "count": "", "h": " h", "bit/s": " Mbit/s"}


def figure(value: float | None, unit: str) -> str:
    """Return a number as a person reads it: ratios in percent, bit/s in Mbit/s, many seconds in hours."""
    if value is None:
        return "unknown"
    if unit == "s" and abs(value) >= HOURS_FROM_S:
        value, unit = value / 3600, "h"
    scaled = value * 100 if unit == "ratio" else value / 1e6 if unit == "bit/s" else value
    digits = 0 if unit == "count" else 2 if abs(scaled) < 10 else 1
    return f"{scaled:,.{digits}f}{_UNITS.get(unit, f' {unit}')}"


def tile(
    label: str,
    value: float | None,
    unit: str,
    *,
    meaning: str = "",
    n: int | None = None,
    sample_min: int = 0,
    before: float | None = None,
    n_before: int | None = None,
    compared: str = "before",
    more: Sequence[str] = (),
    is_worse: bool = False,
) -> str:
    """Return a number with what it means (a hover away), its sample, and the number that it is compared with.

    `more` are lines below; `is_worse` marks the tile, whose last line says why.
    """
    enough = n is None or n >= sample_min
    text = figure(value, unit) if enough else "too few"
    lines = [] if n is None else [f"n = {n:,}"]
    if n_before is not None:
        lines.append(baseline(compared, before, unit, n_before, sample_min))
    elif before is not None:
        lines.append(f"{compared}: {figure(before, unit)}")
    small = "".join(f"<small>{html.escape(line)}</small>" for line in [*lines, *more])
    return (
        f'<div class="tile{" worse" * is_worse}" title="{html.escape(meaning)}"><span>{html.escape(label)}</span>'
        f"<b>{html.escape(text)}</b>{small}</div>"
    )


def share(
    label: str,
    choice: Choice,
    now: Mapping[str, Any],
    then: Mapping[str, Any],
    part: str,
    whole: str = "n",
    count: str | None = None,
    *,
    meaning: str = "",
) -> str:
    """Return the tile of a ratio in the period and in the one that it is compared with: `part` of `whole`.

    `count` is the sample, if that is not `whole`. A part of None is unknown.
    """

    def ratio(row: Mapping[str, Any]) -> float | None:
        return row[part] / row[whole] if row[whole] and row[part] is not None else None

    sample = count or whole
    return tile(
        label,
        ratio(now),
        "ratio",
        meaning=meaning,
        n=now[sample],
        sample_min=choice.sample_min,
        before=ratio(then),
        n_before=then[sample],
        compared=choice.compared,
    )


def baseline(compared: str, value: float | None, unit: str, n: int, sample_min: int) -> str:
    """Return what a number is compared with, in words, with its sample."""
    return f"{compared}: {sampled(value, unit, n, max(sample_min, 1))} (n = {n:,})"


def defined(mo: Any, words: str, metric: Metric) -> Any:
    """Return words for a metric in a table, with its name and meaning a hover away."""
    meaning = html.escape(f"{metric.name}: {metric.meaning}")
    return mo.Html(f'<span title="{meaning}">{html.escape(words)}</span>')


def drawn(unit: str) -> tuple[float, str]:
    """Return by how much a number is multiplied in a chart, and the unit that it then has."""
    return {"ratio": (100, "%"), "bit/s": (1e-6, "Mbit/s")}.get(unit, (1, unit))


def difference(value: float, unit: str) -> str:
    """Return a difference as a person reads it: with its sign; of ratios, in percentage points."""
    return f"{'+' if value > 0 else ''}{figure(value, unit)}".replace("%", " points")


def interval(low: float | None, high: float | None, unit: str, shown: Callable[[float, str], str] = figure) -> str:
    """Return an interval in words, its bounds as `shown`; "too few" where a bound is unknown."""
    return "too few" if low is None or high is None else f"{shown(low, unit)} to {shown(high, unit)}"


def sampled(value: float | None, unit: str, n: int, sample_min: int) -> str:
    """Return a number as a person reads it, or that the sample is too small."""
    return figure(value, unit) if n >= sample_min else "too few"


def compared(
    mo: Any,
    lake: Reader,
    choice: Choice,
    names: Mapping[str, str],
    *others: Choice,
    remarks: Mapping[str, tuple[str, bool]] | None = None,
) -> Any:
    """Return the tiles of `metric_tiles` side by side."""
    return tiles(mo, metric_tiles(lake, choice, names, *others, remarks=remarks).values())


def metric_tiles(
    lake: Reader,
    choice: Choice,
    names: Mapping[str, str],
    *others: Choice,
    remarks: Mapping[str, tuple[str, bool]] | None = None,
    of: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Return a tile for each metric of the catalogue by name, with the period that it is compared with.

    `others` are the same choice, compared with other times. `remarks`: a last line, and whether it marks the tile.
    `of` are the metrics that count the sample, by those that they count it of; for the others, `sessions` does.
    """
    samples = {name: (of or {}).get(name, "sessions") for name in names}
    wanted = list(dict.fromkeys([*names, *samples.values()]))
    times = [choice, choice.before(), *(other.before() for other in others)]
    now, then, *rest = metrics_of_times(lake, times, wanted)
    beside = [(other.compared, row) for other, row in zip(others, rest, strict=True)]
    catalogue = definitions()
    shown = {}
    for name, label in names.items():
        unit, sample = catalogue[name].unit, samples[name]
        lines = [baseline(words, row[name], unit, row[sample], choice.sample_min) for words, row in beside]
        remark, is_worse = (remarks or {}).get(name, ("", False))
        shown[name] = tile(
            label,
            now[name],
            unit,
            meaning=f"{name}: {catalogue[name].meaning}",
            n=now[sample],
            sample_min=choice.sample_min,
            before=then[name],
            n_before=then[sample],
            compared=choice.compared,
            more=[*lines, remark] if remark else lines,
            is_worse=is_worse,
        )
    return shown


def by_dimension(mo: Any, lake: Reader, choice: Choice, names: list[str], cut_by: Any) -> Any:
    """Return metrics for each value of the dimension that `cut_by` says, most sessions first; `cut_by` above."""
    catalogue = definitions()
    rows = [
        {
            "value": row["value"],
            "sessions": row["n"],
            **{name: sampled(row[name], catalogue[name].unit, row["n"], choice.sample_min) for name in names},
        }
        for row in metrics(lake, choice, names, by=cut(cut_by.value), order="n DESC, value")
    ]
    meant = {name: catalogue[name].meaning for name in names}
    shown = table(mo, rows, page_size=15, header_tooltip=meant)
    return mo.vstack([mo.hstack([mo.md("## By"), cut_by], justify="start"), shown])


def table(mo: Any, rows: Iterable[Mapping[str, object]], *, empty: str = "", **options: Any) -> Any:
    """Return rows as a table of text; without rows, the Markdown `empty`. `options` are those of `mo.ui.table`."""
    shown = as_text(rows)
    return mo.ui.table(shown, selection=None, show_data_types=False, **options) if shown else mo.md(empty)


def differing(mo: Any, rows: Iterable[Mapping[str, Any]], *, combination: str, share: str) -> Any:
    """Return rows of `questions.differing` as a table; `combination` and `share` are names of its columns."""
    return table(
        mo,
        [
            {
                combination: row["combination"],
                share: figure(row["share"], "ratio"),
                "of the others": figure(row["rest_share"], "ratio"),
                "n": row["n"],
                "standard errors": round(row["score"], 1),
            }
            for row in rows
        ],
        empty="None differs by more than three standard errors.",
        pagination=False,
    )


def health(score: float | None) -> tuple[str, bool]:
    """Return what a score of `health_by_minute` says, in words, and whether it says that something is worse."""
    if score is None:
        return "last 5 min: too few to say", False
    return (
        (f"last 5 min: worse (score {score:.1f})", True) if score else ("last 5 min: as before (score 0)", False)
    )


def tiles(mo: Any, each: Iterable[str]) -> Any:
    """Return tiles side by side; on a phone, below each other."""
    return mo.Html(f'{TILES}<div class="tiles">{"".join(each)}</div>')
