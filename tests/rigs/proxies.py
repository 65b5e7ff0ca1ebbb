"""HAProxy and nginx as docs/proxies configures them, in front of ingests of a test."""

import contextlib
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import pytest

from rigs.brokers import free_ports
from rigs.processes import ROOT, started

CONFIGURATIONS = ROOT / "docs" / "proxies"


def tool(name: str) -> str:
    """Return the path of a program. Skip the test if it is not installed, and fail if CI is set."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None:
        reason = f"{name} is not installed"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@contextlib.contextmanager
def haproxy(folder: Path, ingest_ports: Sequence[int]) -> Iterator[str]:
    """Run HAProxy; yield its address."""
    (port,) = free_ports(1)
    addresses = {f"PLAYHEAD_INGEST_{n}": f"127.0.0.1:{ingest}" for n, ingest in enumerate(ingest_ports, 1)}
    environment = {**os.environ, **addresses, "PLAYHEAD_PROXY_ADDRESS": f"127.0.0.1:{port}"}
    command = [tool("haproxy"), "-db", "-f", CONFIGURATIONS / "haproxy.cfg"]
    with started(command, log=folder / "haproxy.log", env=environment) as process:
        yield process.wait_for(lambda: _answers(f"http://127.0.0.1:{port}"))


@contextlib.contextmanager
def nginx(folder: Path, ingest_ports: Sequence[int]) -> Iterator[str]:
    """Run nginx; yield its address. Ports and folders are the test's own."""
    (port,) = free_ports(1)
    text = (CONFIGURATIONS / "nginx.conf").read_text()
    for shipped, own in zip((8080, 8081, 8082), (port, *ingest_ports), strict=True):
        text, count = re.subn(rf"127\.0\.0\.1:{shipped}\b", f"127.0.0.1:{own}", text)
        assert count == 1
    paths = "\n".join(f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy"))
    (folder / "nginx.conf").write_text(text.replace("http {", f"http {{\n{paths}", 1))
    directives = f"daemon off; pid {folder}/nginx.pid; error_log stderr warn;" + (
        " user root;" if os.geteuid() == 0 else ""
    )
    command = [tool("nginx"), "-p", folder, "-c", folder / "nginx.conf", "-g", directives]
    with started(command, log=folder / "nginx.log") as process:
        yield process.wait_for(lambda: _answers(f"http://127.0.0.1:{port}"))


def _answers(url: str) -> str | None:
    with contextlib.suppress(httpx.HTTPError):
        if httpx.get(f"{url}/health/ready").status_code == 200:
            return url
    return None
