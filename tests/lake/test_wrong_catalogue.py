"""A catalogue that is damaged, not a lake or of another format is met with a sentence that says what to do."""

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path

import duckdb
import psycopg
import pytest
from rigs.lake import Lake

from commands.extras import in_words
from lake.catalog import Location, connect, location
from lake.errors import DAMAGED
from lake.schema import check_schema
from lake.tables import initialize
from schemas.faults import Fault
from schemas.settings import Settings


def said(place: Location) -> str:
    """Return what a person reads who opens a lake."""
    with (
        pytest.raises((Fault, duckdb.Error)) as refused,
        contextlib.closing(connect(place, read_only=True)) as lake,
    ):
        check_schema(lake, place)
    return in_words(refused.value)


def script(statements: str) -> Callable[[Path], None]:
    def run(file: Path) -> None:
        with contextlib.closing(sqlite3.connect(file)) as catalog:
            catalog.executescript(statements)

    return run


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.write_bytes(b"no database " * 1_000),
        lambda file: file.write_bytes(file.read_bytes()[:40_000]),
        script("DROP TABLE ducklake_column"),
        script("DELETE FROM ducklake_snapshot"),
    ],
    ids=["no database", "cut off", "without a table", "without snapshots"],
)
def test_a_damaged_catalogue_says_how_to_make_the_lake_again(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    """And what the database said, for those who can repair it."""
    lake = Lake(tmp_path)
    damage(Path(lake.place.catalog))
    assert said(lake.place).startswith(f"{DAMAGED} (")


def test_a_catalogue_of_an_older_format_names_both(tmp_path: Path) -> None:
    """As one that an older DuckLake has written."""
    lake = Lake(tmp_path)
    script("UPDATE ducklake_metadata SET value = '0.3' WHERE key = 'version'")(Path(lake.place.catalog))
    assert "has the format DuckLake 0.3" in said(lake.place)
    assert said(lake.place).endswith("use the release of Playhead that writes this lake")


def test_a_database_in_postgresql_that_is_no_lake_is_named_as_it_was_given(tmp_path: Path, catalog: str) -> None:
    """Empty, of another program with a table of DuckLake's name, or a lake that lost a table."""
    place = location(Settings(data_dir=tmp_path, lake_catalog=catalog))
    assert said(place) == f"there is no lake at {place.catalog}; `playhead init` makes one"
    with psycopg.connect(catalog.removeprefix("postgres:"), autocommit=True) as database:
        database.execute("CREATE TABLE ducklake_metadata (theirs INTEGER)")
        assert said(place).startswith(DAMAGED)
        database.execute("DROP TABLE ducklake_metadata")
        initialize(place, partitions=1)
        database.execute("DROP TABLE ducklake_snapshot")
    assert said(place).startswith(DAMAGED)
