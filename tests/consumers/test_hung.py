"""A worker that hangs ends by itself, so that whatever runs it starts it again."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

from rigs.commands import environment, playhead
from rigs.fleet import feeding, fleet
from rigs.postgres import SystemServer, new_database
from rigs.processes import ROOT
from rigs.waiting import until_async

from consumers.alive import HUNG_STATUS


async def test_a_worker_that_hangs_ends_and_says_where(tmp_path: Path, own_postgres: SystemServer) -> None:
    """The database holds its connections and answers nothing. Where each thread was is in the log; when the
    database is back, the next worker goes on."""
    catalog = f"postgres:{new_database(own_postgres)}"
    changes = {"PLAYHEAD_LOG": "embedded", "PLAYHEAD_WORKER_HUNG_S": "3"}
    async with fleet(tmp_path, bootstrap_servers="", catalog=catalog, **changes) as ships:
        worker = ships.start("worker")
        async with feeding(ships, live=2) as feed:
            await ships.holds(5)
            own_postgres.pause()
            try:
                assert await asyncio.to_thread(worker.wait, 60.0) == HUNG_STATUS, worker.output[-2000:]
            finally:
                own_postgres.resume()
        *_, last = map(json.loads, worker.output.splitlines())
        assert (last["event"], last["level"], last["without_step_s"]) == ("hung", "critical", 3)
        assert any("lake_writer.py" in place or "transaction.py" in place for place in last["threads"].values())
        ships.start("worker", name="next")
        await until_async(lambda: ships.count() >= len(feed.acknowledged), "the next worker does not go on")


UPKEEP_OF_SECONDS = """
import asyncio, os
from consumers.worker import Worker
from schemas.settings import read_settings

async def main():
    stop = asyncio.Event()
    async def begin():
        await asyncio.sleep(3)
        stop.set()
    async def upkeep():
        return begin
    await Worker(read_settings(os.environ), upkeep=upkeep).run(stop)

asyncio.run(main())
"""


def test_a_worker_that_waits_for_a_long_upkeep_has_not_hung(tmp_path: Path) -> None:
    """A lake that is far behind takes minutes, in which the worker makes no step."""
    settings = {"PLAYHEAD_WORKER_HUNG_S": "1", "PLAYHEAD_WORKER_UPKEEP_INTERVAL_S": "0.1"}
    assert playhead("init", cwd=tmp_path, settings=settings).returncode == 0
    done = subprocess.run(
        [sys.executable, "-c", UPKEEP_OF_SECONDS],
        cwd=tmp_path,
        env={**environment(settings), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
