"""HTTP/1.1 on one connection, with what uvicorn's protocol lacks: deadlines, limits and order.

* A request that is not received in time ends: without a reply if its headers are incomplete, with one otherwise.
* Headers are limited in size.
* Replies keep the order of their requests, also if the last of them is malformed, too large or too slow: its
  refusal waits for the replies before it, then the connection is closed. A refusal that no route gives looks like
  those of the routes, so that a browser shows it to its page.
* What follows a CONNECT is discarded, and the connection ends with its reply. Any other Upgrade is ignored, as
  RFC 9110 allows: what follows is the next request.
* A plain success is written at once, and the replies of a round of the event loop together (`outbox.py`).
"""

import asyncio
import resource
from collections.abc import Sized
from functools import partial
from typing import Any, Final

import httptools
import structlog
from litestar.types import Receive, Scope, Send
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from ingest.cors import Cors, protocol_of
from ingest.deadline import Deadline
from ingest.http import ANSWER, CUT_OFF, Reply, read_headers, render_headers, send_reply
from ingest.outbox import BatchedTransport, Outbox
from ingest.replies import refused
from schemas.faults import BodyTooSlow, HeadersTooLarge, Malformed, NotJson, Refusal

HEADERS_BYTES_MAX: Final = 32_768
DISCARDED_BYTES_MAX: Final = 1_048_576
SPARE_DESCRIPTORS: Final = 16
CLOSE: Final = (b"connection", b"close")
NOTICE_INTERVAL_S: Final = 60.0

logger = structlog.get_logger(__name__)


TOO_SLOW: Final = BodyTooSlow("The rest of the request did not arrive in time")
HEADERS_TOO_LARGE: Final = HeadersTooLarge(f"Expected a path and headers of at most {HEADERS_BYTES_MAX} bytes")


class Notice:
    """A warning that any client can provoke: logged at once, then at most once per interval, with its count."""

    def __init__(self, event: str, *, interval_s: float = NOTICE_INTERVAL_S) -> None:
        self._event = event
        self._interval_s = interval_s
        self._count = 0
        self._is_waiting = False

    def give(self, **details: object) -> None:
        """Log it now, or count it for the next line."""
        self._count += 1
        if not self._is_waiting:
            self._log(**details)

    def _log(self, **details: object) -> None:
        self._is_waiting = self._count > 0
        if self._is_waiting:
            logger.warning(self._event, count=self._count, **details)
            self._count = 0
            asyncio.get_running_loop().call_later(self._interval_s, partial(self._log, **details))


class State(ServerState):
    """State shared by uvicorn's server and its connections.

    It has the outbox, and whether the server is draining (each reply closes its connection) or stopping (a new
    connection is closed). `default_head` is `default_headers` as they are sent.
    """

    default_head: bytes

    def __init__(self) -> None:
        super().__init__()
        self.outbox = Outbox()
        self.is_draining = False
        self.is_stopping = False
        self.malformed = Notice("malformed requests")
        self.descriptors_used_up = Notice("descriptors used up")

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "default_headers":  # uvicorn sets them every second, with the date
            self.default_head = render_headers(value)


async def answer(reply: Reply, scope: Scope, _receive: Receive, send: Send) -> None:
    """Answer whatever was asked with this reply: an application."""
    await send_reply(scope, send, reply)


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


