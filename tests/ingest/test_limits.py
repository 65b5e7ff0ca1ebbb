"""Arrays, bodies in flight and rates: what one sender may cost, and what the others notice of it."""

import asyncio
import contextlib
import gc
import gzip
import itertools
import json
import socket
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rigs.ingest import SECRETS, Ingest, event, receive_all, running, session_start
from rigs.waiting import until

from eventlog import Writer
from eventlog.adapters import create_log, open_writer
from ingest.app import build_app
from ingest.arrays import EVENTS_MAX, Turns, cut
from ingest.bodies import UNPACKED_RATIO_MAX
from ingest.rates import BURST_S, Buckets, Rates, Sender
from schemas.faults import InvalidEvent, NotJson, TooLarge
from schemas.settings import Settings, read_settings

OFFLINE = json.dumps(session_start(**{"media.downloaded": True})).encode()
SMALLEST = b'{"eventType":"play","playerTime":{"playhead":0,"ts":0}}'
BODY_BYTES_MAX = 4_194_304


def array(*events: bytes) -> bytes:
    """Return an array of events that are JSON already."""
    return b"[" + b",".join(events) + b"]"


@pytest.fixture(scope="module")
def ingest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ingest]:
    """One ingest for the tests that need no settings of their own."""
    with running(tmp_path_factory.mktemp("limits") / "data") as ingest:
        yield ingest
        assert "request failed" not in ingest.output


# Arrays


@pytest.mark.parametrize("path", ["/api/v1/sessions", "/api/v1/downloaded"])
def test_an_array_of_as_many_events_as_may_be_is_stored(ingest: Ingest, path: str) -> None:
    """20,000 events, each once."""
    body = array(OFFLINE, *[SMALLEST] * (EVENTS_MAX - 1)).replace(b"film-1", path.encode())
    session = ingest.start(body) if path.endswith("sessions") else ingest.post(path, body).headers["location"]
    assert len(ingest.events(session)) == EVENTS_MAX


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("path", ["/api/v1/sessions", "/api/v1/downloaded"])
def test_an_array_of_more_events_is_refused_by_their_number(ingest: Ingest, path: str, packed: bool) -> None:
    """413 that names the limit, in no more time than a small body takes, whatever the events are."""
    events = (json.dumps(event("ping", ts=1_700_000_000_000 + 977 * n)).encode() for n in range(EVENTS_MAX))
    body = array(OFFLINE, *events)
    headers = {"Content-Encoding": "gzip"} if packed else {}
    reply = ingest.post(path, gzip.compress(body, 1) if packed else body, headers=headers)
    assert (reply.status_code, reply.json()["message"]) == (413, "Expected an array of at most 20000 events")


@pytest.mark.parametrize(
    "body",
    [
        array(*[SMALLEST] * 72_000, b"{}"),
        array(*[b"{}"] * 1_300_000),
        array(*[b"[]"] * 1_300_000),
        array(*[b"1"] * 2_000_000),
        b"[" + b"[]" * 2_000_000,
        b"[" * 4_000_000,
        b'[{"a":' * 600_000,
        b'["' + b'\\"' * 2_000_000,
    ],
    ids=["72,000 events", "objects", "arrays", "numbers", "no commas", "depth", "depth of objects", "a text"],
)
def test_a_hostile_array_is_refused_at_little_cost(body: bytes) -> None:
    """Four megabytes of anything are refused before anything is built of them."""
    assert len(body) < BODY_BYTES_MAX * 1.1
    took_s = []
    for _ in range(3):
        began_s = time.process_time()
        with pytest.raises((TooLarge, InvalidEvent, NotJson)):
            cut(body)
        took_s.append(time.process_time() - began_s)
    assert min(took_s) < 0.2  # 0.02 on an idle machine


_elements = st.dictionaries(st.text(max_size=5), st.text(max_size=5) | st.lists(st.integers()), max_size=3)


@given(st.lists(_elements, min_size=1))
def test_an_array_is_cut_into_its_elements(elements: list[dict[str, Any]]) -> None:
    """Each element comes out as it went in."""
    assert [json.loads(bytes(part)) for part in cut(json.dumps(elements).encode())] == elements


