"""The fold of a session: golden timelines and hand-computed rules."""

import json
import random
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rigs.drawn_sessions import T0, events_of, sessions
from rigs.watched import DELAY_MS, START, folded, made, span_sums_s, sum_s, watched

from schemas.vocabulary import EVENT_TYPES, EventType
from sessions.admission import without_false_ends
from sessions.dimensions import ANY_KEYS, NO_DIMENSIONS
from sessions.event import Event
from sessions.facts import SessionFacts
from sessions.fold import Fold, fold_all
from sessions.recount import Told

TIMELINES = json.loads((Path(__file__).parents[1] / "data" / "fold_timelines.json").read_text())


# ---- golden timelines


def timeline(name: str, *, by_ts: bool) -> SessionFacts:
    """Fold a documented timeline: with its timestamps, or with the seconds its table names."""
    events = []
    for offset, entry in enumerate(TIMELINES[name]["events"]):
        ts = entry["playerTime"]["ts"] if by_ts else T0 + round(entry["at_s"] * 1000)
        more = {"params": entry.get("params"), "order_ms": ts, "received_ms": ts + DELAY_MS}
        row = (0, entry["eventType"], entry["playerTime"]["playhead"], more)
        events.append(msgspec.structs.replace(made(row, offset), client_ms=ts))
    return fold_all(events)


@pytest.mark.parametrize("name", ["timeline 1", "timeline 3"])
def test_documented_timelines_give_exactly_their_numbers(name: str) -> None:
    """Content 45, ads 30, media 75, pause 10, buffer 3, ads 3 of 3, complete; chapters 19 and 22 s."""
    facts, derived = timeline(name, by_ts=False), TIMELINES[name]["derived"]
    assert facts.content_time_s == derived["content_time_spent_s"] == 45
    assert facts.ad_time_s == derived["ad_time_spent_s"] == 30
    assert facts.media_time_s == derived["media_time_spent_s"] == 75
    assert (facts.pauses, facts.pause_time_s) == (derived["pause_events"], derived["pause_time_s"]) == (1, 10)
    assert (facts.buffers, facts.buffer_time_s) == (derived["buffer_events"], derived["buffer_time_s"]) == (1, 3)
    assert (facts.ads_started, facts.ads_completed) == (derived["ad_starts"], derived["ad_completes"]) == (3, 3)
    assert facts.is_started == bool(derived["content_starts"])
    assert facts.is_completed == bool(derived["content_completes"])
    assert facts.has_start == bool(derived["media_starts"])
    assert facts.chapters_started == derived.get("chapter_starts", 0)
    assert facts.chapters_completed == derived.get("chapter_completes", 0)
    assert [chapter.time_s for chapter in facts.chapters] == derived.get("chapter_time_spent_s", [])
    assert facts.progress_pct == derived["progress_markers"][-1]
    assert (facts.stalls, facts.seeks, facts.gap_s, facts.idle_s, facts.join_s) == (0, 0, 0, 0, 0)


def test_timeline_1_also_gives_the_derived_figures() -> None:
    """88 s by the clock; 45 of 60.33 s = 0.746 viewers a minute; one estimated stream; [0, 45] played once."""
    facts, derived = timeline("timeline 1", by_ts=False), TIMELINES["timeline 1"]["derived"]
    assert sum_s(facts) == (facts.ended_ms - facts.started_ms) / 1000 == derived["wall_clock_s"] == 88
    assert facts.length_s is not None
    assert facts.content_time_s / facts.length_s == pytest.approx(derived["average_minute_audience"], abs=1e-12)
    assert facts.media_time_s // 1800 + 1 == derived["estimated_streams"]
    assert [(p.start_s, p.end_s, p.passes) for p in facts.played_intervals] == [(0, 45, 1)]
    assert facts.unique_played_s == 45
    assert [ad.time_s for ad in facts.ads] == [15, 7, 8]
    assert [(ad_break.time_s, ad_break.ads) for ad_break in facts.breaks] == [(22, 2), (8, 1)]


@pytest.mark.parametrize("name", ["timeline 1", "timeline 3"])
def test_timestamps_moved_apart_by_a_millisecond_cost_that_millisecond(name: str) -> None:
    """Where the timeline's equal seconds are 1 ms apart, 5 ms lie between ads and 2 ms before the first frame.

    Ads 2 -> 15000, 15001 -> 22000, 46001 -> 54000: 14.998 + 6.999 + 7.999 = 29.996. Content 22002 -> 33000,
    36000 -> 46000, 54001 -> 64000, 74000 -> 88000: 10.998 + 10 + 9.999 + 14 = 44.997. Together with pause 10
    and buffer 3 and the 7 ms: 88 s.
    """
    facts = timeline(name, by_ts=True)
    assert (facts.content_time_s, facts.ad_time_s) == (44.997, 29.996)
    assert (facts.idle_s, facts.join_s, facts.startup_s) == (0.005, 0.002, 0.002)
    assert (facts.pause_time_s, facts.buffer_time_s, sum_s(facts)) == (10, 3, 88)


