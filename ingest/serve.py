"""The ingest process: uvicorn with deadlines, around the application, over an open log.

uvicorn has no deadline for receiving a request, so its protocol is extended by one: a connection whose request is
not complete in time is closed (in the headers) or told so (in the body). It cannot be a middleware, which sees
nothing before the headers are complete. There is no limit on connections: uvicorn's counts idle ones, so that
slow clients would lock everyone else out. The access log is off, because the tracking API has user ids in URLs.
"""

import asyncio
import contextlib
import gc
import signal
import socket
import time
from collections.abc import Iterator, Sized
from functools import partial
from typing import Any, Final

import structlog
import uvicorn
import uvloop
from litestar.types import Receive, Scope, Send
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from eventlog import Writer
from eventlog.adapters import open_writer
from ingest.app import build_app
from ingest.http import ANSWER, LATE, Reply, send_reply
from ingest.outbox import BatchedTransport, Outbox
from schemas.faults import LogUnavailable
from schemas.settings import KEY_CHARACTERS_MIN, Settings

KEEP_ALIVE_S: Final = 75  # players ping every 10 s, some every 50 s
HEADERS_BYTES_MAX: Final = 32_768
BACKLOG: Final = 2_048
LOG_ANSWERS_S_MAX: Final = 60.0  # at the start; brokers may come up beside us
LOG_RETRY_S: Final = 0.5
GC_THRESHOLD: Final = (50_000, 50, 100)
TOO_LARGE_HEADERS: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
)

logger = structlog.get_logger(__name__)


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; then answer what is in flight, within the shutdown timeout.

    Raises NotReady where a secret or the log is missing, LogUnavailable where the log does not answer, OSError
    where the port is taken.
    """
    check_secrets(settings)
    with (
        contextlib.closing(_bind(settings)) as listener,
        Stop().handling_signals() as stop,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(_serve(settings, listener, stop))


def check_secrets(settings: Settings) -> None:
    """Raise NotReady, naming the first secret that is missing; warn of keys that are short."""
    settings.keys_of_api()
    settings.keys_of_mac()
    settings.key_of_pseudonyms()
    for variable in settings.short_keys():
        logger.warning("short_key", variable=variable, characters_min=KEY_CHARACTERS_MIN)


def _bind(settings: Settings) -> socket.socket:
    """Take the port, without listening yet."""
    listener = socket.socket(socket.AF_INET6 if ":" in settings.http_host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.http_host, settings.http_port))
    except OSError:
        listener.close()
        raise
    return listener


class Stop:
    """Remembers that SIGTERM or SIGINT came, before uvicorn handles them and after.

    uvicorn raises the signals it handled again at its end, for whoever handled them before; this is who that is,
    so that the process ends normally.
    """

    def __init__(self) -> None:
        self._server: Server | None = None
        self._is_asked = False

    def concerns(self, server: "Server") -> None:
        """From now on signals stop this server, those that came already included."""
        self._server = server
        server.should_exit = server.should_exit or self._is_asked

    @property
    def is_asked(self) -> bool:
        """Whether a signal came."""
        return self._is_asked

    def _ask(self, *_: object) -> None:
        self._is_asked = True
        if self._server is not None:
            self._server.should_exit = True

    @contextlib.contextmanager
    def handling_signals(self) -> Iterator["Stop"]:
        """Handle both signals for a while."""
        before = {number: signal.signal(number, self._ask) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


async def _serve(settings: Settings, listener: socket.socket, stop: Stop) -> None:
    writer = await _open_log(settings, stop)
    if writer is None:
        return
    try:
        ingest = build_app(settings, writer)
        server = Server(
            uvicorn.Config(
                ingest.app,
                http=partial(DeadlineProtocol, settings.http_body_timeout_s),  # type: ignore[arg-type]
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,  # nobody here asks who the client is
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=max(1, round(settings.http_shutdown_timeout_s)),
                backlog=BACKLOG,
            )
        )
        stop.concerns(server)
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLD)
        await server.serve(sockets=[listener])
        await ingest.accept.settle()
    finally:
        await writer.close()
    logger.info("stopped")


async def _open_log(settings: Settings, stop: Stop) -> Writer | None:
    """Open the log, which may take a while to answer; None where told to stop meanwhile."""
    until = time.monotonic() + LOG_ANSWERS_S_MAX
    while not stop.is_asked:
        try:
            return await open_writer(settings)
        except LogUnavailable as fault:
            if time.monotonic() > until:
                raise
            logger.warning("log_unavailable", code=fault.code, message=str(fault))
            await asyncio.sleep(LOG_RETRY_S)
    return None


class State(ServerState):
    """What uvicorn's server and its connections share: also the outbox, and whether the end has begun."""

    def __init__(self) -> None:
        super().__init__()
        self.outbox = Outbox()
        self.is_stopping = False


