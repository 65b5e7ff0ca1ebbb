"""Long work says how far it is: where nobody watches, in the log."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from rigs.lake import Lake
from rigs.logs import append_all, writing
from rigs.waiting import until
from structlog.testing import capture_logs

from commands import progress
from commands.progress import Counted, shown_reading, shown_statements
from consumers.worker import Worker
from eventlog.adapters import create_log


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, object]]]:
    """The lines of the log, which come whenever there is something to tell."""
    monkeypatch.setattr(progress, "LOGGED_EVERY_S", 0.0)
    monkeypatch.setattr(progress, "SHOWN_EVERY_S", 0.01)
    with capture_logs() as lines:
        yield lines  # type: ignore[misc]


def test_a_long_statement_says_which_and_how_far(lines: list[dict[str, object]], tmp_path: Path) -> None:
    """A backup, a restore or an export consists of them; the percentage is what DuckDB knows."""
    with duckdb.connect() as connection, shown_statements("backup") as watch, watch(connection, "events"):
        connection.execute("SELECT 1")
        until(lambda: lines)
    assert {(line["event"], line["doing"], line["part"]) for line in lines} == {("progress", "backup", "events")}
    assert "percent" in lines[0]


def test_reading_the_log_says_how_many_records_are_left(lines: list[dict[str, object]], tmp_path: Path) -> None:
    """Of those that are in the log when it begins, as a rebuild reads them."""
    lake = Lake(tmp_path, worker_batch_records=10)

    async def read() -> None:
        await create_log(lake.settings)
        async with writing(lake.settings) as writer:
            await append_all(writer, 200)
        worker = Worker(lake.settings)
        async with shown_reading("rebuild", lake.settings, worker.positions):
            await worker.run(asyncio.Event(), until_read=True)

    asyncio.run(read())
    left = [line["records_left"] for line in lines if line["event"] == "progress"]
    assert left == sorted(left, reverse=True)  # type: ignore[type-var]
    assert len(set(left)) > 1


def test_a_count_is_told_as_it_grows(lines: list[dict[str, object]]) -> None:
    """What a replay appends."""
    with Counted("replay") as counted:
        counted.show(appended=3, not_decoded=1)
    assert [(line["doing"], line["appended"], line["not_decoded"]) for line in lines] == [("replay", 3, 1)]
