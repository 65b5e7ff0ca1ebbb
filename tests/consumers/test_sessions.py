"""Sessions of a partition: any order, any batches, any repetition, any restart give the same sessions."""

import dataclasses
import time
from collections.abc import Collection, Generator, Mapping, Sequence

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
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

from consumers.closing import Limits
from consumers.decode import arrival as arrival_of
from consumers.decode import reflagged
from consumers.known_ids import KnownIds
from consumers.log_clock import CLOCK_BACK_MS
from consumers.open_session import BUFFERED
from consumers.partition import PartitionSessions
from consumers.share import Share
from lake.changes import History, YoungIds
from sessions.event import Event

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
TYPES = ("sessionStart", "play", "pauseStart", "ping", "ping", "bufferStart", "sessionComplete", "sessionEnd")


@dataclasses.dataclass(frozen=True)
class Arrival:
    """One record: its session, what it says, how it lies in time against the last; or an earlier one again."""

    session: int
    type_name: str
    pause_ms: int
    ts_ms: int
    skew_ms: int
    log_step_ms: int
    playhead_s: float
    consent: str | None
    again: int
    how: str


@dataclasses.dataclass(frozen=True)
class Cut:
    """Where a batch ends, and what happens then."""

    records: int
    then: str
    is_busy: bool = False  # no time is left for folding again


ARRIVALS = st.lists(
    st.builds(
        Arrival,
        session=st.integers(0, 5),
        type_name=st.sampled_from(TYPES),
        pause_ms=st.sampled_from((0, 0, 200, 1_000, 10_000, 11 * MINUTE_MS, 31 * MINUTE_MS)),
        ts_ms=st.sampled_from((0, 0, 0, -200, -3_000, -20 * MINUTE_MS, 1_000, 2 * DAY_MS)),
        skew_ms=st.sampled_from(
            (0, 0, 0, -3_000, 3_000, -15 * MINUTE_MS, -2 * HOUR_MS, 2 * HOUR_MS, 3 * DAY_MS, -20_000 * DAY_MS)
        ),
        log_step_ms=st.sampled_from((0,) * 9 + (DAY_MS, -DAY_MS, -20 * MINUTE_MS)),
        playhead_s=st.sampled_from((0.0, 0.0, 1.0, 10.0)),
        consent=st.sampled_from((None, None, None, None, "given", "denied")),
        again=st.integers(1, 12),
        how=st.sampled_from(("new",) * 8 + ("record twice", "said twice", "said twice later", "bad", "tracking")),
    ),
    max_size=50,
)
CUTS = st.lists(
    st.builds(
        Cut,
        records=st.sampled_from((0, 1, 1, 2, 3, 8, 20)),
        then=st.sampled_from(("commit", "commit", "renew", "crash", "restart", "idle", "restart idle")),
        is_busy=st.booleans(),
    ),
    max_size=30,
)


def log_of(arrivals: Sequence[Arrival]) -> list[Entry]:
    """Lay the arrivals into a log. Session ids: three with a time (of skewed clocks), one derived, two foreign."""
    log: list[Entry] = []
    now, log_ahead_ms = NOON_MS, 0
    ids = {3: session_id(3, 0), 4: "some other producer's", 5: "f" * 64}
    for offset, arrival in enumerate(arrivals):
        now += arrival.pause_ms
        log_ahead_ms += arrival.log_step_ms
        stamped = now + arrival.skew_ms
        received, is_clock_wrong = arrival_of(stamped, appended_ms=now + log_ahead_ms)
        earlier = log[-min(arrival.again, len(log))] if log else None
        if arrival.how == "bad":
            log.append(make_bad(offset=offset, received_ms=received))
        elif arrival.how == "record twice" and earlier is not None:
            log.append(msgspec.structs.replace(earlier, offset=offset))
        elif arrival.how.startswith("said twice") and isinstance(earlier, Event):
            is_later = arrival.how == "said twice later"
            received = received if is_later else earlier.received_ms
            is_future = "future_ts" in earlier.flags
            log.append(
                msgspec.structs.replace(
                    earlier,
                    offset=offset,
                    event_id=f"event-{offset}",
                    received_ms=received,
                    order_ms=received if is_future else earlier.client_ms,
                )
            )
        elif arrival.how == "tracking":
            log.append(make_tracking(offset=offset, received_ms=received))
        else:
            # The ingest that made the id may have another clock than the one that stamps this arrival.
            born = ids.setdefault(arrival.session, session_id(arrival.session, max(stamped, 0)))
            ts = now + arrival.ts_ms
            flags: tuple[str, ...] = ("future_ts",) if ts - stamped > DAY_MS else ()
            if is_clock_wrong:
                flags = reflagged(flags, ahead_ms=ts - received)
            log.append(
                make_event(
                    arrival.type_name,
                    session_id=born,
                    ts=ts,
                    offset=offset,
                    received_ms=received,
                    playhead_s=arrival.playhead_s,
                    consent=arrival.consent,
                    flags=flags,
                )
            )
    return log


