"""The worker on a real lake and a real log: all or nothing, one owner, nothing lost by a kill, poison in rows."""

import asyncio
import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pytest
from rigs.lake import Lake, playhead, record_value, rows_of_facts, write
from rigs.poison import BAD, ODD, record
from rigs.session_model import (
    ALL_THE_TIME,
    LIMITS,
    NOON_MS,
    Entry,
    ModelLake,
    expected_facts,
    expected_kinds,
    make_bad,
    make_event,
    make_tracking,
    no_time,
    session_id,
)
from rigs.waiting import until_async

from consumers.worker import Worker
from eventlog import Writer
from eventlog.adapters import add_partitions, create_log, open_writer
from lake.catalog import connect
from lake.changes import Changes
from lake.tables import initialize
from lake.transaction import Fenced, LedgerBroken, commit
from lake.verify import verify
from schemas.faults import NotReady
from schemas.ids import mint_event_id
from schemas.settings import read_settings

HOUR_MS = 3_600_000


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A lake of one partition."""
    return Lake(tmp_path)


def a_log(seed: int, records: int) -> list[Entry]:
    """Make a log of some sessions at once, with latecomers, repetitions, bad records and long silences."""
    rng = random.Random(seed)
    log: list[Entry] = []
    now = NOON_MS
    live: list[str] = []
    for offset in range(records):
        now += rng.choice((10, 500, 3_000)) if rng.random() > 0.01 else 11 * 60_000
        if rng.random() < 0.15 or not live:
            live.append(session_id(offset, now))
        what = rng.random()
        earlier = log[-rng.randint(1, min(40, offset))] if offset else None
        if what < 0.03:
            log.append(make_bad(offset=offset, received_ms=now))
        elif what < 0.06:
            log.append(make_tracking(offset=offset, received_ms=now))
        elif what < 0.16 and earlier is not None:
            log.append(msgspec.structs.replace(earlier, offset=offset))
        else:
            name = rng.choice(("sessionStart", "play", "ping", "ping", "pauseStart", "bufferStart", "sessionEnd"))
            late_ms = rng.choice((0, 0, 0, 0, 4_000, 15 * 60_000))
            log.append(
                make_event(
                    name,
                    session_id=rng.choice(live[-8:]),
                    offset=offset,
                    ts=now - late_ms,
                    received_ms=now,
                    playhead_s=float(rng.randint(0, 30)),
                )
            )
    return log


# ---- one transaction


def test_a_transaction_is_all_or_nothing(lake: Lake) -> None:
    """When the second of two partitions cannot be written, nothing of the first is."""
    with lake.writer() as writer:
        held = writer.load(0, None)
        model = ModelLake()
        good = model.take(model.start(), [make_event("sessionStart"), make_bad(offset=1)], renew_open=True)
        seventh = msgspec.structs.replace(held.ledger, log_partition=7)
        nowhere = Changes(partition=7, next_offset=1)
        pairs = ((held.ledger, good), (seventh, nowhere))
        work = [(before, each, before.after(each, by="w:1", now=datetime.now(UTC))) for before, each in pairs]
        with writer.connection() as connection, pytest.raises(duckdb.Error):
            commit(connection, work, topic="t", place=lake.place)
        assert writer.load(0, held) is held
    tables = ("events", "quarantine", "session_versions", "open_sessions_p000")
    assert lake.ask("SELECT " + ", ".join(f"(SELECT count(*) FROM {table})" for table in tables)) == [(0, 0, 0, 0)]
    assert lake.ask("SELECT next_offset, commits FROM ledger") == [(0, 0)]


def test_a_worker_that_restarts_anywhere_comes_to_the_same_sessions(lake: Lake) -> None:
    """After each restart the open sessions are those of the log so far; at the end all are as folded at once."""
    log = a_log(seed=5, records=400)
    rng = random.Random(5)
    with lake.writer() as writer:
        held = writer.load(0, None)
        while (start := held.sessions.next_offset) < len(log):
            write(writer, held, log[start : start + rng.choice((1, 20, 60))], renew=rng.random() < 0.5)
            if rng.random() < 0.3:
                write(writer, held, [], idle_at_ms=held.sessions.watermark_ms + rng.choice((0, 700_000)))
            if rng.random() < 0.6:
                before = held.sessions
                held = writer.load(0, None)
                expected = expected_facts(log[: held.ledger.next_offset])
                assert {id: s.facts() for id, s in held.sessions.open.items()} == {
                    id: expected[id] for id in before.open
                }
                for id, session in before.open.items():
                    again = held.sessions.open[id]
                    assert (again.version, again.late_events) == (session.version, session.late_events)
                    assert again.closing.deadline_ms() == session.closing.deadline_ms()
        write(writer, held, [])
    assert lake.sessions() == rows_of_facts(expected_facts(log, without=lake.left_out()))
    verdict = verify(lake.place)
    assert verdict.findings == []
    assert verdict.partitions[0].next_offset == len(log)
    assert verdict.partitions[0].duplicates > 0


@pytest.mark.parametrize("events_max", [5, 20_000])
def test_sessions_that_are_behind_are_truthful_at_any_moment_and_complete_after_a_kill(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, events_max: int
) -> None:
    """Without time for folding again each event is stored once, and `verify` is content; the next worker folds."""
    monkeypatch.setattr("lake.history.EVENTS_MAX", events_max)
    limits = msgspec.structs.replace(LIMITS, events_max=events_max)
    log = a_log(seed=11, records=200)
    rng = random.Random(11)
    for since in range(0, len(log), 50):
        with lake.writer(limits) as writer:
            held = writer.load(0, None)
            for entry in range(since, since + 50, 10):
                busy = no_time() if rng.random() < 0.8 else ALL_THE_TIME
                write(writer, held, log[entry : entry + 10], renew=rng.random() < 0.5, share=busy)
            assert verify(lake.place).findings == []
    with lake.writer(limits) as writer:
        held = writer.load(0, None)
        write(writer, held, [], idle_at_ms=log[-1].received_ms + 30 * HOUR_MS)
    assert verify(lake.place).findings == []
    kinds = [
        kind for kind in expected_kinds(log, events_max=events_max).values() if kind in ("repeat", "over_limit")
    ]
    flagged = "SELECT f, count(*) FROM (SELECT unnest(flags) AS f FROM events) WHERE f != 'after_close' "
    flagged += "GROUP BY 1 ORDER BY 1"
    assert lake.ask(flagged) == sorted(Counter(kinds).items())
    assert lake.sessions() == rows_of_facts(expected_facts(log, events_max=events_max, without=lake.left_out()))


def test_ids_made_by_a_clock_that_is_ahead_are_known_again_after_a_restart(lake: Lake) -> None:
    """A session whose id claims to be younger than anything read is looked up all the same, if it was read."""
    id = session_id(1, NOON_MS + 5_000)
    log: list[Entry] = [
        make_event("sessionStart", session_id=id, received_ms=NOON_MS),
        make_event("sessionEnd", session_id=id, ts=NOON_MS + 1, offset=1),
        make_event("play", session_id=id, ts=NOON_MS, received_ms=NOON_MS + 9_000, offset=2),
    ]
    with lake.writer() as writer:
        write(writer, writer.load(0, None), log[:2])
        write(writer, writer.load(0, None), log[2:])
    assert lake.ask("SELECT version, events FROM session_versions ORDER BY 1") == [(1, 2), (2, 3)]


def test_sessions_of_the_same_id_in_two_partitions_do_not_mix(tmp_path: Path) -> None:
    """Another producer may put one session into two partitions: each is folded from its own partition's events.

    `sessions` then has a row of each, and `verify` names it.
    """
    lake = Lake(tmp_path, partitions=2)
    with lake.writer() as writer:
        for partition in (0, 1):
            held = writer.load(partition, None)
            write(writer, held, [make_event("ping", session_id="both", ts=NOON_MS + partition)])
    assert lake.ask("SELECT log_partition, count(*) FROM events GROUP BY 1 ORDER BY 1") == [(0, 1), (1, 1)]
    assert {finding.code for finding in verify(lake.place).findings} == {
        "double",
        "session_count",
    }  # it was event-0 both times


def test_an_open_session_without_news_keeps_its_row(lake: Lake) -> None:
    """Rewriting the open sessions makes rows of those alone with news; none is lost or doubled."""
    rows = "SELECT session_id, events, as_of_offset FROM open_sessions_p000 ORDER BY 1"
    with lake.writer() as writer:
        held = writer.load(0, None)
        write(writer, held, [make_event("play", session_id=id, offset=n) for n, id in enumerate("abc")])
        write(writer, held, [make_event("ping", session_id="b", ts=NOON_MS + 1, offset=3)])
        assert lake.ask(rows) == [("a", 1, 3), ("b", 2, 4), ("c", 1, 3)]
        write(writer, held, [make_event("sessionEnd", session_id="c", ts=NOON_MS + 1, offset=4)])
        assert lake.ask(rows) == [("a", 1, 3), ("b", 2, 4)]


def test_rows_of_open_sessions_that_are_gone_stop_the_worker(lake: Lake) -> None:
    """A worker that finds rows missing stops with that reason, instead of continuing without them."""
    with lake.writer() as writer:
        held = writer.load(0, None)
        write(writer, held, [make_event("play", session_id=id, offset=n) for n, id in enumerate("ab")])
        lake.do("DELETE FROM open_sessions_p000 WHERE session_id = 'a'")
        with pytest.raises(LedgerBroken, match="open_sessions_p000 has 0 of 1 rows"):
            write(writer, held, [make_event("ping", session_id="b", ts=NOON_MS + 1, offset=2)])
    assert lake.ask("SELECT count(*) FROM events") == [(2,)]


# ---- one owner


def test_of_two_owners_of_a_partition_one_is_fenced(lake: Lake) -> None:
    """Whoever finds the ledger moved writes nothing, loads it again, and goes on from there."""
    with lake.writer() as one, lake.writer() as other:
        mine, theirs = one.load(0, None), other.load(0, None)
        write(one, mine, [make_event("sessionStart")])
        with pytest.raises(Fenced):
            write(other, theirs, [make_event("sessionStart")])
        theirs = other.load(0, theirs)
        assert theirs.ledger.next_offset == 1
        write(other, theirs, [make_event("ping", ts=NOON_MS + 1, offset=1)])
        with pytest.raises(Fenced):
            write(one, mine, [make_event("ping", ts=NOON_MS + 1, offset=1)])
    assert lake.ask("SELECT count(*), count(DISTINCT log_offset) FROM events") == [(2, 2)]


def test_two_owners_that_only_close_idle_sessions_are_told_apart(lake: Lake) -> None:
    """The offset does not move when sessions close, but the ledger row does."""
    with lake.writer() as one, lake.writer() as other:
        mine = one.load(0, None)
        write(one, mine, [make_event("sessionStart")])
        theirs = other.load(0, None)
        write(one, mine, [], idle_at_ms=NOON_MS + HOUR_MS)
        with pytest.raises(Fenced):
            write(other, theirs, [], idle_at_ms=NOON_MS + HOUR_MS)
    assert lake.ask("SELECT close_reason, version FROM session_versions") == [("idle", 1)]


def test_two_transactions_at_once_cannot_both_move_a_ledger(lake: Lake) -> None:
    """Also where both read the same row before either wrote: the second COMMIT is refused."""
    with lake.writer() as one, lake.writer() as other:
        mine, theirs = one.load(0, None), other.load(0, None)
        with one.connection() as first, other.connection() as second:
            second.execute("BEGIN")
            assert second.execute("SELECT commits FROM ledger_p000").fetchone() == (0,)
            write(one, mine, [make_event("sessionStart")])
            second.execute("DELETE FROM ledger_p000")
            second.execute(
                "INSERT INTO ledger_p000 BY NAME SELECT 0 AS log_partition, 9 AS next_offset, 1 AS commits"
            )
            with pytest.raises(duckdb.Error):
                second.execute("COMMIT")
            assert first.execute("SELECT next_offset FROM ledger_p000").fetchone() == (1,)
        assert other.load(0, theirs).ledger.next_offset == 1


def test_kept_state_is_used_again_only_while_the_ledger_fits(lake: Lake) -> None:
    """A partition that comes back at once costs nothing; one that another worker wrote is reloaded."""
    with lake.writer() as one, lake.writer() as other:
        kept = one.load(0, None)
        write(one, kept, [make_event("sessionStart")])
        assert one.load(0, kept) is kept
        write(other, other.load(0, None), [], idle_at_ms=NOON_MS + HOUR_MS)
        fresh = one.load(0, kept)
        assert fresh is not kept
        assert (fresh.ledger.next_offset, fresh.ledger.commits, fresh.sessions.open) == (1, 2, {})


@pytest.mark.parametrize(
    "breakage", ["INSERT INTO ledger_p000 SELECT * FROM ledger_p000", "DELETE FROM ledger_p000"]
)
async def test_a_ledger_of_other_than_one_row_stops_the_worker(lake: Lake, breakage: str) -> None:
    """It stops with the reason, instead of guessing."""
    await create_log(lake.settings)
    lake.do(breakage)
    with pytest.raises(LedgerBroken, match="ledger_p000 has"):
        await asyncio.wait_for(Worker(lake.settings).run(asyncio.Event()), 60)


async def test_a_worker_without_a_lake_names_the_command_that_makes_one(tmp_path: Path) -> None:
    """Only `init` makes tables."""
    settings = read_settings({"PLAYHEAD_DATA_DIR": str(tmp_path)})
    await create_log(settings)
    with pytest.raises(NotReady, match="playhead init"):
        await asyncio.wait_for(Worker(settings).run(asyncio.Event()), 60)


# ---- poison


@contextlib.asynccontextmanager
async def log_writer(lake: Lake) -> AsyncIterator[Writer]:
    """Make the log and open it for appending."""
    await create_log(lake.settings)
    writer = await open_writer(lake.settings)
    try:
        yield writer
    finally:
        await writer.close()


def holds(lake: Lake, statement: str) -> bool:
    """Return whether a statement's answer is true."""
    return lake.ask(statement) == [(True,)]


