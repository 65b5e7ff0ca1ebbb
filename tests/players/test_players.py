"""Do simulated viewers play what they should, and is what they call true really so?"""

import asyncio
import hashlib
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvicorn
from rigs.commands import PLAYHEAD
from rigs.processes import started
from rigs.session_model import as_json

from players.account import Progress
from players.bodies import FAULTS, body_of, bytes_of
from players.personas import PLAYERS, make_persona
from players.scripts import make_script
from players.tape import Step
from players.truth import (
    COLUMNS,
    DELAY_MS_MAX,
    LISTS,
    METRICS,
    Finding,
    LakeSession,
    Metrics,
    SessionTruth,
    Truth,
    Value,
    compare,
    divide,
    is_close,
    metrics_of,
    read_truth,
    totals,
    write_truth,
)
from players.viewers import simulate
from schemas.faults import NotReady, Refusal
from schemas.media import check_event, read_json
from schemas.vocabulary import EVENT_TYPES
from sessions.event import Event
from sessions.fold import fold_all

NOW_MS = 1_790_000_000_000
SCRIPTS = [make_script(7, viewer, number) for viewer in range(150) for number in range(2)]
STEPS = [step for script in SCRIPTS for step in script.steps]


def test_a_seed_gives_the_same_sessions_again() -> None:
    """Two runs with one seed play the same; another seed plays something else."""
    assert make_script(7, 3, 1) == make_script(7, 3, 1)
    assert make_script(7, 3, 1).steps != make_script(8, 3, 1).steps


def test_all_events_are_valid_and_all_spoiled_ones_are_not() -> None:
    """What must be accepted follows the vocabulary, and what must be refused breaks it."""
    for step in STEPS:
        body = bytes_of(body_of(step, start_ms=NOW_MS), step.fault)
        if step.fault:
            with pytest.raises(Refusal):
                check_event(read_json(body), now_ms=NOW_MS)
        else:
            assert check_event(read_json(body), now_ms=NOW_MS)[0].name == step.event_type


def test_everything_that_players_do_is_played() -> None:
    """Every event type, kind of player, way to refuse consent and spoiled body occurs."""
    assert {step.event_type for step in STEPS} == set(EVENT_TYPES)
    assert {step.fault for step in STEPS} == {"", *FAULTS}
    personas = [make_persona(7, viewer) for viewer in range(150)]
    assert {persona.player for persona in personas} == set(PLAYERS)
    assert {persona.denial for persona in personas} == {"", "Sec-GPC", "DNT", "X-Consent", "metadata"}
    assert {persona.clock_offset_ms > 0 for persona in personas} == {True, False}
    assert {script.is_ended for script in SCRIPTS} == {True, False}
    assert {script.persona.clock_offset_ms == 0 for script in SCRIPTS if script.is_glance} == {True, False}
    assert any(script.posted_twice for script in SCRIPTS)
    assert any(step.body["playerTime"]["playhead"] == -1 for step in STEPS)


def test_events_overtake_each_other_only_where_several_are_in_flight() -> None:
    """Arrival order is not the order of happening for players with several requests in flight."""
    shuffled = {
        script.persona.player.name
        for script in SCRIPTS
        if [step.number for step in script.steps] != sorted(step.number for step in script.steps)
    }
    assert shuffled
    assert shuffled <= {player.name for player in PLAYERS if player.in_flight_max > 1}


def test_no_two_events_of_one_moment_contradict_each_other() -> None:
    """A player is not told to play and to stop in the same millisecond: their order could not be known."""
    for script in SCRIPTS:
        moves: dict[int, set[str]] = {}
        for step in script.steps:
            if EVENT_TYPES[step.event_type].player:
                moves.setdefault(step.at_ms, set()).add(step.event_type)
        assert all(len(types) == 1 for types in moves.values()), script.name


def test_journal_values_are_unique() -> None:
    """No journal value is in two events, so none links two sessions of a viewer."""
    values = Counter(
        step.body["customMetadata"]["journal"]
        for step in STEPS
        if "customMetadata" in step.body and not step.fault
    )
    assert values
    assert set(values.values()) == {1}


def test_every_metric_occurs() -> None:
    """What never happens proves nothing: each metric is more than nothing in some session."""
    known_to_the_run = {"start_ts", "end_ts", "last_event_ts", "started_at", "ended_at", "clock_offset_ms"}
    true = [script.steps[-1].so_far for script in SCRIPTS]
    nothing = {name for name in METRICS if not any(getattr(metrics, name) for metrics in true)}
    assert nothing == known_to_the_run | {"events_after_end"}  # no player sends anything after sessionEnd


