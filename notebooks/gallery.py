"""Serves the notebooks as pages of one site, in one process: which pages there are, and who may open them."""

import ast
import hmac
import html
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from lake.live import Live
from notebooks import demo

FOLDER = Path(__file__).parent
LOOPBACK = ("127.0.0.1", "localhost", "::1")
TOKEN = "access_token"
COOKIE_AGE_S = 30 * 86_400
FORGET_PAGE_S = 120  # a page that was closed for this long starts again
# marimo greys out what is being computed again; numbers that change in place must not flicker.
STYLE = """<style>
.marimo-output-stale, .marimo-output-stale.marimo-output-loading {filter: none; opacity: 1; transition: none}
</style>"""
INDEX_STYLE = """
body {font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 44rem; padding: 0 1rem; color: #1a1a1a}
a {display: block; padding: .75rem 1rem; margin: .5rem 0; border: 1px solid #d0d0d0; border-radius: .5rem;
   color: inherit; text-decoration: none}
a:hover, a:focus {border-color: #0072b2}
b {display: block}
@media (prefers-color-scheme: dark) {body {background: #16181c; color: #e8e8e8} a {border-color: #444}}
"""


def pages() -> dict[str, Path]:
    """Return the file of each page by its path, in the order of their numbers."""
    return {path.stem.partition("_")[2]: path for path in sorted(FOLDER.glob("[0-9][0-9]_*.py"))}


def gallery(live: Live, *, ingest_url: str, token: str | None) -> ASGIApp:
    """Return the application that serves every page, and a list of them at `/`; `/demo` plays to the ingest.

    With a token, only who names it (`?access_token=`, then a cookie) sees anything; without one, only who asks for
    this machine by a name of its own.
    """
    import marimo  # not above: it makes a folder when it is imported

    builder = marimo.create_asgi_app(
        quiet=True, include_code=True, token="", session_ttl=FORGET_PAGE_S, html_head=STYLE
    )
    for path, file in pages().items():
        builder = builder.with_app(path=f"/{path}", root=str(file))
    gate = Middleware(OwnNamesOnly) if token is None else Middleware(Gate, token=token)
    return Starlette(
        routes=[
            Route("/", _index),
            Route("/health", _healthy),
            *demo.routes(live, ingest_url),
            Mount("/", builder.build()),
        ],
        middleware=[gate, Middleware(OwnPagesOnly)],
    )


def question(file: Path) -> str:
    """Return what a page answers: the first line of its docstring."""
    return (ast.get_docstring(ast.parse(file.read_text())) or file.stem).splitlines()[0]


async def _index(_request: Request) -> HTMLResponse:
    questions = {**{path: question(file) for path, file in pages().items()}, "demo": demo.QUESTION}
    links = "".join(
        f'<a href="{path}/"><b>{html.escape(path)}</b>{html.escape(asked)}</a>'
        for path, asked in questions.items()
    )
    return HTMLResponse(
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Playhead</title>'
        '<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">'
        f"<style>{INDEX_STYLE}</style><h1>Playhead</h1>{links}</html>"
    )


async def _healthy(_request: Request) -> PlainTextResponse:
    return PlainTextResponse("ok\n")


class OwnNamesOnly:
    """Refuses requests that name another host: a site whose name leads to this machine could read the pages."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            host = HTTPConnection(scope).headers.get("host", "")
            if urlsplit(f"//{host}").hostname not in LOOPBACK:
                await PlainTextResponse("Ask for localhost\n", status_code=400)(scope, receive, send)
                return
        await self._app(scope, receive, send)


class OwnPagesOnly:
    """Refuses a WebSocket that a page of another site opened: browsers send its origin, and allow any."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            headers = HTTPConnection(scope).headers
            origin = headers.get("origin")
            if origin is not None and urlsplit(origin).netloc != headers.get("host"):
                await WebSocket(scope, receive, send).close(1008, "opened by a page of another site")
                return
        await self._app(scope, receive, send)


class Gate:
    """Lets in who names the token in the address, and afterwards the cookie that this leaves."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or scope.get("path") == "/health":
            await self._app(scope, receive, send)
            return
        asked = HTTPConnection(scope)
        if self._is_right(asked.cookies.get(TOKEN)):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await WebSocket(scope, receive, send).close(1008, "no token")  # before it was accepted: a 403
        elif self._is_right(asked.query_params.get(TOKEN)):
            rest = [(name, value) for name, value in parse_qsl(asked.url.query) if name != TOKEN]
            reply = RedirectResponse(f"{asked.url.path}?{urlencode(rest)}".rstrip("?"), status_code=303)
            reply.set_cookie(TOKEN, self._token, max_age=COOKIE_AGE_S, httponly=True, samesite="strict")
            await reply(scope, receive, send)
        else:
            text = f"Open the address that `playhead notebooks` printed: it ends with ?{TOKEN}=...\n"
            await PlainTextResponse(text, status_code=401)(scope, receive, send)

    def _is_right(self, given: str | None) -> bool:
        return given is not None and hmac.compare_digest(given.encode(), self._token.encode())