async def work_off(lake: Lake) -> None:
    """Let a worker take all that is in the log."""
    await asyncio.wait_for(Worker(lake.settings).run(asyncio.Event(), until_read=True), 200)


def now_ms() -> int:
    return int(time.time() * 1000)


async def test_every_kind_of_poison_becomes_a_row(lake: Lake) -> None:
    """Straight into the log: a bad record is quarantined with its bytes and reason, an odd one is an event."""
    bad = {record(value).value: reason for value, reason in BAD.values()}
    values = list(bad)
    for number, value in enumerate(ODD.values()):
        values.append(record(value).value.replace(b"000000000001", b"%012d" % number))
    good = record_value("good", session_id(1, now_ms()), "sessionStart", ts=now_ms(), received_ms=now_ms())
    async with log_writer(lake) as writer:
        await asyncio.gather(*(writer.append(0, key=b"k", value=value) for value in [*values, *values, good]))
    await work_off(lake)
    assert verify(lake.place).findings == []
    quarantined = lake.ask("SELECT value, reason, length(detail) > 0 FROM quarantine")
    assert len(quarantined) == 2 * len(bad)
    for value, reason, has_detail in quarantined:
        assert (reason, has_detail) == (bad[value], True)
    assert lake.ask("SELECT event_type FROM events WHERE event_id = 'good'") == [("sessionStart",)]
    # Those that people and other parts of the lake go through later on.
    assert lake.ask("SELECT count(*) FROM sessions") != [(0,)]
    assert lake.ask(
        "SELECT count(*) FROM events JOIN sessions USING (session_id) JOIN viewers USING (user_id)"
    ) == [(0,)]
    assert lake.ask("SELECT count(*) FROM sessions AS a JOIN sessions AS b USING (content_id, channel)") != [(0,)]
    assert lake.ask(
        "SELECT max(log_offset) FROM events_checked JOIN tracking_sessions USING (tracking_session_id)"
    )
    with lake.writer() as again:  # and a restart reads them all again
        assert again.load(0, None).ledger.next_offset == len(values) * 2 + 1