def test_the_documented_buffer_and_pause_example() -> None:
    """Buffering before the first play is buffering: content 4 -> 15 and 24 -> 29 = 16, buffer 3, pause 9."""
    facts = watched(
        (0, "sessionStart", 0),
        (0, "ping", 0),
        (1, "bufferStart", 1),
        (4, "play", 1),
        (10, "ping", 7),
        (15, "pauseStart", 12),
        (20, "ping", 12),
        (24, "play", 12),
        (29, "sessionEnd", 17),
    )
    assert (facts.content_time_s, facts.buffer_time_s, facts.pause_time_s) == (16, 3, 9)
    assert not facts.is_completed
    assert (facts.join_s, facts.startup_s, facts.rebuffers, facts.rebuffer_time_s) == (1, 4, 0, 0)


# ---- the rules, one by one


def test_events_after_session_end_count_in_nothing() -> None:
    """Played 0 -> 10, then the end; a later play, error and ad change no number but the count of such events."""
    rows = [(0, "sessionStart", 0), (0, "play", 0), (10, "sessionEnd", 10)]
    late = [(11, "play", 10), (12, "error", 11), (13, "pauseStart", 12), (14, "sessionEnd", 12)]
    facts = watched(*rows, *late)
    assert (facts.content_time_s, facts.errors, facts.pauses, facts.events, facts.events_after_end) == (
        10,
        0,
        0,
        3,
        4,
    )
    assert facts.end_ms == T0 + 10_000
    assert facts.last_event_ms == T0 + 14_000
    assert msgspec.structs.replace(
        facts, events_after_end=0, last_event_ms=facts.end_ms, last_received_ms=facts.end_ms + DELAY_MS
    ) == watched(*rows)


def test_what_arrives_after_the_end_but_happened_before_counts() -> None:
    """The pause 6 -> 8 arrives last, and is 2 s less content: 10 - 2 = 8."""
    facts = watched(
        (0, "sessionStart", 0), (0, "play", 0), (10, "sessionEnd", 8), (6, "pauseStart", 6), (8, "play", 6)
    )
    assert (facts.content_time_s, facts.pause_time_s, facts.events_after_end) == (8, 2, 0)


def test_events_later_than_the_longest_session_do_not_count() -> None:
    """With 20 s as the longest session, the ping at 20 s counts and the one at 20.001 s does not."""
    fold = Fold(length_ms=20_000)
    for offset, row in enumerate([(0, "sessionStart", 0), (0, "play", 0), (20, "ping", 20), (20.001, "ping", 20)]):
        fold.step(made(row, offset))
    assert (fold.facts().events, fold.facts().content_time_s, fold.facts().events_after_end) == (3, 20, 1)


def test_an_end_after_the_longest_session_is_its_end_and_adds_nothing() -> None:
    """With 20 s as the longest session, one that ends at 30 s has played for 20 s."""
    fold = Fold(length_ms=20_000)
    for offset, row in enumerate(
        [(0, "sessionStart", 0), (0, "play", 0), (20, "ping", 20), (30, "sessionEnd", 30)]
    ):
        fold.step(made(row, offset))
    assert (fold.facts().end_ms, fold.facts().content_time_s, fold.facts().events_after_end) == (
        T0 + 30_000,
        20,
        1,
    )


def test_a_repeated_event_is_not_counted_twice() -> None:
    """Two equal errors, the second flagged as a repeat, are one error."""
    facts = watched((0, "sessionStart", 0), (1, "error", 0), (1, "error", 0, {"flags": ("repeat",)}))
    assert (facts.errors, facts.events, facts.repeats) == (1, 2, 1)


def test_the_time_after_the_last_event_is_not_counted() -> None:
    """Nothing came after the ping at 10 s: content is 10 s, however late it is now."""
    assert watched((0, "sessionStart", 0), (0, "play", 0), (10, "ping", 10)).content_time_s == 10


def test_lost_pings_are_no_gap_where_the_playhead_moved_as_the_clock_did() -> None:
    """Five minutes without a ping, and the playhead is five minutes on: content, and played."""
    facts = watched((0, "sessionStart", 0), (0, "play", 0), (300, "pauseStart", 299))
    assert (facts.content_time_s, facts.gap_s, facts.unique_played_s) == (300, 0, 299)


def test_a_pause_without_pings_is_a_pause_however_long() -> None:
    """Two hours in pause, without a word: pause 7200, no gap."""
    facts = watched((0, "sessionStart", 0), (0, "play", 0), (10, "pauseStart", 10), (7210, "play", 10))
    assert (facts.pause_time_s, facts.gap_s, facts.content_time_s) == (7200, 0, 10)


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


def test_play_twice_is_one_play() -> None:
    """Players send play at the start and again a second later: content 10 s, one start, no stall."""
    facts = watched((0, "sessionStart", 0), (1, "play", 0), (2, "play", 1), (11, "ping", 10))
    assert (facts.content_time_s, facts.startup_s, facts.stalls) == (10, 1, 0)


