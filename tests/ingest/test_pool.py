"""`playhead ingest --workers`: several processes behind one port."""

import asyncio
import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families
from rigs.commands import SECRETS, Running, failed, playhead, started
from rigs.ingest import session_start
from rigs.waiting import until

from eventlog.adapters import create_log
from schemas.settings import Settings

SETTINGS = SECRETS | {"PLAYHEAD_HTTP_PORT": "0"}


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Running]:
    """Two processes that listen."""
    asyncio.run(create_log(Settings(data_dir=tmp_path / "data")))
    with started("ingest", "--workers", "2", cwd=tmp_path, settings=SETTINGS) as pool:
        pool.wait_for(lambda: len(ports(pool, "listening")) == 2)
        yield pool


def ports(pool: Running, event: str) -> list[int]:
    """Return the ports in the log's lines of an event."""
    return [int(port) for port in re.findall(rf'"port": (\d+), "event": "{event}"', pool.output)]


def metrics_of(port: int) -> str:
    """Return the metrics at a port."""
    return httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=20).text


def received(port: int) -> float:
    """Return how many requests a process has received, by the metrics at a port."""
    text = metrics_of(port)
    return float(re.findall(r'^playhead_ingest_received_total{protocol="media"} (\S+)', text, re.M)[0])


def post(port: int) -> int:
    """Post a sessionStart on a connection of its own; return the status."""
    return httpx.post(f"http://127.0.0.1:{port}/api/v1/sessions", json=session_start(), timeout=20).status_code


def test_processes_share_the_requests_and_end_together(pool: Running) -> None:
    """Each gets some, one port has the metrics of all, and SIGTERM ends all of them well."""
    first, second = ports(pool, "listening")
    assert first == second
    assert {post(first) for _ in range(40)} == {201}
    together, *each = ports(pool, "metrics")
    assert received(together) == sum(map(received, each)) == 40
    assert min(map(received, each)) > 0
    text = metrics_of(together)
    assert re.findall(r"^playhead_ingest_(?:log_up|partitions) .*$", text, re.M) == [
        "playhead_ingest_log_up 1.0",
        "playhead_ingest_partitions 1.0",
    ]
    of_all, of_one = ({f.name for f in text_string_to_metric_families(one)} for one in (text, metrics_of(each[0])))
    assert of_all == of_one, "it has the metrics of one process, and no others"
    assert httpx.get(f"http://127.0.0.1:{together}/health/ready").json() == {"status": "ready", "wrong": []}
    children = pool.children()
    assert pool.end() == 0, pool.output
    assert not any(child.is_running() for child in children)
    assert pool.output.count('"event": "stopped"') == 2


def test_a_process_that_dies_is_replaced(pool: Running) -> None:
    """It is logged with its cause, the others serve meanwhile, and what it has counted stays counted."""
    together = ports(pool, "metrics")[0]
    assert {post(ports(pool, "listening")[0]) for _ in range(10)} == {201}
    assert received(together) == 10
    victim = pool.children()[0]
    os.kill(victim.pid, signal.SIGKILL)
    pool.wait_for(lambda: len(ports(pool, "listening")) == 3)
    (line,) = [json.loads(line) for line in pool.output.splitlines() if "ingest process ended" in line]
    assert (line["level"], line["how"]) == ("error", "killed by SIGKILL")
    assert victim.pid not in {child.pid for child in pool.children()}
    assert {post(ports(pool, "listening")[0]) for _ in range(10)} == {201}
    assert received(together) == 20


def test_no_process_outlives_the_first(pool: Running) -> None:
    """Killed without a chance to end them, it takes them along."""
    children = pool.children()
    pool.end(signal.SIGKILL)
    until(lambda: not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children))


def test_what_keeps_a_process_from_starting_ends_all(tmp_path: Path) -> None:
    """A log that is missing; a port that another program uses, which would get a part of the requests."""
    done = playhead("ingest", "--workers", "2", cwd=tmp_path, settings=SETTINGS)
    assert done.returncode == 2
    ended = [line for line in map(json.loads, done.stderr.splitlines()) if line["event"] == "ended"]
    assert ended, "one says why; the other may be asked to end before it knows"
    assert all("playhead init" in line["error"] for line in ended)
    asyncio.run(create_log(Settings(data_dir=tmp_path / "data")))
    with started("ingest", cwd=tmp_path, settings=SETTINGS) as other:
        port = other.wait_for(lambda: ports(other, "listening"))[0]
        taken = SETTINGS | {"PLAYHEAD_HTTP_PORT": str(port)}
        refused = playhead("ingest", "--workers", "2", cwd=tmp_path, settings=taken)
        assert failed(refused) == f"port {port} of 127.0.0.1 is in use"
