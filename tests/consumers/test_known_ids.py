"""Which events are certainly new, and which are looked up in the lake."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rigs.arrivals import DAY_MS, HOUR_MS
from rigs.session_model import (
    NOON_MS,
    ModelLake,
    make_event,
    make_tracking,
    session_id,
)

from consumers.known_ids import KnownIds
from consumers.partition import PartitionSessions
from lake.changes import YoungIds


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
