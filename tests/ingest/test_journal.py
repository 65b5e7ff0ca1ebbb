"""Hostile and honest requests side by side: what was accepted is in the log and in the tables, and only that.

Each event has a name of its own. A journal keeps the replies for each name; in the end log and lake must
hold the accepted names once, the unknown ones at most once, and no other.
"""

import contextlib
import gzip
import json
import random
import re
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from rigs.ingest import Ingest, event, receive_all, running, session_start
from rigs.lake import Lake, playhead
from rigs.waiting import until

CLIENTS = 6
BATCH_MAX = 8
TRACKING = b"/v1/playouts/tracking/session"
MEDIA = "playhead.media."
OTHERS = ("play", "ping", "pauseStart", "bufferStart", "chapterSkip", "adBreakComplete", "sessionComplete")


@dataclass(frozen=True)
class Request:
    """One request as it goes over the wire, the names of the events in it, and what its sender knows of it."""

    raw: bytes
    names: tuple[str, ...] = ()
    is_last: bool = False  # it ends its connection: whatever is behind it is not read
    must_fail: bool = False


@dataclass
class Journal:
    """The replies that the clients got for each name and each tracking session."""

    accepted: list[str] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)
    created: list[str] = field(default_factory=list)
    unheard: int = 0  # tracking sessions asked for by clients that went away
    sessions: list[bytes] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)


