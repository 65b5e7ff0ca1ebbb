"""What an ingest answers to a grid of requests: every route, spelled in many ways, by method and origin.

    PYTHONPATH=tests python -m rigs.http_grid tests/data/http_grid.json

records what the present program answers. What differs each time (ids, tokens, times, documents) is
replaced by a name, a long body by its SHA-256. A reply that many requests share is written once.
"""

import hashlib
import http.client
import json
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from rigs.hostile_bodies import START
from rigs.ingest import Ingest, running

Json = dict[str, Any]

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")
ORIGIN = {"Origin": "https://page.example"}
ASKS = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type, tracestate"}
KEY = {"X-API-Key": "string"}
HEADERS: dict[str, dict[str, str]] = {
    "no origin": {},
    "a page": ORIGIN,
    "a page that asks first": ORIGIN | ASKS,
    "a page with a key": ORIGIN | KEY | {"X-API-Version": "2025-05-19"},
    "null": {"Origin": "null"},
    "no origin at all": {"Origin": "https://page.example/path", "X-API-Key": "string"},
    "a denial": ORIGIN | KEY | {"X-Consent": "denied"},
}
EVENT = b'{"eventType": "ping", "playerTime": {"playhead": 1, "ts": 1700000001000}}'
BODIES: dict[str, tuple[bytes, dict[str, str]]] = {
    "a sessionStart": (START, {"Content-Type": "text/plain"}),
    "an event": (EVENT, {}),
    "an array": (b"[" + START + b"]", {}),
    "no JSON": (b"{", {}),
    "a user": (b'{"user_id": "somebody"}', {"Content-Type": "application/json"}),
    "what is too large": (b'{"x": "' + b"x" * 70_000 + b'"}', {}),
    "another encoding": (START, {"Content-Encoding": "br"}),
    "no gzip": (START, {"Content-Encoding": "gzip"}),
}
SESSION = "0" * 64
ROUTES = (
    "/api/v1/sessions",
    f"/api/v1/sessions/{SESSION}/events",
    "/api/v1/downloaded",
    "/api/v1/schemas/ping",
    "/api/v1/schemas/nonsense",
    "/v1/playouts/tracking/session",
    "/v1/playouts/playout-1/tracking/session",
    "/health/live",
    "/health/ready",
    "/metrics",
    "/schema",
    "/schema/openapi.json",
    "/asyncapi.json",
    "/.well-known/gpc.json",
)
STRANGE = (
    "/",
    "//",
    "*",
    "/favicon.ico",
    "/api",
    "/api/v1",
    "/api/v1/",
    "/api/v1/sessions/x",
    "/api/v1/sessions/events",
    "/api/v1/sessions//events",
    "/api/v1/sessions/x/events",
    "/api/v1/sessions/a%2Fb/events",
    "/api/v1/sessions/x/events/more",
    "/api/v1/sessions/../downloaded",
    "/api/v1/./sessions",
    "/api/v1/schemas",
    "/api/v1/schemas/",
    "/api/v1/schemas/ping/more",
    "/api/v2/sessions",
    "/API/V1/SESSIONS",
    "/v1",
    "/v1/",
    "//v1/nothing",
    "/v1/playouts",
    "/v1/playouts/tracking",
    "/v1/playouts/playout-1",
    "/v1/playouts/playout-1/tracking",
    "/v1/playouts/tracking/tracking/session",
    "/v1/playouts//tracking/session",
    "/v1/playouts/a%2Fb/tracking/session",
    "/v1/playouts/%7Bplayout_id%7D/tracking/session",
    "/v1/playouts/caf%C3%A9/tracking/session",
    "/v1/playouts/%FF/tracking/session",
    "/v1/playouts/%00/tracking/session",
    "/v1/playouts/a%0Db/tracking/session",
    "/v1/playouts/a%20b/tracking/session",
    "/v1/playouts/a%25b/tracking/session",
    "/v1/playouts/" + "x" * 257 + "/tracking/session",
    "/v1/playouts/tracking/session/more",
    "/v1/playouts/tracking/session?user_id=somebody",
    "/v1/playouts/tracking/session?user_id=a&user_id=b",
    "/health",
    "/health/",
    "/health/dead",
    "/health/live/more",
    "/metrics/more",
    "/schema/nothing.json",
    "/.well-known",
    "/.well-known/nothing",
    "/asyncapi.json/more",
    "/asyncapi-json",
    "/healthlive",
    "/xwell-known/gpc.json",
    "/api/v1/sessionsx/events",
    "/schemaopenapi.json",
)