def play(log: Sequence[Entry], cuts: Sequence[Cut], limits: Limits = LIMITS) -> ModelLake:
    """Let a worker read the log in these batches, with these mishaps, to the end and until all sessions closed."""
    lake = ModelLake()
    sessions = lake.start(limits)
    for cut in [*cuts, Cut(len(log), "commit"), Cut(len(log), "commit")]:
        batch = log[sessions.next_offset : sessions.next_offset + cut.records]
        is_at_end = sessions.next_offset + len(batch) == len(log)
        idle_until_ms = sessions.watermark_ms + 20 * MINUTE_MS if "idle" in cut.then and is_at_end else None
        share = no_time() if cut.is_busy else ALL_THE_TIME
        renew_open = cut.then == "renew"
        changes = lake.take(sessions, batch, renew_open=renew_open, idle_until_ms=idle_until_ms, share=share)
        if cut.then != "crash":
            lake.commit(changes)
        if cut.then in ("crash", "restart", "restart idle"):
            sessions = lake.start(limits)
    lake.commit(lake.take(sessions, [], idle_until_ms=sessions.watermark_ms + 10 * DAY_MS, renew_open=True))
    assert not sessions.open
    return lake


def lacking(lake: ModelLake) -> list[Event]:
    """Return the events that are not in the row of their session, although they may change it."""
    newest = lake.newest()
    return [
        event
        for event in lake.events
        if event.offset >= newest[event.session_id].as_of_offset and "after_close" not in event.flags
    ]


def simple(type_name: str = "ping", **fields: object) -> Arrival:
    """Make an arrival in session 0, a second after the one before."""
    usual = {
        "pause_ms": 1_000,
        "ts_ms": 0,
        "skew_ms": 0,
        "log_step_ms": 0,
        "playhead_s": 1.0,
        "consent": None,
        "again": 1,
        "how": "new",
    }
    return Arrival(**{"session": 0, "type_name": type_name, **usual, **fields})  # type: ignore[arg-type]


FAR_AHEAD = simple("ping", ts_ms=2 * DAY_MS)
ONE_BY_ONE = [Cut(1, "commit")] * 20
RESTART = Cut(2, "restart")
EVENTS_MAX = st.sampled_from((1, 3, 7, 99))


def folding(events_max: int) -> Limits:
    """Return the limits with another number of events that a session folds."""
    return msgspec.structs.replace(LIMITS, events_max=events_max)


@given(ARRIVALS, CUTS, EVENTS_MAX)
@example(
    [FAR_AHEAD, *[simple()] * (BUFFERED + 1), simple(how="said twice later", again=BUFFERED + 2)], ONE_BY_ONE, 99
)
@example([simple("sessionStart", skew_ms=-3_000), simple("sessionEnd", pause_ms=0), simple()], [RESTART], 99)
@example([simple()] * (BUFFERED + 1) + [simple(how="record twice", again=BUFFERED + 1)], ONE_BY_ONE, 99)
@example([simple()] * (BUFFERED + 1) + [simple(how="said twice", again=BUFFERED + 1)], ONE_BY_ONE, 99)
@settings(max_examples=600, deadline=None)
def test_any_batches_repetitions_and_restarts_give_the_sessions_of_a_single_fold(
    arrivals: list[Arrival], cuts: list[Cut], events_max: int
) -> None:
    """Whatever batches, repetitions and restarts, with time or without: each session is the fold of its events."""
    log = log_of(arrivals)
    lake = play(log, cuts, folding(events_max))
    for session, row in lake.newest().items():
        expected = expected_facts(log[: row.as_of_offset], events_max=events_max, without=lake.uncounted())
        assert row.facts == expected[session]
    assert lacking(lake) == []


@given(ARRIVALS, CUTS, EVENTS_MAX)
@example(
    [FAR_AHEAD, *[simple()] * (BUFFERED + 1), simple(how="said twice later", again=BUFFERED + 2)], ONE_BY_ONE, 99
)
@settings(max_examples=400, deadline=None)
def test_every_record_is_exactly_one_of_event_tracking_bad_and_duplicate(
    arrivals: list[Arrival], cuts: list[Cut], events_max: int
) -> None:
    """Each offset has one row in one table; flags name what repeats an event, and what is over the limit."""
    log = log_of(arrivals)
    lake = play(log, cuts, folding(events_max))
    kinds = ("repeat", "over_limit")
    found = [
        (event.offset, next((kind for kind in kinds if kind in event.flags), "event")) for event in lake.events
    ]
    found += [(entry.offset, "tracking") for entry in lake.tracking]
    found += [(entry.offset, "bad") for entry in lake.bad]
    found += [(offset, "duplicate") for offset, _, _ in lake.duplicates]
    assert sorted(found) == sorted(expected_kinds(log, events_max=events_max).items())


@given(ARRIVALS, CUTS)
@settings(max_examples=200, deadline=None)
def test_versions_of_a_session_count_up_and_the_open_row_is_never_older(
    arrivals: list[Arrival], cuts: list[Cut]
) -> None:
    """Versions are 1, 2, 3... without a double, each closed later than the one before, late events only added."""
    lake = play(log_of(arrivals), cuts)
    rows: dict[str, list[tuple[int, int, int]]] = {}
    for row in lake.versions:
        rows.setdefault(row.facts.session_id, []).append((row.version, row.as_of_offset, row.late_events))
    for versions in rows.values():
        assert [version for version, _, _ in versions] == list(range(1, len(versions) + 1))
        assert versions == sorted(versions)
        assert all(late == 0 for version, _, late in versions if version == 1)


