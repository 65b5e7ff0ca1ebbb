"""Ads whose ends are lost, ads that play too long, and ads outside of breaks."""

from typing import Any

import pytest
from rigs.watched import AD, doings, pings, started, watched

BEGIN = [started(), (0, "play", 0), (10, "ping", 10), (10, "adBreakStart", 10), (10, "adStart", 10)]


def ad_of(length_s: float) -> dict[str, Any]:
    """Make the params of an ad of this length."""
    return {"params": AD | {"media.ad.length": length_s}}


@pytest.mark.parametrize("lost", [{"adBreakComplete"}, {"adBreakComplete", "adComplete"}])
def test_content_plays_on_after_a_break_that_was_never_closed(lost: set[str]) -> None:
    """An ad of 15 s at 10, `play` at 25, 60 pings with a moving playhead: 15 s of ad, 610 s of content."""
    ends = [(25, "adComplete", 10), (25, "adBreakComplete", 10)]
    rows = [*BEGIN, *[row for row in ends if row[1] not in lost], (25, "play", 10), *pings(25, 625, head=10)]
    facts = watched(*rows)
    assert (facts.ad_time_s, facts.content_time_s, facts.idle_s, facts.gap_s) == (15, 610, 0, 0)
    assert (facts.ad_breaks, facts.ad_breaks_completed, facts.seeks) == (1, 0, 0)
    assert [(each.outcome, each.time_s) for each in facts.breaks] == [("aborted", 15)]
    assert [(ad.outcome, ad.time_s) for ad in facts.ads] == [("aborted" if len(lost) == 2 else "completed", 15)]
    assert facts.flags == ["break_unclosed"]
    assert doings(facts) == [("playing", 0, 10), ("ad", 10, 25), ("playing", 25, 625)]


def test_the_playhead_alone_closes_a_break() -> None:
    """Not even a play comes: an ad of 15 s at 10, and pings that move on since 25."""
    facts = watched(*BEGIN, (25, "ping", 10), *pings(25, 625, head=10))
    assert (facts.ad_time_s, facts.content_time_s, facts.gap_s) == (15, 610, 0)
    assert facts.flags == ["play_unsaid", "break_unclosed"]


@pytest.mark.parametrize("ends", [[], [(25, "adComplete", 25)]], ids=["the ad's end is lost", "it is not"])
def test_a_play_after_the_ads_is_one_of_content_if_no_ad_follows(ends: list[Any]) -> None:
    """The break's end is lost in live content, whose playhead proves nothing: the play at 25 says enough."""
    rows = [started(contentType="live"), (0, "play", 0), (10, "adBreakStart", 10), (10, "adStart", 10), *ends]
    facts = watched(*rows, (25, "play", 25), (26, "stateStart", 26), *pings(26, 86, head=26))
    assert (facts.ad_time_s, facts.content_time_s, facts.gap_s, facts.idle_s) == (15, 71, 0, 0)
    assert (facts.breaks[0].time_s, facts.breaks[0].outcome, facts.flags) == (15, "aborted", ["break_unclosed"])
    assert doings(facts)[1:] == [("ad", 10, 25), ("playing", 25, 86)]
    assert facts.unique_played_s == 71


@pytest.mark.parametrize("name", ["error", "chapterStart", "sessionStart"])
def test_an_event_of_content_soon_after_the_play_closes_the_break_at_once(name: str) -> None:
    """The play at 25 is one of content, although an ad starts 4 s later. A ping at 27 decides nothing."""
    rows = [
        (0, "play", 0),
        (10, "adBreakStart", 10),
        (10, "adStart", 10),
        (25, "adComplete", 10),
        (25, "play", 10),
    ]
    facts = watched(*rows, (27, name, 12), (29, "adStart", 14))
    assert [(each.outcome, each.time_s) for each in facts.breaks] == [("aborted", 15)]
    assert (facts.ads_outside_break, facts.content_time_s) == (1, 12 if name == "sessionStart" else 14)
    assert watched(*rows, (27, "ping", 12), (29, "adStart", 14)).breaks[0].outcome == "open"


