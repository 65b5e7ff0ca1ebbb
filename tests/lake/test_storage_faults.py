"""What the lake is kept on fills up or goes away: the worker waits, and goes on by itself."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import pytest
from rigs import s3
from rigs.brokers import Broker, free_ports
from rigs.disks import fill, mounted
from rigs.fleet import ends_well, feeding, fleet
from rigs.postgres import NoServer, SystemServer, new_database, none_to_be_had
from rigs.processes import Process
from rigs.waiting import until_async

from lake.verify import verify


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    with mounted(folder, size_mb=24):
        yield folder


@pytest.fixture
def cramped_postgres() -> Iterator[tuple[SystemServer, Path]]:
    """A server of the test's own on a file system of 96 MB, where its user can reach it."""
    with tempfile.TemporaryDirectory(prefix="playhead-disk-") as name, mounted(Path(name), size_mb=96) as disk:
        Path(name).chmod(0o711)
        folder = disk / "postgres"
        folder.mkdir()
        try:
            server = SystemServer(folder)
        except NoServer as reason:
            none_to_be_had([str(reason)])
        else:
            yield server, disk
            server.stop()


async def test_the_lake_is_full(tmp_path: Path, small_disk: Path, kafka: Broker, catalog: str) -> None:
    """Without room for files the worker waits, while the log takes events; with room again it catches up."""
    servers = {"bootstrap_servers": kafka.bootstrap_servers, "catalog": catalog}
    async with fleet(tmp_path, **servers, PLAYHEAD_LAKE_FILES=str(small_disk / "files")) as ships:
        async with feeding(ships) as feed:
            worker = ships.start("worker")
            await ships.holds(50)
            ballast = await asyncio.to_thread(fill, small_disk)
            await until_async(lambda: "No space left" in worker.output, "nobody has noticed")
            await feed.grow(100)
            assert worker.is_alive()
            ballast.unlink()
            await ships.holds(len(feed.acknowledged))
        await ships.exact(feed)
        assert worker.is_alive()


async def test_the_disk_of_postgresql_is_full(
    tmp_path: Path, cramped_postgres: tuple[SystemServer, Path], kafka: Broker
) -> None:
    """Without room for the catalogue workers wait; with room again, and PostgreSQL started, all goes on."""
    server, disk = cramped_postgres
    catalog = f"postgres:{new_database(server)}"
    async with fleet(tmp_path, bootstrap_servers=kafka.bootstrap_servers, catalog=catalog) as ships:
        async with feeding(ships) as feed:
            workers = [ships.start("worker", name=f"worker-{number}") for number in range(2)]
            await ships.holds(50)
            ballast = await asyncio.to_thread(fill, disk)
            await until_async(
                lambda: all("lake refused" in worker.output for worker in workers), "nobody has noticed"
            )
            await feed.grow(100)
            ballast.unlink()
            if not await asyncio.to_thread(server.is_alive):
                await asyncio.to_thread(server.start)  # as whatever looks after it does
            await ships.holds(len(feed.acknowledged))
        await ships.complete(feed)
        assert all(worker.is_alive() for worker in workers)


async def test_the_disk_of_everything_is_full(tmp_path: Path, small_disk: Path) -> None:
    """With log, catalogue and files on one full disk nothing is acknowledged that is not kept, and all goes on."""
    changes = {"PLAYHEAD_LOG": "embedded", "PLAYHEAD_DATA_DIR": str(small_disk), "PLAYHEAD_LAKE_FILES": ""}
    async with fleet(tmp_path, bootstrap_servers="", catalog="sqlite", **changes) as ships:
        async with feeding(ships) as feed:
            worker = ships.start("worker")
            await ships.holds(50)
            ballast = await asyncio.to_thread(fill, small_disk)
            await until_async(lambda: len(feed.tried) > len(feed.acknowledged) + 20, "the log takes events")
            assert worker.is_alive()
            ballast.unlink()
            await feed.grow(100)
            await ships.holds(len(feed.acknowledged))
        await ships.exact(feed)
        assert worker.is_alive()


