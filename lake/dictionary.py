"""The data dictionary, generated from the lake's comments: `python -m lake.dictionary` rewrites DICTIONARY.md."""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import duckdb

from lake.catalog import NAME, Location, connect
from lake.rollups import parts
from lake.tables import definitions_sql, initialize
from sessions.rules import RULES

DICTIONARY = Path(__file__).parent / "DICTIONARY.md"
HEAD = """# The data dictionary

Generated from the lake's comments by `python -m lake.dictionary`; a test compares. Times are UTC, and names end
with the unit. Costs are seconds over 300,000 closed sessions, on two otherwise idle cores. A view reads only the
columns that a query names, so most queries cost less. Costs grow with the number of sessions: over 1.9 million
sessions and 24.9 million events of one month, on two busy cores, one session by its id took 0.6 s, one metric 1.2
to 2 s, percentiles and retention of a content 3 s, breakdowns, cohorts and sequences 5 to 8 s, views made from
events (`audience_by_minute`, `data_quality`) 8 to 14 s, and events counted by type 0.1 s; `audience_by_minute` now
costs a quarter more (measured over 975,000 events). A time window is cheap if written as a range (`received_at >=
... AND received_at < ...`); a cast (`received_at::DATE = ...`) reads every day.
"""
VIEWERS = """
`user_id` links sessions to viewers: it is a pseudonym, and present only with consent. A session without one is not
counted in numbers about viewers, unless a view states otherwise. A denial is final within a session: if any event
denies consent, the session has no user, no device and no tracking session, whatever its other events say and in
whatever order they arrived, and a later consent does not restore them. Other sessions of the viewer are
unaffected.
"""
_MACRO = re.compile(r"CREATE OR REPLACE MACRO (\w+)\((.*)\) AS\b")


def render(connection: duckdb.DuckDBPyConnection) -> str:
    """Return the dictionary of an attached lake as Markdown."""
    return (
        "\n".join([HEAD, *_tables(connection), *_views(connection), *_macros(), *_flags(), *_metrics(connection)])
        + "\n"
    )


def _tables(connection: duckdb.DuckDBPyConnection) -> Iterator[str]:
    yield "## Tables\n"
    yield "Each partition has its own `ledger_p000` and `open_sessions_p000`.\n"
    tables = connection.execute(
        "SELECT table_name, comment FROM duckdb_tables() WHERE database_name = ? "
        "AND (table_name NOT SIMILAR TO '.*_p[0-9]+' OR table_name LIKE '%\\_p000' ESCAPE '\\') ORDER BY 1",
        [NAME],
    ).fetchall()
    for table, comment in tables:
        yield f"### {table}\n\n{comment}\n"
        if table.startswith("open_sessions"):
            yield "The columns of session_versions.\n"
            continue
        columns = connection.execute(
            "SELECT column_name, data_type, comment FROM duckdb_columns() "
            "WHERE database_name = ? AND table_name = ? ORDER BY column_index",
            [NAME, table],
        ).fetchall()
        yield from _rows(
            ("column", "type", "meaning"),
            [(name, _short(kind), text) for name, kind, text in columns if name not in parts()],
        )


def _views(connection: duckdb.DuckDBPyConnection) -> Iterator[str]:
    yield f"## Views\n{VIEWERS}"
    yield "`columns_of('sessions')` has what the columns of a view mean.\n"
    views = connection.execute(
        "SELECT view_name, comment FROM duckdb_views() WHERE database_name = ? ORDER BY 1", [NAME]
    ).fetchall()
    for view, comment in views:
        yield f"### {view}\n\n{comment}\n"
        names = [row[0] for row in connection.execute(f"DESCRIBE {view}").fetchall()]
        if view.startswith("metrics"):
            yield "Columns: those that it groups by, and every metric below.\n"
        else:
            yield f"Columns: {', '.join(names)}\n"


def _macros() -> Iterator[str]:
    yield "## Macros\n"
    yield "A table each, but a number if the name ends with `_score`.\n"
    yield "DuckLake stores no comments on macros; these are the comments above them in sql/.\n"
    above: list[str] = []
    for line in definitions_sql().splitlines():
        if match := _MACRO.match(line):
            yield f"### {match[1]}({match[2]})\n\n{' '.join(above)}\n"
        above = [*above, line[3:]] if line.startswith("-- ") else []


def _flags() -> Iterator[str]:
    yield "## Flags of sessions\n"
    yield "The table session_flags: the rules that `sessions.flags` may name. `data_quality` counts them.\n"
    yield from _rows(("flag", "meaning", "example"), [(rule.flag, rule.meaning, rule.example) for rule in RULES])


def _metrics(connection: duckdb.DuckDBPyConnection) -> Iterator[str]:
    yield "## Metrics\n"
    yield "The table metric_catalog, without its queries; SQL in it is over `counted_sessions`.\n"
    rows = connection.execute(
        'SELECT name, definition, unit, numerator, denominator, source, "set", often_confused_with, stands '
        "FROM metric_catalog"
    ).fetchall()
    heads = (
        "metric",
        "definition",
        "unit",
        "numerator",
        "denominator",
        "source",
        "set",
        "not to be confused with",
        "where",
    )
    yield from _rows(heads, rows)


def _rows(heads: tuple[str, ...], rows: list[tuple[str | None, ...]]) -> Iterator[str]:
    yield "| " + " | ".join(heads) + " |"
    yield "|" + " --- |" * len(heads)
    for row in rows:
        yield "| " + " | ".join((value or "").replace("|", "\\|") for value in row) + " |"
    yield ""


def _short(kind: str) -> str:
    return (
        "list of structs" if kind.startswith("STRUCT") else kind.replace("TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ")
    )


def write() -> None:
    """Write DICTIONARY.md from a lake made for the purpose."""
    with tempfile.TemporaryDirectory() as folder:
        place = Location("sqlite", f"{folder}/catalog.sqlite", f"{folder}/files")
        initialize(place, partitions=1)
        connection = connect(place, read_only=True)
        try:
            DICTIONARY.write_text(render(connection))
        finally:
            connection.close()


if __name__ == "__main__":
    write()