@given(ARRIVALS, st.randoms(use_true_random=False), CUTS)
@settings(max_examples=150, deadline=None)
def test_the_order_of_arrival_does_not_matter(arrivals: list[Arrival], random: object, cuts: list[Cut]) -> None:
    """The same events in another order in the log, each with the arrival it had, give the same sessions.

    But for what arrives when its session is over: whether it was depends on what had been read by then.
    """
    log = [entry for entry in log_of(arrivals) if isinstance(entry, Event) and "future_ts" not in entry.flags]
    once = {(entry.session_id, entry.client_ms, entry.type.rank): entry for entry in log}  # no ties
    ordered = list(once.values())
    shuffled = ordered.copy()
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    logs = [
        [msgspec.structs.replace(entry, offset=offset) for offset, entry in enumerate(events)]
        for events in (ordered, shuffled)
    ]
    lakes = [play(log, cuts) for log in logs]
    passed = {event.session_id for lake in lakes for event in lake.events if "after_close" in event.flags}
    first, second = ({id: row.facts for id, row in lake.newest().items() if id not in passed} for lake in lakes)
    assert first == second


@given(ARRIVALS, CUTS, EVENTS_MAX)
@settings(max_examples=200, deadline=None)
def test_a_row_is_at_any_time_the_fold_of_the_events_before_its_offset(
    arrivals: list[Arrival], cuts: list[Cut], events_max: int
) -> None:
    """Whether its session is behind or not; and where there is time for all, no session is behind."""
    log = log_of(arrivals)
    lake = ModelLake()
    sessions = lake.start(folding(events_max))
    for cut in cuts:
        batch = log[sessions.next_offset : sessions.next_offset + cut.records]
        lake.commit(lake.take(sessions, batch, renew_open=True, share=no_time() if cut.is_busy else ALL_THE_TIME))
        newest = lake.newest()
        for session, row in newest.items():
            expected = expected_facts(log[: row.as_of_offset], events_max=events_max, without=lake.uncounted())
            assert row.facts == expected[session]
        if not cut.is_busy:
            assert lacking(lake) == []


@given(ARRIVALS, CUTS)
@settings(max_examples=200, deadline=None)
def test_batches_and_restarts_decide_nothing_about_what_is_passed_over(
    arrivals: list[Arrival], cuts: list[Cut]
) -> None:
    """With time for folding again, each event has the same flags as where the log is read one by one."""
    log = log_of(arrivals)
    timely = [Cut(cut.records, cut.then) for cut in cuts]
    one_by_one = play(log, [Cut(1, "commit")] * len(log))
    cut_up = play(log, timely)
    assert {event.offset: event.flags for event in cut_up.events} == {
        event.offset: event.flags for event in one_by_one.events
    }
    assert {id: row.facts for id, row in cut_up.newest().items()} == {
        id: row.facts for id, row in one_by_one.newest().items()
    }


def closed_by(lake: ModelLake, events: Sequence[Event], *, at_ms: int) -> list[tuple[str | None, int]]:
    """Let time pass to `at_ms` after these events; return reason and version of each closing."""
    sessions = lake.start()
    lake.commit(lake.take(sessions, events, idle_until_ms=at_ms))
    return [(row.close_reason, row.version) for row in lake.versions]


def test_a_session_closes_with_its_end_at_once() -> None:
    """SessionEnd closes the session in the transaction that stores it."""
    events = [make_event("sessionStart"), make_event("sessionEnd", ts=NOON_MS + 1, offset=1)]
    assert closed_by(ModelLake(), events, at_ms=NOON_MS) == [("ended", 1)]


@pytest.mark.parametrize(("after_ms", "closings"), [(600_000, []), (600_001, [("idle", 1)])])
def test_a_session_closes_when_ten_minutes_passed_without_an_event(
    after_ms: int, closings: list[tuple[str, int]]
) -> None:
    """At ten minutes to the millisecond it is still open."""
    assert closed_by(ModelLake(), [make_event("sessionStart")], at_ms=NOON_MS + after_ms) == closings


@pytest.mark.parametrize(("after_ms", "closings"), [(0, []), (1, [("stuck", 1)])])
def test_a_session_whose_playhead_stands_for_half_an_hour_closes(
    after_ms: int, closings: list[tuple[str, int]]
) -> None:
    """Pings that do not move the playhead keep a session open for 30 minutes and no longer."""
    pings = [make_event("ping", ts=NOON_MS + n * 5 * MINUTE_MS, offset=n, playhead_s=7.0) for n in range(7)]
    assert closed_by(ModelLake(), pings, at_ms=NOON_MS + 30 * MINUTE_MS + after_ms) == closings


