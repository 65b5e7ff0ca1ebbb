"""Read-only queries of the lake in SQL, with results as a table, JSON or CSV."""

import csv
import io
import unicodedata
from collections.abc import Iterable
from typing import Any

import duckdb
import msgspec

from lake.catalog import Location
from lake.reading import QueryRefused, Reader, open_reader
from schemas.terminal import printable

FORMULA_BEGINS = frozenset("=+-@")
UNSEEN_BEGINS = frozenset("\t\r\n")


class Answer(msgspec.Struct, frozen=True):
    """Column names and rows of one result."""

    columns: list[str]
    rows: list[tuple[Any, ...]]


def ask(place: Location, statement: str, *, memory: str = "1GB") -> Answer:
    """Run one query. Raises QueryRefused as `answer` does, or NotReady if there is no lake."""
    with open_reader(place, memory=memory) as reader:
        return answer(reader, statement)


def answer(reader: Reader, statement: str) -> Answer:
    """Run one query on an open lake. Raises QueryRefused if it may not run, or with DuckDB's message."""
    try:
        result = reader.execute(statement)
        columns = [column[0] for column in result.description or []]
        return Answer(columns, result.fetchall())
    except duckdb.Error as error:
        raise QueryRefused(one_line(error)) from error


def one_line(error: duckdb.Error) -> str:
    """Return DuckDB's message without the statement, which the user already has, and the mark in it."""
    return " ".join(str(error).partition("\nLINE ")[0].split())


def as_json(answer: Answer) -> str:
    """Return an array of objects; timestamps in ISO 8601, bytes in base64, integers over 64 bits as text.

    Raises QueryRefused if two columns have the same name, since an object cannot hold both.
    """
    double = sorted({name for name in answer.columns if answer.columns.count(name) > 1})
    if double:
        raise QueryRefused(f"two columns are named {double[0]}; name one of them with AS")
    objects = [
        {name: _json_value(value) for name, value in zip(answer.columns, row, strict=True)} for row in answer.rows
    ]
    return msgspec.json.encode(objects, enc_hook=str).decode()


def _json_value(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not -(2**63) <= value < 2**64 else value


def as_csv(answer: Answer) -> str:
    """Return CSV with a header. Text that a spreadsheet would run as a formula is prefixed with an apostrophe."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([_defused(column) for column in answer.columns])
    writer.writerows([_cell(value) for value in row] for row in answer.rows)
    return text.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return _defused(value)
    if isinstance(value, dict | list):
        return msgspec.json.encode(value, enc_hook=str).decode()
    return value


def _defused(text: str) -> str:
    """Prefix a formula with an apostrophe; spreadsheets skip leading blanks and invisible characters."""
    first = next((character for character in text if character.isprintable() and not character.isspace()), "")
    is_formula = unicodedata.normalize("NFKC", first) in FORMULA_BEGINS  # full-width forms too
    return "'" + text if is_formula or text[:1] in UNSEEN_BEGINS else text


def shortened(rows: Iterable[tuple[Any, ...]], *, characters: int) -> list[list[str]]:
    """Return cells as text for a terminal: shortened, and without control characters."""
    cells = [["" if value is None else printable(str(value)) for value in row] for row in rows]
    return [[cell if len(cell) <= characters else cell[: characters - 1] + "…" for cell in row] for row in cells]
