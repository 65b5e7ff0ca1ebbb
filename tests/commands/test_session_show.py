"""`session show` and `verify --metrics`: how numbers came to be, and whether a second way gives the same."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from rigs.lake import ROOT, Lake, write
from rigs.session_model import NOON_MS, make_event, session_id

from lake.audit import audit
from lake.find import NoSuchSession
from lake.one_session import Timeline, describe, show
from sessions.event import Bad, Event

DAY_MS = 86_400_000
PARAMS = {"media.id": "film", "media.length": 600.0, "media.contentType": "vod", "media.playerName": "tv"}

# A session that arrives badly: the pause at 20 s comes after the play at 25 s; 75 s without a word; said twice.
ROWS: list[tuple[float, str, float]] = [
    (0, "sessionStart", 0),
    (1, "play", 0),
    (11, "ping", 10),
    (25, "play", 19),
    (20, "pauseStart", 19),
    (35, "ping", 29),
    (110, "ping", 33),
    (110, "ping", 33),
    (120, "sessionEnd", 43),
]


def events(rows: Iterable[tuple[float, str, float]], session: str, *, first: int = 0) -> list[Event]:
    """Make the events of a session in order of arrival, half a second after they happened."""
    return [
        make_event(
            name,
            ts=NOON_MS + round(second * 1000),
            received_ms=NOON_MS + round(second * 1000) + 500,
            offset=first + n,
            session_id=session,
            playhead_s=float(playhead),
            params=PARAMS if name == "sessionStart" else None,
        )
        for n, (second, name, playhead) in enumerate(rows)
    ]


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Three sessions: one that arrives badly, one plain one, one that is still open."""
    lake = Lake(tmp_path_factory.mktemp("show"))
    plain = [(0.0, "sessionStart", 0.0), (0.5, "play", 0.0), (10.123, "ping", 9.6), (20.0, "sessionEnd", 19.477)]
    log = events(ROWS, session_id(1, NOON_MS - 1000))
    log += events(plain, session_id(2, NOON_MS - 1000), first=len(log))
    log += events(
        [(0.0, "sessionStart", 0.0), (2.0, "play", 0.0)], session_id(3, NOON_MS + 9_000_000), first=len(log)
    )
    with lake.writer() as writer:
        held = writer.load(0, None)
        write(writer, held, log)
    return lake


@pytest.fixture(scope="module")
def timeline(lake: Lake) -> Timeline:
    return show(lake.place, session_id(1, NOON_MS - 1000), length_ms=DAY_MS)


def changed(timeline: Timeline, offset: int) -> dict[str, float | None]:
    """Return what an event changed, as what it added."""
    (line,) = [line for line in timeline.lines if line.offset == offset]
    return {change.number: round((change.after or 0) - (change.before or 0), 3) for change in line.changes}


def test_events_are_shown_in_order_and_say_when_they_arrived_out_of_it(timeline: Timeline) -> None:
    """The pause is listed before the play that overtook it, with a remark."""
    assert [line.offset for line in timeline.lines] == [0, 1, 2, 4, 3, 5, 6, 7, 8]
    remarks = {line.offset: line.remarks for line in timeline.lines}
    assert remarks[4] == ["arrived after 1 later event"]
    assert [offset for offset, said in remarks.items() if not said] == [0, 1, 2, 3, 5, 8]


def test_each_event_says_what_it_changed(timeline: Timeline) -> None:
    """Joined 1 s; content 10 + 9; paused 5; content 10; 4 of 75 s borne out; the repeat counts as one; 10."""
    assert changed(timeline, 1) == {"is_started": 1, "startup_s": 1, "join_s": 1}
    assert changed(timeline, 2) == {"content_time_s": 10, "unique_played_s": 10}
    assert changed(timeline, 4) == {"content_time_s": 9, "unique_played_s": 9, "pauses": 1}
    assert changed(timeline, 3) == {"pause_time_s": 5}
    assert changed(timeline, 6) == {"content_time_s": 4, "gap_s": 71, "unique_played_s": 4}
    assert changed(timeline, 7) == {"repeats": 1}
    assert [line.player for line in timeline.lines][:5] == ["joins", "plays", "plays", "paused", "plays"]


def test_gaps_and_repeats_are_pointed_out(timeline: Timeline) -> None:
    """The event that ends a gap, and the one that was sent before."""
    remarks = {line.offset: line.remarks for line in timeline.lines}
    assert remarks[6] == ["a gap: nothing is known of the time before it"]
    assert remarks[7] == ["sent before: stored, not counted"]


def test_every_number_is_the_sum_of_what_events_added_and_equals_the_lake(timeline: Timeline) -> None:
    """content_time_s = 10 + 9 + 10 + 4 + 10, each with its event; every number as `sessions` has it."""
    numbers = {number.name: number for number in timeline.numbers}
    parts = [(part.offset, part.added) for part in numbers["content_time_s"].parts]
    assert parts == [(2, 10), (4, 9), (5, 10), (6, 4), (8, 10)]
    assert numbers["content_time_s"].value == numbers["content_time_s"].lake == 43
    assert [number.name for number in timeline.numbers if number.is_other] == []
    assert (timeline.clock_offset_ms, [version.close_reason for version in timeline.versions]) == (500, ["ended"])


def test_the_text_shows_the_arithmetic(timeline: Timeline) -> None:
    """A person reads the same."""
    text = "\n".join(describe(timeline))
    assert "content_time_s = 43 = +10 (#2) +9 (#4) +10 (#5) +4 (#6) +10 (#8)" in text
    assert "flag not_borne_out: in a silence the playhead moved less than the clock" in text
    assert "as the player reports it, content_time_s would be 114" in text
    assert "version 1: final (ended), 8 events up to offset" in text
    assert "! arrived after 1 later event" in text


