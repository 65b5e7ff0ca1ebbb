"""How every page begins: the open lake or the reason it is missing, the bar of filters, the check for new data."""

import html
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec

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


def opened(mo: Any, title: str, *, period: str = "last 24 hours", every: str = "10s") -> tuple[Any, ...]:
    """Return the lake, the bar, the clock of the page, its state, and the head that shows bar and clock.

    The state is the newest snapshot that the page has seen, and a setter. The cell that calls this also shows the
    head: marimo runs a cell again for each change of a UI element that it uses, unless it made the element.
    """
    lake = lake_of(mo, title)
    bar = filters.bar(mo, lake, period=period)
    refresh = mo.ui.refresh(options=["2s", "10s", "1m", "10m"], default_interval=every)
    head = mo.vstack([mo.hstack([mo.md(f"# {title}"), refresh], align="center"), filters.shown(mo, bar)])
    return lake, bar, refresh, *mo.state(0), head


def look(lake: Reader, snapshot: Callable[[], int], set_snapshot: Callable[[int], None]) -> None:
    """Set the state if the lake has a new snapshot; only then is the rest of the page computed again."""
    if (newest := newest_snapshot(lake)) != snapshot():
        set_snapshot(newest)


def chosen(mo: Any, lake: Reader, bar: Any) -> filters.Choice:
    """Return what the reader chose, up to the newest moment of the lake; end the page while the lake is empty."""
    newest = filters.newest_moment(lake)
    mo.stop(newest is None, mo.md(filters.EMPTY))
    assert newest is not None
    choice = filters.chosen(mo, bar.value, newest)
    dimension = bar.value["dimension"]
    if dimension is None or dimension in choice.among:
        return choice
    remarks = (*choice.remarks, filters.named(lake, choice, dimension))
    return msgspec.structs.replace(choice, remarks=remarks)


def filters_in_words(mo: Any, choice: filters.Choice) -> Any:
    """Return what is filtered, in words, and what of the bar is ignored."""
    return mo.vstack([filters.sentence(mo, words) for words in (f"Filters: {choice.words}", *choice.remarks)])


def cut_by(mo: Any, bar: Any, usual: str) -> Any:
    """Return the dropdown of the dimension that a page cuts its sessions by, any that the bar has.

    Its value is in the address.
    """
    return dropdown(mo, "by", [*filters.DIMENSIONS, *bar["dimension"].options], "cut by", usual)


def link(mo: Any, path: str, words: str, **values: str) -> Any:
    """Return words that lead to another page, with the same bar, and with values for its address."""
    given = mo.query_params()
    kept = {name: given.get_all(name) for name in filters.IN_ADDRESS if name in given}
    address = html.escape(f"../{path}/?{urlencode({**kept, **values}, doseq=True)}")
    return mo.Html(f'<a href="{address}" style="text-decoration: underline">{html.escape(words)}</a>')


def text(mo: Any, name: str, label: str, *, usual: str = "", **more: Any) -> Any:
    """Return a field for text, which is in the address of the page; `usual` is what it has if nothing is there."""
    given = mo.query_params()
    value = filters.in_address(mo, name)
    return mo.ui.text(
        value=usual if value is None else value,
        label=label,
        on_change=lambda written: given.set(name, written),
        **more,
    )


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
        value=words.get(filters.in_address(mo, name) or "", words[usual]),
        label=label,
        on_change=lambda chosen: given.set(name, chosen),
        allow_select_none=False,
        **more,
    )
