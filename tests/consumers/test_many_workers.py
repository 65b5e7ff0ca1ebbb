"""Any number of workers on Kafka and PostgreSQL: faults cost time, and no event."""

import asyncio
import contextlib
import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
from rigs.brokers import Broker
from rigs.fleet import Fleet, closed_sessions, ends_well, feeding, fleet
from rigs.lake import record_value
from rigs.logs import KafkaRig, writing
from rigs.poison import CREATED, record
from rigs.postgres import SystemServer, new_database
from rigs.waiting import until_async

from lake.catalog import Location, connect, speaks_english
from schemas.ids import read_media_session


async def test_workers_are_added_and_ended_under_load(tmp_path: Path, kafka: Broker, catalog: str) -> None:
    """Three workers join one after the other and two leave on SIGTERM while events come: each event once."""
    async with fleet(tmp_path, bootstrap_servers=kafka.bootstrap_servers, catalog=catalog) as ships:
        async with feeding(ships) as feed:
            workers = []
            for number in range(3):
                workers.append(ships.start("worker", name=f"worker-{number}"))
                await ships.holds(len(feed.acknowledged) + 50)
            for worker in workers[:2]:
                await ends_well(worker)
                await ships.holds(len(feed.acknowledged) + 50)
        await ships.exact(feed)
        await ends_well(workers[2])


async def test_workers_are_killed_under_load(tmp_path: Path, kafka: Broker, catalog: str) -> None:
    """Two workers are killed or stopped, twelve times, at any moment, while upkeep runs: each event once."""
    rng = random.Random(1)
    async with fleet(tmp_path, bootstrap_servers=kafka.bootstrap_servers, catalog=catalog) as ships:
        ships.start("upkeep", "--every", "3s")
        async with feeding(ships) as feed:
            workers = [ships.start("worker", name=f"worker-{number}") for number in range(2)]
            await ships.holds(50)
            for number, way in enumerate(["kill", "kill", "terminate"] * 4):
                await asyncio.sleep(rng.uniform(0.0, 1.0))
                victim = workers[number % 2]
                if way == "kill":
                    await asyncio.to_thread(victim.kill)
                else:
                    victim.send(signal.SIGTERM)
                    assert await asyncio.to_thread(victim.wait, 15.0) in (0, -15)  # -15: while it was starting
                workers[number % 2] = ships.start("worker", name=f"worker-{number % 2}")
            await ships.holds(len(feed.acknowledged))
        await ships.exact(feed)


async def test_a_frozen_worker_wakes_into_a_partition_that_is_no_longer_its_own(
    tmp_path: Path, kafka: Broker, catalog: str
) -> None:
    """A worker stopped for longer than its session at the brokers commits nothing of what it held."""
    async with fleet(tmp_path, bootstrap_servers=kafka.bootstrap_servers, catalog=catalog) as ships:
        async with feeding(ships) as feed:
            workers = [ships.start("worker", name=f"worker-{number}") for number in range(2)]
            await ships.holds(50)
            for frozen in (workers[0], workers[1], workers[0]):
                frozen.pause()
                await ships.holds(len(feed.acknowledged) + 50)  # the other one has taken over
                frozen.resume()
                await feed.grow(50)
            await ships.holds(len(feed.acknowledged))
        await ships.exact(feed)


async def test_two_owners_of_every_partition(tmp_path: Path, kafka: Broker, catalog: str) -> None:
    """Two workers of two groups, each of which thinks that it owns everything: one of them is fenced each time."""
    async with fleet(tmp_path, bootstrap_servers=kafka.bootstrap_servers, catalog=catalog) as ships:
        async with feeding(ships) as feed:
            workers = [
                ships.start(
                    "worker", name=f"worker-{number}", PLAYHEAD_KAFKA_GROUP=f"fleet-of-{number}-{tmp_path.name}"
                )
                for number in range(2)
            ]
            await ships.holds(len(feed.acknowledged) + 300)
        await ships.exact(feed)
        assert any("fenced" in worker.output or "lake refused" in worker.output for worker in workers)
        assert all(worker.is_alive() for worker in workers)


