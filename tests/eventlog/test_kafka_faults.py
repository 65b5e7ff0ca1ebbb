"""Brokers that fail, and what becomes of events meanwhile: never a false success, and all goes on by itself."""

import asyncio
import contextlib
import gc
import time
from collections import Counter
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.metadata import MetadataRequest
from rigs.brokers import JvmBroker, JvmCluster
from rigs.ingest import Ingest, running, session_start
from rigs.logs import Ledger, read_records, reading, writing
from rigs.mock_kafka import FETCH, PRODUCE, MockKafka, settings_of
from rigs.waiting import until_async
from structlog.testing import capture_logs

from eventlog import Record, Writer
from eventlog.adapters import create_log, open_writer
from eventlog.kafka.writer import STUCK_S
from schemas.faults import Fault, LogUnavailable, TooLarge
from schemas.settings import Settings

API = {"X-API-Key": "string"}
OUTAGE_S = 6.0
RETRIED = {
    6: "not the leader",
    7: "request timed out",
    19: "too few replicas",
    20: "too few replicas after append",
}
FAILED = {
    2: "corrupt",
    10: "too large",
    29: "not authorised",
    45: "sequence out of order",
    46: "duplicate sequence",
    47: "producer epoch",
    56: "storage error",
    59: "unknown producer",
}


async def outcome(writer: Writer, partition: int, value: bytes) -> int | Fault:
    """Append one record and return the outcome."""
    try:
        return (await writer.append(partition, key=b"k", value=value)).offset
    except Fault as fault:
        return fault


async def until_taken(writer: Writer, partition: int, value: bytes) -> int:
    """Append until it works, as clients do."""
    last: object = None

    async def taken() -> tuple[int] | None:
        nonlocal last
        last = await outcome(writer, partition, value)
        return None if isinstance(last, Fault) else (last,)

    (offset,) = await until_async(taken, lambda: last)
    return offset


async def all_records(settings: Settings, *, at_least: int) -> dict[tuple[int, int], Record]:
    """Read the log from its first record to its end."""
    async with reading(settings) as reader:
        records = await read_records(reader, at_least)
        while more := [r for chunk in await reader.read(records_max=1000, timeout_s=0.3) for r in chunk.records]:
            records += more
    return {(record.partition, record.offset): record for record in records}


async def memory_after_load(writer: Writer) -> int:
    """Offer 20 MB that nobody takes, and return the process's memory afterwards."""
    refused = await asyncio.gather(*(outcome(writer, n % 2, bytes(20_000)) for n in range(1000)))
    assert all(isinstance(fault, LogUnavailable) for fault in refused)
    del refused
    gc.collect()
    return int(psutil.Process().memory_info().rss)


@pytest.mark.parametrize("code", RETRIED, ids=RETRIED.values())
async def test_a_passing_error_is_ridden_out(mock_kafka: MockKafka, code: int) -> None:
    """Errors that mean "retry" cost time within the deadline; the record is stored once."""
    settings = settings_of(mock_kafka)
    async with writing(settings) as writer:
        await writer.append(0, key=b"k", value=b"before")
        mock_kafka.fail(PRODUCE, code, code)
        offset = (await writer.append(0, key=b"k", value=b"during")).offset
    records = await all_records(settings, at_least=2)
    assert [record.value for record in records.values()] == [b"before", b"during"]
    assert records[0, offset].value == b"during"


@pytest.mark.parametrize("code", FAILED, ids=FAILED.values())
async def test_a_failed_batch_is_no_success(mock_kafka: MockKafka, code: int) -> None:
    """Other errors refuse the append at once or are retried; either way the next appends succeed."""
    settings = settings_of(mock_kafka)
    async with writing(settings) as writer:
        first = (await writer.append(0, key=b"k", value=b"before")).offset
        mock_kafka.fail(PRODUCE, code)
        during = await outcome(writer, 0, b"during")
        after = await until_taken(writer, 0, b"after")
        other = await until_taken(writer, 1, b"other")
    records = await all_records(settings, at_least=3)
    taken = {(0, first): b"before", (0, after): b"after", (1, other): b"other"}
    if isinstance(during, Fault):
        assert isinstance(during, TooLarge if code == 10 else LogUnavailable)
    else:
        taken[0, during] = b"during"
    assert {place: records[place].value for place in taken} == taken