def test_a_second_pause_in_a_pause_adds_no_pause() -> None:
    """pauseStart, ping, pauseStart, play: one pause of 9 s; likewise buffering, once of 3 s."""
    facts = watched(
        (0, "sessionStart", 0),
        (0, "play", 0),
        (1, "pauseStart", 1),
        (4, "ping", 1),
        (6, "pauseStart", 1),
        (10, "play", 1),
        (11, "bufferStart", 2),
        (12, "bufferStart", 2),
        (14, "play", 2),
    )
    assert (facts.pauses, facts.pause_time_s, facts.buffers, facts.buffer_time_s) == (1, 9, 1, 3)
    assert (facts.rebuffers, facts.rebuffer_time_s) == (1, 3)


def test_equal_timestamps_are_ordered_by_rank_whatever_arrived_first() -> None:
    """All at second 10, arriving backwards: ad complete, break complete, play; then 5 s of content."""
    rows = [(0, "sessionStart", 0), (0, "adBreakStart", 0), (0, "adStart", 0)]
    rows += [(10, "play", 0), (10, "adBreakComplete", 0), (10, "adComplete", 0), (15, "ping", 5)]
    facts = watched(*rows)
    assert (facts.ads_completed, facts.ads_aborted, facts.ad_time_s, facts.content_time_s) == (1, 0, 10, 5)


def test_an_event_just_before_session_start_belongs_to_the_session() -> None:
    """The play has a timestamp 1 ms before sessionStart: started at once; the session starts at sessionStart."""
    facts = watched((-0.001, "play", 0), (0, "sessionStart", 0), (10, "ping", 10))
    assert (facts.content_time_s, facts.startup_s, facts.is_started, facts.events) == (10, 0, True, 3)
    assert (facts.start_ms, facts.started_ms, facts.has_start) == (T0, T0 + DELAY_MS, True)


def test_a_stray_timestamp_long_before_the_start_costs_the_session_nothing() -> None:
    """A ping of 1970 is an event of the session; the 53 years up to sessionStart are not its time."""
    stray = msgspec.structs.replace(made((0, "ping", 0), 9), client_ms=5, order_ms=5)
    rows = [(0, "sessionStart", 0), (0, "play", 0), (10, "ping", 10)]
    facts = fold_all([stray, *(made(row, offset) for offset, row in enumerate(rows))])
    assert (facts.content_time_s, facts.join_s, facts.start_ms, facts.events) == (10, 0, T0, 4)


def test_a_session_without_a_start_is_folded_from_its_first_event() -> None:
    """Content 5 -> 15 after 5 s of join; no start, no content, no progress."""
    facts = watched((0, "ping", 0), (5, "play", 0), (15, "ping", 10))
    assert (facts.has_start, facts.content_id, facts.progress_pct) == (False, None, None)
    assert (facts.join_s, facts.content_time_s, facts.start_ms) == (5, 10, T0)


def test_what_follows_completion_without_a_play_is_idle() -> None:
    """Complete at 10, a ping at 20, the end at 25: content 10, idle 15; a play would make it content again."""
    rows = [(0, "sessionStart", 0), (0, "play", 0), (10, "sessionComplete", 10), (20, "ping", 10)]
    facts = watched(*rows, (25, "sessionEnd", 10))
    assert (facts.content_time_s, facts.idle_s, facts.is_completed, facts.stalls) == (10, 15, True, 0)
    again = watched(*rows, (25, "play", 0), (28, "sessionEnd", 3))
    assert (again.content_time_s, again.idle_s) == (13, 15)


def test_the_content_stalls_when_three_events_see_one_playhead() -> None:
    """Plays to 10; pings at 20 and 30 see 10; at 40 it has moved: stall 10 -> 30 = 20, content 10 + 10."""
    rows = [(0, "sessionStart", 0), (0, "play", 0), (10, "ping", 10), (20, "ping", 10)]
    assert (watched(*rows).stalls, watched(*rows).content_time_s) == (0, 20)
    facts = watched(*rows, (30, "ping", 10), (40, "ping", 20))
    assert (facts.stalls, facts.stall_time_s, facts.content_time_s) == (1, 20, 20)
    longer = watched(*rows, (30, "ping", 10), (40, "ping", 10), (45, "pauseStart", 10), (50, "play", 10))
    assert (longer.stalls, longer.stall_time_s, longer.content_time_s, longer.pause_time_s) == (1, 35, 10, 5)


def test_events_that_come_together_are_one_observation() -> None:
    """Four events within 2 ms at the first frame, and the next after 10 s: no stall."""
    facts = watched(
        (0, "sessionStart", 0),
        (0, "play", 0),
        (0.001, "bitrateChange", 0),
        (0.001, "stateStart", 0, {"params": {"media.state.name": "mute"}}),
        (0.002, "ping", 0),
        (10.002, "ping", 10),
    )
    assert (facts.stalls, facts.content_time_s) == (0, 10.002)


def test_standing_at_the_end_of_recorded_content_is_idle() -> None:
    """The content is 600 s long; a player whose playhead stays at 600 neither stalls nor plays."""
    facts = watched(
        (0, "sessionStart", 0), (0, "play", 590), (10, "ping", 600), (20, "ping", 600), (30, "ping", 600)
    )
    assert (facts.content_time_s, facts.idle_s, facts.stalls) == (10, 20, 0)


