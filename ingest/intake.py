"""A request with its sender's rate, its body, and its share of the budget.

Nothing here knows a route. `take` comes first, `settle` last, whatever happens in between.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec
from litestar.types import Receive, Scope

from ingest.bodies import BodyLimits, Budget, Share, check_announced_size, is_one_event, read_body, unpack
from ingest.consent import headers_deny
from ingest.http import read_headers
from ingest.rates import TOKEN_BYTES, Rates, Sender
from observability.meter import Number

TAKEN: Final = "playhead.request"  # in a request's state, for the reply to a fault
_NOBODY: Final = Sender()


class Request(msgspec.Struct):
    """One request.

    The names of `headers` are in lower case; a header sent twice has its values joined by commas (RFC 9110, 5.3).
    `parameter` is the part of the path that varies. `received` is by our clock, UTC. `peer` is the address of the
    connection's other end, maybe a proxy's. `body` is unpacked, and empty until the request was taken. Its events
    are charged to `sender`; `share` is what it holds of the budget.
    """

    headers: dict[bytes, bytes]
    query: bytes
    parameter: str | None
    received: datetime
    peer: str
    body: bytes = b""
    sender: Sender = _NOBODY
    share: Share | None = None

    def header(self, name: bytes) -> str | None:
        """Return one header as text; None if it is missing or empty."""
        value = self.headers.get(name)
        return value.decode("latin-1").strip() or None if value else None

    def query_value(self, name: str) -> str | None:
        """Return the first value of one query parameter that is not empty."""
        if not self.query:
            return None
        return next((v for n, v in parse_qsl(self.query.decode("latin-1")) if n == name and v), None)

    @property
    def denied(self) -> bool:
        """Whether its headers deny consent."""
        return headers_deny(self.headers)


class Intake:
    """Accepts requests within the rates of their senders and the budget of all bodies.

    `clock` is this server's time, `monotonic_s` a clock that never goes back.
    """

    def __init__(
        self,
        rates: Rates,
        budget: Budget,
        *,
        clock: Callable[[], datetime],
        monotonic_s: Callable[[], float],
        received_bytes: Number,
    ) -> None:
        self._rates = rates
        self._budget = budget
        self._clock = clock
        self._monotonic_s = monotonic_s
        self._received_bytes = received_bytes

    def open(self, scope: Scope, parameter: str | None = None) -> Request:
        """Make a request from what precedes its body."""
        client = scope.get("client")
        peer = client[0] if client else ""
        return Request(read_headers(scope), scope["query_string"], parameter, self._clock(), peer)

    async def take(
        self,
        request: Request,
        scope: Scope,
        receive: Receive,
        limits: BodyLimits | None,
        *,
        session_id: str | None = None,
    ) -> None:
        """Take a token of each of the sender's buckets, and read the body; without `limits` there is none to read.

        Raises TooMany, once the body was read and discarded; TooLarge, Overloaded, BodyTooSlow, NotJson,
        Disconnected.
        """
        headers = request.headers
        now_s = self._monotonic_s()
        request.sender = self._rates.sender(scope, headers, session_id, now_s)
        refusal = self._rates.take(request.sender, now_s)
        if limits is None:
            if refusal is not None:
                raise refusal
            return
        if b"content-length" in headers:
            check_announced_size(headers[b"content-length"], headers, limits)
        message: Any = await receive()
        if refusal is None and is_one_event(message, limits):
            request.body = message["body"]
        else:
            request.share = Share(self._budget)
            request.body = await read_body(
                message, scope, receive, headers, limits, request.share, refusal=refusal
            )
        if b"content-encoding" in headers:
            request.share = request.share or Share(self._budget)
            request.body = await unpack(request.body, headers[b"content-encoding"], limits, request.share)
        if request.share is not None:
            request.received = self._clock()

    def charge(self, request: Request, cost: float) -> None:
        """Charge the sender for a request beyond its first token."""
        self._rates.charge(request.sender, self._monotonic_s(), cost)

    def settle(self, request: Request) -> None:
        """Give back what a request held of the budget, and charge its bytes."""
        size_bytes = len(request.body)
        if request.share is not None:
            size_bytes = max(size_bytes, request.share.taken_bytes)
            request.share.give()
        self._received_bytes.value += size_bytes
        if size_bytes >= TOKEN_BYTES:
            self.charge(request, size_bytes // TOKEN_BYTES)

    @asynccontextmanager
    async def taken(
        self, scope: Scope, receive: Receive, limits: BodyLimits | None = None, *, parameter: str | None = None
    ) -> AsyncIterator[Request]:
        """Take a request in for as long as it is worked on. Raises what `take` raises."""
        request = self.open(scope, parameter)
        scope["state"][TAKEN] = request
        try:
            await self.take(request, scope, receive, limits)
            yield request
        finally:
            self.settle(request)
