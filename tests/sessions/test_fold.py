"""The fold as a whole: the vocabulary drives it, it is bounded, and any session keeps its sums."""

import random
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rigs.drawn_sessions import events_of, sessions
from rigs.watched import folded, made, span_sums_s, sum_s

from schemas.vocabulary import EVENT_TYPES, EventType
from sessions.dimensions import ANY_KEYS, NO_DIMENSIONS
from sessions.event import Event
from sessions.facts import SessionFacts
from sessions.fold import Fold, begun, fold_all
from sessions.recount import Report


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


def test_long_lists_are_cut_and_the_session_is_flagged() -> None:
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


EXAMPLES = settings(
    max_examples=max(400, settings().max_examples),
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)


@settings(EXAMPLES, max_examples=100)
@given(reports=sessions())
def test_each_fact_has_the_type_of_its_column(reports: list[Report]) -> None:
    """Facts written as JSON and read again by their declared types are the same facts."""
    facts = fold_all(events_of(reports))
    assert msgspec.json.decode(msgspec.json.encode(facts), type=SessionFacts) == facts


@EXAMPLES
@given(reports=sessions())
def test_the_durations_add_up_to_the_session(reports: list[Report]) -> None:
    """join + media + pause + buffer + stall + gap + idle = last event - start; the spans add up to the same."""
    _, events = begun(events_of(reports))
    facts = fold_all(events)
    sums_s = span_sums_s(facts)
    assert {name: getattr(facts, name) for name in sums_s} == pytest.approx(sums_s, abs=1e-6)
    assert all(before.ended_ms <= after.started_ms for before, after in pairwise(facts.spans))
    if min(event.order_ms for event in events if "end_ignored" not in event.flags) == facts.start_ms:
        offset_s = facts.clock_offset_ms / 1000
        assert sum_s(facts) == pytest.approx((facts.ended_ms - facts.start_ms) / 1000 - offset_s, abs=1e-6)


@settings(EXAMPLES, max_examples=100)
@given(reports=sessions(), seed=st.integers(0, 1 << 32))
def test_any_order_of_events_gives_equal_facts(reports: list[Report], seed: int) -> None:
    """What the events are handed over in makes no difference."""
    events = events_of(reports)
    shuffled = random.Random(seed).sample(events, len(events))
    assert fold_all(shuffled) == fold_all(events)


@settings(EXAMPLES, max_examples=100)
@given(reports=sessions(), at=st.integers(0, 40))
def test_a_copy_goes_its_own_way_and_asking_changes_nothing(reports: list[Report], at: int) -> None:
    """Copied in the middle, folded to the end, and asked after each event: equal; the original stays as it was."""
    original, events = begun(events_of(reports))
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