async def test_two_thousand_bad_records_in_a_row_stop_nothing(lake: Lake) -> None:
    """What comes after them is read as if they were none."""
    good = record_value("good", session_id(1, now_ms()), ts=now_ms(), received_ms=now_ms())
    async with log_writer(lake) as writer:
        values = [random.Random(n).randbytes(n % 300) for n in range(2_000)]
        await asyncio.gather(*(writer.append(0, key=b"", value=value) for value in [*values, good]))
    await work_off(lake)
    assert lake.ask("SELECT quarantined, inserted FROM ledger") == [(2_000, 1)]
    assert lake.ask("SELECT count(*), sum(octet_length(value)) FROM quarantine") == [
        (2_000, sum(len(value) for value in values))
    ]


async def test_a_hundred_megabytes_of_junk_pass_through_little_memory(tmp_path: Path) -> None:
    """Batches are bounded by bytes, not by records alone."""
    lake = Lake(tmp_path, lake_memory="200MB", log_queue_bytes_max=200_000_000)
    junk = random.Random(1).randbytes(1_000_000)
    async with log_writer(lake) as writer:
        await asyncio.gather(*(writer.append(0, key=b"", value=junk) for _ in range(100)))
    await work_off(lake)
    assert lake.ask("SELECT quarantined FROM ledger") == [(100,)]
    assert lake.ask("SELECT max(n) < 50 FROM (SELECT count(*) AS n FROM quarantine GROUP BY filename)") == [
        (True,)
    ]