def test_a_session_start_in_an_ad_outside_of_a_break_takes_no_time_and_its_playhead_counts() -> None:
    """Content plays on although an ad was started at 5, and the sessionStart comes at 9, a second further."""
    facts = watched((0, "play", 0), (5, "adStart", 5), (9, "sessionStart", 6), (19, "ping", 16))
    assert (facts.content_time_s, facts.unique_played_s, facts.seeks) == (15, 16, 0)


def test_an_unknown_playhead_after_the_play_does_not_interrupt_what_was_played() -> None:
    """The break's end is lost, the play at 25 says 10, the ping at 27 no playhead, the one at 37 says 22."""
    rows = [*BEGIN, (25, "adComplete", 10), (25, "play", 10), (27, "ping", -1), (37, "ping", 22), (47, "ping", 32)]
    facts = watched(*rows)
    assert (facts.unique_played_s, facts.seeks, facts.flags) == (32, 0, ["break_unclosed"])


def test_a_buffering_that_a_break_interrupts_ends_where_content_plays_on() -> None:
    """A seek, 2 s of buffering, a break whose end is lost, a play; then 3 s of buffering that no seek caused."""
    rows = [started(), (0, "play", 0), (10, "ping", 10), (11, "bufferStart", 300), (13, "adBreakStart", 300)]
    rows += [(13, "adStart", 300), (28, "adComplete", 300), (28, "play", 300), *pings(28, 68, head=300)]
    facts = watched(*rows, (70, "bufferStart", 342), (73, "play", 342), (80, "ping", 349))
    assert (facts.rebuffers, facts.rebuffer_time_s) == (2, 5)
    assert (facts.seek_buffers, facts.seek_buffer_time_s) == (1, 2)
    assert facts.flags == ["break_unclosed"]


@pytest.mark.parametrize(
    "rows",
    [
        [(24.9, "adComplete", 10), (25, "play", 10), (25.1, "adStart", 10), (35, "ping", 10)],
        [(25, "adComplete", 10), (25, "play", 10), (26, "ping", 10), (35, "adStart", 10)],
        [(25, "adComplete", 10), (25, "play", 10), (35, "adBreakComplete", 10)],
        [(20, "play", 10), (26, "adComplete", 10)],
        [(25, "pauseStart", 10), (27, "play", 10), (32, "adComplete", 10)],
        [(25, "adComplete", 10), (25, "play", 10), (28, "pauseStart", 10), (35, "ping", 10)],
    ],
    ids=["an ad follows", "an ad follows late", "the break ends", "early", "a pause ends", "a pause follows"],
)
def test_otherwise_a_play_in_a_break_is_one_of_the_ads(rows: list[Any]) -> None:
    """An ad or the break's end comes next, the ad has not played to its end, or the play ends a pause of it."""
    facts = watched(started(contentType="live"), (0, "play", 0), *BEGIN[2:], *rows)
    assert (facts.content_time_s, facts.flags) == (10, [])


def test_content_may_start_with_the_play_after_a_preroll_that_was_never_closed() -> None:
    """The play at 16 tells how long it took: 1 s of it was before the ad."""
    rows = [started(contentType="live"), (1, "adBreakStart", 0), (1, "adStart", 0), (16, "adComplete", 0)]
    facts = watched(*rows, (16.5, "play", 5), *pings(16.5, 66.5, head=5))
    assert (facts.startup_s, facts.join_s, facts.content_time_s, facts.is_started) == (1, 1, 50, True)
    assert (facts.first_playhead_s, facts.idle_s) == (5, 0.5)


def test_a_break_closed_by_the_playhead_is_over() -> None:
    """A second break comes after it, and is counted as itself; a late end of the first ends nothing."""
    rows = [*BEGIN, *pings(25, 65, head=10), (66, "adBreakComplete", 51), (70, "adBreakStart", 55)]
    facts = watched(*rows, (70, "adStart", 55), (85, "adComplete", 55), (85, "adBreakComplete", 55))
    assert [each.outcome for each in facts.breaks] == ["aborted", "completed"]
    assert (facts.ads_started, facts.ads_completed, facts.ad_time_s) == (2, 1, 30)


def test_an_ad_plays_no_longer_than_its_length_and_5_s() -> None:
    """15 s long, open for a minute of pings at one playhead: 20 s of ad, 40 s nobody knows."""
    facts = watched(*BEGIN, *pings(10, 70, head=10, rate=0))
    assert (facts.ad_time_s, facts.gap_s, facts.content_time_s) == (20, 40, 10)
    assert (facts.flags, doings(facts)[1:]) == (["ad_too_long"], [("ad", 10, 30), ("unknown", 30, 70)])


