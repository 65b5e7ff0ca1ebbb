"""Open the lake for a notebook: for questions alone, and therefore at any time, whatever else runs."""

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from lake.catalog import location
from lake.reading import Reader, open_reader
from schemas.settings import read_settings


def open_lake(environment: Mapping[str, str], data_dir: Path | None = None) -> Reader:
    """Attach the lake that the environment's settings name; `data_dir`, where given, goes before them.

    Tables and views go by their bare names, times are UTC. marimo's SQL cells take it as their engine. Raises
    NotReady where there is no lake yet, or where a setting is wrong.
    """
    settings = read_settings(environment)
    if data_dir is not None:
        settings = settings.model_copy(update={"data_dir": data_dir})
    return open_reader(location(settings))


def read(lake: Reader, statement: str, **values: object) -> pa.Table:
    """Ask one question, and get the answer as an Arrow table; `$name` in the statement is the value of that name.

    A cursor of its own for each question: the cells of a notebook may run at the same time.
    """
    with lake.cursor() as cursor:
        return cursor.execute(statement, values or None).to_arrow_table()
