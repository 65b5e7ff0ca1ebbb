"""What the pages about viewers and ads show, over three days in which each thing happens so many times."""

import time
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
from rigs.lake import Lake
from rigs.pages import reading
from rigs.told_lake import DAY_S, TOLD, told_lake

from lake.reading import Reader
from notebooks import ads, questions, viewers
from notebooks.filters import Choice


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """The lake; its last day ends with its newest session, an hour after midnight."""
    now_ms = time.time_ns() // 1_000_000 // (DAY_S * 1000) * DAY_S * 1000
    return told_lake(tmp_path_factory.mktemp("told") / "data", start_ms=now_ms - 3 * DAY_S * 1000)


@pytest.fixture(scope="module")
def asked(told: Lake) -> Iterator[tuple[Reader, Choice]]:
    """A reader of it, and the choice of its last day."""
    with reading(told.settings.data_dir, timedelta(days=1)) as found:
        yield found


def among(until: datetime, **values: list[str]) -> Choice:
    """Choose the day up to a moment, and values of dimensions."""
    day = timedelta(days=1)
    return Choice(until - day, until, day, values, 1, "UTC")


# ---- viewers


def test_viewers_are_new_returning_or_lapsed(asked: tuple[Reader, Choice]) -> None:
    """One is new, one was there before, one was there the day before alone; who came earlier is not lapsed."""
    lake, choice = asked
    assert viewers.seen(lake, choice).by_status == {"new": 1, "returning": 1, "lapsed": 1}
    assert viewers.seen(lake, among(choice.until, content=["next"])).by_status == {
        "new": 1,
        "returning": 0,
        "lapsed": 0,
    }
    assert viewers.seen(lake, choice.before()).by_status == {"new": 1, "returning": 0, "lapsed": 2}


def test_the_page_counts_the_sessions_of_each_kind_of_consent(told: Lake, asked: tuple[Reader, Choice]) -> None:
    """As plain SQL does, and as the metrics of the catalogue do; the shares of each value add up to all."""
    lake, choice = asked
    mix = viewers.mix(lake, choice, "player_name")
    assert {row["series"]: row["sessions"] for row in mix} == {
        "by user id": 3,
        "denied": 1,
        viewers.NOT_KNOWN: 16,
    }
    assert sum(row["share"] for row in mix) == pytest.approx(1)
    (shares,) = questions.metrics(lake, choice, ["identified_ratio", "consent_denied_ratio"])
    assert (shares["identified_ratio"], shares["consent_denied_ratio"]) == (3 / 20, 1 / 20)
    since = f"TIMESTAMPTZ '{choice.since}'"
    plain = told.ask(
        "SELECT count(*) FILTER (user_id IS NOT NULL), count(*) FILTER (consent = 'denied'), count(*) "
        f"FROM sessions WHERE started_at >= {since}"
    )
    assert plain == [(3, 1, 20)]


def test_hours_have_their_new_and_their_returning_viewers(asked: tuple[Reader, Choice]) -> None:
    """Whole hours alone; somebody who comes twice in an hour is one viewer of it."""
    lake, choice = asked
    (hour,) = viewers.over_time(lake, choice)
    assert (hour["new_viewers"], hour["returning_viewers"], hour["sessions"]) == (1, 1, 3)
    habits = viewers.seen(lake, choice).habits
    assert [row["viewers"] for row in habits] == [1, 1, 0, 0, 0, 0]


def test_cohorts_have_the_days_that_are_over(asked: tuple[Reader, Choice]) -> None:
    """Of the two of the first day none came on the second; the third is not over."""
    lake, choice = asked
    first = [
        (row["number"], row["viewers"], row["cohort_viewers"]) for row in viewers.cohorts(lake, choice, "day")
    ]
    assert first == [(1, 0, 2)]
    later = among(choice.until + timedelta(days=1))
    assert [
        (row["number"], row["viewers"], row["cohort_viewers"]) for row in viewers.cohorts(lake, later, "day")
    ] == [(1, 0, 2), (2, 1, 2), (1, 0, 1)]


def test_what_is_played_next_has_its_name(asked: tuple[Reader, Choice]) -> None:
    """Two of the film's plays are of known viewers; one of them went on within a day."""
    lake, choice = asked
    (pair,) = viewers.sequences(lake, choice, 24)
    assert (pair["content"], pair["next"], pair["sessions"], pair["plays"]) == ("Film", "Next", 1, 2)
    assert [(row["status"], row["sessions"]) for row in viewers.seen(lake, choice).listed] == [
        ("returning", 2),
        ("new", 1),
        ("lapsed", 0),
    ]


