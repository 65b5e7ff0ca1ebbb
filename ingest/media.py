"""The Media Collection API: sessions, their events, whole offline sessions, schemas.

Each event goes through the same steps: decode strictly, check the vocabulary, identity and consent, envelope,
append, reply; all but the append are pure. Bodies are taken for JSON whatever their Content-Type says: players
send them form-encoded, as plain text, or without one.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import msgspec

from ingest.accept import TOGETHER_MAX, Accept
from ingest.arrays import Turns, cut
from ingest.consent import headers_deny
from ingest.ended import Ended
from ingest.http import Reply, Request
from ingest.identity import METADATA, Pseudonymizer, read_pseudonymizer
from ingest.names import TRACKING_KEYS
from ingest.rates import Rates
from ingest.replies import NO_CONTENT, cors, created, json_reply
from ingest.tokens import read_token
from schemas.faults import InvalidEvent, NoSuchRoute, NotJson, SessionOver, UnknownSession
from schemas.ids import (
    Entropy,
    MediaSession,
    derive_event_id,
    derive_media_session,
    mint_event_id,
    mint_media_session,
    verify_media_session,
)
from schemas.media import DOCUMENTED, check_event, json_schema, read_json
from schemas.records import SOURCE_DOWNLOADED, SOURCE_MEDIA, Envelope, media_event
from schemas.settings import Settings
from schemas.vocabulary import EVENT_TYPES, EventType

NOT_VALID: Final = "tracking_not_valid"
STRICT_FLAGS: Final = frozenset(("off_schema", "playhead_range"))


class MediaRules(msgspec.Struct, frozen=True):
    """What of the settings decides about media events."""

    mac_keys: Sequence[bytes]
    pseudonymizer: Pseudonymizer
    tracking_source: str
    strict: bool
    session_length_s: float


def read_rules(settings: Settings) -> MediaRules:
    """Pick them from the settings. Raises NotReady where a key is missing."""
    return MediaRules(
        mac_keys=settings.keys_of_mac(),
        pseudonymizer=read_pseudonymizer(Pseudonymizer, settings),
        tracking_source=settings.tracking_source,
        strict=settings.strict,
        session_length_s=settings.session_length_s,
    )


class Checked(msgspec.Struct, frozen=True):
    """An event that may be stored, as decoded, and what is odd about it."""

    event: dict[str, Any]
    event_type: EventType
    flags: list[str]


def check(event: Any, rules: MediaRules, *, now_ms: int) -> Checked:
    """Check one decoded event. Raises InvalidEvent."""
    event_type, flags = check_event(event, now_ms=now_ms)
    if rules.strict and not STRICT_FLAGS.isdisjoint(flags):
        if "playhead_range" in flags:
            raise InvalidEvent("Expected a playhead within the content - at `$.playerTime.playhead`")
        try:
            msgspec.convert(event, DOCUMENTED[event_type.name])
        except msgspec.ValidationError as error:
            raise InvalidEvent(str(error)) from None
    return Checked(event, event_type, flags)


class Named(msgspec.Struct, frozen=True):
    """The tracking session that a call named, where we had issued it; the custom metadata keys that named one."""

    session_id: str | None = None
    keys: Sequence[str] = ()
    is_invalid: bool = False


_NAMED_NONE: Final = Named()


def read_tracking(event: dict[str, Any], headers: Sequence[str], rules: MediaRules) -> Named:
    """Find the tracking session of a call: named by a header, else by custom metadata. It must be one of ours."""
    metadata: Any = event.get(METADATA)
    keys = [key for key in TRACKING_KEYS if key in metadata] if type(metadata) is dict else []
    if not keys and not headers:
        return _NAMED_NONE
    for text in (*headers, *(metadata[key] for key in keys)):
        if type(text) is str:
            presented = read_token(text, rules.mac_keys, source=rules.tracking_source)
            if presented is not None and presented.verified:
                return Named(presented.session.session_id, keys)
    return Named(is_invalid=True)


class Call(msgspec.Struct, frozen=True):
    """What the steps need to know of one request besides the event."""

    request: Request
    source: str
    denied: bool
    reads_texts: bool
    tracking_headers: list[str]


def read_call(request: Request, source: str, pseudonymizer: Pseudonymizer) -> Call:
    """Read from headers and body what concerns each event of a request."""
    headers = request.headers
    named = [headers[name] for name in (b"x-jay-tracking", b"__secure-jay_tracking") if headers.get(name)]
    texts = [text.decode("latin-1") for text in named]
    return Call(request, source, headers_deny(headers), pseudonymizer.has_to_read(request.body), texts)


def wrap(checked: Checked, call: Call, rules: MediaRules, *, session_id: str, event_id: str) -> Envelope:
    """Put pseudonyms in the place of identities, and the event into its envelope.

    Under a denial the event names no tracking session: that would link it to the viewer's other requests. A token
    in the custom metadata is replaced by the session's id, because a token holds the user's name.
    """
    event = checked.event
    pseudonymized = rules.pseudonymizer.over_event(event, denied=call.denied, reads_texts=call.reads_texts)
    is_denied = pseudonymized.consent == "denied"
    named = _NAMED_NONE if is_denied else read_tracking(event, call.tracking_headers, rules)
    for key in named.keys:
        pseudonymized.value[METADATA][key] = named.session_id
    return media_event(
        pseudonymized.value,
        event_id=event_id,
        session_id=session_id,
        source=call.source,
        received=call.request.received,
        tracking_session_id=named.session_id,
        tracking_verified=named.session_id is not None,
        consent=pseudonymized.consent,
        flags=[*checked.flags, NOT_VALID] if named.is_invalid else checked.flags,
    )


class Media:
    """The routes."""

    def __init__(
        self,
        rules: MediaRules,
        accept: Accept,
        rates: Rates,
        *,
        entropy: Entropy,
        monotonic_s: Callable[[], float],
    ) -> None:
        self._rules = rules
        self._accept = accept
        self._rates = rates
        self._entropy = entropy
        self._monotonic_s = monotonic_s
        self._ended = Ended()
        self._turns = Turns()

    async def start_session(self, request: Request) -> Reply:
        """POST /api/v1/sessions: one sessionStart, or an offline session in the older form."""
        if request.body.lstrip()[:1] == b"[":
            return await self._store_offline(request, SOURCE_MEDIA)
        now_ms = _milliseconds(request)
        checked = check(read_json(request.body), self._rules, now_ms=now_ms)
        if not checked.event_type.starts:
            raise InvalidEvent(f"Expected `eventType` to be sessionStart here, got {checked.event_type.name}")
        if _is_downloaded(checked):
            raise InvalidEvent("Expected an array of events where `media.downloaded` is true")
        session, event_id = self._new_session(request, now_ms)
        call = read_call(request, SOURCE_MEDIA, self._rules.pseudonymizer)
        envelope = wrap(checked, call, self._rules, session_id=session.id, event_id=event_id)
        await self._accept.append(session.partition, envelope)
        return created(session.id)

    def _new_session(self, request: Request, now_ms: int) -> tuple[MediaSession, str]:
        key = request.headers.get(b"idempotency-key")
        if key:
            digest = hashlib.sha256(request.body).digest()
            session = self._derive_session(b"start\0" + hashlib.sha256(key).digest() + digest)
            return session, derive_event_id(b"start", session.id.encode(), *_denial(request))
        session = mint_media_session(
            self._rules.mac_keys,
            partition=self._accept.any_partition(),
            started_ms=now_ms,
            entropy=self._entropy,
        )
        return session, mint_event_id(now_ms=now_ms, entropy=self._entropy)

    def _derive_session(self, request: bytes) -> MediaSession:
        partitions = self._accept.writer.partitions
        return derive_media_session(self._rules.mac_keys, partitions=partitions, request=request)

    async def add_event(self, request: Request) -> Reply:
        """POST /api/v1/sessions/{session_id}/events: one event of any type but sessionStart."""
        now_ms = _milliseconds(request)
        session = verify_media_session(self._rules.mac_keys, request.path_params["session_id"])
        if session is None:
            raise UnknownSession("No session has this id; start a new session")
        checked = check(read_json(request.body), self._rules, now_ms=now_ms)
        if checked.event_type.starts:
            raise InvalidEvent("Expected any `eventType` but sessionStart, which makes a session of its own")
        self._check_open(session, checked, now_ms)
        call = read_call(request, SOURCE_MEDIA, self._rules.pseudonymizer)
        event_id = self._event_id(request, session, now_ms)
        envelope = wrap(checked, call, self._rules, session_id=session.id, event_id=event_id)
        await self._accept.append(session.partition, envelope)
        if checked.event_type.ends:
            ts_ms = checked.event["playerTime"]["ts"]
            self._ended.remember(session.id, ts_ms=ts_ms, received_ms=now_ms, now_s=self._monotonic_s())
        return NO_CONTENT

    def _check_open(self, session: MediaSession, checked: Checked, now_ms: int) -> None:
        """Raise SessionOver for what a session takes no more. A repeated sessionEnd is always welcome."""
        if checked.event_type.ends:
            return
        if session.started_ms is not None and now_ms - session.started_ms > self._rules.session_length_s * 1000:
            raise SessionOver("The session is older than 24 hours; start a new session")
        ts_ms = checked.event["playerTime"]["ts"]
        if self._ended.is_over(session.id, ts_ms=ts_ms, now_s=self._monotonic_s()):
            raise SessionOver("The session has ended; start a new session")

    def _event_id(self, request: Request, session: MediaSession, now_ms: int) -> str:
        key = request.headers.get(b"idempotency-key")
        if key:
            return derive_event_id(
                b"event", session.id.encode(), key, hashlib.sha256(request.body).digest(), *_denial(request)
            )
        return mint_event_id(now_ms=now_ms, entropy=self._entropy)

    async def store_downloaded(self, request: Request) -> Reply:
        """POST /api/v1/downloaded: a whole session that was played offline."""
        return await self._store_offline(request, SOURCE_DOWNLOADED)

    async def _store_offline(self, request: Request, source: str) -> Reply:
        """Store all events or refuse all. Ids come from the body: posted again, it completes what is missing.

        The events are checked twice, all of them and again as they are stored: in between only their JSON is in
        memory.
        """
        events = cut(request.body)
        self._rates.charge(request.sender, self._monotonic_s(), max(0, len(events) - 1))
        pseudonymizer = self._rules.pseudonymizer
        checks = self._check_each(events, request, source)
        denials = await self._turns.take(pseudonymizer.denies(checked.event) for checked in checks)
        digest = hashlib.sha256(request.body).digest()
        session = self._derive_session(b"offline\0" + digest)
        call = read_call(request, source, self._rules.pseudonymizer)
        if any(denials):
            call = msgspec.structs.replace(call, denied=True)
        envelopes = (
            wrap(
                checked,
                call,
                self._rules,
                session_id=session.id,
                event_id=derive_event_id(
                    b"offline", session.id.encode(), digest, index.to_bytes(4), *_denial(request)
                ),
            )
            for index, checked in enumerate(self._check_each(events, request, source))
        )
        await self._accept.append_all(session.partition, self._turns.groups(envelopes, TOGETHER_MAX))
        return created(session.id)

    def _check_each(self, events: Sequence[msgspec.Raw], request: Request, source: str) -> Iterator[Checked]:
        """Check one event after the other. Raises NotJson or InvalidEvent, with the index of the first bad one."""
        if not events:
            raise InvalidEvent("Expected an array of events, the first a sessionStart")
        now_ms = _milliseconds(request)
        for index, event in enumerate(events):
            try:
                checked = check(read_json(bytes(event)), self._rules, now_ms=now_ms)
                if checked.event_type.starts is not (index == 0):
                    wanted = "to be sessionStart" if index == 0 else "other than sessionStart"
                    raise InvalidEvent(f"Expected `eventType` {wanted}, got {checked.event_type.name}")
            except (NotJson, InvalidEvent) as fault:
                raise type(fault)(f"event {index}: {fault}") from None
            if index == 0 and source == SOURCE_MEDIA and not _is_downloaded(checked):
                raise InvalidEvent("event 0: Expected `media.downloaded` to be true - at `$.params`")
            yield checked

    async def get_schema(self, request: Request) -> Reply:
        """GET /api/v1/schemas/{event_type}: the JSON Schema of one event type."""
        name = request.path_params["event_type"]
        if name not in EVENT_TYPES:
            raise NoSuchRoute(f"No event type has this name; there are {', '.join(EVENT_TYPES)}")
        return json_reply(200, json_schema(name), cors("media", None))


def _denial(request: Request) -> list[bytes]:
    """Return what a denial adds to derived ids: repeated with one, a request must not pass for what is stored."""
    return [b"denied"] if headers_deny(request.headers) else []


def _is_downloaded(checked: Checked) -> bool:
    return checked.event["params"].get("media.downloaded") is True


def _milliseconds(request: Request) -> int:
    return int(request.received.timestamp() * 1000)
