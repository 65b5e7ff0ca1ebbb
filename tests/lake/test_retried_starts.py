"""Retried starts: a player that did not hear the reply posts its sessionStart again; one session stays unused."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace
from rigs.lake import Lake, write
from rigs.session_model import NOON_MS, make_event, session_id

from consumers.held_partition import HeldPartition
from consumers.lake_writer import LakeWriter
from ingest.intake import Request
from ingest.retries import request_hashes
from lake.upkeep import Ages, maintain
from sessions.event import Event

NOON = datetime.fromtimestamp(NOON_MS / 1000, UTC)
MINUTE_MS = 60_000


class Starts:
    """A lake that a worker writes."""

    def __init__(self, lake: Lake, writer: LakeWriter) -> None:
        self.lake = lake
        self.writer = writer
        self.held: HeldPartition = writer.load(0, None)
        self.number = 0

    def start(self, at_s: float, request: str, *, used: bool = False) -> str:
        """Start a session by a request; return its id."""
        self.number += 1
        at_ms = NOON_MS + round(at_s * 1000)
        id = session_id(self.number, at_ms)
        hashes = ",".join(f"{part:>016}" for part in request.split(","))
        events = [make_event("sessionStart", ts=at_ms, session_id=id, request_hashes=hashes)]
        if used:
            events.append(make_event("play", ts=at_ms + 1, session_id=id))
        self._read(events)
        return id

    def _read(self, events: list[Event]) -> None:
        first = self.held.sessions.next_offset
        numbered = [replace(event, offset=first + n, event_id=f"e{first + n}") for n, event in enumerate(events)]
        write(self.writer, self.held, numbered)

    def pass_time(self, at_s: float) -> None:
        write(self.writer, self.held, [], idle_at_ms=NOON_MS + round(at_s * 1000))

    def copies(self) -> set[str]:
        return {row[0] for row in self.lake.ask("SELECT session_id FROM retried_starts")}

    def maintain(self) -> int:
        ages = Ages.of(self.lake.settings)
        folder = Path(self.lake.place.files).parent / "orphans"
        return maintain(self.lake.place, ages, orphans=folder, now=lambda: datetime.now(UTC)).requests_forgotten


@pytest.fixture
def starts(tmp_path: Path) -> Iterator[Starts]:
    lake = Lake(tmp_path)
    with lake.writer() as writer:
        yield Starts(lake, writer)


def test_an_unused_start_is_a_copy_of_the_same_request_that_was_used(starts: Starts) -> None:
    """Before or after its twin, and not one of another request, nor one that was used too."""
    before = starts.start(0, "a")
    starts.start(5, "a", used=True)
    starts.start(6, "a", used=True)
    after = starts.start(20, "a")
    starts.start(20, "b")
    starts.pass_time(120)
    assert starts.copies() == {before, after}


def test_there_are_never_more_copies_than_twins(starts: Starts) -> None:
    """Of three that nobody used and one that somebody did, one is its copy."""
    first, *_ = [starts.start(second, "a") for second in range(3)]
    starts.start(4, "a", used=True)
    starts.pass_time(120)
    assert starts.copies() == {first}


def test_if_none_was_used_the_first_counts(starts: Starts) -> None:
    """A player that failed three times failed once."""
    _, *others = [starts.start(second, "a") for second in (0, 20, 40)]
    starts.pass_time(120)
    assert starts.copies() == set(others)


def test_a_start_is_judged_when_it_is_a_minute_old(starts: Starts) -> None:
    """Until then it counts: its player may not have pressed play yet."""
    starts.start(0, "a", used=True)
    copy = starts.start(1, "a")
    starts.pass_time(60)
    assert starts.copies() == set()
    starts.pass_time(66)
    assert starts.copies() == {copy}


def test_what_comes_more_than_a_minute_after_its_twin_is_no_copy(starts: Starts) -> None:
    """The same body, address and player, much later, is somebody who came again."""
    starts.start(0, "a", used=True)
    starts.start(61, "a")
    starts.pass_time(300)
    assert starts.copies() == set()


def test_a_copy_that_somebody_uses_later_counts(starts: Starts) -> None:
    """It was judged, and then it plays."""
    starts.start(0, "a", used=True)
    copy = starts.start(1, "a")
    starts.pass_time(120)
    assert starts.copies() == {copy}
    starts.maintain()
    starts._read([make_event("play", ts=NOON_MS + 121_000, session_id=copy)])
    assert starts.copies() == set()


def test_a_twin_of_the_day_before_is_found_in_the_first_minute_of_a_day(starts: Starts) -> None:
    """The one after midnight has the hashes of both days."""
    starts.start(0, "1", used=True)
    copy = starts.start(10, "2,1")
    starts.pass_time(120)
    assert starts.copies() == {copy}


def test_hashes_leave_the_lake_when_they_have_served_and_what_was_judged_stays(starts: Starts) -> None:
    """Upkeep deletes them after an hour; whoever was a copy is one for ever."""
    starts.start(0, "a", used=True)
    copy = starts.start(1, "a")
    starts.pass_time(3600)
    assert starts.maintain() == 0
    starts.start(3605, "b")
    assert starts.maintain() == 2
    assert starts.lake.ask("SELECT count(*) FROM start_requests") == [(1,)]
    assert starts.copies() == {copy}


def test_a_hundred_thousand_starts_of_one_second_leave_the_share_of_unstarted_as_it_is(tmp_path: Path) -> None:
    """One live event; 20.3 % leave at once; a tenth of all heard no reply and posted again."""
    lake = Lake(tmp_path)
    lake.do(
        "CREATE TEMP TABLE drawn AS "
        "SELECT n, hash(n) % 1000 < 203 AS leaves, hash(n * 7 + 1) % 10 = 0 AS retries, "
        f"make_timestamptz({NOON_MS}::BIGINT * 1000 + n * 10) AS moment FROM range(100000) AS t(n)",
        "CREATE TEMP TABLE made AS SELECT 's' || n AS id, n, leaves, moment FROM drawn "
        "UNION ALL SELECT 'r' || n, n, true, moment + INTERVAL 400 MILLISECOND FROM drawn WHERE retries",
        "INSERT INTO session_versions BY NAME SELECT id AS session_id, 1 AS version, 'final' AS state, "
        "moment AS started_at, moment AS ended_at, moment AS start_ts, if(leaves, 1, 20) AS events, "
        "true AS has_start, NOT leaves AS is_started, 'live' AS content_id FROM made",
        "INSERT INTO start_requests SELECT id, md5('' || n)[:16], moment FROM made",
        f"UPDATE ledger_p000 SET watermark = make_timestamptz({NOON_MS + 2 * MINUTE_MS}::BIGINT * 1000)",
    )
    asked = "SELECT count(*) FILTER (NOT is_started) / count(*), count(*) FROM counted_sessions"
    ((share, counted),) = lake.ask(asked)
    ((truth,),) = lake.ask("SELECT avg((hash(n) % 1000 < 203)::INT) FROM range(100000) AS t(n)")
    assert counted == 100_000
    assert abs(share - truth) < 0.002


# ---- by what a request is known again


def request(
    body: bytes = b"{}", *, peer: str = "192.0.2.1", agent: bytes = b"player", received: datetime = NOON
) -> Request:
    return Request({b"user-agent": agent}, b"", None, received, peer, body)


def test_the_hash_is_of_body_address_and_user_agent() -> None:
    """The same request has the same, any other another; and it is 64 bits."""
    (said,) = request_hashes(b"key", request())
    assert request_hashes(b"key", request(received=NOON + timedelta(seconds=50))) == [said]
    others = [request(b"[]"), request(peer="192.0.2.2"), request(agent=b"other")]
    assert len({said, *(request_hashes(b"key", other)[0] for other in others)}) == 4
    assert request_hashes(b"another key", request()) != [said]
    assert len(said) == 16


def test_requests_behind_a_proxy_are_told_by_whom_it_forwards() -> None:
    """Two viewers behind one proxy, and one viewer by two proxies."""
    a, b = (
        replace(request(), headers={b"user-agent": b"player", b"x-forwarded-for": address})
        for address in (b"203.0.113.1", b"203.0.113.2")
    )
    assert request_hashes(b"key", a) != request_hashes(b"key", b)
    assert request_hashes(b"key", a) == request_hashes(b"key", replace(a, peer="192.0.2.9"))


def test_hashes_of_two_days_cannot_be_compared_but_for_the_first_minute() -> None:
    """Just before midnight one, just after it both, a minute later the new one."""
    midnight = datetime(2026, 9, 22, tzinfo=UTC)
    moments = [midnight + timedelta(seconds=second) for second in (-1, 30, 61)]
    before, around, after = (request_hashes(b"key", request(received=moment)) for moment in moments)
    assert (len(before), len(around), len(after)) == (1, 2, 1)
    assert set(around) == {*before, *after}
    assert before != after
