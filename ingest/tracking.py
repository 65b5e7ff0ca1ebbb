"""The tracking session API: create, show and delete the session that links a viewer's requests.

Two forms of path and of headers are in use, and clients present what they were given as a cookie, a token or a
bare id; all of them work. Without a user id two sessions of one viewer have nothing in common.
"""

import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import msgspec
from litestar import Request as LitestarRequest
from litestar import Response, delete, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.types.internal_types import PathParameterDefinition

from ingest import keys
from ingest.accept import Accept
from ingest.bodies import BodyLimits
from ingest.consent import grants
from ingest.cors import Cors
from ingest.http import as_text
from ingest.identity import is_nobody, pseudonym
from ingest.intake import Intake, Request
from ingest.keys import ApiKeys
from ingest.names import is_consent
from ingest.replies import version_headers
from ingest.tokens import COOKIE, NamedSession, TrackingSession, is_plain, read_token, write_time, write_token
from observability.meter import Number
from schemas.faults import InvalidTracking
from schemas.ids import Entropy, mint_event_id, mint_tracking_session
from schemas.media import read_json
from schemas.records import (
    SOURCE_TRACKING,
    SPEC_VERSION,
    TRACKING_CREATED,
    TRACKING_DELETED,
    Envelope,
    TrackingCreated,
    TrackingDeleted,
)
from schemas.settings import Settings

PATH: Final = "/v1/playouts/tracking/session"
PATH_OF_PLAYOUT: Final = "/v1/playouts/{playout_id:str}/tracking/session"
# Litestar takes `tracking` as the start of the path without a playout, but a playout may have that name.
PATH_OF_PLAYOUT_TRACKING: Final = "/v1/playouts/tracking/tracking/session"
LIMITS: Final = BodyLimits(16_384)
COOKIE_AGE_S: Final = 86_400
FOREIGN: Final = "tracking"  # namespace of the pseudonyms of session ids that we did not issue
NONE_FOUND: Final = "No tracking session found or session data is invalid"

Content = TypeVar("Content")


class TrackingRules(msgspec.Struct, frozen=True):
    """The settings of tracking sessions."""

    mac_keys: tuple[bytes, ...]
    pseudonym_key: bytes
    source: str
    same_site: str


def read_rules(settings: Settings) -> TrackingRules:
    """Return those of the settings. Raises NotReady if a key is missing."""
    return TrackingRules(
        mac_keys=settings.keys_of_mac(),
        pseudonym_key=settings.key_of_pseudonyms(),
        source=settings.tracking_source,
        same_site=settings.tracking_cookie_same_site,
    )


class DeletedMessage(msgspec.Struct):
    """The reply to DELETE."""

    message: str = "Tracking session deleted"


def find_session(request: Request, rules: TrackingRules) -> NamedSession | None:
    """Return the session named by the cookie, else by X-JAY-TRACKING, else by __Secure-jay_tracking."""
    for text in _presented_texts(request):
        if (presented := read_token(text, rules.mac_keys, source=rules.source)) is not None:
            return presented
    return None


def _presented_texts(request: Request) -> Iterator[str]:
    for pair in (request.header(b"cookie") or "").split(";"):
        name, _, value = pair.partition("=")
        if name.strip() == COOKIE:
            yield value
    for header in (b"x-jay-tracking", b"__secure-jay_tracking"):
        if (text := request.header(header)) is not None:
            yield text


class AskedUser(msgspec.Struct, frozen=True):
    """The user id in a request; whether it has several different ones, or denies consent."""

    user_id: str | None
    is_contradictory: bool = False
    denied: bool = False


def read_user(request: Request) -> AskedUser:
    """Read the user id: from the query, else from `user_id` of the body, else from `userId`.

    An empty body is not a mistake, and an empty or placeholder user id does not count. Raises NotJson or
    InvalidTracking.
    """
    given: list[Any] = [request.query_value("user_id")]
    denied = request.denied
    if request.body.strip():
        body = read_json(request.body)
        if type(body) is not dict:
            raise InvalidTracking("Expected a JSON object, or no body")
        given += [body.get("user_id"), body.get("userId")]
        denied = denied or not all(grants(body[name]) for name in body if is_consent(name))
    for value in given:
        if value is not None and (not isinstance(value, str) or not is_plain(value)):
            raise InvalidTracking("Expected `user_id` to be a string of at most 256 printable characters")
    named = [value for value in given if value and not is_nobody(value)]
    return AskedUser(None if denied or not named else named[0], len(set(named)) > 1, denied)


