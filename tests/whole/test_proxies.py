"""Two ingests behind HAProxy and behind nginx, as docs/proxies configures them."""

import asyncio
import contextlib
import json
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from rigs.brokers import free_ports
from rigs.ingest import Ingest, event, running, session_start
from rigs.proxies import CONFIGURATIONS, NameServer, haproxy, haproxy_by_name, nginx
from rigs.waiting import until

DRAIN_S = 4.0
PROXIES = ("haproxy", "nginx")
SETTINGS: dict[str, Any] = {
    "http_trusted_proxies": "127.0.0.1",
    "http_country_header": "geo_country",
    "rate_network_per_s": 1,
    "http_drain_s": DRAIN_S,
}


class Behind:
    """Two ingests, and the addresses of the proxies in front of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.ports = free_ports(2)
        self.ingests = [self.start(number) for number in range(2)]
        self.urls: dict[str, str] = {}

    def start(self, number: int) -> Ingest:
        """Start an ingest at its port, over its own log."""
        return Ingest(self._folder / f"data-{number}", http_port=self.ports[number], **SETTINGS)

    def restart(self, number: int) -> str:
        """Stop an ingest, wait until another one answers in its place, and return what the first has logged."""
        assert self.ingests[number].stop() == 0
        said = self.ingests[number].output
        self.ingests[number] = self.start(number)
        return said

    def records(self, path: str) -> list[dict[str, Any]]:
        """Return the records of a session, whichever ingest has taken them."""
        return [record for ingest in self.ingests for record in ingest.events(path)]


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    """Two ingests behind both proxies."""
    folder = tmp_path_factory.mktemp("proxies")
    behind = Behind(folder)
    try:
        with haproxy(folder, behind.ports) as first, nginx(folder, behind.ports) as second:
            behind.urls = dict(zip(PROXIES, (first, second), strict=True))
            yield behind
    finally:
        for ingest in behind.ingests:
            ingest.process.kill_all()


@contextlib.asynccontextmanager
async def load(url: str) -> AsyncIterator[Counter[str]]:
    """Let players post to this address until the end of the block; count the replies, and what came instead."""
    counted: Counter[str] = Counter()
    stopped = asyncio.Event()

    async def play(client: httpx.AsyncClient, path: str | None) -> str | None:
        body = session_start() if path is None else event("ping")
        target = "/api/v1/sessions" if path is None else f"{path}/events"
        try:
            reply = await client.post(target, json=body)
        except httpx.HTTPError as error:
            counted[type(error).__name__] += 1
            return None
        counted[str(reply.status_code)] += 1
        return str(reply.headers["location"]) if path is None and "location" in reply.headers else path

    async def be_player(seed: int) -> None:
        rng = random.Random(seed)
        async with httpx.AsyncClient(base_url=url, timeout=20) as client:
            while not stopped.is_set():
                path = None
                for _ in range(rng.randrange(2, 20)):
                    path = await play(client, path)
                    await asyncio.sleep(rng.uniform(0, 0.05))

    players = [asyncio.create_task(be_player(seed)) for seed in range(10)]
    try:
        yield counted
    finally:
        stopped.set()
        await asyncio.gather(*players)


async def test_no_request_fails_while_ingests_are_restarted_in_turn(behind: Behind) -> None:
    """Behind either proxy, under load. It takes the time of two drains: a proxy has to notice."""
    async with load(behind.urls["haproxy"]) as by_haproxy, load(behind.urls["nginx"]) as by_nginx:
        for number in range(2):
            said = await asyncio.to_thread(behind.restart, number)
            assert [json.loads(line)["for_s"] for line in said.splitlines() if '"draining"' in line] == [DRAIN_S]
    for counted in (by_haproxy, by_nginx):
        assert counted.keys() == {"201", "204"}, counted
        assert counted["204"] > 50


def test_an_ingest_that_stops_serves_until_its_drain_is_over(behind: Behind) -> None:
    """At once it is not ready, at both of its ports, and each reply closes its connection."""
    ingest = behind.ingests[0]
    ingest.process.send(15)
    try:
        until(lambda: ingest.client.get("/health/ready").status_code == 503, within_s=DRAIN_S / 2)
        assert ingest.client.get("/health/ready").json() == {"status": "stopping"}
        assert ingest.ask("/health/ready").json()["wrong"] == ["the ingest is stopping"]
        assert ingest.ask("/health/flow").status_code == 200
        until(lambda: ingest.client.get("/health/live").headers.get("connection") == "close", within_s=DRAIN_S / 2)
        reply = ingest.post("/api/v1/sessions", session_start())
        assert (reply.status_code, reply.headers["connection"]) == (201, "close")
    finally:
        behind.restart(0)


def test_a_second_signal_ends_the_drain(tmp_path: Path) -> None:
    """Whoever does not want to wait sends it again."""
    ingest = Ingest(tmp_path / "data", http_drain_s=60)
    ingest.process.send(15)
    until(lambda: "draining" in ingest.output)
    assert ingest.stop() == 0


@pytest.mark.parametrize("proxy", PROXIES)
def test_what_an_ingest_takes_gets_through(behind: Behind, proxy: str) -> None:
    """Bodies up to its limits, long headers; what is too large is refused by the ingest, with the reason."""
    with httpx.Client(base_url=behind.urls[proxy], timeout=20) as client:
        start = session_start(**{"media.downloaded": True})
        array = [start, *(event("ping", customMetadata={"padding": "x" * 50_000}) for _ in range(78))]
        assert 3_900_000 < len(json.dumps(array)) < 4_194_304
        assert client.post("/api/v1/downloaded", json=array).status_code == 201
        too_large = client.post("/api/v1/downloaded", json=[*array, *array])
        assert (too_large.status_code, "access-control-allow-origin" in too_large.headers) == (413, True)
        long = {"X-Long": "x" * 24_000}
        assert client.post("/api/v1/sessions", json=session_start(), headers=long).status_code == 201


@pytest.mark.parametrize("proxy", PROXIES)
def test_the_senders_address_gets_through(behind: Behind, proxy: str) -> None:
    """It is the sender's own rate that is used up, not the proxy's; and a header with an underscore arrives."""
    heavy = session_start() | {"customMetadata": {"padding": "x" * 50_000}}
    network = f"203.0.{PROXIES.index(proxy)}.7"
    with httpx.Client(base_url=behind.urls[proxy], timeout=20) as client:

        def post(address: str) -> httpx.Response:
            headers = {"X-Forwarded-For": address, "geo_country": "BE"}
            return client.post("/api/v1/sessions", json=heavy, headers=headers)

        first = post(network)
        assert first.status_code == 201
        (record,) = behind.records(first.headers["location"])
        assert record["country"] == "BE"
        until(lambda: post(network).status_code == 429)
        assert post("198.51.100.1").status_code == 201


def test_more_ingests_behind_a_name_get_their_share(tmp_path: Path) -> None:
    """As in compose.yaml: HAProxy finds those that are there, and another one that is added."""
    (port,) = free_ports(1)

    def is_served_by(ingest: Ingest) -> bool:
        before = ingest.count('playhead_ingest_received_total{protocol="media"}')
        for _ in range(4):
            assert httpx.post(f"{url}/api/v1/sessions", json=session_start()).status_code == 201
        return ingest.count('playhead_ingest_received_total{protocol="media"}') > before

    with (
        contextlib.closing(NameServer("127.0.0.1")) as names,
        running(tmp_path / "a", http_port=port) as first,
        haproxy_by_name(tmp_path, names, port) as url,
    ):
        assert is_served_by(first)
        with running(tmp_path / "b", http_port=port, http_host="127.0.0.2") as second:
            names.addresses.append("127.0.0.2")
            until(lambda: is_served_by(second))


def test_the_runbook_and_the_configurations_agree() -> None:
    """The drain that the configurations ask for is longer than what nginx remembers of an ingest."""
    text = (CONFIGURATIONS / "nginx.conf").read_text()
    drains = {int(found) for found in re.findall(r"PLAYHEAD_HTTP_DRAIN_S=(\d+)", text)}
    assert drains == {5}
    assert max(int(found) for found in re.findall(r"(?:fail_timeout|keepalive_timeout)[= ](\d)s", text)) < 4