def test_refused_bodies_are_shown_in_their_place(tmp_path: Path) -> None:
    """Between the events before and after which they arrived, and after the last; those of others are not."""
    lake = Lake(tmp_path)
    mine, other = session_id(1, NOON_MS - 1000), session_id(2, NOON_MS - 1000)
    rows = [(0.0, "sessionStart", 0.0), (1.0, "play", 0.0), (30.0, "sessionEnd", 29.0)]

    def refused(offset: int, second: float, detail: str, session: str | None) -> Bad:
        received_ms = NOON_MS + round(second * 1000)
        return Bad(offset, received_ms, "ingest", "invalid_event", detail, b"{}", session_id=session)

    log: list[Any] = events(rows, mine)
    log += [refused(3, 10.5, "first", mine), refused(4, 11.5, "of another", other), refused(5, 12.5, "", None)]
    log += [refused(6, 40.5, "last", mine)]
    with lake.writer() as writer:
        write(writer, writer.load(0, None), log)
    timeline = show(lake.place, mine, length_ms=DAY_MS)
    assert [body.detail for body in timeline.refused] == ["first", "last"]
    lines = [line.split() for line in describe(timeline)]
    shown = [words for words in lines if words[:1] == ["REFUSED"] or (len(words) > 4 and words[0].isdigit())]
    assert [words[0] for words in shown] == ["0", "1", "REFUSED", "2", "REFUSED"]
    assert shown[2] == ["REFUSED", "10.000", "invalid_event:", "first"]


def test_a_prefix_is_enough_and_an_ambiguous_one_names_the_candidates(lake: Lake) -> None:
    """The open session's id differs early; the other two share their first characters."""
    third = session_id(3, NOON_MS + 9_000_000)
    assert show(lake.place, third[:11], length_ms=DAY_MS).session_id == third
    shared = session_id(1, NOON_MS - 1000)[:8]
    with pytest.raises(NoSuchSession, match="several sessions begin with") as refused:
        show(lake.place, shared, length_ms=DAY_MS)
    assert session_id(1, NOON_MS - 1000) in str(refused.value)
    assert session_id(2, NOON_MS - 1000) in str(refused.value)


@pytest.mark.parametrize(("prefix", "answer"), [("feed", "the newest are:"), ("", "first characters of its id")])
def test_an_unknown_session_gets_a_helpful_answer(lake: Lake, prefix: str, answer: str) -> None:
    """What there is instead."""
    with pytest.raises(NoSuchSession, match=answer):
        show(lake.place, prefix, length_ms=DAY_MS)


def command(lake: Lake, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {"PATH": "/usr/bin:/bin", "PLAYHEAD_DATA_DIR": str(lake.settings.data_dir)}
    return subprocess.run(
        [sys.executable, "-P", "-m", "playhead", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_the_command_prints_text_or_json_and_refuses_with_2(lake: Lake) -> None:
    """`playhead session show ID [--json]`."""
    wanted = session_id(2, NOON_MS - 1000)
    assert f"session {wanted}" in command(lake, "session", "show", wanted).stdout
    shown = json.loads(command(lake, "session", "show", wanted, "--json").stdout)
    assert (shown["session_id"], len(shown["lines"])) == (wanted, 4)
    refused = command(lake, "session", "show", "feed")
    assert (refused.returncode, "no session begins with feed" in refused.stderr) == (2, True)


# ---- the second way


def test_a_second_way_gives_the_numbers_of_the_lake(lake: Lake) -> None:
    """Both closed sessions, also where playheads are no round numbers."""
    found = audit(lake.place, sample=10, seed=1, length_ms=DAY_MS)
    assert (found.sample, found.recounted, found.passed_over, found.differences) == (2, 2, 0, [])
    assert found.numbers > 100


def test_a_wrong_number_is_named(lake: Lake, tmp_path: Path) -> None:
    """A session whose content time and chapters somebody changed: both values, and exit status 1."""
    broken = copy(lake, tmp_path)
    broken.do(
        "CREATE TEMP TABLE kept AS SELECT * REPLACE (content_time_s + 1 AS content_time_s, 7 AS pauses) "
        "FROM session_versions",
        "DELETE FROM session_versions",
        "INSERT INTO session_versions SELECT * FROM kept",
    )
    found = audit(broken.place, sample=10, seed=1, length_ms=DAY_MS)
    wrong = {(one.session_id, one.metric, one.lake, one.recounted) for one in found.differences}
    one = session_id(1, NOON_MS - 1000)
    assert (one, "content_time_s", "44000", "43000") in wrong
    assert (one, "pauses", "7", "1") in wrong
    assert len(wrong) == 4
    told = command(broken, "verify", "--metrics", "--sample", "10", "--seed", "1")
    assert (told.returncode, "2 closed sessions recounted" in told.stdout) == (1, True)


def copy(lake: Lake, folder: Path) -> Lake:
    """Return a copy of a lake, to be broken."""
    shutil.copytree(lake.settings.data_dir, folder, dirs_exist_ok=True)
    return Lake(folder)


def test_a_session_too_long_to_count_is_passed_over_and_said(tmp_path: Path) -> None:
    """Its clock jumps by 30 hours before the sessionStart: counted as passed over, not as right."""
    lake = Lake(tmp_path)
    rows: list[Any] = [(-108_000, "ping", 0.0), (0, "sessionStart", 0.0), (1, "play", 0.0), (2, "sessionEnd", 1.0)]
    with lake.writer() as writer:
        write(writer, writer.load(0, None), events(rows, session_id(1, NOON_MS - 200_000_000)))
    found = audit(lake.place, sample=10, seed=1, length_ms=DAY_MS)
    assert (found.sample, found.recounted, found.passed_over) == (1, 0, 1)