class Server(uvicorn.Server):
    """uvicorn's server, which says where it listens once it does, and when it stops."""

    server_state: State

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.server_state = State()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or []:
            host, port = listener.getsockname()[:2]
            logger.info("listening", host=host, port=port)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.server_state.is_stopping = True
        await super().shutdown(sockets)


async def refuse_headers(scope: Scope, _receive: Receive, send: Send) -> None:
    """Answer a request whose headers are too large."""
    await send_reply(scope, send, Reply(431, [(b"content-length", b"0"), (b"connection", b"close")]))


class Flow(FlowControl):
    """uvicorn's flow control, which reads no further while requests of the same connection wait for their turn.

    uvicorn's own goes on reading with each request it begins, and holds as many as a client sends in memory.
    """

    def __init__(self, transport: asyncio.Transport, waiting: Sized) -> None:
        super().__init__(transport)
        self._waiting = waiting

    def resume_reading(self) -> None:
        if not self._waiting:
            super().resume_reading()


class DeadlineProtocol(HttpToolsProtocol):
    """uvicorn's protocol with an absolute deadline for receiving a request, a limit on its headers, an outbox."""

    server_state: State

    def __init__(self, receive_timeout_s: float, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._receive_timeout_s = receive_timeout_s
        self._deadline: asyncio.TimerHandle | None = None
        self._is_begun = False
        self._is_complete = False
        self._has_headers = False
        self._header_bytes = 0  # of the request being received, or more
        self._chunk_bytes = 0
        self._unclaimed_bytes = 0  # of the chunk, in which no request has begun yet

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(BatchedTransport(transport, self.server_state.outbox))
        self.flow = Flow(self.transport, self.pipeline)
        if self.server_state.is_stopping:
            transport.close()
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._chunk_bytes = len(data)
        self._unclaimed_bytes = 0 if self._is_begun else len(data)
        if self._is_begun and not self._has_headers:
            self._header_bytes += len(data)
        super().data_received(data)
        if not self._has_headers and self._header_bytes > HEADERS_BYTES_MAX and not self.transport.is_closing():
            self.transport.write(TOO_LARGE_HEADERS)
            self.transport.close()
        if self._is_complete:
            self._disarm()
            # Stray bytes between two requests take uvicorn's keep-alive timer away; nothing else would end this.
            if self.cycle.response_complete and self.timeout_keep_alive_task is None:
                self._arm()
        elif self._deadline is None:
            self._arm()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_begun = True
        self._is_complete = self._has_headers = False
        # Where in the chunk a further request begins is not known; what follows in later chunks is counted.
        self._header_bytes, self._unclaimed_bytes = self._unclaimed_bytes, 0

    def on_headers_complete(self) -> None:
        self._has_headers = True
        if max(self._header_bytes, self._chunk_bytes) > HEADERS_BYTES_MAX:  # which may include some of the body
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if size > HEADERS_BYTES_MAX:
                self.app = refuse_headers
        super().on_headers_complete()
        # uvicorn tells the connections it knows when it stops; one accepted at that moment would go on for ever.
        if self.server_state.is_stopping:
            self.cycle.keep_alive = False
        self.scope["state"][ANSWER] = partial(self._answer, self.cycle)

    def on_message_complete(self) -> None:
        self._is_begun = False
        self._is_complete = True
        super().on_message_complete()

    def _answer(self, cycle: RequestResponseCycle, reply: Reply) -> bool:
        """Write a whole reply at once; return whether that was possible.

        uvicorn takes two messages for it, and looks at each header with two regular expressions. What is no plain
        success is left to it: refusals, clients that do not read, or want the headers alone, connections to close.
        """
        if reply.status >= 300 or cycle.scope["method"] == "HEAD":
            return False
        if not cycle.keep_alive or cycle.disconnected or self.flow.write_paused:
            return False
        lines = [b"%b: %b\r\n" % header for header in (*cycle.default_headers, *reply.headers)]
        self.transport.write(b"".join([STATUS_LINE[reply.status], *lines, b"\r\n", reply.body]))
        cycle.response_started = cycle.response_complete = True
        cycle.message_event.set()
        cycle.on_response()
        return True

    def _arm(self) -> None:
        self._deadline = self.loop.call_later(self._receive_timeout_s, self._give_up)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        """End a request that did not arrive in time; a body's reader is woken, and finds that it is late."""
        self._deadline = None
        if self.transport.is_closing():
            return
        if self._has_headers and not self._is_complete and not self.cycle.response_complete:
            self.scope["state"][LATE] = True
            self.cycle.message_event.set()
        else:
            self.transport.close()
