"""Where a verb listens: its socket, or why it cannot have it, and its address as it is written."""

import os
import socket

from schemas.faults import NotReady


def listen(host: str, port: int, *, remedy: str) -> socket.socket:
    """Return a socket that listens; for port 0, on any free one. Raises NotReady with the remedy."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        reason = (os.strerror(error.errno) if error.errno else str(error)).lower()
        raise NotReady(f"cannot listen on {host}:{port}: {reason}; {remedy}") from None


def port_of(listener: socket.socket) -> int:
    """Return the port that a socket listens on."""
    return int(listener.getsockname()[1])


def url(host: str, port: int) -> str:
    """Return the address of a server, without a slash at its end."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
