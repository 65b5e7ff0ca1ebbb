"""What is known of the time in which a player says nothing."""

import pytest
from rigs.watched import AD, doings, pings, started, watched

BEGIN = [started(), (0, "play", 0)]
LIVE = [started(contentType="live"), (0, "play", 1000)]


def test_a_hidden_tab_plays_live_with_a_ping_a_minute() -> None:
    """Pings every 60.1 s for 30 minutes: 30 of them, 1803 s of content."""
    facts = watched(*LIVE, *pings(0, 1803, head=1000, every_s=60.1))
    assert (facts.content_time_s, facts.gap_s, facts.flags) == (1803, 0, [])


def test_a_podcast_at_half_speed_plays_through_its_silences() -> None:
    """12 pings of 61 s, 30.5 s further each: 732 s of content, 366 s of it played."""
    start = started(streamType="audio", contentType="podcast")
    facts = watched(start, (0, "play", 0), *pings(0, 732, head=0, every_s=61, rate=0.5))
    assert (facts.content_time_s, facts.unique_played_s, facts.gap_s, facts.playback_rate) == (732, 366, 0, 0.5)
    assert doings(facts) == [("playing", 0, 732)]


def test_a_silence_is_content_only_as_far_as_the_playhead_bears_it_out() -> None:
    """55 s without a word and 2 s further: 2 s of content, and 53 s nobody knows."""
    facts = watched(*BEGIN, (10, "ping", 10), (65, "ping", 12), (75, "ping", 22))
    assert (facts.content_time_s, facts.gap_s, facts.seeks, facts.unique_played_s) == (22, 53, 0, 22)
    assert doings(facts) == [("playing", 0, 12), ("unknown", 12, 65), ("playing", 65, 75)]
    assert facts.flags == ["not_borne_out"]


def test_a_playhead_that_stands_through_a_silence_bears_nothing_out() -> None:
    """After 10 s of play, 50 s without a word and at the same playhead: unknown."""
    facts = watched(*BEGIN, (10, "ping", 10), (60, "ping", 10), (70, "ping", 20))
    assert (facts.content_time_s, facts.gap_s, facts.stalls) == (20, 50, 0)


def test_a_short_silence_needs_no_playhead_to_bear_it_out() -> None:
    """Less than 15 s and 3 s further, once: one observation overrules nothing."""
    assert watched(*BEGIN, (14.999, "ping", 3)).content_time_s == 14.999
    assert watched(*BEGIN, (15, "ping", 3)).content_time_s == 3


def test_a_seek_in_a_silence_contradicts_nothing() -> None:
    """50 s without a word and 400 s further: the viewer sought, and watched."""
    facts = watched(*BEGIN, (10, "ping", 10), (60, "ping", 410), (70, "ping", 420))
    assert (facts.content_time_s, facts.gap_s, facts.seeks) == (70, 0, 1)


@pytest.mark.parametrize(("silent_s", "content_s"), [(90, 90), (90.001, 0)])
def test_live_content_may_be_silent_for_90_s(silent_s: float, content_s: float) -> None:
    """The live playhead is the clock, so it bears nothing out."""
    facts = watched(*LIVE, (silent_s, "ping", 1000 + silent_s))
    assert (facts.content_time_s, facts.gap_s) == (content_s, silent_s - content_s)
    assert facts.flags == ([] if content_s else ["long_silence"])


def test_a_long_silence_is_known_where_the_playhead_went_on_at_the_rate() -> None:
    """1.5x for a minute, then 200 s without a word and 300 s further: content, and played."""
    facts = watched(*BEGIN, *pings(0, 60, head=0, rate=1.5), (260, "ping", 390))
    assert (facts.content_time_s, facts.unique_played_s, facts.gap_s, facts.seeks) == (260, 390, 0, 0)
    partly = watched(*BEGIN, *pings(0, 60, head=0), (260, "ping", 160))
    assert (partly.content_time_s, partly.gap_s, partly.unique_played_s) == (60, 200, 60)


