"""Do simulated viewers play what they should, and is what they call true really so?"""

import asyncio
import hashlib
import itertools
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvicorn

from players.scripts import FAULTS, PLAYERS, Step, body_of, bytes_of, make_persona, make_script
from players.truth import Finding, Found, Metrics, SessionTruth, Truth, compare, read_truth, write_truth
from players.viewers import Progress, simulate
from schemas.faults import NotReady, Refusal
from schemas.media import check_event, read_json
from schemas.vocabulary import EVENT_TYPES

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


def test_what_is_true_follows_from_the_events() -> None:
    """Adding up the events gives what each script says of itself, after its last event and on the way."""
    for script in SCRIPTS:
        steps = sorted((step for step in script.steps if not step.fault), key=lambda step: step.number)
        for length in (1, len(steps) // 2 or 1, len(steps)):
            true = _plain(steps[length - 1].so_far)
            assert _add_up(steps[:length]) == pytest.approx(true, abs=0.0011), script.name


def _plain(metrics: Metrics) -> dict[str, float]:
    names = _add_up([])
    return {name: getattr(metrics, name) for name in names}


def _add_up(steps: list[Step]) -> dict[str, float]:
    """Sum durations between neighbours, and count, from nothing but the events."""
    counts = Counter(step.event_type for step in steps)
    sums = Counter[str]()
    mode, in_ad = "starting", False
    ordered = sorted(steps, key=lambda step: (step.at_ms, EVENT_TYPES[step.event_type].rank, step.number))
    for step, following in itertools.pairwise(ordered):
        row = EVENT_TYPES[step.event_type]
        mode = row.player or mode
        if row.ad or row.ad_break == "complete":
            in_ad = row.ad == "start"
        playing = "ad" if in_ad and mode in ("starting", "playing") else mode
        sums[playing] += following.at_ms - step.at_ms
    return {
        "content_time_s": sums["playing"] / 1000,
        "ad_time_s": sums["ad"] / 1000,
        "media_time_s": (sums["playing"] + sums["ad"]) / 1000,
        "pause_time_s": sums["paused"] / 1000,
        "buffer_time_s": sums["buffering"] / 1000,
        "pauses": counts["pauseStart"],
        "buffers": counts["bufferStart"],
        "errors": counts["error"],
        "bitrate_changes": counts["bitrateChange"],
        "ads_started": counts["adStart"],
        "ads_completed": counts["adComplete"],
        "ads_skipped": counts["adSkip"],
        "ad_breaks": counts["adBreakStart"],
        "chapters_started": counts["chapterStart"],
        "chapters_completed": counts["chapterComplete"],
        "is_completed": counts["sessionComplete"] > 0,
    }


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
SAME = Found(TRUE.session_id, 5, True, {"pauses": 2, "content_time_s": 8.05, "progress_pct": 10})


def test_what_may_be_is_no_finding() -> None:
    """An unknown event may be there or not, and so may a session whose start was never answered."""
    ghost = Found("b" * 64, 1)
    assert compare(TRUTH, [SAME], refused=2) == []
    assert compare(TRUTH, [msgspec.structs.replace(SAME, events=6), ghost], refused=3) == []


def test_starts_without_an_answer_explain_so_many_sessions_and_no_more() -> None:
    """An upload that broke off may have left a part; what no start can have left is invented."""
    odd = msgspec.structs.replace(TRUTH, unknown_starts=(1, 9))
    assert compare(odd, [SAME, Found("b" * 64, 1), Found("c" * 64, 4)]) == []
    for others in ([10], [2, 9], [1, 1, 9]):
        rows = [SAME, *(Found(f"{index:064x}", events) for index, events in enumerate(others))]
        assert [finding.kind for finding in compare(odd, rows)] == ["invented"], others


@pytest.mark.parametrize(
    ("kind", "rows"),
    [
        ("lost", []),
        ("lost", [msgspec.structs.replace(SAME, events=4)]),
        ("doubled", [msgspec.structs.replace(SAME, events=7)]),
        ("invented", [SAME, Found("b" * 64, 2)]),
        ("identity", [msgspec.structs.replace(SAME, has_user_id=False)]),
        ("metric", [msgspec.structs.replace(SAME, metrics={"pauses": 3})]),
        ("metric", [msgspec.structs.replace(SAME, metrics={"content_time_s": 8.2})]),
        ("metric", [msgspec.structs.replace(SAME, metrics={"content_time_s": None})]),
    ],
)
def test_each_difference_is_found(kind: str, rows: list[Found]) -> None:
    """Lost, doubled and invented events, a wrong identity and a wrong metric are each named once."""
    assert [finding.kind for finding in compare(TRUTH, rows)] == [kind]


def test_missing_refusals_and_surprises_are_found() -> None:
    """A refused body that nobody kept, and a reply that the protocol does not foresee, are findings."""
    odd = msgspec.structs.replace(TRUTH, surprises=("play was answered 409",))
    assert compare(odd, [SAME], refused=1) == [
        Finding("surprise", "", "play was answered 409"),
        Finding("refused", "", "2 bodies were refused, 1 are kept"),
    ]


def test_the_truth_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    """A report holds the whole truth."""
    write_truth(TRUTH, tmp_path / "truth.json")
    assert read_truth(tmp_path / "truth.json") == TRUTH


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
    assert {session.metrics for session in streamed} == {None}


async def test_a_player_gives_up_a_session_that_is_over(serve: Serve) -> None:
    """After 410 a session sends nothing more but what is under way, and the answer is a surprise."""
    url, server = serve(lambda path, tries: 410 if path.endswith("/events") else 201)
    truth = await _simulate(url)
    posts = Counter(path for path, _, _ in server.asked if path.endswith("/events"))
    assert max(posts.values()) <= 10  # five are in flight, and each may have been followed before its answer
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
    """Where nothing answers, the run says so and at which address."""
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
    playhead = str(Path(sys.executable).parent / "playhead")
    subprocess.run([playhead, "init"], env=environment, check=True, capture_output=True, timeout=60)
    server = subprocess.Popen([playhead, "ingest"], env=environment, stderr=subprocess.DEVNULL)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(20)


async def test_a_real_ingest_answers_as_players_expect(ingest: str) -> None:
    """Every good body is accepted, every spoiled one refused, and tracking sessions are known again."""
    truth = await simulate(url=ingest, viewers=40, for_s=4, seed=2, api_key="key", pace_s=0.1)
    assert truth.surprises == ()
    assert truth.unknown == 0
    assert truth.accepted > 200
    assert truth.refused > 0
    assert truth.tracking_deleted > 0
    named = {session.tracking_session_id for session in truth.sessions} - {None}
    assert named
    assert named <= set(truth.tracking_sessions)
    assert {session.has_user_id for session in truth.sessions} == {True, False}