@pytest.mark.parametrize(
    ("index", "bad", "words"),
    [
        (0, SMALLEST, "sessionStart"),
        (3, b'{"eventType":"play"}', "playerTime"),
        (4, b"7", "object"),
        (5, b'{"eventType":"play","playerTime":{"playhead":0,"ts":"0"}}', "ts"),
        (6, b'{"a":"\xff"}', "UTF-8"),
        (7, b'{"a":' + b"[" * 20 + b"]" * 20 + b"}", "deeper"),
    ],
)
def test_the_first_bad_event_is_named_by_its_index(ingest: Ingest, index: int, bad: bytes, words: str) -> None:
    """400 that says which event, and what was expected of it."""
    events = [OFFLINE, *[SMALLEST] * 9]
    events[index] = bad
    before = len(ingest.records())
    reply = ingest.post("/api/v1/downloaded", array(*events))
    message = reply.json()["message"]
    assert reply.status_code == 400
    assert message.startswith(f"event {index}: ")
    assert words in message
    until(lambda: ingest.holds(before + 1))
    assert ingest.records()[-1]["type"] == "playhead.rejected"


def test_gzip_unpacks_to_so_many_times_its_size_and_no_more(ingest: Ingest) -> None:
    """12 kB that unpack to 4 MB are refused; what is no larger than an event may be packed as well as it can."""
    bomb = gzip.compress(array(OFFLINE, *[SMALLEST] * 72_000), 9)
    assert len(bomb) < 13_000
    reply = ingest.post("/api/v1/downloaded", bomb, headers={"Content-Encoding": "gzip"})
    assert reply.status_code == 413
    assert f"{UNPACKED_RATIO_MAX} times" in reply.json()["message"]
    small = json.dumps(session_start(**{"media.name": "x" * 60_000})).encode()
    packed = gzip.compress(small, 9)
    assert len(small) > UNPACKED_RATIO_MAX * len(packed)
    assert ingest.post("/api/v1/sessions", packed, headers={"Content-Encoding": "gzip"}).status_code == 201


def test_a_packed_offline_session_is_stored(ingest: Ingest) -> None:
    """Several slices of a real one come out as they were sent."""
    events = [json.dumps(event("ping", ts=1_700_000_001_000 + n, playhead=n)).encode() for n in range(9_000)]
    body = gzip.compress(array(OFFLINE, *events))
    reply = ingest.post("/api/v1/downloaded", body, headers={"Content-Encoding": "gzip"})
    assert reply.status_code == 201
    stored = sorted(record["data"]["playerTime"]["ts"] for record in ingest.events(reply.headers["location"]))
    assert stored[1:] == [1_700_000_001_000 + n for n in range(9_000)]


@pytest.mark.parametrize("last", [SMALLEST, b"{}"], ids=["good", "bad"])
async def test_others_get_their_turn_while_arrays_are_checked(tmp_path: Path, last: bytes) -> None:
    """While three arrays are checked and stored, everybody else gets their turn in the middle of each of them."""
    settings = read_settings({**SECRETS, "PLAYHEAD_DATA_DIR": str(tmp_path)})
    await create_log(settings)
    bodies = [array(OFFLINE.replace(b"film-1", b"film-%d" % n), *[SMALLEST] * 9_998, last) for n in range(3)]
    async with closing(await open_writer(settings)) as writer:
        app = build_app(settings, writer).app
        waits_s: list[float] = []

        async def others() -> None:
            """Ask for the event loop again and again; the thread's clock counts its other work meanwhile."""
            while True:
                before_s = time.thread_time()
                await asyncio.sleep(0)
                waits_s.append(time.thread_time() - before_s)

        gc.collect()
        gc.freeze()  # as `serve` does
        asking = asyncio.create_task(others())
        statuses = await asyncio.gather(*(_post_in_process(app, "/api/v1/downloaded", body) for body in bodies))
        asking.cancel()
        gc.unfreeze()
    assert statuses == [201 if last == SMALLEST else 400] * 3
    waits_s.sort()
    assert len(waits_s) > 10
    assert waits_s[len(waits_s) * 9 // 10] < sum(waits_s) / 50
    assert waits_s[-1] < sum(waits_s) / 5  # each array is a third of the work


@contextlib.asynccontextmanager
async def closing(writer: Writer) -> AsyncIterator[Writer]:
    """Close a writer in the end."""
    try:
        yield writer
    finally:
        await writer.close()


async def _post_in_process(app: Any, path: str, body: bytes) -> int:
    """Call the application as a server does; return the status."""
    statuses: list[int] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        statuses.append(message.get("status", 0))

    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "state": {},
    }
    await app({**scope, "headers": [], "client": ("127.0.0.1", 1)}, receive, send)
    return statuses[0]


