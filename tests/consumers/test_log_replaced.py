"""A log that is lost and made again under its name: nothing of the new one is passed over in silence.

Real ingests and workers, on the embedded log and on Kafka.
"""

import asyncio
import contextlib
import json
import shutil
import sqlite3
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from rigs.brokers import JvmBroker
from rigs.commands import SECRETS, failed
from rigs.commands import playhead as run
from rigs.ingest import Ingest, session_start
from rigs.ingest import running as ingesting
from rigs.lake import Lake, playhead, record_value
from rigs.logs import EmbeddedRig, KafkaRig, LogRig, writing
from rigs.waiting import until

from consumers.decisions import accept_new_logs, parse_partitions
from consumers.worker import Worker
from eventlog import Record, View
from eventlog.adapters import create_log
from lake.backup import back_up, folder_of_backups
from lake.marks import Mark, replaced
from lake.verify import verify
from schemas.faults import NotReady
from schemas.ids import mint_media_session

# ---- knowing a log again

READ = Record(3, 41, b"key", b"value", 1_700_000_000_123)
VIEWS = {
    "the same": (View(0, 50, READ, None), None),
    "the same, and its name": (View(0, 50, READ, "a"), None),
    "retention took it": (View(45, 50, None, "a"), None),
    "it is shorter, which its reader says": (View(0, 20, None, None), None),
    "another name": (View(0, 50, READ, "b"), "its id is b, and the lake has read a"),
    "another name, and nothing in it": (View(0, 0, None, "b"), "its id is b, and the lake has read a"),
    "another value": (View(0, 50, Record(3, 41, b"key", b"other", READ.appended_ms), None), "offset 41"),
    "another key": (View(0, 50, Record(3, 41, b"keys", b"value", READ.appended_ms), None), "offset 41"),
    "the same bytes, cut otherwise": (
        View(0, 50, Record(3, 41, b"keyv", b"alue", READ.appended_ms), None),
        "offset",
    ),
    "the same at another time": (
        View(0, 50, Record(3, 41, b"key", b"value", READ.appended_ms + 1), None),
        "offset",
    ),
}


@pytest.mark.parametrize("base", [0, 1_000, -7])
@pytest.mark.parametrize("name", VIEWS)
def test_a_log_is_known_again_by_its_name_and_by_a_record(name: str, base: int) -> None:
    """By offset, time, key and value of one record that was read; what is not there any more shows nothing."""
    view, why = VIEWS[name]
    fault = replaced(3, mark=Mark.of(READ, base=base), base=base, log_id="a", view=view)
    if why is None:
        assert fault is None
    else:
        assert fault is not None
        assert why in str(fault)
    unread = replaced(3, mark=None, base=base, log_id=None, view=view)
    assert unread is None  # who has read nothing knows no log


def test_partitions_are_named_as_a_person_writes_them() -> None:
    """With commas, or `all`; anything else is refused with an example."""
    assert parse_partitions("all") is None
    assert parse_partitions("3, 0,3") == [0, 3]
    for text in ("", "a", "0-3", "0;1"):
        with pytest.raises(NotReady, match="0,3"):
            parse_partitions(text)


# ---- the embedded log


def lose_log(lake: Lake) -> None:
    """Remove the log while it is in use, as an accident does, and make another."""
    (lake.settings.data_dir / "log.sqlite").unlink()
    asyncio.run(create_log(lake.settings))


def settings_of(lake: Lake) -> dict[str, str]:
    """Return the settings of a `playhead` on this lake."""
    return {**SECRETS, "PLAYHEAD_DATA_DIR": str(lake.settings.data_dir)}


def post(ingest: Ingest, count: int) -> int:
    """Start so many sessions; return how many were acknowledged."""
    return sum(ingest.post("/api/v1/sessions", session_start()).status_code == 201 for _ in range(count))


def reason(lake: Lake) -> str:
    """Return why the first partition is halted."""
    return str(lake.ask("SELECT coalesce(halted_reason, '') FROM ledger_p000")[0][0])


def counts(lake: Lake, events: int) -> bool:
    """Return whether the lake has so many events."""
    return lake.ask("SELECT count(*), count(DISTINCT event_id) FROM events") == [(events, events)]