class Tracking:
    """The handlers of three methods."""

    def __init__(
        self,
        rules: TrackingRules,
        api_keys: ApiKeys,
        accept: Accept,
        intake: Intake,
        cors: Cors,
        *,
        entropy: Entropy,
        user_id_conflicts: Number,
    ) -> None:
        self._rules = rules
        self._keys = api_keys
        self._accept = accept
        self._intake = intake
        self._cors = cors
        self._entropy = entropy
        self._user_id_conflicts = user_id_conflicts

    def handlers(self) -> list[HTTPRouteHandler]:
        """Make the Litestar handlers. Methods are allowed in this order."""
        made = []
        for paths, is_shown in (([PATH, PATH_OF_PLAYOUT], True), ([PATH_OF_PLAYOUT_TRACKING], False)):
            made += [
                post(paths, status_code=200, operation_id=_operation, include_in_schema=is_shown)(self.create),
                get(paths, operation_id=_operation, include_in_schema=is_shown)(self.show),
                delete(paths, status_code=200, operation_id=_operation, include_in_schema=is_shown)(self.delete),
            ]
        return made

    @asynccontextmanager
    async def _taken(
        self, asked: LitestarRequest[Any, Any, Any], limits: BodyLimits | None = None
    ) -> AsyncIterator[Request]:
        """Accept a request, and check its key and path."""
        parts = asked.scope["path"].split("/")
        playout_id = parts[3] if len(parts) == 6 else None
        async with self._intake.taken(asked.scope, asked.receive, limits, parameter=playout_id) as request:
            self._keys.check(request.headers.get(keys.HEADER), "tracking")
            if playout_id is not None and not is_plain(playout_id):
                raise InvalidTracking("Expected a playout id of at most 256 printable characters in the path")
            yield request

    async def create(self, request: LitestarRequest[Any, Any, Any]) -> Response[TrackingSession]:
        """Create a new session, whatever session the request names."""
        async with self._taken(request, LIMITS) as taken:
            asked = read_user(taken)
            if asked.is_contradictory:
                self._user_id_conflicts.value += 1
            session = TrackingSession(
                mint_tracking_session(self._rules.mac_keys, now=taken.received, entropy=self._entropy),
                write_time(taken.received),
                self._rules.source,
                asked.user_id,
            )
            await self._append_created(taken, session, denied=asked.denied)
            token = write_token(session, self._rules.mac_keys)
            named = {"x-jay-tracking": token, "__secure-jay_tracking": token}
            return self._reply(taken, session, named | {"set-cookie": self._cookie(token, COOKIE_AGE_S)})

    async def show(self, request: LitestarRequest[Any, Any, Any]) -> Response[TrackingSession]:
        """Show the session in the request, using only what the request contains.

        The user is shown only from a token of ours, and not to a request that denies consent.
        """
        async with self._taken(request) as taken:
            presented = find_session(taken, self._rules)
            if presented is None:
                raise InvalidTracking(NONE_FOUND)
            session = presented.session
            if not presented.verified or taken.denied:
                session = msgspec.structs.replace(session, user_id=None)
            return self._reply(taken, session, {})

    async def delete(self, request: LitestarRequest[Any, Any, Any]) -> Response[DeletedMessage]:
        """Remove the cookie and record the deletion. Always succeeds, also when repeated.

        A session that we did not issue is noted by a pseudonym of its id: what is there may be anything.
        """
        async with self._taken(request) as taken:
            presented = find_session(taken, self._rules)
            if presented is not None:
                await self._append_deleted(taken, presented)
            return self._reply(taken, DeletedMessage(), {"set-cookie": self._cookie("", 0)})

    async def _append_created(self, request: Request, session: TrackingSession, *, denied: bool) -> None:
        user = session.user_id
        data = TrackingCreated(
            session_id=session.session_id,
            start_time=request.received,
            source=session.source,
            playout_id=None if denied else request.parameter,
            user_id=pseudonym(self._rules.pseudonym_key, "user", user) if user else None,
        )
        consent = "denied" if denied else "given" if user else None
        await self._append(request, TRACKING_CREATED, session.session_id, data, consent)

    async def _append_deleted(self, request: Request, presented: NamedSession) -> None:
        session_id = presented.session.session_id
        if not presented.verified:
            session_id = pseudonym(self._rules.pseudonym_key, FOREIGN, session_id)
        data = TrackingDeleted(
            session_id=session_id,
            playout_id=None if request.denied else request.parameter,
            verified=presented.verified,
        )
        await self._append(request, TRACKING_DELETED, session_id, data, "denied" if request.denied else None)

    async def _append(
        self,
        request: Request,
        record_type: str,
        session_id: str,
        data: TrackingCreated | TrackingDeleted,
        consent: str | None,
    ) -> None:
        now_ms = int(request.received.timestamp() * 1000)
        envelope = Envelope(
            specversion=SPEC_VERSION,
            id=mint_event_id(now_ms=now_ms, entropy=self._entropy),
            source=SOURCE_TRACKING,
            type=record_type,
            subject=session_id,
            time=request.received,
            receivedtime=request.received,
            consent=consent,
            data=data,
        )
        partition = zlib.crc32(session_id.encode()) % self._accept.writer.partitions
        await self._accept.append(partition, envelope)

    def _cookie(self, value: str, age_s: int) -> str:
        """Return the header that sets the cookie, or deletes it if `age_s` is 0.

        Browsers that block the cookies of other sites keep one that is for the page's own site alone (CHIPS).
        """
        same_site = self._rules.same_site
        partitioned = "; Partitioned" if same_site == "None" else ""
        return f"{COOKIE}={value}; Path=/; Max-Age={age_s}; HttpOnly; Secure; SameSite={same_site}{partitioned}"

    def _reply(self, request: Request, content: Content, headers: dict[str, str]) -> Response[Content]:
        of_page = self._cors.headers("tracking", request.headers.get(b"origin"))
        common = [*of_page, *version_headers(request.headers)]
        return Response(content, headers=as_text(common) | headers)


def _operation(handler: HTTPRouteHandler, _method: object, path: list[str | PathParameterDefinition]) -> str:
    """Name an operation of the OpenAPI document."""
    is_of_playout = any(not isinstance(part, str) for part in path)
    return f"{handler.handler_name}TrackingSession{'OfPlayout' if is_of_playout else ''}"
