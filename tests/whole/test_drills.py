"""What is lost comes back: files, catalogue, log, or everything but the backup, by the runbook's own commands.

Each drill begins with what the one before it left: a lake that is well.
"""

import asyncio
import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from rigs import s3
from rigs.brokers import Broker, free_ports
from rigs.fleet import Feed, Fleet, feeding
from rigs.postgres import Server
from rigs.runbook import blocks, follow
from rigs.waiting import until_async

from eventlog.adapters import create_log
from lake.catalog import connect
from lake.tables import initialize
from lake.verify import verify

PASSWORD = "password-of-the-drills"
EVENTS = 40  # at each time


class Drill:
    """A fleet whose workers run only to read what there is, and all that its log has ever acknowledged."""

    def __init__(self, ships: Fleet, *, server: Server | None, shell: dict[str, str]) -> None:
        self.ships, self._server, self.is_many = ships, server, server is not None
        self.acknowledged: set[str] = set()
        self.tried: set[str] = set()
        self._shell = ships.environment | shell
        self._seed = 0

    def feed(self) -> None:
        """Append events to the log."""
        self._seed += 1

        async def grow() -> Feed:
            async with feeding(self.ships, seed=self._seed, live=5) as feed:
                await feed.grow(EVENTS)
            return feed

        feed = asyncio.run(grow())
        self.acknowledged |= feed.acknowledged.keys()
        self.tried |= feed.tried.keys()

    def run(self, *arguments: str) -> None:
        """Run `playhead` to its end."""
        asyncio.run(self.ships.run(*arguments))

    def follow(self, heading: str, *numbers: int) -> str:
        """Follow blocks of commands of a section of the runbook."""
        chosen = [blocks(heading)[number] for number in numbers]
        return follow("\n".join(chosen), cwd=self.ships.folder, environment=self._shell)

    def events(self) -> set[str]:
        """Return the ids of the lake's events, each of which it must have once."""
        with contextlib.closing(connect(self.ships.place, read_only=True)) as lake:
            found = [row[0] for row in lake.execute("SELECT event_id FROM events").fetchall()]
        assert len(found) == len(set(found))
        return set(found)

    def lose_files(self) -> None:
        """Empty the folder of the files, as the mount point of a new disk is."""
        shutil.rmtree(self.ships.place.files)
        Path(self.ships.place.files).mkdir()

    def lose_database(self) -> None:
        """Drop the database and its role, or delete the catalogue's file."""
        if self._server is None:
            for file in Path(self.ships.place.catalog).parent.glob("catalog.sqlite*"):
                file.unlink()
            return
        with psycopg.connect(self._server.connection, autocommit=True) as connection:
            for name in ("playhead", "playhead_lost"):
                connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())
            connection.execute(b"DROP ROLE IF EXISTS playhead")

    def lose_log(self) -> None:
        """Delete the topic, or the file."""
        if not self.is_many:
            for file in (self.ships.folder / "data").glob("log.sqlite*"):
                file.unlink()
            return
        asyncio.run(self._delete_topic())

    async def _delete_topic(self) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.ships.environment["PLAYHEAD_KAFKA_BOOTSTRAP_SERVERS"])
        await admin.start()
        topic = self.ships.environment["PLAYHEAD_KAFKA_TOPIC"]
        try:
            await admin.delete_topics([topic])

            async def is_away() -> bool:
                return topic not in await admin.list_topics()

            await until_async(is_away, "the topic is still listed")
        finally:
            await admin.close()

    def move_away(self) -> None:
        """Follow the step of the runbook that moves away what is left of the lake."""
        self.follow("Lose the lake", 1 if self.is_many else 0)

    def forget_lost(self) -> None:
        """Delete what was moved away, as when all is well again."""
        shutil.rmtree(self.ships.folder / "data" / "lake.lost", ignore_errors=True)
        shutil.rmtree(self.ships.folder / "files.lost", ignore_errors=True)