async def test_work_in_turns_is_done_in_order_and_one_piece_at_a_time() -> None:
    """Two long tasks and a ticker: each task gives all its results, and the ticker ticks all the while."""
    turns = Turns()
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    def steps() -> Iterator[int]:
        for number in range(40):
            time.sleep(0.0005)
            yield number

    async def in_groups() -> AsyncIterator[list[int]]:
        async for group in turns.groups(steps(), 15):
            yield group

    ticker = asyncio.create_task(tick())
    results = await asyncio.gather(turns.take(steps()), turns.take(steps()))
    ticker.cancel()
    assert list(results) == [list(range(40))] * 2
    assert ticks > 20
    sizes = [len(group) async for group in in_groups()]
    assert sizes == [15, 15, 10]


# Bodies in flight


def begin(ingest: Ingest, path: str, sent: bytes, *, announced: int) -> socket.socket:
    """Send a part of a body on a connection of its own, and no more."""
    connection = socket.create_connection(("127.0.0.1", ingest.port), timeout=10)
    head = b"POST %b HTTP/1.1\r\nHost: a\r\nX-API-Key: string\r\nContent-Length: %d\r\n\r\n"
    with contextlib.suppress(ConnectionError):
        connection.sendall(head % (path.encode(), announced) + sent)
    return connection


def held_bytes(ingest: Ingest) -> float:
    """Return what the bodies in flight hold."""
    return ingest.count("playhead_ingest_bodies_bytes")


def test_senders_who_stall_hold_bounded_memory_which_comes_back(tmp_path: Path) -> None:
    """200 connections of 4 MB hold what the budget has; starts are answered; then the memory is given back."""
    budget = 64_000_000
    with running(tmp_path / "data", http_bodies_bytes_max=budget, http_body_timeout_s=15) as ingest:
        ingest.start(session_start())
        process = psutil.Process(ingest.process.pid)
        before = process.memory_info().rss
        part = array(OFFLINE, *[SMALLEST] * 70_000)[: BODY_BYTES_MAX - 300_000]
        with ThreadPoolExecutor(8) as pool:
            posts = [
                pool.submit(begin, ingest, "/api/v1/downloaded", part, announced=BODY_BYTES_MAX)
                for _ in range(200)
            ]
            most = 0
            while not all(post.done() for post in posts):
                most = max(most, process.memory_info().rss)
                began_s = time.monotonic()
                ingest.start(session_start())
                assert time.monotonic() - began_s < 5
            connections = [post.result() for post in posts]
        try:
            assert budget / 2 < held_bytes(ingest) <= budget * 3 / 4
            most = max(most, process.memory_info().rss)
            assert most < before + budget + 30_000_000
            refused = ingest.post("/api/v1/downloaded", array(OFFLINE, SMALLEST)[:-1] + b" " * 4_000_000 + b"]")
            assert (refused.status_code, refused.headers["retry-after"]) == (500, "2")
        finally:
            for connection in connections:
                connection.close()
        until(lambda: held_bytes(ingest) == 0)
        until(lambda: process.memory_info().rss < before + 20_000_000)
        assert ingest.post("/api/v1/downloaded", array(OFFLINE, *[SMALLEST] * 10_000)).status_code == 201


def test_over_the_budget_each_protocol_says_it_in_its_own_way(tmp_path: Path) -> None:
    """500 for players, which then try again; 503 elsewhere; bodies that come whole are taken all the same."""
    with running(tmp_path / "data", http_bodies_bytes_max=1_048_576, http_body_timeout_s=20) as ingest:
        with contextlib.ExitStack() as stack:
            for size in [60_000] * 20 + [10_000] * 8:
                part = b"{" + b" " * size
                stack.enter_context(begin(ingest, "/api/v1/sessions", part, announced=size + 1_000))
            until(lambda: held_bytes(ingest) > 1_048_576 - 16_000)
            media = stack.enter_context(begin(ingest, "/api/v1/sessions", b" " * 60_000, announced=60_001))
            tracking = stack.enter_context(
                begin(ingest, "/v1/playouts/tracking/session", b" " * 16_000, announced=16_001)
            )
            for connection, status in ((media, b"500"), (tracking, b"503")):
                time.sleep(0.1)  # so that the last byte comes by itself
                connection.sendall(b" ")
                connection.shutdown(socket.SHUT_WR)
                reply = receive_all(connection)
                assert reply.startswith(b"HTTP/1.1 " + status), reply
                assert b"retry-after: 2\r\n" in reply
            ingest.start(session_start())
        for protocol in ("media", "tracking"):
            assert ingest.count(f'playhead_ingest_refused_total{{code="overloaded",protocol="{protocol}"}}') == 1


