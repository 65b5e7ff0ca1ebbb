"""A site with films, of another origin than the ingest: a page with a strict content policy, and videos in pieces.

A film asked for with `?held=SECONDS&after=BYTES` stops after so many bytes until so many seconds after it was
first asked for: the viewer waits.
"""

import contextlib
import functools
import re
import threading
import time
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

FILMS = Path(__file__).parents[1] / "data" / "film"
TYPES = {
    ".webm": "video/webm",
    ".mp4": "video/mp4",
    ".m3u8": "application/vnd.apple.mpegurl",
    ".js": "text/javascript",
    ".mjs": "text/javascript",
}
PAGE = b"<!doctype html><title>films</title><body>"
PIECE_BYTES = 4_096


class Films(BaseHTTPRequestHandler):
    """Answers with a page, with films, and with the modules of players."""

    protocol_version = "HTTP/1.1"

    def __init__(self, policy: str, modules: Mapping[str, Path], asked_s: dict[str, float], *rest: Any) -> None:
        self._policy, self._modules, self._asked_s = policy, modules, asked_s
        super().__init__(*rest)

    def handle(self) -> None:
        """Answer the requests of a connection, which a browser may cut at any time."""
        with contextlib.suppress(ConnectionError):
            super().handle()

    def do_GET(self) -> None:
        """Answer a request, perhaps for a range."""
        url = urlsplit(self.path)
        name = url.path.removeprefix("/")
        path = self._modules.get(name) or FILMS / name
        body = PAGE if name == "" else path.read_bytes() if path.is_file() else b""
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        first, last = (int(found[1]), int(found[2] or len(body) - 1)) if found else (0, len(body) - 1)
        self.send_response(404 if not body else 206 if found else 200)
        self.send_header("Content-Type", TYPES.get(path.suffix, "text/html"))
        self.send_header("Content-Security-Policy", self._policy)
        self.send_header("Accept-Ranges", "bytes")
        if found:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(body)}")
        self.send_header("Content-Length", str(last + 1 - first))
        self.end_headers()
        query = {key: float(of[0]) for key, of in parse_qs(url.query).items()}
        self._send(body[first : last + 1], first, query)

    def _send(self, body: bytes, first: int, query: Mapping[str, float]) -> None:
        began_s = self._asked_s.setdefault(self.path, time.monotonic())
        for start in range(0, len(body), PIECE_BYTES):
            if first + start >= query.get("after", float("inf")):
                time.sleep(max(0.0, began_s + query["held"] - time.monotonic()))
            self.wfile.write(body[start : start + PIECE_BYTES])

    def log_message(self, *_: Any) -> None:
        """Keep the test's output quiet."""


@contextlib.contextmanager
def films(*apis: str, modules: Mapping[str, Path] | None = None) -> Iterator[str]:
    """Serve the site for a while; yield its address. Pages may talk to these APIs, and to nobody else."""
    allowed = " ".join(apis)
    policy = (
        f"default-src 'none'; script-src 'self' {allowed}; connect-src 'self' {allowed}; media-src 'self' blob:"
    )
    handler = functools.partial(Films, policy, modules or {}, {})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://localhost:{server.server_address[1]}/"
        finally:
            server.shutdown()
