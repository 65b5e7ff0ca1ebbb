"""What a log promises, asked of every adapter: a further one only has to be named in `rig`."""

import asyncio
import contextlib
import gc
import sqlite3
import time
import uuid
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest
from rigs.brokers import JvmBroker
from rigs.logs import (
    EmbeddedRig,
    KafkaRig,
    Ledger,
    LogRig,
    MockRig,
    child,
    inspecting,
    killed,
    next_line,
    read_chunks,
    read_records,
    reading,
    writing,
)
from rigs.mock_kafka import MockKafka, running_mock
from rigs.waiting import until_async

from eventlog import Writer
from eventlog.adapters import add_partitions, create_log, open_reader, open_writer, read_ends
from eventlog.embedded import file as embedded_log
from eventlog.embedded.writer import open_embedded_writer
from schemas.faults import LogGap, LogTruncated, LogUnavailable, NotReady, SchemaMismatch, TooLarge

LOGS = ["embedded", "kafka", "mock"]


def rig_of(kind: str, request: pytest.FixtureRequest, tmp_path: Path, broker: str) -> LogRig:
    """Return a place for a log of a kind."""
    match kind:
        case "kafka":
            return KafkaRig(request.getfixturevalue(broker))
        case "mock":
            return MockRig(request.getfixturevalue("empty_mock_kafka"))
        case _:
            return EmbeddedRig(tmp_path / "data")


@pytest.fixture
def empty_mock_kafka() -> Iterator[MockKafka]:
    """A mock cluster of the test's own, without a topic."""
    with running_mock(f"playhead.test.{uuid.uuid4().hex}", partitions=0) as mock:
        yield mock


@pytest.fixture(params=LOGS)
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> LogRig:
    """A place for a log, of each kind in turn."""
    return rig_of(request.param, request, tmp_path, "kafka")


@pytest.fixture(params=LOGS)
def stalling_rig(request: pytest.FixtureRequest, tmp_path: Path) -> LogRig:
    """The same, where the log is to be stalled."""
    return rig_of(request.param, request, tmp_path, "pausable_kafka")


@pytest.fixture(params=LOGS[:2])
def real_rig(request: pytest.FixtureRequest, tmp_path: Path) -> LogRig:
    """The same, for what the mock cluster does not do.

    It makes no topic and adds no partition by request, answers a fetch that finds nothing half a second late, and
    does not tell a group's member that another one has joined.
    """
    return rig_of(request.param, request, tmp_path, "kafka")


async def append_all(writer: Writer, count: int, *, partition: int = 0) -> list[int]:
    """Append so many records, all at once, with their number as value; return their offsets."""
    appended = await asyncio.gather(
        *(writer.append(partition, key=b"k", value=str(number).encode()) for number in range(count))
    )
    return [one.offset for one in appended]


async def until_it_takes(writer: Writer) -> None:
    """Append until it works, as clients do."""

    async def is_taken() -> bool:
        with contextlib.suppress(LogUnavailable):
            await writer.append(0, key=b"", value=b"again")
            return True
        return False

    await until_async(is_taken, "it takes nothing")


async def test_there_must_be_a_log(rig: LogRig) -> None:
    """A writer or reader of a log that was never made is refused, with the command that makes it."""
    with pytest.raises(NotReady, match=r"playhead (init|topics)"):
        await open_writer(rig.settings())
    with pytest.raises(NotReady, match=r"playhead (init|topics)"):
        await open_reader(rig.settings(), Ledger())


async def test_anybody_may_ask_where_the_log_ends(rig: LogRig) -> None:
    """Each partition, the empty ones too; also while a reader has them, which it keeps, and after records went."""
    with pytest.raises(NotReady, match=r"playhead (init|topics)"):
        await read_ends(rig.settings())
    await rig.make(log_partitions=3)
    settings = rig.settings()
    assert await read_ends(settings) == {0: 0, 1: 0, 2: 0}
    async with writing(settings) as writer:
        await append_all(writer, 5)
        await append_all(writer, 2, partition=2)
    owner = Ledger()
    async with reading(settings, owner) as reader:
        assert len(await read_records(reader, 7)) == 7
        held = owner.assigned
        assert await read_ends(settings) == {0: 5, 1: 0, 2: 2}
        assert owner.assigned == held
    await rig.lose_front(0, 4)
    assert await read_ends(settings) == {0: 5, 1: 0, 2: 2}


