"""A lake whose schema changes while processes work: ingests go on across `init`, workers name what is gone."""

import asyncio
import contextlib
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from rigs.commands import SECRETS, started
from rigs.ingest import event, session_start
from rigs.ingest import running as ingesting
from rigs.lake import Lake
from rigs.waiting import until

from eventlog.adapters import create_log
from lake.catalog import connect
from lake.schema import SCHEMA, schema_of
from lake.verify import verify

SCHEMA_2 = Path(__file__).parents[1] / "data" / "schema_2.zip"


def settings_of(lake: Lake) -> dict[str, str]:
    """Return the settings of a `playhead` on this lake."""
    return {**SECRETS, "PLAYHEAD_DATA_DIR": str(lake.settings.data_dir)}


def is_of_schema(lake: Lake, schema: int) -> bool:
    """Return whether the lake has this schema number."""
    with contextlib.closing(connect(lake.place, read_only=True)) as connection:
        return schema_of(connection) == schema


def test_an_ingest_goes_on_while_init_migrates_the_lake(tmp_path: Path) -> None:
    """Every event before, during and after is acknowledged, and is in the lake once when a worker has run."""
    with zipfile.ZipFile(SCHEMA_2) as archive:
        archive.extractall(tmp_path / "data")
    lake = Lake(tmp_path / "data")
    settings = settings_of(lake)
    with ingesting(tmp_path / "data") as ingest:
        posted = [ingest.start(session_start())]
        with started("init", cwd=tmp_path, settings=settings) as init:
            while init.is_alive():
                posted.append(ingest.start(session_start()))
            assert init.wait() == 0, init.output
        assert len(posted) > 2
        posted.append(ingest.start(session_start()))
    assert is_of_schema(lake, SCHEMA)
    acknowledged = {path.rpartition("/")[2] for path in posted}
    with started("worker", cwd=tmp_path, settings=settings):
        until(lambda: {row[0] for row in lake.ask("SELECT session_id FROM events")} >= acknowledged)
        until(lambda: verify(lake.place).findings == [])
    assert lake.ask("SELECT count(*) = count(DISTINCT event_id) FROM events") == [(True,)]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        (["DROP VIEW events_checked", "ALTER TABLE events DROP COLUMN flags"], "events.flags"),
        (["ALTER TABLE session_versions DROP COLUMN late_events"], "session_versions.late_events"),
    ],
    ids=["of events", "of sessions"],
)
def test_a_worker_ends_where_a_column_is_dropped_under_it(
    tmp_path: Path, changes: Sequence[str], named: str
) -> None:
    """It has stored an event; at the session's end it ends with status 2, names the column, and stores nothing."""
    lake = Lake(tmp_path / "data")
    asyncio.run(create_log(lake.settings))
    with (
        ingesting(tmp_path / "data") as ingest,
        started("worker", cwd=tmp_path, settings=settings_of(lake)) as worker,
    ):
        path = ingest.start(session_start())
        worker.wait_for(lambda: lake.ask("SELECT count(*) FROM events") == [(1,)])
        lake.do(*changes)
        assert ingest.post(f"{path}/events", event("sessionEnd")).status_code == 204
        assert worker.wait(60) == 2, worker.output
        assert named in worker.output.splitlines()[-1]
    assert lake.ask("SELECT count(*) FROM events") == [(1,)]
