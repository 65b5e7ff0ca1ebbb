"""Show what players sent as text: no link, no picture, no markup."""

import html
from collections.abc import Iterable, Mapping


def as_text(rows: Iterable[Mapping[str, object]]) -> list[dict[str, object]]:
    """Return rows for `mo.ui.table`, which makes links of addresses, and fetches those that name a picture."""
    return [{name: _shown(value) for name, value in row.items()} for row in rows]


def _shown(value: object) -> object:
    import marimo as mo  # not above: it makes a folder when it is imported

    return mo.Html(f"<span>{html.escape(value)}</span>") if isinstance(value, str) else value
