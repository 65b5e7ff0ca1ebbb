"""Look-ups in the lake: what decides about an event is found, and no more files are read than may have it."""

from pathlib import Path

import duckdb
import pytest
from rigs.lake import Lake, write
from rigs.session_model import NOON_MS, make_event, no_time, session_id

from consumers.share import Share
from lake.history import StoredEvents
from sessions.event import Event

MINTED, DERIVED = session_id(1, NOON_MS), session_id(2, 0)
PINGS = 50  # more than DuckLake keeps in its catalogue


def pings(session: str, first_offset: int) -> list[Event]:
    """Return so many pings of a session, a second apart."""
    return [
        make_event("ping", session_id=session, ts=NOON_MS + 1_000 * n, offset=first_offset + n, playhead_s=n)
        for n in range(PINGS)
    ]


def files_of_events(lake: Lake) -> set[Path]:
    return set((lake.settings.data_dir / "lake").rglob("events/**/*.parquet"))


@pytest.mark.parametrize("session", [MINTED, DERIVED], ids=["an id with its time", "a derived id"])
@pytest.mark.parametrize(
    "share", [Share(1.0, clock_s=lambda: 0.0), no_time()], ids=["folded again", "only stored"]
)
def test_a_late_event_is_looked_up_in_no_file_of_before_its_session(
    tmp_path: Path, session: str, share: Share
) -> None:
    """However large the lake has grown: the files of earlier sessions could as well be gone."""
    lake = Lake(tmp_path)
    with lake.writer() as writer:
        held = writer.load(0, None)
        write(writer, held, pings(session_id(9, NOON_MS - 60_000), 0))
        earlier = files_of_events(lake)
        write(writer, held, pings(session, PINGS))
        assert earlier < files_of_events(lake)
        for file in earlier:
            file.unlink()
        with writer.connection() as connection, pytest.raises(duckdb.Error, match="No such file"):
            dict(
                StoredEvents(connection, partition=0, open_as_of_offset=0).histories(
                    [session_id(9, NOON_MS - 60_000)], since={}
                )
            )
        late = make_event("pauseStart", session_id=session, ts=NOON_MS + 500, offset=2 * PINGS)
        again = make_event(
            "ping", session_id=session, ts=NOON_MS + 3_000, offset=2 * PINGS + 1, playhead_s=3, event_id="event-53"
        )
        write(writer, held, [late, again], share=share)
    assert lake.ask("SELECT event_id FROM duplicates") == [("event-53",)]


@pytest.mark.parametrize(
    "share", [Share(1.0, clock_s=lambda: 0.0), no_time()], ids=["folded again", "only stored"]
)
def test_so_is_a_late_event_to_a_closed_session_whose_id_says_nothing_of_its_age(
    tmp_path: Path, share: Share
) -> None:
    """The row of the session says from where in the log on it has events."""
    lake = Lake(tmp_path)
    with lake.writer() as writer:
        held = writer.load(0, None)
        write(writer, held, pings(session_id(9, NOON_MS - 60_000), 0))
        earlier = files_of_events(lake)
        end = make_event("sessionEnd", session_id=DERIVED, ts=NOON_MS + 60_000, offset=2 * PINGS)
        write(writer, held, [*pings(DERIVED, PINGS), end], renew=True)
        assert (DERIVED, "final", PINGS) in lake.ask("SELECT session_id, state, first_offset FROM sessions")
        for file in earlier:
            file.unlink()
        late = make_event("pauseStart", session_id=DERIVED, ts=NOON_MS + 500, offset=2 * PINGS + 1)
        again = make_event(
            "ping", session_id=DERIVED, ts=NOON_MS + 3_000, offset=2 * PINGS + 2, playhead_s=3, event_id="event-53"
        )
        write(writer, held, [late, again], share=share)
    assert lake.ask("SELECT event_id FROM duplicates") == [("event-53",)]


def test_a_new_session_that_is_taken_for_a_known_one_is_looked_up_among_recent_events(tmp_path: Path) -> None:
    """One of 500 whose ids say nothing of their age: all older events are of sessions that have rows."""
    lake = Lake(tmp_path)
    with lake.writer() as writer:
        held = writer.load(0, None)
        write(writer, held, pings(session_id(9, NOON_MS - 60_000), 0), renew=True)
        for file in files_of_events(lake):
            file.unlink()
        with writer.connection() as connection:
            stored = StoredEvents(connection, partition=0, open_as_of_offset=held.ledger.open_as_of_offset)
            assert dict(stored.histories([DERIVED], since={})) == {}
            new = make_event("ping", session_id=DERIVED, ts=NOON_MS, offset=PINGS)
            assert stored.known([new], without_moments=(), since={}) == {}
