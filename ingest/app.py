"""The application, made from the settings, and how Litestar replies to errors.

Events are taken by `Front`, everything else by Litestar. Both end what goes wrong in `Refusals`.
"""

import re
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from litestar import Litestar, Response, route
from litestar import Request as LitestarRequest
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp
from litestar.utils import normalize_path

from eventlog import Writer
from ingest import media, openapi, tracking
from ingest.accept import ACCEPTED_TYPES, Accept
from ingest.bodies import BodyLimits, Budget, limits_of_events
from ingest.cors import Cors, Protocol, protocol_of
from ingest.documents import Documents
from ingest.front import Front, Route
from ingest.http import Disconnected, Reply, as_text, read_headers
from ingest.identity import RefusedPseudonymizer, read_pseudonymizer
from ingest.incoming import DOWNLOADED, EVENTS, SESSIONS
from ingest.intake import TAKEN, Intake, Request
from ingest.keys import HEADER, ApiKeys, read_api_keys
from ingest.metrics import Metrics
from ingest.rates import Rates
from ingest.refusals import Refusals
from ingest.replies import encode
from ingest.service import service_handlers
from ingest.validation import Validation
from ingest.web_client import web_client_handlers
from ingest.wrong_paths import why_no_route
from observability import catalogue
from observability.meter import Meter
from schemas.faults import InvalidEvent, MethodNotAllowed, NoSuchRoute
from schemas.ids import Entropy, EntropyPool
from schemas.settings import Settings

Post = Callable[[Request], Awaitable[Reply]]


class Ingest(msgspec.Struct, frozen=True):
    """An application, and what its server needs besides serving it."""

    app: ASGIApp
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
    metrics: Metrics | None = None,
    is_stopping: Callable[[], bool] = lambda: False,
) -> Ingest:
    """Make the application over an open log. Raises NotReady if a secret is missing."""
    metrics = metrics or make_metrics()
    metrics.watch(writer)
    entropy = entropy or EntropyPool()
    accept = Accept(
        writer,
        metrics,
        pseudonym_key=settings.key_of_pseudonyms(),
        pseudonymizer=read_pseudonymizer(RefusedPseudonymizer, settings),
        rejected_per_s=settings.rejected_per_s,
        entropy=entropy,
        monotonic_s=monotonic_s,
    )
    budget = Budget(settings.http_bodies_bytes_max, small_bytes_max=settings.http_body_bytes_max)
    metrics.meter.at_scrape(catalogue.BODIES_BYTES, lambda: {(): budget.held_bytes})
    intake = Intake(
        Rates(settings), budget, clock=clock, monotonic_s=monotonic_s, received_bytes=metrics.received_bytes
    )
    keys = read_api_keys(settings, monotonic_s=monotonic_s)
    cors = Cors(settings.origins())
    refusals = Refusals(accept, metrics, keys, clock, cors, mac_keys=settings.keys_of_mac())
    of_media = media.Media(
        media.read_rules(settings, keys), accept, intake, entropy=entropy, monotonic_s=monotonic_s
    )
    of_tracking = tracking.Tracking(
        tracking.read_rules(settings),
        keys,
        accept,
        intake,
        cors,
        entropy=entropy,
        user_id_conflicts=metrics.user_id_conflicts,
    )
    documents = Documents(settings, intake)
    of_validation = Validation(settings, intake, cors)
    handlers = [
        *of_tracking.handlers(),
        *service_handlers(writer, is_stopping),
        *of_validation.handlers(),
        *documents.handlers(),
        *web_client_handlers(),
    ]
    documents.openapi = encode(openapi.document(handlers, media_needs_key=settings.media_needs_key))
    routes = media_routes(of_media, settings, keys)
    others = litestar(handlers, refusals, cors, known=[route.path for route in routes])
    front = Front(routes, others, intake, refusals, metrics, cors)
    return Ingest(front, accept)


def make_metrics() -> Metrics:
    """Return the numbers of an ingest, all 0."""
    return Metrics(Meter("ingest"), accepted_types=ACCEPTED_TYPES)


def media_routes(of_media: media.Media, settings: Settings, keys: ApiKeys) -> list[Route]:
    """Return the routes that take events; they need a key if a setting says so."""
    one_event = BodyLimits(settings.http_body_bytes_max)
    # The older form of an offline session is posted to /sessions, which therefore accepts as much as /downloaded.
    arrays_too = limits_of_events(settings)
    routes = [
        Route(SESSIONS, of_media.start_session, arrays_too),
        Route(EVENTS, of_media.add_event, one_event),
        Route(DOWNLOADED, of_media.store_downloaded, arrays_too),
    ]
    if not settings.media_needs_key:
        return routes
    return [msgspec.structs.replace(route, post=_with_key(route.post, keys)) for route in routes]