def test_a_device_that_sleeps_while_it_buffers_does_not_buffer_for_hours() -> None:
    """Buffering at 12, and the next word after 3 h: unknown, and no rebuffering."""
    facts = watched(*BEGIN, (10, "ping", 10), (12, "bufferStart", 12), (10_812, "play", 12), (10_822, "ping", 22))
    assert (facts.rebuffer_time_s, facts.gap_s, facts.rebuffers, facts.content_time_s) == (0, 10_800, 1, 22)
    ended = watched(*BEGIN, (10, "ping", 10), (12, "bufferStart", 12), (3_600, "sessionEnd", 12))
    assert (ended.rebuffer_time_s, ended.gap_s) == (0, 3_588)


@pytest.mark.parametrize(("waited_s", "rebuffer_s"), [(120, 120), (120.001, 0)])
def test_buffering_may_be_silent_for_two_minutes(waited_s: float, rebuffer_s: float) -> None:
    """Some players send no pings while they buffer."""
    facts = watched(*BEGIN, (10, "ping", 10), (12, "bufferStart", 12), (12 + waited_s, "play", 12))
    assert facts.rebuffer_time_s == rebuffer_s


def test_a_start_that_contains_a_long_silence_has_no_known_duration() -> None:
    """The first play after 3 h: it started, and nobody knows how long that took. Likewise in buffering."""
    facts = watched(started(), (10_800, "play", 0), (10_810, "ping", 10))
    assert (facts.is_started, facts.startup_s, facts.join_s, facts.content_time_s) == (True, None, 0, 10)
    assert facts.flags == ["long_silence", "startup_unknown"]
    buffered = watched(started(), (1, "bufferStart", 0), (10_800, "play", 0), (10_810, "ping", 10))
    assert (buffered.startup_s, buffered.rebuffer_time_s) == (None, 0)
    never = watched(started(), (10_800, "sessionEnd", 0))
    assert (never.startup_s, never.flags) == (None, ["long_silence"])


def test_a_silence_after_the_start_leaves_its_duration_known() -> None:
    """Started after 2 s; a pause of hours, and a silence in an ad break, are no part of startup."""
    facts = watched(started(), (2, "play", 0), (10, "pauseStart", 8), (9_000, "play", 8))
    assert (facts.startup_s, facts.pause_time_s, facts.gap_s) == (2, 8_990, 0)
    preroll = [(0, "adBreakStart", 0), (500, "adBreakComplete", 0), (501, "play", 0)]
    facts = watched(started(), *preroll)
    assert (facts.startup_s, facts.gap_s, facts.idle_s) == (1, 500, 0)


def test_an_ad_may_be_silent_for_its_own_length_more() -> None:
    """Of 90 s: 120 + 90 s, of which it plays its length and 5 s; a ms more is unknown from the first."""
    ad = {"params": AD | {"media.ad.length": 90.0}}
    begin = [started(), (0, "adBreakStart", 0), (0, "adStart", 0, ad)]
    facts = watched(*begin, (210, "adComplete", 0))
    assert (facts.ad_time_s, facts.gap_s, facts.flags) == (95, 115, ["ad_too_long"])
    facts = watched(*begin, (210.001, "adComplete", 0))
    assert (facts.ad_time_s, facts.gap_s, facts.flags) == (0, 210.001, ["long_silence"])


def test_silence_after_completion_is_idle() -> None:
    """Nothing counts there, however long nobody speaks."""
    facts = watched(*BEGIN, (10, "sessionComplete", 10), (7_210, "sessionEnd", 10))
    assert (facts.idle_s, facts.gap_s) == (7_200, 0)


def test_a_playhead_within_a_twentieth_of_a_long_interval_bears_it_out() -> None:
    """57.5 s further in a minute is a minute of content; 56.5 s are not."""
    facts = watched(*BEGIN, (60, "ping", 57.5))
    assert (facts.content_time_s, facts.gap_s, facts.flags) == (60, 0, [])
    facts = watched(*BEGIN, (60, "ping", 56.5))
    assert (facts.content_time_s, facts.gap_s, facts.flags) == (56.5, 3.5, ["not_borne_out"])
