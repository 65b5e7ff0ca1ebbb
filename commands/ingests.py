"""Ingests as an operator sees them: each is asked whether it is ready, and for its metrics."""

import asyncio
import socket
import time
from collections import Counter
from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import httpx
from prometheus_client.parser import text_string_to_metric_families

from commands import listening
from commands.diagnosis import Ingest

WITHIN_S = 3.0
PREFIX = "playhead_ingest_"


async def ask_ingests(urls: Sequence[str]) -> list[Ingest]:
    """Return every ingest at these addresses. Never raises for one that does not answer."""
    addresses = [address for url in urls for address in await asyncio.to_thread(_addresses, url)]
    async with httpx.AsyncClient(timeout=WITHIN_S, trust_env=False) as client:
        return list(await asyncio.gather(*(_ingest(client, url, host) for url, host in addresses)))


def counts_of(metrics: str) -> tuple[Counter[str], Counter[str]]:
    """Return what an ingest has counted, by the metric's name without its prefix; and its refusals, by code."""
    counted: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    for family in text_string_to_metric_families(metrics):
        for sample in family.samples:
            if sample.name.startswith(PREFIX):
                counted[sample.name.removeprefix(PREFIX)] += int(sample.value)
            if sample.name == f"{PREFIX}refused_total":
                refused[sample.labels["code"]] += int(sample.value)
    return counted, refused


def _addresses(url: str) -> list[tuple[str, str]]:
    """Return the addresses behind a URL's name, as URLs, and that name. TLS needs the name, so it stays."""
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        return [(url, parts.netloc)]
    try:
        found = socket.getaddrinfo(parts.hostname, parts.port or 80, type=socket.SOCK_STREAM)
    except OSError:
        return [(url, parts.netloc)]  # asking it says why
    hosts = sorted({str(ip[0]) for *_, ip in found})
    return [(listening.url(host, parts.port or 80), parts.netloc) for host in hosts]


async def _ingest(client: httpx.AsyncClient, url: str, host: str) -> Ingest:
    try:
        ready = await client.get(f"{url}/health/ready", headers={"Host": host})
        heard_s = time.time()
        metrics = (await client.get(f"{url}/metrics", headers={"Host": host})).raise_for_status()
    except httpx.HTTPError as error:
        why = str(error) or type(error).__name__
        return Ingest(url, fault=f"it does not answer ({why}): is `playhead ingest` running there?")
    counted, refused = counts_of(metrics.text)
    ahead_s = 0.0
    if "date" in ready.headers:
        ahead_s = parsedate_to_datetime(ready.headers["date"]).timestamp() + 0.5 - heard_s
    return Ingest(
        url,
        fault=None if ready.is_success else f"not ready: {ready.text[:200]}",
        accepted=counted["accepted_total"],
        refused=dict(refused),
        errors=counted["errors_total"],
        clock_ahead_s=ahead_s,
    )