def test_every_event_that_was_acknowledged_is_in_the_lake_after_the_log_was_lost(tmp_path: Path) -> None:
    """300 before and 100 after: the worker stops and says why, `verify` is red, and one command goes on.

    The ingest that runs acknowledges nothing meanwhile, and a restarted one does.
    """
    folder = tmp_path / "data"
    lake = Lake(folder)
    asyncio.run(create_log(lake.settings))
    with playhead(lake.settings, "worker") as worker:
        with ingesting(folder) as ingest:
            assert post(ingest, 300) == 300
            until(lambda: counts(lake, 300))
            lose_log(lake)
            assert post(ingest, 3) == 0
            assert httpx.get(f"{ingest.url}/health/ready").status_code == 503
            assert "is another file than the log that is open here" in ingest.output
        with ingesting(folder) as ingest:
            assert post(ingest, 100) == 100
        until(lambda: "log was replaced" in reason(lake))
        assert "`playhead worker --new-log 0`" in reason(lake)
        done = run("verify", cwd=folder, settings=settings_of(lake))
        assert done.returncode == 1
        assert "log was replaced" in " ".join(done.stdout.split())
        assert counts(lake, 300)
        assert worker.is_alive()
        until(lambda: codes_said(folder / "worker.stderr") == {"log_replaced"})
        with playhead(lake.settings, "worker", "--new-log", "0"):  # it waits; the one that runs goes on
            until(lambda: counts(lake, 400))
    assert reason(lake) == ""
    assert verify(lake.place).findings == []
    assert lake.ask("SELECT log_number, log_base, next_offset FROM ledger") == [(2, 300, 400)]
    assert lake.ask("SELECT log_partition, log_number, first_offset, log_first_offset FROM log_changes") == [
        (0, 2, 300, 0)
    ]
    assert lake.ask("SELECT sum(events), max(as_of_offset) <= 400 FROM sessions") == [(400, True)]


def test_the_lake_is_rebuilt_across_a_log_that_was_lost(tmp_path: Path) -> None:
    """From an older backup only if the operator accepts the new log; from a newer one without being asked."""
    folder = tmp_path / "data"
    lake = Lake(folder)
    with ingesting(folder) as ingest:
        assert post(ingest, 30) == 30
    work_off(lake)
    back_up(lake.place, folder_of_backups(lake.settings), now=datetime.now(UTC))
    lose_log(lake)
    with ingesting(folder) as ingest:
        assert post(ingest, 40) == 40
    shutil.rmtree(folder / "lake")
    done = run("rebuild", cwd=folder, settings=settings_of(lake))
    assert done.returncode == 2
    assert "is of another log" in done.stderr
    assert "`playhead rebuild --new-log 0`" in done.stderr
    assert not Path(lake.place.catalog).exists()
    for options in (["--new-log", "all"], []):
        done = run("rebuild", *options, cwd=folder, settings=settings_of(lake))
        assert done.returncode == 0, done.stderr
        assert counts(lake, 70)
        assert lake.ask("SELECT log_number, log_base, next_offset FROM ledger") == [(2, 30, 70)]
        assert verify(lake.place).findings == []
        back_up(lake.place, folder_of_backups(lake.settings), now=datetime.now(UTC))
        shutil.rmtree(folder / "lake")


def work_off(lake: Lake) -> None:
    """Let a worker take all that is in the log."""
    asyncio.run(asyncio.wait_for(Worker(lake.settings).run(asyncio.Event(), until_read=True), 100))


async def append(rig: LogRig, count: int, *, partition: int = 0) -> None:
    """Append events of sessions of their own."""
    now_ms = time.time_ns() // 1_000_000
    async with writing(rig.settings()) as writer:
        for number in range(count):
            session = mint_media_session([b"key"], partition=partition, started_ms=now_ms, entropy=_entropy).id
            value = record_value(
                f"{partition}-{now_ms}-{number}", session, "sessionStart", ts=now_ms, received_ms=now_ms
            )
            await writer.append(partition, key=session.encode(), value=value)


def _entropy(size: int) -> bytes:
    return time.time_ns().to_bytes(16, "big").rjust(size, b"\1")[-size:]


def rename_log(lake: Lake, name: str) -> None:
    """Let the log call itself otherwise, as a copy of it does that went another way."""
    with contextlib.closing(sqlite3.connect(lake.settings.data_dir / "log.sqlite", isolation_level=None)) as log:
        log.execute("UPDATE identity SET id = ?", (name,))


@pytest.mark.parametrize("new_records", [5, 20, 60])
def test_a_log_of_the_same_name_is_recognized_by_its_records(tmp_path: Path, new_records: int) -> None:
    """Shorter, as long or longer than what was read: it reads nothing of it before it is told."""
    lake, rig = Lake(tmp_path), EmbeddedRig(tmp_path)
    asyncio.run(rig.make())
    rename_log(lake, "one")
    asyncio.run(append(rig, 20))
    work_off(lake)
    lose_log(lake)
    rename_log(lake, "one")
    asyncio.run(append(rig, new_records))
    with pytest.raises(NotReady, match="`playhead worker --new-log 0`"):
        work_off(lake)
    assert counts(lake, 20)
    asyncio.run(accept_new_logs(lake.settings, [0]))
    work_off(lake)
    assert counts(lake, 20 + new_records)
    assert verify(lake.place).findings == []