def test_log_and_tables_hold_what_was_accepted_and_nothing_else(
    tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """Thousands of requests, good and bad, in pieces, packed, pipelined, cut off: each name has its one fate."""
    count, seed = int(pytestconfig.getoption("fuzz_requests")), int(pytestconfig.getoption("fuzz_seed"))
    with running(tmp_path / "data", http_body_timeout_s=5, rejected_per_s=1_000_000) as ingest:
        journals = [Journal() for _ in range(CLIENTS)]
        with ThreadPoolExecutor(CLIENTS) as pool:
            for done in [
                pool.submit(
                    _be_client, ingest, journal, random.Random(f"{seed}/{number}"), number, count // CLIENTS
                )
                for number, journal in enumerate(journals)
            ]:
                done.result()
        statuses = sum((journal.statuses for journal in journals), Counter())
        assert not [status for status in statuses if status >= 500], statuses
        assert {201, 204, 200, 400, 401, 404, 405, 413} <= set(statuses), statuses
        assert ingest.stop() == 0
        records = ingest.records()
        _compare(records, journals)
        _compare_lake(Lake(tmp_path / "data"), records)
        assert "request failed" not in ingest.output
        assert "Exception in ASGI" not in ingest.output


def _compare(records: list[dict[str, Any]], journals: list[Journal]) -> None:
    accepted = Counter(name for journal in journals for name in journal.accepted)
    assert max(accepted.values()) == 1
    refused = set().union(*(journal.refused for journal in journals))
    unknown = set().union(*(journal.unknown for journal in journals))
    stored = Counter(
        record["data"]["customMetadata"]["name"] for record in records if record["type"].startswith(MEDIA)
    )
    assert not accepted - stored, "accepted, and not in the log"
    assert not [name for name in accepted if stored[name] != 1], "accepted, and in the log more than once"
    assert not refused & set(stored), "refused, and in the log"
    assert not [name for name in unknown if stored[name] > 1]
    assert not set(stored) - set(accepted) - unknown, "in the log, and never sent"
    created = Counter(record["subject"] for record in records if record["type"] == "playhead.tracking.created")
    heard = Counter(session for journal in journals for session in journal.created)
    assert not heard - created, "made, and not in the log"
    assert (created - heard).total() <= sum(journal.unheard for journal in journals)
    assert len({record["id"] for record in records}) == len(records)


def _compare_lake(lake: Lake, records: list[dict[str, Any]]) -> None:
    """Let a worker read the log: each event is one row under its name; only refusals are quarantined."""
    with playhead(lake.settings, "worker"):
        until(lambda: lake.ask("SELECT sum(next_offset) FROM ledger") == [(len(records),)], within_s=120)
    media = [record for record in records if record["type"].startswith(MEDIA)]
    rows = lake.ask("SELECT event_id, session_id, custom_metadata ->> 'name' FROM events")
    assert Counter(rows) == Counter(
        (record["id"], record["subject"], record["data"]["customMetadata"]["name"]) for record in media
    )
    tracking = [record["id"] for record in records if record["type"].startswith("playhead.tracking.")]
    assert Counter(row[0] for row in lake.ask("SELECT event_id FROM tracking_events")) == Counter(tracking)
    refused = len(records) - len(media) - len(tracking)
    assert lake.ask("SELECT source, count(*) FROM quarantine GROUP BY ALL") == [("ingest", refused)]
    assert lake.ask("SELECT count(*) FROM duplicates") == [(0,)]


def _be_client(ingest: Ingest, journal: Journal, rng: random.Random, number: int, count: int) -> None:
    """Send so many requests, in batches, a connection each."""
    names = (f"{number}.{index}" for index in range(10**9))
    sent = 0
    while sent < count:
        batch = [_make(rng, names, journal.sessions) for _ in range(rng.randint(1, BATCH_MAX))]
        sent += len(batch)
        raw = b"".join(request.raw for request in batch)
        # Some clients go away without a word, or in the middle of it.
        is_rude = rng.random() < 0.05
        replies = _send(ingest, rng, raw[: rng.randrange(len(raw))] if is_rude else raw, listens=not is_rude)
        _take_in(journal, batch, replies, is_rude=is_rude)


def _send(
    ingest: Ingest, rng: random.Random, raw: bytes, *, listens: bool
) -> list[tuple[int, dict[str, str], bytes]]:
    """Send a batch in pieces; return the replies, each with its headers and body."""
    with socket.create_connection(("127.0.0.1", ingest.port), timeout=30) as connection:
        with contextlib.suppress(ConnectionError):
            while raw:
                size = rng.choice([len(raw), len(raw), 1, 100, 1_460, 70_000])
                connection.sendall(raw[:size])
                raw = raw[size:]
                if size == 1:
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.shutdown(socket.SHUT_WR)
        return list(_read_replies(receive_all(connection))) if listens else []


def _read_replies(text: bytes) -> Iterator[tuple[int, dict[str, str], bytes]]:
    while text:
        head, end, text = text.partition(b"\r\n\r\n")
        assert end, head
        status, *lines = head.decode("latin-1").split("\r\n")
        match = re.fullmatch(r"HTTP/1\.1 (\d{3}) .*", status)
        assert match, status
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        size = int(headers.get("content-length", 0))
        if match[1] != "100":
            yield int(match[1]), headers, text[:size]
        text = text[size:]


def _take_in(
    journal: Journal, batch: list[Request], replies: list[tuple[int, dict[str, str], bytes]], *, is_rude: bool
) -> None:
    """Note the fate of each request: they are answered in order, up to the one that ends the connection."""
    if is_rude:
        journal.unknown.update(name for request in batch for name in request.names)
        journal.unheard += sum(1 for request in batch if TRACKING in request.raw)
        return
    answered = next((index + 1 for index, request in enumerate(batch) if request.is_last), len(batch))
    assert len(replies) <= answered
    if len(replies) < answered:  # a 413 ends the connection early
        assert replies
        assert replies[-1][1].get("connection") == "close", (batch[len(replies) - 1], replies[-1])
    for request, (status, headers, body) in zip(batch, replies, strict=False):
        journal.statuses[status] += 1
        if status >= 300:
            journal.refused.update(request.names)
            continue
        assert not request.must_fail, (status, request)
        journal.accepted += request.names
        if status == 201:
            journal.sessions.append(headers["location"].encode())
        if status == 200 and request.raw.startswith(b"POST"):
            journal.created.append(json.loads(body)["session_id"])
    journal.refused.update(name for request in batch[len(replies) :] for name in request.names)


# Requests


def _make(rng: random.Random, names: Iterator[str], sessions: list[bytes]) -> Request:
    """Make a request: as often a good one as a bad one."""
    if rng.random() < 0.5 or not sessions:
        return rng.choice([_start, _add, _add, _upload, _track])(rng, names, sessions)
    return rng.choice(HOSTILE)(rng, names, sessions)


def _post(rng: random.Random, path: bytes, body: bytes, *, headers: bytes = b"", packs: bool = True) -> bytes:
    """Return a POST, its body announced or in chunks, packed or not."""
    if packs and rng.random() < 0.2:
        body = gzip.compress(body, rng.choice([1, 9]))
        headers += b"Content-Encoding: gzip\r\n"
    if rng.random() < 0.2:
        headers += b"Transfer-Encoding: chunked\r\n"
        cut = rng.randrange(len(body) + 1)
        pieces = [piece for piece in (body[:cut], body[cut:]) if piece]
        body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    else:
        headers += b"Content-Length: %d\r\n" % len(body)
    if rng.random() < 0.1:
        headers += b"Connection: Upgrade\r\nUpgrade: h2c\r\n"
    return b"POST %b HTTP/1.1\r\nHost: a\r\n%b\r\n%b" % (path, headers, body)


def _named(event: dict[str, Any], name: str) -> dict[str, Any]:
    return {**event, "customMetadata": {"name": name}}


def _key(rng: random.Random) -> bytes:
    return b"Idempotency-Key: %d\r\n" % rng.getrandbits(64) if rng.random() < 0.5 else b""


def _start(rng: random.Random, names: Iterator[str], _sessions: list[bytes]) -> Request:
    name = next(names)
    body = json.dumps(_named(session_start(), name)).encode()
    return Request(_post(rng, b"/api/v1/sessions", body, headers=_key(rng)), (name,))


def _event(rng: random.Random, name: str) -> dict[str, Any]:
    ts = rng.choice([0, 1_700_000_000_000 + rng.randrange(10**9), 4_102_444_800_000])
    return _named(event(rng.choice(OTHERS), ts=ts, playhead=rng.choice([-1, 0, 1.5, 1e308])), name)


def _add(rng: random.Random, names: Iterator[str], sessions: list[bytes]) -> Request:
    if not sessions:
        return _start(rng, names, sessions)
    name = next(names)
    body = json.dumps(_event(rng, name)).encode()
    return Request(_post(rng, rng.choice(sessions) + b"/events", body, headers=_key(rng)), (name,))


def _upload(rng: random.Random, names: Iterator[str], _sessions: list[bytes]) -> Request:
    own = tuple(next(names) for _ in range(rng.choice([1, 2, 30, 600])))
    start = _named(session_start(**{"media.downloaded": True}), own[0])
    body = json.dumps([start, *(_event(rng, name) for name in own[1:])]).encode()
    path = rng.choice([b"/api/v1/sessions", b"/api/v1/downloaded"])
    return Request(_post(rng, path, rng.choice([b"", b" \n"]) + body), own)


def _track(rng: random.Random, _names: Iterator[str], _sessions: list[bytes]) -> Request:
    body = json.dumps({"userId": f"viewer {rng.random()}"}).encode()
    return Request(_post(rng, TRACKING, body, headers=b"X-API-Key: string\r\n"))


def _flipped(rng: random.Random, names: Iterator[str], sessions: list[bytes]) -> Request:
    """Some bytes outside the name changed: whether it still is an event, the server decides."""
    name = next(names)
    path, good = rng.choice(
        [
            (b"/api/v1/sessions", json.dumps(_named(session_start(), name)).encode()),
            (rng.choice(sessions) + b"/events", json.dumps(_event(rng, name)).encode()),
        ]
    )
    kept = good.index(b'"customMetadata"')
    body = bytearray(good)
    for _ in range(rng.randint(1, 4)):
        body[rng.randrange(kept)] = rng.choice([rng.randrange(256), *b'{}[]",:0e-'])
    if good[kept:] not in body:
        return _flipped(rng, names, sessions)
    return Request(_post(rng, path, bytes(body)), (name,))


def _broken(rng: random.Random, names: Iterator[str], sessions: list[bytes]) -> Request:
    """No event in any case."""
    name = next(names)
    good = json.dumps(_named(session_start(), name)).encode()
    body = rng.choice(
        [
            good[:-1],
            good + b"x",
            good + good,
            b"\xef\xbb\xbf" + good,
            good.replace(b'"ts"', b'"tz"'),
            good.replace(b"60.5", b"NaN"),
            good.replace(b"film-1", b"\xff"),
            good.replace(b'"sessionStart"', b'"sessionstart"'),
            good.replace(b'"film-1"', b"[" * 40 + b"]" * 40),
            good.replace(b'"name"', b'"name": {}, "name"').replace(b'": {}', b'2": {"a": {}}'),
            b'{"x":"' + b"x" * 70_000 + b'",' + good[1:],
        ]
    )
    path = rng.choice([b"/api/v1/sessions", b"/api/v1/downloaded", rng.choice(sessions) + b"/events"])
    return Request(_post(rng, path, body, packs=len(body) < 10_000), (name,), must_fail=True)


def _bad_upload(rng: random.Random, names: Iterator[str], sessions: list[bytes]) -> Request:
    """One bad event among good ones, too many, or nothing but noise: none is stored."""
    own = tuple(next(names) for _ in range(rng.choice([2, 30, 700])))
    events = [_named(session_start(**{"media.downloaded": True}), own[0])]
    events += [_event(rng, name) for name in own[1:]]
    spoil: Callable[[], Any] = rng.choice(
        [
            lambda: events.insert(rng.randrange(1, len(events)), {}),
            lambda: events.append(_named(session_start(), own[-1])),
            lambda: events.reverse(),
            lambda: events.append(7),  # type: ignore[arg-type]
            lambda: events[-1].update(eventType="nonsense"),
            lambda: events.extend([event("ping")] * 20_001),
        ]
    )
    spoil()
    body = json.dumps(events).encode()
    return Request(_post(rng, b"/api/v1/downloaded", body, packs=len(body) < 1_000_000), own, must_fail=True)


def _nowhere(rng: random.Random, names: Iterator[str], sessions: list[bytes]) -> Request:
    """A good body for an invalid session or path, or without a key."""
    name = next(names)
    session = bytearray(rng.choice(sessions))
    session[-1 - rng.randrange(64)] ^= 1
    path = rng.choice(
        [bytes(session) + b"/events", b"/api/v1/session", TRACKING, b"/metrics", b"/api/v1/sessions/a/b"]
    )
    body = json.dumps(_event(rng, name)).encode()
    return Request(_post(rng, path, body), (name,), must_fail=True)


def _bad_packing(rng: random.Random, names: Iterator[str], _sessions: list[bytes]) -> Request:
    name = next(names)
    good = gzip.compress(json.dumps(_named(session_start(), name)).encode())
    body = rng.choice([good[:-1], good + b"x", good[4:], b"", gzip.compress(b" " * 3_000_000, 9)])
    raw = _post(rng, b"/api/v1/sessions", body, headers=b"Content-Encoding: gzip\r\n", packs=False)
    return Request(raw, (name,), must_fail=True)


def _no_http(rng: random.Random, names: Iterator[str], _sessions: list[bytes]) -> Request:
    """What no parser takes: its 400 is the last reply of the connection."""
    name = next(names)
    body = json.dumps(_named(session_start(), name)).encode()
    head = b"POST /api/v1/sessions HTTP/1.1\r\nHost: a\r\n"
    raw = rng.choice(
        [
            b"NONSENSE\r\n\r\n" + head,
            head + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n" + body,
            head + b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n" % len(body) + body,
            head + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + body,
            head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b" % (len(body) - 1, body) + b"\r\n0\r\n\r\n",
            head + b"X: a\x00b\r\n\r\n" + body,
            b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n" + head + b"Content-Length: %d\r\n\r\n" % len(body) + body,
            head + b"X: " + b"x" * 40_000 + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body,
        ]
    )
    return Request(raw, (name,), is_last=True, must_fail=True)


def _method(rng: random.Random, _names: Iterator[str], sessions: list[bytes]) -> Request:
    method = rng.choice([b"GET", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"])
    return Request(b"%b %b/events HTTP/1.1\r\nHost: a\r\n\r\n" % (method, rng.choice(sessions)))


def _last(rng: random.Random, names: Iterator[str], sessions: list[bytes]) -> Request:
    """A good start that ends its connection: nothing behind it counts."""
    name = next(names)
    body = json.dumps(_named(session_start(), name)).encode()
    return Request(_post(rng, b"/api/v1/sessions", body, headers=b"Connection: close\r\n"), (name,), is_last=True)


HOSTILE = [_flipped, _flipped, _broken, _bad_upload, _nowhere, _bad_packing, _no_http, _method, _last]