def test_a_stall_takes_its_time_from_the_chapter_and_from_the_bitrate() -> None:
    """Chapter 0 -> 40, stall 10 -> 30: 20 s. Bitrate 1000 until 20, then 3000: (10 x 1000 + 10 x 3000) / 20."""
    facts = watched(
        (0, "sessionStart", 0),
        (0, "chapterStart", 0),
        (0, "play", 0, {"qoe": {"media.qoe.bitrate": 1000}}),
        (10, "ping", 10),
        (20, "bitrateChange", 10, {"qoe": {"media.qoe.bitrate": 3000}}),
        (30, "ping", 10),
        (40, "chapterComplete", 20),
    )
    assert (facts.chapters[0].time_s, facts.stall_time_s, facts.average_bitrate_bps) == (20, 20, 2000)


def test_bitrate_is_weighted_by_the_time_it_played() -> None:
    """1 Mbit/s for 10 s, 4 Mbit/s for 30 s, a pause not counted: (10 + 120) / 40 = 3.25 Mbit/s."""
    facts = watched(
        (0, "sessionStart", 0),
        (0, "play", 0, {"qoe": {"media.qoe.bitrate": 1_000_000}}),
        (10, "bitrateChange", 10, {"qoe": {"media.qoe.bitrate": 4_000_000}}),
        (15, "pauseStart", 15),
        (99, "play", 15),
        (124, "ping", 40),
    )
    assert (facts.average_bitrate_bps, facts.bitrate_changes) == (3_250_000, 1)


def test_bitrate_before_it_is_known_weighs_nothing() -> None:
    """Unknown for 10 s, then 2000 for 10 s: 2000. A bitrateChange that names none is a change all the same."""
    facts = watched(
        (0, "sessionStart", 0),
        (0, "play", 0),
        (10, "ping", 10, {"qoe": {"media.qoe.bitrate": 2000}}),
        (15, "bitrateChange", 15, {"qoe": {}}),
        (20, "ping", 20),
    )
    assert (facts.average_bitrate_bps, facts.bitrate_changes) == (2000, 1)
    assert watched((0, "sessionStart", 0)).average_bitrate_bps is None


def test_the_last_dropped_frames_and_time_to_start_stand() -> None:
    """Dropped frames are cumulative, so the last value is the session's; nonsense among them is passed over."""
    facts = watched(
        (0, "sessionStart", 0),
        (1, "play", 0, {"qoe": {"media.qoe.droppedFrames": 3, "media.qoe.timeToStart": 1364}}),
        (9, "ping", 8, {"qoe": {"media.qoe.droppedFrames": 17, "media.qoe.bitrate": "fast"}}),
        (10, "ping", 9, {"qoe": {"media.qoe.droppedFrames": True, "media.qoe.timeToStart": -1}}),
    )
    assert (facts.dropped_frames, facts.time_to_start_ms, facts.average_bitrate_bps) == (17, 1364, None)


def test_errors_are_read_in_all_three_forms() -> None:
    """In qoeData, in params, and in neither; the second came after the first frame."""
    facts = watched(
        (0, "sessionStart", 0),
        (1, "error", 0, {"qoe": {"media.qoe.errorID": "E1", "media.qoe.errorSource": "player"}}),
        (2, "play", 0),
        (3, "error", 1, {"params": {"media.errorId": "E2", "media.errorSource": "external"}}),
        (4, "error", -1),
    )
    found = [
        (error.error_id, error.source, error.is_before_start, error.playhead_s) for error in facts.playback_errors
    ]
    assert found == [("E1", "player", True, 0), ("E2", "external", False, 1), (None, None, False, None)]
    assert (facts.errors, facts.errors_before_start) == (3, 1)


def test_a_session_failed_where_an_error_was_the_last_that_happened() -> None:
    """An error, then pings at the same playhead: failed. A play or a move after it: not failed."""
    rows = [(0, "sessionStart", 0), (0, "play", 0), (5, "error", 5), (15, "ping", 5)]
    assert watched(*rows).is_failed
    assert not watched(*rows, (25, "ping", 15)).is_failed
    assert not watched(*rows, (25, "play", 5)).is_failed


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


def test_player_states_are_counted_and_timed_ten_of_them() -> None:
    """fullScreen 1 -> 4 and 6 -> 9 = 6 s in 2 starts; several in one event; the eleventh state is dropped."""
    many = [{"media.state.name": f"s{i}"} for i in range(12)]
    facts = watched(
        (0, "sessionStart", 0),
        (1, "stateStart", 0, {"params": {"media.state.name": "fullScreen"}}),
        (2, "stateStart", 0, {"params": {"media.state.name": "fullScreen"}}),
        (4, "stateEnd", 0, {"params": {"media.state.name": "fullScreen"}}),
        (6, "statesUpdate", 0, {"params": {"statesStart": [{"media.state.name": "fullScreen"}]}}),
        (
            9,
            "statesUpdate",
            0,
            {"params": {"statesEnd": [{"media.state.name": "fullScreen"}], "statesStart": many}},
        ),
        (10, "sessionEnd", 0),
    )
    assert (facts.states, facts.is_capped, facts.concurrent_states_max) == (10, True, 9)
    assert [(s.name, s.starts, s.time_s) for s in facts.player_states[:2]] == [("fullscreen", 2, 6), ("s0", 1, 1)]


