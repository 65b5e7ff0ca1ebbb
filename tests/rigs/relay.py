"""What stands between a page and an ingest.

It records requests, can be down, refuse, hang, lose replies, and rename sessions.
"""

import contextlib
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import msgspec

OF_A_CONNECTION = ("connection", "transfer-encoding", "content-length", "host", "date", "server")


class Asked(msgspec.Struct, frozen=True):
    """A request, and the status of its answer (0: it was not passed on)."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    status: int


class Relay:
    """Passes requests on to `upstream`, which may be changed at any time."""

    def __init__(self, upstream: str) -> None:
        self.upstream, self.url = upstream, ""
        self.is_down = False
        self.loses_replies = 0
        self.hangs = 0
        """So many POSTs are not answered before the relay ends, once none is refused."""
        self.refusals: list[tuple[int, dict[str, str]]] = []
        """Status and headers of the next answers to POSTs, which are not passed on."""
        self.renamed: dict[str, str] = {}
        """Ids of sessions, and those that the ingest gets in their place: unknown ones, or of other sessions."""
        self.asked: list[Asked] = []
        self.ended = threading.Event()
        self.client = httpx.Client(timeout=20)

    def posts(self, path_end: str) -> list[Asked]:
        """Return the POSTs to paths that end so."""
        return [asked for asked in self.asked if asked.method == "POST" and asked.path.endswith(path_end)]


@contextlib.contextmanager
def relay(upstream: str) -> Iterator[Relay]:
    """Run a relay for a while."""
    state = Relay(upstream)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle(self) -> None:
            with contextlib.suppress(ConnectionError):
                super().handle()

        def _pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            if state.is_down:
                state.asked.append(Asked(self.command, self.path, headers, body, 0))
                self.close_connection = True
                return
            if self.command == "POST" and state.hangs and not state.refusals:
                state.hangs -= 1
                state.asked.append(Asked(self.command, self.path, headers, body, 0))
                state.ended.wait()
                self.close_connection = True
                return
            path = self.path
            for session, other in state.renamed.items():
                path = path.replace(session, other)
            sent = {name: value for name, value in headers.items() if name not in OF_A_CONNECTION}
            is_refused = self.command == "POST" and state.refusals
            status, more = state.refusals.pop(0) if is_refused else (None, {})
            # A page can read a refusal by the headers that the ingest's own have.
            content = b"" if is_refused else body
            reply = state.client.request(self.command, state.upstream + path, headers=sent, content=content)
            reply.status_code = status or reply.status_code
            reply.headers.update(more)
            state.asked.append(Asked(self.command, self.path, headers, body, reply.status_code))
            if self.command == "POST" and state.loses_replies:
                state.loses_replies -= 1
                self.close_connection = True
                return
            self.send_response(reply.status_code)
            for name, value in reply.headers.items():
                if name not in OF_A_CONNECTION:
                    self.send_header(name, value)
            if reply.status_code != 204:
                self.send_header("Content-Length", str(len(reply.content)))
            self.end_headers()
            self.wfile.write(reply.content)

        def do_GET(self) -> None:
            self._pass_on()

        def do_POST(self) -> None:
            self._pass_on()

        def do_OPTIONS(self) -> None:
            self._pass_on()

        def log_message(self, *_: Any) -> None:
            """Keep the test's output quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server, state.client:
        state.url = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield state
        finally:
            state.ended.set()
            server.shutdown()
