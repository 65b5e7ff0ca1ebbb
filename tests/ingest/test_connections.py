"""Connections: replies in the order of requests, deadlines that no byte puts off, a log that stays short."""

import contextlib
import json
import re
import socket
import time
from collections.abc import Iterator

import psutil
import pytest
from rigs.ingest import Ingest, receive_all, running, session_start
from rigs.waiting import until

BODY_TIMEOUT_S = 0.5
START = json.dumps(session_start()).encode()


@pytest.fixture(scope="module")
def ingest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ingest]:
    """One ingest for all tests here, with a short deadline for requests."""
    with running(tmp_path_factory.mktemp("connections") / "data", http_body_timeout_s=BODY_TIMEOUT_S) as ingest:
        yield ingest
        assert "request failed" not in ingest.output
        assert "Exception in ASGI" not in ingest.output


def post(body: bytes, *, headers: bytes = b"") -> bytes:
    """Return a POST of a sessionStart as it goes over the wire."""
    head = b"POST /api/v1/sessions HTTP/1.1\r\nHost: a\r\n%bContent-Length: %d\r\n\r\n" % (headers, len(body))
    return head + body


def statuses(replies: bytes) -> list[bytes]:
    """Return the statuses of replies."""
    return re.findall(rb"HTTP/1\.1 (\d+) ", replies)


CHUNKED = b"POST /api/v1/sessions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
BAD_ENDS = {
    "no HTTP": (b"NONSENSE\r\n\r\n", b"400"),
    "an unknown method": (b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n", b"400"),
    "an invalid path": (b"GET nowhere HTTP/1.1\r\nHost: a\r\n\r\n", b"400"),
    "two lengths": (b"POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", b"400"),
    "length and chunks": (b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", b"400"),
    "a body in broken chunks": (CHUNKED + b"5\r\nabcde\r\nzz\r\n", b"400"),
    "a body whose first chunk is invalid": (CHUNKED + b"zz\r\n", b"400"),
    "headers too large": (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 50_000 + b"\r\n\r\n", b"431"),
    "headers too large that do not end": (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 200_000, b"431"),
    "a body that does not end": (CHUNKED + b"5\r\nabcde\r\n", b"408"),
    "a CONNECT": (b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n" + b"\x16\x03\x01" * 1000, b"40"),
}


@pytest.mark.parametrize("name", list(BAD_ENDS))
def test_a_bad_request_is_answered_after_the_good_ones_before_it(ingest: Ingest, name: str) -> None:
    """Sent in one piece behind three good starts, it takes no reply away: three 201 in order, and then its own."""
    before = len(ingest.records())
    raw, status = BAD_ENDS[name]
    replies = ingest.exchange(post(START) * 3 + raw)
    *good, bad = statuses(replies)
    assert good == [b"201"] * 3
    assert bad.startswith(status)
    assert b"connection: close" in replies.rpartition(b"HTTP/1.1 ")[2]
    started = re.findall(rb"location: /api/v1/sessions/([0-9a-f]{64})", replies)
    stored = [record for record in ingest.records()[before:] if record["type"] == "playhead.media.sessionStart"]
    assert sorted(record["subject"].encode() for record in stored) == sorted(started)


@pytest.mark.parametrize("name", list(BAD_ENDS))
def test_a_bad_request_alone_is_answered(ingest: Ingest, name: str) -> None:
    """The same without anything before it: one reply, and the end of the connection."""
    raw, status = BAD_ENDS[name]
    (only,) = statuses(ingest.exchange(raw))
    assert only.startswith(status)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"X: " + b"x" * 40_000 + b"\r\n\r\n", "at most 32768 bytes"),
        (b"X: " + b"x" * 200_000, "at most 32768 bytes"),
        (b"Content-Length: abc\r\n\r\n", "Content-Length"),
    ],
)
@pytest.mark.parametrize("origin", [b"", b"Origin: https://tv.example\r\n"])
def test_a_page_can_read_why_its_request_was_no_request(
    ingest: Ingest, raw: bytes, words: str, origin: bytes
) -> None:
    """In JSON and with the headers of CORS, as a route answers; a browser would show an error of CORS alone."""
    reply = ingest.exchange(b"POST /api/v1/sessions HTTP/1.1\r\nHost: a\r\n" + origin + raw)
    head, _, body = reply.partition(b"\r\n\r\n")
    assert words in json.loads(body)["message"]
    allowed = origin.removeprefix(b"Origin: ").strip() or b"*"
    assert b"\r\naccess-control-allow-origin: " + allowed + b"\r\n" in head + b"\r\n"
    assert (b"access-control-allow-credentials" in head) is (origin != b"")