# ---- while it runs


class Reading:
    """A reader that looks again and again whether every snapshot is consistent, until it is told to stop."""

    QUERY = """
        SELECT
            (SELECT count(*) - count(DISTINCT session_id) FROM sessions) AS sessions_twice,
            (SELECT count(*) - {partitions} FROM ledger) AS ledger_rows,
            (SELECT sum(next_offset - inserted - duplicates - quarantined - lost) FROM ledger) AS offsets_unnamed,
            (SELECT sum(next_offset) FROM ledger) - (SELECT count(DISTINCT (log_partition, log_offset)) FROM (
                SELECT log_partition, log_offset FROM events
                UNION ALL SELECT log_partition, log_offset FROM tracking_events
                UNION ALL SELECT log_partition, log_offset FROM quarantine
                UNION ALL SELECT log_partition, log_offset FROM duplicates)) AS offsets_missing,
            (SELECT count(*) FROM (
                SELECT session_id FROM sessions AS s JOIN events AS e USING (session_id)
                WHERE e.log_offset < s.as_of_offset
                GROUP BY session_id, s.events, s.repeats, s.events_after_end
                HAVING count(*) <> s.events + s.repeats + s.events_after_end)) AS sessions_miscounted
    """

    def __init__(self, lake: Lake, *, partitions: int = 1) -> None:
        self._lake, self._query = lake, self.QUERY.format(partitions=partitions)
        self.rounds = 0
        self.wrong: list[tuple[Any, ...]] = []

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await asyncio.to_thread(self._look)
            await asyncio.sleep(0.2)

    def _look(self) -> None:
        with contextlib.closing(connect(self._lake.place, read_only=True)) as connection:
            for _ in range(3):
                row = connection.execute(self._query).fetchone()
                assert row is not None
                self.rounds += 1
                if any(row):
                    self.wrong.append(row)


