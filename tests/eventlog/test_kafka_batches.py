"""Batches as other producers pack them, and batches that nobody can unpack: the rest is read all the same."""

import asyncio
import struct
import time
from pathlib import Path

import confluent_kafka
import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c
from rigs.brokers import Broker, JvmBroker
from rigs.lake import Lake, record_value
from rigs.logs import KafkaRig, read_chunks, read_records, reading, writing
from rigs.mock_kafka import MockKafka, settings_of
from rigs.session_model import session_id
from rigs.waiting import until_async
from rigs.working import working

from consumers.decisions import accept_gaps
from consumers.worker import Worker
from eventlog import Reader, Record
from eventlog.adapters import create_log, open_inspector
from eventlog.kafka.client import end_of_batch
from eventlog.kafka.reader import KafkaReader
from lake.transaction import Gap
from lake.verify import verify
from schemas.faults import LogCorrupt
from schemas.settings import Settings

CODECS = ("gzip", "snappy", "lz4", "zstd", "none")
CRC_AT, CODEC_AT = 17, 22


def produce(settings: Settings, codec: str, values: list[bytes], *, partition: int = 0) -> None:
    """Append a batch as another producer does, packed with a codec."""
    producer = confluent_kafka.Producer(
        {
            "bootstrap.servers": settings.kafka_bootstrap_servers,
            "compression.type": codec,
            "linger.ms": 200,
        }
    )
    for value in values:
        producer.produce(settings.kafka_topic, key=b"k", value=value, partition=partition)
    assert producer.flush(20) == 0


async def inject(settings: Settings, batch: bytes, *, partition: int = 0) -> None:
    """Append a batch of these very bytes, to a log that does not look at them."""
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap_servers)
    await producer.start()
    try:
        await producer.partitions_for(settings.kafka_topic)
        leader = producer.client.cluster.leader_for_partition(TopicPartition(settings.kafka_topic, partition))
        request = ProduceRequest(None, -1, 5_000, [(settings.kafka_topic, [(partition, batch)])])
        await producer.client.send(leader, request)
    finally:
        await producer.stop()


def batch_of(*values: bytes) -> bytearray:
    """Return the bytes of a batch of these values, not packed."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1_000_000)
    for number, value in enumerate(values):
        builder.append(number, int(time.time() * 1000), b"k", value, [])
    return bytearray(builder.build())


def with_wrong_crc(batch: bytearray) -> bytes:
    """Change one bit of what a batch holds."""
    batch[-1] ^= 1
    return bytes(batch)


def with_codec(batch: bytearray, codec: int) -> bytes:
    """Mark a batch as compressed with this codec, which it is not; its CRC is right."""
    batch[CODEC_AT] |= codec
    struct.pack_into(">I", batch, CRC_AT, calc_crc32c(bytes(batch[CRC_AT + 4 :])))
    return bytes(batch)


FOUR = (b"a", b"b", b"c", b"d")
UNREADABLE = {
    "a wrong CRC": with_wrong_crc(batch_of(*FOUR)),
    **{f"no {name}": with_codec(batch_of(*FOUR), codec) for codec, name in enumerate(CODECS[:4], 1)},
    "a codec of the future": with_codec(batch_of(*FOUR), 7),
}


@pytest.mark.parametrize("codec", CODECS)
async def test_a_batch_of_another_producer_is_read_whatever_packs_it(kafka: Broker, codec: str) -> None:
    """Among ours, with every codec that Kafka has."""
    rig = KafkaRig(kafka)
    await rig.make(log_partitions=1)
    values = [b"%d" % number * 100 for number in range(50)]
    async with writing(rig.settings()) as writer, reading(rig.settings()) as reader:
        await writer.append(0, key=b"k", value=b"ours")
        await asyncio.to_thread(produce, rig.settings(), codec, values)
        await writer.append(0, key=b"k", value=b"ours")
        records = await read_records(reader, 52)
    assert [record.value for record in records] == [b"ours", *values, b"ours"]


async def read_until_corrupt(reader: Reader, *, within_s: float = 30) -> tuple[list[Record], LogCorrupt]:
    """Read until a partition cannot be read, and what is there of the others."""
    records: list[Record] = []
    faults: list[LogCorrupt] = []

    async def are_there() -> bool:
        try:
            for chunk in await reader.read(records_max=1000, timeout_s=0.2):
                records.extend(chunk.records)
        except LogCorrupt as fault:
            faults.append(fault)
        return bool(faults) and len([record for record in records if record.partition == 1]) >= 3

    await until_async(are_there, lambda: (records, faults), within_s=within_s)
    (found,) = faults  # it is named once
    return records, found


@pytest.mark.parametrize("kind", UNREADABLE)
async def test_a_batch_that_nobody_can_unpack_stops_its_partition_by_name(
    mock_kafka: MockKafka, kind: str
) -> None:
    """Records before it and the other partition are read; reading continues after it when the owner seeks."""
    settings = settings_of(mock_kafka)
    async with writing(settings) as writer, reading(settings) as reader:
        for value in (b"0", b"1", b"2"):
            await writer.append(0, key=b"k", value=value)
        await inject(settings, UNREADABLE[kind])
        await writer.append(0, key=b"k", value=b"7")
        for value in (b"x", b"y", b"z"):
            await writer.append(1, key=b"k", value=value)
        records, fault = await read_until_corrupt(reader)
        assert (fault.partition, fault.asked, fault.following) == (0, 3, 7)
        assert sorted(record.value for record in records) == [b"0", b"1", b"2", b"x", b"y", b"z"]
        await writer.append(1, key=b"k", value=b"later")
        assert [record.value for record in await read_records(reader, 1)] == [b"later"]
        reader.seek(0, fault.following)
        assert [record.value for record in await read_records(reader, 1)] == [b"7"]


async def fetched(reader: Reader, partition: int) -> None:
    """Wait until the client has fetched records of a partition that nobody has read yet."""
    assert isinstance(reader, KafkaReader)
    assert reader._consumer is not None
    fetcher = reader._consumer._fetcher

    async def is_there() -> bool:
        return any(of_topic.partition == partition for of_topic in fetcher._records)

    await until_async(is_there, "nothing was fetched")


@pytest.mark.parametrize("kind", UNREADABLE)
async def test_records_that_came_before_the_damaged_batch_of_another_partition_are_read(
    mock_kafka: MockKafka, kind: str
) -> None:
    """The client has them, fails at the damaged batch and forgets them: they are fetched once more."""
    settings = settings_of(mock_kafka)
    async with reading(settings) as reader:
        await read_chunks(reader, 2)
        await inject(settings, bytes(batch_of(b"x", b"y", b"z")), partition=1)
        await fetched(reader, 1)
        await inject(settings, UNREADABLE[kind])
        await fetched(reader, 0)
        records, fault = await read_until_corrupt(reader)
    assert (fault.partition, fault.asked) == (0, 0)
    assert [record.value for record in records] == [b"x", b"y", b"z"]


async def test_two_damaged_batches_of_two_partitions_are_named_one_after_the_other(mock_kafka: MockKafka) -> None:
    """Each with its own offsets."""
    settings = settings_of(mock_kafka)
    faults: set[tuple[int, int, int]] = set()
    async with reading(settings) as reader:
        for partition in (0, 1):
            await inject(settings, with_wrong_crc(batch_of(*FOUR[: partition + 1])), partition=partition)

        async def are_named() -> bool:
            try:
                await reader.read(records_max=10, timeout_s=0.2)
            except LogCorrupt as fault:
                faults.add((fault.partition, fault.asked, fault.following))
            return len(faults) == 2

        await until_async(are_named)
    assert faults == {(0, 0, 1), (1, 0, 2)}


@pytest.mark.parametrize("kind", UNREADABLE)
async def test_a_record_that_nobody_can_unpack_does_not_hide_those_of_other_partitions(
    mock_kafka: MockKafka, kind: str
) -> None:
    """An inspector returns the records that can be read."""
    settings = settings_of(mock_kafka)
    async with writing(settings) as writer:
        for partition in (0, 1):
            await writer.append(partition, key=b"k", value=b"good")
        await inject(settings, UNREADABLE[kind], partition=0)
    inspector = open_inspector(settings)
    try:
        views = await inspector.look({0: 2, 1: 0})
    finally:
        await inspector.close()
    assert (views[0].end_offset, views[0].record) == (5, None)
    assert views[1].record is not None


def test_the_next_batch_says_where_a_batch_ends() -> None:
    """Even where its own header is damaged; alone, its header says it; half a header says nothing."""
    batch, following = batch_of(*FOUR), batch_of(b"e")
    following[:8] = (17).to_bytes(8)
    assert end_of_batch(bytes(batch)) == 4
    batch[23:27] = b"\xff" * 4
    assert end_of_batch(bytes(batch + following)) == 17
    assert end_of_batch(bytes(batch[:20])) is None


def flip_in_segment(folder: Path, needle: bytes) -> None:
    """Flip a bit of a record in a broker's files."""
    for segment in folder.rglob("*.log"):
        content = segment.read_bytes()
        if needle in content:
            at = content.index(needle)
            segment.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
            return
    raise AssertionError("no segment has it")


