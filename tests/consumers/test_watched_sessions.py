"""Do sessions of every kind come out of a worker as out of one fold, without needless versions?"""

import random

import msgspec
import pytest
from rigs.session_model import ModelLake, session_id
from rigs.viewed import events_of

from players.kinds import KINDS, play_kind
from sessions.event import AFTER_CLOSE, Event
from sessions.fold import fold_all

VERSIONS_MAX = 4


def arrivals_of(kind: str, number: int) -> list[Event]:
    """Return the events of a session by arrival, as the log has them."""
    events = events_of(play_kind(kind, 11, number)[0])
    known = session_id(number, events[0].received_ms)
    return [
        msgspec.structs.replace(
            event, session_id=known, flags=tuple(flag for flag in event.flags if flag != "repeat")
        )
        for event in events
    ]


def taken_in_batches(
    events: list[Event], rng: random.Random, sizes: tuple[int, ...] = (1, 2, 5, 40, 400)
) -> ModelLake:
    """Let a worker take events in batches; it is killed now and then, and starts again."""
    lake = ModelLake()
    worker = lake.start()
    while events:
        size = rng.choice(sizes)
        taken, events = events[:size], events[size:]
        changes = lake.take(worker, taken, renew_open=rng.random() < 0.3)
        if rng.random() < 0.1:  # killed before the commit: the batch is taken again
            worker = lake.start()
            changes = lake.take(worker, taken)
        lake.commit(changes)
    lake.commit(lake.take(worker, [], renew_open=True))
    return lake


@pytest.mark.parametrize("kind", KINDS)
def test_batches_and_restarts_give_the_row_of_one_fold(kind: str) -> None:
    """Whatever the batches, the newest row of a session equals one fold of its events."""
    for number in range(1 if KINDS[kind].is_long else 6):
        events = arrivals_of(kind, number)
        lake = taken_in_batches(events, random.Random(number))
        (row,) = lake.newest().values()
        assert row.facts == fold_all(event for event in lake.events if event.offset < row.as_of_offset)
        rest = [event for event in lake.events if event.offset >= row.as_of_offset]
        assert all(event.is_flagged(AFTER_CLOSE) for event in rest)
        assert len(lake.events) == len(events)


@pytest.mark.parametrize("kind", KINDS)
def test_a_session_has_few_versions_however_long_it_pings(kind: str) -> None:
    """Long, stuck and paused sessions do not get a final version with every ping."""
    lake = taken_in_batches(arrivals_of(kind, 1), random.Random(3), sizes=(4,))
    assert len(lake.versions) <= VERSIONS_MAX
