"""The sessions of a partition: whatever the order, batches and restarts, their rows are those of one fold."""

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rigs.arrivals import (
    ARRIVALS,
    CUTS,
    DAY_MS,
    EVENTS_MAX,
    FAR_AHEAD,
    ONE_BY_ONE,
    RESTART,
    Arrival,
    Cut,
    folding,
    lacking,
    log_of,
    play,
    simple,
)
from rigs.session_model import (
    ALL_THE_TIME,
    LIMITS,
    NOON_MS,
    ModelLake,
    expected_facts,
    expected_kinds,
    make_event,
    no_time,
)

from consumers.log_clock import CLOCK_BACK_MS
from consumers.open_session import BUFFERED
from sessions.event import Event


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


def test_limits_are_those_given() -> None:
    """Nothing but the limits decides when a session closes."""
    lake = ModelLake()
    short = msgspec.structs.replace(LIMITS, idle_ms=1_000)
    sessions = lake.start(short)
    changes = lake.take(sessions, [make_event("sessionStart")], idle_until_ms=NOON_MS + 1_001)
    assert [row.close_reason for row in changes.closed] == ["idle"]
