"""An HTTP request and a reply: the border between ASGI and the routes."""

from datetime import datetime
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl

import msgspec
from litestar.types import Scope, Send

from ingest.rates import Sender

CUT_OFF: Final = "playhead.cut_off"  # in a request's state: the fault that ended its body half-way
ANSWER: Final = "playhead.answer"

Headers = list[tuple[bytes, bytes]]


class Reply(NamedTuple):
    """What goes back: status, all headers but the server's own (also the length of a body), and the body."""

    status: int
    headers: Headers
    body: bytes = b""


class Request(msgspec.Struct, frozen=True):
    """One request, read to its end.

    `headers` are in lower case; a header sent twice has its values joined by commas (RFC 9110, 5.3).
    `body` is unpacked. `received` is this server's clock, UTC. `sender` is who its events are charged to.
    """

    headers: dict[bytes, bytes]
    query: bytes
    path_params: dict[str, Any]
    body: bytes
    received: datetime
    sender: Sender

    def header(self, name: bytes) -> str | None:
        """Return one header as text; None where it is missing or empty."""
        value = self.headers.get(name)
        return value.decode("latin-1").strip() or None if value else None

    def query_value(self, name: str) -> str | None:
        """Return the first value of one query parameter that is not empty."""
        if not self.query:
            return None
        return next((v for n, v in parse_qsl(self.query.decode("latin-1")) if n == name and v), None)


class Disconnected(Exception):  # noqa: N818
    """The sender went away before its request was complete; there is nobody to answer."""


def read_headers(scope: Scope) -> dict[bytes, bytes]:
    """Return the headers of a request as one value a name."""
    pairs = scope["headers"]
    headers = dict(pairs)
    if len(headers) != len(list(pairs)):
        headers = {}
        for name, value in pairs:
            glue = b"; " if name == b"cookie" else b", "
            headers[name] = headers[name] + glue + value if name in headers else value
    return headers


async def send_reply(scope: Scope, send: Send, reply: Reply) -> None:
    """Send a reply: as a whole, where the server can do that, else in ASGI's messages."""
    answer = scope.get("state", {}).pop(ANSWER, None)
    if answer is None or not answer(reply):
        await send({"type": "http.response.start", "status": reply.status, "headers": reply.headers})
        await send({"type": "http.response.body", "body": reply.body, "more_body": False})
