"""The picture of one session: states, bitrates, and arrivals, each where it happened by the true clock."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rigs.watched import Row, folded, made, pings

from lake.one_session import Timeline, timeline_of
from notebooks.filters import Choice
from notebooks.viewing import ARRIVED, SENT, Viewing, viewing

DAY_MS = 86_400_000
BEHIND_MS = 3_600_000
CHOICE = Choice(datetime(2026, 8, 3, tzinfo=UTC), datetime(2026, 8, 4, tzinfo=UTC), timedelta(1), {}, 1, "UTC")


def state(at_s: float, name: str, state: str) -> Row:
    """Write the beginning or the end of a player state."""
    return (at_s, name, at_s, {"params": {"media.state.name": state}})


ROWS: list[Row] = [
    (0, "sessionStart", 0),
    (0, "play", 0),
    (5, "bitrateChange", 5, {"qoe": {"media.qoe.bitrate": 900_000}}),
    state(8, "stateStart", "fullScreen"),
    *pings(0, 20, head=0),
    (25, "bitrateChange", 25, {"qoe": {"media.qoe.bitrate": 4_800_000}}),
    state(28, "stateEnd", "fullScreen"),
    state(29, "stateStart", "mute"),
    (40, "sessionEnd", 40),
]


def timeline(rows: list[Row], *, delay_ms: int = 40) -> Timeline:
    """Return the timeline of these rows, each arriving so much later."""
    events = [
        made(row, offset, delay_ms=delay_ms) for offset, row in enumerate(sorted(rows, key=lambda row: row[0]))
    ]
    return timeline_of(events, 0, length_ms=DAY_MS)


def shown(timeline: Timeline) -> Viewing:
    """Return what the picture shows of it, without spans."""
    return viewing(timeline, [], CHOICE)


def seconds(timeline: Timeline, rows: list[dict[str, Any]], edge: str = "at") -> list[float]:
    """Return when these rows are drawn, seconds from the session's start by the true clock."""
    return [datetime.fromisoformat(row[edge]).timestamp() - timeline.started_ms / 1000 for row in rows]


def test_a_player_state_is_drawn_while_it_is_on() -> None:
    """As long as the session counts it; what never ends is on until the session does."""
    its = timeline(ROWS)
    drawn = shown(its).states
    assert [row["state"] for row in drawn] == ["fullscreen", "mute"]
    assert seconds(its, drawn, "from") == pytest.approx([8, 29])
    assert seconds(its, drawn, "to") == pytest.approx([28, 40])
    counted = {each.name: each.time_s for each in folded(*sorted(ROWS, key=lambda row: row[0])).player_states}
    assert {row["state"]: row["seconds"] for row in drawn} == pytest.approx(counted)


def test_the_bitrate_is_that_of_the_report_before() -> None:
    """Nothing is drawn before the first report."""
    its = timeline(ROWS)
    drawn = shown(its).bitrates
    by_s = dict(zip(map(round, seconds(its, drawn)), (row["bitrate"] for row in drawn), strict=True))
    assert by_s == {5: 900_000, 8: 900_000, 10: 900_000, 20: 900_000} | dict.fromkeys((25, 28, 29, 40), 4_800_000)


def test_arrivals_are_marks_of_their_own() -> None:
    """A ping of second 20 that came 15 s later is drawn twice, and late both times; the others came at once."""
    slow = (20, "ping", 20, {"received_ms": made((20, "ping", 20), 0).received_ms + 15_000})
    rows = [slow if row[:2] == (20, "ping") else row for row in ROWS]
    its = timeline(rows)
    late = [row for row in shown(its).marks if row["is_late"]]
    assert [row["row"] for row in late] == [SENT, ARRIVED]
    assert seconds(its, late) == pytest.approx([20, 35.04], abs=0.05)


def test_a_wrong_clock_moves_nothing() -> None:
    """The player is an hour behind: its events are drawn by the true clock, as its spans and its arrivals are."""
    its = timeline(ROWS, delay_ms=BEHIND_MS)
    marks = shown(its).marks
    assert seconds(its, [row for row in marks if row["row"] == SENT]) == pytest.approx(
        seconds(its, [row for row in marks if row["row"] == ARRIVED]), abs=0.1
    )


def test_arrivals_long_after_the_session_are_counted_and_not_drawn() -> None:
    """One that comes an hour later would leave no room for the session."""
    slow = (20, "ping", 20, {"received_ms": made((20, "ping", 20), 0).received_ms + 3_600_000})
    rows = [slow if row[:2] == (20, "ping") else row for row in ROWS]
    drawn = shown(timeline(rows))
    assert drawn.left_out == 1
    assert len([row for row in drawn.marks if row["row"] == ARRIVED]) == len(ROWS) - 1
