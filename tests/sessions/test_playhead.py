"""What the playhead tells: played intervals, slips, resets, progress."""

import pytest
from rigs.watched import START, watched


def test_played_intervals_leave_out_what_was_jumped_over() -> None:
    """0 -> 10, a seek to 100, 100 -> 110, back to 5, 5 -> 15: 5 -> 10 twice, 25 different seconds."""
    facts = watched(
        (0, "sessionStart", 0),
        (0, "play", 0),
        (10, "pauseStart", 10),
        (11, "play", 100),
        (21, "ping", 110),
        (22, "ping", 5),
        (32, "ping", 15),
    )
    played = [(p.start_s, p.end_s, p.passes) for p in facts.played_intervals]
    assert played == [(0, 5, 1), (5, 10, 2), (10, 15, 1), (100, 110, 1)]
    assert (facts.unique_played_s, facts.seeks, facts.content_time_s) == (25, 2, 31)


def test_one_playhead_that_fits_neither_neighbour_is_a_slip() -> None:
    """37 at 80 s, 0 at 87 s, 45 at 88 s: played through, no seek."""
    facts = watched((0, "sessionStart", 0), (80, "play", 37), (87, "chapterComplete", 0), (88, "ping", 45))
    assert (facts.seeks, facts.unique_played_s) == (0, 8)


@pytest.mark.parametrize("odd", [0, -1, 599, 100_000])
def test_one_odd_playhead_amid_playing_changes_no_number(odd: float) -> None:
    """10 at 10 s, anything at 14 s, 18 at 18 s: 18 s in one piece, no seek, less than a tenth of 600 s reached."""
    facts = watched((0, "sessionStart", 0), (0, "play", 0), (10, "ping", 10), (14, "ping", odd), (18, "ping", 18))
    assert (facts.seeks, facts.unique_played_s, facts.progress_pct) == (0, 18, 0)
    assert [(played.start_s, played.end_s) for played in facts.played_intervals] == [(0, 18)]


def test_a_playhead_reset_at_the_last_event_is_no_seek() -> None:
    """Players go back to 0 when they end."""
    facts = watched((0, "sessionStart", 0), (0, "play", 0), (10, "ping", 10), (11, "sessionEnd", 0))
    assert (facts.seeks, facts.unique_played_s, facts.last_playhead_s) == (0, 10, 10)


def test_unknown_playheads_are_not_used_and_those_past_the_end_are_the_end() -> None:
    """-1 before it is known; 600 s of content, and a playhead of 605."""
    facts = watched(
        (0, "sessionStart", -1), (1, "play", -1), (2, "ping", 590), (12, "ping", 600), (17, "sessionComplete", 605)
    )
    assert (facts.first_playhead_s, facts.last_playhead_s, facts.unique_played_s) == (590, 600, 10)
    assert (facts.seeks, facts.progress_pct) == (0, 95)
    assert watched((0, "sessionStart", -1), (1, "play", -1)).last_playhead_s is None


def test_playheads_that_are_no_positions_at_all_do_no_harm() -> None:
    """Infinite and absurd numbers are unknown positions."""
    facts = watched((0, "sessionStart", 0), (0, "play", 0), (10, "ping", float("inf")), (20, "ping", 1e300))
    assert (facts.content_time_s, facts.unique_played_s, facts.seeks, facts.progress_pct) == (20, 0, 0, 0)


def test_live_playheads_wrap_at_midnight() -> None:
    """From 86,390 over midnight to 10: 20 s played, [86390, 86400) and [0, 10), no seek, no progress."""
    start = {"params": START | {"media.contentType": "live", "media.length": 86_400}}
    facts = watched((0, "sessionStart", 86_390, start), (0, "play", 86_390), (10, "ping", 0), (20, "ping", 10))
    assert [(p.start_s, p.end_s) for p in facts.played_intervals] == [(0, 10), (86_390, 86_400)]
    assert (facts.unique_played_s, facts.seeks, facts.progress_pct, facts.is_live) == (20, 0, None, True)


def test_progress_is_the_farthest_marker_that_content_reached() -> None:
    """Of 600 s: a jump from 5 % to 60 % passes 10, 25 and 50; without a play nothing is passed."""
    begin = [(0, "sessionStart", 30), (0, "play", 30)]
    assert watched(*begin).progress_pct == 0
    assert watched(*begin, (1, "pauseStart", 31), (2, "play", 360)).progress_pct == 50
    assert watched(*begin, (1, "ping", 570)).progress_pct == 95
    assert watched((0, "sessionStart", 300), (10, "ping", 300)).progress_pct == 0
    unknown = {"params": START | {"media.length": -1}}
    assert watched((0, "sessionStart", 0, unknown), (0, "play", 0), (9, "ping", 9)).progress_pct is None
