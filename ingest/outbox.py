"""Outgoing replies: those of one round of the event loop are written together, at its end.

A write that wakes somebody up, the client or the handling of the network, costs more than the write itself.
Replies become due in groups, because the log takes records in groups; written back to back, the first one wakes
the other side, and the others find it awake. Head and body of a reply go out together.
"""

import asyncio
from typing import Any, Final

LINGER_S: Final = 2.0
LINGER_BYTES_MAX: Final = 8_388_608


class Outbox:
    """The connections of a process with something to write in this round of its event loop."""

    def __init__(self) -> None:
        self._due: list[BatchedTransport] = []

    def add(self, transport: "BatchedTransport") -> None:
        """Write a connection's replies after everything else that is ready in this round has run."""
        if not self._due:
            asyncio.get_running_loop().call_soon(self._write_all)
        self._due.append(transport)

    def _write_all(self) -> None:
        due, self._due = self._due, []
        for transport in due:
            transport.flush()


class BatchedTransport(asyncio.Transport):
    """A connection's transport whose writes wait in an outbox; closing it writes them first."""

    def __init__(self, transport: asyncio.Transport, outbox: Outbox) -> None:
        super().__init__()
        self._transport = transport
        self._outbox = outbox
        self._parts: list[bytes] = []
        self._is_lingering = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._parts:
            self._outbox.add(self)
        self._parts.append(bytes(data))

    def flush(self) -> None:
        """Write what waits; nothing if the client is gone."""
        parts, self._parts = self._parts, []
        if parts and not self._transport.is_closing():
            self._transport.write(b"".join(parts))

    def close(self) -> None:
        """Close the connection; after a reply, close its sending side first.

        Bytes of the client that nobody has read would reset it, and take replies with them that are on their way.
        So it is read on, until the client has closed its own side, or for `LINGER_S`; a client that goes on
        sending is read no further than `LINGER_BYTES_MAX`.
        """
        if self._is_lingering:
            return
        if not self._parts or self._transport.is_closing():
            self._transport.close()
            return
        self.flush()
        self._is_lingering = True
        self._transport.write_eof()
        self._transport.set_protocol(Discarding(self._transport))
        self._transport.resume_reading()
        asyncio.get_running_loop().call_later(LINGER_S, self._transport.close)

    def abort(self) -> None:
        self._parts.clear()
        self._transport.abort()

    def is_closing(self) -> bool:
        return self._is_lingering or self._transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()


class Discarding(asyncio.Protocol):
    """Replaces a connection's protocol while it closes: a bounded amount of input is discarded."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._protocol = transport.get_protocol()
        self._bytes = 0

    def data_received(self, data: bytes) -> None:
        self._bytes += len(data)
        if self._bytes > LINGER_BYTES_MAX:
            self._transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._protocol.connection_lost(exc)