# ---- ads


def test_the_time_of_an_ad_is_a_median(told: Lake, asked: tuple[Reader, Choice]) -> None:
    """Each of the bad campaign ended 6 s after its start, most of the good one after 20 s; breaks as their ads."""
    lake, choice = asked
    delivered = ads.delivered(lake, choice, by="campaign_id")
    assert {row["value"]: (row["median_s"], row["over"]) for row in delivered.by_value} == {
        "good": (20, 14),
        "bad": (6, 12),
    }
    ((median_s, over),) = told.ask(
        "SELECT median(time_s), count(*) FROM ads WHERE outcome <> 'open' OR state = 'final'"
    )
    assert delivered.all == {"median_s": median_s, "over": over}
    (place,) = ads.breaks(lake, choice).places
    assert [(place["median_s"], place["over"])] == told.ask(
        "SELECT median(time_s), count(*) FROM ad_breaks WHERE outcome <> 'open' OR state = 'final'"
    )


def test_ads_are_counted_by_campaign_with_how_far_they_played(told: Lake, asked: tuple[Reader, Choice]) -> None:
    """Each of the bad campaign failed after a quarter; of the good one a skip, and a silence after 12 of 20 s."""
    lake, choice = asked
    good, bad = ads.delivered(lake, choice, by="campaign_id").by_value
    names = ("value", "n", "completed", "skipped", "aborted", "silent", "failed", "known", "1/4", "1/2", "3/4")
    assert [good[name] for name in names] == ["good", 14, 12, 1, 0, 1, 0, 14, 14, 13, 12]
    assert [bad[name] for name in names] == ["bad", 12, 0, 0, 12, 0, 12, 12, 12, 0, 0]
    assert told.ask("SELECT campaign_id, outcome, count(*) FROM ads GROUP BY ALL ORDER BY ALL") == [
        ("bad", "aborted", 12),
        ("good", "completed", 12),
        ("good", "open", 1),
        ("good", "skipped", 1),
    ]
    (metrics,) = questions.metrics(
        lake,
        choice,
        ["ads_started", "ad_completion_ratio_adobe", "ad_skip_ratio", "ad_abort_ratio", "ad_breaks"],
    )
    assert list(metrics.values())[1:] == [26, 12 / 26, 1 / 26, 13 / 26, 15]


def test_the_failing_campaign_is_seen_over_time_and_against_all_others(asked: tuple[Reader, Choice]) -> None:
    """It completes nothing, and is the first of those that differ."""
    lake, choice = asked
    delivered = ads.delivered(lake, choice, by="campaign_id")
    over_time = delivered.over_time
    assert {row["completed"] for row in over_time if row["series"] == "bad"} == {0}
    assert all(row["completed"] == 1 for row in over_time[-4:-1] if row["series"] == "good")
    worst = delivered.most_aborted[0]
    assert worst["combination"] == "bad"
    assert (worst["n"], worst["share"], worst["rest_share"]) == (12, 1, 1 / 14)
    (error,) = delivered.errors
    assert (error["error"], error["campaign"], error["ads"]) == ("E", "bad", 12)


def test_breaks_have_their_place_and_whether_they_were_filled_and_left(asked: tuple[Reader, Choice]) -> None:
    """One of fifteen is without an ad, and one was left in silence."""
    lake, choice = asked
    breaks = ads.breaks(lake, choice)
    assert (breaks.now, breaks.then) == ({"breaks": 15, "filled": 14}, {"breaks": 0, "filled": 0})
    (place,) = breaks.places
    assert (place["minute"], place["breaks"], place["empty"], place["completed"]) == (0, 15, 1, 14)
    (metrics,) = questions.metrics(lake, choice, ["ad_break_left_ratio"])
    assert metrics["ad_break_left_ratio"] == 1 / 15


def test_filters_leave_the_ads_of_what_they_name(asked: tuple[Reader, Choice]) -> None:
    """Only the film has ads."""
    lake, choice = asked
    assert ads.delivered(lake, among(choice.until, content=["next"])).by_value == []
    (every,) = ads.delivered(lake, among(choice.until, content=["film", "next"])).by_value
    assert every["n"] == sum(len(told.ads or ()) for told in TOLD)