async def test_one_new_producer_for_all_partitions(mock_kafka: MockKafka) -> None:
    """However many batches fail together, one new producer is created, and it sends the next ones."""
    settings = settings_of(mock_kafka)
    with capture_logs() as logs:
        async with writing(settings) as writer:
            mock_kafka.fail(PRODUCE, 45)
            await asyncio.gather(*(outcome(writer, partition, b"x") for partition in (0, 1) for _ in range(20)))
            await asyncio.gather(*(until_taken(writer, partition, b"y") for partition in (0, 1)))
    of_producer = [entry["event"] for entry in logs if entry["event"].startswith("log producer")]
    assert of_producer == ["log producer failed", "log producer made"]


async def test_a_batch_without_an_answer_does_not_hold_its_partition_for_ever(mock_kafka: MockKafka) -> None:
    """A batch that brokers refuse again and again is given up with its producer; the next one is taken."""
    settings = settings_of(mock_kafka, log_append_timeout_s=0.5)
    with capture_logs() as logs:
        async with writing(settings) as writer:
            mock_kafka.fail(PRODUCE, *[19] * 10_000)
            assert isinstance(await outcome(writer, 0, b"refused"), LogUnavailable)
            await until_async(
                lambda: (
                    [entry["error"] for entry in logs if entry["event"] == "log producer failed"]
                    == [f"KafkaError: no answer for {STUCK_S:g} s"]
                ),
                lambda: logs,
                within_s=2 * STUCK_S,
            )
            mock_kafka.fail_no_more(PRODUCE)
            after = await until_taken(writer, 0, b"after")
    records = await all_records(settings, at_least=1)
    assert [records[0, offset].value for offset in range(after + 1)] == [b"after"]


async def test_brokers_down_for_two_seconds(mock_kafka: MockKafka) -> None:
    """An outage shorter than the deadline costs nothing but time."""
    settings = settings_of(mock_kafka)
    async with writing(settings) as writer:
        await writer.append(0, key=b"k", value=b"before")
        mock_kafka.down()
        waiting = [asyncio.ensure_future(outcome(writer, n % 2, b"%d" % n)) for n in range(100)]
        await asyncio.sleep(2)
        mock_kafka.up()
        offsets = await asyncio.gather(*waiting)
    records = await all_records(settings, at_least=101)
    assert len(records) == 101
    for number, offset in enumerate(offsets):
        assert isinstance(offset, int), offset
        assert records[number % 2, offset].value == b"%d" % number


async def test_brokers_down_for_longer_than_the_deadline(mock_kafka: MockKafka) -> None:
    """Appends are refused at their deadline, memory stays flat, and appends succeed when brokers are back."""
    settings = settings_of(mock_kafka, log_append_timeout_s=0.8, log_queue_max=500, log_queue_bytes_max=2_000_000)
    async with writing(settings) as writer:
        before = (await writer.append(0, key=b"k", value=b"before")).offset
        await writer.check()
        mock_kafka.down()
        began = time.monotonic()
        assert isinstance(await outcome(writer, 0, b"down"), LogUnavailable)
        assert time.monotonic() - began < 3
        with pytest.raises(LogUnavailable):
            await writer.check()
        memory_bytes = [await memory_after_load(writer) for _ in range(5)]
        assert memory_bytes[-1] - memory_bytes[1] < 10_000_000, memory_bytes
        mock_kafka.up()
        after = [await until_taken(writer, partition, b"after") for partition in (0, 1)]
        await writer.check()
    records = await all_records(settings, at_least=3)
    assert records[0, before].value == b"before"
    assert [records[partition, offset].value for partition, offset in enumerate(after)] == [b"after", b"after"]


