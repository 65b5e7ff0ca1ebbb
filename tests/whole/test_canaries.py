"""No secret, and nothing that a player or a producer sent, is in a log or a metric, whatever goes wrong."""

import base64
import contextlib
import gzip
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest
from rigs.brokers import free_ports
from rigs.commands import Running, started
from rigs.hostile_bodies import CORPUS
from rigs.ingest import event, receive_all, session_start
from rigs.lake import Lake
from rigs.logs import append_values, writing
from rigs.postgres import Server, new_database
from rigs.waiting import until
from rigs.watched_stack import VERBS, Watched, watched_stack

from schemas.settings import PASSWORD, read_settings

MARK = "c4n4ry"
ADDRESS = "198.51.100.77"
CANARIES = {
    "PLAYHEAD_API_KEYS": f"api-key-{MARK},second-{MARK}",
    "PLAYHEAD_MAC_KEY": f"mac-key-{MARK}-of-32-characters-and-more",
    "PLAYHEAD_MAC_KEY_PREVIOUS": f"previous-mac-key-{MARK}-which-is-long-enough",
    "PLAYHEAD_PSEUDONYM_KEY": f"pseudonym-key-{MARK}-which-is-long-enough",
    "PLAYHEAD_LOG_LEVEL": "debug",
}
TRACKING = "/v1/playouts/tracking/session"


def traces(*more: str) -> list[str]:
    """Return what must not occur: the mark, also in hexadecimal and in base64 at each alignment, and more."""
    raw = MARK.encode()
    in_base64 = [base64.b64encode(b"." * shift + raw).decode()[4 if shift else 0 :][:7] for shift in range(3)]
    return [text.lower() for text in (MARK, raw.hex(), ADDRESS, *in_base64, *more)]


