"""Read the topic for the owner of its partitions."""

import asyncio
import contextlib
import re
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import (
    IllegalStateError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)
from aiokafka.protocol.fetch import FetchRequest

from eventlog import Chunk, Owner, Record
from eventlog.kafka.client import (
    HEADERS_BYTES,
    METADATA_MAX_AGE_MS,
    RETRY_S,
    STOP_S,
    UNREACHABLE,
    UNREADABLE,
    Unreadable,
    _ended,
    absent,
    client_options,
    end_of_batch,
    why_unreachable,
)
from schemas.faults import LogCorrupt, LogGap, LogTruncated, LogUnavailable
from schemas.process_name import process_name
from schemas.settings import Settings

logger = structlog.get_logger(__name__)

CONSUMER_STOP_S = 3.0
SILENCE_S = 15.0
# At once, of one partition and of all that a broker leads. At 1 MB, an event costs a worker a twentieth more CPU.
PARTITION_FETCH_BYTES, FETCH_BYTES = 4_194_304, 16_777_216
CAREFUL_S = 0.5  # the next fetch of one partition may take so long


class KafkaReader(ConsumerRebalanceListener):  # type: ignore[misc]
    """Reads the topic; see `Reader`. Make it with `open_kafka_reader`.

    `_held` are the partitions assigned, `_positions` where each is to be read next: a partition held without a
    position is asked of the owner at the next read.
    """

    def __init__(self, settings: Settings, owner: Owner) -> None:
        self._settings = settings
        self._topic = settings.kafka_topic
        self._owner = owner
        self._consumer: AIOKafkaConsumer | None = None
        self._held: set[int] = set()
        self._positions: dict[int, int] = {}
        self._stopped: set[int] = set()
        self._asking = asyncio.Lock()
        self._assigned = asyncio.Event()
        self._doubtful: dict[int, int] = {}  # an offset came (or -1: none) that was not the one asked for
        self._doubted: dict[int, int] = {}  # where that has happened before
        self._suspects: list[int] = []  # one of these partitions has a batch that cannot be unpacked
        self._silent_s = 0.0
        self._heard_ms = 0

    async def start(self) -> None:
        """Connect. Raises NotReady if there is no such topic or we are refused, else LogUnavailable."""
        options = client_options(self._settings)
        session_ms = int(self._settings.kafka_session_timeout_s * 1000)
        consumer = AIOKafkaConsumer(
            **options,
            client_id=process_name(),
            group_id=self._settings.kafka_group,
            auto_offset_reset="none",
            enable_auto_commit=False,
            max_partition_fetch_bytes=PARTITION_FETCH_BYTES,
            fetch_max_bytes=FETCH_BYTES,
            session_timeout_ms=session_ms,
            heartbeat_interval_ms=session_ms // 6,
            metadata_max_age_ms=METADATA_MAX_AGE_MS,
        )
        try:
            async with asyncio.timeout(options["request_timeout_ms"] / 1000):
                await consumer.start()
                topics = await consumer.topics()
            if self._topic not in topics:
                raise absent(self._settings)
            consumer.subscribe(pattern=f"^{re.escape(self._topic)}$", listener=self)
        except UNREACHABLE as error:
            await _stop_consumer(consumer)
            raise await why_unreachable(self._settings, error) from error
        except BaseException:
            await _stop_consumer(consumer)
            raise
        self._consumer = consumer

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        await self._release()

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        self._held = {partition.partition for partition in assigned}
        self._assigned.set()

    async def read(self, *, records_max: int, timeout_s: float) -> list[Chunk]:
        deadline = time.monotonic() + timeout_s
        if self._consumer is None:
            await self.start()
        while True:
            await self._take_positions()
            await self._settle_doubts()
            readable = [p for p in self._positions if p not in self._stopped]
            left_s = max(0.0, deadline - time.monotonic())
            if readable:
                began = time.monotonic()
                chunks = await self._fetch(readable, records_max, left_s)
                if any(chunk.records for chunk in chunks):
                    return chunks
                self._listen(readable, time.monotonic() - began)
                if time.monotonic() >= deadline:
                    return chunks
            elif left_s:
                self._assigned.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(left_s, RETRY_S)):
                        await self._assigned.wait()
            else:
                return []

    def seek(self, partition: int, offset: int) -> None:
        if partition in self._held:
            self._stopped.discard(partition)
            self._seek(partition, offset)

    def pause(self, partition: int) -> None:
        if partition in self._held:
            self._stopped.add(partition)

    def reposition(self, partition: int) -> None:
        self._positions.pop(partition, None)
        self._stopped.discard(partition)

    def clock_ms(self) -> int | None:
        return None  # Kafka has no request that asks for the time

    async def commit_offsets(self, positions: Mapping[int, int]) -> None:
        offsets = {self._of_topic(p): offset for p, offset in positions.items() if p in self._held}
        if self._consumer is None or not offsets:
            return
        try:
            async with asyncio.timeout(STOP_S):
                await self._consumer.commit(offsets)
        except (*UNREACHABLE, ValueError) as error:
            logger.debug("log offsets not committed", error=str(error) or type(error).__name__)

    async def retain(self, *, older_than_ms: int, below: Mapping[int, int]) -> int:
        """Do nothing: the topic has a retention of its own."""
        return 0

    async def close(self) -> None:
        try:
            await self._release()
        finally:
            await self._drop_consumer()

    async def _release(self) -> None:
        """Let the owner finish; from the first moment on nothing more is read."""
        released = sorted(self._held)
        self._held = set()
        self._positions.clear()
        self._stopped.clear()
        self._suspects.clear()
        async with self._asking:
            if released:
                await self._owner.release(released)

    async def _take_positions(self) -> None:
        """Ask the owner for the position of each partition that has none, and seek there."""
        for partition in sorted(self._held - self._positions.keys()):
            async with self._asking:
                if partition not in self._held:
                    continue
                offset = await self._owner.acquire(partition)
                if partition in self._held:
                    self._stopped.discard(partition)
                    self._seek(partition, offset)

    def _seek(self, partition: int, offset: int) -> None:
        assert self._consumer is not None
        try:
            self._consumer.seek(self._of_topic(partition), offset)
            self._positions[partition] = offset
        except IllegalStateError:  # a rebalance is under way: ask again after it
            self._positions.pop(partition, None)

    async def _fetch(self, readable: Sequence[int], records_max: int, timeout_s: float) -> list[Chunk]:
        """Fetch once. Raises as `read` does."""
        suspect = next((p for p in self._suspects if p in readable), None)
        if suspect is not None:
            chunks = await self._fetch_carefully(suspect, records_max, min(timeout_s, CAREFUL_S))
            readable = [p for p in readable if p not in self._suspects and p in self._positions]
            records_max -= sum(len(chunk.records) for chunk in chunks)
            if not readable or records_max <= 0:
                return chunks
            return chunks + await self._fetch(readable, records_max, 0.0)
        try:
            found = await self._get(readable, records_max, timeout_s)
        except Unreadable:
            self._suspects += [p for p in readable if p not in self._suspects]
            # What the consumer had taken out of the others' batches is gone with the exception.
            for partition in self._positions.keys() & readable:
                self._seek(partition, self._positions[partition])
            return []
        return self._chunks(readable, found)

    async def _fetch_carefully(self, partition: int, records_max: int, timeout_s: float) -> list[Chunk]:
        """Fetch from one partition all that can be read. Raises LogCorrupt if that is nothing."""
        messages: list[Any] = []
        try:
            while len(messages) < records_max:
                found = await self._get([partition], 1, 0.0 if messages else timeout_s)
                if not any(found.values()):
                    break
                messages += found[self._of_topic(partition)]
        except Unreadable as error:
            if not messages:
                asked = self._positions[partition]
                following = await self._end_of_batch(partition, asked)
                self._suspects.clear()
                self._stopped.add(partition)
                raise LogCorrupt(partition, asked, following, str(error)) from error
        chunks = self._chunks([partition], {self._of_topic(partition): messages})
        if partition in self._suspects:
            self._suspects.remove(partition)
            if any(self._positions.get(partition) != chunk.end_offset for chunk in chunks):
                self._suspects.append(partition)  # after the others
        return chunks

    async def _get(
        self, partitions: Sequence[int], records_max: int, timeout_s: float
    ) -> dict[TopicPartition, list[Any]]:
        """Return what the consumer has of these partitions. Raises Unreadable or LogUnavailable."""
        assert self._consumer is not None
        try:
            found: dict[TopicPartition, list[Any]] = await self._consumer.getmany(
                *(self._of_topic(p) for p in partitions), timeout_ms=int(timeout_s * 1000), max_records=records_max
            )
        except OffsetOutOfRangeError as error:
            self._doubtful.update({of_topic.partition: -1 for of_topic in error.args[0]})
        except (NoOffsetForPartitionError, IllegalStateError):
            self._positions.clear()  # reassigned since: the seeks were for the previous assignment
            await asyncio.sleep(0.01)
        except UNREADABLE as error:
            raise Unreadable(str(error)) from error
        except UNREACHABLE as error:
            await self._start_over()
            raise LogUnavailable(f"Kafka cannot be read: {error or type(error).__name__}") from error
        except Exception as error:  # each codec has errors of its own for bytes that it cannot unpack
            raise Unreadable(f"{type(error).__name__}: {error}") from error
        else:
            return found
        return {}

    def _chunks(self, partitions: Sequence[int], found: Mapping[TopicPartition, Sequence[Any]]) -> list[Chunk]:
        """Make the chunks of what was found, and move the positions."""
        assert self._consumer is not None
        assigned = self._consumer.assignment()
        return [
            chunk
            for p in partitions
            if p in self._positions and self._of_topic(p) in assigned
            if (chunk := self._chunk(p, found.get(self._of_topic(p), []))) is not None
        ]

    async def _end_of_batch(self, partition: int, offset: int) -> int:
        """Return the offset behind the batch that `offset` is in, as far as its header can be believed."""
        assert self._consumer is not None
        client = self._consumer._client
        wanted = [(self._topic, [(partition, offset, HEADERS_BYTES)])]
        request = FetchRequest(int(CAREFUL_S * 1000), 1, HEADERS_BYTES, 0, wanted, rack_id="")
        try:
            response = await client.send(client.cluster.leader_for_partition(self._of_topic(partition)), request)
        except UNREACHABLE as error:
            raise LogUnavailable(f"Kafka does not say what it has: {error or type(error).__name__}") from error
        _, end = await self._bounds(partition)
        batches = bytes(response.topics[0][1][0][-1] or b"")
        following = end_of_batch(batches)
        return following if following is not None and offset < following <= end else offset + 1

    def _chunk(self, partition: int, messages: Sequence[Any]) -> Chunk | None:
        """Make the chunk of one partition and move its position; None if not enough is known yet."""
        assert self._consumer is not None
        position = self._positions[partition]
        records: list[Record] = []
        for offset, message in enumerate(messages, position):
            if message.offset != offset:
                self._doubtful[partition] = message.offset
                self._seek(partition, offset)
                break
            records.append(Record(partition, offset, message.key or b"", message.value or b"", message.timestamp))
        position += len(records)
        if records and partition in self._positions:
            self._positions[partition] = position
            self._doubted.pop(partition, None)
        end_offset = self._consumer.highwater(self._of_topic(partition))
        return None if end_offset is None else Chunk(partition, records, max(end_offset, position))

    async def _settle_doubts(self) -> None:
        """Find out why an offset that was asked for did not come. Raises LogGap or LogTruncated."""
        while self._doubtful:
            partition, found = self._doubtful.popitem()
            asked = self._positions.get(partition)
            if asked is None:
                continue
            first, end = await self._bounds(partition)
            fault: LogGap | LogTruncated
            if asked > end:
                fault = LogTruncated(partition, asked, end)
            elif asked < first:
                fault = LogGap(partition, asked, first)
            elif found > asked and self._doubted.get(partition) == asked:
                fault = LogGap(partition, asked, found)
            else:  # fetched before the seek, or from a copy that was behind; twice the same is a hole
                self._doubted[partition] = asked
                self._seek(partition, asked)
                continue
            self._stopped.add(partition)
            raise fault

    async def _bounds(self, partition: int) -> tuple[int, int]:
        """Return the first offset there is, and the one after the last."""
        assert self._consumer is not None
        of_topic = self._of_topic(partition)
        try:
            first = await self._consumer.beginning_offsets([of_topic])
            end = await self._consumer.end_offsets([of_topic])
        except UNREACHABLE as error:
            self._doubtful[partition] = -1
            raise LogUnavailable(f"Kafka does not say what it has: {error or type(error).__name__}") from error
        return first[of_topic], end[of_topic]

    def _listen(self, readable: Sequence[int], waited_s: float) -> None:
        """Notice when no broker has answered any fetch for too long: aiokafka would just return nothing.

        Raises LogUnavailable; so it is called where no records were found that would be lost with it.
        """
        assert self._consumer is not None
        assigned = self._consumer.assignment()
        polled = [
            self._consumer.last_poll_timestamp(of) for p in readable if (of := self._of_topic(p)) in assigned
        ]
        heard_ms = max((stamp for stamp in polled if stamp is not None), default=0)
        if heard_ms != self._heard_ms:
            self._heard_ms = heard_ms
            self._silent_s = 0.0
            return
        self._silent_s += waited_s
        if self._silent_s > SILENCE_S:
            silent_s, self._silent_s = self._silent_s, 0.0
            raise LogUnavailable(f"no broker has answered for {silent_s:.0f} s")

    async def _start_over(self) -> None:
        await self._release()
        await self._drop_consumer()

    async def _drop_consumer(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await _stop_consumer(consumer)

    def _of_topic(self, partition: int) -> TopicPartition:
        return TopicPartition(self._topic, partition)


async def _stop_consumer(consumer: AIOKafkaConsumer) -> None:
    """Leave the group and stop, within a time that no broker can stretch."""
    if not await _ended(consumer.stop(), within_s=CONSUMER_STOP_S):
        await _ended(consumer._client.close(), within_s=STOP_S)


async def open_kafka_reader(settings: Settings, owner: Owner) -> KafkaReader:
    """Join the group that reads the topic. Raises NotReady, or LogUnavailable if no broker answers."""
    reader = KafkaReader(settings, owner)
    await reader.start()
    return reader