def paths() -> Iterator[str]:
    """Return every path, each route also with slashes too many and with escapes that are not needed."""
    for route in ROUTES:
        yield route
        yield route + "/"
        yield route + "//"
        yield "/" + route
        yield route.replace("/", "//")
        yield route[:3] + f"%{ord(route[3]):02X}" + route[4:]
        yield route + "?a=b&c"
        yield route + "%20"
        yield route + ";a"
        yield "http://127.0.0.1" + route
    yield from STRANGE


def answers(ingest: Ingest) -> Json:
    """Send the whole grid; return the replies, and which of them each request got."""
    replies: list[Json] = []
    numbers: dict[str, int] = {}
    connection = http.client.HTTPConnection("127.0.0.1", ingest.port, timeout=20)

    def ask(method: str, path: str, headers: dict[str, str], body: bytes = b"") -> int:
        reply = _exchange(connection, method, path, headers, body)
        number = numbers.setdefault(json.dumps(reply), len(replies))
        if number == len(replies):
            replies.append(reply)
        return number

    asked = {
        path: {name: [ask(method, path, headers) for method in METHODS] for name, headers in HEADERS.items()}
        for path in paths()
    }
    posted = {
        path: {name: ask("POST", path, ORIGIN | KEY | headers, body) for name, (body, headers) in BODIES.items()}
        for path in paths()
    }
    connection.close()
    return {"replies": replies, "asked": asked, "posted": posted}


def each(grid: Json) -> Iterator[tuple[str, Json]]:
    """Return each request of a grid, in words, and its reply."""
    for path, by_headers in grid["asked"].items():
        for name, numbers in by_headers.items():
            for method, number in zip(METHODS, numbers, strict=True):
                yield f"{method} {path} with {name}", grid["replies"][number]
    for path, by_body in grid["posted"].items():
        for name, number in by_body.items():
            yield f"POST {path} of {name}", grid["replies"][number]


def _exchange(
    connection: http.client.HTTPConnection, method: str, path: str, headers: dict[str, str], body: bytes
) -> Json:
    connection.putrequest(method, path, skip_accept_encoding=True)
    for name, value in headers.items():
        connection.putheader(name, value)
    if body or method in ("POST", "PUT", "PATCH"):
        connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body or None)
    reply = connection.getresponse()
    text = reply.read().decode()
    changes = reply.status == 200 and re.search("schema|asyncapi", unquote(path))
    found = [f"{name}: {value}" for name, value in reply.getheaders() if name != "date"]
    if changes:
        found = [line for line in found if not line.startswith("content-length")]
        text = text and "(what changes)"
    elif len(text) > 400:
        text = hashlib.sha256(text.encode()).hexdigest()
    return {"status": reply.status, "headers": sorted(map(_named, found)), "body": _named(text)}


_PATTERNS = (
    (re.compile(r"(?<=/api/v1/sessions/)[0-9a-f]{64}"), "(session)"),
    (re.compile(r"eyJ[\w+/=-]{40,}"), "(token)"),
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"), "(uuid)"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}"), "(time)"),
)


def _named(text: str) -> str:
    for pattern, name in _PATTERNS:
        text = pattern.sub(name, text)
    return text


def main(path: Path) -> None:
    """Write the grid of the present program, a reply and a path a line."""
    with tempfile.TemporaryDirectory() as folder, quiet(Path(folder)) as ingest:
        grid = answers(ingest)
    parts = {
        "replies": "[\n" + ",\n".join(json.dumps(reply) for reply in grid["replies"]) + "\n]",
        "asked": _by_path(grid["asked"]),
        "posted": _by_path(grid["posted"]),
    }
    path.write_text("{" + ",\n".join(f"{json.dumps(name)}: {text}" for name, text in parts.items()) + "}\n")


def _by_path(part: Json) -> str:
    lines = [f"{json.dumps(path)}: {json.dumps(numbers, separators=(',', ':'))}" for path, numbers in part.items()]
    return "{\n" + ",\n".join(lines) + "\n}"


def quiet(folder: Path) -> AbstractContextManager[Ingest]:
    """Run an ingest without limits of rate."""
    return running(folder / "data", rate_session_per_s=0, rate_key_per_s=0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