async def test_idle_sessions_are_closed_once_by_two_owners(tmp_path: Path, kafka: Broker, catalog: str) -> None:
    """Sessions that only time closes are closed as one version each, however many workers watch the clock."""
    changes = {"PLAYHEAD_SESSION_IDLE_S": "3"}
    servers = {"bootstrap_servers": kafka.bootstrap_servers, "catalog": catalog}
    async with fleet(tmp_path, **servers, **changes) as ships:
        for number in range(2):
            ships.start(
                "worker", name=f"worker-{number}", PLAYHEAD_KAFKA_GROUP=f"fleet-of-{number}-{tmp_path.name}"
            )
        async with feeding(ships, ending=0.0) as feed:
            await feed.grow(300)
        await ships.holds(len(feed.acknowledged))
        sessions = set(feed.acknowledged.values())
        await until_async(lambda: closed_sessions(ships.place) >= sessions, "sessions are open")
        await ships.exact(feed)


async def test_a_worker_frozen_longer_than_sessions_and_snapshots_live(
    tmp_path: Path, kafka: Broker, catalog: str
) -> None:
    """Even if all snapshots since it froze are forgotten, a worker that wakes cannot commit what it was at."""
    changes = {"PLAYHEAD_SESSION_IDLE_S": "2", "PLAYHEAD_WORKER_COMMIT_INTERVAL_S": "0.01"}
    servers = {"bootstrap_servers": kafka.bootstrap_servers, "catalog": catalog}
    async with fleet(tmp_path, **servers, **changes) as ships:
        async with feeding(ships, ending=0.3) as feed:
            workers = [ships.start("worker", name=f"worker-{number}") for number in range(2)]
            await ships.holds(50)
            for frozen in (workers[0], workers[1]):
                frozen.pause()
                await ships.holds(len(feed.acknowledged) + 50)
                await asyncio.to_thread(ships.forget_snapshots)
                frozen.resume()
                await feed.grow(50)
        await ships.exact(feed)


async def test_postgresql_is_killed_while_workers_commit(
    tmp_path: Path, kafka: Broker, own_postgres: SystemServer
) -> None:
    """Twenty kill -9 of PostgreSQL, and a restart, end no worker and lose, double or invent nothing."""
    rng = random.Random(2)
    catalog = f"postgres:{new_database(own_postgres)}"
    changes = {"PLAYHEAD_WORKER_COMMIT_INTERVAL_S": "0.05"}
    async with fleet(tmp_path, bootstrap_servers=kafka.bootstrap_servers, catalog=catalog, **changes) as ships:
        async with feeding(ships) as feed:
            workers = [ships.start("worker", name=f"worker-{number}") for number in range(2)]
            await ships.holds(50)
            await asyncio.to_thread(own_postgres.restart)
            for _ in range(20):
                await asyncio.sleep(rng.uniform(0.0, 0.6))
                await asyncio.to_thread(own_postgres.kill)
                await asyncio.to_thread(own_postgres.start)
        await ships.exact(feed)
        assert all(worker.is_alive() for worker in workers)


async def test_postgresql_is_away_for_seconds(tmp_path: Path, kafka: Broker, own_postgres: SystemServer) -> None:
    """Workers wait for a catalogue that is gone or says nothing, start without it, and go on when it is back."""
    catalog = f"postgres:{new_database(own_postgres)}"
    async with fleet(tmp_path, bootstrap_servers=kafka.bootstrap_servers, catalog=catalog) as ships:
        async with feeding(ships) as feed:
            workers = [ships.start("worker", name="worker-0")]
            await ships.holds(50)
            await asyncio.to_thread(own_postgres.kill)
            workers.append(ships.start("worker", name="worker-1"))
            await until_async(
                lambda: all("lake refused" in worker.output for worker in workers), "nobody has noticed"
            )
            await feed.grow(50)
            await asyncio.to_thread(own_postgres.start)
            await ships.holds(len(feed.acknowledged))
            own_postgres.pause()
            await feed.grow(50)
            own_postgres.resume()
            await ships.holds(len(feed.acknowledged))
        await ships.exact(feed)
        assert all(worker.is_alive() for worker in workers)


