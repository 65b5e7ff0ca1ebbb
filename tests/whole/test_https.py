"""An ingest behind Caddy and behind nginx with HTTPS, as docs/proxies configures them."""

import base64
import json
from collections.abc import Iterator

import httpx
import pytest
from rigs.ingest import Ingest, event, running, session_start
from rigs.places import PLACES, write_places
from rigs.proxies import caddy, nginx

SENDER = "127.0.0.5"  # an address of this machine that is no trusted proxy
PAGE = {"Origin": "https://tv.example"}
ALLOWED = "access-control-allow-origin"
TRACKING = "/v1/playouts/tracking/session"


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


def test_a_header_with_underscores_names_the_tracking_session(client: httpx.Client) -> None:
    """nginx drops such headers unless it is told not to."""
    key = {"X-API-Key": "string"}
    made = client.post(TRACKING, json={"user_id": "user-123-xyz"}, headers=key)
    token = made.headers["__secure-jay_tracking"]
    assert json.loads(base64.b64decode(token))["session_id"] == made.json()["session_id"]
    client.cookies.clear()
    shown = client.get(TRACKING, headers={**key, "__Secure-jay_tracking": token})
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
