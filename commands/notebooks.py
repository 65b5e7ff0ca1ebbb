"""`playhead notebooks`: the pages of the lake, served until stopped."""

import ipaddress
import os
import secrets
import signal
import socket
from urllib.parse import urlencode

import uvicorn

from notebooks.gallery import LOOPBACK, TOKEN, gallery
from schemas.faults import NotReady
from schemas.settings import PREFIX, Settings, environment_of, without_settings


def serve_notebooks(settings: Settings) -> None:
    """Serve the pages, print their address once they answer, and end the process when stopped.

    Raises NotReady if the port is in use.
    """
    # The notebooks are read and run by themselves too, so they take the settings from the environment.
    kept = without_settings(os.environ)
    os.environ.clear()
    os.environ.update(kept | environment_of(settings, verb="notebooks"))
    token = token_of(settings)
    listener = _listen(settings.notebooks_host, settings.notebooks_port)
    config = uvicorn.Config(
        gallery(token=token), log_level="warning", ws="websockets-sansio", timeout_graceful_shutdown=1
    )
    for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises them again when it has ended
        signal.signal(number, signal.SIG_IGN)
    _Server(config, address_of(settings, listener, token)).run([listener])
    os._exit(
        0
    )  # marimo's threads wait for pages that may come back; a process that only reads has nothing to finish


def token_of(settings: Settings) -> str | None:
    """Return the token that pages ask for: the one that is set, a new one beyond this machine, or None."""
    if settings.notebooks_token is not None:
        return settings.notebooks_token.get_secret_value()
    return None if is_loopback(settings.notebooks_host) else secrets.token_urlsafe(32)


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches a host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in LOOPBACK


def address_of(settings: Settings, listener: socket.socket, token: str | None) -> str:
    """Return what to open in a browser."""
    host = settings.notebooks_host
    named = f"[{host}]" if ":" in host else host
    query = "" if token is None else f"?{urlencode({TOKEN: token})}"
    return f"http://{named}:{listener.getsockname()[1]}/{query}"


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        reason = os.strerror(error.errno).lower() if error.errno else str(error)
        variable = f"{PREFIX}NOTEBOOKS_PORT"
        raise NotReady(f"cannot listen on {host}:{port}: {reason}; choose another with {variable}") from None


class _Server(uvicorn.Server):
    """A server that prints its address when it answers."""

    def __init__(self, config: uvicorn.Config, address: str) -> None:
        super().__init__(config)
        self._address = address

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        print(f"pages: {self._address}", flush=True)  # noqa: T201
