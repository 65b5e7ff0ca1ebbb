"""A past is written into a new embedded log: each record has its own time, and no worker reads half of it."""

import asyncio
from pathlib import Path

import pytest
from rigs.logs import EmbeddedRig, Ledger, read_records, reading

from eventlog.adapters import create_log, open_reader, open_writer, read_ends
from eventlog.embedded.past import PastWriter
from eventlog.embedded.writer import INSERT_ROWS_MAX
from schemas.faults import NotReady
from schemas.settings import Settings

RECORDS = INSERT_ROWS_MAX + 10  # more than one transaction


class Clock:
    """A clock that moves by a minute at each record."""

    now_s = 1_700_000_000.0

    def __call__(self) -> float:
        self.now_s += 60.0
        return self.now_s


@pytest.fixture
async def settings(tmp_path: Path) -> Settings:
    """The settings of a new log of two partitions."""
    rig = EmbeddedRig(tmp_path / "data")
    settings = rig.settings(log_partitions=2)
    await create_log(settings)
    return settings


async def write(settings: Settings, records: int = RECORDS) -> None:
    """Write a past of so many records, in both partitions in turn."""
    writer = PastWriter(settings, clock=Clock())
    for number in range(records):
        appended = await writer.append(number % 2, key=b"key", value=str(number).encode())
        assert appended.offset == number // 2
    await writer.close()


async def test_each_record_has_its_own_time_of_append(settings: Settings) -> None:
    """A reader finds every record, in order, at the time at which it was appended."""
    await write(settings)
    async with reading(settings, Ledger()) as reader:
        records = await read_records(reader, RECORDS)
    in_order = sorted(records, key=lambda record: int(record.value))
    assert [record.value for record in in_order] == [str(number).encode() for number in range(RECORDS)]
    assert [record.appended_ms for record in in_order] == [
        1_700_000_000_000 + 60_000 * (number + 1) for number in range(RECORDS)
    ]


async def test_appends_go_on_after_a_past(settings: Settings) -> None:
    """An ingest that is started later appends behind it."""
    await write(settings, records=3)
    writer = await open_writer(settings)
    appended = await writer.append(1, key=b"key", value=b"now")
    await writer.close()
    assert appended.offset == 1
    assert await read_ends(settings) == {0: 2, 1: 2}


async def test_a_log_with_records_takes_no_past(settings: Settings) -> None:
    """A second past would come after the first, with older times."""
    await write(settings, records=1)
    with pytest.raises(NotReady, match="has records"):
        PastWriter(settings, clock=Clock())


async def test_a_log_that_a_worker_reads_takes_no_past(settings: Settings) -> None:
    """The worker would go by the clock of today."""
    async with reading(settings, Ledger()) as reader:
        await reader.read(records_max=1, timeout_s=0.0)
        with pytest.raises(NotReady, match="a worker reads the log"):
            PastWriter(settings, clock=Clock())


async def test_a_worker_waits_until_the_past_is_written(settings: Settings) -> None:
    """It is assigned the log's partitions only when the writer is closed."""
    writer = PastWriter(settings, clock=Clock())
    owner = Ledger()
    reader = await open_reader(settings, owner)
    await writer.append(0, key=b"key", value=b"first")
    assert await reader.read(records_max=10, timeout_s=0.2) == []
    assert owner.journal == []
    reads = asyncio.create_task(reader.read(records_max=10, timeout_s=20.0))
    await writer.close()
    values = [record.value for chunk in await reads for record in chunk.records]
    await reader.close()
    assert values == [b"first"]
