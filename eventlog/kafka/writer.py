"""Append to the topic: one batch a partition under way, and a new producer after any failure."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    KafkaError,
    MessageSizeTooLargeError,
    ProducerClosed,
    RecordListTooLargeError,
)

from eventlog import Receipt
from eventlog.appends import Append, Appends
from eventlog.kafka.client import (
    METADATA_MAX_AGE_MS,
    RETRY_S,
    STOP_S,
    UNREACHABLE,
    _ended,
    absent,
    client_options,
    why_unreachable,
)
from eventlog.outage import Outage
from schemas.faults import Fault, LogUnavailable, TooLarge
from schemas.settings import Settings

logger = structlog.get_logger(__name__)

GROUP_RECORDS_MAX = 10_000
BATCH_BYTES_MAX = 1_048_576
RECORD_OVERHEAD_BYTES = 1_024  # room for a batch's own header and a record's lengths
# How long a batch may be under way before its producer is given up. Brokers leave out one that died after 9 s, and
# whoever appended was refused long before.
STUCK_S = 15.0


class KafkaWriter:
    """Writes into the topic; see `Writer`. Make it with `open_kafka_writer`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topic = settings.kafka_topic
        self._timeout_s = settings.log_append_timeout_s
        self._appends = Appends(
            timeout_s=settings.log_append_timeout_s,
            queue_max=settings.log_queue_max,
            queue_bytes_max=settings.log_queue_bytes_max,
            record_bytes_max=settings.log_record_bytes_max,
            wake=self._wake_lane,
        )
        self._partitions = 0
        self._producer: AIOKafkaProducer | None = None
        self._has_producer = asyncio.Event()
        self._replacing: asyncio.Task[None] | None = None
        self._lanes: dict[int, asyncio.Task[None]] = {}
        self._under_way_since: dict[int, float] = {}

    async def start(self) -> None:
        """Connect. Raises NotReady if there is no such topic or we are refused, else LogUnavailable."""
        try:
            self._adopt(await self._started_producer())
        except UNREACHABLE as error:
            raise await why_unreachable(self._settings, error) from error

    @property
    def partitions(self) -> int:
        return self._partitions

    @property
    def waiting(self) -> int:
        return self._appends.count

    async def append(self, partition: int, *, key: bytes, value: bytes) -> Receipt:
        if not 0 <= partition < self._partitions:
            raise LogUnavailable(f"the topic has {self._partitions} partitions, and no partition {partition}")
        return await self._appends.append(partition, key=key, value=value)

    async def check(self) -> None:
        now = time.monotonic()
        if any(now - since > self._timeout_s for since in self._under_way_since.values()):
            raise LogUnavailable(f"a batch has been under way for more than {self._timeout_s:g} s")
        try:
            async with asyncio.timeout(self._timeout_s):
                client = (await self._current_producer()).client
                if not await client.force_metadata_update():
                    raise LogUnavailable("no broker answers")
        except TimeoutError:
            raise LogUnavailable(f"no broker answered within {self._timeout_s:g} s") from None
        led = client.cluster.available_partitions_for_topic(self._topic) or ()
        if len(led) < self._partitions:
            raise LogUnavailable(f"{self._partitions - len(led)} of {self._partitions} partitions have no leader")

    async def close(self) -> None:
        await self._appends.close()
        producer, self._producer = self._producer, None
        if producer is not None:
            await _give_up(producer)
        tasks = [*self._lanes.values(), *([self._replacing] if self._replacing else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _wake_lane(self, partition: int) -> None:
        if partition not in self._lanes:
            self._lanes[partition] = asyncio.create_task(self._drain_lane(partition), name=f"log-lane-{partition}")

    async def _drain_lane(self, partition: int) -> None:
        """Send what waits for one partition, a group at a time, until nothing does."""
        try:
            while True:
                producer = await self._current_producer()
                group = self._appends.take(
                    partition, records_max=GROUP_RECORDS_MAX, bytes_max=BATCH_BYTES_MAX - RECORD_OVERHEAD_BYTES
                )
                if not group:
                    return
                await self._send_group(producer, partition, group)
        finally:
            del self._lanes[partition]

    async def _send_group(self, producer: AIOKafkaProducer, partition: int, group: Sequence[Append]) -> None:
        """Send a group in as few batches as it fits into, usually one; after a failure the rest fails with it."""
        while group:
            batch = producer.create_batch()
            count = 0
            while count < len(group):
                append = group[count]
                if batch.append(timestamp=None, key=append.key, value=append.value) is None:
                    break
                count += 1
            try:
                first = await self._send_batch(producer, partition, batch)
            except Fault as fault:
                self._appends.fail(group, str(fault))
                return
            except Exception as error:  # noqa: BLE001  (logged; whatever it was, this producer is not to be trusted)
                self._fail(group, error)
                self._replace(producer, error)
                return
            self._appends.settle(group[:count], first_offset=first.offset, appended_ms=first.appended_ms)
            group = group[count:]

    async def _send_batch(self, producer: AIOKafkaProducer, partition: int, batch: Any) -> Receipt:
        """Return where the first record is once all copies have the batch, however long the brokers take."""
        known = producer.client.cluster.partitions_for_topic(self._topic)
        if known is None or partition not in known:  # aiokafka would have the topic made
            raise LogUnavailable(f"the brokers know no partition {partition} of {self._topic}")
        self._under_way_since[partition] = time.monotonic()
        try:
            outcome = await producer.send_batch(batch, self._topic, partition=partition)
            await asyncio.wait({outcome}, timeout=STUCK_S)
            if not outcome.done():
                outcome.add_done_callback(_look_at)
                raise KafkaError(f"no answer for {STUCK_S:g} s")
            metadata = outcome.result()
        finally:
            del self._under_way_since[partition]
        if metadata.offset < 0:  # "duplicate", but the broker has forgotten of what: not proof enough for a 2xx
            raise KafkaError("the broker took the batch for a duplicate and gave no offset")
        has_own_clock = metadata.timestamp is not None and metadata.timestamp >= 0  # else the topic keeps ours
        return Receipt(int(metadata.offset), int(metadata.timestamp) if has_own_clock else None)

    def _fail(self, group: Sequence[Append], error: BaseException) -> None:
        too_large = isinstance(error, MessageSizeTooLargeError | RecordListTooLargeError)
        reason = f"Kafka did not take the records: {error or type(error).__name__}"
        fault = TooLarge if too_large and len(group) == 1 else LogUnavailable
        self._appends.fail(group, reason, fault=fault)

    async def _current_producer(self) -> AIOKafkaProducer:
        while self._producer is None:
            self._has_producer.clear()
            await self._has_producer.wait()
        return self._producer

    def _adopt(self, producer: AIOKafkaProducer) -> None:
        self._producer = producer
        self._has_producer.set()

    def _replace(self, producer: AIOKafkaProducer, error: BaseException) -> None:
        """Give this producer up and make another, unless that is happening already."""
        if self._producer is producer:
            logger.warning("log producer failed", topic=self._topic, error=str(error) or type(error).__name__)
            self._producer = None
            self._replacing = asyncio.create_task(self._make_another(producer), name="log-new-producer")

    async def _make_another(self, old: AIOKafkaProducer) -> None:
        await _give_up(old)
        outage = Outage("connect")
        while True:
            try:
                producer = await self._started_producer()
            except Exception as error:  # noqa: BLE001  (logged; to give up here would be to give up for good)
                outage.failed(str(error) or type(error).__name__, now_s=time.monotonic())
                await asyncio.sleep(RETRY_S)
            else:
                self._adopt(producer)
                logger.info("log producer made", topic=self._topic)
                return

    async def _started_producer(self) -> AIOKafkaProducer:
        options = client_options(self._settings)
        producer = AIOKafkaProducer(
            **options,
            acks="all",
            enable_idempotence=True,
            linger_ms=0,
            max_batch_size=BATCH_BYTES_MAX,
            max_request_size=batch_bytes_max(self._settings),
            metadata_max_age_ms=METADATA_MAX_AGE_MS,
        )
        try:
            async with asyncio.timeout(options["request_timeout_ms"] / 1000):
                await producer.start()
                await producer.client.force_metadata_update()
            producer.client.cluster.add_listener(self._count_partitions)
            self._count_partitions(producer.client.cluster)
            if not producer.client.cluster.partitions_for_topic(self._topic):
                raise absent(self._settings)
        except BaseException:
            await _give_up(producer)
            raise
        return producer

    def _count_partitions(self, cluster: Any) -> None:
        self._partitions = max(self._partitions, len(cluster.partitions_for_topic(self._topic) or ()))


def _look_at(outcome: asyncio.Future[Any]) -> None:
    """Retrieve an outcome that no task waits for any more; otherwise asyncio logs it as never retrieved."""
    if not outcome.cancelled():
        outcome.exception()


def batch_bytes_max(settings: Settings) -> int:
    """Return the size of the largest batch we send: the topic's max.message.bytes must be no less."""
    return max(BATCH_BYTES_MAX, settings.log_record_bytes_max) + RECORD_OVERHEAD_BYTES


async def _give_up(producer: AIOKafkaProducer) -> None:
    """Stop a producer that may not be able to: what it still holds fails, and no broker is waited for."""
    # stop() would wait until all batches are sent, which may be never. There is no public way to fail them.
    # The sender may end with an error then, which aiokafka would stumble over: stop() reports it.
    if (sender := producer._sender.sender_task) is not None:
        sender.remove_done_callback(producer._sender._fail_all)
    accumulator = producer._message_accumulator
    retried = [batch for queue in accumulator._batches.values() for batch in queue]
    accumulator.fail_all(ProducerClosed())
    for batch in retried:
        _look_at(batch._drain_waiter)
    if not await _ended(producer.stop(), within_s=STOP_S):
        await _ended(producer.client.close(), within_s=STOP_S)


async def open_kafka_writer(settings: Settings) -> KafkaWriter:
    """Open the topic for appending. Raises NotReady, or LogUnavailable if no broker answers."""
    writer = KafkaWriter(settings)
    await writer.start()
    return writer
