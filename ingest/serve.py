"""The ingest process: uvicorn with our connection protocol, around the application, over an open log.

There is no limit on connections but that of descriptors, whose soft limit is raised to the hard one: uvicorn's
own limit counts idle connections, so that slow clients would lock everyone else out. The access log is off,
because the tracking API has user ids in URLs.
"""

import asyncio
import contextlib
import resource
import signal
import socket
import time
from collections.abc import Iterator
from functools import partial
from typing import Final

import structlog
import uvicorn
import uvloop

from eventlog import Writer
from eventlog.adapters import open_writer
from ingest.app import build_app, make_metrics
from ingest.keys import read_api_keys
from ingest.metrics import Metrics
from ingest.protocol import ConnectionProtocol, State
from observability.disks import watch_folders
from observability.port import Health, serving
from schemas.faults import LogUnavailable
from schemas.garbage import collect_rarely
from schemas.settings import KEY_CHARACTERS_MIN, Settings

KEEP_ALIVE_S: Final = 75  # players ping every 10 s, some every 50 s
BACKLOG: Final = 2_048
LOG_ANSWERS_S_MAX: Final = 60.0  # at start-up; brokers may be starting too
LOG_RETRY_S: Final = 0.5

logger = structlog.get_logger(__name__)


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; then complete requests in flight, within the shutdown timeout.

    Raises NotReady if a secret or the log is missing, LogUnavailable if the log does not answer, OSError
    where the port is taken.
    """
    check_secrets(settings)
    raise_descriptor_limit()
    with (
        contextlib.closing(_bind(settings)) as listener,
        Stop().handling_signals() as stop,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(_serve(settings, listener, stop))


def check_secrets(settings: Settings) -> None:
    """Raise NotReady, naming the first missing secret; warn about short keys."""
    read_api_keys(settings, monotonic_s=time.monotonic)
    settings.keys_of_mac()
    settings.key_of_pseudonyms()
    for variable in settings.short_keys():
        logger.warning("short key", variable=variable, characters_min=KEY_CHARACTERS_MIN)


def raise_descriptor_limit() -> None:
    """Raise the limit of descriptors, and so of connections, to the system's maximum."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError):  # if the system has a limit below the hard one
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _bind(settings: Settings) -> socket.socket:
    """Bind the port, without listening yet."""
    listener = socket.socket(socket.AF_INET6 if ":" in settings.http_host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.http_host, settings.http_port))
    except OSError:
        listener.close()
        raise
    return listener


class Stop:
    """Remembers SIGTERM and SIGINT, before and after uvicorn handles them.

    uvicorn raises the signals it handled again at its end, for whoever handled them before; this is who that is,
    so that the process ends normally.
    """

    def __init__(self) -> None:
        self._server: Server | None = None
        self._is_asked = False

    def concerns(self, server: "Server") -> None:
        """Let signals stop this server from now on, including earlier ones."""
        self._server = server
        server.should_exit = server.should_exit or self._is_asked

    @property
    def is_asked(self) -> bool:
        """Whether a signal has arrived."""
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


class IngestHealth(Health):
    """An ingest is ready, and data flows, if the log can take a record."""

    def __init__(self, metrics: Metrics) -> None:
        super().__init__(ready=self._ask_log, flow=self._ask_log, refresh=self._ask_log)
        self._metrics = metrics
        self.writer: Writer | None = None

    async def _ask_log(self) -> list[str]:
        return ["the log is not open yet"] if self.writer is None else await self._metrics.ask_log(self.writer)


async def _serve(settings: Settings, listener: socket.socket, stop: Stop) -> None:
    metrics = make_metrics()
    health = IngestHealth(metrics)
    if settings.log == "embedded":
        watch_folders(metrics.meter, {"data": settings.data_dir})
    with serving(settings, "ingest", metrics.meter, health) as log_address:
        writer = await _open_log(settings, stop)
        if writer is not None:
            log_address()
            health.writer = writer
            await _serve_log(settings, listener, stop, writer, metrics)


async def _serve_log(
    settings: Settings, listener: socket.socket, stop: Stop, writer: Writer, metrics: Metrics
) -> None:
    try:
        ingest = build_app(settings, writer, metrics=metrics)
        server = Server(
            uvicorn.Config(
                ingest.app,
                http=partial(ConnectionProtocol, settings.http_body_timeout_s),  # type: ignore[arg-type]
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,  # the client's address is not used
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=max(1, round(settings.http_shutdown_timeout_s)),
                backlog=BACKLOG,
            )
        )
        stop.concerns(server)
        collect_rarely()
        await server.serve(sockets=[listener])
        await ingest.accept.settle()
    finally:
        await writer.close()
    logger.info("stopped")


async def _open_log(settings: Settings, stop: Stop) -> Writer | None:
    """Open the log, which may take a while to answer; return None if stopped meanwhile."""
    until = time.monotonic() + LOG_ANSWERS_S_MAX
    while not stop.is_asked:
        try:
            return await open_writer(settings)
        except LogUnavailable as fault:
            if time.monotonic() > until:
                raise
            logger.warning("log unavailable", code=fault.code, message=str(fault))
            await asyncio.sleep(LOG_RETRY_S)
    return None


class Server(uvicorn.Server):
    """uvicorn's server, which logs its address when it listens, and its stop."""

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
