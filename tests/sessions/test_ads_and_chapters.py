"""Ad breaks, ads and chapters as players tell them: how long each was, and how it ended."""

from rigs.watched import watched


def test_an_ad_plays_from_its_start_without_a_play_and_content_goes_on_after_the_break() -> None:
    """Paused for the break at 10, the ad plays 10 -> 20; after it the pause goes on until the play at 22."""
    facts = watched(
        (0, "sessionStart", 0),
        (0, "play", 0),
        (10, "pauseStart", 10),
        (10, "adBreakStart", 10),
        (10, "adStart", 10),
        (20, "adComplete", 10),
        (20, "adBreakComplete", 10),
        (22, "play", 10),
        (25, "ping", 13),
    )
    assert (facts.ad_time_s, facts.pause_time_s, facts.content_time_s) == (10, 2, 13)


def test_play_during_a_preroll_is_ad_play() -> None:
    """The play at 0 belongs to the ad; content starts at 16, one second after the break: startup 1 s."""
    facts = watched(
        (0, "sessionStart", 0),
        (0, "adBreakStart", 0),
        (0, "adStart", 0),
        (0, "play", 0),
        (15, "adComplete", 0),
        (15, "adBreakComplete", 0),
        (16, "play", 0),
        (20, "ping", 4),
    )
    assert (facts.ad_time_s, facts.join_s, facts.content_time_s, facts.startup_s) == (15, 1, 4, 1)
    stopped = watched(
        (0, "sessionStart", 0), (0, "adBreakStart", 0), (0, "adStart", 0), (0, "play", 0), (9, "sessionEnd", 0)
    )
    assert (stopped.is_started, stopped.startup_s, stopped.ads_aborted, stopped.ad_time_s) == (False, None, 1, 9)


def test_pause_and_buffering_inside_an_ad_are_not_ad_time() -> None:
    """Ad 0 -> 20 with a pause 5 -> 9 and buffering 12 -> 13: 15 s of ad, 4 of pause, 1 of buffering."""
    facts = watched(
        (0, "sessionStart", 0),
        (0, "adBreakStart", 0),
        (0, "adStart", 0),
        (5, "pauseStart", 0),
        (9, "play", 0),
        (12, "bufferStart", 0),
        (13, "play", 0),
        (20, "adComplete", 0),
    )
    assert (facts.ad_time_s, facts.pause_time_s, facts.buffer_time_s, facts.ads[0].time_s) == (15, 4, 1, 15)
    assert (facts.rebuffers, facts.rebuffer_time_s) == (0, 0)


def test_the_end_of_a_break_aborts_the_ad_that_is_open() -> None:
    """Three ads: complete, skipped, and cut off by the break's end; 2 s of the break are between ads."""
    facts = watched(
        (0, "sessionStart", 0),
        (0, "adBreakStart", 0),
        (0, "adStart", 0),
        (5, "adComplete", 0),
        (6, "adStart", 0),
        (9, "adSkip", 0),
        (10, "adStart", 0),
        (12, "adBreakComplete", 0),
    )
    assert [(ad.outcome, ad.time_s) for ad in facts.ads] == [("completed", 5), ("skipped", 3), ("aborted", 2)]
    assert (facts.ads_started, facts.ads_completed, facts.ads_skipped, facts.ads_aborted) == (3, 1, 1, 1)
    assert (facts.ad_breaks, facts.ad_breaks_completed, facts.idle_s, facts.ad_time_s) == (1, 1, 2, 10)
    assert (facts.breaks[0].ads, facts.breaks[0].time_s, facts.breaks[0].outcome) == (3, 12, "completed")


def test_what_is_open_at_the_last_event_is_closed_at_its_time_and_called_open() -> None:
    """Ad, chapter and state began at 0 resp. 2; the last event is at 8."""
    facts = watched(
        (0, "sessionStart", 0),
        (0, "play", 0),
        (2, "chapterStart", 2, {"params": {"media.chapter.index": 1}}),
        (2, "stateStart", 2, {"params": {"media.state.name": "mute"}}),
        (5, "adBreakStart", 5),
        (5, "adStart", 5),
        (8, "ping", 5),
    )
    assert [(ad.outcome, ad.time_s) for ad in facts.ads] == [("open", 3)]
    assert [(chapter.outcome, chapter.time_s) for chapter in facts.chapters] == [("open", 3)]
    assert [(s.name, s.starts, s.time_s, s.is_on) for s in facts.player_states] == [("mute", 1, 6, True)]
    assert (facts.ads_aborted, facts.ad_breaks_completed) == (0, 0)


def test_a_session_end_aborts_what_is_open() -> None:
    """The same, ended: aborted, and the state is off."""
    facts = watched(
        (0, "sessionStart", 0),
        (0, "play", 0),
        (2, "chapterStart", 2),
        (2, "stateStart", 2, {"params": {"media.state.name": "mute"}}),
        (8, "sessionEnd", 8),
    )
    assert [(chapter.outcome, chapter.time_s) for chapter in facts.chapters] == [("aborted", 6)]
    assert [(s.time_s, s.is_on) for s in facts.player_states] == [(6, False)]


def test_chapter_time_is_content_only() -> None:
    """Chapter 0 -> 20 with a pause of 4 and an ad break of 5: 11 s. The next one is skipped after 2 s."""
    facts = watched(
        (0, "sessionStart", 0),
        (0, "chapterStart", 0),
        (0, "play", 0),
        (3, "pauseStart", 3),
        (7, "play", 3),
        (10, "adBreakStart", 6),
        (10, "adStart", 6),
        (15, "adBreakComplete", 6),
        (20, "chapterComplete", 11),
        (20, "chapterStart", 11),
        (22, "chapterSkip", 13),
    )
    assert [(chapter.outcome, chapter.time_s) for chapter in facts.chapters] == [("completed", 11), ("skipped", 2)]
    assert (facts.chapters_started, facts.chapters_completed) == (2, 1)
