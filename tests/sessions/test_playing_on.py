"""The one step for pings of content that plays on makes of them what the rules make of them."""

from collections.abc import Iterable, Iterator
from unittest.mock import patch

import pytest
from rigs import viewed
from rigs.drawn_sessions import drawn, events_of
from rigs.watched import made, pings, started

from players.kinds import KINDS, play_kind
from sessions.event import Event
from sessions.fold import Fold, begun
from sessions.playing_on import plays_on


def states(events: Iterable[Event]) -> Iterator[Fold]:
    """Give the fold as it is after each event."""
    fold, ordered = begun(events)
    for event in ordered:
        fold.step(event)
        yield fold.copy()


def taken_in_one_step(events: list[Event]) -> int:
    """Return how many of a session's events are; every one leaves the state in which the rules alone leave it."""
    taken = [0]

    def counted(fold: Fold, event: Event) -> bool:
        taken[0] += (is_taken := plays_on(fold, event))
        return is_taken

    with patch("sessions.fold.plays_on", counted):
        found = list(states(events))
    with patch("sessions.fold.plays_on", return_value=False):
        assert found == list(states(events))
    return taken[0]


@pytest.mark.parametrize("first", range(0, 400, 100))
def test_it_changes_nothing_of_any_session(first: int) -> None:
    """Of a hundred sessions of nearly any events, each is in the same state after every event."""
    assert sum(taken_in_one_step(events_of(drawn(seed))) for seed in range(first, first + 100))


@pytest.mark.parametrize("kind", KINDS)
def test_it_changes_nothing_of_what_viewers_do(kind: str) -> None:
    """Of ten sessions of each kind, each is in the same state after every event."""
    for number in range(10):
        taken_in_one_step(viewed.events_of(play_kind(kind, 1, number)[0]))


@pytest.mark.parametrize("kind", ["a film", "live"])
def test_it_takes_most_events_of_somebody_who_watches(kind: str) -> None:
    """Of ten sessions, recorded or live."""
    sessions = [viewed.events_of(play_kind(kind, 1, number)[0]) for number in range(10)]
    assert sum(map(taken_in_one_step, sessions)) > 0.8 * sum(map(len, sessions))


def test_it_takes_pings_after_unknown_playheads_and_pings_with_other_quality() -> None:
    """The range that begins there, and a bitrate that changes in mid-play, are as the rules alone make them."""
    rows = [started(), (0, "play", 0), *pings(0, 60, head=0), (70, "ping", -1), (80, "ping", -1)]
    rows += [*pings(80, 120, head=80), (130, "ping", 130, {"qoe": {"media.qoe.bitrate": 3000}})]
    assert taken_in_one_step([made(row, offset) for offset, row in enumerate(rows)]) >= 8
