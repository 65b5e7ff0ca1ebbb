"""The log on Apache Kafka: one topic, made by `playhead topics`, written and read with aiokafka.

What aiokafka does by itself, and what this file therefore does:

* With idempotence a batch is retried for as long as it takes, also when no broker is left, and `stop()` waits for
  it. So the deadline of an append is ours (appends.py), and one batch a partition is under way at a time: an
  outage holds a megabyte a partition, not a backlog.
* A batch that failed for good leaves a hole in the producer's sequence numbers, and every later one fails. So
  after any failed batch the producer is given up and one new one is made, however many partitions noticed.
* `send_batch` makes a topic it does not know (where brokers allow it), and so does subscribing by name. So
  partitions are looked up first, and the reader subscribes by pattern.
* A batch that cannot be unpacked is an exception out of `getmany` that names no partition and keeps back good
  batches before it. So partitions that may hold it are read record by record, until it is the first of one.
* After an assignment the consumer delivers from the group's committed offset until a `seek`. So it is asked for
  nothing but partitions that were sought to the owner's position since they were assigned, and the first offset
  delivered is compared with the one asked for. Errors that mean "not yours just now" are normal in a rebalance.

The topic keeps the broker's own clock (LogAppendTime): aiokafka would stamp ours.
"""

import asyncio
import contextlib
import gzip
import os
import re
import shlex
import ssl
import struct
import time
from collections.abc import AsyncIterator, Collection, Coroutine, Mapping, Sequence
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.abc import AbstractTokenProvider
from aiokafka.conn import create_conn
from aiokafka.errors import (
    AuthenticationFailedError,
    AuthenticationMethodNotSupported,
    CorruptRecordException,
    IllegalStateError,
    KafkaError,
    MessageSizeTooLargeError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    ProducerClosed,
    RecordListTooLargeError,
    SaslAuthenticationFailed,
    UnsupportedCodecError,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.fetch import FetchRequest

from eventlog import Appended, Chunk, Owner, Record, View
from eventlog.appends import Append, Appends
from schemas.faults import Fault, LogCorrupt, LogGap, LogTruncated, LogUnavailable, NotReady, TooLarge
from schemas.settings import Settings, without_settings

GROUP_RECORDS_MAX = 10_000
BATCH_BYTES_MAX = 1_048_576
RECORD_OVERHEAD_BYTES = 1_024  # room for a batch's own header and a record's lengths
METADATA_MAX_AGE_MS = 5_000
RETRY_S = 0.25
STUCK_S = 60.0
STOP_S = 0.5
ALERT_S = 1.0
CONSUMER_STOP_S = 3.0
SILENCE_S = 15.0
INSPECTION_MS_MAX = 2_000
HEADERS_BYTES = 1_048_576
BATCH_HEADER = struct.Struct(">qiibIhi")  # base offset, length, leader's epoch, magic, CRC, attributes, last delta
BATCH_PREFIX_BYTES = 12
MAGIC_WITH_DELTA = 2
CAREFUL_S = 0.5  # the next fetch of one partition may take so long

# What a client that cannot connect, or no longer, raises.
UNREACHABLE = (KafkaError, OSError, TimeoutError)
# What a client raises that the brokers do not want, or that does not want them.
REFUSED = (
    ssl.SSLError,
    AuthenticationFailedError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
    AuthenticationMethodNotSupported,
)

# What a client that cannot unpack a batch raises, beside what codecs have of their own. (The last is an OSError.)
UNREADABLE = (CorruptRecordException, UnsupportedCodecError, gzip.BadGzipFile)

logger = structlog.get_logger(__name__)


class Unreadable(Exception):  # noqa: N818  (of some partition: a fault follows when it is known of which)
    """A batch of one of the partitions asked for cannot be unpacked."""


class CommandTokens(AbstractTokenProvider):  # type: ignore[misc]
    """Tokens for OAUTHBEARER, printed by a command of the operator's."""

    def __init__(self, command: str) -> None:
        self._command = shlex.split(command)

    async def token(self) -> str:
        process = await asyncio.create_subprocess_exec(
            *self._command, env=without_settings(os.environ), stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
        if process.returncode:
            raise AuthenticationFailedError(f"the token command ended with {process.returncode}")
        return output.decode().strip()


def client_options(settings: Settings) -> dict[str, Any]:
    """Return what producer, consumer and admin client have in common. Raises NotReady."""
    if not settings.kafka_bootstrap_servers:
        raise NotReady("PLAYHEAD_KAFKA_BOOTSTRAP_SERVERS is not set: host:port,... of some of Kafka's brokers")
    options: dict[str, Any] = {
        "bootstrap_servers": settings.kafka_bootstrap_servers,
        "request_timeout_ms": int(max(5.0, settings.log_append_timeout_s) * 1000),
        "security_protocol": settings.kafka_security_protocol,
    }
    if settings.kafka_security_protocol.endswith("SSL"):
        options["ssl_context"] = _ssl_context(settings)
    if settings.kafka_security_protocol.startswith("SASL"):
        options["sasl_mechanism"] = settings.kafka_sasl_mechanism
        if settings.kafka_sasl_mechanism == "OAUTHBEARER":
            if not settings.kafka_oauth_token_command:
                raise NotReady("PLAYHEAD_KAFKA_OAUTH_TOKEN_COMMAND is not set, and OAUTHBEARER needs it")
            options["sasl_oauth_token_provider"] = CommandTokens(settings.kafka_oauth_token_command)
        else:
            if not settings.kafka_sasl_username or settings.kafka_sasl_password is None:
                raise NotReady("PLAYHEAD_KAFKA_SASL_USERNAME and PLAYHEAD_KAFKA_SASL_PASSWORD must be set")
            options["sasl_plain_username"] = settings.kafka_sasl_username
            options["sasl_plain_password"] = settings.kafka_sasl_password.get_secret_value()
    return options


def _ssl_context(settings: Settings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.kafka_ssl_cafile or None)
        if settings.kafka_ssl_certfile:
            context.load_cert_chain(settings.kafka_ssl_certfile, settings.kafka_ssl_keyfile or None)
    except OSError as error:
        raise NotReady(f"the certificates for Kafka cannot be used: {error}") from error
    return context


async def why_unreachable(settings: Settings, error: BaseException) -> Fault:
    """Find out why no broker could be spoken to: aiokafka logs the reason, but does not say it."""
    options = client_options(settings)
    reasons = []
    for server in options.pop("bootstrap_servers").split(","):
        host, _, port = server.strip().rpartition(":")
        try:
            connection = await create_conn(host.strip("[]"), int(port), **options)
        except REFUSED as reason:
            return NotReady(f"{server} refuses us or is not who it should be: {reason}")
        except UNREACHABLE as reason:
            if alert := await _alert(host.strip("[]"), int(port), options.get("ssl_context")):
                return NotReady(f"{server} refuses us: {alert}")
            reasons.append(f"{server}: {reason or type(reason).__name__}")
        else:
            connection.close()
    return LogUnavailable(f"Kafka cannot be reached: {'; '.join(reasons) or error or type(error).__name__}")


async def _alert(host: str, port: int, context: ssl.SSLContext | None) -> ssl.SSLError | None:
    """Return why a broker ends a TLS connection, if it says so; for aiokafka the connection is just closed.

    In TLS 1.3 a broker that wants a certificate, or another one, says so after the client is done.
    """
    if context is None:
        return None
    try:
        # The handshake has a limit of its own, because asyncio leaks a connection that is cancelled in it.
        async with asyncio.timeout(3 * ALERT_S):
            reader, writer = await asyncio.open_connection(host, port, ssl=context, ssl_handshake_timeout=ALERT_S)
            try:
                async with asyncio.timeout(ALERT_S):
                    await reader.read(1)
            finally:
                writer.transport.abort()
                await asyncio.sleep(0)  # transports close in the loop's next round
    except ssl.SSLError as alert:
        return alert
    except OSError:
        return None  # it cannot be reached, which is the reason already known; or it waits for us to begin
    return None


def absent(settings: Settings) -> NotReady:
    """Say that the topic is not there."""
    return NotReady(f"there is no topic {settings.kafka_topic}: `playhead topics` makes it")


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
        """Connect. Raises NotReady where there is no such topic or we are refused, else LogUnavailable."""
        try:
            self._adopt(await self._started_producer())
        except UNREACHABLE as error:
            raise await why_unreachable(self._settings, error) from error

    @property
    def partitions(self) -> int:
        return self._partitions

    async def append(self, partition: int, *, key: bytes, value: bytes) -> Appended:
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

    async def _send_batch(self, producer: AIOKafkaProducer, partition: int, batch: Any) -> Appended:
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
        return Appended(int(metadata.offset), int(metadata.timestamp) if has_own_clock else None)

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
            logger.warning("log_producer_failed", topic=self._topic, error=str(error) or type(error).__name__)
            self._producer = None
            self._replacing = asyncio.create_task(self._make_another(producer), name="log-new-producer")

    async def _make_another(self, old: AIOKafkaProducer) -> None:
        await _give_up(old)
        while True:
            try:
                producer = await self._started_producer()
            except Exception as error:  # noqa: BLE001  (logged; to give up here would be to give up for good)
                logger.warning(
                    "log_producer_not_made", topic=self._topic, error=str(error) or type(error).__name__
                )
                await asyncio.sleep(RETRY_S)
            else:
                self._adopt(producer)
                logger.info("log_producer_made", topic=self._topic)
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
    """Take note of an outcome that nobody waits for any more, or asyncio says that nobody did."""
    if not outcome.cancelled():
        outcome.exception()


def batch_bytes_max(settings: Settings) -> int:
    """Return the size of the largest batch we send: the topic's max.message.bytes must be no less."""
    return max(BATCH_BYTES_MAX, settings.log_record_bytes_max) + RECORD_OVERHEAD_BYTES


async def _give_up(producer: AIOKafkaProducer) -> None:
    """Stop a producer that may not be able to: what it still holds fails, and no broker is waited for."""
    # stop() would wait until all batches are sent, which may be never. There is no public way to fail them.
    accumulator = producer._message_accumulator
    retried = [batch for queue in accumulator._batches.values() for batch in queue]
    accumulator.fail_all(ProducerClosed())
    for batch in retried:
        _look_at(batch._drain_waiter)
    if not await _ended(producer.stop(), within_s=STOP_S):
        await _ended(producer.client.close(), within_s=STOP_S)


async def _ended(ending: Coroutine[Any, Any, None], *, within_s: float) -> bool:
    """End a client, and say whether it ended well in time. A task of its own, for clients cancel what waits."""
    task = asyncio.ensure_future(ending)
    await asyncio.wait({task}, timeout=within_s)
    if not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=within_s)
    await asyncio.sleep(0)  # transports close in the loop's next round
    if task.done() and not task.cancelled() and task.exception() is None:
        return True
    logger.info("log_client_left_behind", after_s=within_s)
    return False


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
        """Connect. Raises NotReady where there is no such topic or we are refused, else LogUnavailable."""
        options = client_options(self._settings)
        session_ms = int(self._settings.kafka_session_timeout_s * 1000)
        consumer = AIOKafkaConsumer(
            **options,
            group_id=self._settings.kafka_group,
            auto_offset_reset="none",
            enable_auto_commit=False,
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
                chunks = await self._fetch(readable, records_max, left_s)
                if any(chunk.records for chunk in chunks) or time.monotonic() >= deadline:
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

    async def advertise(self, positions: Mapping[int, int]) -> None:
        offsets = {self._of_topic(p): offset for p, offset in positions.items() if p in self._held}
        if self._consumer is None or not offsets:
            return
        try:
            async with asyncio.timeout(STOP_S):
                await self._consumer.commit(offsets)
        except (*UNREACHABLE, ValueError) as error:
            logger.debug("log_positions_not_advertised", error=str(error) or type(error).__name__)

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
                offset = await self._owner.position(partition)
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
        began = time.monotonic()
        try:
            found = await self._get(readable, records_max, timeout_s)
        except Unreadable:
            self._suspects += [p for p in readable if p not in self._suspects]
            return []
        return self._chunks(readable, found, time.monotonic() - began)

    async def _fetch_carefully(self, partition: int, records_max: int, timeout_s: float) -> list[Chunk]:
        """Fetch from one partition all that can be read. Raises LogCorrupt where that is nothing."""
        began = time.monotonic()
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
        chunks = self._chunks([partition], {self._of_topic(partition): messages}, time.monotonic() - began)
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
            self._positions.clear()  # assigned anew since: the seeks were for the assignment before
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

    def _chunks(
        self, partitions: Sequence[int], found: Mapping[TopicPartition, Sequence[Any]], waited_s: float
    ) -> list[Chunk]:
        """Make the chunks of what was found, and move the positions. Raises LogUnavailable after long silence."""
        assert self._consumer is not None
        assigned = self._consumer.assignment()
        chunks = [
            chunk
            for p in partitions
            if p in self._positions and self._of_topic(p) in assigned
            if (chunk := self._chunk(p, found.get(self._of_topic(p), []))) is not None
        ]
        self._listen(partitions, waited_s)
        return chunks

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
        """Make the chunk of one partition and move its position; None where not enough is known yet."""
        assert self._consumer is not None
        position = self._positions[partition]
        records: list[Record] = []
        for message in messages:
            if message.offset != position + len(records):
                self._doubtful[partition] = message.offset
                self._seek(partition, position + len(records))
                break
            key, value = message.key or b"", message.value or b""
            records.append(Record(partition, message.offset, key, value, message.timestamp))
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
        """Notice when no broker has answered any fetch for too long: aiokafka would just return nothing."""
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
                    logger.warning("log_record_unreadable", partition=min(asked).partition, error=str(error))
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

    async def close(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await _stop_consumer(consumer)

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[AIOKafkaConsumer]:
        """Have a consumer that has just heard of the topic; after any failure the next one is made anew."""
        options = client_options(self._settings)
        try:
            async with asyncio.timeout(options["request_timeout_ms"] / 1000):
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


def end_of_batch(batches: bytes) -> int | None:
    """Return the offset behind the first of these batches, as they come from a broker; None where it is not said.

    The next batch says it best: brokers find their way by those numbers. Else the first one's own header has it.
    """
    if len(batches) < BATCH_HEADER.size:
        return None
    base_offset, length, _, magic, _, _, last_delta = BATCH_HEADER.unpack_from(batches)
    if 0 < length <= len(batches) - 2 * BATCH_PREFIX_BYTES:
        return int.from_bytes(batches[BATCH_PREFIX_BYTES + length :][:8])
    return int(base_offset + last_delta + 1 if magic >= MAGIC_WITH_DELTA else base_offset + 1)


async def _stop_consumer(consumer: AIOKafkaConsumer) -> None:
    """Leave the group and stop, within a time that no broker can stretch."""
    if not await _ended(consumer.stop(), within_s=CONSUMER_STOP_S):
        await _ended(consumer._client.close(), within_s=STOP_S)


async def open_kafka_writer(settings: Settings) -> KafkaWriter:
    """Open the topic for appending. Raises NotReady, or LogUnavailable where no broker answers."""
    writer = KafkaWriter(settings)
    await writer.start()
    return writer


async def open_kafka_reader(settings: Settings, owner: Owner) -> KafkaReader:
    """Join the group that reads the topic. Raises NotReady, or LogUnavailable where no broker answers."""
    reader = KafkaReader(settings, owner)
    await reader.start()
    return reader