def test_odd_params_do_no_harm() -> None:
    """Keys of other types than documented are passed over, but for a number as an id."""
    facts = watched(
        (0, "sessionStart", 0, {"params": {"media.id": 7, "media.length": True, "visitor.customerIDs": {"a": 1}}}),
        (1, "statesUpdate", 0, {"params": {"statesStart": [1, {"media.state.name": None}], "statesEnd": "x"}}),
        (1, "stateStart", 0, {"params": None}),
        (2, "adBreakStart", 0, {"params": {"media.ad.podIndex": 1.5}}),
        (3, "adStart", 0, {"params": None}),
        (4, "error", 0, {"params": {"media.errorId": 5}, "qoe": {"media.qoe.errorID": []}}),
    )
    assert (facts.content_id, facts.length_s, facts.states, facts.user_id) == ("7", None, 0, None)
    assert (facts.ads_started, facts.errors) == (1, 1)


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


@pytest.mark.parametrize(
    ("given_ids", "expected"),
    [
        ({}, (None, None, None)),
        ({"analytics.visitorId": "v"}, ("v", "analytics.visitorId", None)),
        (
            {"analytics.visitorId": "v", "visitor.customerIDs": {"crm": {"id": "c", "authState": 1}}},
            ("c", "visitor.customerIDs.crm", 1),
        ),
        (
            {"analytics.visitorId": "v", "visitor.customerIDs": {"crm": {"id": "c", "authState": 0}}},
            ("v", "analytics.visitorId", None),
        ),
        (
            {"visitor.customerIDs": {"b": {"id": "2", "authState": 2}, "z": {"id": "9"}, "a": {"id": "8"}}},
            ("8", "visitor.customerIDs.a", None),
        ),
    ],
)
def test_the_surest_user_identity_is_taken(
    given_ids: dict[str, Any], expected: tuple[str | None, str | None, int | None]
) -> None:
    """Authenticated customer id, then visitorId, then unknown state, then logged out; by name among equals."""
    facts = watched((0, "sessionStart", 0, {"params": START | given_ids}))
    assert (facts.user_id, facts.user_id_source, facts.user_id_auth_state) == expected


def test_a_denied_consent_leaves_no_user() -> None:
    """Even if the event has identities, a denial in it wins."""
    params = START | {"analytics.visitorId": "v", "analytics.aid": "d", "appInstallationId": "i"}
    facts = watched((0, "sessionStart", 0, {"params": params, "consent": "denied"}))
    assert (facts.user_id, facts.device_id, facts.device_id_source, facts.consent) == (None, None, None, "denied")
    facts = watched((0, "sessionStart", 0, {"params": params}))
    assert (facts.user_id, facts.device_id, facts.device_id_source) == ("v", "d", "analytics.aid")


DENIED = {"consent": "denied"}


@pytest.mark.parametrize(
    "denying",
    [
        (1, "ping", 0, DENIED),
        (2.5, "ping", 0, DENIED),
        (3, "sessionEnd", 0, DENIED),
        (9, "ping", 0, DENIED),
        (100_000, "ping", 0, DENIED),
        (-5, "ping", 0, DENIED),
        (2, "play", 0, DENIED | {"flags": ("repeat",)}),
    ],
    ids=["in the middle", "between", "at the end", "after the end", "a day later", "before the start", "a repeat"],
)
@pytest.mark.parametrize("place", range(4))
def test_one_denial_unlinks_the_session_whenever_it_came(denying: tuple[Any, ...], place: int) -> None:
    """No user, device or tracking session, in whatever order events were read; a later consent changes nothing."""
    params = START | {"analytics.visitorId": "v", "analytics.aid": "d"}
    linked = {"params": params, "consent": "given", "tracking_session_id": "t", "tracking_verified": True}
    rows = [(0, "sessionStart", 0, linked), (2, "play", 0, {"consent": "given"})]
    if denying[1] != "sessionEnd":
        rows.append((4, "sessionEnd", 0, {"consent": "given"}))
    facts = watched(*rows)
    assert (facts.user_id, facts.device_id, facts.tracking_session_id, facts.consent) == ("v", "d", "t", "given")
    facts = watched(*rows[:place], denying, *rows[place:])
    assert (facts.user_id, facts.user_id_source, facts.user_id_auth_state) == (None, None, None)
    assert (facts.device_id, facts.device_id_source) == (None, None)
    assert (facts.tracking_session_id, facts.tracking_verified, facts.consent) == (None, False, "denied")
    assert facts.content_id == "film"


@pytest.mark.parametrize("flag", ["over_limit", "end_ignored"])
def test_a_denial_counts_in_an_event_that_takes_no_effect(flag: str) -> None:
    """An event that changes no number denies consent: nobody is named."""
    named = {"tracking_session_id": "t", "tracking_verified": True, "consent": "given"}
    facts = folded((0, "sessionStart", 0, named), (5, "sessionEnd", 0, {"consent": "denied", "flags": (flag,)}))
    assert (facts.tracking_session_id, facts.tracking_verified, facts.consent) == (None, False, "denied")
    assert (facts.events, facts.end_ms) == (1, None)