def test_a_pause_in_an_ad_does_not_count_towards_its_length() -> None:
    """10 s of ad, a minute of pause, 5 s of ad: all of the 15 s were the ad."""
    facts = watched(*BEGIN, (20, "pauseStart", 10), (80, "play", 10), (85, "adComplete", 10))
    assert (facts.ad_time_s, facts.pause_time_s, facts.gap_s) == (15, 60, 0)


@pytest.mark.parametrize("length", [0, -1, None])
def test_an_ad_of_no_length_is_bounded_by_silence_alone(length: Any) -> None:
    """5 minutes of pings in it are 5 minutes of ad."""
    rows = [*BEGIN[:-1], (10, "adStart", 10, ad_of(length)), *pings(10, 310, head=10, rate=0)]
    assert watched(*rows).ad_time_s == 300


def test_in_live_content_a_lost_end_of_an_ad_costs_what_follows() -> None:
    """The live playhead moves in ads too: 20 s of ad, and then nobody knows."""
    rows = [started(contentType="live"), (0, "play", 0), *BEGIN[2:], *pings(10, 110, head=10)]
    facts = watched(*rows)
    assert (facts.ad_time_s, facts.gap_s, facts.content_time_s) == (20, 80, 10)


def test_what_the_playhead_overrules_of_an_ad_may_lie_beyond_its_length() -> None:
    """Pings of 20 s: the ad of 15 s seems to play until 30; the playhead says that content plays since 26."""
    facts = watched(*BEGIN, (30, "ping", 14), (50, "ping", 34), (70, "ping", 54))
    assert (facts.ad_time_s, facts.gap_s, facts.content_time_s) == (16, 0, 54)
    late = watched(*BEGIN, (40, "ping", 18), (60, "ping", 38))
    assert (late.ad_time_s, late.gap_s, late.content_time_s) == (20, 2, 38)


OUTSIDE = [started(), (0, "play", 0), (10, "ping", 10), (20, "adStart", 20, ad_of(30))]


def test_an_ad_outside_of_a_break_is_an_ad_while_the_playhead_does_not_move() -> None:
    """Inserted by the server, without a break: content 30, ad outside of breaks 30, and no stall."""
    facts = watched(*OUTSIDE, (30, "ping", 20), (40, "ping", 20), (50, "adComplete", 20), (60, "ping", 30))
    assert (facts.content_time_s, facts.ad_time_outside_breaks_s, facts.ad_time_s) == (30, 30, 0)
    assert (facts.media_time_s, facts.stall_time_s, facts.ad_breaks) == (60, 0, 0)
    assert (facts.ads_outside_break, facts.ads_started, facts.ads_completed) == (1, 0, 0)
    assert [(ad.break_index, ad.time_s, ad.outcome, ad.length_s) for ad in facts.ads] == [
        (None, 30, "completed", 30)
    ]
    assert doings(facts) == [("playing", 0, 20), ("ad_outside", 20, 50), ("playing", 50, 60)]


def test_an_ad_outside_of_a_break_over_which_the_playhead_moves_is_content() -> None:
    """The playhead moves on, back or far: content, played or sought, and no time of an ad."""
    for heads, seeks in (((30, 40), 0), ((30, 20), 1), ((500, 510), 1)):
        moves = [(30 + 10 * n, "ping", head) for n, head in enumerate(heads)]
        facts = watched(*OUTSIDE, *moves, (50, "ping", 520))
        assert (facts.content_time_s, facts.ad_time_outside_breaks_s) == (50, 0)
        assert facts.seeks >= seeks


def test_an_ad_outside_of_a_break_is_over_after_its_length_and_5_s() -> None:
    """30 s long, its end is lost; after 35 s at one playhead it is content again, that stalls."""
    facts = watched(*OUTSIDE, *pings(20, 90, head=20, rate=0))
    assert (facts.ad_time_outside_breaks_s, facts.stall_time_s, facts.content_time_s) == (35, 30, 25)
    assert [(ad.outcome, ad.time_s) for ad in facts.ads] == [("aborted", 35)]


