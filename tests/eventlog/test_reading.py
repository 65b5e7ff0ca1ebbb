"""What a log promises its readers, asked of every adapter."""

import asyncio
import contextlib
import time
from collections.abc import Collection

import pytest
from rigs.logs import (
    Ledger,
    LogRig,
    append_all,
    child,
    killed,
    next_line,
    read_chunks,
    read_records,
    reading,
    writing,
)
from rigs.waiting import until_async

from eventlog.adapters import add_partitions
from schemas.faults import LogGap, LogTruncated


async def test_reading_starts_where_the_owner_says(rig: LogRig) -> None:
    """The owner's position is the first offset read, in each partition."""
    await rig.make(log_partitions=2)
    async with writing(rig.settings()) as writer:
        await append_all(writer, 10, partition=0)
        await append_all(writer, 10, partition=1)
    async with reading(rig.settings(), Ledger({0: 7, 1: 9})) as reader:
        records = await read_records(reader, 4)
    assert sorted((record.partition, record.offset) for record in records) == [(0, 7), (0, 8), (0, 9), (1, 9)]


async def test_seek_and_reposition(rig: LogRig) -> None:
    """Only the owner moves a position: by `seek`, or by being asked again."""
    await rig.make()
    ledger = Ledger()
    async with writing(rig.settings()) as writer, reading(rig.settings(), ledger) as reader:
        await append_all(writer, 10)
        assert [record.offset for record in await read_records(reader, 10)] == list(range(10))
        reader.seek(0, 8)
        assert [record.offset for record in await read_records(reader, 2)] == [8, 9]
        reader.seek(5, 0)
        ledger.positions[0] = 9
        reader.reposition(0)
        assert [record.offset for record in await read_records(reader, 1)] == [9]
        assert ledger.assigned == [0, 0]


async def test_a_paused_partition_stands_still(rig: LogRig) -> None:
    """What is paused is not read until `seek` or `reposition`; the others go on."""
    await rig.make(log_partitions=2)
    async with writing(rig.settings()) as writer, reading(rig.settings()) as reader:
        await append_all(writer, 3, partition=0)
        await read_records(reader, 3)
        reader.pause(0)
        await append_all(writer, 3, partition=0)
        await append_all(writer, 3, partition=1)
        assert {record.partition for record in await read_records(reader, 3)} == {1}
        assert not [chunk for chunk in await reader.read(records_max=10, timeout_s=0.2) if chunk.records]
        reader.seek(0, 3)
        assert [record.offset for record in await read_records(reader, 3)] == [3, 4, 5]
        reader.pause(0)
        reader.reposition(0)
        assert [record.offset for record in await read_records(reader, 6)] == list(range(6))


async def test_the_end_of_the_log_is_known(real_rig: LogRig) -> None:
    """A read without records returns in time, with the end of each partition."""
    await real_rig.make(log_partitions=2)
    async with writing(real_rig.settings()) as writer, reading(real_rig.settings()) as reader:
        await append_all(writer, 5, partition=1)
        await read_records(reader, 5)
        began = time.monotonic()
        chunks = await reader.read(records_max=10, timeout_s=0.5)
        assert 0.4 < time.monotonic() - began < 2
    assert sorted((chunk.partition, chunk.records, chunk.end_offset) for chunk in chunks) == [
        (0, [], 0),
        (1, [], 5),
    ]


async def test_a_read_is_bounded(rig: LogRig) -> None:
    """A read returns no more records than it was asked for, and the rest later."""
    await rig.make(log_partitions=2)
    async with writing(rig.settings()) as writer, reading(rig.settings()) as reader:
        await append_all(writer, 50, partition=0)
        await append_all(writer, 50, partition=1)
        seen = 0
        while seen < 100:
            count = sum(len(chunk.records) for chunk in await reader.read(records_max=30, timeout_s=5))
            assert count <= 30
            seen += count


async def test_a_new_record_wakes_the_reader(real_rig: LogRig) -> None:
    """A reader that waits has a new record long before its time is over."""
    await real_rig.make()
    async with writing(real_rig.settings()) as writer, reading(real_rig.settings()) as reader:
        await read_chunks(reader, 1)
        waits_s = []
        for _ in range(10):
            waiting = asyncio.ensure_future(reader.read(records_max=10, timeout_s=10))
            await asyncio.sleep(0.03)
            await writer.append(0, key=b"", value=b"x")
            began = time.monotonic()
            [chunk] = await waiting
            waits_s.append(time.monotonic() - began)
            assert len(chunk.records) == 1
    assert sorted(waits_s)[5] < 0.5


async def test_a_gap_is_a_fault(rig: LogRig) -> None:
    """A partition that lost its first records is not read until `seek`; the others are."""
    await rig.make(log_partitions=2)
    async with writing(rig.settings()) as writer:
        await append_all(writer, 10, partition=0)
        await append_all(writer, 3, partition=1)
    await rig.lose_front(0, 6)
    async with reading(rig.settings(), Ledger({0: 2})) as reader:
        with pytest.raises(LogGap) as caught:
            await read_records(reader, 13)
        assert (caught.value.partition, caught.value.asked, caught.value.found) == (0, 2, 6)
        reader.seek(1, 0)
        assert {record.partition for record in await read_records(reader, 3)} == {1}
        reader.seek(0, 6)
        assert [record.offset for record in await read_records(reader, 4)] == [6, 7, 8, 9]


