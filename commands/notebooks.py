"""`playhead notebooks`: the pages of the lake, served until stopped."""

import contextlib
import importlib
import os
import secrets
import signal
import socket
from urllib.parse import urlencode

import duckdb
import uvicorn

from commands.listening import listen, port_of, url
from lake.catalog import location
from lake.live import Live
from notebooks.connect import open_lake
from notebooks.gallery import LOOPBACK, TOKEN, gallery
from schemas.faults import NotReady
from schemas.settings import PREFIX, Settings, environment_of, without_settings


def serve_notebooks(settings: Settings) -> None:
    """Serve the pages, print their addresses once they answer, and end the process when stopped.

    Raises NotReady if the port is in use.
    """
    # The notebooks are read and run by themselves too, so they take the settings from the environment.
    kept = without_settings(os.environ)
    os.environ.clear()
    os.environ.update(kept | environment_of(settings, verb="notebooks"))
    token = token_of(settings)
    host = settings.notebooks_host
    remedy = f"choose another with {PREFIX}NOTEBOOKS_PORT"
    listener = listen(host, settings.notebooks_port, remedy=remedy)
    live = Live(location(settings), length_ms=int(settings.session_length_s * 1000))
    pages = gallery(live, ingest_url=settings.notebooks_ingest_url, token=token)
    config = uvicorn.Config(pages, log_level="warning", ws="websockets-sansio", timeout_graceful_shutdown=1)
    printed = {"pages": address_of(host, port_of(listener), token)}
    if settings.notebooks_ingest_url:
        printed["demo, to press play"] = address_of(host, port_of(listener), token, path="demo/")
    for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises them again when it has ended
        signal.signal(number, signal.SIG_IGN)
    _warm_up()
    _Server(config, printed).run([listener])
    # marimo's threads wait for pages that may come back; a process that only reads has nothing to finish.
    os._exit(0)


def token_of(settings: Settings) -> str | None:
    """Return the token that pages ask for: the one that is set, a new one beyond this machine, or None."""
    if settings.notebooks_token is not None:
        return settings.notebooks_token.get_secret_value()
    return None if is_loopback(settings.notebooks_host) else secrets.token_urlsafe(32)


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches a host, by a name that the pages accept."""
    return host in LOOPBACK


def address_of(host: str, port: int, token: str | None, *, path: str = "") -> str:
    """Return what to open in a browser."""
    query = "" if token is None else f"?{urlencode({TOKEN: token})}"
    return f"{url(host, port)}/{path}{query}"


def _warm_up() -> None:
    """Import what pages use, and attach the lake, before the first page has to wait for both."""
    for name in ("notebooks.pictures", "notebooks.curves"):
        importlib.import_module(name)
    with contextlib.suppress(NotReady, duckdb.Error, OSError):  # each page says it, if it is still so
        open_lake(os.environ)


class _Server(uvicorn.Server):
    """A server that prints addresses when it answers."""

    def __init__(self, config: uvicorn.Config, addresses: dict[str, str]) -> None:
        super().__init__(config)
        self._addresses = addresses

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for name, address in self._addresses.items():
            print(f"{name}: {address}", flush=True)  # noqa: T201
