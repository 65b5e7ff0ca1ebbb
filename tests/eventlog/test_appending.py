"""What a log promises its writers, asked of every adapter."""

import asyncio
import contextlib
import gc
import time
from collections.abc import Mapping, Sequence

import pytest
from rigs.logs import (
    LogRig,
    append_all,
    child,
    killed,
    next_line,
    read_records,
    reading,
    until_it_takes,
    writing,
)
from rigs.waiting import until_async
from structlog.testing import capture_logs

from eventlog import Writer
from eventlog.adapters import open_writer
from schemas.faults import LogUnavailable, TooLarge


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
            assert time.monotonic() - began < 1
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


async def test_an_outage_is_logged_when_it_begins_and_when_it_is_over(stalling_rig: LogRig) -> None:
    """However many appends fail meanwhile; the end says how many did."""
    await stalling_rig.make()
    with capture_logs() as logs:
        async with writing(stalling_rig.settings(log_append_timeout_s=0.5)) as writer:
            await append_all(writer, 1)
            async with stalling_rig.stalled():
                appends = [writer.append(0, key=b"", value=b"x") for _ in range(20)]
                failed = await asyncio.gather(*appends, return_exceptions=True)
            await until_async(lambda: is_available_again(writer, logs))
    assert {type(each) for each in failed} == {LogUnavailable}
    told = [entry for entry in logs if entry["event"].startswith("log ") and "available" in entry["event"]]
    assert [entry["event"] for entry in told] == ["log unavailable", "log available again"]
    assert told[0]["error"] == "not durable within 0.5 s"
    assert told[1]["failures"] >= 20


async def is_available_again(writer: Writer, logs: Sequence[Mapping[str, object]]) -> bool:
    """Append a record, and return whether the end of an outage was logged."""
    with contextlib.suppress(LogUnavailable):
        await writer.append(0, key=b"", value=b"y")
    return any(entry["event"] == "log available again" for entry in logs)


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
