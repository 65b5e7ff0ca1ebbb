"""Ask the lake in SQL, read only, while everything runs; answers as a table, JSON or CSV."""

import csv
import io
from collections.abc import Iterable
from typing import Any

import duckdb
import msgspec

from lake.catalog import Location, connect
from schemas.faults import Fault


class QueryRefused(Fault):
    """The lake did not understand the question; the message is DuckDB's."""

    code = "query_refused"


class Answer(msgspec.Struct, frozen=True):
    """Column names and rows of one answer."""

    columns: list[str]
    rows: list[tuple[Any, ...]]


def ask(place: Location, statement: str, *, memory: str = "1GB") -> Answer:
    """Run one statement. Raises QueryRefused, with DuckDB's words, or NotReady where there is no lake."""
    connection = connect(place, read_only=True, memory=memory, threads=2)
    try:
        return ask_connection(connection, statement)
    finally:
        connection.close()


def ask_connection(connection: duckdb.DuckDBPyConnection, statement: str) -> Answer:
    """Run one statement on an attached lake."""
    try:
        result = connection.execute(statement)
        columns = [column[0] for column in result.description or []]
        return Answer(columns, result.fetchall())
    except duckdb.Error as error:
        raise QueryRefused(str(error)) from error


def as_json(answer: Answer) -> str:
    """Return an array of objects; timestamps in ISO 8601, bytes in base64."""
    objects = [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]
    return msgspec.json.encode(objects, enc_hook=str).decode()


def as_csv(answer: Answer) -> str:
    """Return CSV with a header. A text that a spreadsheet would run as a formula gets an apostrophe before it."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(answer.columns)
    writer.writerows([_cell(value) for value in row] for row in answer.rows)
    return text.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@"):
        return "'" + value
    if isinstance(value, dict | list):
        return msgspec.json.encode(value, enc_hook=str).decode()
    return value


def shortened(rows: Iterable[tuple[Any, ...]], *, characters: int) -> list[list[str]]:
    """Return cells as text for a terminal: long ones are cut."""
    cells = [["" if value is None else str(value) for value in row] for row in rows]
    return [[cell if len(cell) <= characters else cell[: characters - 1] + "…" for cell in row] for row in cells]