@pytest.mark.parametrize("path", ["/api/v1/sessions", "/api/v1/downloaded", "{session}/events"])
def test_more_than_an_event_is_held_of_arrays_alone(ingest: Ingest, path: str) -> None:
    """What does not begin as an array is discarded beyond the size of an event, wherever it is sent."""
    path = path.format(session=ingest.start(session_start()))
    with begin(ingest, path, b' {"a": "' + b"x" * 2_000_000, announced=2_000_100) as connection:
        until(lambda: held_bytes(ingest) == 0)
        connection.sendall(b"x" * 200)
        connection.shutdown(socket.SHUT_WR)
        assert receive_all(connection).startswith(b"HTTP/1.1 413 ")
    with begin(ingest, "/api/v1/sessions", b"\r\n\t [" + b" " * 2_000_000, announced=3_000_000):
        until(lambda: held_bytes(ingest) > 1_900_000)
    until(lambda: held_bytes(ingest) == 0)


# Rates


def test_a_bucket_lets_so_many_through() -> None:
    """At most its burst after any quiet time, then one for each share of a second; with a rate of 0, nothing."""
    buckets = Buckets(2, burst=2)
    assert [buckets.take("a", 100.0) for _ in range(3)] == [0.0, 0.0, 0.5]
    assert [buckets.take("a", 100.5) for _ in range(2)] == [0.0, 0.5]
    assert [buckets.take("b", 100.5) for _ in range(3)] == [0.0, 0.0, 0.5]
    assert [buckets.take("a", 900.0) for _ in range(3)] == [0.0, 0.0, 0.5]
    assert Buckets(0, burst=1).take("a", 1.0) == float("inf")


def test_a_bucket_goes_into_debt() -> None:
    """Who has a token gets what it costs; the next one waits until it is paid."""
    buckets = Buckets(10, burst=100)
    assert buckets.take("a", 0.0, 20_000) == 0.0
    assert buckets.take("a", 0.0) == pytest.approx((20_000 - 99) / 10)
    assert buckets.take("a", 1990.0) > 0
    assert buckets.take("a", 1990.2) == 0.0


@given(st.lists(st.tuples(st.integers(0, 50), st.floats(0, 10), st.floats(0.1, 50)), max_size=200))
def test_no_key_gets_more_than_its_rate_and_burst(calls: list[tuple[int, float, float]]) -> None:
    """Over any time, what is let through is at most the burst, what the rate gives, and one request's debt."""
    buckets = Buckets(5, burst=20, keys_max=1000)
    now_s, taken = 0.0, dict.fromkeys(range(51), 0.0)
    for key, later_s, cost in calls:
        now_s += later_s
        if not buckets.take(key, now_s, cost):
            taken[key] += cost
            assert taken[key] <= 20 + 5 * now_s + 50


def test_buckets_take_bounded_memory() -> None:
    """A million keys leave no more than the bound, and the newest are known."""
    buckets = Buckets(1, burst=1, keys_max=1_000)
    for key in range(1_000_000):
        buckets.take(key, 0.0)
    newest_first = iter(range(999_999, -1, -1))
    known = sum(1 for _ in itertools.takewhile(lambda key: buckets.take(key, 0.0), newest_first))
    assert 500 <= known <= 1_000


def test_a_session_that_floods_is_told_when_to_come_back(tmp_path: Path) -> None:
    """429 with Retry-After and CORS headers, for this session alone; it is counted, and not kept as rejected."""
    rate = 0.05
    with running(tmp_path / "data", rate_session_per_s=rate) as ingest:
        burst = int(rate * BURST_S)
        session, other = (ingest.start(session_start()) + "/events" for _ in range(2))
        bad = ingest.post(session, b"nonsense")
        assert bad.status_code == 400  # and costs as much as a good one
        assert [ingest.post(session, event("ping")).status_code for _ in range(burst - 1)] == [204] * (burst - 1)
        reply = ingest.post(session, event("ping"))
        assert (reply.status_code, reply.headers["access-control-allow-origin"]) == (429, "*")
        assert "session" in reply.json()["message"]
        assert 1 <= int(reply.headers["retry-after"]) <= 1 / rate
        assert ingest.post(other, event("ping")).status_code == 204
        assert ingest.count('playhead_ingest_refused_total{code="rate_limited",protocol="media"}') == 1
        kept = [record for record in ingest.records() if record["type"] == "playhead.rejected"]
        assert [record["data"]["reason"] for record in kept] == ["not_json"]


