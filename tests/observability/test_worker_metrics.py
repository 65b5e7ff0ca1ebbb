"""What a worker counts, over a log and a lake of a test's own."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from rigs.lake import Lake, record_value
from rigs.logs import append_values, writing
from rigs.session_model import session_id
from rigs.waiting import until_async
from rigs.working import working

from consumers.worker import Worker
from eventlog.adapters import create_log
from observability.meter import Meter


class Counted:
    """A worker that runs, and its numbers."""

    def __init__(self, worker: Worker, meter: Meter) -> None:
        self.worker, self._meter = worker, meter

    def value(self, name: str, **labels: str) -> float | None:
        """Return one number; None if there is none."""
        for family in text_string_to_metric_families(self._meter.text().decode()):
            for sample in family.samples:
                if sample.name == f"playhead_worker_{name}" and sample.labels == labels:
                    return float(sample.value)
        return None

    async def until(self, name: str, value: float, **labels: str) -> None:
        """Wait until a number has this value."""
        await until_async(
            lambda: self.value(name, **labels) == value, lambda: f"{name} is {self.value(name, **labels)}"
        )


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A lake and a log of two partitions."""
    lake = Lake(tmp_path, partitions=2, log_partitions=2, worker_bad_max=3, worker_commit_interval_s=0.1)
    asyncio.run(create_log(lake.settings))
    return lake


@contextlib.asynccontextmanager
async def counting(lake: Lake) -> AsyncIterator[Counted]:
    """Let a worker run for the length of the block."""
    meter = Meter("worker")
    async with working(lake.settings, meter) as worker:
        yield Counted(worker, meter)


def posted(event_id: str, session: str, type_name: str, *, after_s: float = 0.0, born_ms: int) -> bytes:
    """Make the record of an event of now, whose player's clock shows so long after the session's start."""
    ts = born_ms + int(after_s * 1000)
    received_ms = time.time_ns() // 1_000_000
    return record_value(event_id, session, type_name, ts=ts, received_ms=received_ms, playhead=after_s)


async def test_what_comes_late_or_twice_is_counted_once(lake: Lake) -> None:
    """An event of a session that had closed, which opens it again; and a record that is there already."""
    born_ms = time.time_ns() // 1_000_000 - 60_000
    session = session_id(1, born_ms)
    start = posted("start", session, "sessionStart", born_ms=born_ms)
    async with writing(lake.settings) as writer, counting(lake) as counted:
        await append_values(writer, 0, start, posted("end", session, "sessionEnd", after_s=20, born_ms=born_ms))
        await counted.until("closed_total", 1, reason="ended")
        assert (counted.value("late_total"), counted.value("reopened_total")) == (0, 0)
        await append_values(writer, 0, posted("late", session, "play", after_s=5, born_ms=born_ms), start)
        await counted.until("duplicates_total", 1)
        await counted.until("reopened_total", 1)
        await counted.until("closed_total", 2, reason="ended")
        assert counted.value("late_total") == 1
        assert counted.value("stored_records_total") == 3
        assert counted.value("read_records_total", partition="0") == 4


async def test_a_halted_partition_is_named_by_gauge_and_health(lake: Lake) -> None:
    """With the code of the reason; the other partition goes on, and its lag is known."""
    session, born_ms = session_id(1, 0), time.time_ns() // 1_000_000
    async with writing(lake.settings) as writer, counting(lake) as counted:
        await append_values(writer, 0, *[b"?"] * 7)
        await counted.until("halted", 1, partition="0", reason="flood")
        await append_values(writer, 1, posted("a", session, "play", born_ms=born_ms))
        await counted.until("stored_records_total", 1)
        await counted.until("lag_records", 0, partition="1")
        waiting = counted.value("lag_records", partition="0")
        assert waiting is not None
        assert waiting > 0
        assert counted.value("halted", partition="1", reason="flood") is None
        (wrong,) = await counted.worker.metrics.flow()
        assert wrong.startswith("partition 0 is halted: ")
        assert await counted.worker.metrics.ready() == []


async def test_records_that_wait_have_an_age(lake: Lake) -> None:
    """While the lake takes nothing, records wait and grow older, and failures count; afterwards none waits."""
    session, born_ms = session_id(1, 0), time.time_ns() // 1_000_000
    async with writing(lake.settings) as writer, counting(lake) as counted:
        await counted.until("partitions", 2)
        with lake.locked():
            await append_values(writer, 0, posted("a", session, "play", born_ms=born_ms))
            await until_async(lambda: (counted.value("lag_seconds", partition="0") or 0) > 1)
            await counted.until("lag_records", 1, partition="0")
            await until_async(lambda: (counted.value("failures_total", kind="lake") or 0) >= 2)
            assert counted.value("lake_up") == 0, "it can be read all the time"
            assert await counted.worker.metrics.ready() == ["the lake takes nothing"]
        await counted.until("stored_records_total", 1)
        await counted.until("lag_seconds", 0, partition="0")
        assert counted.value("lake_up") == 1
