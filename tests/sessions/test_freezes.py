"""The player reports that it plays, and the playhead does not move: what that is."""

from typing import Any

import pytest
from rigs.watched import doings, pings, started, watched

BEGIN = [started(), (0, "play", 0)]


def still(since_s: float, until_s: float, *, at: float, every_s: float = 10) -> list[Any]:
    """Write pings at one playhead."""
    return pings(since_s, until_s, head=at, every_s=every_s, rate=0)


def test_recorded_video_whose_playhead_never_moves_is_unknown() -> None:
    """300 s of pings at 0: nobody knows whether anybody saw anything."""
    facts = watched(*BEGIN, *still(0, 300, at=0))
    assert (facts.content_time_s, facts.stall_time_s, facts.gap_s, facts.stalls) == (0, 0, 300, 0)
    assert (facts.flags, doings(facts)) == (["playhead_never_moved"], [("unknown", 0, 300)])


def test_a_playhead_that_moves_later_was_stalled_before() -> None:
    """A minute at 0, then it plays for half a minute."""
    facts = watched(*BEGIN, *still(0, 60, at=0), *pings(60, 90, head=0))
    assert (facts.content_time_s, facts.stall_time_s, facts.gap_s, facts.stalls) == (30, 60, 0, 1)
    assert (facts.flags, doings(facts)) == (["playhead_stood"], [("stalled", 0, 60), ("playing", 60, 90)])


@pytest.mark.parametrize(
    "params", [{"contentType": "live"}, {"streamType": "audio"}, {"length": 0}, {"length": None}]
)
def test_other_content_plays_although_its_playhead_never_moves(params: dict[str, Any]) -> None:
    """Live, audio, or of unknown length: some players send no playhead. Also with a ping a minute."""
    start = started(**params)
    assert watched(start, (0, "play", 0), *still(0, 300, at=0)).content_time_s == 300
    assert watched(start, (0, "play", 0), *still(0, 300, at=0, every_s=60)).content_time_s == 300


def test_a_live_playhead_that_does_not_move_is_no_stall() -> None:
    """Live content plays as the player reports."""
    facts = watched(started(contentType="live"), (0, "play", 50), (10, "ping", 60), *still(10, 60, at=60))
    assert (facts.content_time_s, facts.stalls, facts.flags) == (60, 0, [])


def test_two_observations_make_a_stall_if_they_span_15_s_and_three_always_do() -> None:
    """Pings of 10 s: two. Of 5 s: three, two of them spanning 10 s. Of 1 s: three."""
    for every_s, needed in ((10, 2), (7.5, 2), (7.4, 3), (5, 3), (1, 3), (0.5, 3)):
        rows = [*BEGIN, (10, "ping", 10), *still(10, 10 + every_s * needed, at=10, every_s=every_s)]
        facts, before = watched(*rows), watched(*rows[:-1])
        assert facts.stalls == 1
        assert facts.stall_time_s == pytest.approx(every_s * needed)
        assert before.stalls == 0
        assert before.content_time_s == pytest.approx(10 + every_s * (needed - 1))


def test_a_stall_goes_on_over_a_chapter_and_not_over_a_pause() -> None:
    """Frozen 10 -> 40; a chapter begins at 30; a pause 40 -> 50; then 10 s more at the same playhead."""
    rows = [*BEGIN, (10, "ping", 10), *still(10, 30, at=10), (30, "chapterStart", 10), (40, "pauseStart", 10)]
    facts = watched(*rows, (50, "play", 10), (60, "ping", 10))
    assert (facts.stall_time_s, facts.stalls, facts.pause_time_s, facts.content_time_s) == (30, 1, 10, 20)


def test_a_playhead_that_does_not_move_after_an_error_is_idle() -> None:
    """Plays to 20, an error, 30 s of pings."""
    rows = [*BEGIN, (10, "ping", 10), (20, "error", 20), *still(20, 50, at=20)]
    facts = watched(*rows)
    assert (facts.content_time_s, facts.idle_s, facts.stall_time_s, facts.is_failed) == (20, 30, 0, True)
    assert (facts.flags, doings(facts)) == (["stood_after_error"], [("playing", 0, 20), ("idle", 20, 50)])


def test_an_error_is_over_when_the_playhead_moves_or_a_play_comes() -> None:
    """It moves at 60: content again. Or a play comes at 50, and 30 s at one playhead are a stall."""
    rows = [*BEGIN, (10, "ping", 10), (20, "error", 20), *still(20, 50, at=20)]
    moved = watched(*rows, *pings(50, 80, head=20))
    assert (moved.content_time_s, moved.idle_s, moved.is_failed) == (50, 30, False)
    again = watched(*rows, (50, "play", 20), *still(50, 80, at=20))
    assert (again.content_time_s, again.idle_s, again.stall_time_s) == (20, 30, 30)


def test_an_error_in_a_stall_ends_it() -> None:
    """Frozen 10 -> 40 with an error at 30."""
    facts = watched(*BEGIN, (10, "ping", 10), *still(10, 30, at=10), (30, "error", 10), (40, "ping", 10))
    assert (facts.stall_time_s, facts.idle_s) == (20, 10)


