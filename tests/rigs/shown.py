"""What a page shows as a script, taken apart: its tiles, its tables, and the rows behind its charts."""

import html
import json
import re
from typing import Any

Rows = list[dict[str, Any]]


def tiles(shown: str) -> dict[str, str]:
    """Return the number of each tile by its label."""
    return dict(re.findall(r'<div class="tile[^>]*><span>([^<]*)</span><b>([^<]*)</b>', shown))


def charts(shown: str, *columns: str) -> list[Rows]:
    """Return the rows behind each chart that has these columns."""
    plain = re.sub(r'\\+"', '"', shown)  # charts are quoted as part of other JSON
    found = [_decoded(plain, match.end()) for match in re.finditer(r'"values": (?=\[\{)', plain)]
    return [rows for rows in found if set(columns) <= rows[0].keys()]


def table(shown: str, *columns: str) -> Rows:
    """Return the rows of the only table that has these columns; their cells as text, without markup."""
    found = [json.loads(_decoded(shown, match.end())) for match in re.finditer(r"data-data='(?=\"\[)", shown)]
    (rows,) = [rows for rows in found if rows and set(columns) <= rows[0].keys()]
    return [{name: _cell(value) for name, value in row.items()} for row in rows]


def _decoded(text: str, at: int) -> Any:
    """Return the JSON value that begins at a place."""
    return json.JSONDecoder().raw_decode(text, at)[0]


def _cell(value: Any) -> Any:
    if isinstance(value, dict) and "mimetype" in value:
        return html.unescape(re.sub(r"<[^>]*>", "", value["data"]))
    return value