def test_what_is_true_follows_from_the_events() -> None:
    """After each event of each script, the fold of the events so far knows what the script says is true."""
    for script in SCRIPTS:
        steps = sorted((step for step in script.steps if not step.fault), key=lambda step: step.number)
        events: list[Event] = []
        for step in steps:
            events.append(_event(step, events))
            found = metrics_of(msgspec.to_builtins(fold_all(events)))
            for name in METRICS:
                true = getattr(step.so_far, name)
                assert true is None or is_close(name, true, found[name]), (script.name, len(events), name)


def _event(step: Step, earlier: list[Event]) -> Event:
    body, at_ms = step.body, NOW_MS + step.at_ms
    event = Event(
        event_id=str(step.number),
        session_id="a" * 64,
        type=EVENT_TYPES[step.event_type],
        client_ms=at_ms,
        received_ms=at_ms,
        order_ms=at_ms,
        offset=step.number,
        playhead_s=body["playerTime"]["playhead"],
        params=as_json(body.get("params")),
        qoe=as_json(body.get("qoeData")),
        custom_metadata=as_json(body.get("customMetadata")),
    )
    is_repeat = any(event.says_the_same(other) for other in earlier)
    return msgspec.structs.replace(event, flags=("repeat",)) if is_repeat else event


TRUE = SessionTruth(
    session_id="a" * 64,
    script="1.2.3",
    viewer=2,
    accepted=5,
    unknown=1,
    has_user_id=True,
    metrics=Metrics(pauses=2, content_time_s=8.0),
)
TRUTH = Truth(seed=1, viewers=1, began_ms=0, finished_ms=9, sessions=(TRUE,), unknown_starts=(1,), refused=2)
SAME = LakeSession(TRUE.session_id, 5, True, {"pauses": 2, "content_time_s": 8.001, "progress_pct": 10})


def test_what_may_be_is_no_finding() -> None:
    """An unknown event may be there or not, and so may a session whose start was never answered."""
    ghost = LakeSession("b" * 64, 1)
    assert compare(TRUTH, [SAME], refused=2) == []
    assert compare(TRUTH, [msgspec.structs.replace(SAME, events=6), ghost], refused=3) == []


def test_starts_without_an_answer_explain_so_many_sessions_and_no_more() -> None:
    """An upload that broke off may have left a part; what no start can have left is invented."""
    odd = msgspec.structs.replace(TRUTH, unknown_starts=(1, 9))
    assert compare(odd, [SAME, LakeSession("b" * 64, 1), LakeSession("c" * 64, 4)]) == []
    for others in ([10], [2, 9], [1, 1, 9]):
        rows = [SAME, *(LakeSession(f"{index:064x}", events) for index, events in enumerate(others))]
        assert [finding.kind for finding in compare(odd, rows)] == ["invented"], others


@pytest.mark.parametrize(
    ("row", "is_of_others"),
    [
        (LakeSession("b" * 64, 2, started_by=""), True),  # by who knows nothing of runs
        (LakeSession("b" * 64, 2, started_by="another run"), True),
        (LakeSession("b" * 64, 2, started_by="this run"), False),
        (LakeSession("b" * 64, 2, started_by=None), False),  # without a sessionStart
        (msgspec.structs.replace(SAME, started_by="this run"), False),
        (msgspec.structs.replace(SAME, started_by=""), False),  # a viewer's, whatever the lake makes of it
    ],
)
def test_others_sessions_are_those_that_began_and_do_not_name_the_run(
    row: LakeSession, is_of_others: bool
) -> None:
    """Who posts must begin a session, and only the run knows its name: all else is the run's to answer for."""
    truth = msgspec.structs.replace(TRUTH, run="this run")
    assert divide(truth, [row]) == (([], [row]) if is_of_others else ([row], []))


