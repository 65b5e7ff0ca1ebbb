"""How an ingest stops: a signal asks it to, and no request is lost that is on its way when the port is closed."""

import contextlib
import ctypes
import signal
import socket
import struct
from collections.abc import Iterator
from typing import Final

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
LAST_ADMITTED_S: Final = 0.2  # for requests on connections that the system accepted before it admits no more

_SO_ATTACH_FILTER: Final = 26
_DROP: Final = struct.pack("HBBI", 0x06, 0, 0, 0)  # in BPF: accept 0 bytes of the packet


class Stop:
    """Counts SIGTERM and SIGINT: the first asks to stop, a second one to do so at once."""

    def __init__(self) -> None:
        self._times = 0

    @property
    def is_asked(self) -> bool:
        """Whether a signal has arrived."""
        return self._times > 0

    @property
    def is_urgent(self) -> bool:
        """Whether another one has."""
        return self._times > 1

    def _ask(self, *_: object) -> None:
        self._times += 1

    @contextlib.contextmanager
    def handling_signals(self) -> Iterator["Stop"]:
        """Handle both signals for a while."""
        before = {number: signal.signal(number, self._ask) for number in SIGNALS}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def admit_no_more(listener: socket.socket) -> None:
    """Let the system drop what would open another connection, while those in its queue are still accepted.

    Closing a port resets connections that are in the queue, and their requests are lost; nobody can tell a proxy
    that these may be repeated. One that is not even opened goes to another ingest. Does nothing where the system
    has no such filter.
    """
    code = ctypes.create_string_buffer(_DROP, len(_DROP))
    program = struct.pack("HP", 1, ctypes.addressof(code))
    with contextlib.suppress(OSError):
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