class ConnectionProtocol(HttpToolsProtocol):
    """One connection. `receive_timeout_s` counts from a request's first byte, or from the connection's start.

    `cors` is for refusals that no route gives.
    """

    server_state: State

    def __init__(
        self, receive_timeout_s: float, *arguments: Any, cors: Cors | None = None, **options: Any
    ) -> None:
        super().__init__(*arguments, **options)
        self._cors = cors or Cors()
        self._receive_timeout_s = receive_timeout_s
        self._deadline = Deadline(self.loop, self._give_up)
        self._is_idle = False  # the deadline is that of a connection between two requests
        self._is_begun = False  # a request that is not complete
        self._receiving: RequestResponseCycle | None = None  # that request, once its headers are complete
        self._is_deaf = False  # no further byte becomes a request
        self._ignores_upgrade = False
        self._discarded_bytes = 0
        self._header_bytes = 0  # of the request being received, but for a first chunk that it shares with another
        self._chunk_bytes = 0  # of the newest chunk
        self._first_chunk_bytes = 0  # of the chunk in which that request began
        self._unclaimed_bytes = 0  # of the chunk, in which no request has begun yet

    # What the transport calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(BatchedTransport(transport, self.server_state.outbox))
        self.flow = Flow(self.transport, self.pipeline)
        if self.server_state.is_stopping:
            transport.close()
        self._look_at_descriptors(transport)
        self._deadline.set(self._receive_timeout_s)

    def _look_at_descriptors(self, transport: asyncio.Transport) -> None:
        """Warn if descriptors are running out: the system assigns the lowest free number, so a high one shows it.

        Without one left, the event loop accepts connections and closes them at once, and tells nobody.
        """
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        connection = transport.get_extra_info("socket")
        if connection is not None and connection.fileno() >= limit - SPARE_DESCRIPTORS > 0:
            self.server_state.descriptors_used_up.give(limit=limit, connections=len(self.connections))

    def connection_lost(self, exc: Exception | None) -> None:
        self._deadline.close()
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Keep the connection of a client that has closed its sending side but waits for replies."""
        is_waiting = self._is_answering if self._receiving is None else bool(self.pipeline)
        if not is_waiting:
            self.transport.close()  # which writes first what is still in the outbox
            return False
        if self._is_begun:
            self._end(TOO_SLOW)
        else:
            self._turn_deaf()
        return True

    def data_received(self, data: bytes) -> None:
        if self._is_deaf:
            self._discarded_bytes += len(data)
            if self._discarded_bytes > DISCARDED_BYTES_MAX:
                self.transport.pause_reading()
            return
        if self._is_idle:
            self._is_idle = False
            self._deadline.clear()
        self._chunk_bytes = len(data)
        self._unclaimed_bytes = 0 if self._is_begun else len(data)
        if self._is_begun and self._receiving is None:
            self._header_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserUpgrade, httptools.HttpParserError) as error:
            self._go_on(data, error)
        if self._is_deaf:
            return
        if self._is_begun and self._receiving is None and self._header_bytes > HEADERS_BYTES_MAX:
            self._end(HEADERS_TOO_LARGE)
        if not self._is_begun and self.cycle is not None and not self.cycle.response_complete:
            self._deadline.clear()
        elif not self._deadline.is_set:  # also after stray bytes between two requests
            self._deadline.set(self._receive_timeout_s)

    def _go_on(self, data: bytes, error: Exception) -> None:
        """Continue after an ignored Upgrade; end the connection at a CONNECT, or at invalid HTTP."""
        while True:
            if not isinstance(error, httptools.HttpParserUpgrade):
                self.server_state.malformed.give()
                self._end(Malformed(f"Expected a request in HTTP/1.1: {error}"))
                return
            if not self._ignores_upgrade:
                self._hang_up_after_reply()
                return
            # The parser accepts no body after an Upgrade, so another parser gets the request without it.
            self._ignores_upgrade = False
            self._unclaimed_bytes = self._header_bytes
            data = self._head_without_upgrade() + data[error.args[0] :]
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            try:
                self.parser.feed_data(data)
            except (httptools.HttpParserUpgrade, httptools.HttpParserError) as another:
                error = another
            else:
                return

    def _head_without_upgrade(self) -> bytes:
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())]
        lines += [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        return b"\r\n".join([*lines, b"\r\n"])

    @property
    def _is_answering(self) -> bool:
        """Whether a request of this connection has no complete reply yet."""
        return self.cycle is not None and not self.cycle.response_complete

    # What the parser calls

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_begun = True
        self._receiving = None
        self._deadline.clear()  # that of this one is counted from here
        # It is not known where in the chunk another request begins; later chunks are counted.
        self._header_bytes, self._unclaimed_bytes = self._unclaimed_bytes, 0
        self._first_chunk_bytes = self._chunk_bytes

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            self._ignores_upgrade = True
            return
        if self._first_chunk_bytes + self._header_bytes > HEADERS_BYTES_MAX:  # more than there can be of headers
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if size > HEADERS_BYTES_MAX:
                self.app = partial(answer, self._reply(HEADERS_TOO_LARGE))
        super().on_headers_complete()
        self._receiving = self.cycle
        # uvicorn notifies the connections it knows when it stops; one accepted at that moment would stay open for
        # ever.
        if self.server_state.is_draining or self.server_state.is_stopping:
            self.cycle.keep_alive = False
        self.scope["state"][ANSWER] = partial(self._answer, self.cycle)

    def on_message_complete(self) -> None:
        if self._ignores_upgrade:
            return
        self._is_begun = False
        self._receiving = None
        super().on_message_complete()

    # The end of a connection

    def _reply(self, fault: Refusal) -> Reply:
        """Return the reply of the protocol of the path, as far as path and origin are known."""
        scope: Any = {"headers": self.headers if self._is_begun else []}
        headers = read_headers(scope)
        url = self.url if self._is_begun else b""
        protocol = protocol_of(url.decode("latin-1")) if url else "media"
        reply = refused(fault, protocol, headers, self._cors.headers(protocol, headers.get(b"origin")))
        kept = [header for header in reply.headers if header != CLOSE]
        return reply._replace(headers=[*kept, CLOSE])

    def _end(self, fault: Refusal) -> None:
        """Refuse the request being received, after earlier replies; then close."""
        if self._receiving is not None:  # it is already in the queue, and reads its body
            self._cut_off(fault if fault is TOO_SLOW else NotJson("The chunks of the body are malformed"))
            return
        scope: Any = {"type": "http", "method": "GET", "http_version": "1.1", "headers": [], "state": {}}
        cycle = RequestResponseCycle(
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=False,
            on_response=self.on_response_complete,
        )
        app: Any = partial(answer, self._reply(fault))
        if self._is_answering:
            self.pipeline.appendleft((cycle, app))
        else:
            self._start_asgi_task(cycle, app)
        self.cycle = cycle
        self._hang_up_after_reply()

    def _cut_off(self, fault: Refusal) -> None:
        """Tell the reader of a body that the rest will not arrive."""
        if self.cycle.response_complete:
            self.transport.close()
            return
        self.scope["state"][CUT_OFF] = fault
        self._hang_up_after_reply()
        self.cycle.message_event.set()

    def _hang_up_after_reply(self) -> None:
        """Close the connection after the reply to its latest request, and discard input until then.

        What were left unread would reset the connection when it is closed, and take replies on their way with it.
        """
        self._turn_deaf()
        if self.transport.is_closing():
            return
        if self.cycle.response_complete:
            self.transport.close()
        else:
            self.transport.resume_reading()

    def _turn_deaf(self) -> None:
        """Accept no further request; the connection ends with its latest reply, or at one more deadline."""
        self._is_deaf = True
        self._is_begun = False
        self._receiving = None
        self.cycle.keep_alive = False
        self._is_idle = False
        self._deadline.set(self._receive_timeout_s)

    def _give_up(self) -> None:
        """End a request that did not arrive in time, or a connection without one."""
        if self._is_deaf:
            self.transport.abort()
        elif self.transport.is_closing():
            return
        elif self._receiving is not None or self._is_answering:
            self._end(TOO_SLOW)
        else:
            self.transport.close()

    # Replies

    def on_response_complete(self) -> None:
        """Begin the next request that waits, or wait for one: as uvicorn does, with our deadline, uncounted."""
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif not self._deadline.is_set:
            self._is_idle = True
            self._deadline.set(self.timeout_keep_alive)

    def _answer(self, cycle: RequestResponseCycle, reply: Reply) -> bool:
        """Write a whole reply at once; return whether that was possible.

        uvicorn takes two messages for it, and looks at each header with two regular expressions. What is no plain
        success is left to it: refusals, clients that do not read, or want the headers alone, connections to close.
        """
        if reply.status >= 300 or cycle.scope["method"] == "HEAD":
            return False
        if not cycle.keep_alive or cycle.disconnected or self.flow.write_paused:
            return False
        head = reply.head or render_headers(reply.headers)
        self.transport.write(
            b"%b%b%b\r\n%b" % (STATUS_LINE[reply.status], self.server_state.default_head, head, reply.body)
        )
        cycle.response_started = cycle.response_complete = True
        cycle.message_event.set()
        cycle.on_response()
        return True
