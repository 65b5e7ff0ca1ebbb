"""Values from players as text: without links, pictures and markup, also within lists, structs and maps."""

import html
from collections.abc import Iterable, Mapping
from datetime import date, time, timedelta
from decimal import Decimal

import msgspec

# What cannot hold a player's words: marimo sorts and aligns it. All else is text.
PLAIN = (int, float, Decimal, date, time, timedelta)  # a bool is an int, and a datetime a date
SHORT = 100  # characters of a nested value; a click shows the rest


def as_text(rows: Iterable[Mapping[str, object]]) -> list[dict[str, object]]:
    """Return rows for `mo.ui.table`.

    It would turn addresses into links, fetch those of pictures, and show a nested value as a tree, which takes
    texts such as `text/html:<img ...>` for markup.
    """
    return [{name: _shown(value) for name, value in row.items()} for row in rows]


def _shown(value: object) -> object:
    import marimo as mo  # not above: it makes a folder when it is imported

    if value is None or isinstance(value, (mo.Html, *PLAIN)):
        return value
    if not isinstance(value, Mapping | list | tuple):
        return mo.Html(f"<span>{html.escape(str(value))}</span>")
    # Keys may be of any type; a map has its entries as pairs.
    nested = msgspec.json.encode(value, enc_hook=str)
    text = nested.decode()
    if len(text) <= SHORT:
        return mo.Html(f"<span>{html.escape(text)}</span>")
    whole = msgspec.json.format(nested, indent=2).decode()
    return mo.Html(
        f"<details><summary>{html.escape(text[:SHORT])}…</summary><pre>{html.escape(whole)}</pre></details>"
    )