async def feed(writer: Writer, stop: asyncio.Event, seed: int) -> int:
    """Append sessions as they happen, some events twice, some bad; return how many records."""
    rng = random.Random(seed)
    live: list[tuple[str, int]] = []
    count = 0
    value = b""
    while not stop.is_set():
        now = now_ms()
        if not live or rng.random() < 0.1:
            live.append((session_id(rng.getrandbits(40), now), now))
            live = live[-20:]
        id, began = rng.choice(live)
        name = "sessionStart" if began == now else rng.choice(("play", "ping", "ping", "pauseStart", "sessionEnd"))
        if rng.random() < 0.05:
            value = b"?"
        elif rng.random() > 0.05 or not value:
            event_id = mint_event_id(now_ms=now, entropy=rng.randbytes)
            ts = now - rng.choice((0, 0, 0, 2_000))
            value = record_value(event_id, id, name, ts=ts, received_ms=now, playhead=float(rng.randint(0, 9)))
        await writer.append(0, key=id.encode(), value=value)
        count += 1
        await asyncio.sleep(rng.choice((0, 0, 0.01)))
    return count


async def test_kills_at_any_moment_leave_every_snapshot_and_the_end_exact(tmp_path: Path) -> None:
    """Kill -9 of the worker again and again, upkeep and readers meanwhile: nothing lost, doubled or half there."""
    lake = Lake(
        tmp_path, worker_commit_interval_s=0.1, worker_open_sessions_interval_s=0.3, worker_upkeep_interval_s=2.0
    )
    rng = random.Random(3)
    stop = asyncio.Event()
    reader = Reading(lake)
    async with log_writer(lake) as writer:
        feeding = asyncio.create_task(feed(writer, stop, seed=3))
        looking = asyncio.create_task(reader.run(stop))
        try:
            for _ in range(4):
                (before,) = lake.ask("SELECT commits FROM ledger")[0]
                commits = f"SELECT commits > {before} FROM ledger"
                with playhead(lake.settings, "worker"):
                    await until_async(partial(holds, lake, commits))
                    await asyncio.sleep(rng.uniform(0.0, 1.5))
        finally:
            stop.set()
            count = await feeding
            await looking
    await work_off(lake)
    assert reader.rounds >= 4  # at least one for each worker, however slow the machine
    assert reader.wrong == []
    verdict = verify(lake.place)
    assert verdict.findings == []
    assert verdict.partitions[0].next_offset == count
    fresh = Lake(tmp_path / "fresh")
    (tmp_path / "fresh" / "log.sqlite").symlink_to(tmp_path / "log.sqlite")
    await work_off(fresh)
    same = "SELECT log_offset, event_id, flags FROM events ORDER BY 1"
    assert lake.ask(same) == fresh.ask(same)
    assert lake.sessions() == fresh.sessions()


