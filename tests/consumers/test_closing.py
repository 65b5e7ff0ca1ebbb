"""When sessions close, and that a player which never stops pinging makes no version after version."""

from collections.abc import Iterable, Iterator

import pytest
from msgspec.structs import replace
from rigs.session_model import LIMITS, NOON_MS, ModelLake, expected_facts, make_event

from consumers.partition import PartitionSessions
from sessions.event import Event

SECOND_MS, MINUTE_MS, HOUR_MS = 1_000, 60_000, 3_600_000
DAY_MS = 24 * HOUR_MS


def pings(since_s: float, until_s: float, *, every_s: float = 60, head: float | None = None) -> Iterator[Event]:
    """Ping from one second up to another, the playhead at `head` or at the second of the session."""
    at_s = since_s
    while at_s < until_s:
        yield said("ping", at_s, at_s if head is None else head)
        at_s += every_s


def said(name: str, at_s: float, head: float = 0.0, **more: object) -> Event:
    return make_event(name, ts=NOON_MS + int(at_s * 1000), playhead_s=head, **more)  # type: ignore[arg-type]


class Log:
    """A log that a worker reads batch by batch."""

    def __init__(self) -> None:
        self.lake = ModelLake()
        self.sessions: PartitionSessions = self.lake.start(LIMITS)
        self.entries: list[Event] = []

    def read(self, events: Iterable[Event], *, batch: int = 1) -> None:
        """Append these events, and let the worker read them."""
        waiting = []
        for event in events:
            offset = len(self.entries)
            self.entries.append(replace(event, offset=offset, event_id=f"event-{offset}"))
            waiting.append(self.entries[-1])
            if len(waiting) == batch:
                self.lake.commit(self.lake.take(self.sessions, waiting, renew_open=True))
                waiting = []
        self.lake.commit(self.lake.take(self.sessions, waiting, renew_open=True))

    def restart(self) -> None:
        self.sessions = self.lake.start(LIMITS)

    def closings(self) -> list[tuple[str | None, int]]:
        return [(row.close_reason, row.version) for row in self.lake.versions]

    def passed(self) -> int:
        return sum("after_close" in event.flags for event in self.lake.events)

    def whole(self) -> object:
        """Return the fold of everything that was read."""
        (facts,) = expected_facts(self.entries).values()
        return facts


@pytest.fixture
def log() -> Log:
    return Log()


def test_a_live_stream_that_plays_for_thirty_hours_makes_one_version(log: Log) -> None:
    """It closes after 24 hours; of the pings of six hours more, each is stored, and none counts or opens it."""
    log.read([said("sessionStart", 0), said("play", 0)])
    log.read(pings(20, 30 * 3600, every_s=20))
    assert log.closings() == [("too_long", 1)]
    (row,) = log.lake.newest().values()
    assert row.facts.ended_ms - row.facts.started_ms == DAY_MS
    assert len(log.lake.events) == 2 + 30 * 180 - 1
    assert log.passed() == 6 * 180 - 1


@pytest.mark.parametrize("restarts", [1, 5])
def test_pings_after_the_longest_session_make_no_version_after_restarts_either(log: Log, restarts: int) -> None:
    """What opens a closed session is found out from the lake once a restart, not once a ping."""
    log.read([said("sessionStart", 0), *pings(60, DAY_MS / 1000 + 120)], batch=500)
    for n in range(restarts):
        log.restart()
        log.lake.histories_read = 0
        since_s = DAY_MS / 1000 + 120 + n * 3600
        log.read(pings(since_s, since_s + 3600, every_s=10))
        assert log.lake.histories_read <= 1
    assert log.closings() == [("too_long", 1)]


def test_what_happened_within_the_longest_session_counts_however_late_it_comes(log: Log) -> None:
    """A pause of the first hour arrives two days later: a second version, and then no third."""
    log.read([said("sessionStart", 0), *pings(60, 25 * 3600)], batch=500)
    log.read(
        [
            said("pauseStart", 1801, 1801.0, received_ms=NOON_MS + 2 * DAY_MS),
            said("play", 1831, 1801.0, received_ms=NOON_MS + 2 * DAY_MS),
        ],
        batch=2,
    )
    log.lake.commit(log.lake.take(log.sessions, [], idle_until_ms=NOON_MS + 3 * DAY_MS))
    assert log.closings() == [("too_long", 1), ("too_long", 2)]
    (row,) = log.lake.newest().values()
    assert row.facts.pause_time_s == 30


def test_a_paused_player_that_pings_for_ever_closes_once(log: Log) -> None:
    """It is stuck after half an hour; three days of pings add nothing."""
    log.read([said("sessionStart", 0), said("play", 0), said("pauseStart", 60, 60.0)])
    log.read(pings(70, 3 * 86_400, every_s=30, head=60.0), batch=7)
    assert log.closings() == [("stuck", 1)]
    (row,) = log.lake.newest().values()
    assert row.facts.pause_time_s == pytest.approx(1800, abs=30)