def _with_key(post: Post, keys: ApiKeys) -> Post:
    """Return what a POST does, for requests with a key that opens the media API."""

    async def checked(request: Request) -> Reply:
        keys.check(request.headers.get(HEADER), "media")
        return await post(request)

    return checked


def litestar(
    handlers: Sequence[HTTPRouteHandler], refusals: Refusals, cors: Cors, *, known: Sequence[str]
) -> Litestar:
    """Make Litestar with these handlers, their preflights, and our replies to errors.

    `known` are the paths that others serve.
    """
    answers = Answers(refusals, handlers, cors, known=known)
    return Litestar(
        # OPTIONS first: Litestar adds its own to a path that has none yet.
        [*_preflights(handlers, cors), *reversed(handlers)],
        exception_handlers={Exception: answers.error, HTTPException: answers.error, Disconnected: answers.gone},
        openapi_config=None,
        logging_config=None,
        debug=False,
    )


def _preflights(handlers: Sequence[HTTPRouteHandler], cors: Cors) -> list[HTTPRouteHandler]:
    """Make the handlers of OPTIONS: one for all paths with the same methods and protocol."""
    methods: dict[str, list[str]] = {}
    for handler in handlers:
        for path in handler.paths:
            methods.setdefault(path, []).extend(handler.http_methods)
    paths: dict[tuple[str, Protocol], list[str]] = {}
    for path, names in methods.items():
        paths.setdefault((", ".join([*names, "OPTIONS"]), protocol_of(path)), []).append(path)
    return [_preflight(of_paths, protocol, cors, allow=allow) for (allow, protocol), of_paths in paths.items()]


def _preflight(paths: list[str], protocol: Protocol, cors: Cors, *, allow: str) -> HTTPRouteHandler:
    @route(paths, http_method=["OPTIONS"], status_code=204, include_in_schema=False)
    async def ask(request: LitestarRequest[Any, Any, Any]) -> Response[None]:
        reply = cors.preflight(protocol, read_headers(request.scope), allow=allow)
        return Response(None, status_code=reply.status, headers=as_text(reply.headers))

    return ask


class Answers:
    """Litestar's exception handlers."""

    def __init__(
        self, refusals: Refusals, handlers: Sequence[HTTPRouteHandler], cors: Cors, *, known: Sequence[str]
    ) -> None:
        self._refusals = refusals
        self._cors = cors
        self._templates = _templates(handlers)
        shown = [path for handler in handlers if handler.include_in_schema for path in handler.paths]
        self._known = sorted({*known, *shown})

    def error(self, request: LitestarRequest[Any, Any, Any], error: Exception) -> Response[bytes]:
        """Reply to refusals and unexpected errors. At an unknown path, the nearest protocol replies.

        A preflight of an unknown path is allowed, so that the browser shows the 404 that follows.
        """
        scope = request.scope
        headers = read_headers(scope)
        path = normalize_path(scope["path"])
        protocol, allow = protocol_of(path), ""
        template: str | None = next((name for pattern, name in self._templates if pattern.fullmatch(path)), path)
        if isinstance(error, MethodNotAllowedException):
            allow = ", ".join(reversed((error.headers or {})["allow"].split(", ")))
            error = MethodNotAllowed(f"Expected one of the methods {allow}")
        elif isinstance(error, HTTPException):
            protocol = "tracking" if scope["raw_path"].startswith(b"/v1/") else "media"
            template = None
            if not isinstance(error, NotFoundException):
                error = InvalidEvent(error.detail)
            elif scope["method"] == "OPTIONS" and b"access-control-request-method" in headers:
                return _response(self._cors.preflight(protocol, headers))
            else:
                error = NoSuchRoute(why_no_route(path, self._known))
        taken = scope["state"].get(TAKEN)
        reply = self._refusals.answer(
            error,
            protocol,
            headers,
            method=scope["method"],
            route=template,
            body=taken.body if taken else b"",
            allow=allow,
        )
        return _response(reply)

    def gone(self, _request: LitestarRequest[Any, Any, Any], _error: Exception) -> Response[None]:
        """Return a reply that the server discards, because the sender has disconnected."""
        self._refusals.gone()
        return Response(None)


def _response(reply: Reply) -> Response[bytes]:
    headers = as_text(reply.headers)
    return Response(reply.body, status_code=reply.status, headers=headers, media_type=headers.get("content-type"))


def _templates(handlers: Sequence[HTTPRouteHandler]) -> list[tuple[re.Pattern[str], str]]:
    """Return the paths with parameters: what matches each, and what it is called, parameters in braces."""
    paths = {path for handler in handlers if handler.include_in_schema for path in handler.paths if "{" in path}
    return [
        (re.compile(re.sub(r"\{\w+:\w+\}", "[^/]+", path)), re.sub(r"\{(\w+):\w+\}", r"{\1}", path))
        for path in sorted(paths)
    ]
