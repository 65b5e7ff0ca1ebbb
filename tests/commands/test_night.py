"""What an operator asks at night: with a fault in a running stack, `playhead status` names it within ten seconds.

Each answer says what to do. The rules themselves are tested in test_status.py.
"""

import asyncio
import contextlib
import json
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from rigs.brokers import OwnBroker, free_ports
from rigs.commands import playhead, started
from rigs.disks import fill, mounted
from rigs.fleet import fleet
from rigs.ingest import event, session_start
from rigs.ingest import running as ingesting
from rigs.lake import Lake
from rigs.logs import append_all, writing
from rigs.waiting import until
from rigs.watched_stack import Watched, watched_stack

from schemas.settings import read_settings

ANSWER_S_MAX = 10.0
ORDINARY = {"quarantine"}  # the records of the last hour, which another test may have written


def asked(cwd: Path, settings: dict[str, str], *ingests: str) -> tuple[dict[str, str], dict[str, Any]]:
    """Return what `playhead status` finds, by code, and what it saw. Fail if it takes too long."""
    arguments = [word for url in ingests for word in ("--ingest", url)]
    began_s = time.monotonic()
    done = playhead("status", "--json", *arguments, cwd=cwd, settings=settings)
    assert time.monotonic() - began_s < ANSWER_S_MAX
    answer = json.loads(done.stdout)
    found = {finding["code"]: finding["detail"] for finding in answer["findings"]}
    assert done.returncode == (1 if found else 0), done.stderr
    return found, answer["seen"]


class Night:
    """A running stack, what is done to it, and what `status` says of it."""

    def __init__(self, stack: Watched, running: contextlib.ExitStack) -> None:
        self.stack, self.settings, self._running = stack, stack.settings, running
        self.data = stack.cwd / "data"
        self.lake = Lake(self.data)
        self.url = f"http://127.0.0.1:{stack.ports['ingest']}"

    def finds(self, code: str, **changes: str) -> str:
        """Return what `status` says of a fault, which must be the only one."""
        found, _ = asked(self.stack.cwd, self.settings | changes, self.url)
        assert found.keys() - ORDINARY == {code} - ORDINARY
        return found[code]

    def comes_to_find(self, *codes: str) -> None:
        """Wait until `status` finds these faults, and no others."""
        until(lambda: asked(self.stack.cwd, self.settings, self.url)[0].keys() - ORDINARY == {*codes})

    def append_bad(self, count: int) -> None:
        """Append records that are no events, as a stranger does who writes into the topic."""

        async def append() -> None:
            async with writing(read_settings({"PLAYHEAD_DATA_DIR": str(self.data)})) as writer:
                await append_all(writer, count)

        asyncio.run(append())

    def start_worker(self, **changes: str) -> None:
        """Start a worker after the last one has ended."""
        settings = self.settings | changes
        self.stack.processes["worker"] = self._running.enter_context(
            started("worker", cwd=self.stack.cwd, settings=settings)
        )

    def end_worker(self) -> None:
        """End the worker."""
        assert self.stack.processes["worker"].end() == 0


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Night]:
    """A stack on one machine. Each test leaves it well, but for records in quarantine."""
    folder = tmp_path_factory.mktemp("night")
    with contextlib.ExitStack() as running, watched_stack(folder, PLAYHEAD_WORKER_BAD_MAX="20") as stack:
        yield Night(stack, running)


def test_is_it_well(night: Night) -> None:
    """Yes, with status 0."""
    night.comes_to_find()


def test_how_far_behind_is_it(night: Night) -> None:
    """A worker that hangs and is 20 s behind: how many records, how many seconds, and what to do."""
    worker = night.stack.processes["worker"]
    worker.pause()
    try:
        path = night.stack.players.post("/api/v1/sessions", json=session_start()).headers["location"]
        assert night.stack.players.post(f"{path}/events", json=event("play")).status_code == 204
        with contextlib.closing(sqlite3.connect(night.data / "log.sqlite")) as log, log:
            newest = "WHERE id >= (SELECT max(id) - 1 FROM records)"
            log.execute(f"UPDATE records SET appended_ms = appended_ms - 20000 {newest}")
        said = night.finds("behind")
    finally:
        worker.resume()
    assert said.startswith("2 records wait, the oldest for 2")
    assert said.endswith("look into its log, or start more workers")
    night.comes_to_find()


