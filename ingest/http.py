"""An HTTP request read within its limits, and a reply: the border between ASGI and the routes.

Bodies come whole, in chunks, unannounced in size, packed with gzip, or stop half-way. What is read is bounded
three ways: in bytes as sent, in bytes unpacked, and in time (the server's receive deadline sets `LATE` in the
request's state, see `serve.py`).
"""

import zlib
from datetime import datetime
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl

import msgspec
from litestar.types import Receive, Scope, Send

from schemas.faults import BodyTooSlow, NotJson, TooLarge

LATE: Final = "playhead.late"
ANSWER: Final = "playhead.answer"
# A sender that gets its answer while it still sends may see a reset connection instead of the answer, so a body
# that is somewhat too large is read to its end and thrown away.
DISCARDED_BYTES_MAX: Final = 8_388_608

Headers = list[tuple[bytes, bytes]]


class Reply(NamedTuple):
    """What goes back: status, all headers but the server's own (also the length of a body), and the body."""

    status: int
    headers: Headers
    body: bytes = b""


class Request(msgspec.Struct, frozen=True):
    """One request, read to its end.

    `headers` are in lower case; a header sent twice has its values joined by commas (RFC 9110, 5.3).
    `body` is unpacked. `received` is this server's clock, UTC.
    """

    headers: dict[bytes, bytes]
    query: bytes
    path_params: dict[str, Any]
    body: bytes
    received: datetime

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


async def read_body(scope: Scope, receive: Receive, *, bytes_max: int) -> bytes:
    """Read a body as it was sent. Raises TooLarge, BodyTooSlow or Disconnected."""
    message = await receive()
    if message["type"] == "http.request" and not message["more_body"] and len(message["body"]) <= bytes_max:
        return message["body"]
    parts, size = [], 0
    while message["type"] == "http.request":
        parts.append(message["body"])
        size += len(message["body"])
        if size > bytes_max:
            parts.clear()
        if not message["more_body"] or size > bytes_max + DISCARDED_BYTES_MAX:
            if size > bytes_max:
                raise TooLarge(f"Expected a body of at most {bytes_max} bytes")
            return b"".join(parts)
        if LATE in scope.get("state", ()):
            raise BodyTooSlow(f"The body stopped after {size} bytes")
        message = await receive()
    raise Disconnected


def check_announced_size(headers: dict[bytes, bytes], *, bytes_max: int) -> None:
    """Refuse by Content-Length a body that is far too large, or that its sender asks leave to send.

    Raises TooLarge.
    """
    announced = headers.get(b"content-length", b"")
    if announced.isdigit():
        size = int(announced)
        allowance = 0 if b"expect" in headers else DISCARDED_BYTES_MAX
        if size > bytes_max + allowance:
            raise TooLarge(f"Expected a body of at most {bytes_max} bytes, got {size}")


def unpack(body: bytes, encoding: bytes | None, *, bytes_max: int) -> bytes:
    """Undo the Content-Encoding. Raises TooLarge (never unpacking more than that) or NotJson."""
    if encoding is None or encoding in (b"", b"identity"):
        return body
    if encoding.lower() not in (b"gzip", b"x-gzip"):
        raise NotJson("Expected a Content-Encoding of gzip or identity")
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        plain = unpacker.decompress(body, bytes_max + 1)
    except zlib.error as error:
        raise NotJson(f"The body is not gzip: {error}") from None
    if len(plain) > bytes_max:
        raise TooLarge(f"Expected a body of at most {bytes_max} bytes unpacked")
    if not unpacker.eof or unpacker.unused_data:
        raise NotJson("The body is not one gzip stream")
    return plain


async def send_reply(scope: Scope, send: Send, reply: Reply) -> None:
    """Send a reply: as a whole, where the server can do that, else in ASGI's messages."""
    answer = scope.get("state", {}).pop(ANSWER, None)
    if answer is None or not answer(reply):
        await send({"type": "http.response.start", "status": reply.status, "headers": reply.headers})
        await send({"type": "http.response.body", "body": reply.body, "more_body": False})
