"""What the log's contract suite needs of each adapter: making a log, stalling it, losing its ends."""

import asyncio
import contextlib
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import AsyncIterator, Collection, Iterator
from pathlib import Path
from typing import Any, Protocol

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from eventlog import Chunk, Inspector, Owner, Reader, Record, Writer
from eventlog.adapters import create_log, open_inspector, open_reader, open_writer
from rigs.brokers import Broker, ContainerBroker, JvmBroker
from rigs.mock_kafka import MockKafka
from rigs.processes import talking
from rigs.waiting import WITHIN_S, until_async
from schemas.faults import LogUnavailable
from schemas.settings import Settings

CHILD = Path(__file__).parent / "log_child.py"


class Ledger:
    """An owner that keeps its positions in memory and writes down what it was asked."""

    def __init__(
        self, positions: dict[int, int] | None = None, *, name: str = "", journal: list[str] | None = None
    ) -> None:
        self.positions = positions or {}
        self.name = name
        self.journal = [] if journal is None else journal

    async def acquire(self, partition: int) -> int:
        self.journal.append(f"{self.name} assigned {partition}")
        return self.positions.get(partition, 0)

    async def release(self, partitions: Collection[int]) -> None:
        self.journal.extend(f"{self.name} released {partition}" for partition in partitions)

    @property
    def assigned(self) -> list[int]:
        """All partitions that were ever assigned, in order."""
        return [int(step.split()[-1]) for step in self.journal if "assigned" in step]