async def test_anybody_may_look_at_single_records(rig: LogRig) -> None:
    """As a reader gets them, whether one reads or not; None if there is no record, not yet or no longer."""
    await rig.make(log_partitions=3)
    settings = rig.settings()
    async with writing(settings) as writer:
        await append_all(writer, 5)
        await append_all(writer, 2, partition=1)
    owner = Ledger()
    async with reading(settings, owner) as reader, inspecting(settings) as inspector:
        records = await read_records(reader, 7)
        of_first = [record for record in records if record.partition == 0]
        of_second = [record for record in records if record.partition == 1]
        held = owner.assigned
        for offset in (4, 0, 2):
            views = await inspector.look({0: offset, 1: 1})
            assert [views[partition].record for partition in range(3)] == [of_first[offset], of_second[1], None]
        for offset in (5, 6, 1_000):
            views = await inspector.look({0: offset, 1: 0, 2: 0, 9: 0})
            assert [views[partition].record for partition in range(3)] == [None, of_second[0], None]
        assert owner.assigned == held
        await rig.lose_front(0, 3)
        views = await inspector.look({0: 2})
        assert {p: (view.first_offset, view.end_offset, view.record) for p, view in views.items()} == {
            0: (3, 5, None),
            1: (0, 2, None),
            2: (0, 0, None),
        }
        assert (await inspector.look({0: 3}))[0].record == of_first[3]


async def test_a_log_made_in_the_place_of_another_shows_other_records(rig: LogRig) -> None:
    """An inspector that was open all the time sees it."""
    await rig.make()
    settings = rig.settings()
    async with inspecting(settings) as inspector:
        async with writing(settings) as writer:
            await append_all(writer, 3)
        before = (await inspector.look({0: 2}))[0].record
        assert before is not None
        await rig.lose_end()
        assert (await inspector.look({0: 2}))[0].record is None
        async with writing(settings) as writer:
            await append_all(writer, 3)
        after = (await inspector.look({0: 2}))[0].record
        assert after is not None
        assert (after.value, after.appended_ms != before.appended_ms) == (before.value, True)


async def test_who_looks_makes_no_topic(own_kafka: JvmBroker) -> None:
    """Also where the topic went while it was looked at, on a broker that makes what it is asked for by name."""
    rig = KafkaRig(own_kafka)
    await rig.make()
    settings = rig.settings()
    async with inspecting(settings) as inspector:
        async with writing(settings) as writer:
            await append_all(writer, 3)
        assert (await inspector.look({0: 2}))[0].record is not None
        await rig.delete()
        for _ in range(20):
            with pytest.raises(NotReady, match="playhead topics"):
                await inspector.look({0: 2})


async def test_a_log_that_does_not_answer_is_said_by_who_asks_for_its_end(stalling_rig: LogRig) -> None:
    """Within seconds. The embedded log answers while somebody else keeps it from being written."""
    await stalling_rig.make()
    settings = stalling_rig.settings(log_append_timeout_s=1)
    async with stalling_rig.stalled():
        if settings.log == "embedded":
            assert await read_ends(settings) == {0: 0}
        else:
            with pytest.raises(LogUnavailable):
                await read_ends(settings)
    assert await read_ends(settings) == {0: 0}


async def test_making_a_log_twice_changes_nothing(real_rig: LogRig) -> None:
    """Once created, the log keeps its number of partitions."""
    assert await real_rig.make(log_partitions=3) == 3
    assert await real_rig.make(log_partitions=3) == 3
    async with writing(real_rig.settings()) as writer:
        assert writer.partitions == 3