async def test_a_worker_goes_on_behind_damage_when_an_operator_accepts_it(
    tmp_path: Path, own_kafka: JvmBroker
) -> None:
    """A bit flips on a disk: the partition is halted with the offsets and the remedy, and the others go on."""
    lake = Lake(tmp_path / "lake", partitions=2, log="kafka", kafka_bootstrap_servers=own_kafka.bootstrap_servers)
    settings = lake.settings
    await create_log(settings.model_copy(update={"log_partitions": 2}))
    async with writing(settings) as writer:
        for number, partition in enumerate((0, 0, 0, 1, 1)):
            await writer.append(partition, key=b"", value=value_of(f"needle-{number}"))
    own_kafka.end()
    flip_in_segment(tmp_path / "kafka", b"needle-1")
    own_kafka.start()
    await halted(lake)
    [(reason,)] = lake.ask("SELECT halted_reason FROM ledger_p000")
    assert "offsets 1 to 1 cannot be read" in reason
    assert "--accept-gap 0:1-1" in reason
    assert [(finding.code, finding.partition) for finding in verify(lake.place).findings] == [("halted", 0)]
    accept_gaps(settings, [Gap.parse("0:1-1")])
    await asyncio.wait_for(Worker(settings).run(asyncio.Event(), until_read=True), 60)
    assert verify(lake.place).findings == []
    assert lake.ask("SELECT event_id FROM events ORDER BY 1") == [(f"needle-{n}",) for n in (0, 2, 3, 4)]
    assert lake.ask("SELECT log_partition, first_offset, next_offset FROM gaps") == [(0, 1, 2)]


def value_of(event_id: str) -> bytes:
    now_ms = int(time.time() * 1000)
    return record_value(event_id, session_id(1, now_ms), ts=now_ms, received_ms=now_ms)


async def halted(lake: Lake) -> None:
    """Let a worker run until a partition is halted and the other one read."""
    is_halted = "SELECT 1 FROM ledger_p000, ledger_p001 AS b WHERE ledger_p000.halted_at > '1970-01-01'"
    ledgers = "SELECT log_partition, next_offset, halted_reason FROM ledger"
    async with working(lake.settings):
        await until_async(lambda: lake.ask(f"{is_halted} AND b.next_offset = 2"), lambda: lake.ask(ledgers))