class LogRig(Protocol):
    """One log, created for one test."""

    def settings(self, **changes: Any) -> Settings:
        """Return the settings that reach this log."""

    async def make(self, **changes: Any) -> int:
        """Make the log with these settings; return its number of partitions."""

    def stalled(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Let the log take nothing for the length of the block, without refusing it either."""

    async def lose_front(self, partition: int, below: int) -> None:
        """Let the log drop its records below an offset."""

    async def lose_end(self) -> None:
        """Put the log back to where it had no record."""


class EmbeddedRig:
    """The SQLite log in a folder of the test's own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def settings(self, **changes: Any) -> Settings:
        return Settings(data_dir=self.folder, log="embedded", **changes)

    async def make(self, **changes: Any) -> int:
        return await create_log(self.settings(**changes))

    @contextlib.asynccontextmanager
    async def stalled(self) -> AsyncIterator[None]:
        hold = (
            "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None);"
            "c.execute('BEGIN IMMEDIATE'); print('held', flush=True); sys.stdin.read()"
        )
        with talking("-c", hold, self.folder / "log.sqlite") as process:
            assert process.stdout is not None
            assert await asyncio.to_thread(process.stdout.readline) == "held\n"
            yield

    async def lose_front(self, partition: int, below: int) -> None:
        reader = await open_reader(self.settings(), Ledger())
        await reader.retain(older_than_ms=int(time.time() * 1000) + 60_000, below={partition: below})
        await reader.close()

    async def lose_end(self) -> None:
        count = await create_log(self.settings())
        shutil.rmtree(self.folder)
        await create_log(self.settings(log_partitions=count))


class KafkaRig:
    """A topic of the test's own on a broker."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.topic = f"playhead.test.{uuid.uuid4().hex}"

    def settings(self, **changes: Any) -> Settings:
        return Settings(
            log="kafka",
            kafka_bootstrap_servers=self.broker.bootstrap_servers,
            kafka_topic=self.topic,
            kafka_group=self.topic,
            kafka_session_timeout_s=6,
            **changes,
        )

    async def make(self, **changes: Any) -> int:
        return await create_log(self.settings(**changes))

    @contextlib.asynccontextmanager
    async def stalled(self) -> AsyncIterator[None]:
        assert isinstance(self.broker, ContainerBroker | JvmBroker)
        self.broker.pause()
        try:
            yield
        finally:
            self.broker.resume()

    async def lose_front(self, partition: int, below: int) -> None:
        async with self._admin() as admin:
            await admin.delete_records(
                {TopicPartition(self.topic, partition): RecordsToDelete(before_offset=below)}
            )

    async def delete(self) -> None:
        """Delete the topic, and wait until it is away."""
        async with self._admin() as admin:
            await admin.delete_topics([self.topic])

            async def is_away() -> bool:
                return self.topic not in await admin.list_topics()

            await until_async(is_away, "the topic is still listed")

    async def lose_end(self) -> None:
        count = await create_log(self.settings())
        await self.delete()
        await create_log(self.settings(log_partitions=count))

    @contextlib.asynccontextmanager
    async def _admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.broker.bootstrap_servers)
        await admin.start()
        try:
            yield admin
        finally:
            await admin.close()


class MockRig:
    """The topic of a mock cluster of the test's own: it has no requests that make topics or change them."""

    def __init__(self, mock: MockKafka) -> None:
        self.mock = mock

    def settings(self, **changes: Any) -> Settings:
        return Settings(
            log="kafka",
            kafka_bootstrap_servers=self.mock.bootstrap_servers,
            kafka_topic=self.mock.topic,
            kafka_group=self.mock.topic,
            kafka_session_timeout_s=6,
            **changes,
        )

    async def make(self, **changes: Any) -> int:
        partitions = self.settings(**changes).log_partitions
        self.mock.make_topic(partitions)
        self._partitions = partitions
        return partitions

    @contextlib.asynccontextmanager
    async def stalled(self) -> AsyncIterator[None]:
        self.mock.answer_after(30.0)
        try:
            yield
        finally:
            self.mock.answer_after(0.0)

    async def lose_front(self, partition: int, below: int) -> None:
        self.mock.delete_records(partition, below)

    async def lose_end(self) -> None:
        self.mock.delete_topic()
        self.mock.make_topic(self._partitions)


@contextlib.contextmanager
def child(settings: Settings, *command: str) -> Iterator["subprocess.Popen[str]"]:
    """Run `log_child.py` with these settings."""
    with talking(CHILD, settings.model_dump_json(exclude_none=True), *command) as process:
        yield process


async def next_line(process: "subprocess.Popen[str]") -> str:
    """Return what the child says next."""
    assert process.stdout is not None
    line = await asyncio.to_thread(process.stdout.readline)
    assert line, f"the child ended with {process.poll()}"
    return line.strip()


async def killed(process: "subprocess.Popen[str]") -> None:
    """Kill the child with SIGKILL and wait for its end."""
    process.send_signal(signal.SIGKILL)
    await asyncio.to_thread(process.wait)


@contextlib.asynccontextmanager
async def inspecting(settings: Settings) -> AsyncIterator[Inspector]:
    """Have an inspector for the length of the block."""
    inspector = open_inspector(settings)
    try:
        yield inspector
    finally:
        await inspector.close()


@contextlib.asynccontextmanager
async def writing(settings: Settings) -> AsyncIterator[Writer]:
    """Open a writer for the length of the block."""
    writer = await open_writer(settings)
    try:
        yield writer
    finally:
        await writer.close()


@contextlib.asynccontextmanager
async def reading(settings: Settings, owner: Owner | None = None) -> AsyncIterator[Reader]:
    """Open a reader for the length of the block."""
    reader = await open_reader(settings, owner or Ledger())
    try:
        yield reader
    finally:
        await reader.close()


async def read_records(reader: Reader, count: int, *, within_s: float = WITHIN_S) -> list[Record]:
    """Read until there are `count` records; in each partition they are in order."""
    records: list[Record] = []

    async def are_there() -> bool:
        found = True
        while found and len(records) < count:
            before = len(records)
            for chunk in await reader.read(records_max=1000, timeout_s=1.0):
                records.extend(chunk.records)
            found = len(records) > before
        return len(records) >= count

    if count:
        await until_async(are_there, lambda: f"{len(records)} of {count} records", within_s=within_s)
    return records


async def read_chunks(reader: Reader, partitions: int, *, within_s: float = WITHIN_S) -> dict[int, Chunk]:
    """Read until the reader holds this many partitions; return its last chunk of each."""

    async def every() -> dict[int, Chunk] | None:
        chunks = {chunk.partition: chunk for chunk in await reader.read(records_max=1000, timeout_s=0.1)}
        return chunks if len(chunks) == partitions else None

    chunks = await until_async(every, f"there are not {partitions} partitions", within_s=within_s)
    assert chunks is not None
    return chunks


async def append_all(writer: Writer, count: int, *, partition: int = 0) -> list[int]:
    """Append so many records, all at once, with their number as value; return their offsets."""
    appended = await asyncio.gather(
        *(writer.append(partition, key=b"k", value=str(number).encode()) for number in range(count))
    )
    return [one.offset for one in appended]


async def append_values(writer: Writer, partition: int, *values: bytes) -> None:
    """Append these records, one after the other."""
    for value in values:
        await writer.append(partition, key=b"", value=value)


async def until_it_takes(writer: Writer) -> None:
    """Append until it works, as clients do."""

    async def is_taken() -> bool:
        with contextlib.suppress(LogUnavailable):
            await writer.append(0, key=b"", value=b"again")
            return True
        return False

    await until_async(is_taken, "it takes nothing")