def test_a_log_that_is_lost_again_and_again_is_read_each_time(tmp_path: Path) -> None:
    """The lake's offsets stay dense, rising and unique, whatever offset each log begins with."""
    lake, rig = Lake(tmp_path), EmbeddedRig(tmp_path)
    asyncio.run(rig.make())
    expected = 0
    for log, (records, lost) in enumerate([(7, 0), (9, 4), (1, 0), (0, 0), (12, 3)]):
        if log:
            lose_log(lake)
        asyncio.run(append(rig, records))
        if lost:
            asyncio.run(rig.lose_front(0, lost))
        if log:
            asyncio.run(accept_new_logs(lake.settings, None))
        work_off(lake)
        expected += records - lost
        assert counts(lake, expected)
        assert verify(lake.place).findings == []
    assert lake.ask("SELECT log_number, next_offset, lost FROM ledger") == [(5, expected, 0)]
    assert lake.ask("SELECT first_offset, log_first_offset FROM log_changes ORDER BY log_number") == [
        (7, 4),
        (12, 0),
        (13, 0),
        (13, 3),
    ]


def test_a_log_whose_old_records_were_removed_is_the_same_log(tmp_path: Path) -> None:
    """Also where it took the very record by which the log is known, and all others."""
    lake, rig = Lake(tmp_path), EmbeddedRig(tmp_path)
    asyncio.run(rig.make())
    asyncio.run(append(rig, 10))
    work_off(lake)
    asyncio.run(rig.lose_front(0, 10))
    asyncio.run(append(rig, 5))
    work_off(lake)
    assert counts(lake, 15)
    asyncio.run(rig.lose_front(0, 15))
    with playhead(lake.settings, "worker"):
        asyncio.run(append(rig, 2))
        until(lambda: counts(lake, 17))
    assert verify(lake.place).findings == []


@pytest.mark.parametrize(
    ("partitions", "message"),
    [
        ("0", "partition 0 still has the log that the lake has read: nothing was changed"),
        ("all", "all partitions still have the log that the lake has read: nothing was changed"),
        ("0,9", "the lake has no partition 9, only 0 to 1"),
        ("x", "'x' names no partitions; write them with commas, such as 0,3, or `all`"),
    ],
)
def test_a_log_that_is_the_same_is_not_changed(tmp_path: Path, partitions: str, message: str) -> None:
    """With one line and status 2; the lake is as it was."""
    lake, rig = Lake(tmp_path, partitions=2), EmbeddedRig(tmp_path)
    asyncio.run(rig.make(log_partitions=2))
    asyncio.run(append(rig, 3))
    work_off(lake)
    done = run("worker", "--new-log", partitions, cwd=tmp_path, settings=settings_of(lake))
    assert failed(done) == message
    assert lake.ask("SELECT max(log_number) FROM ledger") == [(1,)]
    assert lake.ask("FROM log_changes") == []


# ---- Kafka


def codes_said(log: Path) -> set[str]:
    """Return the codes of the partitions that a worker said were halted."""
    return {json.loads(line)["code"] for line in log.read_text().splitlines() if "partition halted" in line}


@pytest.mark.parametrize(
    ("new_records", "code"), [((40, 10), "log_replaced"), ((5, 5), "log_truncated")], ids=["longer", "shorter"]
)
@pytest.mark.parametrize("is_running", [True, False], ids=["while a worker runs", "while none runs"])
def test_a_topic_that_was_made_again_is_noticed(
    tmp_path: Path, own_kafka: JvmBroker, new_records: Sequence[int], code: str, is_running: bool
) -> None:
    """Two partitions of 20: one of them, or both, would go on in the middle; nothing of it is read in silence."""
    rig = KafkaRig(own_kafka)
    settings = rig.settings(log_partitions=2)
    lake = Lake(tmp_path, partitions=2, **settings.model_dump(exclude_defaults=True))
    asyncio.run(create_log(settings))
    for partition in range(2):
        asyncio.run(append(rig, 20, partition=partition))
    with contextlib.ExitStack() as stack:
        with contextlib.ExitStack() as first:
            first.enter_context(playhead(lake.settings, "worker"))
            until(lambda: counts(lake, 40))
            if is_running:
                stack.push(first.pop_all())
        asyncio.run(rig.lose_end())
        for partition, count in enumerate(new_records):
            asyncio.run(append(rig, count, partition=partition))
        if not is_running:
            stack.enter_context(playhead(lake.settings, "worker"))
        until(lambda: lake.ask("SELECT count(*) FROM ledger WHERE halted_at IS NOT NULL") == [(2,)])
        until(lambda: code in codes_said(tmp_path / "worker.stderr"))
        assert [finding.code for finding in verify(lake.place).findings] == ["halted"] * 2
        with playhead(lake.settings, "worker", "--new-log", "all"):
            until(lambda: counts(lake, 40 + sum(new_records)))
    assert verify(lake.place).findings == []
    assert lake.ask("SELECT DISTINCT log_number, log_base FROM ledger") == [(2, 20)]