async def test_a_worker_ends_in_time_if_postgresql_does_not_answer(
    tmp_path: Path, kafka: Broker, own_postgres: SystemServer
) -> None:
    """Told to end while the catalogue is frozen, a worker is gone after its time and says what it waited for."""
    catalog = f"postgres:{new_database(own_postgres)}"
    changes = {"PLAYHEAD_WORKER_STOP_TIMEOUT_S": "1.5"}
    async with fleet(tmp_path, bootstrap_servers=kafka.bootstrap_servers, catalog=catalog, **changes) as ships:
        async with feeding(ships) as feed:
            workers = [ships.start("worker", name="writing")]
            await ships.holds(50)
            own_postgres.pause()
            workers.append(ships.start("worker", name="starting"))
            await until_async(
                lambda: workers[1].is_connected(own_postgres.port), "it has not come to the catalogue"
            )
            await feed.grow(50)
            for worker in workers:
                worker.send(signal.SIGTERM)
            assert [await asyncio.to_thread(worker.wait, 5.0) for worker in workers] == [3, 3]
            assert all('"waited_for": "the lake"' in worker.output for worker in workers)
            own_postgres.resume()
            ships.start("worker", name="after")
            await ships.holds(len(feed.acknowledged))
        await ships.complete(feed)


async def test_a_flood_of_bad_records_pauses_its_partition(tmp_path: Path, kafka: Broker, catalog: str) -> None:
    """If every record is bad, the worker halts that partition and reports it; others continue, nothing is lost."""
    changes = {"PLAYHEAD_WORKER_BAD_MAX": "100"}
    servers = {"bootstrap_servers": kafka.bootstrap_servers, "catalog": catalog}
    async with fleet(tmp_path, **servers, **changes) as ships:
        worker = ships.start("worker")
        async with writing(ships.settings) as writer:
            for wanted in (60, 400):  # few are quarantined
                await asyncio.gather(*(writer.append(0, key=b"", value=b"no event") for _ in range(wanted)))
                await until_async(lambda: ships.next_offset(0) >= 60, "nothing is quarantined")
        await until_async(lambda: "partition halted" in worker.output, "nobody has noticed")
        async with feeding(ships) as feed:
            await feed.grow(200)
        sessions = [read_media_session(id) for id in feed.acknowledged.values()]
        await ships.holds(sum(session is not None and session.partition > 0 for session in sessions))
        assert worker.is_alive()
        assert 60 <= ships.next_offset(0) < 100
        await ends_well(worker)
        again = ships.start("worker", name="again", PLAYHEAD_WORKER_BAD_MAX="0")
        await ships.complete(feed)
        assert await asyncio.to_thread(ships.ask, "SELECT count(*) FROM quarantine") == [(460,)]
        await ends_well(again)


@pytest.mark.timeout(600)
async def test_partitions_are_added_under_load(tmp_path: Path, kafka: Broker, catalog: str) -> None:
    """New partitions are written and read without a restart, and sessions that run stay where they are."""
    async with fleet(tmp_path, bootstrap_servers=kafka.bootstrap_servers, catalog=catalog) as ships:
        ships.start("upkeep", "--every", "3s")
        async with feeding(ships) as feed:
            workers = [ships.start("worker", name=f"worker-{number}") for number in range(2)]
            await ships.holds(50)
            assert "7 partitions" in await ships.run("topics", "--partitions", "7")
            await until_async(lambda: ships.next_offset(6) > 0, "nothing of partition 6 is in the lake")
            await ships.holds(len(feed.acknowledged))
        await ships.exact(feed)
        assert all(worker.is_alive() for worker in workers)


async def lose(ships: Fleet, broker: Broker, *, records: int) -> tuple[int, int]:
    """Let the log drop records of partition 0 that the lake does not have; return the first and the last."""
    first = ships.next_offset(0)
    rig = KafkaRig(broker)
    rig.topic = ships.settings.kafka_topic
    await rig.lose_front(0, first + records)
    return first, first + records - 1