async def test_what_was_appended_is_read(rig: LogRig) -> None:
    """Key, value, partition and offset are returned, with the time by the log's clock."""
    await rig.make(log_partitions=2)
    began_ms = time.time() * 1000 - 1
    async with writing(rig.settings()) as writer, reading(rig.settings()) as reader:
        appended = await writer.append(1, key=b"a key", value=b"\x00 any bytes \xff")
        [record] = await read_records(reader, 1)
    assert (record.partition, record.offset, record.key, record.value) == (
        1,
        appended.offset,
        b"a key",
        b"\x00 any bytes \xff",
    )
    assert began_ms <= record.appended_ms <= time.time() * 1000


async def test_offsets_are_dense_in_each_partition(rig: LogRig) -> None:
    """Each partition counts from 0 without gaps, in the order of appending."""
    await rig.make(log_partitions=3)
    async with writing(rig.settings()) as writer, reading(rig.settings()) as reader:
        offsets = await asyncio.gather(*(append_all(writer, 300, partition=partition) for partition in range(3)))
        assert offsets == [list(range(300))] * 3
        records = await read_records(reader, 900)
    for partition in range(3):
        mine = [record for record in records if record.partition == partition]
        assert [(record.offset, int(record.value)) for record in mine] == [(n, n) for n in range(300)]


