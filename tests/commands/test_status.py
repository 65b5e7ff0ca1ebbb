"""`playhead status`: one look says whether all is well, what is not, and what to do."""

import asyncio
import json
import os
import signal
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from rigs.brokers import JvmBroker, free_ports
from rigs.commands import METRICS_URL, Running, playhead
from rigs.lake import Lake
from rigs.lake import playhead as process
from rigs.logs import EmbeddedRig, KafkaRig, append_all, writing
from rigs.waiting import until

from commands.diagnosis import Disk, Ingest, Partition, Seen, diagnose
from commands.status import look
from eventlog.adapters import create_log
from lake.condition import Condition, Quarantined
from lake.schema import SCHEMA
from lake.tables import initialize
from lake.upkeep import LastUpkeep

NOW = datetime(2026, 8, 3, 12, tzinfo=UTC)
READ = Partition(0, end_offset=9, next_offset=9, reader="worker-1:7")
LAKE = Condition(
    schema=SCHEMA,
    ledgers={},
    open_sessions=2,
    quarantine=[],
    files=3,
    files_bytes=4_000,
    catalogue_bytes=5_000,
    snapshots=6,
    oldest_snapshot_at=NOW - timedelta(hours=1),
    upkeep=LastUpkeep(NOW - timedelta(minutes=1), 0.5, "worker-1:7"),
    has_clock=False,
    clock_ahead_s=4.0,
    foreign_schemas=[],
    catalogue_log_bytes=1_000,
    held_by=[],
)
WELL = Seen(
    at=NOW,
    versions={},
    partitions=[READ],
    ingests=[Ingest("http://127.0.0.1:8080")],
    disks=[Disk("data", 50_000_000_000, 100_000_000_000)],
    backup_at=NOW - timedelta(hours=20),
    lake=LAKE,
    log_fault=None,
    lake_fault=None,
    backup_fault=None,
    log_retention_s=604_800,
    has_own_upkeep=True,
)


def but(seen: Seen = WELL, **changes: Any) -> Seen:
    """Return what was seen, with changes; those of the lake by its own fields."""
    of_lake = {name: changes.pop(name) for name in list(changes) if name in Condition.__struct_fields__}
    return msgspec.structs.replace(seen, **{"lake": msgspec.structs.replace(LAKE, **of_lake)} | changes)


def test_nothing_is_found_where_all_is_well() -> None:
    """A newest snapshot of seconds ago is no wrong clock."""
    assert diagnose(WELL) == []