def test_large_bodies_cost_more(tmp_path: Path) -> None:
    """A body of 60 kB costs as much as thirty small ones, accepted or refused, packed or not."""
    with running(tmp_path / "data", rate_session_per_s=1) as ingest:
        large = json.dumps(event("ping", customMetadata={"k": "x" * 60_000})).encode()
        for body, headers, status in (
            (large, {}, 204),
            (gzip.compress(large), {"Content-Encoding": "gzip"}, 204),
            (large[:-2], {}, 400),
        ):
            session = ingest.start(session_start()) + "/events"
            replies = [ingest.post(session, body, headers=headers).status_code for _ in range(4)]
            assert replies[:2] == [status] * 2
            assert replies[-1] == 429


def test_an_api_key_that_floods_is_told_when_to_come_back(tmp_path: Path) -> None:
    """429 in the tracking API's envelope, for all its methods; another key has its own bucket."""
    path = "/v1/playouts/tracking/session"
    with running(tmp_path / "data", rate_key_per_s=0.05) as ingest:
        first, second = ({"X-API-Key": key} for key in ("string", "your_api_key_here"))
        assert [ingest.client.post(path, headers=first).status_code for _ in range(3)] == [200] * 3
        for method in ("POST", "GET", "DELETE"):
            reply = ingest.client.request(method, path, headers=first)
            assert (reply.status_code, reply.json()["error"]["details"]) == (429, "RATE_LIMITED")
            assert int(reply.headers["retry-after"]) >= 1
        assert ingest.client.post(path, headers=second).status_code == 200


def test_a_network_that_floods_is_told_when_to_come_back(tmp_path: Path) -> None:
    """With a proxy named, its word counts: a /24 and a /56 share a bucket; this machine has no limit."""
    settings = {"http_trusted_proxies": "127.0.0.1, 10.0.0.0/8", "rate_network_per_s": 0.05}
    with running(tmp_path / "data", **settings) as ingest:

        def start(forwarded: str | None) -> int:
            headers = {"X-Forwarded-For": forwarded} if forwarded else {}
            return ingest.post("/api/v1/sessions", session_start(), headers=headers).status_code

        spellings = [
            "192.0.2.1",
            "192.0.2.77:4711",
            "6.6.6.6, 192.0.2.9",
            "192.0.2.1, 10.1.2.3",
            "::ffff:192.0.2.5",
        ]
        assert [start(text) for text in spellings] == [201, 201, 201, 429, 429]
        assert start("192.0.3.1") == 201
        assert [start(f"2001:db8:0:{n:x}::1") for n in range(4)] == [201, 201, 201, 429]
        assert start("2001:db8:0:100::1") == 201
        assert [start(text) for text in [None, "127.0.0.1", "::1", "unknown"] * 3] == [201] * 12
        assert ingest.client.get("/health/ready", headers={"X-Forwarded-For": "192.0.2.1"}).status_code == 200


def test_an_array_costs_its_network_as_many_tokens_as_it_has_events(tmp_path: Path) -> None:
    """It passes at once; the next request of that network waits."""
    with running(tmp_path / "data", http_trusted_proxies="127.0.0.1", rate_network_per_s=1) as ingest:
        headers = {"X-Forwarded-For": "192.0.2.1"}
        body = array(OFFLINE, *[SMALLEST] * 2_000)
        assert ingest.post("/api/v1/downloaded", body, headers=headers).status_code == 201
        reply = ingest.post("/api/v1/sessions", session_start(), headers=headers)
        assert reply.status_code == 429
        assert 1_900 < int(reply.headers["retry-after"]) <= 2_100
        bad = array(OFFLINE, *[SMALLEST] * 2_000, b"{}")
        headers = {"X-Forwarded-For": "192.0.3.1"}
        assert ingest.post("/api/v1/downloaded", bad, headers=headers).status_code == 400
        assert ingest.post("/api/v1/sessions", session_start(), headers=headers).status_code == 429


