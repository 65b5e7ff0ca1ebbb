"""Content that begins again, players that are torn down, and buffering that a seek causes."""

import pytest
from rigs.watched import doings, pings, played, started, watched


@pytest.mark.parametrize("clip_s", [60, 15, 27.5])
@pytest.mark.parametrize("ahead_s", [0, 0.25, 4])
def test_a_looping_clip_plays_on(clip_s: float, ahead_s: float) -> None:
    """Five minutes of pings of 10 s over a clip that begins again: no seek, and every second of it is played."""
    rows = [started(length_s=clip_s), (0, "play", ahead_s), *pings(0, 300, head=ahead_s, to=clip_s)]
    facts = watched(*rows)
    assert (facts.content_time_s, facts.seeks, facts.unique_played_s, facts.stalls) == (300, 0, clip_s, 0)
    assert facts.loops == int((300 + ahead_s) // clip_s) - (rows[-1][2] == 0)
    assert sum((high - low) * passes for low, high, passes in played(facts)) == pytest.approx(300)
    assert "looped" in facts.flags


def test_a_seek_back_is_no_loop() -> None:
    """From 50 to 20 of 60 in 10 s: 30 s would have passed over the end."""
    back = [(60, "ping", 20), (70, "ping", 30)]
    facts = watched(started(length_s=60), (0, "play", 0), *pings(0, 50, head=0), *back)
    assert (facts.seeks, facts.loops, facts.flags) == (1, 0, [])


def test_content_of_unknown_length_and_live_content_do_not_loop() -> None:
    """Nobody knows where it ends."""
    for start in (started(length_s=0), started(contentType="live")):
        facts = watched(start, (0, "play", 50), (10, "ping", 5), (20, "ping", 15))
        assert (facts.loops, facts.seeks) == (0, 1)


@pytest.mark.parametrize(
    "tail", [["ping"], ["ping", "ping", "sessionEnd"], ["pauseStart", "ping"], ["sessionEnd"]]
)
def test_the_playhead_of_a_player_torn_down_is_not_where_the_viewer_left(tail: list[str]) -> None:
    """20 minutes, and then the last events say 0."""
    rows = [started(), (0, "play", 0), *pings(0, 1_200, head=0)]
    rows += [(1_201 + 10 * n, name, 0) for n, name in enumerate(tail)]
    facts = watched(*rows)
    assert (facts.last_playhead_s, facts.seeks, facts.unique_played_s) == (1_200, 0, 1_200)
    assert "playhead_reset" in facts.flags


def test_a_playhead_that_goes_on_from_zero_was_a_seek() -> None:
    """Back to 0 at 60, and on: one seek, and the last playhead is that of the last event."""
    rows = [started(), (0, "play", 0), *pings(0, 60, head=0), (61, "ping", 0), *pings(61, 91, head=0)]
    facts = watched(*rows)
    assert (facts.last_playhead_s, facts.seeks, facts.flags) == (30, 1, [])


def test_an_unknown_playhead_after_a_reset_does_not_undo_it() -> None:
    """0, then unknown."""
    facts = watched(started(), (0, "play", 0), *pings(0, 60, head=0), (61, "ping", 0), (62, "sessionEnd", -1))
    assert (facts.last_playhead_s, facts.seeks) == (60, 0)


def test_a_clip_torn_down_where_it_would_begin_again_has_not_begun_again() -> None:
    """60 s long, the last ping says 0 when the second pass would begin: played to its end once."""
    facts = watched(started(length_s=60), (0, "play", 0), *pings(0, 60, head=0, to=60))
    assert (facts.loops, facts.last_playhead_s, facts.unique_played_s) == (0, 50, 60)


def test_a_player_torn_down_after_an_error_has_failed() -> None:
    """The playhead is 0 in the last ping: that is no sign of life."""
    rows = [started(), (0, "play", 0), *pings(0, 60, head=0), (60, "error", 60), (61, "ping", 0)]
    assert watched(*rows).is_failed
    assert not watched(*rows, (71, "ping", 10)).is_failed


def test_zero_from_the_start_is_no_reset() -> None:
    """Players that send 0 until they know better, and those that never leave 0."""
    facts = watched(started(), (0, "play", 0), (10, "ping", 0))
    assert (facts.last_playhead_s, facts.flags) == (0, [])


# ---- buffering that a seek causes

BEGIN = [started(), (0, "play", 0), (10, "ping", 10)]


@pytest.mark.parametrize(
    "seek",
    [
        [(20, "bufferStart", 500)],
        [(19, "ping", 500), (20, "bufferStart", 501)],
        [(18, "ping", 500), (20, "bufferStart", 502)],
        [(15, "pauseStart", 15), (20, "bufferStart", 500)],
        [(20, "bufferStart", 20), (21, "ping", 500)],
    ],
    ids=["with it", "a second before", "two seconds before", "in a pause", "in the middle"],
)
def test_buffering_right_after_a_seek_has_its_own_time(seek: list[tuple[float, str, float]]) -> None:
    """Buffering 20 -> 24: rebuffering, and of it all is caused by the seek."""
    facts = watched(*BEGIN, *seek, (24, "play", 500), (34, "ping", 510))
    assert (facts.rebuffer_time_s, facts.rebuffers) == (4, 1)
    assert (facts.seek_buffer_time_s, facts.seek_buffers) == (4, 1)


def test_buffering_that_ends_elsewhere_was_caused_by_the_seek() -> None:
    """It begins at 20 with the old playhead, and the play says the new one."""
    facts = watched(*BEGIN, (20, "bufferStart", 20), (24, "play", 500), (34, "ping", 510))
    assert (facts.seek_buffer_time_s, facts.seek_buffers, facts.seeks) == (4, 1, 1)


def test_other_buffering_is_not_caused_by_a_seek() -> None:
    """Without a seek; 2.001 s after one; before content started; and the next one after one that was."""
    for rows in (
        [(20, "bufferStart", 20), (24, "play", 20)],
        [(18, "ping", 500), (20.001, "bufferStart", 502), (24, "play", 502)],
    ):
        facts = watched(*BEGIN, *rows)
        assert (facts.seek_buffer_time_s, facts.seek_buffers, facts.rebuffers) == (0, 0, 1)
    first = watched(started(), (1, "bufferStart", 0), (4, "play", 500), (14, "ping", 510))
    assert (first.seek_buffer_time_s, first.seek_buffers, first.buffer_time_s) == (0, 0, 3)
    rows = [(20, "bufferStart", 500), (24, "play", 500), (34, "bufferStart", 510), (37, "play", 510)]
    two = watched(*BEGIN, *rows)
    assert (two.seek_buffer_time_s, two.seek_buffers, two.rebuffer_time_s, two.rebuffers) == (4, 1, 7, 2)


def test_buffering_that_is_open_counts_so_far_and_completion_ends_it() -> None:
    """Buffering since 20, a ping at 25; or completed at 23."""
    facts = watched(*BEGIN, (20, "bufferStart", 500), (25, "ping", 500))
    assert (facts.seek_buffer_time_s, facts.rebuffer_time_s) == (5, 5)
    facts = watched(*BEGIN, (20, "bufferStart", 500), (23, "sessionComplete", 500), (25, "ping", 500))
    assert (facts.seek_buffer_time_s, facts.rebuffer_time_s) == (3, 3)


def test_buffering_that_turns_out_to_be_content_was_not_caused_by_a_seek() -> None:
    """After a seek, buffering at 20 and no play, while the playhead moves on."""
    facts = watched(*BEGIN, (20, "bufferStart", 500), (21, "ping", 500), *pings(21, 51, head=500))
    assert (facts.seek_buffer_time_s, facts.rebuffer_time_s, facts.content_time_s) == (1, 1, 50)
    assert doings(facts) == [("playing", 0, 20), ("buffering", 20, 21), ("playing", 21, 51)]