def test_headers_that_are_too_large_are_refused_however_they_come(ingest: Ingest) -> None:
    """The most of them with the request before, and the rest when that is answered."""
    large = post(START, headers=b"X: " + b"x" * 40_000 + b"\r\n")
    with socket.create_connection(("127.0.0.1", ingest.port), timeout=10) as connection:
        connection.sendall(post(START) + large[:20_000])
        first = connection.recv(65_536)
        connection.sendall(large[20_000:])
        assert statuses(first + receive_all(connection)) == [b"201", b"431"]


def test_bytes_that_are_no_request_are_answered_to_any_page(ingest: Ingest) -> None:
    """Also behind a request of a page: its origin is not theirs."""
    good = post(START, headers=b"Origin: https://tv.example\r\n")
    bad = ingest.exchange(good + b"NONSENSE\r\n\r\n").rpartition(b"HTTP/1.1 ")[2]
    assert b"\r\naccess-control-allow-origin: *\r\n" in bad
    assert "Expected a request in HTTP/1.1" in json.loads(bad.partition(b"\r\n\r\n")[2])["message"]


def test_a_second_request_that_stops_in_its_headers_loses_the_first_no_reply(ingest: Ingest) -> None:
    """The start is answered; of the request that never came, nothing is heard but the end of the connection."""
    assert statuses(ingest.exchange(post(START) + b"POST /api/v1/ses")) == [b"201"]


def test_a_client_that_sends_no_more_still_gets_its_replies(ingest: Ingest) -> None:
    """Closing one direction after the last request, as netcat does, is no reason to lose replies."""
    with socket.create_connection(("127.0.0.1", ingest.port), timeout=10) as connection:
        connection.sendall(post(START) * 3)
        connection.shutdown(socket.SHUT_WR)
        assert statuses(receive_all(connection)) == [b"201"] * 3


@pytest.mark.parametrize("rest", [b"POST /api/v1/ses", post(START)[:-10], CHUNKED + b"5\r\nabcde\r\n"])
def test_a_client_that_ends_in_a_request_gets_the_replies_before_it(ingest: Ingest, rest: bytes) -> None:
    """What was complete is answered; of the rest there may be a 408."""
    with socket.create_connection(("127.0.0.1", ingest.port), timeout=10) as connection:
        connection.sendall(post(START) * 3 + rest)
        connection.shutdown(socket.SHUT_WR)
        assert statuses(receive_all(connection)) in ([b"201"] * 3, [b"201"] * 3 + [b"408"])


def test_a_client_that_ends_while_its_reply_is_on_its_way_gets_it(ingest: Ingest) -> None:
    """Also if the end comes in the same round of the event loop in which the reply is made."""
    for _ in range(50):
        with socket.create_connection(("127.0.0.1", ingest.port), timeout=10) as connection:
            connection.sendall(post(b"nonsense")[:-1])
            connection.sendall(b"x")
            connection.shutdown(socket.SHUT_WR)
            assert statuses(receive_all(connection)) == [b"400"]


