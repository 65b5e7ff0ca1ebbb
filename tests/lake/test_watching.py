"""Who watches now: one number in the view, the pulse of `playhead up` and the notebook, of a named moment."""

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from rigs.lake import Lake, write
from rigs.session_model import NOON_MS, make_event, session_id

from consumers.held_partition import HeldPartition
from consumers.lake_writer import LakeWriter
from lake.catalog import connect
from lake.pulse import feel
from notebooks.connect import open_lake
from notebooks.filters import Choice
from notebooks.questions import heard_now
from sessions.event import Event

FILM = {"media.id": "film", "media.length": 3600.0, "media.contentType": "vod"}
HOUR_S = 3600


class Watched:
    """A lake that a worker writes, second by second of the log."""

    def __init__(self, lake: Lake, writer: LakeWriter) -> None:
        self.lake = lake
        self.writer = writer
        self.held: HeldPartition = writer.load(0, None)

    def read(self, *sessions: list[Event]) -> None:
        """Read the events of some sessions, in the order of their arrival."""
        events = sorted((event for session in sessions for event in session), key=lambda event: event.received_ms)
        first = self.held.sessions.next_offset
        write(
            self.writer,
            self.held,
            [replace(event, offset=first + n, event_id=f"event-{first + n}") for n, event in enumerate(events)],
        )

    def nothing_until(self, at_s: float) -> None:
        """Let the worker find nothing more to read, up to this second."""
        write(self.writer, self.held, [], idle_at_ms=NOON_MS + round(at_s * 1000))

    def now(self) -> int:
        """Return how many watch, as everybody who shows it does."""
        ((viewers, as_of),) = self.lake.ask("SELECT viewers, as_of FROM watching_now")
        assert as_of == datetime.fromtimestamp(self.held.sessions.watermark_ms / 1000, UTC)
        with contextlib.closing(connect(self.lake.place, read_only=True)) as connection:
            pulse = feel(connection)
        assert pulse.watching == viewers
        assert sum(count for _, count in pulse.contents) == viewers
        with open_lake({}, self.lake.settings.data_dir) as notebook:
            everything = Choice(as_of, as_of, timedelta(0), {}, 1, "UTC")
            assert heard_now(notebook, everything)["watching"] == viewers
        return int(viewers)

    def others(self) -> dict[str, int]:
        columns = ("starting", "buffering", "paused", "finished", "silent", "open_sessions")
        (row,) = self.lake.ask(f"SELECT {', '.join(columns)} FROM watching_now")
        return {name: count for name, count in zip(columns, row, strict=True) if count}


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    lake = Lake(tmp_path)
    with lake.writer() as writer:
        yield Watched(lake, writer)


def viewing(number: int, *said: tuple[float, str, float], start: dict[str, Any] = FILM) -> list[Event]:
    """Make the events of a session from (second, type, playhead), each received when it happened."""
    id = session_id(number, NOON_MS)
    return [
        make_event(
            name,
            ts=NOON_MS + round(second * 1000),
            playhead_s=head,
            session_id=id,
            params=start if name == "sessionStart" else {"media.ad.length": 60.0} if name == "adStart" else None,
        )
        for second, name, head in said
    ]


def playing(number: int, *, until_s: float, every_s: float = 10) -> list[Event]:
    """Start at 0, play at 1, and ping until a second, the last time right then or shortly before."""
    pings = [(n * every_s, "ping", n * every_s - 1) for n in range(1, int(until_s / every_s) + 1)]
    return viewing(number, (0, "sessionStart", 0), (1, "play", 0), *pings)


def test_whoever_plays_is_watching_and_whoever_pauses_or_waits_is_named_apart(watched: Watched) -> None:
    """One plays, one plays an ad, one has not started, one paused, one buffers."""
    watched.read(
        playing(1, until_s=60),
        viewing(2, (50, "sessionStart", 0), (50, "adBreakStart", 0), (51, "adStart", 0)),
        viewing(3, (55, "sessionStart", 0)),
        viewing(4, (40, "sessionStart", 0), (41, "play", 0), (50, "pauseStart", 9)),
        viewing(5, (40, "sessionStart", 0), (41, "play", 0), (50, "bufferStart", 9)),
    )
    assert watched.now() == 2
    assert watched.others() == {"starting": 1, "paused": 1, "buffering": 1, "open_sessions": 5}