@pytest.mark.parametrize(
    ("seen", "code", "says"),
    [
        (but(disks=[Disk("/lake", 4_000_000_000, 100_000_000_000)]), "disk_full", "4,000 MB are free for /lake"),
        (but(disks=[Disk("/lake", 900_000_000, 2_000_000_000)]), "disk_full", "900 MB"),
        (but(partitions=[Partition(3, 9, 9)]), "no_worker", "start `playhead worker`"),
        (but(partitions=[Partition(3, 9, None, reader="w:1")]), "no_tables", "run `playhead init`"),
        (
            but(partitions=[Partition(3, 2009, 9, 2000, 21.4, reader="w:1")]),
            "behind",
            "2,000 records wait, the oldest for 21 s, though w:1 reads it",
        ),
        (
            but(partitions=[Partition(3, 9, 5, 4, 99.0, reader="w:1", halted_reason="a gap; do this")]),
            "halted",
            "a gap; do this",
        ),
        (
            but(ingests=[Ingest("http://a:1", fault="not ready: why")]),
            "ingest_not_ready",
            "http://a:1: not ready: why",
        ),
        (but(ingests=[Ingest("http://a:1", clock_ahead_s=-7_200)]), "clock", "http://a:1 is 2 h behind"),
        (but(clock_ahead_s=-30.0), "clock", "30 s behind the newest snapshot"),
        (but(has_clock=True, clock_ahead_s=30.0), "clock", "30 s ahead of PostgreSQL's"),
        (but(upkeep=LastUpkeep(NOW - timedelta(hours=5), 1, "w:1")), "upkeep_late", "for 5 h"),
        (but(upkeep=None), "upkeep_late", "for 60 min"),
        (but(quarantine=[Quarantined("worker", "not_json", 3, 9)]), "quarantine", "3 records of the last hour"),
        (but(backup_at=NOW - timedelta(days=8)), "backup_overdue", "run `playhead backup`"),
        (
            but(catalogue_log_bytes=300_000_000, held_by=[71, 85]),
            "query_open",
            "processes 71, 85 have one open now",
        ),
        (but(catalogue_log_bytes=300_000_000, held_by=[71]), "query_open", "process 71 has one open now"),
        (but(catalogue_log_bytes=300_000_000), "query_open", "no process of this machine has one open now"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_thing_that_is_wrong_is_named_with_what_to_do(seen: Seen, code: str, says: str) -> None:
    """It is the only finding: nothing is said twice."""
    (finding,) = diagnose(seen)
    assert finding.code == code
    assert says in finding.detail


@pytest.mark.parametrize(
    "seen",
    [
        but(quarantine=[Quarantined("ingest", "not_json", 3, 9)]),  # a player's mistake
        but(partitions=[Partition(0, 12, 9, 3, 1.2, reader="w:1")]),
        but(upkeep=None, oldest_snapshot_at=NOW - timedelta(minutes=2)),
        but(backup_at=None, oldest_snapshot_at=NOW - timedelta(minutes=2)),
    ],
)
def test_what_is_usual_is_not_wrong(seen: Seen) -> None:
    """Refused requests, a batch that is being read, a lake of two minutes ago."""
    assert diagnose(seen) == []


def of(lake: Lake, **changes: Any) -> dict[str, str]:
    """Return what is wrong with a lake and its log, by code, except for the ingest that nobody started."""
    seen = asyncio.run(look(lake.settings.model_copy(update=changes), []))
    return {finding.code: finding.detail for finding in diagnose(seen)}


async def append(lake: Lake, count: int) -> None:
    """Append records that are no events."""
    async with writing(lake.settings) as writer:
        await append_all(writer, count)


def test_a_log_without_a_worker_waits(tmp_path: Path) -> None:
    """Also while nothing waits; and its lake or its log may be missing."""
    lake = Lake(tmp_path)
    assert "`playhead init`" in of(lake)["not_ready"]
    asyncio.run(create_log(lake.settings))
    assert of(lake).keys() == {"no_worker"}
    (tmp_path / "lake").rename(tmp_path / "elsewhere")
    assert "`playhead init`" in of(lake)["not_ready"]


def test_a_partition_that_is_halted_says_why(tmp_path: Path) -> None:
    """Whether or not its worker is still there."""
    lake = Lake(tmp_path)
    asyncio.run(create_log(lake.settings))
    asyncio.run(append(lake, 10))
    asyncio.run(EmbeddedRig(tmp_path).lose_front(0, 4))
    with process(lake.settings, "worker"):
        until(lambda: "halted" in of(lake))
        assert of(lake).keys() == {"halted"}
        assert "`playhead worker --accept-gap 0:0-3`" in of(lake)["halted"]
    assert of(lake).keys() == {"halted", "no_worker"}


def test_a_log_that_was_made_anew_is_named_without_a_worker(tmp_path: Path) -> None:
    """By the record that the lake remembers."""
    lake = Lake(tmp_path)
    asyncio.run(create_log(lake.settings))
    asyncio.run(append(lake, 3))
    with process(lake.settings, "worker"):
        until(lambda: lake.ask("SELECT next_offset FROM ledger") == [(3,)])
    for path in tmp_path.glob("log.sqlite*"):
        path.unlink()
    asyncio.run(create_log(lake.settings))
    assert "`playhead worker --new-log 0`" in of(lake)["log_replaced"]


def test_a_lake_of_another_schema_is_named(tmp_path: Path) -> None:
    """The log is looked at nevertheless."""
    lake = Lake(tmp_path)
    asyncio.run(create_log(lake.settings))
    lake.do("DELETE FROM schema_number", f"INSERT INTO schema_number VALUES ({SCHEMA + 1})")
    assert of(lake).keys() == {"schema_mismatch", "no_worker"}


def test_the_schemas_of_others_are_shown(tmp_path: Path) -> None:
    """They are no fault."""
    lake = Lake(tmp_path)
    lake.do("CREATE SCHEMA dbt", "CREATE TABLE dbt.mart AS SELECT 1 AS one")
    seen = asyncio.run(look(lake.settings, []))
    assert seen.lake is not None
    assert seen.lake.foreign_schemas == ["dbt"]


def test_records_that_wait_are_as_old_as_the_log_says(tmp_path: Path) -> None:
    """In records and seconds, by the append time of the first that waits."""
    lake = Lake(tmp_path)
    asyncio.run(create_log(lake.settings))
    asyncio.run(append(lake, 3))
    log = sqlite3.connect(tmp_path / "log.sqlite")
    log.execute("UPDATE records SET appended_ms = appended_ms - 60000 WHERE id = 0")
    log.commit()
    log.close()
    (partition,) = asyncio.run(look(lake.settings, [])).partitions
    assert (partition.waiting, partition.next_offset, partition.end_offset) == (3, 0, 3)
    assert 60 <= partition.waits_s < 90


def test_a_running_playhead_is_well(live: tuple[Path, Running]) -> None:
    """Exit status 0: read to the end by the worker's own process, and an ingest that counts."""
    cwd, running = live
    match = METRICS_URL.search(running.output)
    assert match
    arguments = ("status", "--ingest", match[1])
    done = playhead(*arguments, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("all is well\n")
    seen = json.loads(playhead(*arguments, "--json", cwd=cwd).stdout)["seen"]
    (partition,) = seen["partitions"]
    worker = psutil.Process(running.by_verb()["worker"])
    assert partition["written_by"].endswith(f":{worker.pid}")
    assert partition["reader"]
    (ingest,) = seen["ingests"]
    assert ingest["accepted"] > 0
    assert ingest["fault"] is None


def test_a_worker_that_hangs_is_named_within_seconds(live: tuple[Path, Running]) -> None:
    """It still holds its partitions, and records wait for longer than ten seconds."""
    cwd, running = live
    lake = Lake(cwd / "data")
    worker = running.by_verb()["worker"]
    os.kill(worker, signal.SIGSTOP)
    try:
        until(lambda: "behind" in of(lake))
        assert "look into its log" in of(lake)["behind"]
    finally:
        os.kill(worker, signal.SIGCONT)
    until(lambda: not of(lake))


def test_an_ingest_that_does_not_answer_is_named(tmp_path: Path) -> None:
    """By its address, and at once."""
    lake = Lake(tmp_path)
    asyncio.run(create_log(lake.settings))
    (port,) = free_ports(1)
    seen = asyncio.run(look(lake.settings, [f"http://127.0.0.1:{port}"]))
    assert (
        f"http://127.0.0.1:{port}: it does not answer"
        in {f.code: f.detail for f in diagnose(seen)}["ingest_not_ready"]
    )


def test_kafka_and_postgresql_are_looked_at_alike(kafka: JvmBroker, catalog: str, tmp_path: Path) -> None:
    """The reader is the group's member, the worker's process; a broker that is away is named."""
    rig = KafkaRig(kafka)
    asyncio.run(rig.make(log_partitions=2))
    settings = rig.settings(data_dir=tmp_path, lake_catalog=catalog, lake_files=str(tmp_path / "files"))
    lake = Lake(tmp_path, **settings.model_dump(exclude_unset=True, exclude={"data_dir"}))
    initialize(lake.place, partitions=2)
    asyncio.run(append(lake, 5))
    with process(lake.settings, "worker") as worker:
        until(lambda: lake.ask("SELECT sum(next_offset) FROM ledger") == [(5,)])
        seen = asyncio.run(look(lake.settings, []))
        assert [f":{worker.pid} at " in (one.reader or "") for one in seen.partitions] == [True, True]
        assert [(one.waiting, one.end_offset) for one in seen.partitions] == [(0, 5), (0, 0)]
        (port,) = free_ports(1)
        found = of(lake, kafka_bootstrap_servers=f"127.0.0.1:{port}")
        assert f"127.0.0.1:{port}" in found["log_unreachable"]
        assert "no_worker" not in found