@pytest.mark.parametrize(
    ("kind", "rows"),
    [
        ("lost", []),
        ("lost", [msgspec.structs.replace(SAME, events=4)]),
        ("doubled", [msgspec.structs.replace(SAME, events=7)]),
        ("invented", [SAME, LakeSession("b" * 64, 2)]),
        ("identity", [msgspec.structs.replace(SAME, has_user_id=False)]),
        ("metric", [msgspec.structs.replace(SAME, metrics={"pauses": 3})]),
        ("metric", [msgspec.structs.replace(SAME, metrics={"content_time_s": 8.01})]),
        ("metric", [msgspec.structs.replace(SAME, metrics={"content_time_s": None})]),
    ],
)
def test_each_difference_is_found(kind: str, rows: list[LakeSession]) -> None:
    """Lost, doubled and invented events, a wrong identity and a wrong metric are each named once."""
    assert [finding.kind for finding in compare(TRUTH, rows)] == [kind]


PARTS = {"mute": 2.0, "fullscreen": 1.0}


@pytest.mark.parametrize(
    ("name", "true", "value", "is_right"),
    [
        ("stalls", 1, 2, False),
        ("average_bitrate_bps", 2_400_000.0, 2_400_000.5, True),
        ("average_bitrate_bps", 2_400_000.0, 2_400_002.0, False),
        ("clock_offset_ms", -3_600_000, -3_600_000 + DELAY_MS_MAX, True),
        ("clock_offset_ms", -3_600_000, -3_600_001, False),
        ("started_at", 500, 499, False),
        ("started_at", 500, 501 + DELAY_MS_MAX, False),
        ("start_ts", 500, 501, False),
        ("state_time_s", PARTS, {**PARTS, "mute": 2.001}, True),
        ("state_time_s", PARTS, {"mute": 1.0, "fullscreen": 2.0}, False),
        ("state_time_s", PARTS, {**PARTS, "pictureInPicture": 1.0}, False),
        ("state_time_s", PARTS, {"mute": 2.0}, False),
        ("played_passes", {"0.000-10.000": 2}, {"0.000-10.000": 1}, False),
    ],
)
def test_how_close_is_right(name: str, true: Value, value: Value, is_right: bool) -> None:
    """Counts are equal, durations to the millisecond, a delay may be a slow clock; parts are judged one by one."""
    assert is_close(name, true, value) == is_right


def test_a_session_s_row_states_every_metric() -> None:
    """The columns as they are, the lists summed up."""
    row: dict[str, Any] = dict.fromkeys(COLUMNS, 1) | {name: [] for name in LISTS}
    row["playback_errors"] = [{"source": "player", "error_id": "7"}] * 2
    row["chapters"] = [
        {"index": 1, "outcome": "skipped", "time_s": 2.0},
        {"index": 2, "outcome": "open", "time_s": 3.0},
    ]
    row["played_intervals"] = [{"start_s": 0.0, "end_s": 2.5, "passes": 1}]
    metrics = metrics_of(row)
    assert metrics.keys() == set(METRICS)
    assert metrics["pauses"] == 1
    assert metrics["errors_by_source"] == {"player/7": 2}
    assert metrics["chapters_by_outcome"] == {"skipped": 1, "open": 1}
    assert metrics["chapter_time_s"] == {"1": 2.0, "2": 3.0}
    assert metrics["played_passes"] == {"0.000-2.500": 1}


def test_totals_are_over_the_sessions_whose_players_know() -> None:
    """Of two sessions one knows nothing; a metric in parts is the sum of its parts."""
    unsure = msgspec.structs.replace(TRUE, session_id="b" * 64, metrics=None)
    sure = msgspec.structs.replace(TRUE, metrics=Metrics(pauses=2, state_time_s=PARTS))
    both = msgspec.structs.replace(TRUTH, sessions=(sure, unsure))
    row = LakeSession(TRUE.session_id, 5, True, {"pauses": 3, "state_time_s": {"mute": 4.0}})
    lines = {line[0]: line[1:] for line in totals(both, [row, LakeSession("b" * 64, 5, True, {"pauses": 9})])}
    assert lines.keys() == set(METRICS)
    assert lines["pauses"] == (1, 2, 3)
    assert lines["state_time_s"] == (1, 3.0, 4.0)
    assert lines["startup_s"] == (0, 0, 0)


def test_missing_refusals_and_surprises_are_found() -> None:
    """A refused body that nobody kept, and a reply that the protocol does not foresee, are findings."""
    odd = msgspec.structs.replace(TRUTH, surprises=("play was answered 409",))
    assert compare(odd, [SAME], refused=1) == [
        Finding("surprise", "", "play was answered 409"),
        Finding("refused", "", "2 bodies were refused, 1 are kept"),
    ]