def test_after_the_session_completed_nobody_watches_it(watched: Watched) -> None:
    """SessionComplete came, and sessionEnd never does."""
    watched.read(viewing(1, (0, "sessionStart", 0), (1, "play", 0), (60, "sessionComplete", 3600)))
    assert watched.now() == 0
    assert watched.others() == {"finished": 1, "open_sessions": 1}


def test_who_only_started_is_not_watching_and_soon_silent(watched: Watched) -> None:
    """A sessionStart and nothing since."""
    watched.read(viewing(1, (0, "sessionStart", 0)))
    assert watched.now() == 0
    watched.nothing_until(40)
    assert watched.others() == {"silent": 1, "open_sessions": 1}


def test_a_device_that_sleeps_for_six_hours_is_not_watching_meanwhile(watched: Watched) -> None:
    """It played for a minute, fell asleep, and plays on in the evening; another one lets time pass."""
    watched.read(playing(1, until_s=60))
    assert watched.now() == 1
    watched.read(viewing(2, (60 + 91, "sessionStart", 0)))
    assert watched.now() == 0
    woken = viewing(1, (6 * HOUR_S, "play", 59), (6 * HOUR_S + 10, "ping", 69))
    watched.read(woken)
    assert watched.now() == 1


def test_after_an_outage_those_who_ping_every_ten_seconds_are_gone_within_forty(watched: Watched) -> None:
    """Nothing arrives any more: nine in ten ping every 10 s, the others every 50; all are gone within 100 s."""
    frequent = [playing(n, until_s=100) for n in range(9)]
    watched.read(*frequent, playing(9, until_s=100, every_s=50))
    assert watched.now() == 10
    for second in range(105, 136, 5):
        watched.nothing_until(second)
    assert watched.now() == 1
    for second in range(140, 196, 5):
        watched.nothing_until(second)
    assert watched.now() == 0


def test_who_pings_rarely_is_watching_between_its_pings(watched: Watched) -> None:
    """Every 25 s: 70 s without are no silence, 80 are; an early ping makes nobody silent before the next."""
    early = viewing(1, (205, "ping", 204))
    watched.read([*playing(1, until_s=200, every_s=25), *early])
    watched.nothing_until(275)
    assert watched.now() == 1
    watched.nothing_until(285)
    assert watched.now() == 0


def test_an_open_ad_may_be_silent_for_its_length(watched: Watched) -> None:
    """A player that pings every 10 s in content sends nothing in an ad of a minute."""
    ad = viewing(1, (61, "adBreakStart", 60), (61, "adStart", 60))
    watched.read([*playing(1, until_s=60), *ad])
    watched.nothing_until(61 + 89)
    assert watched.now() == 1
    watched.nothing_until(61 + 96)
    assert watched.now() == 0


def test_a_session_that_was_uploaded_is_watched_by_nobody(watched: Watched) -> None:
    """It arrives now, and was watched long ago."""
    watched.read(
        [replace(event, source="/api/v1/downloaded") for event in playing(1, until_s=60)],
    )
    assert watched.now() == 0


def test_time_is_written_while_nothing_arrives_only_as_long_as_sessions_are_open(watched: Watched) -> None:
    """Every five seconds for the ten minutes after which the last one closes; then the lake is left alone."""
    watched.read(playing(1, until_s=60))
    before = watched.held.ledger.commits
    for second in range(61, 661):
        watched.nothing_until(second)
    assert watched.held.ledger.commits - before == 120
    for second in range(661, 1500, 7):
        watched.nothing_until(second)
    assert watched.held.ledger.commits - before == 121
