"""Bad, huge, slow and malicious input: always refused by name, never a 5xx, always kept for who looks after it."""

import contextlib
import gzip
import json
import random
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rigs.hostile_bodies import CORPUS, START, TS, instead, keys
from rigs.ingest import Ingest, event, receive_all, running, session_start
from rigs.waiting import until
from schemathesis.core.result import Ok

from schemas.faults import NotJson
from schemas.media import read_json
from schemas.vocabulary import EVENT_TYPES

BODY_TIMEOUT_S = 0.5


@pytest.fixture(scope="module")
def ingest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ingest]:
    """One ingest for all tests here, with a short deadline for bodies and room for all refused ones."""
    data_dir = tmp_path_factory.mktemp("hostile") / "data"
    with running(data_dir, http_body_timeout_s=BODY_TIMEOUT_S, rejected_per_s=100_000) as ingest:
        yield ingest
        assert "request failed" not in ingest.output
        assert "Exception in ASGI" not in ingest.output


@pytest.mark.parametrize("name", list(CORPUS))
def test_bad_json_is_a_400_on_every_route(ingest: Ingest, name: str) -> None:
    """Each of a long list of bad bodies is refused with a message, kept as rejected, and stored nowhere else."""
    body = CORPUS[name]
    session = ingest.start(session_start())
    before = len(ingest.records())
    for path in ("/api/v1/sessions", f"{session}/events", "/api/v1/downloaded"):
        reply = ingest.post(path, body)
        assert reply.status_code == 400, (path, reply.text)
        assert reply.json()["message"]
        assert reply.headers["access-control-allow-origin"] == "*"
    until(lambda: len(ingest.records()) == before + 3)
    for record in ingest.records()[before:]:
        assert record["type"] == "playhead.rejected"
        assert record["data"]["reason"] in ("not_json", "invalid_event")
        assert record["data"]["size_bytes"] == len(body)


def test_the_message_names_the_field_and_what_was_expected(ingest: Ingest) -> None:
    """Who reads the 400 learns where to look."""
    for body, words in (
        (CORPUS["ts as text"], ("an integer", "the string", "`/playerTime/ts`")),
        (CORPUS["state named by a number"], ("a string", "a number", "media.state.name")),
        (CORPUS["params missing"], ("params",)),
        (CORPUS["eventType unknown"], ("eventType", "sessionStart", "sessionBegin")),
        (CORPUS["nested value"], ("'/params/x'", "object")),
    ):
        message = ingest.post("/api/v1/sessions", body).json()["message"]
        assert all(word in message for word in words), message


def test_of_duplicate_keys_the_last_one_counts(ingest: Ingest) -> None:
    """One meaning of each key: what is stored has no duplicate."""
    body = instead(b'"media.id": "film-1"', b'"media.id": "first", "media.id": "last"')
    (record,) = ingest.events(ingest.start(body))
    assert record["data"]["params"]["media.id"] == "last"


def test_large_integers_in_unknown_places_are_kept(ingest: Ingest) -> None:
    """A 40-digit number in an unknown key is stored as it is."""
    body = instead(b'"film-1"', b'"film-1", "x": ' + b"9" * 40)
    (record,) = ingest.events(ingest.start(body))
    assert record["data"]["params"]["x"] == int("9" * 40)


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize(
    ("path", "size"),
    [("/api/v1/sessions", 70_000), ("{session}/events", 70_000), ("/api/v1/downloaded", 4_300_000)],
)
def test_too_much_is_413(ingest: Ingest, path: str, size: int, announced: bool) -> None:
    """A body over the limit is refused, whether its size is announced or comes in chunks; the sender hears it."""
    session = ingest.start(session_start())
    body = json.dumps(event("ping", customMetadata={"k": "x" * size})).encode()
    pieces = (body[start : start + 50_000] for start in range(0, len(body), 50_000))
    reply = ingest.client.post(path.format(session=session), content=body if announced else pieces)
    assert reply.status_code == 413
    assert reply.headers["access-control-allow-origin"] == "*"


def test_a_tracking_body_has_its_limit_too(ingest: Ingest) -> None:
    """413 in the envelope."""
    reply = ingest.post("/v1/playouts/tracking/session", {"userId": "x" * 20_000}, headers={"X-API-Key": "string"})
    assert (reply.status_code, reply.json()["error"]["details"]) == (413, "TOO_LARGE")


