"""The ASGI application: the routes that take events are served here, all others by Litestar behind it.

Litestar's router, its exception layer and its wrapped `send` take a third of the time of an event's request.
"""

import re
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import msgspec
from litestar.types import ASGIApp
from litestar.utils import normalize_path

from ingest.bodies import BodyLimits
from ingest.cors import Cors, Protocol, protocol_of
from ingest.http import ANSWER, Disconnected, Reply, send_reply
from ingest.intake import Intake, Request
from ingest.metrics import Metrics
from ingest.refusals import Refusals
from schemas.faults import MethodNotAllowed

ALLOW: Final = "POST, OPTIONS"
PARAMETER: Final = "{session_id}"


class Route(msgspec.Struct, frozen=True):
    """A path, the effect of a POST to it, and its largest body."""

    path: str
    post: Callable[[Request], Awaitable[Reply]]
    limits: BodyLimits


class Front:
    """Serves its routes, one of which has a session id in its path, and passes other requests on."""

    def __init__(
        self,
        routes: Sequence[Route],
        others: ASGIApp,
        intake: Intake,
        refusals: Refusals,
        metrics: Metrics,
        cors: Cors,
    ) -> None:
        self._plain = {route.path: route for route in routes if PARAMETER not in route.path}
        (self._of_session,) = [route for route in routes if PARAMETER in route.path]
        pattern = re.escape(self._of_session.path).replace(re.escape(PARAMETER), "([^/]+)")
        self._match = re.compile(pattern).fullmatch
        self._others = others
        self._intake = intake
        self._refusals = refusals
        self._metrics = metrics
        self._cors = cors

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Reply to a request, or handle the server's start and end."""
        if scope["type"] != "http":
            await self._others(scope, receive, send)
            return
        path = scope["path"]
        route, session_id = self._find(path)
        if route is None and (path.endswith("/") or "//" in path):  # odd slashes are not another path
            route, session_id = self._find(normalize_path(path))
        protocol: Protocol = protocol_of(path) if route is None else "media"
        began_s = time.perf_counter()
        self._metrics.begin(protocol)
        try:
            if route is None:
                await self._pass_on(scope, receive, send)
                return
            reply = await self._answer(route, session_id, scope, receive)
            await send_reply(scope, send, reply)
        except Disconnected:
            self._refusals.gone()
        finally:
            self._metrics.end(protocol, time.perf_counter() - began_s)

    def _find(self, path: str) -> tuple[Route | None, str | None]:
        """Return the route of a path, and the session id in it."""
        if (route := self._plain.get(path)) is not None:
            return route, None
        match = self._match(path)
        return (None, None) if match is None else (self._of_session, match[1])

    async def _pass_on(self, scope: Any, receive: Any, send: Any) -> None:
        scope.get("state", {}).pop(ANSWER, None)
        if scope["method"] == "HEAD":  # the server leaves the body out
            scope = {**scope, "method": "GET"}
        await self._others(scope, receive, send)

    async def _answer(self, route: Route, session_id: str | None, scope: Any, receive: Any) -> Reply:
        """Reply to one request. Raises Disconnected."""
        request = self._intake.open(scope, session_id)
        allow = ""
        try:
            if scope["method"] != "POST":
                if scope["method"] == "OPTIONS":
                    return self._cors.preflight("media", request.headers, allow=ALLOW)
                allow = ALLOW
                raise MethodNotAllowed(f"Expected one of the methods {ALLOW}")
            await self._intake.take(request, scope, receive, route.limits, session_id=session_id)
            reply = await route.post(request)
            origin = request.headers.get(b"origin")
            return reply if origin is None else self._cors.to_page(reply, origin)
        except Disconnected:
            raise
        except Exception as error:  # noqa: BLE001  (whatever it was becomes a reply and a count)
            return self._refusals.answer(
                error,
                "media",
                request.headers,
                method=scope["method"],
                route=route.path,
                session_id=session_id,
                body=request.body,
                allow=allow,
            )
        finally:
            self._intake.settle(request)
