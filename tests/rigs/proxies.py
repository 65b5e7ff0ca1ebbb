"""HAProxy and nginx as docs/proxies configures them, in front of ingests of a test."""

import contextlib
import os
import re
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import httpx

from rigs.brokers import free_ports
from rigs.processes import ROOT, started
from rigs.programs import tool

CONFIGURATIONS = ROOT / "docs" / "proxies"


@contextlib.contextmanager
def haproxy(folder: Path, ingest_ports: Sequence[int]) -> Iterator[str]:
    """Run HAProxy with ingests at these ports; yield its address."""
    addresses = {f"PLAYHEAD_INGEST_{n}": f"127.0.0.1:{ingest}" for n, ingest in enumerate(ingest_ports, 1)}
    with _haproxy(folder, "haproxy-servers.cfg", addresses) as url:
        yield url


@contextlib.contextmanager
def haproxy_by_name(folder: Path, name_server: "NameServer", port: int) -> Iterator[str]:
    """Run HAProxy with the ingests that a name has, all at this port; yield its address."""
    names = {"PLAYHEAD_DNS": f"127.0.0.1:{name_server.port}", "PLAYHEAD_INGESTS": f"ingest.test:{port}"}
    with _haproxy(folder, "haproxy-dns.cfg", names) as url:
        yield url


@contextlib.contextmanager
def _haproxy(folder: Path, servers: str, variables: Mapping[str, str]) -> Iterator[str]:
    (port,) = free_ports(1)
    environment = {**os.environ, **variables, "PLAYHEAD_PROXY_ADDRESS": f"127.0.0.1:{port}"}
    command = [tool("haproxy"), "-db", "-f", CONFIGURATIONS / "haproxy.cfg", "-f", CONFIGURATIONS / servers]
    with started(command, log=folder / "haproxy.log", env=environment) as process:
        yield process.wait_for(lambda: _answers(f"http://127.0.0.1:{port}"))


@contextlib.contextmanager
def nginx(
    folder: Path, ingest_ports: Sequence[int], *, https: bool = False, body_timeout_s: int = 10
) -> Iterator[str]:
    """Run nginx, with HTTPS as `https.md` has it; yield its address. Ports and folders are the test's own."""
    (port,) = free_ports(1)
    text = (CONFIGURATIONS / "nginx.conf").read_text()
    assert text.count("client_body_timeout 10s;") == 1
    text = text.replace("client_body_timeout 10s;", f"client_body_timeout {body_timeout_s}s;")
    for shipped, own in zip((8080, 8081, 8082), (port, *ingest_ports), strict=True):
        text, count = re.subn(rf"127\.0\.0\.1:{shipped}\b", f"127.0.0.1:{own}", text)
        assert count == 1
    if https:
        text = text.replace(f"        listen 127.0.0.1:{port};\n", _https_lines(folder, port))
    paths = "\n".join(f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy"))
    (folder / "nginx.conf").write_text(text.replace("http {", f"http {{\n{paths}", 1))
    directives = f"daemon off; pid {folder}/nginx.pid; error_log stderr warn;" + (
        " user root;" if os.geteuid() == 0 else ""
    )
    command = [tool("nginx"), "-p", folder, "-c", folder / "nginx.conf", "-g", directives]
    with started(command, log=folder / "nginx.log") as process:
        url = f"https://localhost:{port}" if https else f"http://127.0.0.1:{port}"
        yield process.wait_for(lambda: _answers(url))


def _https_lines(folder: Path, port: int) -> str:
    """Return the lines of the page for nginx, with a port and a certificate of the test's own."""
    files = ("-keyout", f"{folder}/key.pem", "-out", f"{folder}/certificate.pem")
    command = [tool("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", *files]
    subprocess.run(command, check=True, capture_output=True)
    page = (CONFIGURATIONS / "https.md").read_text()
    lines = page.partition("```nginx\n")[2].partition("```")[0]
    for shipped, own in (
        ("listen 443 ", f"listen 127.0.0.1:{port} "),
        ("/etc/ssl/events.example.com.pem", f"{folder}/certificate.pem"),
        ("/etc/ssl/events.example.com.key", f"{folder}/key.pem"),
    ):
        assert lines.count(shipped) == 1
        lines = lines.replace(shipped, own)
    return lines


@contextlib.contextmanager
def caddy(folder: Path, ingest_ports: Sequence[int]) -> Iterator[str]:
    """Run Caddy with a certificate that it makes itself; yield its address."""
    (port,) = free_ports(1)
    text = (CONFIGURATIONS / "Caddyfile").read_text()
    alone = (
        f"admin off\n\tskip_install_trust\n\tauto_https disable_redirects\n\tstorage file_system {folder}/store"
    )
    for shipped, changed in (
        ("\n{", f"\n{{\n\t{alone}"),
        ("events.example.com {", f"https://localhost:{port} {{\n\ttls internal"),
        ("127.0.0.1:8081 127.0.0.1:8082", " ".join(f"127.0.0.1:{ingest}" for ingest in ingest_ports)),
    ):
        assert text.count(shipped) == 1
        text = text.replace(shipped, changed)
    (folder / "Caddyfile").write_text(text)
    command = [tool("caddy"), "run", "--config", folder / "Caddyfile", "--adapter", "caddyfile"]
    environment = {**os.environ, "XDG_CONFIG_HOME": str(folder), "XDG_DATA_HOME": str(folder)}
    with started(command, log=folder / "caddy.log", env=environment) as process:
        yield process.wait_for(lambda: _answers(f"https://localhost:{port}"))


class NameServer:
    """A name server that knows one name, with the addresses that it is given."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = list(addresses)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            query, sender = self._socket.recvfrom(4096)
            if not query:
                return
            self._socket.sendto(self._answer(query), sender)

    def _answer(self, query: bytes) -> bytes:
        """Answer the question of a query (RFC 1035): A records, or none of another type."""
        end = query.index(0, 12) + 5  # behind name, type and class
        asks_v4 = query[end - 4 : end - 2] == struct.pack(">H", 1)
        found = self.addresses if asks_v4 else []
        head = query[:2] + struct.pack(">HHHHH", 0x8180, 1, len(found), 0, 0)
        record = struct.pack(">HHHIH", 0xC00C, 1, 1, 1, 4)  # the name of the question, A, IN, one second
        return head + query[12:end] + b"".join(record + socket.inet_aton(address) for address in found)

    def close(self) -> None:
        """End it."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join()
        self._socket.close()


def _answers(url: str) -> str | None:
    with contextlib.suppress(httpx.HTTPError):
        if httpx.get(f"{url}/health/ready", verify=False).status_code == 200:
            return url
    return None
