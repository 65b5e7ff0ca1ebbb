"""The port for operators: `/metrics` and `/health/*` of one process, never on the port of the players.

It is served by a thread, which asks the process's event loop. So a loop that hangs is named, and not just silent.
"""

import asyncio
import contextlib
import http.server
import os
import socket
import socketserver
import threading
from collections.abc import Awaitable, Callable, Iterator
from http import HTTPStatus
from typing import Any, Final, Protocol

import msgspec
import structlog
from prometheus_client import CONTENT_TYPE_LATEST

from observability.catalogue import Verb
from schemas.faults import Fault, NotReady
from schemas.settings import Settings

logger = structlog.get_logger(__name__)

ANSWER_S_MAX: Final = 6.0  # of the event loop; a log has its own deadline, which is shorter
SENDER_S_MAX: Final = 5.0
# What is wrong, a sentence each; nothing: all is well.
Question = Callable[[], Awaitable[list[str]]]


class Exporter(Protocol):
    """What has metrics."""

    def text(self) -> bytes:
        """Return all of them in the text format of Prometheus."""


class Answer(msgspec.Struct, frozen=True):
    """The reply of a health route: its name if all is well, else `failed` and what is wrong."""

    status: str
    wrong: list[str] = []


async def nothing() -> list[str]:
    """Return that nothing is wrong."""
    return []


class Health:
    """What is asked on the event loop: whether the process can work (`ready`), and whether data flows (`flow`).

    `refresh` is called before each scrape, to bring numbers up to date that take asking.
    """

    def __init__(
        self, *, ready: Question = nothing, flow: Question = nothing, refresh: Question = nothing
    ) -> None:
        self.ready, self.flow, self.refresh = ready, flow, refresh

    def questions(self) -> dict[str, Question]:
        """Return what is asked at each path."""
        return {"/health/live": nothing, "/health/ready": self.ready, "/health/flow": self.flow}


PATHS: Final = ("/metrics", *Health().questions())


@contextlib.contextmanager
def serving(settings: Settings, verb: Verb, meter: Exporter, health: Health) -> Iterator[Callable[[], None]]:
    """Serve the port for the length of the block, in which the event loop of the caller has to run.

    The block is given a function that logs the address, to call when the process has started: one that cannot
    start logs only the reason. Raises NotReady if the settings name a port that is in use. By default it is the
    first free one of ten.
    """
    if not settings.serves_metrics:
        yield lambda: None
        return
    server = _bind(settings, verb)
    server.meter, server.health, server.loop = meter, health, asyncio.get_running_loop()
    thread = threading.Thread(target=server.serve_forever, name="metrics-port", daemon=True)
    thread.start()
    host, port = server.server_address[:2]
    try:
        yield lambda: logger.info("metrics", host=host, port=port)
    finally:
        server.shutdown()
        server.server_close()


def _bind(settings: Settings, verb: Verb) -> "_Server":
    for port in settings.metrics_ports(verb):
        try:
            return _Server((settings.metrics_host, port), _Handler)
        except OSError as error:
            reason = os.strerror(error.errno).lower() if error.errno else str(error)
            fault = NotReady(
                f"cannot serve metrics on {settings.metrics_host}:{port}: {reason}; choose another "
                "PLAYHEAD_METRICS_PORT, or none with PLAYHEAD_METRICS_HOST=off"
            )
    raise fault


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    meter: Exporter
    health: Health
    loop: asyncio.AbstractEventLoop

    def __init__(self, address: tuple[str, int], handler: type["_Handler"]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, handler)

    def server_bind(self) -> None:
        # Not HTTPServer's, which asks a name server for our name.
        socketserver.TCPServer.server_bind(self)

    def ask(self, question: Question) -> list[str]:
        """Return what is wrong, as the event loop says, or that it does not answer."""
        asked = _caught(question)
        try:
            answer = asyncio.run_coroutine_threadsafe(asked, self.loop)
        except RuntimeError:  # the loop has just ended
            asked.close()
            return ["the process is stopping"]
        try:
            return answer.result(ANSWER_S_MAX)
        except TimeoutError:
            answer.cancel()
            return [f"the process has not answered for {ANSWER_S_MAX:g} s"]

    def handle_error(self, request: Any, client_address: Any) -> None:
        logger.debug("metrics not sent", exc_info=True)  # the sender went away


async def _caught(question: Question) -> list[str]:
    try:
        return await question()
    except Fault as fault:
        return [str(fault)]


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server
    server_version = "playhead"
    sys_version = ""
    timeout = SENDER_S_MAX

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        question = self.server.health.questions().get(path)
        if path == "/metrics":
            self.server.ask(self.server.health.refresh)
            self._send(HTTPStatus.OK, CONTENT_TYPE_LATEST, self.server.meter.text())
        elif question is not None:
            wrong = self.server.ask(question)
            answer = Answer("failed" if wrong else path.rpartition("/")[2], wrong)
            status = HTTPStatus.SERVICE_UNAVAILABLE if wrong else HTTPStatus.OK
            self._send(status, "application/json", msgspec.json.encode(answer))
        else:
            self._send(HTTPStatus.NOT_FOUND, "text/plain", f"{' '.join(PATHS)}\n".encode())

    do_HEAD = do_GET  # noqa: N815  (its name in the standard library)

    def _send(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Log nothing: scrapes come every few seconds."""
