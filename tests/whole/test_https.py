"""An ingest behind Caddy and behind nginx with HTTPS, as docs/proxies configures them."""

import base64
import json
import re
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from rigs.ingest import DATA, Ingest, event, running, session_start
from rigs.places import PLACES, write_places
from rigs.programs import tool
from rigs.proxies import caddy, nginx

SENDER = "127.0.0.5"  # an address of this machine that is no trusted proxy
PAGE = {"Origin": "https://tv.example"}
ALLOWED = "access-control-allow-origin"
TRACKING = "/v1/playouts/tracking/session"
KEY = {"X-API-Key": "string"}
DOCUMENTED = json.loads((DATA / "documented_examples.json").read_text())
TRACKING_EXAMPLES = json.loads((DATA / "tracking_examples.json").read_text())


@pytest.fixture(scope="module")
def ingest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ingest]:
    """An ingest that trusts proxies of this machine, and knows where two addresses are."""
    folder = tmp_path_factory.mktemp("https")
    places = write_places(folder / "places.mmdb", PLACES | {f"{SENDER}/32": {"country": {"iso_code": "IS"}}})
    settings = {"http_trusted_proxies": "127.0.0.1", "http_places_database": places}
    with running(folder / "data", **settings) as ingest:
        yield ingest


@pytest.fixture(scope="module", params=["caddy", "nginx"])
def client(
    request: pytest.FixtureRequest, ingest: Ingest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    """A client of the proxy in front of it."""
    folder = tmp_path_factory.mktemp(request.param)
    ports = [ingest.port, ingest.port]
    proxy = caddy(folder, ports) if request.param == "caddy" else nginx(folder, ports, https=True)
    with proxy as url, httpx.Client(base_url=url, verify=False, timeout=30) as client:
        yield client


def test_the_documented_requests_are_answered_over_https(client: httpx.Client, ingest: Ingest) -> None:
    """A session and its events, with a relative Location; one set of CORS headers, that of the ingest."""
    start = client.post("/api/v1/sessions", json=session_start(), headers=PAGE)
    location = start.headers["location"]
    assert (start.status_code, location.startswith("/api/v1/sessions/")) == (201, True)
    assert start.headers.get_list(ALLOWED) == [PAGE["Origin"]]
    assert client.post(f"{location}/events", json=event("play"), headers=PAGE).status_code == 204
    refused = client.post(f"{location}/events", json=event("Play"), headers=PAGE)
    assert (refused.status_code, refused.headers.get_list(ALLOWED)) == (400, [PAGE["Origin"]])
    assert len(ingest.events(location)) == 2


@pytest.mark.parametrize("name", DOCUMENTED["online"])
def test_documented_sessions_are_stored_as_without_a_proxy(
    client: httpx.Client, ingest: Ingest, name: str
) -> None:
    """Each event of the documentation's examples, one in each POST."""

    def stored(through: httpx.Client) -> list[Any]:
        start, *events = DOCUMENTED["online"][name]
        location = through.post("/api/v1/sessions", json=start).headers["location"]
        assert {through.post(f"{location}/events", json=each).status_code for each in events} == {204}
        return [(record["data"], record.get("flags")) for record in ingest.events(location)]

    assert stored(client) == stored(ingest.client)


@pytest.mark.parametrize("path", DOCUMENTED["offline"])
def test_documented_downloads_are_stored(client: httpx.Client, ingest: Ingest, path: str) -> None:
    """A whole session in one array, at either path; posted past the proxy it is the same session."""
    events = DOCUMENTED["offline"][path]
    locations = {each.post(path, json=events).headers["location"] for each in (client, ingest.client)}
    assert len({record["id"] for record in ingest.events(locations.pop())}) == len(events)
    assert not locations


@pytest.mark.parametrize("example", TRACKING_EXAMPLES, ids=lambda example: example["id"])
def test_documented_tracking_is_answered_as_without_a_proxy(
    client: httpx.Client, ingest: Ingest, example: dict[str, Any]
) -> None:
    """With the same status, the same keys, and the same headers of CORS and versions."""

    def answered(through: httpx.Client) -> tuple[int, list[str], dict[str, str]]:
        token = through.post(TRACKING, headers=KEY).headers["x-jay-tracking"]
        through.cookies.clear()
        headers = {name: re.sub("<.*>", token, value) for name, value in example["headers"].items()}
        body = example["body"] if isinstance(example["body"], str | None) else json.dumps(example["body"])
        reply = through.request(
            example["method"], example["path"], params=example["query"], headers=headers, content=body
        )
        through.cookies.clear()
        of_ingest = re.compile("access-control-|vary|x-api-version|x-jay-api-version")
        told = {name: value for name, value in reply.headers.items() if of_ingest.match(name)}
        return reply.status_code, [*reply.json()] if reply.content else [], told

    assert answered(client) == answered(ingest.client)


def test_http_2_is_spoken(client: httpx.Client, ingest: Ingest) -> None:
    """A session started over it is stored."""
    command = [tool("curl"), "--http2", "--insecure", "--silent", "--output", "-"]
    command += ["--write-out", "%{http_version} %{http_code} %header{location}"]
    command += ["--data", json.dumps(session_start()), f"{client.base_url}/api/v1/sessions"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    version, status, location = said.split()
    assert (version, status, len(ingest.events(location))) == ("2", "201", 1)


def test_a_header_with_underscores_names_the_tracking_session(client: httpx.Client) -> None:
    """nginx drops such headers unless it is told not to."""
    made = client.post(TRACKING, json={"user_id": "user-123-xyz"}, headers=KEY)
    token = made.headers["__secure-jay_tracking"]
    assert json.loads(base64.b64decode(token))["session_id"] == made.json()["session_id"]
    client.cookies.clear()
    shown = client.get(TRACKING, headers={**KEY, "__Secure-jay_tracking": token})
    assert (shown.status_code, shown.json()) == (200, made.json())


@pytest.mark.parametrize(
    "claimed", [{}, {"X-Forwarded-For": "192.0.2.1"}], ids=["claims nothing", "claims another"]
)
def test_the_senders_own_address_gets_through(
    client: httpx.Client, ingest: Ingest, claimed: dict[str, str]
) -> None:
    """Not the proxy's, and not what the sender claims: the country is that of the address it connects from."""
    transport = httpx.HTTPTransport(verify=False, local_address=SENDER)
    with httpx.Client(base_url=client.base_url, transport=transport, timeout=30) as sender:
        start = sender.post("/api/v1/sessions", json=session_start(), headers=claimed)
    (record,) = ingest.events(start.headers["location"])
    assert record["country"] == "IS"


def test_a_body_that_is_too_large_is_refused_by_the_ingest(client: httpx.Client) -> None:
    """With its reason and the headers of CORS; one of the largest size is taken."""
    padding = b" " * 4_190_000
    array = b"[" + json.dumps(session_start(**{"media.downloaded": True})).encode() + padding + b"]"
    assert client.post("/api/v1/downloaded", content=array, headers=PAGE).status_code == 201
    refused = client.post("/api/v1/downloaded", content=b"[" + b" " * 5_000_000 + b"]", headers=PAGE)
    assert (refused.status_code, refused.headers[ALLOWED]) == (413, PAGE["Origin"])
    assert "4194304" in refused.json()["message"]


@pytest.mark.parametrize("name", ["caddy", "nginx"])
def test_a_body_that_stalls_is_given_up(name: str, tmp_path: Path) -> None:
    """Caddy passes on the 408 of the ingest, nginx closes; of each the timeout is shortened."""
    with running(tmp_path / "data", http_body_timeout_s=1) as ingest:
        ports = [ingest.port, ingest.port]
        proxy = caddy(tmp_path, ports) if name == "caddy" else nginx(tmp_path, ports, https=True, body_timeout_s=1)
        with proxy as url:
            began_s = time.monotonic()
            reply = stalled(httpx.URL(url))
            assert 0.9 < time.monotonic() - began_s < 8
    head, _, body = reply.partition(b"\r\n\r\n")
    assert (head[:12], b"did not arrive in time" in body) == (
        (b"HTTP/1.1 408", True) if name == "caddy" else (b"", False)
    )


def stalled(url: httpx.URL) -> bytes:
    """Send less of a body than was announced; return all that is answered until the connection is closed."""
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    head = (
        b"POST /api/v1/sessions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\nConnection: close\r\n\r\n{"
    )
    assert url.port
    with (
        socket.create_connection((url.host, url.port), timeout=30) as plain,
        trusting.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        secure.sendall(head)
        return b"".join(iter(lambda: secure.recv(4096), b""))
