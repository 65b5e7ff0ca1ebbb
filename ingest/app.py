"""The Litestar application: which path does what, and what surrounds every request.

All routes are `@asgi` routes, because a handler with Litestar's own request and response objects takes half of
the throughput. Litestar cannot route an HTTP request to an `@asgi` path with parameters (2.25: a KeyError), but to
mounts, so the routes stand below mounts, and the rest of the path is matched here. A path that is spelled as its
route is spelled is answered without asking Litestar's router, which takes a third of a request's time to find it.
"""

import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog
from litestar import Litestar, Response, asgi
from litestar import Request as LitestarRequest
from litestar.exceptions import HTTPException, NotFoundException
from litestar.handlers import ASGIRouteHandler
from litestar.types import Receive, Scope, Send

from eventlog import Writer
from ingest import media, tracking
from ingest.accept import ACCEPTED_TYPES, Accept
from ingest.bodies import (
    Budget,
    Share,
    check_announced_size,
    is_one_event,
    read_body,
    unpack,
)
from ingest.consent import headers_deny
from ingest.http import (
    Disconnected,
    Reply,
    Request,
    read_headers,
    send_reply,
)
from ingest.identity import RefusedPseudonymizer, read_pseudonymizer
from ingest.metrics import Metrics
from ingest.rates import TOKEN_BYTES, Rates, Sender
from ingest.replies import Protocol, preflight, refused
from ingest.routes import Found, Route, Routes, media_routes, plain_routes, tracking_routes
from schemas.faults import Fault, InvalidEvent, KeyRefused, MethodNotAllowed, NoSuchRoute, Refusal
from schemas.ids import Entropy, EntropyPool
from schemas.settings import Settings

logger = structlog.get_logger(__name__)


class Ingest(msgspec.Struct, frozen=True):
    """An application, and what its server has to do with it besides serving."""

    app: Litestar
    accept: Accept


def now_utc() -> datetime:
    """Return the time of this machine's clock."""
    return datetime.now(UTC)


def build_app(
    settings: Settings,
    writer: Writer,
    *,
    clock: Callable[[], datetime] = now_utc,
    monotonic_s: Callable[[], float] = time.monotonic,
    entropy: Entropy | None = None,
) -> Ingest:
    """Make the application over a log that is open. Raises NotReady where a secret is missing."""
    metrics = Metrics(accepted_types=ACCEPTED_TYPES)
    entropy = entropy or EntropyPool()
    accept = Accept(
        writer,
        metrics,
        pseudonym_key=settings.key_of_pseudonyms(),
        pseudonymizer=read_pseudonymizer(RefusedPseudonymizer, settings),
        rejected_per_s=settings.rejected_per_s,
        entropy=entropy,
    )
    rates = Rates(settings)
    of_media = media.Media(media.read_rules(settings), accept, rates, entropy=entropy, monotonic_s=monotonic_s)
    of_tracking = tracking.Tracking(
        tracking.read_rules(settings), accept, entropy=entropy, on_contradiction=metrics.user_id_conflicts.inc
    )
    routes = [
        *media_routes(of_media, settings),
        *tracking_routes(of_tracking),
        *plain_routes(writer, metrics, settings),
    ]
    budget = Budget(settings.http_bodies_bytes_max, small_bytes_max=settings.http_body_bytes_max)
    metrics.show_bodies(lambda: budget.held_bytes)
    runner = Runner(
        Routes(routes), accept, metrics, budget=budget, rates=rates, clock=clock, monotonic_s=monotonic_s
    )
    return Ingest(Application(runner, mounts={route.mount for route in routes}), accept)


