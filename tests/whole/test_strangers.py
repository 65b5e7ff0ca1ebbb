"""What somebody can do who knows the id of another's session: be flagged, and change nothing of it."""

import time
from typing import Any

from rigs.ingest import event, session_start
from rigs.visits import API, KEY, TRACKING
from rigs.whole import Stack

from ingest.identity import pseudonym

MINUTES = 10
# What differs between two sessions that were watched alike: ids, and when and where their events were stored.
OWN = {
    *("session_id", "as_of", "as_of_offset", "first_offset", "first_received_at", "last_received_at"),
    *("last_moved_at", "clock_spread_ms", "version", "late_events", "log_partition"),
}


def watched(began_ms: int) -> list[dict[str, Any]]:
    """Return the events of ten minutes in which somebody watched, and then left."""
    minutes = [event("ping", ts=began_ms + n * 60_000, playhead=60.0 * n) for n in range(1, MINUTES + 1)]
    start = session_start() | {"playerTime": {"playhead": 0, "ts": began_ms}}
    end = event("sessionEnd", ts=began_ms + MINUTES * 60_000 + 1, playhead=60.0 * MINUTES)
    return [start, event("play", ts=began_ms, playhead=0.0), *minutes, end]


def test_a_stranger_ends_no_session_and_takes_none_over(stack: Stack) -> None:
    """A sessionEnd of 1970 in mid-session, then another tracking session: flagged, and all else is as without.

    What the player says afterwards is answered 204 and counted; end, user and every number are the player's.
    """
    owner, stranger = (stack.post(TRACKING, {"user_id": name}, headers=API) for name in ("owner", "stranger"))
    own, other = ({"X-JAY-TRACKING": made.headers["x-jay-tracking"]} for made in (owner, stranger))
    events = watched(int(time.time() * 1000) - MINUTES * 60_000 - 5_000)
    middle = len(events) - 4  # more than five minutes have been watched
    undisturbed = stack.play(events, headers=own)
    session = stack.play(events[:middle], headers=own)
    path = f"/api/v1/sessions/{session}/events"
    stack.session(session, events=middle)
    for end in (event("sessionEnd", ts=1), event("sessionEnd", ts=events[2]["playerTime"]["ts"])):
        assert stack.post(path, end, headers=other).status_code == 204
    row = stack.until("FROM sessions WHERE session_id = ? AND events_ignored > 0", session)[0]
    assert (row["state"], row["close_reason"]) == ("provisional", None)
    for index, said in enumerate(events[middle:]):
        assert stack.post(path, said, headers=other if index == 1 else own).status_code == 204
    whole = "FROM sessions WHERE session_id = ? AND state = 'final' AND user_id IS NOT NULL"
    alone, row = (stack.until(whole, id)[0] for id in (undisturbed, session))
    assert row["user_id"] == pseudonym(KEY, "user", "owner")
    assert (row["close_reason"], row["events"], row["content_time_s"]) == ("ended", len(events), MINUTES * 60)
    assert (row["events_ignored"], set(row["flags"])) == (2, {*alone["flags"], "end_ignored", "tracking_changed"})
    assert {name for name, value in row.items() if value != alone[name]} <= OWN | {"events_ignored", "flags"}
