"""`playhead tail` and `session show --follow`: what comes into the lake, as it comes."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from rigs.lake import Lake, write
from rigs.session_model import NOON_MS, make_event, make_tracking, session_id

from commands.show import follow_session, print_session
from commands.tail import follow
from lake.arrivals import Wanted
from schemas.ids import derive_media_session
from sessions.event import Bad

ONE, OTHER = session_id(1, NOON_MS), session_id(2, NOON_MS)


def make(offset: int, name: str, session: str = ONE, **rest: Any) -> Any:
    """Return an event that arrives a second after the one before it."""
    ts = NOON_MS + offset * 1_000
    if name == "sessionStart":
        rest["params"] = {"media.id": "film" if session == ONE else "match"}
    return make_event(name, ts=ts, received_ms=ts, offset=offset, session_id=session, playhead_s=0.0, **rest)


def refused(offset: int, session: str | None) -> Bad:
    """Return a body that was refused."""
    return Bad(offset, NOON_MS + offset * 1_000, "ingest", "not_json", "it is empty", b"", session_id=session)


BEFORE = [make(0, "sessionStart"), make(1, "play"), refused(2, ONE)]
AFTER = [make(3, "sessionStart", OTHER), make(4, "play", OTHER), refused(5, None), make(6, "sessionEnd")]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A lake with some records; others come when `more` is called."""
    lake = Lake(tmp_path)
    with lake.writer() as writer:
        write(writer, writer.load(0, None), BEFORE)
    return lake


def more(lake: Lake) -> Callable[[float], None]:
    """Return a wait in which the other records come."""

    def wait(_: float) -> None:
        with lake.writer() as writer:
            write(writer, writer.load(0, None), AFTER)

    return wait


@pytest.mark.parametrize(
    ("wanted", "offsets"),
    [
        (Wanted(), [1, 2, 3, 4, 5, 6]),
        (Wanted(session=ONE[:20]), [1, 2, 6] if ONE[:20] != OTHER[:20] else [1, 2, 3, 4, 6]),
        (Wanted(content="match"), [3, 4]),
        (Wanted(content="film"), [1, 2, 6]),
        (Wanted(event_type="play"), [1, 4]),
        (Wanted(flag="off_schema"), []),
        (Wanted(refused=True), [2, 5]),
    ],
)
def test_what_comes_is_printed_in_order(
    lake: Lake, capsys: pytest.CaptureFixture[str], wanted: Wanted, offsets: list[int]
) -> None:
    """The newest two first, and then all that comes, each once; filters are for both."""
    follow(lake.settings, wanted, lines=2, as_json=True, rounds=1, wait=more(lake))
    assert [json.loads(line)["offset"] for line in capsys.readouterr().out.splitlines()] == offsets


@pytest.mark.parametrize(
    ("wanted", "offsets"),
    [
        (Wanted(), [57, 58, 59]),
        (Wanted(flag="past_ts"), [1]),
        (Wanted(session=OTHER), [0, 2, 3]),
        (Wanted(content="match"), [0, 2, 3]),
        (Wanted(event_type="pauseStart"), [1, 2]),
        (Wanted(refused=True), [4]),
    ],
)
def test_it_begins_with_the_last_that_match_however_much_came_since(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], wanted: Wanted, offsets: list[int]
) -> None:
    """Filters are for what is stored too: the last lines are the last of those that match."""
    lake = Lake(tmp_path)
    rare = [
        make(0, "sessionStart", OTHER),
        make(1, "pauseStart", flags=("past_ts",)),
        make(2, "pauseStart", OTHER),
        make(3, "play", OTHER),
        refused(4, None),
    ]
    with lake.writer() as writer:
        pings = [make(offset, "ping") for offset in range(5, 60)]
        created = [make_tracking(offset=offset) for offset in range(60, 70)]
        write(writer, writer.load(0, None), [*rare, *pings, *created])
    follow(lake.settings, wanted, lines=3, as_json=True, rounds=0)
    assert [json.loads(line)["offset"] for line in capsys.readouterr().out.splitlines()] == offsets


def test_it_says_how_far_back_it_has_looked(
    lake: Lake, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If fewer match than were asked for, and there are older records."""
    follow(lake.settings, Wanted(event_type="play"), lines=3, as_json=True, rounds=0)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("lake.arrivals.BACK_RECORDS_MAX", 1)
    follow(lake.settings, Wanted(event_type="play"), lines=3, as_json=True, rounds=0)
    assert "older ones were not looked at" in capsys.readouterr().err


def test_a_line_is_for_a_person(lake: Lake, capsys: pytest.CaptureFixture[str]) -> None:
    """When, of which session, what, where, of what; of a refusal the reason."""
    follow(lake.settings, Wanted(), lines=10, as_json=False, rounds=0)
    first, _, third = capsys.readouterr().out.splitlines()
    at = f"{datetime.fromtimestamp(NOON_MS / 1000, UTC):%H:%M:%S}.000"
    assert first.split() == [at, ONE[:24], "sessionStart", "0.000", "film"]
    assert third.split()[1:] == [ONE[:24], "REFUSED", "not_json:", "it", "is", "empty"]


def test_what_is_printed_of_an_id_names_its_session(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also of ids that are made of a request, which all begin alike: those of the web client are."""
    lake = Lake(tmp_path)
    requests = [derive_media_session([b"key"], partitions=1, request=bytes([n])) for n in range(3)]
    starts = [make(offset, "sessionStart", each.id) for offset, each in enumerate(requests)]
    with lake.writer() as writer:
        write(writer, writer.load(0, None), starts)
    follow(lake.settings, Wanted(), lines=3, as_json=False, rounds=0)
    printed = [line.split()[1] for line in capsys.readouterr().out.splitlines()]
    for begins, request in zip(printed, requests, strict=True):
        print_session(lake.settings, begins, as_json=True)
        assert json.loads(capsys.readouterr().out)["session_id"] == request.id


def test_a_session_is_followed_until_it_is_over(lake: Lake, capsys: pytest.CaptureFixture[str]) -> None:
    """It is shown again when it has changed."""
    follow_session(lake.settings, ONE, as_json=True, wait=more(lake))
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [[line["event_type"] for line in each["lines"]] for each in shown] == [
        ["sessionStart", "play"],
        ["sessionStart", "play", "sessionEnd"],
    ]
    assert [len(each["refused"]) for each in shown] == [1, 1]
