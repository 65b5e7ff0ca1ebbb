"""What columns mean, as rows: each column of each table and view, in the words of its own view."""

import tomllib
from pathlib import Path

import pytest
from rigs.commands import playhead
from rigs.lake import Lake

from lake.meanings import ANY, meanings_text
from lake.tables import initialize


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return Lake(tmp_path_factory.mktemp("meanings"))


def test_every_column_of_every_table_and_view_has_a_meaning(lake: Lake) -> None:
    """In the order and with the types that the table or view has; but those of one partition."""
    names = lake.ask(
        "SELECT table_name FROM duckdb_tables() "
        "WHERE database_name = 'lake' AND NOT table_name SIMILAR TO '.*_p[0-9]+' UNION ALL "
        "SELECT view_name FROM duckdb_views() WHERE database_name = 'lake'"
    )
    assert {"sessions", "events", "ads", "metrics_by_day", "ledger"} <= {name for (name,) in names}
    for (name,) in names:
        found = lake.ask(f"SELECT column_name, data_type FROM columns_of('{name}')")
        assert found == [row[:2] for row in lake.ask(f"DESCRIBE {name}")], name
        assert lake.ask(f"SELECT column_name FROM columns_of('{name}') WHERE meaning IS NULL") == [], name


def test_words_are_those_of_the_view(lake: Lake) -> None:
    """`started_at` of ads is when the ad began; of sessions it is the session's; a metric has its definition."""
    asked = "SELECT meaning FROM columns_of('{}') WHERE column_name = '{}'"
    assert lake.ask(asked.format("ads", "started_at")) == [("when the ad began",)]
    assert lake.ask(asked.format("sessions", "started_at")) == [("start, corrected by clock_offset_ms",)]
    defined = lake.ask("SELECT definition FROM metric_catalog WHERE name = 'watched_ratio'")
    assert lake.ask(asked.format("metrics_by_day", "watched_ratio")) == defined


def test_no_words_are_for_a_column_that_is_not_there(lake: Lake) -> None:
    """A view that loses a column loses its words too."""
    there = set(lake.ask("SELECT table_name, column_name FROM column_meanings"))
    words = tomllib.loads(meanings_text())
    used = {column for _, column in there}
    assert {(view, column) for view in words if view != ANY for column in words[view]} <= there
    assert set(words[ANY]) <= used


def test_init_writes_today_s_words(tmp_path: Path) -> None:
    """Where the lake has those of another version."""
    lake = Lake(tmp_path)
    lake.do("UPDATE column_meanings SET meaning = 'older'", "UPDATE definitions SET sha256 = 'older'")
    initialize(lake.place, partitions=1)
    assert lake.ask("SELECT count(*) FROM column_meanings WHERE meaning = 'older'") == [(0,)]


def test_the_command_shows_them(lake: Lake, tmp_path: Path) -> None:
    """Without a qualified name: what connects makes the lake the current database."""
    settings = {"PLAYHEAD_DATA_DIR": str(lake.settings.data_dir)}
    done = playhead("sql", "FROM columns_of('sessions')", "--csv", cwd=tmp_path, settings=settings)
    assert 'site,VARCHAR,"analytics.reportSuite, in lower case' in done.stdout
