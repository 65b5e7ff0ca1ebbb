"""What the page about quality shows, over a lake with every oddity."""

import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
from rigs.lake import Lake
from rigs.odd_lake import STRANGER, TOLD, odd_lake
from rigs.pages import reading

from lake.reading import Reader
from notebooks import quality
from notebooks.filters import Choice


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """The lake."""
    now_ms = time.time_ns() // 1_000_000 // 60_000 * 60_000
    return odd_lake(tmp_path_factory.mktemp("odd") / "data", start_ms=now_ms - 7_200_000)


@pytest.fixture(scope="module")
def asked(odd: Lake) -> Iterator[tuple[Reader, Choice]]:
    """A reader of it, and the choice of all of it."""
    with reading(odd.settings.data_dir, timedelta(hours=6)) as found:
        yield found


def found_by_player(lake: Reader, choice: Choice) -> quality.Found:
    """Return what is found of the sessions, cut by their player."""
    return quality.found(lake, choice, by="coalesce(player_name, 'unknown')")


def test_each_doubt_is_found_where_it_is(asked: tuple[Reader, Choice]) -> None:
    """One session each; the late one is slow as well. The view `data_quality` counts the same."""
    lake, choice = asked
    found = quality.checked(lake, choice)
    assert {column: found[column] for column in quality.CHECKS if found[column]} == {
        "is_reopened": 1,
        "is_slow": 2,
        "has_wrong_clock": 1,
        "has_gap": 1,
        "is_startless": 1,
        "has_repeats": 1,
    }
    assert (found["n"], found["unended"], found["gap_s"]) == (len(TOLD), 5, 400)
    assert found["events"] == sum(map(len, TOLD.values()))
    assert quality.added(found_by_player(lake, choice).by_time) == found


def test_what_is_counted_is_what_the_view_counts(odd: Lake, asked: tuple[Reader, Choice]) -> None:
    """Both for sessions and for flags, by SQL of their own."""
    lake, choice = asked
    found, each = quality.checked(lake, choice), found_by_player(lake, choice)
    counted = dict(odd.ask("SELECT \"check\", found FROM data_quality WHERE what = 'sessions'"))
    assert found["is_slow"] == counted["late uploads"]
    assert found["has_gap"] == counted["with unknown time"]
    flags = {f"session flag {row['flag']}": row["found"] for row in each.session_flags}
    assert flags == {name: count for name, count in counted.items() if name.startswith("session flag") and count}
    of_events = {row["flag"]: row["found"] for row in each.event_flags}
    assert of_events == dict(odd.ask("SELECT flag, events FROM flagged_events"))
    assert of_events == {"repeat": 1}


def test_every_flag_has_its_meaning(odd: Lake, asked: tuple[Reader, Choice]) -> None:
    """Also those of events."""
    lake, choice = asked
    found = found_by_player(lake, choice)
    rows = [*found.session_flags, *found.event_flags]
    assert rows
    assert all(row["meaning"] for row in rows)


def test_parts_by_player_add_up(asked: tuple[Reader, Choice]) -> None:
    """The one without a start has no player."""
    lake, choice = asked
    parts = found_by_player(lake, choice).by_value
    assert {row["value"]: row["n"] for row in parts} == {"p": len(TOLD) - 1, "unknown": 1}
    assert sum(row["has_gap"] for row in parts) == 1


def test_delays_are_those_of_the_slowest_report(asked: tuple[Reader, Choice]) -> None:
    """Four at once, one after 1 s, one after 90 s, one after 50 minutes."""
    lake, choice = asked
    delays = found_by_player(lake, choice).delays
    assert {row["place"]: row["sessions"] for row in delays} == {0: 4, 1: 1, 3: 1, 4: 1}


def test_what_was_refused_is_shown_without_what_it_holds(asked: tuple[Reader, Choice]) -> None:
    """Reasons, numbers and where the newest is; no word of another producer's record."""
    lake, choice = asked
    rows = quality.refused(lake, choice.since, choice.until)
    assert [(row["source"], row["reason"], row["what was wrong"], row["records"]) for row in rows] == [
        ("ingest", "not_json", "d", 2),
        ("worker", "future_version", "…", 1),
        ("worker", "invalid_event", "Expected a known `eventType`; …", 1),
        ("worker", "not_json", "JSON is malformed: invalid character (byte 0)", 1),
        ("worker", "unknown_type", "type …", 1),
    ]
    events = sum(map(len, TOLD.values()))
    assert rows[0]["newest is at"] == f"0:{events + 1}"
    assert not any(piece in str(rows) for piece in (STRANGER, "joe", "doe"))
    assert quality.arrived(lake, choice.since, choice.until) == events


def test_what_the_log_lost_is_listed(asked: tuple[Reader, Choice]) -> None:
    """With how many records, and why."""
    lake, _ = asked
    assert [(row["what"], row["partition"], row["records"], row["why"]) for row in quality.missing(lake)] == [
        ("delivered twice", 0, 1, "stored before"),
        ("lost by the log", 0, 10, "the disk was lost"),
    ]


def test_a_session_that_is_not_kept_whole_is_listed(odd: Lake, asked: tuple[Reader, Choice]) -> None:
    """None here, until one reached a limit."""
    lake, choice = asked
    assert found_by_player(lake, choice).capped == []
    odd.do("UPDATE session_versions SET is_capped = true, events_over_limit = 7 WHERE session_id = 'plain'")
    (row,) = found_by_player(lake, choice).capped
    assert (row["session"], row["events"], row["events not counted"], row["cut short"]) == (
        "plain",
        11,
        7,
        ["lists"],
    )