def test_a_stuck_session_opens_when_its_playhead_moves_and_the_silent_stretch_is_what_it_was(log: Log) -> None:
    """Paused for three hours, then played for ten minutes: three hours of pause, as in the fold of all events."""
    log.read([said("sessionStart", 0), said("play", 0), said("pauseStart", 60, 60.0)])
    log.read(pings(70, 3 * 3600, every_s=10, head=60.0))
    assert log.closings() == [("stuck", 1)]
    log.read([said("play", 3 * 3600 + 60, 60.0)])
    log.read(make for make in (said("ping", 10_860 + n, 60.0 + n) for n in range(10, 601, 10)))
    (row,) = log.lake.open
    assert row.facts == log.whole()
    assert row.facts.pause_time_s == 3 * 3600
    assert row.version == 2
    log.restart()
    log.read([said("sessionEnd", 11_470, 660.0)])
    assert log.closings() == [("stuck", 1), ("ended", 2)]
    assert log.lake.newest()[row.facts.session_id].facts == log.whole()


def test_a_viewer_who_acts_while_the_playhead_does_not_move_is_not_stuck(log: Log) -> None:
    """Somebody pauses and plays on a still picture every 20 minutes: it closes after the last of it."""
    log.read([said("sessionStart", 0), said("play", 0)])
    for n in range(1, 7):
        log.read([*pings(1200 * n - 1190, 1200 * n, head=0.0), said("pauseStart" if n % 2 else "play", 1200 * n)])
    assert log.closings() == []
    log.read(pings(7201, 7200 + 3600, head=0.0))
    assert log.closings() == [("stuck", 1)]


def test_pings_after_the_end_make_no_version_once_a_minute_is_over(log: Log) -> None:
    """A player that forgets its timer: what overtook the end counts as after it, the hours that follow do not."""
    log.read([said("sessionStart", 0), said("play", 0), said("sessionEnd", 60, 60.0)])
    log.read(pings(61, 62, head=60.0))
    assert log.closings() == [("ended", 1), ("ended", 2)]
    log.read(pings(121, 5 * 3600, every_s=10, head=60.0))
    assert log.closings() == [("ended", 1), ("ended", 2)]
    (row,) = log.lake.newest().values()
    assert row.facts.events_after_end == 1


def test_the_same_event_posted_for_ever_makes_no_version(log: Log) -> None:
    """A retry loop that never hears the answer: each is a repeat, and none opens the session that ended."""
    log.read([said("sessionStart", 0), said("play", 1), said("sessionEnd", 60, 60.0)])
    again = [said("play", 1, received_ms=NOON_MS + 121_000 + 10_000 * n) for n in range(360)]
    log.read(again)
    assert log.closings() == [("ended", 1)]
    assert [event.flags for event in log.lake.events[3:]] == [("repeat", "after_close")] * 360


def test_the_first_denial_of_consent_counts_when_a_session_is_over_and_further_ones_add_nothing(log: Log) -> None:
    """Its user goes in a second version; the next hundred denials make no third."""
    start = said("sessionStart", 0, params={"analytics.visitorId": "v"}, consent="given")
    log.read([start, said("sessionEnd", 60, 60.0)])
    (row,) = log.lake.newest().values()
    assert row.facts.user_id is not None
    log.read(said("ping", 200 + n, 60.0, consent="denied") for n in range(100))
    assert log.closings() == [("ended", 1), ("ended", 2)]
    (row,) = log.lake.newest().values()
    assert (row.facts.user_id, row.facts.consent) == (None, "denied")


def test_what_was_passed_over_is_never_stored_twice(log: Log) -> None:
    """The log gives the same records again, at once and after a restart."""
    log.read([said("sessionStart", 0), said("pauseStart", 1), *pings(10, 7200, every_s=300, head=0.0)])
    stored = len(log.lake.events)
    for n in (4, 9):
        again = log.entries[-n:]
        log.lake.commit(
            log.lake.take(
                log.sessions, [replace(event, offset=len(log.entries) + k) for k, event in enumerate(again)]
            )
        )
        log.entries += again
        log.restart()
    assert len(log.lake.events) == stored
    assert len(log.lake.duplicates) == 13


def test_more_closed_sessions_than_are_remembered_are_read_again_not_opened(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With room for one, two sessions that ping after their end push each other out, and close once each."""
    monkeypatch.setattr("consumers.live_sessions.CLOSED_KEPT", 1)
    for name in ("a", "b"):
        log.read([said("sessionStart", 0, session_id=name), said("sessionEnd", 60, session_id=name)])
    for n in range(20):
        log.read([said("ping", 200 + n, session_id=name) for name in ("a", "b")], batch=2)
    assert log.closings() == [("ended", 1), ("ended", 1)]
    assert log.passed() == 40
