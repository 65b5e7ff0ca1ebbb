"""What the page `ask` does with SQL: what the bar is to it, and how it is kept in the address."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote_plus

import pyarrow as pa

from lake.reading import Reader
from notebooks.connect import read
from notebooks.filters import Choice, in_address

SQL_MAX = 6000  # characters of an address; HAProxy and nginx take 8 to 16 KiB in all
EXAMPLES = 3
ROWS = 50
SHORT = 40
_USES_CHOSEN = re.compile(r"\bchosen_sessions\b", re.IGNORECASE)
_USED = re.compile(r"\$(since|until|filters)\b")


def example(mo: Any, examples: Mapping[str, str]) -> tuple[Any, str]:
    """Return the dropdown of examples, as the address says, and a sentence if it says one that there is not."""
    given = mo.query_params()
    asked = in_address(mo, "question")

    def changed(now: str) -> None:
        given.set("question", now)
        if "sql" in given:
            given.remove("sql")

    known = asked if asked in examples else next(iter(examples))
    shown = mo.ui.dropdown(
        list(examples),
        label="an example",
        value=known,
        full_width=True,
        allow_select_none=False,
        on_change=changed,
    )
    is_unknown = asked is not None and asked not in examples
    return shown, f"There is no example {asked[:80]!r}; this is the first." if is_unknown else ""


def written(mo: Any) -> str | None:
    """Return the SQL of the address, if it has any."""
    return in_address(mo, "sql")


def keep(mo: Any, sql: str, *, usual: str) -> str:
    """Put SQL into the address; none if it is the example's, or too long. Return a sentence about the latter."""
    given = mo.query_params()
    is_long = len(quote_plus(sql)) > SQL_MAX
    if sql.strip() == usual or is_long:
        if "sql" in given:
            given.remove("sql")
    elif in_address(mo, "sql") != sql:
        given.set("sql", sql)
    return "This SQL is too long for an address: send it as text." if is_long else ""


def answer(lake: Reader, sql: str, choice: Choice) -> pa.Table:
    """Answer SQL, in which `chosen_sessions` and `$since`, `$until` and `$filters` are what the bar says.

    Raises QueryRefused, or DuckDB's error.
    """
    values = {name: choice.macro_values()[name] for name in _USED.findall(sql)}
    if _USES_CHOSEN.search(sql):
        # A query of its own, since SQL may begin with WITH; the break ends a comment.
        asked = sql.strip().removesuffix(";")
        sql = (
            f"WITH chosen_sessions AS (SELECT * FROM counted_sessions WHERE {choice.started()}) FROM (\n{asked}\n)"
        )
        values |= choice.values()
    return read(lake, sql, **values)


def rows(answer: pa.Table, choice: Choice) -> list[dict[str, Any]]:
    """Return the rows of an answer; times with a zone are wall clocks of the zone that the reader chose."""
    return [
        {
            name: choice.local(value).replace(tzinfo=None)
            if isinstance(value, datetime) and value.tzinfo is not None
            else value
            for name, value in row.items()
        }
        for row in answer.to_pylist()
    ]


def examples_of(lake: Reader, name: str) -> dict[str, str]:
    """Return a few values of each column of a table or view, as text."""
    quoted = name.replace('"', '""')
    some = read(lake, f'FROM "{quoted}" LIMIT {ROWS}')
    found = {}
    for column in some.column_names:
        texts = [_short(value) for value in some.column(column).to_pylist() if value not in (None, [], {})]
        found[column] = ", ".join(list(dict.fromkeys(texts))[:EXAMPLES])
    return found


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= SHORT else f"{text[:SHORT]}…"