async def test_an_event_is_readable_within_two_seconds(lake: Lake) -> None:
    """At light load, by SQL from another process, from the moment that the append returned."""
    rng = random.Random(4)
    appended_s: dict[str, float] = {}
    waits_s: dict[str, float] = {}
    async with log_writer(lake) as writer:
        with playhead(lake.settings, "worker"), contextlib.closing(connect(lake.place, read_only=True)) as sql:

            async def append(events: int) -> None:
                for _ in range(events):
                    name, now = f"event {len(appended_s)}", now_ms()
                    value = record_value(name, session_id(now, now), "sessionStart", ts=now, received_ms=now)
                    await writer.append(0, key=b"", value=value)
                    appended_s[name] = time.monotonic()
                    await asyncio.sleep(rng.uniform(0.0, 0.4))

            def all_are_read() -> bool:
                wanted = dict(appended_s)
                found = {name for (name,) in sql.execute("SELECT event_id FROM events").fetchall()}
                now_s = time.monotonic()
                waits_s.update({name: now_s - wanted[name] for name in wanted.keys() & found - waits_s.keys()})
                return waits_s.keys() == wanted.keys()

            await append(1)
            await until_async(all_are_read)  # the worker has started
            appending = asyncio.create_task(append(30))
            while not appending.done():
                await asyncio.to_thread(all_are_read)
                await asyncio.sleep(0.05)  # who asks without a pause takes a core from the worker
            await until_async(all_are_read)
    del waits_s["event 0"]  # waited for the worker
    waits = sorted(waits_s.values())
    print(f"readable after {waits[len(waits) // 2]:.2f} s (median), {waits[-1]:.2f} s (longest of {len(waits)})")
    assert waits[int(len(waits) * 0.9)] < 2.0  # other tests use the same cores


