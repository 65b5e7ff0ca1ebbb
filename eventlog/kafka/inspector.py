"""Look into the topic without joining its group: where partitions begin and end, and single records."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import (
    OffsetOutOfRangeError,
)

from eventlog import Record, View
from eventlog.kafka.client import UNREACHABLE, UNREADABLE, absent, client_options, why_unreachable
from eventlog.kafka.reader import _stop_consumer
from eventlog.kafka.topic import read_members
from schemas.faults import LogUnavailable
from schemas.settings import Settings

logger = structlog.get_logger(__name__)

INSPECTION_MS_MAX = 2_000
CONNECTED_S_MAX = 4.0  # a person waits for what it sees


class KafkaInspector:
    """Looks at the topic with a consumer of no group; see `Inspector`. It connects when it is first asked."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topic = settings.kafka_topic
        self._consumer: AIOKafkaConsumer | None = None

    async def look(self, at: Mapping[int, int]) -> dict[int, View]:
        async with self._connected() as consumer:
            every = [TopicPartition(self._topic, p) for p in consumer.partitions_for_topic(self._topic) or ()]
            firsts, ends = await consumer.beginning_offsets(every), await consumer.end_offsets(every)
            there = {
                of: at[of.partition]
                for of in every
                if of.partition in at and firsts[of] <= at[of.partition] < ends[of]
            }
            records = await self._fetch(consumer, there)
        return {of.partition: View(firsts[of], ends[of], records.get(of.partition), None) for of in every}

    async def _fetch(self, consumer: AIOKafkaConsumer, at: Mapping[TopicPartition, int]) -> dict[int, Record]:
        """Fetch single records that the brokers have, or had a moment ago."""
        if not at:
            return {}
        consumer.assign(list(at))
        self._ask_for_all_topics(consumer)
        for of_topic, offset in at.items():
            consumer.seek(of_topic, offset)
        records: dict[int, Record] = {}
        pending = set(at)
        is_careful = False
        while pending:
            asked = {min(pending)} if is_careful else pending
            try:
                found = await consumer.getmany(*asked, timeout_ms=INSPECTION_MS_MAX, max_records=1)
            except OffsetOutOfRangeError as error:  # retention took it meanwhile
                pending -= error.args[0].keys()
                continue
            except Exception as error:
                if isinstance(error, UNREACHABLE) and not isinstance(error, UNREADABLE):
                    raise
                if is_careful:  # its bytes cannot be had, which its reader notices where it matters
                    logger.warning("log record unreadable", partition=min(asked).partition, error=str(error))
                    pending -= asked
                is_careful = True
                continue
            if not found:
                raise LogUnavailable(f"no broker sent what it has of {self._topic}")
            for of_topic, (message,) in found.items():
                pending.discard(of_topic)
                if message.offset == at[of_topic]:
                    key, value = message.key or b"", message.value or b""
                    records[of_topic.partition] = Record(
                        of_topic.partition, message.offset, key, value, message.timestamp
                    )
        consumer.pause(*at)
        return records

    async def owners(self) -> dict[int, str]:
        return await read_members(self._settings)

    async def close(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await _stop_consumer(consumer)

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[AIOKafkaConsumer]:
        """Provide a consumer with current metadata of the topic; after any failure a new one is created."""
        options = client_options(self._settings)
        try:
            async with asyncio.timeout(CONNECTED_S_MAX):
                if self._consumer is None:
                    self._consumer = AIOKafkaConsumer(
                        **options,
                        group_id=None,
                        enable_auto_commit=False,
                        auto_offset_reset="none",
                        max_partition_fetch_bytes=1,  # a batch, which is the least that brokers send
                    )
                    await self._consumer.start()
                self._ask_for_all_topics(self._consumer)
                client = self._consumer._client
                if not await client.force_metadata_update():
                    raise LogUnavailable("no broker answers")
                if self._topic not in client.cluster.topics():
                    raise absent(self._settings)
                led = client.cluster.available_partitions_for_topic(self._topic) or set()
                if led != client.cluster.partitions_for_topic(self._topic):  # to ask for these makes the topic
                    raise LogUnavailable(f"some partitions of {self._topic} have no leader")
                yield self._consumer
        except UNREACHABLE as error:
            await self.close()
            raise await why_unreachable(self._settings, error) from error
        except LogUnavailable:
            await self.close()
            raise

    @staticmethod
    def _ask_for_all_topics(consumer: AIOKafkaConsumer) -> None:
        """Let the client ask the brokers for all topics: to ask for one by its name may make it."""
        consumer._client.set_topics([])
