"""Open the lake for a notebook: read only, and therefore at any time, whatever else runs."""

import contextlib
from collections.abc import Mapping
from pathlib import Path

import duckdb
import pyarrow as pa

from lake.catalog import connect, location
from schemas.settings import read_settings


def open_lake(environment: Mapping[str, str], data_dir: Path | None = None) -> duckdb.DuckDBPyConnection:
    """Attach the lake that the environment's settings name; `data_dir`, where given, goes before them.

    Tables and views go by their bare names, times are UTC. Raises NotReady where there is no lake yet, or where a
    setting is wrong.
    """
    settings = read_settings(environment)
    if data_dir is not None:
        settings = settings.model_copy(update={"data_dir": data_dir})
    return connect(location(settings), read_only=True, threads=2)


def read(lake: duckdb.DuckDBPyConnection, statement: str, **values: object) -> pa.Table:
    """Ask one question, and get the answer as an Arrow table; `$name` in the statement is the value of that name.

    A cursor of its own for each question: the cells of a notebook may run at the same time.
    """
    with contextlib.closing(lake.cursor()) as cursor:
        cursor.execute("USE lake")
        return cursor.execute(statement, values or None).to_arrow_table()
