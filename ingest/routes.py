"""Which path does what, and how a path is found."""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from eventlog import Writer
from ingest import asyncapi, media, openapi, tracking
from ingest.bodies import (
    BodyLimits,
)
from ingest.consent import GpcSupport
from ingest.http import (
    Reply,
    Request,
)
from ingest.metrics import Metrics
from ingest.replies import Protocol, json_reply, whole_reply
from schemas.settings import Settings

Handler = Callable[[Request], Awaitable[Reply]]

TRACKING_BODY_BYTES_MAX: Final = 16_384


class Route(msgspec.Struct, frozen=True):
    """One path below a mount: its protocol, what each method does, how large the body of a POST may be."""

    mount: str
    rest: str
    protocol: Protocol
    methods: Mapping[str, Handler]
    body: BodyLimits | None = None

    @property
    def path(self) -> str:
        """The whole path, parameters in braces."""
        return self.mount + self.rest

    @property
    def allow(self) -> str:
        """The methods there are, as the header Allow lists them."""
        return ", ".join([*self.methods, "OPTIONS"])


class Found(NamedTuple):
    """The route of a path, and the path's parameters."""

    route: Route
    parameters: dict[str, str]


class Routes:
    """All routes, found by whole paths."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._plain = {route.path: Found(route, {}) for route in routes if "{" not in route.path}
        self._patterns = [
            (re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", route.path)), route)
            for route in routes
            if "{" in route.path
        ]

    def find(self, path: str) -> Found | None:
        """Return the route of a path that is spelled as the route is, or None."""
        if (found := self._plain.get(path)) is not None:
            return found
        for pattern, route in self._patterns:
            if (match := pattern.fullmatch(path)) is not None:
                return Found(route, match.groupdict())
        return None


def media_routes(routes: media.Media, settings: Settings) -> list[Route]:
    one_event = BodyLimits(settings.http_body_bytes_max)
    # The older form of an offline session comes to /sessions, which therefore takes as much as /downloaded.
    arrays_too = BodyLimits(settings.http_body_bytes_max, settings.http_downloaded_bytes_max)
    return [
        Route("/api/v1/sessions", "/{session_id}/events", "media", {"POST": routes.add_event}, one_event),
        Route("/api/v1/sessions", "", "media", {"POST": routes.start_session}, arrays_too),
        Route("/api/v1/downloaded", "", "media", {"POST": routes.store_downloaded}, arrays_too),
        Route("/api/v1/schemas", "/{event_type}", "media", {"GET": routes.get_schema}),
    ]


def tracking_routes(routes: tracking.Tracking) -> list[Route]:
    methods = {"POST": routes.create, "GET": routes.show, "DELETE": routes.delete}
    rests = ("/tracking/session", "/{playout_id}/tracking/session")
    return [
        Route("/v1/playouts", rest, "tracking", methods, BodyLimits(TRACKING_BODY_BYTES_MAX)) for rest in rests
    ]


def plain_routes(writer: Writer, metrics: Metrics, settings: Settings) -> list[Route]:
    document = json_reply(200, openapi.document(), [])
    document_of_log = json_reply(200, asyncapi.document(settings), [])
    gpc_support = json_reply(200, GpcSupport(), [])

    async def show_schema(_request: Request) -> Reply:
        return document

    async def show_schema_of_log(_request: Request) -> Reply:
        return document_of_log

    async def show_gpc_support(_request: Request) -> Reply:
        return gpc_support

    async def live(_request: Request) -> Reply:
        return json_reply(200, {"status": "live"}, [])

    async def ready(_request: Request) -> Reply:
        await writer.check()
        return json_reply(200, {"status": "ready"}, [])

    async def show_metrics(_request: Request) -> Reply:
        return whole_reply(200, generate_latest(metrics.registry), [], content_type=CONTENT_TYPE_LATEST.encode())

    handlers = {
        ("/schema", ""): show_schema,
        ("/schema", "/openapi.json"): show_schema,
        ("/asyncapi.json", ""): show_schema_of_log,
        ("/.well-known", "/gpc.json"): show_gpc_support,
        ("/health", "/live"): live,
        ("/health", "/ready"): ready,
        ("/metrics", ""): show_metrics,
    }
    return [Route(mount, rest, "plain", {"GET": handler}) for (mount, rest), handler in handlers.items()]