def test_a_tracking_session_that_we_issued_is_preferred_to_one_that_came_first() -> None:
    """Unverified on the start, verified on the play, another verified later: the first verified one holds."""
    facts = watched(
        (0, "sessionStart", 0, {"tracking_session_id": "a"}),
        (1, "play", 0, {"tracking_session_id": "b", "tracking_verified": True, "consent": "given"}),
        (2, "ping", 0, {"tracking_session_id": "c", "tracking_verified": True}),
    )
    assert (facts.tracking_session_id, facts.tracking_verified, facts.consent) == ("b", True, "given")
    assert facts.flags == ["tracking_changed"]


def test_a_tracking_session_that_somebody_names_later_takes_no_effect_whatever_time_it_says() -> None:
    """The start names the viewer's; a stranger names his own later, saying the time 1, or the present."""
    start = (0, "sessionStart", 0, {"tracking_session_id": "viewer", "tracking_verified": True})
    other = {"tracking_session_id": "stranger", "tracking_verified": True}
    early = {**other, "order_ms": 1, "received_ms": T0 + 20_000}
    for row in ((20, "ping", 0, other), (20, "ping", 0, early)):
        facts = folded(start, (10, "play", 0), row)
        assert (facts.tracking_session_id, facts.flags) == ("viewer", ["tracking_changed"])


def test_a_tracking_session_named_again_by_every_event_is_no_change() -> None:
    """Players name theirs with each event; the first may still lack the proof that we issued it."""
    named = {"tracking_session_id": "a"}
    verified = named | {"tracking_verified": True}
    facts = watched((0, "sessionStart", 0, named), (1, "play", 0, verified), (2, "ping", 0, named))
    assert (facts.tracking_session_id, facts.tracking_verified, facts.flags) == ("a", True, [])


# ---- ends that anybody may send who knows a session's id


def end_at(at_s: float, *, arrived_s: float) -> tuple[Any, ...]:
    """Make the row of a sessionEnd that says one time, and arrives at another."""
    return (at_s, "sessionEnd", 0, {"received_ms": T0 + round(arrived_s * 1000) + DELAY_MS})


WATCHED = [(0, "sessionStart", 0), (0, "play", 0), *[(10 * n, "ping", 10 * n) for n in range(1, 61)]]


def without_flag(facts: SessionFacts, flag: str, **counts: int) -> SessionFacts:
    """Return the facts as they would be without what a flag names."""
    return msgspec.structs.replace(facts, flags=[each for each in facts.flags if each != flag], **counts)


def test_an_end_far_before_what_had_come_changes_no_number() -> None:
    """Ten minutes watched; an end that says 1970, and one that says the second minute, arrive in the tenth."""
    for at_s in (1 - T0 / 1000, 120):
        facts = watched(*WATCHED, end_at(at_s, arrived_s=600))
        assert (facts.events_ignored, facts.flags, facts.end_ms) == (1, ["end_ignored"], None)
        assert without_flag(facts, "end_ignored", events_ignored=0) == watched(*WATCHED)


def test_the_players_own_end_takes_effect_beside_a_false_one() -> None:
    """The false end is of the first second, the player's of the last: the session is as without the false one."""
    own = (601, "sessionEnd", 600)
    facts = watched(*WATCHED, end_at(1, arrived_s=500), own)
    assert facts.end_ms == T0 + 601_000
    assert without_flag(facts, "end_ignored", events_ignored=0) == watched(*WATCHED, own)


@pytest.mark.parametrize(("at_s", "ignored"), [(300, 0), (299.999, 1)])
def test_five_minutes_to_the_millisecond_are_an_end_that_takes_effect(at_s: float, ignored: int) -> None:
    """The newest event says 600 s: an end at 300 s ends the session there."""
    facts = watched(*WATCHED, end_at(at_s, arrived_s=600))
    assert facts.events_ignored == ignored
    assert facts.end_ms == (None if ignored else T0 + 300_000)


def test_what_somebody_sends_after_an_end_takes_no_effect_from_it() -> None:
    """Hours after the end an event arrives that happened then: it is later than the end, which stays valid."""
    facts = watched(*WATCHED, (601, "sessionEnd", 600), (30_000, "ping", 600))
    assert (facts.end_ms, facts.events_after_end, facts.events_ignored) == (T0 + 601_000, 1, 0)


def test_no_other_end_and_no_repeat_makes_an_end_a_false_one() -> None:
    """An end in the far future came first, and a repetition of the last ping: the player's end holds."""
    again = {"flags": ("repeat",), "received_ms": T0 + 700_000, "order_ms": T0 + 1_500_000}
    facts = watched(*WATCHED, end_at(80_000, arrived_s=300), (0, "ping", 0, again), end_at(601, arrived_s=702))
    assert (facts.end_ms, facts.events_ignored) == (T0 + 601_000, 0)


