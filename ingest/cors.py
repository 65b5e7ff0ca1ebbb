"""Which pages may read replies, and what they may send: the CORS headers of each protocol.

A browser shows a reply to its page only if these headers are there, so a player can recover from a 404 or 410 only
if those have them too. A page's origin is repeated and credentials are allowed, because a preflight does not say
whether credentials will come: `sendBeacon` always sends them. The media routes read no cookie. `null` is the
origin of any sandboxed page, so it is never repeated; for media events it gets `*`, which allows no credentials.
Validation of events is for the pages that may post them.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final, Literal, NamedTuple

from ingest.http import Headers, Reply, render_headers
from schemas.origins import is_origin

Protocol = Literal["media", "tracking", "validation", "plain"]
VALIDATE: Final = "/validate"
SCHEMAS: Final = "/api/v1/schemas"

PREFLIGHT_AGE_S: Final = b"86400"
COMMON_HEADERS: Final = (
    b"Content-Type, User-Agent, X-JAY-TRACKING, __Secure-jay_tracking, Idempotency-Key, traceparent, X-Consent, "
    b"Content-Encoding"
)
TRACKING_HEADERS: Final = COMMON_HEADERS + b", X-API-Key, X-API-Version, x-jay-api-version"
MEDIA_METHODS: Final = b"OPTIONS,POST,PUT"
TRACKING_METHODS: Final = b"GET, POST, DELETE, OPTIONS"
ASKED_HEADERS_BYTES_MAX: Final = 4_096
PAGES_MAX: Final = 1_000
KEPT_ORIGIN_BYTES_MAX: Final = 256

_HEADER_NAMES: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:[ \t]*,[ \t]*[!#$%&'*+.^_`|~0-9A-Za-z-]+)*+")
_VARY: Final = (b"vary", b"Origin")
_CREDENTIALS: Final = (b"access-control-allow-credentials", b"true")
_MEDIA: Final[Headers] = [
    (b"access-control-allow-methods", MEDIA_METHODS),
    (b"access-control-allow-headers", COMMON_HEADERS),
    (b"access-control-expose-headers", b"Location, Retry-After"),
]
# A reply of the tracking API may contain a user, for the page that asked: it must not be cached.
_NOT_CACHED: Final[Headers] = [(b"cache-control", b"no-store"), _VARY]
_TRACKING: Final[Headers] = [
    *_NOT_CACHED,
    _CREDENTIALS,
    (b"access-control-allow-methods", TRACKING_METHODS),
    (b"access-control-allow-headers", TRACKING_HEADERS),
    (
        b"access-control-expose-headers",
        b"X-JAY-TRACKING, __Secure-jay_tracking, X-API-Version, x-jay-api-version, Retry-After",
    ),
]
ANY_PAGE: Final = (b"access-control-allow-origin", b"*")
MEDIA_FOR_ANY_PAGE: Final[Headers] = [ANY_PAGE, *_MEDIA]
MEDIA_FOR_ANY_PAGE_HEAD: Final = render_headers(MEDIA_FOR_ANY_PAGE)
NO_CONTENT: Final = Reply(204, MEDIA_FOR_ANY_PAGE, head=MEDIA_FOR_ANY_PAGE_HEAD)


def protocol_of(path: str) -> Protocol:
    """Return the protocol of what is at a path."""
    if path.startswith("/v1/"):
        return "tracking"
    if path.startswith("/api/") and path != SCHEMAS and not path.startswith(f"{SCHEMAS}/"):
        return "media"
    return "validation" if path == VALIDATE else "plain"


class _Page(NamedTuple):
    """The headers of the replies to media events from pages of one origin, also rendered, and the usual reply."""

    headers: Headers
    head: bytes
    no_content: Reply


class Cors:
    """The CORS headers of replies. `origins` are those of the pages that may read them; none: any page may."""

    def __init__(self, origins: Iterable[str] = ()) -> None:
        self._origins = frozenset(origin.encode() for origin in origins)
        self._pages: dict[bytes, _Page] = {}

    def headers(self, protocol: Protocol, origin: bytes | None) -> Headers:
        """Return the headers of every reply of a protocol to a page of this origin; None: it has none."""
        if protocol == "plain":
            return [ANY_PAGE]
        is_named = origin is not None and is_origin(origin) and self._is_allowed(origin)
        if protocol == "tracking":
            return [(ANY_PAGE[0], origin), *_TRACKING] if origin is not None and is_named else _NOT_CACHED
        if origin is not None and is_named:
            return [(ANY_PAGE[0], origin), _CREDENTIALS, _VARY, *_MEDIA]
        return MEDIA_FOR_ANY_PAGE if origin is None or not self._origins else [_VARY]

    def _is_allowed(self, origin: bytes) -> bool:
        return not self._origins or origin in self._origins

    def to_page(self, reply: Reply, origin: bytes) -> Reply:
        """Return a media success, which begins with the headers for any page, as pages of this origin get it."""
        page = self._pages.get(origin) or self._page(origin)
        if reply is NO_CONTENT:
            return page.no_content
        head = page.head + reply.head[len(MEDIA_FOR_ANY_PAGE_HEAD) :]
        return reply._replace(headers=page.headers + reply.headers[len(MEDIA_FOR_ANY_PAGE) :], head=head)

    def _page(self, origin: bytes) -> _Page:
        headers = self.headers("media", origin)
        head = render_headers(headers)
        page = _Page(headers, head, Reply(204, headers, head=head))
        if len(origin) <= KEPT_ORIGIN_BYTES_MAX:
            if len(self._pages) >= PAGES_MAX:
                self._pages.clear()
            self._pages[origin] = page
        return page

    def preflight(self, protocol: Protocol, headers: Mapping[bytes, bytes], *, allow: str = "") -> Reply:
        """Reply to OPTIONS: what a page may send, valid for a day. `allow` lists the methods of the path."""
        about = dict(self.headers(protocol, headers.get(b"origin")))
        if protocol != "tracking":
            asked = headers.get(b"access-control-request-headers", b"").strip()
            about[b"access-control-allow-headers"] = _allowed_headers(asked)
            varies = [about[b"vary"]] if b"vary" in about else []
            about[b"vary"] = b", ".join([*varies, b"Access-Control-Request-Headers"])
        if protocol == "plain":
            about[b"access-control-allow-methods"] = allow.encode()
        about[b"access-control-max-age"] = PREFLIGHT_AGE_S
        if allow:
            about[b"allow"] = allow.encode()
        return Reply(204, list(about.items()))


def _allowed_headers(asked: bytes) -> bytes:
    """Return the headers that a page may send: the usual ones, and those it asks for.

    A page's instrumentation adds headers of its own to each request (`baggage`, `sentry-trace`), and nothing
    is let in by allowing them: no cookie is read here.
    """
    if len(asked) > ASKED_HEADERS_BYTES_MAX or not _HEADER_NAMES.fullmatch(asked):
        return COMMON_HEADERS
    names = {name.strip().lower(): name.strip() for name in asked.split(b",")}
    known = {name.strip().lower() for name in COMMON_HEADERS.split(b",")}
    return b", ".join([COMMON_HEADERS, *(names[name] for name in names if name not in known)])
