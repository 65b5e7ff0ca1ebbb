"""What every page begins with: the lake or why there is none, the bar of filters, and a look for what is new."""

import html
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lake.reading import Reader
from notebooks import filters
from notebooks.connect import newest_snapshot, open_lake
from schemas.faults import NotReady


def folder(mo: Any) -> Path | None:
    """Return the data folder that follows `-- --data`, or None: that of the settings."""
    data = mo.cli_args().get("data")
    return Path(str(data)) if data else None


def lake_of(mo: Any, title: str) -> Reader:
    """Return the lake of the settings; without one, end the page with a sentence that says why."""
    try:
        return open_lake(os.environ, folder(mo))
    except NotReady as fault:
        mo.stop(True, mo.md(f"# {title}\nThere is nothing to see yet: {fault}."))
        raise


def controls(mo: Any, lake: Reader, *, period: str = "last 24 hours", every: str = "10s") -> tuple[Any, ...]:
    """Return the bar, the clock of the page, and its state: the newest snapshot that it has seen, and a setter."""
    refresh = mo.ui.refresh(options=["2s", "10s", "1m", "10m"], default_interval=every)
    return filters.bar(mo, lake, period=period), refresh, *mo.state(0)


def head(mo: Any, title: str, bar: Any, refresh: Any) -> Any:
    """Return what is above all else on a page."""
    return mo.vstack([mo.hstack([mo.md(f"# {title}"), refresh], align="center"), filters.shown(mo, bar)])


def look(lake: Reader, snapshot: Callable[[], int], set_snapshot: Callable[[int], None]) -> None:
    """Set the state if the lake has a new snapshot; only then is the rest of the page computed again."""
    if (newest := newest_snapshot(lake)) != snapshot():
        set_snapshot(newest)


def chosen(mo: Any, lake: Reader, bar: Any) -> filters.Choice:
    """Return what the reader chose, up to the newest moment of the lake; end the page while the lake is empty."""
    newest = filters.newest_moment(lake)
    mo.stop(newest is None, mo.md(filters.EMPTY))
    assert newest is not None
    return filters.chosen(mo, bar.value, newest)


def filters_in_words(mo: Any, choice: filters.Choice) -> Any:
    """Return what is filtered, in words; values come from players, so they are text."""
    return mo.Html(f"<p>Filters: {html.escape(choice.words)}</p>")


def dropdown(
    mo: Any, name: str, options: Sequence[str] | Mapping[str, str], label: str, usual: str, **more: Any
) -> Any:
    """Return a dropdown whose value is in the address of the page, as those of the bar are.

    `options` are values, or values by what is shown for them.
    """
    given = mo.query_params()
    shown = dict(options) if isinstance(options, Mapping) else {value: value for value in options}
    words = {value: key for key, value in shown.items()}
    return mo.ui.dropdown(
        shown,
        value=words.get(given.get(name), words[usual]),
        label=label,
        on_change=lambda chosen: given.set(name, chosen),
        allow_select_none=False,
        **more,
    )