def test_the_truth_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    """A report holds the whole truth, wherever sessions were cut off."""
    sessions = [msgspec.structs.replace(TRUE, metrics=step.so_far) for step in STEPS]
    whole = msgspec.structs.replace(TRUTH, sessions=(TRUE, *sessions))
    write_truth(whole, tmp_path / "truth.json")
    assert read_truth(tmp_path / "truth.json") == whole


def _valid_events(body: bytes) -> int:
    """Return how many events a body has, 0 where it must be refused."""
    try:
        events = read_json(body)
        events = events if isinstance(events, list) else [events]
        for event in events:
            check_event(event, now_ms=2 * NOW_MS)
    except Refusal:
        return 0
    return len(events)


class Server:
    """A server that notes what it is asked, refuses what must be, and answers else as it is told to."""

    def __init__(self, answer: Callable[[str, int], int]) -> None:
        self.answer = answer
        self.asked: list[tuple[str, bytes, dict[bytes, bytes]]] = []
        self.taken = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        path, status = scope["path"], 200
        if scope["method"] == "POST":
            tries = sum(body == other for _, other, _ in self.asked)
            self.asked.append((path, body, dict(scope["headers"])))
            events = _valid_events(body)
            status = self.answer(path, tries) if events else 400
            if 200 <= status < 300 and not (tries and body.startswith(b"[")):
                self.taken += events
        headers = [(b"retry-after", b"0")] if status >= 500 else []
        if status == 201:
            headers.append((b"location", b"/api/v1/sessions/" + hashlib.sha256(body).hexdigest().encode()))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b""})