async def test_a_partition_that_is_added_is_read_at_once(tmp_path: Path) -> None:
    """The log grows first, then the lake: the worker waits for its tables, and goes on with the others."""
    lake = Lake(tmp_path)
    async with log_writer(lake) as writer:
        with playhead(lake.settings, "worker") as worker:
            await writer.append(0, key=b"", value=b"?")
            await until_async(lambda: lake.ask("SELECT next_offset FROM ledger") == [(1,)])
            await add_partitions(lake.settings, partitions=2)
            stderr = tmp_path / "worker.stderr"
            await until_async(lambda: "no tables for partition 1" in stderr.read_text())
            await asyncio.to_thread(initialize, lake.place, partitions=2)
            other = await open_writer(lake.settings)
            await other.append(1, key=b"", value=b"?")
            await other.append(0, key=b"", value=b"?")
            await other.close()
            ledgers = "SELECT log_partition, next_offset FROM ledger ORDER BY 1"
            await until_async(lambda: lake.ask(ledgers) == [(0, 2), (1, 1)])
            assert worker.is_alive()
            worker.send(signal.SIGTERM)
            assert await asyncio.to_thread(worker.wait, 10) == 0


async def test_a_lake_that_refuses_for_a_while_costs_time_and_nothing_else(tmp_path: Path) -> None:
    """While the catalogue is locked nothing is written; then all is, though more came meanwhile."""
    lake = Lake(tmp_path, worker_commit_interval_s=0.05)
    stop = asyncio.Event()
    async with log_writer(lake) as writer:
        with playhead(lake.settings, "worker") as worker:
            feeding = asyncio.create_task(feed(writer, stop, seed=9))
            await until_async(lambda: lake.ask("SELECT next_offset > 50 FROM ledger") == [(True,)])
            with lake.locked():
                stderr = tmp_path / "worker.stderr"
                await until_async(lambda: "lake refused" in stderr.read_text())
            stop.set()
            count = await feeding
            read = f"SELECT next_offset = {count} FROM ledger"
            await until_async(lambda: lake.ask(read) == [(True,)])
            assert worker.is_alive()
    assert verify(lake.place).findings == []


def test_files_of_a_day_that_nobody_had_are_synced_with_their_folders(lake: Lake, tmp_path: Path) -> None:
    """What a commit names survives a power cut: files, and the folders that were made for them."""
    synced: set[str] = set()
    trace = os.fsync

    def note(descriptor: int) -> None:
        synced.add(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        trace(descriptor)

    with pytest.MonkeyPatch.context() as patch, lake.writer() as writer:
        held = writer.load(0, None)
        folder = Path(lake.place.files) / "main" / "events"
        before = set(folder.rglob("*"))
        patch.setattr(os, "fsync", note)
        write(writer, held, [make_event("sessionStart"), make_bad(offset=1)])
    made = set(folder.rglob("*")) - before
    assert [path.suffix for path in sorted(made)] == ["", "", "", ".parquet"], "year, month, day and a file"
    assert {str(path) for path in made} <= synced