async def test_closing_while_brokers_are_down(mock_kafka: MockKafka) -> None:
    """A writer closes in time though nothing can be sent any more."""
    writer = await open_writer(settings_of(mock_kafka, log_append_timeout_s=0.8))
    await writer.append(0, key=b"k", value=b"before")
    mock_kafka.down()
    waiting = asyncio.ensure_future(outcome(writer, 0, b"down"))
    await asyncio.sleep(0)
    began = time.monotonic()
    await writer.close()
    assert time.monotonic() - began < 2.5
    assert isinstance(await waiting, LogUnavailable)


async def test_a_leader_moves(mock_kafka: MockKafka) -> None:
    """Appends and reading go on while the partition's leader moves from broker to broker."""
    settings = settings_of(mock_kafka)
    async with writing(settings) as writer, reading(settings) as reader:
        for number in range(30):
            if number % 10 == 5:
                mock_kafka.move_leader(0, 1 + number // 10)
            assert (await writer.append(0, key=b"k", value=b"%d" % number)).offset == number
        records = await read_records(reader, 30)
    assert [record.value for record in records] == [b"%d" % number for number in range(30)]


async def test_slow_answers_are_no_success(mock_kafka: MockKafka) -> None:
    """A reply after the deadline is a refusal with unknown outcome; order and later appends are unaffected."""
    settings = settings_of(mock_kafka, log_append_timeout_s=0.8)
    async with writing(settings) as writer:
        await writer.append(0, key=b"k", value=b"before")
        mock_kafka.answer_after(3.0)
        began = time.monotonic()
        assert isinstance(await outcome(writer, 0, b"slow"), LogUnavailable)
        assert time.monotonic() - began < 2.5
        mock_kafka.answer_after(0)
        after = await until_taken(writer, 0, b"after")
    records = await all_records(settings, at_least=2)
    assert records[0, after].value == b"after"
    assert sum(record.value == b"slow" for record in records.values()) <= 1


@pytest.mark.parametrize("code", [1, 3, 6, 7, 56])
async def test_reading_goes_on_after_errors(mock_kafka: MockKafka, code: int) -> None:
    """Whatever the reply to a fetch, each record is read once and in order, and no position moves by itself."""
    settings = settings_of(mock_kafka)
    async with writing(settings) as writer, reading(settings, Ledger({0: 2})) as reader:
        for number in range(5):
            await writer.append(0, key=b"k", value=b"%d" % number)
        assert [record.offset for record in await read_records(reader, 3)] == [2, 3, 4]
        mock_kafka.fail(FETCH, code, code)
        await writer.append(0, key=b"k", value=b"5")

        async def read() -> list[int]:
            try:
                return [record.offset for record in await read_records(reader, 1)]
            except LogUnavailable:
                reader.seek(0, 5)
                return []

        offsets = await until_async(read)
    assert offsets in ([5], [2, 3, 4, 5])  # the latter if the reader rejoined the group


class Viewers:
    """Viewers that start sessions at an ingest, and what they were answered."""

    def __init__(self, ingest: Ingest) -> None:
        self._client = httpx.AsyncClient(base_url=ingest.url, timeout=10.0)
        self._is_over = False
        self.tried = 0
        self.acknowledged: set[str] = set()
        self.refused: list[tuple[int, int, float]] = []  # status, Retry-After in seconds, seconds until the answer

    async def play(self, number: int) -> None:
        """Start one session after the other; every fourth viewer starts tracking sessions."""
        while not self._is_over:
            await asyncio.sleep(0.02)
            self.tried += 1
            began = time.monotonic()
            if number % 4:
                reply = await self._client.post("/api/v1/sessions", json=session_start())
            else:
                reply = await self._client.post("/v1/playouts/tracking/session", json={}, headers=API)
            if reply.status_code == 201 and number % 4:
                self.acknowledged.add(reply.headers["location"].rpartition("/")[2])
            elif not reply.is_success:
                seconds = time.monotonic() - began
                self.refused.append((reply.status_code, int(reply.headers["retry-after"]), seconds))

    async def is_ready(self) -> bool:
        """Ask the ingest whether it takes events."""
        return (await self._client.get("/health/ready")).status_code == 200

    @contextlib.asynccontextmanager
    async def playing(self, count: int) -> AsyncIterator[None]:
        """Let so many play for the length of the block."""
        async with self._client, asyncio.TaskGroup() as tasks:
            for number in range(count):
                tasks.create_task(self.play(number))
            try:
                yield
            finally:
                self._is_over = True


async def test_brokers_are_away_for_a_minute(tmp_path: Path, own_kafka: JvmBroker) -> None:
    """A minute without a broker, ten times faster: no false 2xx, refusals in time, flat memory, and it ends.

    The deadline of an append is shortened in the same way, from 4 s to 0.4 s.
    """
    changes: dict[str, Any] = {"log_append_timeout_s": 0.4, "log_partitions": 2}
    settings = settings_of(own_kafka, **changes)
    servers = {"log": "kafka", "kafka_bootstrap_servers": own_kafka.bootstrap_servers}
    with running(tmp_path / "data", **servers, **changes) as ingest:
        viewers = Viewers(ingest)
        async with viewers.playing(32):
            await until_async(lambda: len(viewers.acknowledged) > 100)
            own_kafka.kill()
            began = time.monotonic()
            await until_async(lambda: viewers.refused)
            answered = len(viewers.acknowledged)
            memory_bytes = []
            while time.monotonic() - began < OUTAGE_S:
                memory_bytes.append(ingest.process.resident_bytes())
                await asyncio.sleep(0.1)
            assert len(viewers.acknowledged) == answered
            await asyncio.to_thread(own_kafka.start)
            refused = list(viewers.refused)
            await until_async(lambda: len(viewers.acknowledged) > answered + 100)
            assert await viewers.is_ready()
    half = len(memory_bytes) // 2
    assert max(memory_bytes[half:]) - max(memory_bytes[:half]) < 16_000_000, memory_bytes
    assert len(refused) > 100
    assert {status for status, _, _ in refused} == {500, 503}
    assert all(retry_after_s > 0 for _, retry_after_s, _ in refused)
    waits_s = sorted(seconds for _, _, seconds in refused)
    assert waits_s[len(waits_s) // 2] < 2.0
    assert waits_s[-1] < 8.0
    records = await all_records(settings, at_least=len(viewers.acknowledged))
    starts = Counter(record.key.decode() for record in records.values())
    assert viewers.acknowledged - starts.keys() == set(), "lost"
    assert {id for id in viewers.acknowledged if starts[id] > 1} == set(), "doubled"
    assert len(records) <= viewers.tried, "invented"


async def test_a_broker_is_killed_and_comes_back(own_kafka: JvmBroker) -> None:
    """After kill -9 and restart of the broker with the same log, nothing is lost and everything continues."""
    settings = settings_of(own_kafka, log_append_timeout_s=1.0)
    await create_log(settings)
    ledger = Ledger()
    async with writing(settings) as writer, reading(settings, ledger) as reader:
        taken = {await until_taken(writer, 0, b"%d" % number): b"%d" % number for number in range(100)}
        records = await read_records(reader, 100)
        own_kafka.kill()
        assert isinstance(await outcome(writer, 0, b"down"), LogUnavailable)
        await asyncio.to_thread(own_kafka.start)
        ledger.positions[0] = 100
        taken[await until_taken(writer, 0, b"after")] = b"after"
        while records[-1].value != b"after":
            records += await read_records(reader, 1)
    assert [record.offset for record in records] == list(range(len(records)))
    assert {offset: records[offset].value for offset in taken} == taken


async def leader_of(settings: Settings, partition: int) -> int:
    """Return the number of the broker that leads a partition."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap_servers)
    await admin.start()
    try:
        [topic] = await admin.describe_topics([settings.kafka_topic])
        return int(next(each["leader"] for each in topic["partitions"] if each["partition"] == partition))
    finally:
        await admin.close()


def counts(places: Collection[tuple[int, int]]) -> Counter[int]:
    """Return how many there are of each partition."""
    return Counter(partition for partition, _ in places)


async def topics_of(broker: JvmBroker) -> set[str]:
    """Return the topics that a broker knows; the client might ask another, so it is told which."""
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap_servers)
    await admin.start()
    try:
        node = next(each.nodeId for each in admin._client.cluster.brokers() if each.port == broker.port)
        reply = await admin._send_request(MetadataRequest(None), node)
        return {topic["topic"] for topic in reply.to_object()["topics"]}
    finally:
        await admin.close()


async def test_a_topic_is_made_once_every_broker_knows_it(kafka_cluster: JvmCluster) -> None:
    """One that is behind the others is waited for: whoever comes next may ask it, and would find no topic."""
    for late in kafka_cluster.brokers.values():
        topics = [settings_of(kafka_cluster, kafka_topic=f"{late.port}-{n}", log_partitions=3) for n in range(5)]
        late.pause()
        making = asyncio.gather(*map(create_log, topics))
        await asyncio.wait({making}, timeout=1.0)
        late.resume()
        assert await making == [3] * len(topics)
        for broker in kafka_cluster.brokers.values():
            assert {topic.kafka_topic for topic in topics} <= await topics_of(broker)


async def test_the_broker_that_leads_is_killed(kafka_cluster: JvmCluster) -> None:
    """Of three brokers one that leads is killed under load: another takes over, nothing acknowledged is lost."""
    settings = settings_of(kafka_cluster, log_partitions=3, log_append_timeout_s=2.0)
    await create_log(settings)
    taken: dict[tuple[int, int], bytes] = {}
    is_over = False

    async def write(number: int) -> None:
        sent = 0
        while not is_over:
            sent += 1
            value = b"%d of %d" % (sent, number)
            if isinstance(offset := await outcome(writer, number % 3, value), int):
                taken[number % 3, offset] = value
            await asyncio.sleep(0.01)

    async with writing(settings) as writer, reading(settings) as reader:
        async with asyncio.TaskGroup() as tasks:
            for number in range(12):
                tasks.create_task(write(number))
            records = await read_records(reader, 300)
            seen = {(record.partition, record.offset): record.value for record in records}
            leader = await leader_of(settings, 0)
            await asyncio.to_thread(kafka_cluster.brokers[leader].kill)
            before = counts(taken)

            async def is_written_on() -> bool:
                return all(counts(taken)[p] > before[p] + 100 for p in range(3))

            def how_things_are() -> str:
                alive = [broker for broker in kafka_cluster.brokers.values() if broker.is_alive()]
                said = "".join(f"\n{broker.port}: {broker.output[-1500:]}" for broker in alive)
                return f"written since: {counts(taken) - before} of {before}; brokers alive: {len(alive)}{said}"

            await until_async(is_written_on, how_things_are)
            is_over = True

        async def is_led_by_another() -> bool:
            return await leader_of(settings, 0) != leader

        await until_async(is_led_by_another)

        async def all_is_read() -> bool:
            with contextlib.suppress(LogUnavailable):
                while chunks := await reader.read(records_max=1000, timeout_s=1.0):
                    for chunk in chunks:
                        seen.update(((chunk.partition, record.offset), record.value) for record in chunk.records)
                    if not any(chunk.records for chunk in chunks):
                        break
            return taken.keys() <= seen.keys()

        await until_async(all_is_read, lambda: f"{len(taken.keys() - seen.keys())} records are not read")
    assert {place: seen[place] for place in taken} == taken
    for partition, count in counts(seen).items():
        assert {offset for p, offset in seen if p == partition} == set(range(count))