class Line:
    """A TCP line to a server, which can be cut in the midst of everything."""

    def __init__(self, port: int, to_port: int) -> None:
        self.port, self.to_port = port, to_port
        self._server: asyncio.Server | None = None
        self._is_cut = False
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def mend(self) -> None:
        """Take connections."""
        self._is_cut = False
        if self._server is None:
            self._server = await asyncio.start_server(self._connect, "127.0.0.1", self.port)

    async def cut(self) -> None:
        """Break every connection, and each new one at once.

        The port stays open: asyncio (3.11) leaks a connection that it accepts while its server closes.
        """
        self._is_cut = True
        connections, self._connections = self._connections, {}
        for task, writer in connections.items():
            task.cancel()
            writer.close()  # a task that is cancelled before it began closes nothing
        await asyncio.gather(*connections, return_exceptions=True)

    async def end(self) -> None:
        """Close the port; nobody must be connecting any more."""
        if self._server is not None:
            self._server.close()

    def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.transport.abort()
            return
        self._connections[asyncio.create_task(self._carry(reader, writer))] = writer

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError):
            there, back = await asyncio.open_connection("127.0.0.1", self.to_port)
            with contextlib.closing(back):
                await asyncio.gather(self._copy(reader, back), self._copy(there, writer))

    async def _copy(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65_536):
                target.write(data)
                await target.drain()
        except OSError:
            pass  # one side is gone, and so the other goes
        finally:
            target.close()


@contextlib.asynccontextmanager
async def s3_server(folder: Path) -> AsyncIterator[Line]:
    """Run an S3 server; return the line to it."""
    port, behind = free_ports(2)
    line = Line(port, behind)
    with s3.moto_server(folder, behind):
        await line.mend()
        yield line
        await line.cut()
        await line.end()


def _lose_objects(port: int) -> None:
    """Delete the files of the table `events`: refused transactions left some that no one names."""
    with s3.client(port) as client:
        listed = client.list_objects_v2(Bucket="lake", Prefix="of/playhead/main/events/")["Contents"]
        for object in listed:
            client.delete_object(Bucket="lake", Key=object["Key"])


def _is_noticed(workers: list[Process], known: list[str]) -> bool:
    news = (worker.output.removeprefix(before) for worker, before in zip(workers, known, strict=True))
    return any("lake refused" in text for text in news)


async def test_the_lake_is_on_s3_and_the_server_is_away(tmp_path: Path, kafka: Broker, catalog: str) -> None:
    """Lake files on an S3 server, whose line is cut twice amid transactions, are as good as local ones."""
    async with s3_server(tmp_path) as line:
        changes = {
            "PLAYHEAD_LAKE_FILES": "s3://lake/of/playhead",
            **{f"PLAYHEAD_{name.upper()}": str(value) for name, value in s3.settings_of(line.port).items()},
            "PLAYHEAD_WORKER_COMMIT_INTERVAL_S": "1",  # the server is a slow one
            "PLAYHEAD_WORKER_OPEN_SESSIONS_INTERVAL_S": "3",
            "PLAYHEAD_LOG_PARTITIONS": "2",
        }
        servers = {"bootstrap_servers": kafka.bootstrap_servers, "catalog": catalog}
        async with fleet(tmp_path, **servers, **changes) as ships:
            async with feeding(ships) as feed:
                workers = [ships.start("worker", name=f"worker-{number}") for number in range(2)]
                await ships.holds(50)
                for _ in range(2):
                    known = [worker.output for worker in workers]
                    await line.cut()
                    await until_async(partial(_is_noticed, workers, known), "nobody has noticed")
                    await feed.grow(50)
                    await line.mend()
                    await ships.holds(len(feed.acknowledged))
                await ships.run("upkeep")
            await ships.exact(feed)
            assert all(worker.is_alive() for worker in workers)
            assert not any(s3.SECRET_KEY in worker.output for worker in workers)
            assert not (tmp_path / "files").exists()
            for worker in workers:
                await ends_well(worker)
            await asyncio.to_thread(_lose_objects, line.to_port)
            verdict = await asyncio.to_thread(verify, ships.place)
            assert "file_missing" in {finding.code for finding in verdict.findings}