def check(texts: dict[str, str], *more: str) -> None:
    """Fail where one of the traces occurs."""
    for name, text in texts.items():
        for trace in traces(*more):
            where = text.lower().find(trace)
            assert where < 0, f"{name}: {trace}: {text[max(0, where - 500) : where + 200]}"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Ingest, worker and upkeep, whose secrets are canaries, and which log whatever they can."""
    more = {"PLAYHEAD_HTTP_TRUSTED_PROXIES": "127.0.0.0/8", "PLAYHEAD_RATE_NETWORK_PER_S": "1000"}
    with watched_stack(tmp_path_factory.mktemp("canaries"), **CANARIES, **more) as stack:
        yield stack


async def test_nothing_that_was_sent_is_logged_or_counted_by_name(stack: Watched) -> None:
    """Accepted, refused, malformed, too large or undecodable; in bodies, headers, cookies, addresses and paths."""
    ids = [*_play(stack), *_ask_for_tracking(stack)]
    _be_refused(stack)
    _break_http(stack)
    data = {"PLAYHEAD_DATA_DIR": str(stack.cwd / "data")}
    async with writing(read_settings(data)) as writer:
        await append_values(writer, 0, MARK.encode(), json.dumps({"id": MARK, "data": {MARK: MARK}}).encode())
    with started("backup", "--every", "1s", cwd=stack.cwd, settings=stack.settings) as backup:
        lake = Lake(stack.cwd / "data")
        until(lambda: lake.ask("SELECT count(*) >= 2 FROM quarantine WHERE source = 'worker'") == [(True,)])
        until(lambda: lake.ask("SELECT count(*) >= 20 FROM quarantine WHERE source = 'ingest'") == [(True,)])
        until(lambda: stack.value("upkeep", "playhead_upkeep_rounds_total", outcome="done"))
        backup.wait_for(lambda: '"backup made"' in backup.output)
        logs = {verb: process.output for verb, process in stack.processes.items()} | {"backup": backup.output}
    metrics = {f"metrics of {verb}": stack.ask(verb, "/metrics").text for verb in VERBS}
    assert 'code="not_json"' in metrics["metrics of ingest"]
    assert all(text.count("\n") >= 3 for text in logs.values())
    check(logs | metrics, *ids)


@pytest.mark.parametrize("verb", ["worker", "upkeep", "backup"])
def test_a_password_that_is_wrong_is_in_no_log(verb: str, postgres: Server, tmp_path: Path) -> None:
    """Neither where a connection string has it nor where a setting of its own has it."""
    catalog = psycopg.conninfo.make_conninfo(new_database(postgres), password=f"pass-{MARK}")
    without = PASSWORD.sub("", catalog)
    every = [] if verb == "worker" else ["--every", "1s"]
    for settings in (
        {"PLAYHEAD_LAKE_CATALOG": f"postgres:{catalog}"},
        {"PLAYHEAD_LAKE_CATALOG": f"postgres:{without}", "PLAYHEAD_LAKE_CATALOG_PASSWORD": f"pass '{MARK}"},
    ):
        with started(verb, *every, cwd=tmp_path, settings=CANARIES | settings) as running:
            _await(running, "password authentication failed")
            check({verb: running.output})


@pytest.mark.parametrize("verb", ["ingest", "worker"])
def test_a_broker_that_is_down_betrays_nothing(verb: str, tmp_path: Path) -> None:
    """Its password is not logged while it is looked for."""
    Lake(tmp_path / "data")
    settings = {
        "PLAYHEAD_LOG": "kafka",
        "PLAYHEAD_KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{free_ports(1)[0]}",
        "PLAYHEAD_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "PLAYHEAD_KAFKA_SASL_USERNAME": "playhead",
        "PLAYHEAD_KAFKA_SASL_PASSWORD": f"broker-{MARK}",
        "PLAYHEAD_LOG_APPEND_TIMEOUT_S": "1",
    }
    with started(verb, cwd=tmp_path, settings=CANARIES | settings) as running:
        _await(running, '"log unavailable"')
        check({verb: running.output})


def _await(running: Running, said: str) -> None:
    until(lambda: said in running.output)


def _headers() -> dict[str, str]:
    names = (
        "User-Agent",
        "Referer",
        "Authorization",
        "Idempotency-Key",
        "traceparent",
        "From",
        "X-Consent",
        "X-Any",
    )
    return {
        **{name: f"{name}-{MARK}" for name in names},
        "Cookie": f"uid={MARK}; __Secure-jay_tracking={MARK}",
        "X-Forwarded-For": ADDRESS,
    }


def _play(stack: Watched) -> list[str]:
    """Play a session with canaries wherever it takes a text; return its id."""
    params = dict.fromkeys(("analytics.visitorId", "visitor.marketingCloudUserId", "media.name", "media.id"), MARK)
    start = {**session_start(**params), "customMetadata": {"user_id": MARK, MARK: MARK}}
    reply = stack.players.post("/api/v1/sessions", content=json.dumps(start), headers=_headers())
    assert reply.status_code == 201
    path = reply.headers["location"]
    for name in ("play", "ping", "sessionEnd"):
        body = json.dumps(event(name, customMetadata={MARK: MARK}))
        assert stack.players.post(f"{path}/events", content=body, headers=_headers()).status_code == 204
    return [path.rpartition("/")[2]]


def _ask_for_tracking(stack: Watched) -> list[str]:
    """Ask for a tracking session, with the key and without; return its id and its token."""
    key = {"X-API-Key": f"api-key-{MARK}"}
    made = stack.players.post(
        TRACKING, json={"user_id": MARK}, headers=_headers() | key | {"X-Consent": "granted"}
    )
    assert made.status_code == 200, made.text
    token = made.headers["x-jay-tracking"]
    for headers in (key, {"X-API-Key": MARK}, {"X-JAY-TRACKING": token}):
        stack.players.get(f"{TRACKING}?user_id={MARK}", headers=_headers() | headers)
    stack.players.cookies.clear()
    return [made.json()["session_id"], token]


def _be_refused(stack: Watched) -> None:
    """Send what is refused for any reason, with canaries in it."""
    bodies = [body.replace(b"film-1", MARK.encode()) for body in CORPUS.values()]
    bodies += [json.dumps({"eventType": MARK, MARK: MARK}).encode(), MARK.encode() * 20_000]
    for body in bodies:
        for path in ("/api/v1/sessions", f"/api/v1/sessions/{MARK}/events", "/api/v1/downloaded", TRACKING):
            stack.players.post(path, content=body, headers=_headers())
    packed = gzip.compress(MARK.encode() * 1_000_000)
    for content in (packed, packed[:-9], MARK.encode()):
        stack.players.post("/api/v1/sessions", content=content, headers=_headers() | {"Content-Encoding": "gzip"})
    stack.players.post("/api/v1/sessions", content=b"{}", headers=_headers() | {"Content-Encoding": MARK})
    for method in ("GET", "PUT", "DELETE", "OPTIONS", "HEAD"):
        stack.players.request(method, f"/{MARK}/{MARK}?q={MARK}", headers=_headers())
    with contextlib.suppress(httpx.HTTPError):
        stack.players.get("/health/live", headers={"X-Long": MARK * 10_000})


def _break_http(stack: Watched) -> None:
    """Send what is no HTTP, and half of a request."""
    url = stack.players.base_url
    for raw in (
        f"{MARK} {MARK}\r\n\r\n",
        f"GET / HTTP/1.1\r\n{MARK}\r\n\r\n",
        f"POST /api/v1/sessions HTTP/1.1\r\nHost: {MARK}\r\nContent-Length: {MARK}\r\n\r\n",
        f"POST /api/v1/sessions HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{MARK}",
    ):
        with socket.create_connection((url.host, url.port or 80), timeout=20) as connection:
            connection.sendall(raw.encode())
            connection.shutdown(socket.SHUT_WR)
            receive_all(connection)