def test_an_ad_outside_of_a_break_before_content_is_no_startup() -> None:
    """The ad from 1 to 16, a play at 18: startup 3. Also where no play tells, but the playhead."""
    rows = [started(), (1, "adStart", 0), (16, "adComplete", 0)]
    facts = watched(*rows, (18, "play", 0), (28, "ping", 10))
    assert (facts.startup_s, facts.join_s, facts.ad_time_outside_breaks_s) == (3, 3, 15)
    facts = watched(*rows, (16, "ping", 0), *pings(16, 46, head=0))
    assert (facts.content_time_s, facts.ad_time_outside_breaks_s, facts.startup_s) == (30, 15, None)
    lost = watched(*rows[:2], (16, "ping", 0), *pings(16, 46, head=0))
    assert (lost.content_time_s, lost.ad_time_outside_breaks_s, lost.join_s) == (30, 15, 1)
    assert [(ad.outcome, ad.time_s) for ad in lost.ads] == [("aborted", 15)]
    over = watched(*rows[:2], *pings(1, 41, head=0, rate=0))
    assert (over.join_s, over.ad_time_outside_breaks_s) == (21, 20)


def test_a_play_does_not_end_an_ad_outside_of_a_break() -> None:
    """A play in the ad starts content, which the ad interrupts; a pause is a pause, and buffering is buffering."""
    rows = [started(), (1, "adStart", 0), (6, "play", 0), (11, "pauseStart", 0), (13, "bufferStart", 0)]
    facts = watched(*rows, (16, "play", 0), (21, "adComplete", 0), (31, "ping", 10))
    assert (facts.ad_time_outside_breaks_s, facts.pause_time_s, facts.rebuffer_time_s) == (15, 2, 3)
    assert (facts.startup_s, facts.content_time_s, facts.join_s) == (1, 10, 1)


def test_an_ad_outside_of_a_break_is_an_ad_in_live_content_and_with_unknown_playheads() -> None:
    """It plays as reported, up to its length and 5 s."""
    for start, head in ((started(contentType="live"), 5.0), (started(), -1.0)):
        facts = watched(start, (0, "play", head), (10, "adStart", head), (20, "ping", head), (60, "ping", head))
        assert (facts.ad_time_outside_breaks_s, facts.content_time_s) == (20, 40)


def test_bitrate_counts_for_content_and_not_for_ads_outside_of_breaks() -> None:
    """1000 bit/s for 10 s and after the ad's bound for 10 s, 5000 in the ad: what is content counts."""
    ping = {"qoe": {"media.qoe.bitrate": 5000}}
    rows = [started(contentType="live"), (0, "play", 0, {"qoe": {"media.qoe.bitrate": 1000}})]
    facts = watched(*rows, (10, "adStart", 10), (25, "ping", 25, ping), (40, "ping", 40))
    assert (facts.content_time_s, facts.average_bitrate_bps) == (20, 3000)


def test_a_break_aborts_an_ad_outside_of_it_and_so_does_another_ad() -> None:
    """Three ads: two outside of the break, one inside."""
    rows = [*OUTSIDE, (30, "adStart", 20), (40, "adBreakStart", 20), (40, "adStart", 20), (50, "adComplete", 20)]
    facts = watched(*rows)
    assert [(ad.outcome, ad.time_s) for ad in facts.ads] == [("aborted", 10), ("aborted", 10), ("completed", 10)]
    assert (facts.ads_outside_break, facts.ads_started, facts.ads_aborted, facts.ad_time_s) == (2, 1, 0, 10)
    assert watched(*OUTSIDE, (30, "sessionEnd", 20)).ads[0].outcome == "aborted"
    assert watched(*OUTSIDE, (30, "adSkip", 20)).ads[0].outcome == "skipped"


def test_an_ad_outside_of_a_break_may_be_silent_for_its_length_more() -> None:
    """Of 30 s: 150 s of silence, of which 35 were the ad; a ms more is unknown."""
    facts = watched(*OUTSIDE, (170, "adComplete", 20))
    assert (facts.ad_time_outside_breaks_s, facts.gap_s, facts.content_time_s) == (35, 0, 135)
    facts = watched(*OUTSIDE, (170.001, "adComplete", 20))
    assert (facts.ad_time_outside_breaks_s, facts.gap_s, facts.content_time_s) == (0, 150.001, 20)