def test_who_asks_leave_to_send_too_much_is_refused_at_once(ingest: Ingest) -> None:
    """With `Expect: 100-continue` the answer comes before the body."""
    head = (
        b"POST /api/v1/downloaded HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000\r\nExpect: 100-continue\r\n\r\n"
    )
    reply = ingest.exchange(head)
    assert reply.startswith(b"HTTP/1.1 413 ")
    assert b"100 Continue" not in reply


@pytest.mark.parametrize("path", ["/api/v1/sessions", "/api/v1/downloaded", "/v1/playouts/tracking/session"])
def test_a_gzip_bomb_is_not_unpacked(ingest: Ingest, path: str) -> None:
    """A gigabyte of nothing in a megabyte is refused after the limit."""
    bomb = gzip.compress(b"0" * 100_000_000, compresslevel=9)[:60_000]
    began = time.monotonic()
    headers = {"Content-Encoding": "gzip", "X-API-Key": "string"}
    reply = ingest.post(path, bomb[:16_000] if "tracking" in path else bomb, headers=headers)
    assert reply.status_code == 413
    assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", START),
        ("gzip", gzip.compress(START)[:-5]),
        ("gzip", gzip.compress(START) + b"more"),
        ("gzip", b""),
        ("br", START),
        ("gzip, gzip", gzip.compress(gzip.compress(START))),
    ],
)
def test_what_is_packed_in_another_way_is_refused(ingest: Ingest, encoding: str, body: bytes) -> None:
    """No gzip, half a gzip, gzip and more, another packing: 400."""
    reply = ingest.post("/api/v1/sessions", body, headers={"Content-Encoding": encoding})
    assert reply.status_code == 400


def test_a_body_that_stops_half_way_is_given_up(ingest: Ingest) -> None:
    """408 with CORS headers after the deadline, and the connection is closed."""
    head = b"POST /api/v1/sessions HTTP/1.1\r\nHost: a\r\nContent-Length: 500\r\n\r\n"
    began = time.monotonic()
    reply = ingest.exchange(head + START[:100])
    assert reply.startswith(b"HTTP/1.1 408 ")
    assert b"access-control-allow-origin: *" in reply
    assert BODY_TIMEOUT_S <= time.monotonic() - began < BODY_TIMEOUT_S + 3


def test_a_body_that_drips_is_given_up(ingest: Ingest) -> None:
    """The deadline is absolute: a byte now and then does not prolong it."""
    head = b"POST /api/v1/sessions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    with socket.create_connection(("127.0.0.1", ingest.port), timeout=5) as connection:
        connection.sendall(head)
        connection.setblocking(False)
        reply = b""
        began = time.monotonic()
        while not reply and time.monotonic() - began < 5:
            connection.send(b"1\r\n \r\n")
            time.sleep(0.05)
            try:
                reply = connection.recv(4096)
            except BlockingIOError:
                continue
    assert reply.startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("sent", [b"", b"POST /api/v1/ses", b"POST /api/v1/sessions HTTP/1.1\r\nHost: a\r\nX: "])
def test_slow_headers_are_closed(ingest: Ingest, sent: bytes) -> None:
    """A connection that never becomes a request is closed after the deadline."""
    assert ingest.exchange(sent, timeout_s=5) == b""


def test_stray_bytes_do_not_keep_a_connection(ingest: Ingest) -> None:
    """Empty lines after a request are no way to stay connected."""
    raw = b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n"
    with socket.create_connection(("127.0.0.1", ingest.port), timeout=5) as connection:
        connection.sendall(raw)
        reply = b""
        while not reply.endswith(b"}"):
            reply += connection.recv(4096)
        connection.sendall(b"\r\n\r\n")
        assert receive_all(connection) == b""


def test_an_idle_connection_is_kept_between_pings(ingest: Ingest) -> None:
    """The deadline for a request does not end the wait for the next one."""
    with httpx.Client(base_url=ingest.url) as client:
        for _ in range(2):
            reply = client.get("/health/live")
            stream = reply.extensions["network_stream"]
            address = stream.get_extra_info("client_addr")
            time.sleep(BODY_TIMEOUT_S * 1.5)  # longer than the deadline: waiting is what is tested
        assert client.get("/health/live").extensions["network_stream"].get_extra_info("client_addr") == address


