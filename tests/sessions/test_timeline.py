"""A session event by event, as `session show` prints it: what is remarked of each event."""

from rigs.watched import Row, made, pings

from sessions.fold import begun
from sessions.timeline import lines_of


def remarks(*rows: Row) -> dict[float, list[str]]:
    """Return what is remarked of the events, by their second; only of those of which anything is."""
    fold, events = begun(made(row, offset) for offset, row in enumerate(rows))
    _, lines = lines_of(events, fold)
    return {line.at_s: line.remarks for line in lines if line.remarks}


PLAYED: list[Row] = [(0, "sessionStart", 0), (0, "play", 0), (10, "ping", 10)]


def test_an_event_that_was_under_way_for_long_has_a_remark() -> None:
    """The ping of second 20 arrives 6 s later than the fastest event."""
    late = made((20, "ping", 20), 3).received_ms + 6_000
    assert remarks(*PLAYED, (20, "ping", 20, {"received_ms": late}), (30, "ping", 30)) == {
        20: ["took 6.0 s to arrive"]
    }


def test_no_delay_is_remarked_of_a_session_that_was_uploaded_later() -> None:
    """All of it arrives within two seconds, an hour later."""
    base = made((3_600, "ping", 0), 0).received_ms
    rows = [(*row, {"received_ms": base + 100 * n}) for n, row in enumerate([*PLAYED, (20, "ping", 20)])]
    assert remarks(*rows) == {}


def test_the_event_that_makes_a_stall_has_a_remark() -> None:
    """The playhead is 10 from second 10 to 30: the second observation decides."""
    assert remarks(*PLAYED, *pings(10, 30, head=10, rate=0)) == {30: ["a stall: the playhead did not move"]}


def test_events_outside_of_the_session_have_a_remark() -> None:
    """A ping before the sessionStart, and one after the sessionEnd."""
    found = remarks((-5, "ping", 0), *PLAYED, (20, "sessionEnd", 20), (25, "ping", 20))
    assert found == {-5: ["before sessionStart"], 25: ["after the session's end: stored, not counted"]}