def test_a_playhead_that_stays_at_the_end_is_idle_at_once() -> None:
    """Content of 30 s; the last ping says 30 at 30 s, the end comes at 39.9 s."""
    facts = watched(started(length_s=30), (0, "play", 0), *pings(0, 30, head=0), (39.9, "sessionEnd", 30))
    assert (facts.content_time_s, facts.idle_s, facts.stalls) == (30, 9.9, 0)
    assert facts.flags == ["stood_at_end"]


def test_what_follows_reaching_the_end_is_idle() -> None:
    """The ping at 20 says 20, the one at 40 says 30 of 30: 10 s were left to play."""
    facts = watched(started(length_s=30), (0, "play", 0), *pings(0, 20, head=0), (40, "ping", 30))
    assert (facts.content_time_s, facts.idle_s, facts.gap_s, facts.unique_played_s) == (30, 10, 0, 30)
    assert doings(facts) == [("playing", 0, 30), ("idle", 30, 40)]
    near = watched(started(length_s=30), (0, "play", 0), *pings(0, 20, head=0), (32, "ping", 30))
    assert (near.content_time_s, near.idle_s) == (32, 0)


def test_a_playhead_that_fell_to_zero_and_stays_there_is_idle() -> None:
    """Plays to 20, then pings at 0 until 50."""
    facts = watched(*BEGIN, *pings(0, 20, head=0), (30, "ping", 0), *still(30, 50, at=0))
    assert (facts.content_time_s, facts.idle_s, facts.stall_time_s, facts.last_playhead_s) == (30, 20, 0, 20)
    assert facts.flags == ["stood_at_zero", "playhead_reset"]


def test_bitrate_and_chapters_lose_what_turns_out_to_be_a_stall() -> None:
    """Chapter 0 -> 40 with a stall 10 -> 30; 1000 bit/s up to 20, then 3000: 10 s of each were content."""
    qoe = {"qoe": {"media.qoe.bitrate": 3000}}
    rows = [started(), (0, "chapterStart", 0), (0, "play", 0, {"qoe": {"media.qoe.bitrate": 1000}})]
    facts = watched(*rows, (10, "ping", 10), (20, "ping", 10, qoe), (30, "ping", 10), (40, "chapterComplete", 20))
    assert (facts.chapters[0].time_s, facts.average_bitrate_bps) == (20, 2000)


def test_a_session_start_after_other_events_ends_a_freeze_and_takes_no_time() -> None:
    """Three observations of one playhead, the third being the sessionStart: no stall, and no time of its own."""
    rows = [(0, "play", 30), (1, "ping", 31), (1.5, "ping", 31), (2, "ping", 31), (2.5, "sessionStart", 31)]
    facts = watched(*rows, (12.5, "ping", 41))
    assert (facts.content_time_s, facts.stalls, facts.stall_time_s) == (12, 0, 0)


def test_a_stall_lasts_into_the_interval_in_which_the_playhead_moves_again() -> None:
    """Frozen 10 -> 30; in the next 20 s it moves 10, so it froze for half of them. Then it freezes again."""
    rows = [*BEGIN, (10, "ping", 10), *still(10, 30, at=10), (50, "ping", 20)]
    facts = watched(*rows)
    assert (facts.content_time_s, facts.stall_time_s, facts.stalls, facts.gap_s) == (20, 30, 1, 0)
    assert doings(facts) == [("playing", 0, 10), ("stalled", 10, 40), ("playing", 40, 50)]
    again = watched(*rows, *still(50, 70, at=20))
    assert (again.content_time_s, again.stall_time_s, again.stalls) == (20, 50, 2)


def test_the_bitrate_of_audio_whose_playhead_never_moves_is_that_of_its_time() -> None:
    """40 s at 1000 bit/s, 20 s at 3000; if the playhead moves later, only what it passed over has a bitrate."""
    quality = [{"qoe": {"media.qoe.bitrate": bitrate}} for bitrate in (1000, 3000, 5000)]
    rows = [started(streamType="audio"), (0, "play", 0, quality[0]), *still(0, 30, at=0)]
    rows += [(40, "ping", 0, quality[1]), *still(40, 60, at=0)]
    assert watched(*rows).average_bitrate_bps == pytest.approx(100_000 / 60)
    assert watched(*rows, (60, "ping", 0, quality[2]), *pings(60, 90, head=0)).average_bitrate_bps == 5000


@pytest.mark.parametrize(("stream_type", "chapter_s"), [("audio", 30), ("video", 0)])
def test_a_chapter_that_has_closed_keeps_what_was_content_by_then(stream_type: str, chapter_s: float) -> None:
    """The playhead first moves after the chapter's end: a stall, of which an audio chapter has the time."""
    rows = [started(streamType=stream_type), (0, "chapterStart", 0), (0, "play", 0), *still(0, 30, at=0)]
    facts = watched(*rows, (30, "chapterComplete", 0), *pings(30, 60, head=0))
    assert (facts.content_time_s, facts.stall_time_s, facts.chapters[0].time_s) == (30, 30, chapter_s)