async def test_an_append_that_returned_survives_kill_9(rig: LogRig) -> None:
    """Every offset that a killed writer reported is there for another process."""
    await rig.make()
    with child(rig.settings(), "write", "100000", "w") as process:
        said = [int(await next_line(process)) for _ in range(200)]
        await killed(process)
        assert process.stdout is not None
        said += [int(line) for line in process.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
    async with reading(rig.settings()) as reader:
        records = await read_records(reader, len(said))
    assert [record.offset for record in records[: len(said)]] == said
    assert [record.value for record in records] == [f"w {number}".encode() for number in range(len(records))]


async def test_several_processes_write_at_once(rig: LogRig) -> None:
    """The records of two writing processes lie in one dense sequence, each one's in its own order."""
    await rig.make()
    settings = rig.settings(log_append_timeout_s=20)
    with child(settings, "write", "300", "a") as first, child(settings, "write", "300", "b") as second:
        said = await asyncio.gather(*(asyncio.to_thread(process.communicate) for process in (first, second)))
    async with reading(rig.settings()) as reader:
        records = await read_records(reader, 600)
    assert [record.offset for record in records] == list(range(600))
    for name, (out, _) in zip("ab", said, strict=True):
        mine = [record for record in records if record.key == name.encode()]
        assert [record.value for record in mine] == [f"{name} {number}".encode() for number in range(300)]
        assert [record.offset for record in mine] == [int(line) for line in out.split()]


async def test_an_append_ends_at_its_deadline(stalling_rig: LogRig) -> None:
    """While a log stalls, an append takes until its deadline and no longer; afterwards the writer recovers."""
    await stalling_rig.make()
    async with writing(stalling_rig.settings(log_append_timeout_s=1.0)) as writer:
        await append_all(writer, 1)
        async with stalling_rig.stalled():
            began = time.monotonic()
            with pytest.raises(LogUnavailable):
                await writer.append(0, key=b"", value=b"late")
            assert 0.9 < time.monotonic() - began < 2
        await until_it_takes(writer)


async def test_a_stalled_log_is_not_ready(stalling_rig: LogRig) -> None:
    """`check` returns or raises within the deadline."""
    await stalling_rig.make()
    async with writing(stalling_rig.settings(log_append_timeout_s=1.0)) as writer:
        await writer.check()
        async with stalling_rig.stalled():
            with pytest.raises(LogUnavailable):
                await writer.check()
        await until_it_takes(writer)
        await writer.check()


async def test_a_full_queue_refuses_at_once(stalling_rig: LogRig) -> None:
    """While the log stalls, as many appends wait as the settings say; the next one is refused without waiting."""
    await stalling_rig.make()
    async with writing(stalling_rig.settings(log_append_timeout_s=2.0, log_queue_max=10)) as writer:
        await append_all(writer, 1)
        async with stalling_rig.stalled():
            waiting = [asyncio.ensure_future(writer.append(0, key=b"", value=b"x")) for _ in range(10)]
            await asyncio.sleep(0)
            began = time.monotonic()
            with pytest.raises(LogUnavailable):
                await writer.append(0, key=b"", value=b"one too many")
            assert time.monotonic() - began < 0.2
            outcomes = await asyncio.gather(*waiting, return_exceptions=True)
            assert all(isinstance(outcome, LogUnavailable) for outcome in outcomes)
        await until_it_takes(writer)


async def test_the_queue_is_bounded_in_bytes(stalling_rig: LogRig) -> None:
    """A few large appends fill the queue as many small ones do, and their bytes are released."""
    await stalling_rig.make()
    settings = stalling_rig.settings(log_append_timeout_s=1.0, log_queue_bytes_max=1_000_000)
    async with writing(settings) as writer:
        await append_all(writer, 1)
        async with stalling_rig.stalled():
            waiting = [asyncio.ensure_future(writer.append(0, key=b"", value=bytes(100_000))) for _ in range(15)]
            outcomes = await asyncio.gather(*waiting, return_exceptions=True)
            assert sum("waiting already" in str(outcome) for outcome in outcomes) == 5
        await until_it_takes(writer)
        del waiting, outcomes
        gc.collect()
        assert not [held for held in gc.get_objects() if isinstance(held, bytes) and len(held) == 100_000]


async def test_closing_ends_within_the_deadline(stalling_rig: LogRig) -> None:
    """A stalled log does not prevent closing, and appends after that are refused."""
    await stalling_rig.make()
    writer = await open_writer(stalling_rig.settings(log_append_timeout_s=1.0))
    await append_all(writer, 1)
    async with stalling_rig.stalled():
        waiting = asyncio.ensure_future(writer.append(0, key=b"", value=b"x"))
        await asyncio.sleep(0)
        began = time.monotonic()
        await writer.close()
        assert time.monotonic() - began < 2
        assert isinstance(waiting.exception(), LogUnavailable)
        with pytest.raises(LogUnavailable):
            await writer.append(0, key=b"", value=b"x")


async def test_closing_waits_for_what_is_being_appended(rig: LogRig) -> None:
    """Appends in progress when the writer is closed become durable."""
    await rig.make()
    writer = await open_writer(rig.settings())
    waiting = [asyncio.ensure_future(writer.append(0, key=b"", value=b"x")) for _ in range(50)]
    await asyncio.sleep(0)
    await writer.close()
    assert [one.offset for one in await asyncio.gather(*waiting)] == list(range(50))


async def test_an_oversize_record_is_too_large(rig: LogRig) -> None:
    """A record above the limit is refused; one at the limit is stored and read."""
    await rig.make(log_record_bytes_max=100_000)
    settings = rig.settings(log_record_bytes_max=100_000)
    async with writing(settings) as writer, reading(settings) as reader:
        with pytest.raises(TooLarge):
            await writer.append(0, key=b"k", value=bytes(100_000))
        await writer.append(0, key=b"k", value=bytes(99_999))
        [record] = await read_records(reader, 1)
    assert len(record.value) == 99_999


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
    assert sorted(waits_s)[5] < 0.05


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
        records += await read_records(other, 2 - len(records), within_s=30)
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
            assert len(await read_records(standby, 5, within_s=30)) == 5


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


@pytest.fixture
def embedded(tmp_path: Path) -> EmbeddedRig:
    """A place for an embedded log."""
    return EmbeddedRig(tmp_path / "data")


async def test_a_withdrawn_append_never_reaches_the_file(embedded: EmbeddedRig) -> None:
    """An append that timed out while the file was locked is not written later."""
    await create_log(embedded.settings())
    async with (
        writing(embedded.settings(log_append_timeout_s=0.5)) as writer,
        reading(embedded.settings()) as reader,
    ):
        async with embedded.stalled():
            with pytest.raises(LogUnavailable):
                await writer.append(0, key=b"", value=b"late")
        await until_it_takes(writer)
        assert [record.value for record in await read_records(reader, 1)] == [b"again"]


async def test_retention_drops_what_is_old_and_read(embedded: EmbeddedRig) -> None:
    """Records go when they are older than asked and below the owner's position, however many there are."""
    await create_log(embedded.settings())
    now_s = 1000.0
    writer = await open_embedded_writer(embedded.settings(), clock=lambda: now_s)
    await append_all(writer, 12_000)
    now_s = 2000.0
    await append_all(writer, 10)
    await writer.close()
    async with reading(embedded.settings(), Ledger({0: 12_000})) as reader:
        assert await reader.retain(older_than_ms=2_000_000, below={0: 11_000}) == 11_000
        assert await reader.retain(older_than_ms=2_000_000, below={0: 12_010}) == 1_000
        assert await reader.retain(older_than_ms=2_000_000, below={0: 12_010}) == 0
        assert [record.offset for record in await read_records(reader, 10)] == list(range(12_000, 12_010))


async def test_a_full_disk_costs_no_record(embedded: EmbeddedRig) -> None:
    """Without room appends are refused; with room again the writer goes on, and what it took is there."""
    await create_log(embedded.settings())
    with child(embedded.settings(log_append_timeout_s=0.5), "fill", "1000000") as process:
        said = []
        while (line := await next_line(process)) != "full":
            said.append(int(line))
        while (line := await next_line(process)) != "done":
            said.append(int(line))
    async with reading(embedded.settings()) as reader:
        records = await read_records(reader, len(said))
    assert len(said) > 20
    assert {record.offset for record in records} >= set(said)
    assert [record.offset for record in records] == list(range(len(records)))


async def test_many_processes_make_one_log(embedded: EmbeddedRig) -> None:
    """Processes that create the log at the same moment create the same one."""
    made = await asyncio.gather(*(create_log(embedded.settings(log_partitions=n)) for n in (4, 4, 4, 4)))
    assert made == [4, 4, 4, 4]


async def test_another_file_is_not_taken_for_a_log(embedded: EmbeddedRig) -> None:
    """A file that is not a log is left alone, and start-up fails with that reason."""
    embedded.folder.mkdir()
    (embedded.folder / "log.sqlite").write_bytes(b"a letter to a friend" * 100)
    with pytest.raises(NotReady):
        await create_log(embedded.settings())
    with pytest.raises((NotReady, LogUnavailable)):
        await open_writer(embedded.settings())


# ---- a file that is removed, replaced, or of another layout


def replace_log(folder: Path, *, keep_side_files: bool = False) -> Path:
    """Move the log away while it is in use; return where it is."""
    kept = folder / "kept"
    kept.mkdir()
    for path in folder.glob("log.sqlite*"):
        if path.name == "log.sqlite" or (
            path.name in ("log.sqlite-wal", "log.sqlite-shm") and not keep_side_files
        ):
            path.rename(kept / path.name)
    return kept


@pytest.mark.parametrize("keep_side_files", [False, True], ids=["whole", "its WAL stays"])
@pytest.mark.parametrize("is_made_again", [False, True], ids=["gone", "made again"])
async def test_nothing_is_acknowledged_into_a_file_that_nobody_will_find(
    embedded: EmbeddedRig, is_made_again: bool, keep_side_files: bool
) -> None:
    """Appends and `check()` are refused at once, with the reason; the same log back in place is used again."""
    await embedded.make()
    settings = embedded.settings()
    async with writing(settings) as writer:
        assert await append_all(writer, 10) == list(range(10))
        kept = replace_log(embedded.folder, keep_side_files=keep_side_files)
        if is_made_again:
            await embedded.make()
        began = time.monotonic()
        with pytest.raises(LogUnavailable, match="open here"):
            await writer.append(0, key=b"", value=b"lost")
        for _ in range(3):
            with pytest.raises(LogUnavailable, match=r"another|no log"):
                await writer.check()
        assert time.monotonic() - began < 3
        if is_made_again:
            assert await read_ends(settings) == {0: 0}
            async with writing(settings) as another:  # a restart: that is when it has been decided
                assert await append_all(another, 3) == [0, 1, 2]
                with pytest.raises(LogUnavailable, match="is another log than before"):
                    await writer.append(0, key=b"", value=b"lost")
            assert await read_ends(settings) == {0: 3}
        if keep_side_files:
            return  # its WAL was moved away, and what is left is no whole log
        for path in embedded.folder.glob("log.sqlite*"):
            path.unlink()
        for path in kept.iterdir():
            path.rename(embedded.folder / path.name)
        await until_it_takes(writer)
        assert await read_ends(settings) == {0: 11}


async def test_a_reader_asks_its_owner_again_once_the_path_names_another_log(embedded: EmbeddedRig) -> None:
    """Within a second, and whatever it knew of positions; without a log it raises for as long."""
    await embedded.make()
    settings = embedded.settings()
    owner = Ledger({0: 0})
    async with reading(settings, owner) as reader:
        async with writing(settings) as writer:
            await append_all(writer, 3)
            assert len(await read_records(reader, 3)) == 3
        kept = replace_log(embedded.folder)
        began = time.monotonic()
        for _ in range(2):
            with pytest.raises(LogUnavailable):
                await reader.read(records_max=10, timeout_s=30)
        assert time.monotonic() - began < 1
        await embedded.make()
        async with writing(settings) as writer:
            await append_all(writer, 2)
        assert owner.assigned == [0]
        assert [record.offset for record in await read_records(reader, 2)] == [0, 1]
        assert owner.assigned == [0, 0]
    assert {path.name for path in kept.iterdir()} >= {"log.sqlite"}


async def test_each_log_has_a_name_of_its_own(tmp_path: Path) -> None:
    """It is the same in all partitions, and never changes."""
    names = []
    for folder in ("one", "another"):
        rig = EmbeddedRig(tmp_path / folder)
        await rig.make(log_partitions=2)
        async with inspecting(rig.settings()) as inspector:
            before = await inspector.look({})
            await create_log(rig.settings())
            assert {view.log_id for view in (await inspector.look({})).values()} == {before[0].log_id}
        names.append(before[0].log_id)
    assert None not in names
    assert names[0] != names[1]


async def test_a_log_of_another_layout_is_refused_by_both_numbers(embedded: EmbeddedRig) -> None:
    """An older one with the command that migrates it, a newer one also by that command."""
    await embedded.make()
    set_layout(embedded.folder, embedded_log.LAYOUT + 1)
    for refused in (open_writer, create_log):
        with pytest.raises(SchemaMismatch, match=r"has schema 3, and this program works with schema 2.*newer"):
            await refused(embedded.settings())
    set_layout(embedded.folder, 1)
    for opening in (open_writer(embedded.settings()), open_reader(embedded.settings(), Ledger())):
        with pytest.raises(SchemaMismatch, match=r"has schema 1, and this program works with schema 2.*init"):
            await opening


async def test_writer_and_reader_go_on_while_a_newer_release_migrates_the_log(embedded: EmbeddedRig) -> None:
    """Also where they have to connect again after it: a migration only adds."""
    await embedded.make()
    settings = embedded.settings()
    owner = Ledger({0: 0})
    async with writing(settings) as writer, reading(settings, owner) as reader:
        await append_all(writer, 2)
        assert len(await read_records(reader, 2)) == 2
        set_layout(embedded.folder, embedded_log.LAYOUT + 1)
        await append_all(writer, 2)
        assert len(await read_records(reader, 2)) == 2
        owner.positions[0] = 4
        kept = replace_log(embedded.folder)
        with pytest.raises(LogUnavailable):
            await writer.check()
        with pytest.raises(LogUnavailable):
            await reader.read(records_max=1, timeout_s=1)
        for path in kept.iterdir():
            path.rename(embedded.folder / path.name)
        await until_it_takes(writer)
        assert len(await read_records(reader, 1)) == 1


def set_layout(folder: Path, layout: int) -> None:
    """Make the log one of another layout, as another release leaves it."""
    with contextlib.closing(sqlite3.connect(folder / "log.sqlite", isolation_level=None)) as connection:
        connection.execute(f"PRAGMA user_version = {layout}")
