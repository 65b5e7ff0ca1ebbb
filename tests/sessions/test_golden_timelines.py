"""Golden timelines: the documentation's examples of sessions give their numbers."""

import json
from pathlib import Path

import msgspec
import pytest
from rigs.drawn_sessions import T0
from rigs.watched import DELAY_MS, made, sum_s, watched

from sessions.facts import SessionFacts
from sessions.fold import fold_all

TIMELINES = json.loads((Path(__file__).parents[1] / "data" / "fold_timelines.json").read_text())


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
