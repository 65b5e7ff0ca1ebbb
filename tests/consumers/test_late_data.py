"""Late data: sessions are reopened, and folded again when there is time; more than a session folds."""

import dataclasses
import math
import time
from collections.abc import Collection, Generator, Mapping, Sequence

import msgspec
import pytest
from rigs.arrivals import (
    DAY_MS,
    HOUR_MS,
    folding,
)
from rigs.session_model import (
    NOON_MS,
    ModelLake,
    expected_facts,
    make_event,
    no_time,
    session_id,
)

from consumers.partition import PartitionSessions
from consumers.share import Share
from lake.changes import History
from sessions.event import Event


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


def cpu_to_place(events: Sequence[Event]) -> float:
    """Return the seconds of CPU that a new session's events take to be placed: the best of three."""
    best_s = math.inf
    for _ in range(3):
        lake = ModelLake()
        sessions = lake.start()
        began_s = time.process_time()
        changes = lake.take(sessions, events)
        best_s = min(best_s, time.process_time() - began_s)
        assert not any(event.flags for event in changes.events)
    return best_s


def test_twenty_thousand_events_of_one_moment_are_placed_in_time_linear_in_their_number() -> None:
    """A single offline array of events that differ in their params alone: ten times as many take as much longer.

    Compared in pairs, as it was, they would take a hundred times as long: minutes.
    """
    events = [make_event("ping", offset=n, params={"n": n}) for n in range(20_000)]
    few_s, many_s = cpu_to_place(events[:2_000]), cpu_to_place(events)
    assert many_s < 25 * few_s
    assert many_s < 5


def test_events_of_one_moment_that_are_over_the_limit_are_flagged() -> None:
    """Twenty thousand are folded; the next thousand, which repeat some of them in other words, are not."""
    lake, count = ModelLake(), 20_000
    sessions = lake.start()
    lake.commit(lake.take(sessions, [make_event("ping", offset=n, params={"n": n}) for n in range(count)]))
    again = [make_event("ping", offset=count + n, params={"n": float(n)}) for n in range(1_000)]
    assert {event.flags for event in lake.take(sessions, again).events} == {("over_limit",)}


def test_repeats_are_found_among_many_events_of_one_moment_however_they_are_spelled() -> None:
    """5,000 events of one moment, then each again with its number written as 1.0 or its keys turned around."""
    lake, count = ModelLake(), 5_000
    sessions = lake.start()
    said = [make_event("ping", offset=n, params={"n": n, "a": 0}) for n in range(count)]
    lake.commit(lake.take(sessions, said))
    again = [make_event("ping", offset=count + n, params={"a": 0.0, "n": float(n)}) for n in range(count)]
    lake.commit(lake.take(sessions, again, share=no_time()))
    assert [event.flags for event in lake.events] == [()] * count + [("repeat",)] * count


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