def test_slow_clients_do_not_hold_up_the_others(ingest: Ingest) -> None:
    """With 300 half-sent requests open, an honest one is answered at once."""
    slow = [socket.create_connection(("127.0.0.1", ingest.port)) for _ in range(300)]
    try:
        for connection in slow:
            connection.sendall(b"POST /api/v1/sessions HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\n{")
        began = time.monotonic()
        ingest.start(session_start())
        assert time.monotonic() - began < 1
    finally:
        for connection in slow:
            connection.close()


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", b"431"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 1_000_000, b"431"),
        (b"GET /" + b"x" * 40_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", b"431"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 10_000 + b"\r\n", b"431"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", b"400"),
        (b"POST /api/v1/sessions HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", b"400"),
        (b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: a b\r\nConnection: close\r\n\r\n", b"400"),
        (b"NONSENSE\r\n\r\n", b"400"),
        (b"GET /%ff%fe HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", b"404"),
        (b"BREW /api/v1/sessions HTTP/1.1\r\nHost: a\r\n\r\n", b"400"),
        (b"GET /\xff HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", b"40"),
    ],
)
def test_broken_http_is_refused(ingest: Ingest, raw: bytes, status: bytes) -> None:
    """Smuggling, control characters, huge headers: a 4xx and the end of the connection."""
    assert ingest.exchange(raw).startswith(b"HTTP/1.1 " + status)


def test_a_sender_that_goes_away_is_counted_not_answered(ingest: Ingest) -> None:
    """A connection closed in the middle of a body leaves no record and no error."""
    before, gone = len(ingest.records()), ingest.count("playhead_ingest_disconnected_total")
    with socket.create_connection(("127.0.0.1", ingest.port)) as connection:
        connection.sendall(b"POST /api/v1/sessions HTTP/1.1\r\nHost: a\r\nContent-Length: 500\r\n\r\n{")
    until(lambda: ingest.count("playhead_ingest_disconnected_total") == gone + 1)
    assert len(ingest.records()) == before


def test_no_string_makes_a_header(ingest: Ingest) -> None:
    """Line ends in ids, origins and tokens do not get into the reply's headers."""
    reply = ingest.exchange(
        b"POST /v1/playouts/a%0d%0aX-Evil:1/tracking/session?user_id=a%0d%0aX-Evil:1 HTTP/1.1\r\nHost: a\r\n"
        b"X-API-Key: string\r\nConnection: close\r\n\r\n"
    )
    assert reply.startswith(b"HTTP/1.1 400 ")
    assert b"\r\nX-Evil" not in reply


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4)
)
eventlike = st.fixed_dictionaries(
    {},
    optional={
        "playerTime": st.fixed_dictionaries({}, optional={"playhead": scalars, "ts": scalars}) | anything,
        "eventType": st.sampled_from(list(EVENT_TYPES)) | scalars,
        "params": st.dictionaries(keys, anything, max_size=4) | anything,
        "qoeData": anything,
        "customMetadata": anything,
        "unknown": anything,
    },
)
bodies = st.binary(max_size=50) | st.one_of(eventlike, st.lists(eventlike, max_size=3), anything).map(
    lambda value: json.dumps(value).encode()
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=bodies, route=st.integers(0, 3))
def test_no_body_makes_an_error_of_ours(ingest: Ingest, body: bytes, route: int) -> None:
    """Whatever is sent to whatever route, the answer is a 2xx or a 4xx."""
    session = ingest.start(session_start()) if route == 0 else ""
    path = [f"{session}/events", "/api/v1/sessions", "/api/v1/downloaded", "/v1/playouts/tracking/session"][route]
    reply = ingest.post(path, body, headers={"X-API-Key": "string"})
    ingest.client.cookies.clear()
    assert reply.status_code < 500


@given(st.binary(max_size=200))
def test_any_bytes_are_json_or_not(body: bytes) -> None:
    """Decoding raises nothing but NotJson."""
    with contextlib.suppress(NotJson):
        read_json(body)


