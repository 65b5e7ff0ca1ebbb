"""Values from players as text: without links, pictures and markup."""

import html
from collections.abc import Iterable, Mapping


def as_text(rows: Iterable[Mapping[str, object]]) -> list[dict[str, object]]:
    """Return rows for `mo.ui.table`, which would turn addresses into links and fetch those of pictures."""
    return [{name: _shown(value) for name, value in row.items()} for row in rows]


def _shown(value: object) -> object:
    import marimo as mo  # not above: it makes a folder when it is imported

    return mo.Html(f"<span>{html.escape(value)}</span>") if isinstance(value, str) else value