async def test_a_truncated_log_is_a_fault(rig: LogRig) -> None:
    """A log that ends before the owner's position is not read; no record is silently read again."""
    await rig.make()
    async with writing(rig.settings()) as writer:
        await append_all(writer, 10)
    await rig.lose_end()
    async with writing(rig.settings()) as writer:
        await append_all(writer, 4)
    async with reading(rig.settings(), Ledger({0: 10})) as reader:
        with pytest.raises(LogTruncated) as caught:
            await read_records(reader, 1)
        assert (caught.value.partition, caught.value.asked, caught.value.end) == (0, 10, 4)
        assert not [chunk for chunk in await reader.read(records_max=10, timeout_s=0.2) if chunk.records]
        reader.seek(0, 0)
        assert len(await read_records(reader, 4)) == 4


async def test_offsets_go_on_after_the_log_was_emptied(rig: LogRig) -> None:
    """An offset is never used twice, even if the log is empty."""
    await rig.make()
    async with writing(rig.settings()) as writer:
        await append_all(writer, 10)
    await rig.lose_front(0, 10)
    async with writing(rig.settings()) as writer:
        assert await append_all(writer, 2) == [10, 11]
    async with reading(rig.settings(), Ledger({0: 10})) as reader:
        assert [record.offset for record in await read_records(reader, 2)] == [10, 11]


async def test_one_owner_at_a_time(real_rig: LogRig) -> None:
    """One reader releases a partition before another is assigned it, which starts at its owner's position."""
    await real_rig.make()
    async with writing(real_rig.settings()) as writer:
        await append_all(writer, 5)
    journal: list[str] = []
    first, second = Ledger(name="first", journal=journal), Ledger({0: 3}, name="second", journal=journal)
    async with contextlib.AsyncExitStack() as at_the_end:
        async with reading(real_rig.settings(), first) as reader:
            await read_records(reader, 5)
            other = await at_the_end.enter_async_context(reading(real_rig.settings(), second))
            chunks, _ = await asyncio.gather(
                other.read(records_max=10, timeout_s=0.3), reader.read(records_max=10, timeout_s=0.3)
            )
        records = [record for chunk in chunks for record in chunk.records]
        records += await read_records(other, 2 - len(records))
    assert [record.offset for record in records] == [3, 4]
    assert journal[:2] == ["first assigned 0", "first released 0"]
    assert journal[-2:] == ["second assigned 0", "second released 0"]
    assert all("assigned" in step for step in journal[::2])
    assert [step.replace("assigned", "released") for step in journal[::2]] == journal[1::2]


async def test_a_killed_reader_gives_way(real_rig: LogRig) -> None:
    """After kill -9 of the owner, a standby reader is assigned."""
    await real_rig.make()
    async with writing(real_rig.settings()) as writer:
        await append_all(writer, 5)
    with child(real_rig.settings(), "read") as process:
        assert await next_line(process) == "assigned 0"
        async with reading(real_rig.settings()) as standby:
            assert await standby.read(records_max=10, timeout_s=0.3) == []
            await killed(process)
            assert len(await read_records(standby, 5)) == 5


class Member:
    """An owner that shares its ledger with others, as workers do, and knows what it holds."""

    def __init__(self, ledger: dict[int, int], moved: asyncio.Event) -> None:
        self.ledger = ledger
        self.moved = moved
        self.held: set[int] = set()

    async def acquire(self, partition: int) -> int:
        self.held.add(partition)
        return self.ledger[partition]

    async def release(self, partitions: Collection[int]) -> None:
        self.held.difference_update(partitions)

    async def work(self, rig: LogRig, stop: asyncio.Event) -> None:
        """Read until told to stop; each record of a partition held is the next one of the ledger."""
        async with reading(rig.settings(), self) as reader:
            while not stop.is_set():
                for chunk in await reader.read(records_max=20, timeout_s=0.2):
                    for record in chunk.records if chunk.partition in self.held else ():
                        assert record.offset == self.ledger[chunk.partition]
                        self.ledger[chunk.partition] += 1
                        self.moved.set()


async def test_readers_come_and_go(real_rig: LogRig) -> None:
    """While readers join and leave, every record is read once and in order."""
    await real_rig.make(log_partitions=3)
    ledger, moved = dict.fromkeys(range(3), 0), asyncio.Event()
    stops = [asyncio.Event() for _ in range(3)]
    async with writing(real_rig.settings()) as writer, asyncio.TaskGroup() as readers, asyncio.timeout(60):
        for step, (joins, leaves) in enumerate(((0, None), (1, None), (2, 0), (None, 1))):
            if joins is not None:
                readers.create_task(Member(ledger, moved).work(real_rig, stops[joins]))
            if leaves is not None:
                stops[leaves].set()
            for _ in range(3):
                await asyncio.gather(*(append_all(writer, 50, partition=partition) for partition in range(3)))
                while sum(ledger.values()) < 450 * step:
                    moved.clear()
                    await moved.wait()
        while sum(ledger.values()) < 1800:
            moved.clear()
            await moved.wait()
        stops[2].set()
    assert ledger == dict.fromkeys(range(3), 600)


async def test_partitions_can_be_added_while_all_runs(real_rig: LogRig) -> None:
    """A running writer and a running reader use added partitions."""
    await real_rig.make()
    ledger = Ledger()
    async with writing(real_rig.settings()) as writer, reading(real_rig.settings(), ledger) as reader:
        await append_all(writer, 3)
        await read_records(reader, 3)
        ledger.positions[0] = 3
        assert await add_partitions(real_rig.settings(), partitions=3) == 3

        async def has_three() -> bool:
            await writer.check()
            return writer.partitions == 3

        await until_async(has_three)
        assert await append_all(writer, 2, partition=2) == [0, 1]
        assert {record.partition for record in await read_records(reader, 2)} == {2}
    assert sorted(set(ledger.assigned)) == [0, 1, 2]