def test_what_the_document_describes_never_fails(ingest: Ingest) -> None:
    """Requests made from the OpenAPI document, good and bad ones, are never answered 5xx."""
    schema = schemathesis.openapi.from_url(f"{ingest.url}/schema/openapi.json")
    called = set()
    for result in schema.get_all_operations():
        assert isinstance(result, Ok)
        operation = result.ok()

        @settings(max_examples=8, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy())
        def call(case: Any) -> None:
            reply = case.call(headers={"X-API-Key": "string"})
            assert reply.status_code < 500, reply.text

        call()
        called.add(operation.label)
    assert len(called) >= 14


def test_refused_bodies_are_kept_at_a_limited_rate(tmp_path: Path) -> None:
    """Over the rate they are counted and not kept; the replies are the same."""
    with running(tmp_path / "data", rejected_per_s=2) as ingest:
        began_s = time.monotonic()
        replies = {ingest.post("/api/v1/sessions", b"{").text for _ in range(40)}
        allowed = 2 + 2 * (time.monotonic() - began_s) + 1
        assert len(replies) == 1
        assert ingest.count('playhead_ingest_rejected_dropped_total{reason="rate"}') >= 40 - allowed
        until(lambda: len(ingest.records()) >= 2)  # they are kept after the reply
        assert len(ingest.records()) <= allowed


def test_a_large_refused_body_is_kept_without_itself(ingest: Ingest) -> None:
    """Of a refused body over 16 kB the reason, size and hash are kept."""
    before = len(ingest.records())
    body = json.dumps(event("nonsense", customMetadata={"k": "x" * 20_000})).encode()
    assert ingest.post("/api/v1/sessions", body).status_code == 400
    until(lambda: len(ingest.records()) == before + 1)
    data = ingest.records()[-1]["data"]
    assert data["size_bytes"] == len(body)
    assert len(data["hmac_sha256"]) == 64
    assert "body" not in data


def test_random_noise_after_a_good_start_is_survived(ingest: Ingest) -> None:
    """Bytes at random on raw connections leave the process answering."""
    random_bytes = random.Random(7)
    for _ in range(50):
        raw = b"POST /api/v1/sessions HTTP/1.1\r\nHost: a\r\n" + random_bytes.randbytes(40) + b"\r\n\r\n"
        with socket.create_connection(("127.0.0.1", ingest.port)) as connection:
            connection.sendall(raw)
    assert ingest.client.get("/health/ready").status_code == 200


PING = b'{"eventType":"ping","playerTime":{"playhead":1,"ts":%b}}' % TS


def post(path: str, body: bytes) -> bytes:
    """Return a whole POST request as it goes over the wire."""
    return b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (path.encode(), len(body), body)


def test_requests_sent_without_waiting_are_answered_in_order(ingest: Ingest) -> None:
    """Pipelined requests get their replies one after the other, refusals among them, on one connection."""
    events = ingest.start(json.loads(START)) + "/events"
    bodies = [PING, b"nonsense", PING, instead(b"sessionStart", b"nothing"), PING]
    with socket.create_connection(("127.0.0.1", ingest.port), timeout=10) as connection:
        connection.sendall(b"".join(post(events, body) for body in bodies[:-1]))
        connection.sendall(post(events, bodies[-1]).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
        replies = receive_all(connection)
    assert re.findall(rb"HTTP/1\.1 (\d+)", replies) == [b"204", b"400", b"204", b"400", b"204"]


def test_a_client_that_never_reads_takes_no_memory(ingest: Ingest) -> None:
    """Replies that nobody takes stop the reading of requests, and soon end the connection; others are served."""
    events = ingest.start(json.loads(START)) + "/events"
    requests = post(events, PING) * 100
    size_bytes = ingest.process.resident_bytes()
    with socket.create_connection(("127.0.0.1", ingest.port), timeout=1) as connection:
        sent = 0
        with contextlib.suppress(TimeoutError, ConnectionError):
            while sent < 1_000_000:
                connection.sendall(requests)
                sent += 100
        assert sent < 1_000_000
        assert ingest.post(events, PING).status_code == 204
        assert ingest.process.resident_bytes() < size_bytes + 16_000_000


@pytest.mark.parametrize("path", ["/api/v1/sessions/", "/api//v1/sessions", "/api/v1/sessions//"])
def test_a_slash_more_is_no_other_path(ingest: Ingest, path: str) -> None:
    """Players that glue a path together with one slash too many are understood."""
    assert ingest.post(path, START).status_code == 201
