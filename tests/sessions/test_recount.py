"""The fold and the recount agree on every number of any session; `make recount SESSIONS=20000` tries more."""

import os
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from rigs.drawn_sessions import T0, drawn, events_of, sessions
from rigs.recounted import differences

from sessions.event import Event
from sessions.fold import fold_all
from sessions.recount import Report

SESSIONS = int(os.environ.get("SESSIONS", "300"))
FIRST = int(os.environ.get("FIRST", "0"))
CHUNK = 100
DAY_MS = 86_400_000


@pytest.mark.parametrize("first", range(FIRST, FIRST + SESSIONS, CHUNK))
def test_the_fold_agrees_with_the_recount(first: int) -> None:
    """Every number of every session of a hundred: nearly any events, or scenes that are reported badly."""
    wrong = {seed: found for seed in range(first, first + CHUNK) if (found := differences(events_of(drawn(seed))))}
    assert not wrong


@pytest.mark.parametrize(
    "seed",
    [
        pytest.param(41542, id="a slip as the speed is found"),
        pytest.param(100354, id="a slip in the millisecond of an observation"),
        pytest.param(107518, id="a slip as a named speed ends"),
        pytest.param(50967, id="a seek's buffering, and a break that was never closed"),
        pytest.param(51667, id="a jump at the start of a break that was never closed"),
        pytest.param(322857, id="an unknown playhead in a break that was never closed"),
        pytest.param(5968, id="from the end of the content to its start in no time"),
        pytest.param(108718, id="buffering before and after a break that was never closed"),
    ],
)
def test_they_agree_on_sessions_that_once_differed(seed: int) -> None:
    """Sessions on which an earlier fold and the recount disagreed."""
    assert differences(events_of(drawn(seed))) == {}


@pytest.mark.parametrize("length_ms", [DAY_MS, 120_000])
@pytest.mark.parametrize("passed_s", [10, 600, 90_000])
def test_an_end_without_effect_begins_no_session_nor_does_its_repeat(passed_s: int, length_ms: int) -> None:
    """Anybody may send an end that says a time long ago, and send it again."""
    last_ms = T0 + 1_000 * passed_s
    false_end = Report("sessionEnd", T0, last_ms + 20_000, 1, 0.0)
    repeat = replace(false_end, offset=2, received_ms=last_ms + 20_007, is_repeat=True)
    pings = [Report("ping", last_ms + ms, last_ms + ms + 50, 3 + ms, 0.0) for ms in (0, 10_000)]
    events = events_of([false_end, repeat, *pings])
    assert differences(events, length_ms=length_ms) == {}
    facts = fold_all(events)
    assert (facts.start_ms, facts.events, facts.gap_s) == ((last_ms, 2, 0.0) if passed_s > 300 else (T0, 1, 0.0))


@pytest.mark.parametrize(("steps", "flag"), [(2, "clock_set"), (3, "clock_set"), (4, "clock_unsteady")])
def test_a_clock_that_is_set_again_and_again_is_believed_three_times(steps: int, flag: str) -> None:
    """It goes back an hour each time; after that every event is dated by its arrival. The ten seconds stay ten."""
    reports = [
        Report(
            "ping" if at_ms else "play",
            at_ms + T0 - 3_600_000 * (at_ms // 100_000),
            at_ms + T0 + 50,
            at_ms,
            at_ms / 1000,
        )
        for at_ms in range(0, 100_000 * (steps + 1), 10_000)
    ]
    events = events_of(reports)
    assert differences(events) == {}
    facts = fold_all(events)
    assert flag in facts.flags
    assert facts.content_time_s == (steps + 1) * 100 - 10


@settings(max_examples=200, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
@given(reports=sessions(), length_ms=st.sampled_from([DAY_MS, DAY_MS, 120_000]))
def test_a_session_on_which_they_disagree_is_made_small(reports: list[Report], length_ms: int) -> None:
    """The same, over sessions that Hypothesis draws, and shrinks. (`--hypothesis-profile=long` draws more.)"""
    for event in sorted(events_of(reports), key=Event.order):
        note(f"{event.type.name:16} {event.order_ms - T0:8} {event.playhead_s:8} {event.flags} {event.params!r}")
    assert differences(events_of(reports), length_ms=length_ms) == {}
