"""Which events of a session count, in which order, and from when to when."""

from typing import Any

import msgspec
import pytest
from rigs.drawn_sessions import T0
from rigs.watched import DELAY_MS, made, watched

from sessions.facts import SessionFacts
from sessions.fold import Fold, fold_all


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
    """An end of some minutes later came first, and a repetition of the last ping: the player's end holds."""
    again = {"flags": ("repeat",), "received_ms": T0 + 700_000, "order_ms": T0 + 1_500_000}
    facts = watched(*WATCHED, end_at(800, arrived_s=550), (0, "ping", 0, again), end_at(601, arrived_s=702))
    assert (facts.end_ms, facts.events_ignored) == (T0 + 601_000, 0)


def test_events_over_the_limit_are_counted_and_tell_nothing_else() -> None:
    """Whatever they say of time, playhead and errors: the rest is as without them."""
    over = {"flags": ("over_limit",)}
    facts = watched(*WATCHED, (9_000, "error", 50, over), (-9_000, "sessionStart", 50, over))
    assert (facts.events_over_limit, facts.flags) == (2, ["over_limit"])
    assert without_flag(facts, "over_limit", events_over_limit=0) == watched(*WATCHED)