# What says when and by whom something was done, and not what came of it. Which record is the mark depends on when
# the log was last compared.
STEPS = {
    "session_versions": "as_of, as_of_offset",
    "open_sessions": "as_of, as_of_offset",
    "ledger": "commits, watermark, written_by, written_at, mark_offset, mark_appended_at, mark_digest",
}


def tables_of(place: Location) -> dict[str, Counter[str]]:
    """Return every row of every table of a lake."""
    tables = {}
    with contextlib.closing(connect(place, read_only=True)) as lake:
        names = lake.execute("SELECT table_name FROM duckdb_tables() WHERE database_name = 'lake'").fetchall()
        for (name,) in names:
            steps = STEPS.get(name.partition("_p0")[0])
            columns = f"* EXCLUDE ({steps})" if steps else "*"
            tables[name] = Counter(map(repr, lake.execute(f"SELECT {columns} FROM {name}").fetchall()))
    return tables


async def test_a_lake_that_has_a_gap_is_rebuilt_table_by_table(
    tmp_path: Path, kafka: Broker, catalog: str
) -> None:
    """Behind an accepted gap, with partitions added, backup and log make the same lake; the log alone refuses."""
    async with fleet(tmp_path, bootstrap_servers=kafka.bootstrap_servers, catalog=catalog) as ships:
        async with feeding(ships) as feed:
            worker = ships.start("worker")
            await ships.holds(50)
            await ends_well(worker)
            await feed.grow(100)
        first, last = await lose(ships, kafka, records=5)
        worker = ships.start("worker", "--accept-gap", f"0:{first}-{last}", name="accepting")
        await ships.holds(len(feed.acknowledged) - 5)
        await ships.run("backup")
        await ends_well(worker)
        assert "7 partitions" in await ships.run("topics", "--partitions", "7")
        worker = ships.start("worker", name="grown")
        now_ms = time.time_ns() // 1_000_000
        more = [record_value(id, "a session", ts=now_ms, received_ms=now_ms) for id in ("once", "twice", "twice")]
        async with feeding(ships, seed=2) as feed_after, writing(ships.settings) as writer:
            for value in (*more, b"no event", record(CREATED).value):
                await writer.append(6, key=b"", value=value)
            await feed_after.grow(100)
        await ships.holds(len(feed.acknowledged) - 5 + len(feed_after.acknowledged) + 3)
        settled = "SELECT bool_and(open_as_of_offset = next_offset), sum(duplicates), sum(quarantined) FROM ledger"
        await until_async(lambda: ships.ask(settled) == [(True, 1, 1)], "open sessions are not written")
        await ends_well(worker)
        rebuilt = {**ships.elsewhere("rebuilt"), "PLAYHEAD_LAKE_BACKUPS": str(ships.settings.local_backups)}
        refused = ships.start("rebuild", name="from-the-log-alone", **ships.elsewhere("nothing"))
        await ships.run("rebuild", **rebuilt)
        here = await asyncio.to_thread(tables_of, ships.place)
        there = await asyncio.to_thread(tables_of, ships.place_of(rebuilt))
        assert there.keys() == here.keys()
        assert {name: (here[name] - there[name], there[name] - here[name]) for name in here} == dict.fromkeys(
            here, (Counter(), Counter())
        )
        assert all(here[name] for name in ("events", "tracking_events", "quarantine", "duplicates", "gaps"))
        assert await asyncio.to_thread(refused.wait, 30.0) == 2
        assert f"partition 0: offsets 0 to {last} are gone from the log" in refused.output


@pytest.mark.parametrize(
    ("locale", "is_english"),
    [("C", True), ("C.UTF-8", True), ("POSIX", True), ("", True), ("en_GB.UTF-8", True), ("en", True)]
    + [(other, False) for other in ("de_DE.UTF-8", "cs_CZ.UTF-8", "C_DE", "fr")],
)
def test_postgresql_has_to_speak_english(locale: str, is_english: bool) -> None:
    """DuckLake knows a conflict by PostgreSQL's words: `playhead init` insists on English ones."""
    assert speaks_english(locale) is is_english