def test_events_over_the_limit_are_counted_and_tell_nothing_else() -> None:
    """Whatever they say of time, playhead and errors: the rest is as without them."""
    over = {"flags": ("over_limit",)}
    facts = watched(*WATCHED, (9_000, "error", 50, over), (-9_000, "sessionStart", 50, over))
    assert (facts.events_over_limit, facts.flags) == (2, ["over_limit"])
    assert without_flag(facts, "over_limit", events_over_limit=0) == watched(*WATCHED)


# ---- what a player says, in a digest

TEXTS = st.sampled_from(["", "a", "\u00e9", "e\u0301", "\U0001f600", "1", "null", "\x00"])
NUMBERS = st.sampled_from([0, 1, -1, 10, 1 << 53, (1 << 53) + 1, 1 << 70, -(1 << 64)]) | st.sampled_from(
    [0.0, -0.0, 1.0, -1.0, 0.1, 1e-7, 10.0, 2.0**53, 2.0**70, 1e300, 1.5]
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.none() | st.dictionaries(TEXTS, VALUES, max_size=3)


def spelled(value: Any, chance: random.Random) -> str:
    """Write a value as JSON in one of the ways to do so: order of keys, space, exponents, escapes."""
    if isinstance(value, dict):
        keys = chance.sample(list(value), len(value))
        return "{" + ", ".join(f"{spelled(key, chance)}: {spelled(value[key], chance)}" for key in keys) + "}"
    if isinstance(value, list):
        return "[" + " ,".join(spelled(inner, chance) for inner in value) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=chance.random() < 0.5)
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    ways = [repr(value)]
    if isinstance(value, float) or abs(value) <= 1 << 53:
        ways += [f"{value:.25e}", repr(float(value))]
    if value == int(value):
        ways.append(str(int(value)))
    return chance.choice(ways)


def meant(value: Any) -> Any:
    """Return a value that equals another where JSON means the same: true is no 1, but 1.0 is."""
    if isinstance(value, dict):
        return {key: meant(inner) for key, inner in value.items()}
    return [meant(inner) for inner in value] if isinstance(value, list) else (isinstance(value, bool), value)


@settings(max_examples=200, deadline=None, database=None)
@given(
    st.lists(
        st.tuples(OBJECTS, OBJECTS, st.sampled_from([0.0, -0.0, 1.0, 2.5]), st.sampled_from(["ping", "play"]))
    ),
    st.randoms(use_true_random=False),
)
def test_digests_are_equal_exactly_where_the_words_are(said: list[Any], chance: random.Random) -> None:
    """However the JSON is spelled: equal digests, the same words, and equal values are one and the same."""
    events: list[tuple[Event, Any]] = []
    for params, other, head, name in [*said, *said]:
        texts = {
            key: None if value is None else spelled(value, chance).encode()
            for key, value in (("params", params), ("other", other))
        }
        offset, more = (
            len(events),
            {"order_ms": T0, "received_ms": T0 + chance.randrange(9), "flags": ("off_schema",)},
        )
        event = msgspec.structs.replace(made((0, name, head, more), offset), **texts)
        events.append((event, (meant(params), meant(other), head, name)))
    for event, meaning in events:
        for known, known_meaning in events:
            is_same = meaning == known_meaning
            assert (event.words() == known.words()) == is_same
            assert event.says_the_same(known) == is_same


def test_the_parts_of_an_event_are_told_apart_in_its_digest() -> None:
    """The same object as params, as qoeData, as metadata and as unknown keys are four things to say."""
    event = made((0, "ping", 0), 0)
    said = [
        msgspec.structs.replace(event, **{part: b"{}"}) for part in ("params", "qoe", "custom_metadata", "other")
    ]
    assert len({each.words() for each in [event, *said]}) == 5


def test_what_closing_depends_on_is_told_by_arrival() -> None:
    """The playhead last moved in the event that arrived at 10.04 s; the last arrival was at 30.04 s."""
    facts = watched(
        (0, "sessionStart", 0), (0, "play", 0), (10, "pauseStart", 10), (20, "ping", 10), (30, "ping", 10)
    )
    assert facts.last_moved_received_ms == T0 + 10_040
    assert (facts.first_received_ms, facts.last_received_ms) == (T0 + 40, T0 + 30_040)


# ---- the vocabulary drives it


def test_a_new_event_type_is_one_row() -> None:
    """An invented type that pauses the player and marks an error does both, without a line of code."""
    halt = EventType(name="halt", rank=9, player="paused", is_error=True)
    facts = folded((0, "sessionStart", 0), (0, "play", 0), (4, "halt", 4, {"type": halt}), (9, "ping", 4))
    assert (facts.content_time_s, facts.pause_time_s, facts.pauses, facts.errors) == (4, 5, 1, 1)


def test_the_fold_names_no_event_type() -> None:
    """The effects of an event type are defined only in the vocabulary."""
    modules = [path.stem for path in Path(str(sys.modules["sessions.fold"].__file__)).parent.glob("*.py")]
    for module in {*modules} - {"__init__", "timeline"}:
        source = Path(str(sys.modules["sessions.fold"].__file__)).with_stem(module).read_text()
        assert not [name for name in EVENT_TYPES if f'"{name}"' in source]


