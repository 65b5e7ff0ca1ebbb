"""When a session closes: by its end, by silence, by its length, and whatever the clock of the log does."""

from collections.abc import Sequence

import pytest
from rigs.arrivals import DAY_MS, MINUTE_MS
from rigs.session_model import (
    NOON_MS,
    ModelLake,
    make_event,
    session_id,
)

from sessions.event import Event


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
def test_a_session_whose_playhead_does_not_move_for_half_an_hour_closes(
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