def test_checking_events_is_limited_as_storing_them_is(tmp_path: Path) -> None:
    """By network and by API key, each event a token; only the rate of a media session has no part in it."""
    settings = {"http_trusted_proxies": "127.0.0.1", "rate_network_per_s": 1, "rate_key_per_s": 0.05}
    with running(tmp_path / "data", http_validate="on", **settings) as ingest:
        for headers in ({"X-Forwarded-For": "192.0.2.1"}, {"X-API-Key": "string"}):
            checked = ingest.post("/validate", array(OFFLINE, *[SMALLEST] * 2_000), headers=headers)
            assert checked.status_code == 200
            refused = ingest.post("/validate", session_start(), headers=headers)
            assert (refused.status_code, int(refused.headers["retry-after"]) > 60) == (429, True)
            assert ingest.post("/api/v1/sessions", session_start(), headers=headers).status_code == 429


def rates(**settings: object) -> Rates:
    """Return the limits of some settings."""
    return Rates(read_settings({f"PLAYHEAD_{name.upper()}": str(value) for name, value in settings.items()}))


def test_without_a_proxy_named_no_header_makes_a_network() -> None:
    """Anybody could write it."""
    scope: Any = {"client": ("192.0.2.1", 1)}
    assert rates().sender(scope, {b"x-forwarded-for": b"192.0.2.1"}, None, 0) == Sender()


def test_the_sender_is_who_talks_to_our_proxies() -> None:
    """A peer that is no proxy is the sender itself; the header Forwarded is read where it is chosen."""

    def key(peer: str, headers: dict[bytes, bytes], **settings: object) -> object:
        one = same.setdefault(str(settings), rates(http_trusted_proxies="10.0.0.0/8,fd00::/8", **settings))
        scope: Any = {"client": (peer, 1)}
        return one.sender(scope, headers, None, 0).network

    same: dict[str, Rates] = {}
    sender = key("192.0.2.1", {})
    assert sender is not None
    assert key("192.0.2.1", {b"x-forwarded-for": b"6.6.6.6"}) == sender
    assert key("10.1.1.1", {b"x-forwarded-for": b"6.6.6.6, 192.0.2.3"}) == sender
    assert key("fd00::1", {b"x-forwarded-for": b"192.0.2.3,10.0.0.1 , fd00::2"}) == sender
    assert key("10.1.1.1", {b"x-forwarded-for": b"6.6.6.6"}) != sender
    assert key("10.1.1.1", {b"forwarded": b"for=192.0.2.3"}) != sender
    chosen = {"http_forwarded_header": "forwarded"}
    sender = key("192.0.2.1", {}, **chosen)
    for text in (b"for=192.0.2.3", b'for="192.0.2.3:80";proto=http', b"For=6.6.6.6, by=x; FOR=192.0.2.4"):
        assert key("10.1.1.1", {b"forwarded": text}, **chosen) == sender
    assert key("10.1.1.1", {b"x-forwarded-for": b"192.0.2.3"}, **chosen) != sender
    v6 = key("10.1.1.1", {b"forwarded": b'for="[2001:db8::1]:4711"'}, **chosen)
    assert v6 == key("2001:db8:0:ff::9", {}, **chosen)


def test_the_key_of_a_network_changes_daily() -> None:
    """What is in memory of a network today says nothing of it tomorrow, nor in another process."""
    scope: Any = {"client": ("192.0.2.1", 1)}
    one, other = (rates(http_trusted_proxies="10.0.0.1") for _ in range(2))
    keys = [one.sender(scope, {}, None, now_s).network for now_s in (0, 86_399, 86_401)]
    assert keys[0] == keys[1] != keys[2]
    assert other.sender(scope, {}, None, 0).network != keys[0]
    assert b"192" not in str(keys).encode()


def test_every_limit_can_be_switched_off() -> None:
    """0 is no limit."""
    off = rates(http_trusted_proxies="10.0.0.1", rate_session_per_s=0, rate_key_per_s=0, rate_network_per_s=0)
    scope: Any = {"client": ("192.0.2.1", 1)}
    sender = off.sender(scope, {b"x-api-key": b"k"}, "s", 0)
    off.charge(sender, 0.0, 1e9)
    assert all(off.take(sender, 0.0) is None for _ in range(1_000))


def test_by_default_no_player_meets_a_limit() -> None:
    """A ping a second for a day, and an hour of pings at once after an outage, are let through."""
    limits, sender = Rates(Settings()), Sender("session", b"key", b"network")
    assert all(limits.take(sender, float(now_s)) is None for now_s in range(86_400))
    assert all(limits.take(sender, 86_400.0) is None for _ in range(2_900))
