"""Wrong clocks of an ingest, of a worker, of the log: no event is lost, and no session closed, by any of them."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import time_machine
from rigs.brokers import Broker
from rigs.ingest import Ingest, session_start
from rigs.lake import Lake, record_value, write_values
from rigs.logs import KafkaRig, Ledger, read_records, reading, writing
from rigs.session_model import NOON_MS, session_id
from rigs.waiting import until, until_async
from rigs.working import working
from structlog.testing import capture_logs

from consumers.log_clock import CLOCK_BACK_MS, LogClock
from consumers.worker import Worker
from eventlog import Chunk, Receipt, Record
from eventlog.adapters import create_log
from ingest.clock import WARN_EVERY_S, WINDOW_S, ClockSkew
from lake.verify import verify

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
EVENTS = 600  # more than a partition may have bad records


def chunk(first: int, *appended_ms: int, end: int | None = None, partition: int = 0) -> Chunk:
    """Make what was read of a partition: records of these times; it ends with them unless told otherwise."""
    records = [Record(partition, first + n, b"", b"", at) for n, at in enumerate(appended_ms)]
    return Chunk(partition, records, first + len(records) if end is None else end)


def test_a_log_of_which_nothing_was_read_has_no_time() -> None:
    """Then no session is closed by time."""
    assert LogClock().now_ms(monotonic_ms=7) is None


def test_the_logs_time_goes_on_from_its_newest_record() -> None:
    """By the monotonic clock, whatever the worker's own clock says."""
    clock = LogClock()
    clock.hear(chunk(0, NOON_MS), monotonic_ms=1_000)
    assert clock.now_ms(monotonic_ms=61_000) == NOON_MS + 60_000


def test_records_of_a_backlog_do_not_put_the_logs_time_back() -> None:
    """A record of yesterday says that it is yesterday or later."""
    clock = LogClock()
    clock.hear(chunk(0, NOON_MS), monotonic_ms=1_000)
    clock.hear(chunk(0, NOON_MS - DAY_MS, end=9, partition=1), monotonic_ms=2_000)
    clock.hear(chunk(1, NOON_MS - HOUR_MS, partition=1), monotonic_ms=3_000)
    assert clock.now_ms(monotonic_ms=3_000) == NOON_MS + 2_000


def test_a_log_whose_clock_was_put_back_is_followed() -> None:
    """What is read after all the rest was appended a moment ago."""
    clock = LogClock()
    clock.hear(chunk(0, NOON_MS + DAY_MS), monotonic_ms=1_000)
    clock.hear(chunk(1, NOON_MS), monotonic_ms=2_000)
    assert clock.now_ms(monotonic_ms=2_000) == NOON_MS


def test_a_worker_that_was_slow_to_read_does_not_put_the_logs_time_back() -> None:
    """A few minutes late is no clock that was put back."""
    clock = LogClock()
    clock.hear(chunk(0, NOON_MS), monotonic_ms=0)
    clock.hear(chunk(1, NOON_MS + 1), monotonic_ms=CLOCK_BACK_MS)
    assert clock.now_ms(monotonic_ms=CLOCK_BACK_MS) == NOON_MS + CLOCK_BACK_MS


def test_after_a_partition_was_another_workers_its_records_may_be_old() -> None:
    """Nothing is known of when they were appended."""
    clock = LogClock()
    clock.hear(chunk(0, NOON_MS), monotonic_ms=0)
    clock.forget(0)
    clock.hear(chunk(1, NOON_MS - DAY_MS), monotonic_ms=1)
    assert clock.now_ms(monotonic_ms=1) == NOON_MS + 1


@pytest.mark.parametrize("ahead_s", [7_200.0, -900.0, 3.0, 0.5])
def test_the_skew_is_as_exact_as_the_quickest_answer(ahead_s: float) -> None:
    """Of the answers of some seconds the quickest counts, also where a slow one comes after it."""
    now_s = 1_000_000.0
    skew = ClockSkew(lambda: now_s + ahead_s)
    for took_s in (2.0, 0.002, 4.0):
        took_by_log_s = now_s - took_s / 2
        skew.compare(Receipt(0, int(took_by_log_s * 1000)), began_s=1.0, took_s=took_s)
    assert skew.skew_s == pytest.approx(ahead_s, abs=0.01)


def test_clocks_that_may_be_equal_have_no_skew() -> None:
    """The log's time lies between question and answer: nothing says that they differ."""
    skew = ClockSkew(lambda: 1_000.0)
    skew.compare(Receipt(0, 999_600), began_s=1.0, took_s=1.0)
    assert skew.skew_s == 0.0


def test_a_log_without_a_clock_of_its_own_has_no_skew() -> None:
    """The gauge is absent, rather than 0."""
    skew = ClockSkew(lambda: 1_000.0)
    skew.compare(Receipt(0), began_s=1.0, took_s=0.1)
    assert skew.skew_s is None


def test_a_skew_of_two_seconds_is_logged_once_a_minute() -> None:
    """And a smaller one not at all; one that is gone is no longer shown."""
    ahead_s = 1.9
    skew = ClockSkew(lambda: 1_000.0 + ahead_s)
    with capture_logs() as logs:
        for _ in range(2):
            for at_s in range(0, int(WARN_EVERY_S), int(WINDOW_S)):
                skew.compare(Receipt(0, 1_000_000), began_s=at_s + ahead_s * 1_000, took_s=0.01)
            ahead_s = 2.1
        assert [entry["event"] for entry in logs] == ["clock differs from log"]
        ahead_s = 0.0
        skew.compare(Receipt(0, 1_000_000), began_s=10_000.0, took_s=0.01)
    assert skew.skew_s == 0.0