# ---- bounds


def test_lists_are_bounded_and_say_so() -> None:
    """10,000 errors, ads, chapters and seeks leave lists of at most 200, whole counts, and the flag."""
    rows: list[tuple[Any, ...]] = [(0, "sessionStart", 0), (0, "adBreakStart", 0)]
    for i in range(2_000):
        rows += [(i, "adStart", 0), (i, "chapterStart", 0), (i, "error", 0)]
    rows += [(2_000, "adBreakComplete", 0), (2_000, "play", 0)]
    for i in range(600):
        rows += [(2_001 + 2 * i, "ping", (i * 7919) % 590), (2_002 + 2 * i, "ping", (i * 7919) % 590 + 1)]
    fold = Fold()
    for event in sorted((made(row, offset) for offset, row in enumerate(rows)), key=Event.order):
        fold.step(event)
    facts = fold.facts()
    assert (facts.errors, facts.ads_started, facts.chapters_started, facts.is_capped) == (
        2_000,
        2_000,
        2_000,
        True,
    )
    assert max(len(facts.ads), len(facts.chapters), len(facts.playback_errors), len(facts.played_intervals)) <= 258
    assert len(fold.ranges) <= 256


def test_an_open_session_is_small() -> None:
    """A session of an hour, with ads, pauses and seeks, takes less than 4.5 kB."""
    rows: list[tuple[Any, ...]] = [(0, "sessionStart", 0), (0, "play", 0)]
    rows += [(10 * i, "ping", 10.5 * i % 600) for i in range(1, 360)]
    rows += [(3_600, "adBreakStart", 0), (3_600, "adStart", 0), (3_610, "adBreakComplete", 0)]
    fold = Fold()
    for offset, row in enumerate(rows):
        fold.step(made(row, offset))
    assert size_bytes(fold) < 4_608


def size_bytes(value: Any) -> int:
    """Add up the bytes of a value and of all that it holds, params of events and shared constants left out."""
    seen: set[int] = {id(ANY_KEYS), id(NO_DIMENSIONS)}

    def walk(inner: Any) -> int:
        if inner is None or isinstance(inner, bool) or id(inner) in seen:
            return 0
        seen.add(id(inner))
        size = sys.getsizeof(inner)
        if isinstance(inner, msgspec.Struct):
            return size + sum(walk(getattr(inner, name)) for name in inner.__struct_fields__)
        if isinstance(inner, list | tuple):
            return size + sum(walk(entry) for entry in inner)
        if isinstance(inner, dict):
            return size + sum(walk(key) + walk(entry) for key, entry in inner.items())
        return size

    return walk(value)


# ---- any session

EXAMPLES = settings(
    max_examples=max(400, settings().max_examples),
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)


@settings(EXAMPLES, max_examples=100)
@given(told=sessions())
def test_each_fact_has_the_type_of_its_column(told: list[Told]) -> None:
    """Facts written as JSON and read again by their declared types are the same facts."""
    facts = fold_all(events_of(told))
    assert msgspec.json.decode(msgspec.json.encode(facts), type=SessionFacts) == facts


@EXAMPLES
@given(told=sessions())
def test_the_durations_add_up_to_the_session(told: list[Told]) -> None:
    """join + media + pause + buffer + stall + gap + idle = last event - start; the spans add up to the same."""
    events = without_false_ends(events_of(told))
    facts = fold_all(events)
    sums_s = span_sums_s(facts)
    assert {name: getattr(facts, name) for name in sums_s} == pytest.approx(sums_s, abs=1e-6)
    assert all(before.ended_ms <= after.started_ms for before, after in pairwise(facts.spans))
    if min(event.order_ms for event in events if "end_ignored" not in event.flags) == facts.start_ms:
        offset_s = facts.clock_offset_ms / 1000
        assert sum_s(facts) == pytest.approx((facts.ended_ms - facts.start_ms) / 1000 - offset_s, abs=1e-6)


@settings(EXAMPLES, max_examples=100)
@given(told=sessions(), seed=st.integers(0, 1 << 32))
def test_any_order_of_events_gives_equal_facts(told: list[Told], seed: int) -> None:
    """What the events are handed over in makes no difference."""
    events = events_of(told)
    shuffled = random.Random(seed).sample(events, len(events))
    assert fold_all(shuffled) == fold_all(events)


@settings(EXAMPLES, max_examples=100)
@given(told=sessions(), at=st.integers(0, 40))
def test_a_copy_goes_its_own_way_and_asking_changes_nothing(told: list[Told], at: int) -> None:
    """Copied in the middle, folded to the end, and asked after each event: equal; the original stays as it was."""
    events = sorted(without_false_ends(events_of(told)), key=Event.order)
    original = Fold()
    for event in events[: at + 1]:
        original.step(event)
        original.facts()
    then = original.facts()
    copy = original.copy()
    for event in events[at + 1 :]:
        copy.step(event)
        copy.facts()
    assert copy.facts() == fold_all(events)
    assert original.facts() == then
