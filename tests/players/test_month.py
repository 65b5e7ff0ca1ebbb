"""A generated history: who comes when, and the order of requests."""

from collections import Counter, defaultdict
from datetime import UTC, datetime
from itertools import pairwise

import msgspec
import pytest

from players.month.requests import BOT_ADDRESS, History, Post
from players.month.stories import DAY_MS, HOUR_MS, Window, kick_off, stories_before

UNTIL_MS = int(datetime(2025, 11, 22, 20, tzinfo=UTC).timestamp() * 1000)
WEEK = Window(UNTIL_MS - 7 * DAY_MS, UNTIL_MS)


@pytest.fixture(scope="module")
def posts() -> list[Post]:
    """The requests of a week of 300 viewers."""
    return list(History(viewers=300, seed=7, period=WEEK).posts())


def test_requests_come_in_the_order_of_arrival(posts: list[Post]) -> None:
    """Each is in the period, and none is before the one before it."""
    assert all(before.at_ms <= after.at_ms for before, after in pairwise(posts))
    assert all(WEEK.has(post.at_ms) for post in posts)


def test_a_visit_s_start_comes_before_its_events(posts: list[Post]) -> None:
    """The reply to the start names the session, and the tracking session is made before it."""
    kinds = defaultdict(list)
    for post in posts:
        kinds[post.visit].append(post.kind)
    for of_visit in kinds.values():
        before_events = [kind for kind in of_visit if kind != "event"]
        assert of_visit[: len(before_events)] == before_events
        assert before_events in (
            ["start"],
            ["start", "start"],
            ["tracking", "start"],
            ["tracking", "start", "start"],
        )


def test_a_day_s_visits_do_not_depend_on_the_length_of_the_history(posts: list[Post]) -> None:
    """The last two days alone are those days of the week."""
    last_days = Window(UNTIL_MS - 2 * DAY_MS, UNTIL_MS)
    alone = {post.body for post in History(viewers=300, seed=7, period=last_days).posts() if post.kind == "start"}
    in_week = {post.body for post in posts if post.kind == "start" and last_days.has(post.at_ms)}
    assert len(in_week & alone) > 0.7 * len(in_week)  # the others are those of viewers who are new, or gone


def test_evenings_are_busy_and_nights_are_quiet(posts: list[Post]) -> None:
    """Ten times as many people come between 18 and 21 o'clock, UTC, as between 1 and 4."""
    starts = Counter(post.at_ms // HOUR_MS % 24 for post in posts if post.kind == "start" and not is_bot(post))
    assert sum(starts[hour] for hour in (18, 19, 20)) > 10 * sum(starts[hour] for hour in (1, 2, 3))


def test_few_contents_have_most_viewers(posts: list[Post]) -> None:
    """A tenth of the contents has more than half of the sessions, and half of the contents fewer than a fifth."""
    bodies = [msgspec.json.decode(post.body) for post in posts if post.kind == "start" and not is_bot(post)]
    counts = [count for _, count in Counter(body["params"]["media.id"] for body in bodies).most_common()]
    assert sum(counts[: len(counts) // 10]) > 0.4 * sum(counts)
    assert sum(counts[len(counts) // 2 :]) < 0.2 * sum(counts)


@pytest.mark.parametrize("hour", range(0, 7 * 24, 5))
def test_every_story_is_in_the_last_week(hour: int) -> None:
    """Whenever a history of a week ends, each story and a match are in it."""
    until_ms = UNTIL_MS + hour * HOUR_MS
    stories, week = stories_before(until_ms), Window(until_ms - 7 * DAY_MS, until_ms)
    for window in (stories.bad_release, stories.outage, stories.failing_ads):
        assert week.from_ms <= window.from_ms < window.to_ms <= week.to_ms
    midnights = range(week.from_ms // DAY_MS * DAY_MS, until_ms, DAY_MS)
    assert any(at_ms is not None and week.has(at_ms) for at_ms in map(kick_off, midnights))
    assert kick_off(stories.outage.from_ms // DAY_MS * DAY_MS) is None


def is_bot(post: Post) -> bool:
    """Return whether a request is the robot's."""
    return (b"x-forwarded-for", BOT_ADDRESS.encode()) in post.headers
