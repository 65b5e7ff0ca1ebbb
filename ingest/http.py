"""Headers and replies as ASGI has them: the border between the server and the routes."""

from typing import Final, NamedTuple

from litestar.types import Scope, Send

CUT_OFF: Final = "playhead.cut_off"  # in a request's state: the fault that cut off its body
ANSWER: Final = "playhead.answer"

Headers = list[tuple[bytes, bytes]]


class Reply(NamedTuple):
    """A reply: status, body, and all headers except the server's own and the length of the body.

    `head` is the headers as they are sent, if they are rendered already.
    """

    status: int
    headers: Headers
    body: bytes = b""
    head: bytes = b""


class Disconnected(Exception):  # noqa: N818
    """The sender disconnected before its request was complete, so there is no reply."""


def read_headers(scope: Scope) -> dict[bytes, bytes]:
    """Return the headers of a request, with one value per name."""
    pairs = scope["headers"]
    headers = dict(pairs)
    if len(headers) != len(list(pairs)):
        headers = {}
        for name, value in pairs:
            glue = b"; " if name == b"cookie" else b", "
            headers[name] = headers[name] + glue + value if name in headers else value
    return headers


def render_headers(headers: Headers) -> bytes:
    """Return headers as HTTP/1.1 sends them, each with its line end."""
    return b"".join([b"%b: %b\r\n" % header for header in headers])


def as_text(headers: Headers) -> dict[str, str]:
    """Return the headers of a reply as Litestar has them."""
    return {name.decode(): value.decode("latin-1") for name, value in headers}


async def send_reply(scope: Scope, send: Send, reply: Reply) -> None:
    """Send a reply: as a whole if the server can, else in ASGI's messages."""
    answer = scope.get("state", {}).pop(ANSWER, None)
    if answer is None or not answer(reply):
        await send({"type": "http.response.start", "status": reply.status, "headers": reply.headers})
        await send({"type": "http.response.body", "body": reply.body, "more_body": False})