def test_does_anybody_read(night: Night) -> None:
    """A worker that is not there, and which command starts one."""
    night.end_worker()
    assert night.finds("no_worker") == "no worker reads it: start `playhead worker`"
    night.start_worker()
    night.comes_to_find()


def test_what_is_in_quarantine_and_what_is_halted_and_why(night: Night) -> None:
    """Somebody writes garbage into the log: a little of it, then most of what is read; and how it goes on."""
    night.append_bad(3)
    until(lambda: night.lake.ask("SELECT count(*) FROM quarantine WHERE source = 'worker'") == [(3,)])
    said = night.finds("quarantine")
    assert said == "3 records of the last hour cannot be decoded: see `playhead quarantine list`"
    night.append_bad(30)
    night.comes_to_find("halted")
    said = night.finds("halted")
    assert "records are bad" in said
    assert "PLAYHEAD_WORKER_BAD_MAX=0, continues" in said
    night.end_worker()
    night.start_worker(PLAYHEAD_WORKER_BAD_MAX="0")
    night.comes_to_find()


def test_is_a_clock_wrong(night: Night, tmp_path: Path) -> None:
    """That of an ingest, by its address, and by how much."""
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    with ingesting(tmp_path / "ahead", clock_ahead_s=3_600, metrics_port=port):
        found, _ = asked(night.stack.cwd, night.settings, night.url, url)
    assert found["clock"].startswith(f"the clock of {url} is 60 min ahead of this machine's: ")
    assert "time service" in found["clock"]


def test_is_there_a_backup(night: Night) -> None:
    """The newest one is older than what the log keeps, and which command makes one."""
    said = night.finds("backup_overdue", PLAYHEAD_LOG_RETENTION_S="1")
    assert said == "no backup is younger than the log's retention: run `playhead backup`"


def test_has_somebody_else_made_tables(night: Night) -> None:
    """It is seen, and it is no fault."""
    made = "CREATE SCHEMA IF NOT EXISTS dbt", "CREATE TABLE IF NOT EXISTS dbt.mart AS SELECT 1 AS one"

    def is_made() -> bool:
        night.lake.do(*made)  # refused while the worker commits
        return True

    until(is_made)
    found, seen = asked(night.stack.cwd, night.settings, night.url)
    assert not found.keys() - ORDINARY
    assert seen["lake"]["foreign_schemas"] == ["dbt"]


def test_what_fills_the_disk(tmp_path: Path) -> None:
    """The one of the data folder, under an ingest that can write nothing more."""
    disk = tmp_path / "disk"
    disk.mkdir()
    (port,) = free_ports(1)
    with mounted(disk, size_mb=24):
        Lake(disk)
        with ingesting(disk, metrics_port=port, log_append_timeout_s=1) as ingest:
            ballast = fill(disk)
            until(lambda: ingest.post("/api/v1/sessions", session_start()).status_code == 500)
            found, _ = asked(tmp_path, {"PLAYHEAD_DATA_DIR": str(disk)}, f"http://127.0.0.1:{port}")
            ballast.unlink()
    assert found["disk_full"].startswith("0 MB are free for ")
    assert found["disk_full"].endswith("/disk: free some, or add a disk")


async def test_is_the_broker_there_and_does_upkeep_run(
    tmp_path: Path, pausable_kafka: OwnBroker, catalog: str
) -> None:
    """On Kafka and PostgreSQL: nobody has started upkeep for an hour; then the broker answers nobody any more."""
    async with fleet(tmp_path, bootstrap_servers=pausable_kafka.bootstrap_servers, catalog=catalog) as ships:
        worker = ships.start("worker")
        await asyncio.to_thread(worker.wait_for, lambda: worker.output.count('"partition assigned"') == 4)
        with psycopg.connect(catalog.removeprefix("postgres:")) as database:
            database.execute("UPDATE ducklake_snapshot SET snapshot_time = snapshot_time - interval '1 hour'")
        settings = {name: value for name, value in ships.environment.items() if name.startswith("PLAYHEAD_")}
        found, _ = await asyncio.to_thread(asked, tmp_path, settings)
        assert found["upkeep_late"].startswith("no round of upkeep was completed for 60 min: ")
        assert found["upkeep_late"].endswith("the log of `playhead upkeep --every 60s` says why")
        pausable_kafka.pause()
        try:
            found, _ = await asyncio.to_thread(asked, tmp_path, settings)
        finally:
            pausable_kafka.resume()
        assert pausable_kafka.bootstrap_servers in found["log_unreachable"]
        assert not found.keys() & {"no_worker", "behind"}