def test_a_client_that_sends_half_a_request_and_no_more_is_no_client(ingest: Ingest) -> None:
    """The connection ends without waiting for its deadline."""
    with socket.create_connection(("127.0.0.1", ingest.port), timeout=10) as connection:
        connection.sendall(post(START)[:-10])
        connection.shutdown(socket.SHUT_WR)
        assert receive_all(connection) == b""


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket", b"nonsense"])
def test_an_upgrade_is_ignored_and_the_next_request_answered(ingest: Ingest, protocol: bytes) -> None:
    """As RFC 9110 allows: both are ordinary requests, also if they come in one piece, and with bodies."""
    upgrade = post(START, headers=b"Connection: Upgrade\r\nUpgrade: %b\r\n" % protocol)
    last = post(START, headers=b"Connection: close\r\n")
    assert statuses(ingest.exchange(upgrade + upgrade + last)) == [b"201"] * 3
    last = upgrade.replace(b"Connection: Upgrade", b"Connection: close, Upgrade")
    assert statuses(ingest.exchange(upgrade + last + upgrade)) == [b"201"] * 2
    assert "Unsupported upgrade" not in ingest.output


GET = b"GET /health/live HTTP/1.1\r\nHost: a\r\n"


@pytest.mark.parametrize(
    ("request_", "drip"),
    [
        (b"", b"\r\n"),
        (GET + b"\r\n", b"\r\n"),
        (GET + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n", b"\r\n"),
        (GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n", b"\x81\x00"),
        (b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", b"\x16\x03\x01"),
        (b"CONNECT /a HTTP/1.1\r\nHost: a\r\n\r\n", b"\r\n"),
        (GET + b"Connection: close\r\n\r\n", b"\r\n"),
        (b"NONSENSE\r\n\r\n", b"x"),
        (GET, b"X: y\r\n"),
        (CHUNKED, b"1\r\n \r\n"),
    ],
)
def test_no_drip_holds_a_connection(ingest: Ingest, request_: bytes, drip: bytes) -> None:
    """Whatever came before, bytes now and then do not put off the deadline."""
    with socket.create_connection(("127.0.0.1", ingest.port), timeout=10) as connection:
        connection.sendall(request_)
        connection.settimeout(0.05)
        began_s = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - began_s < BODY_TIMEOUT_S * 10:
                connection.sendall(drip)
                with contextlib.suppress(TimeoutError):
                    if not connection.recv(4096):
                        break
        assert time.monotonic() - began_s < BODY_TIMEOUT_S * 4


def test_malformed_requests_do_not_fill_the_log(ingest: Ingest) -> None:
    """However many come, there is a line for the first, and one a minute that counts the others."""
    for _ in range(200):
        assert ingest.exchange(b"NONSENSE\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    assert ingest.output.count("malformed requests") <= 2
    assert "Invalid HTTP request" not in ingest.output


def test_running_out_of_descriptors_is_said_and_recovers(ingest: Ingest) -> None:
    """With no descriptor left new connections end at once; the log says why; with room they are served again."""
    process = psutil.Process(ingest.process.pid)
    limit = process.num_fds() + 40
    before = process.rlimit(psutil.RLIMIT_NOFILE)
    process.rlimit(psutil.RLIMIT_NOFILE, (limit, before[1]))
    connections = []
    try:
        for _ in range(100):
            with contextlib.suppress(ConnectionError):
                connections.append(socket.create_connection(("127.0.0.1", ingest.port), timeout=5))
                connections[-1].sendall(GET)
        said = until(lambda: [line for line in ingest.output.splitlines() if "descriptors used up" in line])
        assert json.loads(said[0])["limit"] == limit
        assert len(said) == 1
    finally:
        for connection in connections:
            connection.close()
    until(lambda: process.num_fds() < limit - 20)
    assert ingest.exchange(post(START, headers=b"Connection: close\r\n")).startswith(b"HTTP/1.1 201 ")
    process.rlimit(psutil.RLIMIT_NOFILE, before)