@pytest.fixture(params=[7_200.0, -7_200.0, 86_400.0 * 400])
def wrong_ingest(
    request: pytest.FixtureRequest, tmp_path: Path, kafka: Broker
) -> Iterator[tuple[Ingest, KafkaRig]]:
    """An ingest on Kafka whose clock is wrong, and its topic of one partition."""
    rig = KafkaRig(kafka)
    ingest = Ingest(
        tmp_path / "wrong",
        clock_ahead_s=request.param,
        log="kafka",
        log_partitions=1,
        kafka_bootstrap_servers=kafka.bootstrap_servers,
        kafka_topic=rig.topic,
    )
    yield ingest, rig
    ingest.stop()


async def test_what_an_ingest_with_a_wrong_clock_took_is_in_the_lake(
    wrong_ingest: tuple[Ingest, KafkaRig], tmp_path: Path
) -> None:
    """As events, among those of an honest ingest: no partition pauses, no session closes, nobody is late."""
    wrong, rig = wrong_ingest
    settings = rig.settings(log_partitions=1)
    honest = session_id(1, now_ms())
    before = record_value("before", honest, "sessionStart", ts=now_ms(), received_ms=now_ms())
    async with writing(settings) as writer:
        await writer.append(0, key=b"", value=before)
        paths = [await asyncio.to_thread(wrong.start, session_start()) for _ in range(EVENTS)]
        refused = await asyncio.to_thread(wrong.post, "/api/v1/sessions", {"eventType": "nothing"})
        tracked = await asyncio.to_thread(
            wrong.post, "/v1/playouts/tracking/session", b"", headers={"X-API-Key": "string"}
        )
        assert (refused.status_code, tracked.status_code) == (400, 200)
        after = record_value("after", honest, ts=now_ms(), received_ms=now_ms(), playhead=1.0)
        await asyncio.to_thread(until, lambda: wrong.count("playhead_ingest_rejected_kept_total") == 1)
        await writer.append(0, key=b"", value=after)
    assert wrong.client.get("/health/ready").status_code == 200
    assert "clock differs from log" in wrong.output
    assert wrong.count("playhead_ingest_clock_skew_seconds") == pytest.approx(wrong.clock_ahead_s, abs=2)
    lake = Lake(tmp_path / "lake", **rig.settings().model_dump(exclude_unset=True))
    await work_off(lake)
    assert verify(lake.place).findings == []
    assert lake.ask("SELECT count(*) FROM events WHERE list_contains(flags, 'ingest_clock')") == [(len(paths),)]
    assert lake.ask("SELECT count(*) FROM events WHERE event_id IN ('before', 'after') AND len(flags) = 0") == [
        (2,)
    ]
    assert lake.ask("SELECT source, reason FROM quarantine") == [("ingest", "invalid_event")]
    assert lake.ask("SELECT count(*) FROM tracking_events") == [(1,)]
    assert lake.ask("SELECT count(*) FROM events WHERE abs(epoch(now() - received_at)) > 120") == [(0,)]
    assert lake.ask("SELECT count(*) FROM session_versions") == [(0,)]


def now_ms() -> int:
    return int(time.time() * 1000)


async def work_off(lake: Lake) -> None:
    """Let a worker put all that is in the log into the lake."""
    await asyncio.wait_for(Worker(lake.settings).run(asyncio.Event(), until_read=True), 120)


async def test_an_acknowledgement_of_kafka_carries_the_brokers_time(kafka: Broker) -> None:
    """The same that the record is read with, to the millisecond."""
    rig = KafkaRig(kafka)
    await rig.make(log_partitions=1)
    async with writing(rig.settings()) as writer, reading(rig.settings(), Ledger()) as reader:
        appended = await writer.append(0, key=b"", value=b"x")
        [record] = await read_records(reader, 1)
    assert appended.appended_ms == record.appended_ms


async def test_a_worker_whose_clock_is_a_day_ahead_closes_nothing(tmp_path: Path, kafka: Broker) -> None:
    """Sessions of an idle partition stay open as long as by the log's clock."""
    rig = KafkaRig(kafka)
    settings = rig.settings(log_partitions=1)
    await create_log(settings)
    value = record_value("one", session_id(1, now_ms()), "sessionStart", ts=now_ms(), received_ms=now_ms())
    async with writing(settings) as writer:
        await writer.append(0, key=b"", value=value)
    lake = Lake(tmp_path / "lake", **rig.settings(session_idle_s=3).model_dump(exclude_unset=True))
    with time_machine.travel(time.time() + DAY_MS / 1000, tick=True):
        began_s = time.monotonic()
        async with working(lake.settings):
            await until_async(lambda: lake.ask("SELECT 1 FROM session_versions"), "it does not close")
            assert time.monotonic() > began_s + 2  # by the time that passed, not by the clock
    assert lake.ask("SELECT close_reason FROM session_versions") == [("idle",)]


def test_a_server_a_day_ahead_that_is_put_right_closes_no_session_at_each_event(tmp_path: Path) -> None:
    """On a real lake, across restarts: a session that is watched all along has no version at all."""
    lake = Lake(tmp_path)
    session = session_id(1, NOON_MS + DAY_MS)
    for first in (0, 9, 18):
        with lake.writer() as writer:
            held = writer.load(0, None)
            for number in range(first, first + 9):
                at_ms = NOON_MS + number * 10_000 + (DAY_MS if number < 5 else 0)
                value = record_value(str(number), session, ts=at_ms, received_ms=at_ms, playhead=float(number))
                write_values(writer, held, [value], appended_ms=at_ms)
    assert lake.ask("SELECT count(*) FROM session_versions") == [(0,)]
    assert lake.ask("SELECT events FROM sessions") == [(27,)]
    assert verify(lake.place).findings == []
