"""The ingest process: uvicorn with our connection protocol, around the application, over an open log.

There is no limit on connections but that of descriptors, whose soft limit is raised to the hard one: uvicorn's
own limit counts idle connections, so that slow clients would lock everyone else out. The access log is off,
because the tracking API has user ids in URLs.
"""

import asyncio
import contextlib
import resource
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
from ingest.cors import Cors
from ingest.keys import read_api_keys
from ingest.metrics import Metrics
from ingest.protocol import ConnectionProtocol, State
from ingest.stopping import LAST_ADMITTED_S, Stop, admit_no_more
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
    """Serve until SIGTERM or SIGINT; then drain, and complete requests in flight within the shutdown timeout.

    Raises NotReady if a secret or the log is missing, LogUnavailable if the log does not answer, OSError
    where the port is taken.
    """
    check_secrets(settings)
    raise_descriptor_limit()
    with (
        contextlib.closing(bind(settings)) as listener,
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


def bind(settings: Settings) -> socket.socket:
    """Bind the port, without listening yet. Raises OSError if it is in use."""
    listener = socket.socket(socket.AF_INET6 if ":" in settings.http_host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if settings.http_port_shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((settings.http_host, settings.http_port))
    except OSError:
        listener.close()
        raise
    return listener


class IngestHealth(Health):
    """Data flows if the log can take a record; an ingest is ready if that is so and it is not about to stop."""

    def __init__(self, metrics: Metrics, stop: Stop) -> None:
        super().__init__(ready=self._ask_both, flow=self._ask_log, refresh=self._ask_log)
        self._metrics, self._stop = metrics, stop
        self.writer: Writer | None = None

    async def _ask_both(self) -> list[str]:
        return ["the ingest is stopping"] if self._stop.is_asked else await self._ask_log()

    async def _ask_log(self) -> list[str]:
        return ["the log is not open yet"] if self.writer is None else await self._metrics.ask_log(self.writer)


async def _serve(settings: Settings, listener: socket.socket, stop: Stop) -> None:
    metrics = make_metrics()
    health = IngestHealth(metrics, stop)
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
        ingest = build_app(settings, writer, metrics=metrics, is_stopping=lambda: stop.is_asked)
        server = Server(
            uvicorn.Config(
                ingest.app,
                http=partial(ConnectionProtocol, settings.http_body_timeout_s, cors=Cors(settings.origins())),  # type: ignore[arg-type]
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,  # the client's address is not used
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=max(1, round(settings.http_shutdown_timeout_s)),
                backlog=BACKLOG,
            ),
            stop,
            drain_s=settings.http_drain_s,
        )
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
    """uvicorn's server, which logs its address when it listens, and drains for a while before it stops.

    While it drains it serves as before, but each reply closes its connection: the next request comes by a new one,
    which a load balancer opens to another ingest.
    """

    server_state: State

    def __init__(self, config: uvicorn.Config, stop: Stop | None = None, *, drain_s: float = 0.0) -> None:
        super().__init__(config)
        self.server_state = State()
        self._stop = stop = stop or Stop()
        self._drain_s = drain_s
        self._drained_at_s: float | None = None
        self.should_exit = stop.is_asked

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to `Stop`."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or []:
            host, port = listener.getsockname()[:2]
            logger.info("listening", host=host, port=port)

    async def on_tick(self, counter: int) -> bool:
        if self._stop.is_asked:
            self._drain(time.monotonic())
        return await super().on_tick(counter)

    def _drain(self, now_s: float) -> None:
        if self._drained_at_s is None:
            self._drained_at_s = now_s + self._drain_s
            self.server_state.is_draining = True
            logger.info("draining", for_s=self._drain_s, connections=len(self.server_state.connections))
        self.should_exit = now_s >= self._drained_at_s or self._stop.is_urgent

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._drain_s:
            for listener in sockets or []:
                admit_no_more(listener)
            await asyncio.sleep(LAST_ADMITTED_S)
        self.server_state.is_stopping = True
        await super().shutdown(sockets)
