"""Clocks that are set while sessions run: in whatever batches, and at what cost."""

import random

import pytest
from rigs.session_model import NOON_MS, ModelLake, make_event

from sessions.event import Event
from sessions.fold import fold_all

HOUR_MS = 3_600_000


def watched(*, step_ms: int, before: int = 30, after: int = 1_000, every_ms: int = 5_000) -> list[Event]:
    """Return a session that plays all along, while its player's clock is set."""
    start = make_event("sessionStart", received_ms=NOON_MS + 40)
    play = make_event("play", ts=NOON_MS + 100, offset=1, received_ms=NOON_MS + 140)
    pings = [
        make_event(
            "ping",
            ts=NOON_MS + every_ms * n + (step_ms if n > before else 0),
            offset=1 + n,
            received_ms=NOON_MS + every_ms * n + 40 + 37 * n % 300,
            playhead_s=every_ms / 1000 * n - 0.1,
        )
        for n in range(1, before + after + 1)
    ]
    return [start, play, *pings]


@pytest.mark.parametrize("step_ms", [-HOUR_MS - 7, HOUR_MS, -720 * HOUR_MS, 24 * HOUR_MS + 100])
@pytest.mark.parametrize("size", [1, 2, 7, 100, 2_000])
def test_a_thousand_events_behind_a_step_do_not_have_their_session_folded_a_thousand_times(
    step_ms: int, size: int
) -> None:
    """Until the step is shown, after 20 s, each batch may; from then on none does. And all of it is content."""
    events = watched(step_ms=step_ms)
    lake = ModelLake()
    sessions = lake.start()
    lake.commit(lake.take(sessions, events[:32]))
    lake.histories_read = 0
    for first in range(32, len(events), size):
        lake.commit(lake.take(sessions, events[first : first + size]))
    assert 1 <= lake.histories_read <= 6
    lake.commit(lake.take(sessions, [], renew_open=True))
    (row,) = lake.newest().values()
    assert row.facts == fold_all(events)
    assert row.facts.flags == ["clock_set"]
    assert row.facts.content_time_s == pytest.approx(5 * 1_030, abs=1)


def test_what_repeats_an_event_from_before_a_step_is_found_after_it() -> None:
    """The clock is an hour back, so the same timestamps come again: as other events, and once as a repetition."""
    events = watched(step_ms=-HOUR_MS, before=800)
    lake = ModelLake()
    sessions = lake.start()
    lake.commit(lake.take(sessions, events))
    again = [
        make_event(
            "ping",
            ts=event.client_ms,
            offset=len(events) + n,
            received_ms=events[-1].received_ms + 1_000 + n,
            playhead_s=event.playhead_s,
        )
        for n, event in enumerate((events[100], events[1_200]))
    ]
    for event in again:
        lake.commit(lake.take(sessions, [event]))
    assert [event.flags for event in lake.events[-3:]] == [(), ("repeat",), ("repeat",)]


@pytest.mark.parametrize("step_ms", [-HOUR_MS, HOUR_MS])
def test_a_session_that_was_closed_goes_on_by_the_clock_that_was_set(step_ms: int) -> None:
    """It closes for silence after the step, and a worker that starts again reads on: one session, one fold."""
    events = watched(step_ms=step_ms, after=100)
    lake = ModelLake()
    lake.commit(lake.take(lake.start(), events[:80], idle_until_ms=events[79].received_ms + 660_000))
    assert [row.facts.flags for row in lake.versions] == [["clock_set"]]
    sessions = lake.start()
    for event in events[80:]:
        lake.commit(lake.take(sessions, [event], renew_open=True))
    (row,) = lake.newest().values()
    assert row.version == 2
    assert row.facts == fold_all(events)


def test_the_order_of_a_log_changes_nothing_of_a_session_whose_clock_was_set() -> None:
    """Shuffled as many ingests may have written it, in any batches: the row of one fold."""
    for seed in range(20):
        chance = random.Random(seed)
        events = watched(step_ms=chance.choice([-HOUR_MS, HOUR_MS]), before=chance.randrange(2, 40), after=40)
        order = sorted(events, key=lambda event: event.received_ms + chance.randrange(30_000))
        log = [make_event_at(event, offset) for offset, event in enumerate(order)]
        lake = ModelLake()
        sessions, rest = lake.start(), log
        while rest:
            size = chance.choice([1, 3, 20])
            lake.commit(lake.take(sessions, rest[:size], renew_open=True))
            rest = rest[size:]
            sessions = lake.start() if chance.random() < 0.1 else sessions
        (row,) = lake.newest().values()
        assert row.facts == fold_all(events)


def make_event_at(event: Event, offset: int) -> Event:
    """Return an event at another place of the log."""
    return make_event(
        event.type.name,
        ts=event.client_ms,
        offset=offset,
        received_ms=event.received_ms,
        playhead_s=event.playhead_s,
    )
