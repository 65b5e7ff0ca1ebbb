"""By how much a player's clock is off, and what depends on arrival."""

import msgspec
from rigs.drawn_sessions import T0
from rigs.watched import START, made, watched

from sessions.fold import fold_all


def test_a_constant_difference_between_clocks_is_the_clock_offset() -> None:
    """The player's clock is an hour slow; the quickest of the events took 30 ms: offset 3600.030 s."""
    rows = [(0, "sessionStart", 0), (0, "play", 0), (10, "ping", 10), (20, "ping", 20)]
    delays = (80, 30, 900, 45)
    events = [
        made(row, offset, delay_ms=3_600_000 + delay)
        for offset, (row, delay) in enumerate(zip(rows, delays, strict=True))
    ]
    facts = fold_all(events)
    assert (facts.clock_offset_ms, facts.clock_spread_ms) == (3_600_030, 870)
    assert (facts.started_ms, facts.ended_ms) == (T0 + 3_600_030, T0 + 3_620_030)
    assert (facts.start_ms, facts.content_time_s) == (T0, 20)


def test_an_upload_after_the_fact_says_nothing_of_the_clock() -> None:
    """100 s of events arrive 10 ms apart, 5 h later: offset 0; delays 5 h + 10 ms to 5 h + 30 ms - 100 s."""
    rows = [(0, "sessionStart", 0), (0, "play", 0), (50, "ping", 50), (100, "ping", 100)]
    events = [
        msgspec.structs.replace(made(row, offset), received_ms=T0 + 18_000_000 + 10 * offset)
        for offset, row in enumerate(rows)
    ]
    facts = fold_all(events)
    assert (facts.clock_offset_ms, facts.started_ms) == (0, T0)
    assert facts.clock_spread_ms == 10 - (30 - 100_000)


def test_one_late_straggler_does_not_move_the_clock() -> None:
    """Three events took 40 ms and one five minutes: the offset is 40 ms."""
    rows = [(0, "sessionStart", 0), (0, "play", 0), (20, "ping", 20)]
    straggler = made((10, "ping", 10), 3, delay_ms=300_000)
    facts = fold_all([*(made(row, offset) for offset, row in enumerate(rows)), straggler])
    assert (facts.clock_offset_ms, facts.clock_spread_ms) == (40, 300_000 - 40)


def test_downloaded_content_has_no_clock_offset() -> None:
    """Uploads of sessions watched offline are dated by the player."""
    start = {"params": START | {"media.downloaded": True}}
    facts = watched((0, "sessionStart", 0, start), (1, "play", 0))
    assert (facts.is_downloaded, facts.clock_offset_ms, facts.started_ms) == (True, 0, T0)


def test_a_timestamp_of_the_far_future_is_ordered_by_arrival() -> None:
    """The player says tomorrow and the day after; the ping arrived at second 10: 10 s of content."""
    ahead = msgspec.structs.replace(
        made((10, "ping", 10), 2), client_ms=T0 + 200_000_000, flags=("future_ts",), received_ms=T0 + 10_000
    )
    facts = fold_all([made((0, "sessionStart", 0), 0), made((0, "play", 0), 1), ahead])
    assert (facts.content_time_s, facts.clock_offset_ms) == (10, 0)


def test_closing_depends_on_the_order_of_arrival() -> None:
    """The playhead last moved in the event that arrived at 10.04 s; the last arrival was at 30.04 s."""
    facts = watched(
        (0, "sessionStart", 0), (0, "play", 0), (10, "pauseStart", 10), (20, "ping", 10), (30, "ping", 10)
    )
    assert facts.last_moved_received_ms == T0 + 10_040
    assert (facts.first_received_ms, facts.last_received_ms) == (T0 + 40, T0 + 30_040)
