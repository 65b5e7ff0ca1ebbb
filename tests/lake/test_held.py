"""A query that is left open makes a SQLite catalogue's log grow: its process is named, and never one of ours."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from rigs.lake import Lake
from rigs.processes import said, talking, tell

from lake.catalog import connect, snapshot_number
from lake.held import held_by
from lake.one_row import read_one
from lake.pulse import feel
from lake.received import count_duplicates
from lake.schema import schema_of
from lake.size import read_size
from lake.upkeep import LastUpkeep

ANALYST = """
import pathlib, sys
from lake.catalog import connect, location
from schemas.settings import Settings
lake = connect(location(Settings(data_dir=pathlib.Path(sys.argv[1]))), read_only=True)
result = lake.execute("FROM metric_catalog")
for read in (result.fetchone, result.fetchall):
    read()
    print("read", flush=True)
    sys.stdin.readline()
"""


def test_a_process_that_keeps_a_query_open_is_named_until_it_has_read_the_result(tmp_path: Path) -> None:
    """One row of many is read, and then the others."""
    lake = Lake(tmp_path)
    with talking("-c", ANALYST, tmp_path) as analyst:
        assert said(analyst) == "read"
        assert held_by(lake.place) == [analyst.pid]
        tell(analyst)
        assert said(analyst) == "read"
        assert held_by(lake.place) == []


@pytest.mark.parametrize(
    "look",
    [
        feel,
        schema_of,
        count_duplicates,
        snapshot_number,
        lambda lake: read_one(lake, "last_upkeep", LastUpkeep),
    ],
)
def test_what_looks_again_and_again_keeps_nothing_open_between(
    tmp_path: Path, look: Callable[[duckdb.DuckDBPyConnection], object]
) -> None:
    """As `playhead up` does, over one connection, for days."""
    lake = Lake(tmp_path)
    with contextlib.closing(connect(lake.place, read_only=True)) as connection:
        look(connection)
        assert held_by(lake.place) == []
        read_size(connection, lake.place)
        assert held_by(lake.place) == []