class Application(Litestar):
    """Litestar, with a shortcut to the routes: its router is asked for what they do not know."""

    __slots__ = ("runner",)

    def __init__(self, runner: "Runner", *, mounts: Iterable[str]) -> None:
        super().__init__(
            [runner.mount(path) for path in mounts],
            exception_handlers={Exception: runner.answer_unrouted, HTTPException: runner.answer_unrouted},
            openapi_config=None,
            logging_config=None,
            debug=False,
        )
        self.runner = runner

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request, or take part in the server's start and end."""
        if scope["type"] == "http" and (found := self.runner.routes.find(scope["path"])) is not None:
            await self.runner.serve(found, scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


class Runner:
    """Runs each request through its route, and turns whatever goes wrong into a reply and a count."""

    def __init__(
        self,
        routes: Routes,
        accept: Accept,
        metrics: Metrics,
        *,
        budget: Budget,
        rates: Rates,
        clock: Callable[[], datetime],
        monotonic_s: Callable[[], float],
    ) -> None:
        self.routes = routes
        self._accept = accept
        self._metrics = metrics
        self._budget = budget
        self._rates = rates
        self._clock = clock
        self._monotonic_s = monotonic_s

    def mount(self, path: str) -> ASGIRouteHandler:
        """Make the Litestar route of a mount, which takes slashes as they come."""

        async def serve_mount(scope: Scope, receive: Receive, send: Send) -> None:
            rest = "".join(f"/{segment}" for segment in scope["path"].split("/") if segment)
            if (found := self.routes.find(path + rest)) is None:
                raise NotFoundException
            await self.serve(found, scope, receive, send)

        return asgi(path, is_mount=True, copy_scope=False)(serve_mount)

    async def serve(self, found: Found, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            reply = await self._answer(found.route, found.parameters, scope, receive)
        except Disconnected:
            self._metrics.disconnected.inc()
        else:
            await send_reply(scope, send, reply)

    async def _answer(self, route: Route, parameters: dict[str, str], scope: Scope, receive: Receive) -> Reply:
        method: str = scope["method"]  # type: ignore[typeddict-item]
        headers = read_headers(scope)
        share: Share | None = None
        sender = Sender()
        body = b""
        try:
            handler = route.methods.get("GET" if method == "HEAD" else method)
            if handler is None:
                if method == "OPTIONS":
                    return preflight(route.protocol, headers, allow=route.allow)
                raise MethodNotAllowed(f"Expected one of the methods {route.allow}")
            refusal = None
            if route.protocol != "plain":
                now_s = self._monotonic_s()
                sender = self._rates.sender(scope, headers, parameters.get("session_id"), now_s)
                refusal = self._rates.take(sender, now_s)
            if route.body is not None and method == "POST":
                if b"content-length" in headers:
                    check_announced_size(headers[b"content-length"], headers, route.body)
                message: Any = await receive()
                if refusal is None and is_one_event(message, route.body):
                    body = message["body"]
                else:
                    share = Share(self._budget)
                    body = await read_body(message, scope, receive, headers, route.body, share, refusal=refusal)
                if b"content-encoding" in headers:
                    share = share or Share(self._budget)
                    body = await unpack(body, headers[b"content-encoding"], route.body, share)
            elif refusal is not None:
                raise refusal
            request = Request(headers, scope["query_string"], parameters, body, self._clock(), sender)
            return await handler(request)
        except Fault as fault:
            return self._refuse(fault, route, method, headers, body)
        except Disconnected:
            raise
        except Exception as error:  # noqa: BLE001  (the one place where what nobody foresaw becomes a reply)
            self._note(error, route.path)
            return self._refuse(Fault("internal error"), route, method, headers, body)
        finally:
            size_bytes = len(body)
            if share is not None:
                size_bytes = max(size_bytes, share.taken_bytes)
                share.give()
            if size_bytes >= TOKEN_BYTES:
                self._rates.charge(sender, self._monotonic_s(), size_bytes // TOKEN_BYTES)

    def _note(self, error: Exception, path: str) -> None:
        logger.error("request failed", path=path, exc_info=error)
        self._metrics.errors.inc()

    def _refuse(self, fault: Fault, route: Route, method: str, headers: dict[bytes, bytes], body: bytes) -> Reply:
        self._metrics.refused.labels(fault.code, route.protocol).inc()
        if _is_kept(fault, route, method):
            self._accept.keep_refused(
                fault, body, route=route.path, received=self._clock(), denied=headers_deny(headers)
            )
        allow = route.allow if isinstance(fault, MethodNotAllowed) else ""
        return _refusal(fault, route.protocol, headers, allow=allow)

    def answer_unrouted(self, request: LitestarRequest[Any, Any, Any], error: Exception) -> Response[bytes]:
        """Answer a path that nothing lives at, in the way of the protocol it is nearest to."""
        protocol: Protocol = "tracking" if request.scope["raw_path"].startswith(b"/v1/") else "media"
        fault: Fault = NoSuchRoute("Nothing lives at this path")
        if not isinstance(error, HTTPException):
            self._note(error, "unrouted")
            fault = Fault("internal error")
        elif error.status_code != 404:
            fault = InvalidEvent(error.detail)
        self._metrics.refused.labels(fault.code, protocol).inc()
        reply = _refusal(fault, protocol, read_headers(request.scope))
        names = {name.decode(): value.decode("latin-1") for name, value in reply.headers}
        return Response(reply.body, status_code=reply.status, headers=names, media_type=names["content-type"])


def _refusal(fault: Fault, protocol: Protocol, headers: dict[bytes, bytes], *, allow: str = "") -> Reply:
    reply = refused(fault, protocol, headers.get(b"origin"), allow=allow)
    return (
        reply._replace(headers=reply.headers + tracking.version_headers(headers))
        if protocol == "tracking"
        else reply
    )


def _is_kept(fault: Fault, route: Route, method: str) -> bool:
    """Return whether a refusal belongs among the rejected: what may have been an event, or was meant as one.

    A GET without a session is how clients ask whether there is one, and a wrong key is nobody we know.
    """
    if route.protocol == "plain" or not isinstance(fault, Refusal) or isinstance(fault, KeyRefused):
        return False
    return method == "POST" or isinstance(fault, MethodNotAllowed)