@contextlib.contextmanager
def kafka_and_postgresql(folder: Path, kafka: Broker, server: Server) -> Iterator[tuple[dict[str, str], ...]]:
    """Give the settings of a lake in a database `playhead` whose backups are on S3, and those of psql."""
    where = {
        "host": "",
        "port": "",
        "user": "",
        "password": "",
        **psycopg.conninfo.conninfo_to_dict(server.connection),
    }
    (port,) = free_ports(1)
    with s3.moto_server(folder, port):
        yield (
            {
                "PLAYHEAD_LOG": "kafka",
                "PLAYHEAD_KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
                "PLAYHEAD_LAKE_FILES": str(folder / "files"),
                "PLAYHEAD_LAKE_BACKUPS": f"s3://{s3.BUCKET}/backups",
                **{f"PLAYHEAD_{name.upper()}": str(value) for name, value in s3.settings_of(port).items()},
                "PLAYHEAD_LAKE_CATALOG": f"postgres:host={where['host']} port={where['port']} "
                "user=playhead dbname=playhead",
                "PLAYHEAD_LAKE_CATALOG_PASSWORD": PASSWORD,
            },
            {f"PG{name.upper()}": str(where[name]) for name in ("host", "port", "user", "password")},
        )


@pytest.fixture(scope="module", params=["one machine", "kafka and postgresql"])
def drill(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drill]:
    """A lake that is well, with a backup on another disk or on S3, and a log with more than the backup."""
    folder = tmp_path_factory.mktemp("drill")
    changes = {
        "PLAYHEAD_LOG": "embedded",
        "PLAYHEAD_LOG_PARTITIONS": "2",
        "PLAYHEAD_LAKE_CATALOG": "sqlite",
        "PLAYHEAD_LAKE_FILES": "",
        "PLAYHEAD_LAKE_BACKUPS": str(folder / "other disk" / "backups"),
    }
    shell: dict[str, str] = {}
    server: Server | None = None
    with contextlib.ExitStack() as running:
        if request.param != "one machine":
            kafka: Broker = request.getfixturevalue("kafka")
            server = request.getfixturevalue("postgres")
            more, shell = running.enter_context(kafka_and_postgresql(folder, kafka, server))
            changes |= more
            follow(blocks("Lose the lake")[2].rpartition("mv ")[0], cwd=folder, environment=changes | shell)
        ships = Fleet(folder, changes)
        running.callback(ships.close)
        initialize(ships.place, partitions=asyncio.run(create_log(ships.settings)))
        made = Drill(ships, server=server, shell=shell)
        made.feed()
        made.run("worker", "--until-read")
        made.run("backup")
        made.feed()
        made.run("worker", "--until-read")
        yield made
        if server is not None:
            made.lose_database()


def test_the_files_of_the_lake_are_lost(drill: Drill) -> None:
    """The lake is made again from backup and log, with every event once."""
    drill.lose_files()
    drill.feed()
    assert {finding.code for finding in verify(drill.ships.place).findings} == {"files_elsewhere"}
    drill.move_away()
    assert "all is well" in drill.follow("Lose the lake", 3)
    assert drill.acknowledged <= drill.events() <= drill.tried
    drill.forget_lost()


def test_the_catalogue_is_lost(drill: Drill) -> None:
    """Its files are of no use without it; with PostgreSQL the server may be a new one."""
    drill.lose_database()
    drill.feed()
    drill.follow("Lose the lake", 2 if drill.is_many else 0)
    assert "all is well" in drill.follow("Lose the lake", 3)
    assert drill.acknowledged <= drill.events() <= drill.tried
    drill.forget_lost()


def test_the_log_is_lost(drill: Drill) -> None:
    """The lake keeps what was read, and goes on with a new log."""
    drill.lose_log()
    assert "all is well" in drill.follow("Lose the log", 0)
    drill.feed()
    drill.run("worker", "--until-read")
    assert drill.acknowledged <= drill.events() <= drill.tried
    drill.run("verify")


def test_all_is_lost_but_the_backup(drill: Drill) -> None:
    """What the backup has is there, and what is sent from now on; what came after the backup is lost."""
    drill.run("backup")
    backed_up = drill.events()
    drill.feed()
    after_backup = drill.acknowledged - backed_up
    drill.lose_log()
    drill.lose_database()
    drill.lose_files()
    if drill.is_many:
        drill.follow("Lose the lake", 2)
    assert "all is well" in drill.follow("Lose all but the backup", 0)
    assert drill.events() == backed_up
    drill.feed()
    drill.run("worker", "--until-read")
    assert drill.events() == (drill.acknowledged - after_backup) & drill.events()
    assert drill.acknowledged - after_backup <= drill.events()
    drill.run("verify")
