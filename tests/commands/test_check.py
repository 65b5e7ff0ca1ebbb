"""`playhead check`: events in a file, judged as an ingest does and folded as a worker does."""

import json
from pathlib import Path

import pytest
from rigs.commands import playhead
from rigs.ingest import event, session_start

from commands.check import check_events
from ingest.bodies import BodyLimits
from lake.one_session import Timeline

LIMITS = BodyLimits(65_536, 4_194_304)
NOW_MS = 1_800_000_000_000
DAY_MS = 86_400_000
T = 1_700_000_000_000
SESSION = [
    session_start(),
    event("play", ts=T + 1_000, playhead=0),
    event("pauseStart", ts=T + 21_000, playhead=20),
    event("Play", ts=T + 25_000, playhead=20),
    event("sessionEnd", ts=T + 31_000, playhead=20),
]


def checked(body: bytes) -> tuple[bool, set[tuple[str, str]], Timeline | None]:
    """Return whether all is accepted, code and place of each remark, and the session."""
    found = check_events(body, limits=LIMITS, strict=False, now_ms=NOW_MS, length_ms=DAY_MS)
    return (
        found.verdict.accepted,
        {(remark.code, remark.pointer) for remark in found.verdict.remarks},
        found.session,
    )


@pytest.mark.parametrize("form", ["an array", "lines", "an array over many lines"])
def test_a_session_in_a_file_is_judged_and_folded(form: str) -> None:
    """Each event's mistakes, and the numbers that the events which are accepted make."""
    text = json.dumps(SESSION, indent=2 if form == "an array over many lines" else None)
    body = "\n".join(map(json.dumps, SESSION)) if form == "lines" else text
    accepted, remarks, session = checked(body.encode())
    assert (accepted, remarks) == (False, {("unknown_event_type", "/3/eventType")})
    assert session is not None
    numbers = {number.name: number.value for number in session.numbers}
    assert (numbers["content_time_s"], numbers["pause_time_s"]) == (20.0, 10.0)
    assert [line.offset for line in session.lines] == [0, 1, 2, 4]
    assert not any(number.is_other for number in session.numbers)


def test_one_event_alone_has_no_order() -> None:
    """Nothing is said of a missing sessionStart; a body that is no JSON is named for what it is."""
    assert checked(json.dumps(event("play"), indent=1).encode())[:2] == (True, set())
    assert checked(b"\x1f\x8b")[:2] == (False, {("not_json", "")})
    assert checked(b"[1,")[2] is None


def test_the_session_is_that_of_events_which_arrive_when_they_happen() -> None:
    """Also if they happen after this machine's time: nothing took long to arrive, and no clock is behind."""
    ahead = [
        session_start() | {"playerTime": {"playhead": 0, "ts": NOW_MS + 29_000}},
        event("play", ts=NOW_MS + 29_100, playhead=0),
        event("pauseStart", ts=NOW_MS + 49_100, playhead=20),
        event("sessionEnd", ts=NOW_MS + 49_200, playhead=20),
    ]
    accepted, _, session = checked(json.dumps(ahead).encode())
    assert accepted
    assert session is not None
    assert {line.delay_ms for line in session.lines} == {0}
    assert session.clock_offset_ms == 0
    numbers = {number.name: number.value for number in session.numbers}
    assert numbers["content_time_s"] == 20.0


def test_the_command_prints_both_and_its_status_says_whether_all_is_well(tmp_path: Path) -> None:
    """Without a log or a lake; a file that is not there is named."""
    path = tmp_path / "session.json"
    path.write_text(json.dumps(SESSION))
    done = playhead("check", str(path), cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert (
        "ERROR #3 /3/eventType  unknown_event_type: Unknown `eventType` 'Play': did you mean `play`?"
        in done.stdout
    )
    assert "content_time_s = 20" in done.stdout
    path.write_text(json.dumps([each for each in SESSION if each["eventType"] != "Play"]))
    assert playhead("check", str(path), cwd=tmp_path).returncode == 0
    path.write_text("[]")
    empty = playhead("check", str(path), cwd=tmp_path)
    assert (empty.returncode, empty.stdout.splitlines()[0]) == (1, "The file would be refused as a whole")
    assert "got an empty one" in empty.stdout
    path.write_text(json.dumps(event("play")))
    assert playhead("check", str(path), cwd=tmp_path).stdout.startswith("1 event: none would be refused\n")
    missing = playhead("check", str(tmp_path / "nothing"), cwd=tmp_path)
    assert (missing.returncode, "cannot be read" in missing.stderr) == (2, True)