Serve = Callable[[Callable[[str, int], int]], tuple[str, Server]]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start servers that answer a path and number of earlier tries with a status."""
    running: list[tuple[uvicorn.Server, threading.Thread]] = []

    def start(answer: Callable[[str, int], int]) -> tuple[str, Server]:
        app = Server(answer)
        listening = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        running.append((server, thread))
        return f"http://127.0.0.1:{listening.getsockname()[1]}", app

    yield start
    for server, thread in running:
        server.should_exit = True
        thread.join(10)


def _well(path: str, tries: int) -> int:
    return 204 if path.endswith("/events") else 201


async def _simulate(url: str, *, for_s: float = 1.5, viewers: int = 12) -> Truth:
    return await simulate(url=url, viewers=viewers, for_s=for_s, seed=7, api_key=None, pace_s=0.05)


async def test_what_was_accepted_is_what_the_server_took(serve: Serve) -> None:
    """The truth has each event that the server answered 2xx, and no other."""
    url, server = serve(_well)
    progress: list[Progress] = []
    truth = await simulate(
        url=url, viewers=20, for_s=1.5, seed=8, api_key=None, report_progress=progress.append, pace_s=0.05
    )
    assert truth.accepted == server.taken > 50
    assert truth.unknown == 0
    assert truth.refused > 0
    assert truth.surprises == ()
    assert 0 < progress[-1].accepted <= truth.accepted
    assert any(session.is_ended for session in truth.sessions)


async def test_each_session_names_the_run_that_plays_it(serve: Serve) -> None:
    """Every sessionStart, streamed or uploaded, carries the name in the truth; another run has another."""
    url, server = serve(_well)
    truth = await _simulate(url, viewers=20)
    bodies = [msgspec.json.decode(body) for _, body, _ in server.asked if _valid_events(body)]
    starts = [event for body in bodies for event in (body if isinstance(body, list) else [body])]
    names = [event["customMetadata"]["run"] for event in starts if event["eventType"] == "sessionStart"]
    assert len(names) >= len(truth.sessions) > 0
    assert set(names) == {truth.run}
    assert (await _simulate(url, for_s=0.01)).run != truth.run


async def test_the_true_time_is_known_where_a_session_is_played_in_real_time(serve: Serve) -> None:
    """Whatever its own clock reads, a short look happens during the run, and lasts as long as it says."""
    url, _ = serve(_well)
    truth = await simulate(url=url, viewers=40, for_s=2.0, seed=7, api_key=None, pace_s=0.05)
    glances = [session for session in truth.sessions if session.metrics and session.metrics.started_at is not None]
    assert {session.clock_offset_ms == 0 for session in glances} == {True, False}
    for session in glances:
        true = session.metrics
        assert true is not None
        assert true.start_ts is not None
        assert true.started_at is not None
        assert true.ended_at is not None
        assert 0 <= true.started_at <= true.ended_at <= truth.finished_ms - truth.began_ms
        assert true.start_ts - true.started_at == session.clock_offset_ms == -(true.clock_offset_ms or 0)


async def test_a_failed_start_is_repeated_with_the_same_bytes(serve: Serve) -> None:
    """Players that try again send the same body and key; what became of the first try stays unknown."""
    url, server = serve(
        lambda path, tries: 500 if tries == 0 and not path.endswith("/events") else _well(path, tries)
    )
    truth = await _simulate(url, for_s=3.0, viewers=20)
    starts = Counter(body for path, body, _ in server.asked if path == "/api/v1/sessions")
    assert 2 in starts.values()
    assert truth.unknown_starts
    keys = {body: set[bytes]() for body in starts}
    for _, body, headers in server.asked:
        if body in keys and b"idempotency-key" in headers:
            keys[body].add(headers[b"idempotency-key"])
    assert max(len(values) for values in keys.values()) == 1


async def test_events_answered_503_are_unknown_and_leave_no_metrics(serve: Serve) -> None:
    """Nothing is claimed about sessions that lack an answer."""
    url, _ = serve(lambda path, tries: 503 if path.endswith("/events") else 201)
    truth = await _simulate(url)
    streamed = [session for session in truth.sessions if session.unknown]
    assert streamed
    assert {session.accepted for session in streamed} == {1}
    assert all(session.metrics is None for session in streamed)


async def test_a_player_gives_up_a_session_that_is_over(serve: Serve) -> None:
    """After 410, a surprise, a session sends nothing more; as many as a player has in flight may be under way."""

    def answer(path: str, tries: int) -> int:
        if not path.endswith("/events"):
            return 201
        time.sleep(0.05)  # so slow a server that players wait for a free request
        return 410

    url, server = serve(answer)
    truth = await _simulate(url)
    # Spoiled bodies are answered 400, which says nothing about the session.
    told = [path for path, body, _ in server.asked if path.endswith("/events") and _valid_events(body)]
    assert 1 < max(Counter(told).values()) <= max(player.in_flight_max for player in PLAYERS)
    assert any("410" in text for text in truth.surprises)


async def test_a_cancelled_run_returns_the_truth_so_far(serve: Serve) -> None:
    """Cancelling ends a run within moments, with every request answered and accounted for."""
    url, server = serve(_well)
    run = asyncio.create_task(_simulate(url, for_s=60))
    while len(server.asked) < 30:  # noqa: ASYNC110  (the server runs in a thread)
        await asyncio.sleep(0.01)
    began_s = time.monotonic()
    run.cancel()
    truth = await run
    assert time.monotonic() - began_s < 5
    assert truth.unknown == 0
    assert sum(session.accepted for session in truth.sessions) > 10


async def test_a_server_that_is_not_there_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """If nothing answers, the run reports that, with the address."""
    monkeypatch.setattr("players.viewers.PATIENCE_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with pytest.raises(NotReady, match=f"nothing answers at http://127.0.0.1:{port}"):
        await _simulate(f"http://127.0.0.1:{port}")


@pytest.fixture
def ingest(tmp_path: Path) -> Iterator[str]:
    """Run a real ingest with a log of its own; its API key is `key`."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    environment = {
        "PLAYHEAD_DATA_DIR": str(tmp_path),
        "PLAYHEAD_HTTP_PORT": str(port),
        "PLAYHEAD_API_KEYS": "key",
        "PLAYHEAD_MAC_KEY": "m" * 32,
        "PLAYHEAD_PSEUDONYM_KEY": "p" * 32,
    }
    subprocess.run([PLAYHEAD, "init"], env=environment, check=True, capture_output=True, timeout=60)
    with started([PLAYHEAD, "ingest"], log=tmp_path / "ingest.log", env=environment):
        yield f"http://127.0.0.1:{port}"


async def test_a_real_ingest_answers_as_players_expect(ingest: str) -> None:
    """Every good body is accepted, every spoiled one refused, and tracking sessions are known again."""
    truth = await simulate(url=ingest, viewers=40, for_s=4, seed=2, api_key="key", pace_s=0.1)
    assert truth.surprises == ()
    assert truth.unknown == 0
    assert truth.accepted > 40  # several times as many on an idle machine
    assert truth.refused > 0
    assert truth.tracking_deleted > 0
    named = {session.tracking_session_id for session in truth.sessions} - {None}
    assert named
    assert named <= set(truth.tracking_sessions)
    assert {session.has_user_id for session in truth.sessions} == {True, False}