def test_a_session_closes_a_day_after_its_start_even_while_it_moves() -> None:
    """No session is longer than 24 hours."""
    pings = [
        make_event("ping", ts=NOON_MS + n * 5 * MINUTE_MS, offset=n, playhead_s=float(n))
        for n in range(DAY_MS // (5 * MINUTE_MS) + 1)
    ]
    assert closed_by(ModelLake(), pings, at_ms=NOON_MS + DAY_MS) == []
    assert closed_by(ModelLake(), pings, at_ms=NOON_MS + DAY_MS + 1) == [("too_long", 1)]


def test_another_sessions_events_let_time_pass() -> None:
    """What others received is the clock: no wall clock is needed where records come."""
    lake = ModelLake()
    sessions = lake.start()
    other = make_event(
        "ping", ts=NOON_MS + 11 * MINUTE_MS, offset=1, session_id=session_id(1, NOON_MS + 11 * MINUTE_MS)
    )
    changes = lake.take(sessions, [make_event("sessionStart"), other])
    assert [(row.facts.session_id, row.close_reason) for row in changes.closed] == [
        (session_id(0, NOON_MS), "idle")
    ]


@given(ARRIVALS, CUTS)
@example([simple(), simple(log_step_ms=DAY_MS), simple(log_step_ms=-DAY_MS), simple()], ONE_BY_ONE)
@settings(max_examples=200, deadline=None)
def test_the_time_of_a_partition_follows_from_its_records_alone(arrivals: list[Arrival], cuts: list[Cut]) -> None:
    """Whatever the clocks, the batches and the restarts: it is the newest arrival's, or where a clock was put."""
    log = log_of(arrivals)
    time_ms = 0
    for entry in log:
        is_put_back = entry.received_ms < time_ms - CLOCK_BACK_MS
        time_ms = entry.received_ms if is_put_back else max(time_ms, entry.received_ms)
    assert play(log, cuts).time_ms == time_ms


def watched_across_a_clock(step_ms: int, *, restart_at: int = -1) -> ModelLake:
    """Watch 27 sessions at once, an event each ten seconds; before the sixth round the log's clock is put back."""
    lake = ModelLake()
    sessions = lake.start()
    for number in range(27 * 20):
        viewer, turn = number % 27, number // 27
        now = NOON_MS + turn * 10_000 + viewer
        event = make_event(
            "ping",
            ts=now,
            offset=number,
            session_id=session_id(viewer, NOON_MS + viewer),
            received_ms=now + (step_ms if turn < 5 else 0),
            playhead_s=float(turn),
        )
        if turn == restart_at:
            sessions = lake.start()
        lake.commit(lake.take(sessions, [event], renew_open=True))
    return lake


@pytest.mark.parametrize("step_ms", [DAY_MS, 20 * MINUTE_MS, 365 * DAY_MS])
@pytest.mark.parametrize("restart_at", [-1, 5, 6])
def test_no_session_closes_while_it_is_watched_when_the_logs_clock_is_put_back(
    step_ms: int, restart_at: int
) -> None:
    """A clock that was ahead and is put right closes nothing, at no event and after no restart."""
    lake = watched_across_a_clock(step_ms, restart_at=restart_at)
    assert not lake.versions
    assert len(lake.open) == 27


def test_a_session_that_goes_on_after_the_logs_clock_was_put_back_closes_in_time() -> None:
    """Ten minutes after its last event, not a day later; one that did not go on closes when its time comes."""
    lake = ModelLake()
    sessions = lake.start()
    ahead = [
        make_event("ping", ts=NOON_MS, received_ms=NOON_MS + DAY_MS, offset=n, session_id=str(n)) for n in (0, 1)
    ]
    more = make_event("ping", ts=NOON_MS + 1_000, offset=2, session_id="0")
    lake.commit(lake.take(sessions, [*ahead, more]))
    lake.commit(lake.take(sessions, [], idle_until_ms=NOON_MS + 12 * MINUTE_MS))
    assert [row.facts.session_id for row in lake.versions] == ["0"]
    lake.commit(lake.take(sessions, [], idle_until_ms=NOON_MS + DAY_MS + 11 * MINUTE_MS))
    assert [row.facts.session_id for row in lake.versions] == ["0", "1"]


def test_an_idle_partition_whose_time_went_ahead_with_the_log_comes_back_with_it() -> None:
    """No record was read while the log's clock was ahead; the first one afterwards shows it all the same."""
    lake = ModelLake()
    sessions = lake.start()
    lake.commit(lake.take(sessions, [make_event("ping")], idle_until_ms=NOON_MS + DAY_MS))
    for n in range(1, 20):
        event = make_event("ping", ts=NOON_MS + n * 1_000, offset=n, session_id=session_id(n, NOON_MS + n * 1_000))
        lake.commit(lake.take(sessions, [event]))
    assert len(lake.versions) == 1


def test_a_late_event_reopens_a_session_as_its_next_version() -> None:
    """The session is folded again from all its events, and says how many came late, also after a restart."""
    lake = ModelLake()
    sessions = lake.start()
    start, end = make_event("sessionStart"), make_event("sessionEnd", ts=NOON_MS + 60_000, offset=1)
    late = make_event("play", ts=NOON_MS + 1_000, offset=2, received_ms=NOON_MS + HOUR_MS)
    lake.commit(lake.take(sessions, [start, end]))
    lake.commit(lake.take(sessions, [late]))
    newest = lake.newest()[start.session_id]
    assert (newest.version, newest.late_events, newest.facts.events) == (2, 1, 3)
    assert newest.facts == fold_of(start, late, end)


def fold_of(*events: Event) -> object:
    return expected_facts(sorted(events, key=lambda event: event.offset))[events[0].session_id]


def test_a_reopened_session_is_provisional_until_it_closes_again() -> None:
    """After an idle closing, the next event opens version 2; a restart changes neither it nor its late events."""
    lake = ModelLake()
    sessions = lake.start()
    lake.commit(lake.take(sessions, [make_event("sessionStart")], idle_until_ms=NOON_MS + HOUR_MS))
    assert [row.close_reason for row in lake.versions] == ["idle"]
    event = make_event("play", ts=NOON_MS + HOUR_MS, offset=1, playhead_s=1.0)
    lake.commit(lake.take(sessions, [event], renew_open=True))
    assert [(row.version, row.late_events, row.close_reason) for row in lake.open] == [(2, 1, None)]
    again = lake.start().take_open_rows()
    assert [(row.version, row.late_events, row.facts) for row in again.fresh] == [
        (row.version, row.late_events, row.facts) for row in lake.open
    ]


def test_sessions_that_are_certainly_new_are_not_looked_up() -> None:
    """The usual start of a session, and the usual next event, cost no question to the lake."""
    lake = ModelLake()
    sessions = lake.start()
    lake.look_ups = 0
    for n in range(100):
        now = NOON_MS + n * 1_000
        start = make_event("sessionStart", ts=now, offset=2 * n, session_id=session_id(n, now))
        more = make_event("ping", ts=now + 1, offset=2 * n + 1, session_id=session_id(n, now))
        lake.commit(lake.take(sessions, [start, more]))
    assert lake.look_ups == 0


def test_a_start_read_after_a_restart_is_looked_up_only_if_its_id_is_older_than_what_was_read() -> None:
    """What was made before the newest arrival may have been read already; what was made after cannot."""
    lake = ModelLake()
    lake.commit(lake.take(lake.start(), [make_event("sessionStart")]))
    sessions = lake.start()
    lake.look_ups = 0
    newer = make_event("sessionStart", ts=NOON_MS + 1, offset=1, session_id=session_id(1, NOON_MS + 1))
    lake.commit(lake.take(sessions, [newer]))
    assert lake.look_ups == 0
    older = make_event("sessionStart", ts=NOON_MS + 2, offset=2, session_id=session_id(2, NOON_MS))
    lake.commit(lake.take(sessions, [older]))
    assert lake.look_ups == 1


def test_a_memory_that_overflows_is_certain_of_less_not_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids that no longer fit raise the floor: they, and all made before them, are asked for again."""
    monkeypatch.setattr("consumers.known_ids.REMEMBERED", 3)
    memory = KnownIds(floor_ms=100)
    for born in range(101, 106):
        assert memory.is_certainly_new(str(born), born)
        memory.remember(str(born), born)
    assert [born for born in range(99, 108) if memory.is_certainly_new(str(born), born)] == [
        106,
        107,
    ]


@given(st.lists(st.tuples(st.integers(90, 120), st.integers(-5, 5)), max_size=40), st.integers(0, 40))
def test_nothing_is_certainly_new_that_was_read_before(births: list[tuple[int, int]], restart_at: int) -> None:
    """Whatever the clocks of two hosts say: an id that was read, before or after a restart, is never new."""
    lake = ModelLake()
    sessions: PartitionSessions = lake.start()
    for offset, (born, skew) in enumerate(births):
        if offset == restart_at:
            sessions = lake.start()
        id = session_id(born, born)
        event = make_event("sessionEnd", ts=born, offset=offset, session_id=id, received_ms=born + skew)
        lake.commit(lake.take(sessions, [event]))
    counted = [(row.facts.session_id, row.version) for row in lake.versions]
    assert len(counted) == len(set(counted))


@pytest.mark.parametrize("ahead_ms", [2 * HOUR_MS, -2 * HOUR_MS, 400 * DAY_MS])
def test_the_starts_of_an_ingest_with_a_wrong_clock_are_looked_up_no_more_than_others(ahead_ms: int) -> None:
    """Its ids are known to be new as those of the others are; one that is behind is asked for once a batch."""
    lake = ModelLake()
    sessions = lake.start()
    lake.commit(lake.take(sessions, [make_event("ping", session_id=session_id(999, NOON_MS))]))
    sessions = lake.start()
    lake.look_ups = 0
    for n in range(1, 21):
        now = NOON_MS + n * 1_000
        events = [
            make_event("ping", ts=now, offset=2 * n - 1, session_id=session_id(n, now)),
            make_event("ping", ts=now, offset=2 * n, session_id=session_id(n + 100, now + ahead_ms)),
        ]
        lake.commit(lake.take(sessions, events))
    assert lake.look_ups == (0 if ahead_ms > 0 else 20)
    assert len(sessions.open) == 41


def test_starts_whose_id_was_derived_from_a_request_are_looked_up_only_if_it_was_read_before() -> None:
    """Such an id says nothing of its age: those of the lake are known from the start on, those read since too."""
    lake = ModelLake()
    earlier = [make_event("sessionEnd", offset=n, session_id=session_id(n, 0)) for n in range(100)]
    lake.commit(lake.take(lake.start(), earlier))
    sessions = lake.start()
    lake.look_ups = 0
    fresh = [make_event("sessionEnd", offset=n, session_id=session_id(n, 0)) for n in range(100, 200)]
    lake.commit(lake.take(sessions, fresh))
    assert lake.look_ups == 0
    for number, offset in ((50, 200), (150, 201)):
        late = make_event("ping", ts=NOON_MS - 1_000, offset=offset, session_id=session_id(number, 0))
        lake.commit(lake.take(sessions, [late]))
    assert lake.look_ups == 2
    assert {row.facts.session_id for row in lake.versions if row.version == 1} == {
        session_id(n, 0) for n in range(200)
    }


def test_ids_that_are_years_ahead_do_not_push_others_out_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many an ingest with a wrong clock has made: what is made now is known to be new."""
    monkeypatch.setattr("consumers.known_ids.REMEMBERED", 3)
    memory = KnownIds(floor_ms=100)
    for born in (10_001, 10_002, 10_003, 101, 102):
        memory.remember(str(born), born)
    assert [born for born in (101, 102, 103, 10_001, 10_004) if memory.is_certainly_new(str(born), born)] == [
        103,
        10_004,
    ]


def test_ids_that_were_too_many_to_load_are_looked_up() -> None:
    """What the lake has beyond those that were loaded is not taken for new."""
    memory = KnownIds(floor_ms=100)
    memory.load(YoungIds(["200", "300"], until_ms=300), int)
    assert [born for born in (150, 200, 299, 300, 301) if memory.is_certainly_new(str(born), born)] == [150, 299]


def test_a_tracking_event_read_twice_is_stored_once_also_after_a_restart() -> None:
    """Ids of tracking events are known from memory or looked up; derived ids always are."""
    lake = ModelLake()
    first, derived = make_tracking(offset=0), make_tracking(offset=1, event_id="derived")
    again = [
        msgspec.structs.replace(entry, offset=offset) for offset, entry in enumerate([first, derived] * 2, start=2)
    ]
    sessions = lake.start()
    lake.commit(lake.take(sessions, [first, derived, *again[:2]]))
    lake.commit(lake.take(lake.start(), again[2:]))
    assert [entry.offset for entry in lake.tracking] == [0, 1]
    assert [offset for offset, _, _ in lake.duplicates] == [2, 3, 4, 5]


def test_a_session_whose_events_were_removed_goes_on_with_its_next_version() -> None:
    """Versions count on where only the closed ones are left: no version is used twice."""
    lake = ModelLake()
    sessions = lake.start()
    lake.commit(lake.take(sessions, [make_event("sessionStart"), make_event("sessionEnd", offset=1)]))
    lake.events.clear()
    late = make_event("ping", ts=NOON_MS + 1, offset=2)
    lake.commit(lake.take(lake.start(), [late], renew_open=True))
    assert [row.version for row in [*lake.versions, *lake.open]] == [1, 2]


def test_many_late_events_of_a_long_session_are_not_compared_with_each_other() -> None:
    """Twenty thousand that come behind as many later ones take a second to place, not minutes."""
    lake, count = ModelLake(), 20_000
    sessions = lake.start()
    early = [make_event("ping", ts=NOON_MS + 2 * n, offset=n, playhead_s=n) for n in range(1, count)]
    late = [make_event("ping", ts=NOON_MS + 2 * n - 1, offset=count + n, playhead_s=n) for n in range(1, count)]
    lake.commit(lake.take(sessions, [make_event("sessionStart"), *early]))
    began_s = time.process_time()
    changes = lake.take(sessions, late)
    assert time.process_time() - began_s < 10
    assert len(changes.events) == len(late)


def test_twenty_thousand_events_of_one_moment_are_placed_at_once() -> None:
    """A single offline array of events that differ in their params alone costs half a second, not minutes."""
    lake, count = ModelLake(), 20_000
    sessions = lake.start()
    events = [make_event("ping", offset=n, params={"n": n}) for n in range(count)]
    again = [make_event("ping", offset=count + n, params={"n": float(n)}) for n in range(count - 1_000)]
    began_s = time.process_time()
    changes = lake.take(sessions, events)
    took_s = time.process_time() - began_s
    assert took_s < 0.5
    assert not any(event.flags for event in changes.events)
    lake.commit(changes)
    more = lake.take(sessions, again[:1_000]).events
    assert {event.flags for event in more} == {("over_limit",)}


def test_repeats_are_found_among_many_events_of_one_moment_however_they_are_spelled() -> None:
    """5,000 events of one moment, then each again with its number written as 1.0 or its keys turned around."""
    lake, count = ModelLake(), 5_000
    sessions = lake.start()
    said = [make_event("ping", offset=n, params={"n": n, "a": 0}) for n in range(count)]
    lake.commit(lake.take(sessions, said))
    again = [make_event("ping", offset=count + n, params={"a": 0.0, "n": float(n)}) for n in range(count)]
    lake.commit(lake.take(sessions, again, share=no_time()))
    assert [event.flags for event in lake.events] == [()] * count + [("repeat",)] * count


# ---- time for folding again


def long_session(lake: ModelLake, sessions: PartitionSessions, *, pings: int = 100) -> Event:
    """Store a session that is longer than its reorder buffer; return an event that belongs into its middle."""
    events = [make_event("ping", ts=NOON_MS + 1_000 * n, offset=n, playhead_s=n) for n in range(pings)]
    lake.commit(lake.take(sessions, events, renew_open=True))
    return make_event("pauseStart", ts=NOON_MS + 500, offset=pings, received_ms=NOON_MS + 1_000 * pings)


def later(event: Event, count: int) -> list[Event]:
    """Return `count` events, each 1 ms after the one before, from this one on."""
    return [
        msgspec.structs.replace(
            event,
            event_id=f"late-{n}",
            offset=event.offset + n,
            client_ms=event.client_ms + n,
            order_ms=event.order_ms + n,
        )
        for n in range(count)
    ]


def test_late_events_are_stored_at_once_and_folded_together_when_there_is_time() -> None:
    """A hundred of them one by one, without time: each is stored in its batch, and one fold takes all of them."""
    lake = ModelLake()
    sessions = lake.start()
    late = later(long_session(lake, sessions), 100)
    lake.histories_read = 0
    for n, event in enumerate(late):
        lake.commit(lake.take(sessions, [event], renew_open=True, share=no_time()))
        assert len(lake.events) == 101 + n
    assert lake.histories_read == 0
    (row,) = lake.newest().values()
    assert (row.facts.pauses, row.as_of_offset) == (0, 100)
    lake.commit(lake.take(sessions, [], renew_open=True))
    (row,) = lake.newest().values()
    assert lake.histories_read == 1
    assert (row.facts.events, row.facts.pauses, row.as_of_offset) == (200, 1, 200)


def test_folding_again_takes_a_quarter_of_the_time() -> None:
    """Where a fold takes a second, an event every second to a long session has it folded every fourth second."""
    lake = ModelLake()
    sessions = lake.start()
    late = later(long_session(lake, sessions), 101)
    now_s = [0.0]

    class Slow(ModelLake):
        def histories(
            self, session_ids: Collection[str], *, since: Mapping[str, int]
        ) -> Generator[tuple[str, History], None, None]:
            now_s[0] += 1.0
            return super().histories(session_ids, since=since)

    slow = Slow(**{field.name: getattr(lake, field.name) for field in dataclasses.fields(lake)})
    share = Share(0.25, clock_s=lambda: now_s[0])
    slow.look_ups = slow.histories_read = 0
    for event in late:
        before_s = now_s[0]
        slow.commit(slow.take(sessions, [event], share=share))
        now_s[0] = max(now_s[0], before_s + 1.0)
    assert 25 <= slow.histories_read <= 26
    assert len(slow.events) == 201


@pytest.mark.parametrize("is_closed", [False, True])
def test_a_worker_that_is_killed_folds_what_was_behind_at_its_next_start(is_closed: bool) -> None:
    """The late event is stored, the open sessions were written after it, and the worker is gone."""
    lake = ModelLake()
    sessions = lake.start()
    event = long_session(lake, sessions)
    if is_closed:
        lake.commit(lake.take(sessions, [], idle_until_ms=NOON_MS + HOUR_MS, renew_open=True))
    other = make_event("ping", offset=101, session_id=session_id(9, NOON_MS + DAY_MS), ts=NOON_MS + DAY_MS)
    lake.commit(lake.take(sessions, [event], renew_open=True, share=no_time()))
    lake.commit(lake.take(sessions, [other], renew_open=True, share=no_time()))
    lake.commit(lake.take(lake.start(), [], renew_open=True))
    row = lake.newest()[event.session_id]
    assert (row.facts.events, row.facts.pauses, row.version) == (101, 1, 2 if is_closed else 1)


def test_a_session_that_is_behind_closes_after_it_was_folded_again() -> None:
    """Its time is over, and its late event is not in its fold: it stays open until it is, and closes once."""
    lake = ModelLake()
    sessions = lake.start()
    event = long_session(lake, sessions)
    lake.commit(lake.take(sessions, [event], share=no_time(), idle_until_ms=NOON_MS + HOUR_MS))
    assert not lake.versions
    lake.commit(lake.take(sessions, []))
    assert [(row.facts.events, row.version, row.close_reason) for row in lake.versions] == [(101, 1, "idle")]


def test_a_duplicate_is_found_while_its_session_is_behind() -> None:
    """The late event again, in the next batch, and the one after: stored once."""
    lake = ModelLake()
    sessions = lake.start()
    event = long_session(lake, sessions)
    for offset in range(100, 103):
        again = msgspec.structs.replace(event, offset=offset)
        lake.commit(lake.take(sessions, [again], share=no_time()))
    assert len(lake.events) == 101
    assert [offset for offset, _, _ in lake.duplicates] == [101, 102]


def test_the_shortest_sessions_do_not_wait_for_the_long_ones() -> None:
    """One turn folds the session that waits longest and all short ones; other long ones wait for theirs."""
    lake = ModelLake()
    sessions = lake.start(folding(1_000))
    ids = [session_id(n, NOON_MS + n) for n in range(6)]
    lengths = [990, 990, 990, 10, 10, 10]
    events = [(id, n) for id, length in zip(ids, lengths, strict=True) for n in range(length)]
    log = [
        make_event("ping", session_id=id, ts=NOON_MS + 1_000 * n, offset=offset, received_ms=NOON_MS + 1_000_000)
        for offset, (id, n) in enumerate(events)
    ]
    lake.commit(lake.take(sessions, log))
    late = [
        make_event(
            "pauseStart", session_id=id, ts=NOON_MS + 500, offset=len(log) + n, received_ms=NOON_MS + 1_000_000
        )
        for n, id in enumerate(ids)
    ]
    lake.commit(lake.take(sessions, late, share=no_time()))
    now_s = iter(range(1_000))
    lake.commit(lake.take(sessions, [], renew_open=True, share=Share(0.25, clock_s=lambda: next(now_s))))
    folded = {id for id, row in lake.newest().items() if row.facts.pauses}
    assert folded == {ids[0], *ids[3:]}


# ---- more than a session folds


def test_what_is_over_the_limit_is_stored_flagged_counted_and_never_stored_twice() -> None:
    """Of a limit of 10, the last 5 of 15; one of them read twice; and the end counts wherever it comes."""
    lake = ModelLake()
    sessions = lake.start(folding(10))
    log: list[Event] = [make_event("ping", ts=NOON_MS + n, offset=n) for n in range(15)]
    log.append(msgspec.structs.replace(log[-1], offset=15))
    log.append(make_event("sessionEnd", ts=NOON_MS + 20, offset=16))
    log.append(make_event("sessionEnd", ts=NOON_MS + 21, offset=17))
    for event in log:
        lake.commit(lake.take(sessions, [event]))
    (row,) = lake.newest().values()
    assert [event.offset for event in lake.events if "over_limit" in event.flags] == [10, 11, 12, 13, 14, 17]
    assert [offset for offset, _, _ in lake.duplicates] == [15]
    assert (row.facts.events, row.facts.events_over_limit, row.facts.flags) == (11, 6, ["over_limit"])
    assert (row.close_reason, row.facts.end_ms) == ("ended", NOON_MS + 20)


def test_events_over_the_limit_have_no_session_folded_again() -> None:
    """A hundred of them to an open session: its history is not read, and its row counts them."""
    lake = ModelLake()
    sessions = lake.start(folding(50))
    lake.commit(lake.take(sessions, [make_event("ping", ts=NOON_MS + n, offset=n) for n in range(50)]))
    lake.histories_read = 0
    for n in range(100):
        lake.commit(lake.take(sessions, [make_event("ping", ts=NOON_MS + n, offset=50 + n)], renew_open=True))
    (row,) = lake.newest().values()
    assert (lake.histories_read, row.facts.events, row.facts.events_over_limit) == (0, 50, 100)


def test_a_denial_over_the_limit_is_a_denial() -> None:
    """The last event to a session that is full denies consent: its user goes, in memory and after a restart."""
    lake = ModelLake()
    sessions = lake.start(folding(2))
    start = make_event("sessionStart", params={"analytics.visitorId": "v"}, consent="given")
    denied = make_event("ping", ts=NOON_MS + 3, offset=3, consent="denied")
    more = [make_event("ping", ts=NOON_MS + n, offset=n) for n in (1, 2)]
    lake.commit(lake.take(sessions, [start, *more, denied], renew_open=True))
    lake.commit(lake.take(lake.start(folding(2)), [], renew_open=True))
    for row in (*sessions.take_open_rows().fresh, *lake.open):
        assert (row.facts.user_id, row.facts.consent, row.facts.events_over_limit) == (None, "denied", 2)


# ---- ends that anybody may send


def test_an_end_far_before_what_had_come_does_not_close_the_session() -> None:
    """It says 1970, or ten minutes ago; the session stays open, goes on, and closes at the player's own end."""
    for ts in (1, NOON_MS - 10 * MINUTE_MS):
        lake = ModelLake()
        sessions = lake.start()
        events = [make_event("ping", ts=NOON_MS + 1_000 * n, offset=n, playhead_s=n) for n in range(10)]
        false = make_event("sessionEnd", ts=ts, offset=10, received_ms=NOON_MS + 10_000)
        lake.commit(lake.take(sessions, events))
        lake.commit(lake.take(sessions, [false]))
        assert not lake.versions
        more = make_event("ping", ts=NOON_MS + 11_000, offset=11, playhead_s=11)
        end = make_event("sessionEnd", ts=NOON_MS + 12_000, offset=12, playhead_s=12)
        lake.commit(lake.take(sessions, [more]))
        lake.commit(lake.take(sessions, [end]))
        assert [(row.close_reason, row.facts.events, row.facts.events_ignored) for row in lake.versions] == [
            ("ended", 12, 1)
        ]


def test_an_end_that_turns_out_false_within_its_batch_does_not_close_the_session() -> None:
    """An event of ten minutes later arrived before the end, but follows it in the log."""
    lake = ModelLake()
    sessions = lake.start()
    start = make_event("sessionStart")
    end = make_event("sessionEnd", ts=NOON_MS + 1_000, offset=1, received_ms=NOON_MS + 10 * MINUTE_MS + 2)
    ping = make_event("ping", ts=NOON_MS + 10 * MINUTE_MS, offset=2, received_ms=NOON_MS + 10 * MINUTE_MS + 1)
    lake.commit(lake.take(sessions, [start, end, ping], renew_open=True))
    assert not lake.versions
    assert [(row.facts.events, row.facts.events_ignored) for row in lake.open] == [(2, 1)]


def test_limits_are_those_given() -> None:
    """Nothing but the limits decides when a session closes."""
    lake = ModelLake()
    short = msgspec.structs.replace(LIMITS, idle_ms=1_000)
    sessions = lake.start(short)
    changes = lake.take(sessions, [make_event("sessionStart")], idle_until_ms=NOON_MS + 1_001)
    assert [row.close_reason for row in changes.closed] == ["idle"]
