"""Sessions with more ads, chapters, seeks and spans than lists hold: totals are right at any length."""

import random

from rigs.watched import made, played, started, watched

from sessions.fold import Fold
from sessions.ranges import join_nearest


def test_totals_of_ads_and_chapters_are_right_where_lists_end() -> None:
    """300 ads of 5 s and 260 chapters of 10 s: lists of 200, whole counts and times."""
    rows = [started(length_s=20_000), (0, "play", 0)]
    for n in range(300):
        at = 20 * n
        rows += [(at, "adBreakStart", 15 * n), (at, "adStart", 15 * n), (at + 5, "adComplete", 15 * n)]
        rows.append((at + 5, "adBreakComplete", 15 * n))
        rows += [(at + 15, "ping", 15 * n + 10), (at + 20, "ping", 15 * n + 15)]
        if n < 260:
            rows.append((at + 5, "chapterStart", 15 * n))
    facts = watched(*rows)
    assert (facts.ads_started, facts.ads_completed, facts.ad_time_s) == (300, 300, 1_500)
    assert (facts.chapters_started, facts.content_time_s, facts.ad_breaks) == (260, 4_500, 300)
    assert (len(facts.ads), len(facts.chapters), facts.is_capped) == (200, 201, True)  # one chapter is open


def test_400_seeks_leave_the_played_seconds_right() -> None:
    """7.9 s played at each of 400 places, seen in random order: 3,160 different seconds."""
    places = random.Random(1).sample(range(400), 400)
    rows = [started(length_s=40_000), (0, "play", 0)]
    for n, place in enumerate(places):
        rows += [(1 + 10 * n, "ping", 100 * place + 1), (1 + 10 * n + 7.9, "ping", 100 * place + 8.9)]
    facts = watched(*rows)
    assert facts.seeks in (398, 399, 400)
    assert abs(facts.unique_played_s - 3_160) < 1
    assert facts.played_error_s > 0
    assert "ranges_joined" in facts.flags
    assert len(facts.played_intervals) <= 257


def test_the_stated_error_bounds_the_error() -> None:
    """However seeks and plays fall: unique seconds are within the error of those counted one by one."""
    for seed in range(4):
        chance = random.Random(seed)
        rows, seconds = [started(length_s=5_000), (0, "play", 0)], set()
        for n in range(1, 900):
            place = chance.randrange(4_990)
            rows += [(5 * n, "ping", place), (5 * n + 4, "ping", place + 4)]
            seconds |= set(range(place, place + 4))
        facts = watched(*rows)
        assert abs(facts.unique_played_s - len(seconds)) <= facts.played_error_s + 10


def test_the_nearest_ranges_are_joined_first() -> None:
    """Those 1 s apart; those that touch, and keep the passes of what was played most."""
    assert join_nearest([(0, 10, 1), (11, 20, 1), (30, 40, 1)]) == ([(0, 20, 1), (30, 40, 1)], 1)
    assert join_nearest([(0, 10, 1), (10, 12, 3), (50, 60, 1)]) == ([(0, 12, 1), (50, 60, 1)], 0)
    assert join_nearest([(0, 2, 1), (2, 12, 3), (50, 60, 1)]) == ([(0, 12, 3), (50, 60, 1)], 0)


def test_ranges_that_are_joined_are_few() -> None:
    """Up to 256 places there is no error at all."""
    rows = [started(length_s=40_000), (0, "play", 0)]
    for n in range(250):
        rows += [(1 + 10 * n, "ping", 100 * n + 1), (1 + 10 * n + 8, "ping", 100 * n + 9)]
    facts = watched(*rows)
    assert (facts.played_error_s, len(played(facts))) == (0, 250)


def test_spans_are_bounded_and_durations_are_not() -> None:
    """1,000 pauses: 500 spans, all of the time."""
    rows = [started(), (0, "play", 0)]
    for n in range(1_000):
        rows += [(2 * n + 1, "pauseStart", 0), (2 * n + 2, "play", 0)]
    facts = watched(*rows)
    assert (facts.content_time_s, facts.pause_time_s, facts.is_capped) == (1_000, 1_000, True)
    assert len(facts.spans) in (500, 501)


def test_a_hostile_session_keeps_few_ranges() -> None:
    """4,000 seeks to random places: 257 ranges at most at any time."""
    chance, fold = random.Random(3), Fold()
    rows = [started(length_s=80_000), (0, "play", 0)]
    rows += [(4 * n, "ping", chance.random() * 80_000 if n % 2 else rows[-1][2] + 4) for n in range(1, 200)]
    events = [made(row, offset) for offset, row in enumerate(rows)]
    for n in range(4_000):
        head = chance.random() * 80_000
        events.append(made((1_000 + 2 * n, "ping", head), 1_000 + 2 * n))
        events.append(made((1_001 + 2 * n, "ping", head + 1), 1_001 + 2 * n))
    for event in events:
        fold.step(event)
        assert len(fold.ranges) <= 257
