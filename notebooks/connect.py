"""Opens the lake for a notebook: for queries only, and therefore at any time, whatever else runs."""

import functools
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from lake.catalog import NAME, Location, location
from lake.reading import Reader, open_reader
from schemas.settings import Settings, read_settings

_OPENING = threading.Lock()


def where(environment: Mapping[str, str], data_dir: Path | None = None) -> tuple[Location, int]:
    """Return where the lake of `open_lake` is, and the longest session that its settings allow, milliseconds."""
    settings = _settings(environment, data_dir)
    return location(settings), int(settings.session_length_s * 1000)


def _settings(environment: Mapping[str, str], data_dir: Path | None) -> Settings:
    settings = read_settings(environment)
    return settings if data_dir is None else settings.model_copy(update={"data_dir": data_dir})


def open_lake(environment: Mapping[str, str], data_dir: Path | None = None) -> Reader:
    """Attach the lake of the environment's settings; `data_dir`, if given, overrides theirs.

    Tables and views need no qualified name; times are UTC. marimo's SQL cells accept the result as their engine.
    All notebooks of a process share one connection, and each gets a cursor of its own. Raises NotReady if there is
    no lake yet, or if a setting is wrong.
    """
    place, _ = where(environment, data_dir)
    with _OPENING:
        return _shared(place).cursor()


@functools.lru_cache(maxsize=8)
def _shared(place: Location) -> Reader:
    return open_reader(place)


def read(lake: Reader, statement: str, **values: object) -> pa.Table:
    """Run one query and return an Arrow table; `$name` in the statement is the value of that name.

    Each query has its own cursor, because the cells of a notebook may run at the same time.
    """
    with lake.cursor() as cursor:
        return cursor.execute(statement, values or None).to_arrow_table()


def read_each(
    lake: Reader, chosen: str, questions: Mapping[str, str], **values: object
) -> dict[str, list[dict[str, Any]]]:
    """Answer several questions about the same rows, which are read once: return the rows of each, by its name.

    `chosen` is the query of the rows, and the questions select from `chosen`. Each question of its own would cost
    at least what finding the newest versions of sessions does.
    """
    answers = ", ".join(
        "(SELECT list(answer ORDER BY place) FROM "
        f"(SELECT answer, row_number() OVER () AS place FROM ({question}) AS answer)) AS {name}"
        for name, question in questions.items()
    )
    (row,) = read(lake, f"WITH chosen AS MATERIALIZED ({chosen}) SELECT {answers}", **values).to_pylist()
    return {name: row[name] or [] for name in questions}


def newest_snapshot(lake: Reader) -> int:
    """Return the number of the lake's newest snapshot: as long as it stays the same, so does every answer."""
    (row,) = read(lake, f"FROM ducklake_current_snapshot('{NAME}')").to_pylist()
    return int(row["id"])
