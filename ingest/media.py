"""The Media Collection API: sessions, their events, whole offline sessions.

Each event goes through the same steps: decode strictly, check the vocabulary (`Incoming`), replace identities and
wrap (`Envelope`), append, reply; all but the append are pure. Bodies are taken for JSON whatever their
Content-Type says: players send them form-encoded, as plain text, or without one.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec

from ingest.accept import TOGETHER_MAX, Accept
from ingest.arrays import Turns, cut_as_meant
from ingest.clients import Clients, read_clients
from ingest.cors import NO_CONTENT
from ingest.ended import RecentEnds
from ingest.findings import Takes, joined
from ingest.http import Reply
from ingest.identity import METADATA, Pseudonymizer, read_pseudonymizer
from ingest.incoming import Incoming, flaws_of, read, rest_in_words
from ingest.intake import Intake, Request
from ingest.keys import ApiKeys
from ingest.names import TRACKING_KEYS
from ingest.replies import created
from ingest.retries import request_hashes
from ingest.tokens import read_token
from ingest.wrong_paths import why_unknown
from schemas.faults import InvalidEvent, NotJson, Refusal, SessionOver, UnknownSession
from schemas.ids import (
    Entropy,
    MediaSession,
    derive_event_id,
    derive_media_session,
    mint_event_id,
    mint_media_session,
    verify_media_session,
)
from schemas.media import read_json
from schemas.records import SOURCE_DOWNLOADED, SOURCE_MEDIA, Envelope, describe_client, media_event
from schemas.settings import Settings

TRACKING_HEADERS: Final = (b"x-jay-tracking", b"__secure-jay_tracking")
NOT_VALID: Final = "tracking_not_valid"
REFUSED_NAMED_MAX: Final = 4  # so many events of an array


class MediaRules(msgspec.Struct, frozen=True):
    """What of the settings decides about media events."""

    mac_keys: Sequence[bytes]
    pseudonym_key: bytes
    pseudonymizer: Pseudonymizer
    clients: Clients
    tracking_source: str
    strict: bool
    session_length_s: float


def read_rules(settings: Settings, keys: ApiKeys) -> MediaRules:
    """Pick them from the settings. Raises NotReady if a key is missing, or a file cannot be used."""
    return MediaRules(
        mac_keys=settings.keys_of_mac(),
        pseudonym_key=settings.key_of_pseudonyms(),
        pseudonymizer=read_pseudonymizer(Pseudonymizer, settings),
        clients=read_clients(settings, keys),
        tracking_source=settings.tracking_source,
        strict=settings.strict,
        session_length_s=settings.session_length_s,
    )


def envelope(
    incoming: Incoming,
    request: Request,
    rules: MediaRules,
    *,
    source: str,
    session_id: str,
    event_id: str,
    denied: bool,
    reads_texts: bool,
) -> Envelope:
    """Put pseudonyms in the place of identities, and the event into its envelope.

    `denied` and `reads_texts` are those of the whole request. Under a denial the event names no tracking session:
    that would link it to the viewer's other requests. A token in the custom metadata is replaced by the id of its
    session, because a token holds the user's name. A sessionStart describes its sender.
    """
    flags = incoming.flags
    event, consent = rules.pseudonymizer.over_event(incoming.event, denied=denied, reads_texts=reads_texts)
    tracking_session_id = None
    if consent != "denied" and (named := _named(incoming, request)):
        tracking_session_id = _tracking_session(named, rules)
        if tracking_session_id is None:
            flags = [*flags, NOT_VALID]
        else:
            for key in TRACKING_KEYS:
                if key in named:
                    event[METADATA][key] = tracking_session_id
    wrapped = media_event(
        event,
        event_id=event_id,
        session_id=session_id,
        source=source,
        received=request.received,
        tracking_session_id=tracking_session_id,
        tracking_verified=tracking_session_id is not None,
        consent=consent,
        flags=flags,
    )
    if incoming.event_type.starts:
        describe_client(wrapped, rules.clients.of(request, denied=consent == "denied"))
    return wrapped


def _named(incoming: Incoming, request: Request) -> dict[str, Any]:
    """Return what names a tracking session, by header, then by key of custom metadata."""
    named: dict[str, Any] = {}
    for header in TRACKING_HEADERS:
        if value := request.headers.get(header):
            named[header.decode()] = value.decode("latin-1")
    metadata = incoming.event.get(METADATA)
    if type(metadata) is dict:
        for key in TRACKING_KEYS:
            if key in metadata:
                named[key] = metadata[key]
    return named


def _tracking_session(named: dict[str, Any], rules: MediaRules) -> str | None:
    """Return the first tracking session of ours that is named."""
    for text in named.values():
        if type(text) is str:
            presented = read_token(text, rules.mac_keys, source=rules.tracking_source)
            if presented is not None and presented.verified:
                return presented.session.session_id
    return None


class Media:
    """The routes that take events."""

    def __init__(
        self,
        rules: MediaRules,
        accept: Accept,
        intake: Intake,
        *,
        entropy: Entropy,
        monotonic_s: Callable[[], float],
    ) -> None:
        self._rules = rules
        self._accept = accept
        self._intake = intake
        self._entropy = entropy
        self._monotonic_s = monotonic_s
        self._ended = RecentEnds()
        self._turns = Turns()

    async def start_session(self, request: Request) -> Reply:
        """POST /api/v1/sessions: one sessionStart, or an offline session in the older form."""
        if request.body.lstrip()[:1] == b"[":
            return await self._store_offline(request, SOURCE_MEDIA)
        now_ms = _milliseconds(request)
        incoming = read(request.body, strict=self._rules.strict, takes="a live sessionStart", now_ms=now_ms)
        session, event_id = self._new_session(request, now_ms)
        wrapped = self._wrap(incoming, request, session, event_id)
        self._note_start(wrapped, request)
        await self._accept.append(session.partition, wrapped)
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

    def _wrap(self, incoming: Incoming, request: Request, session: MediaSession, event_id: str) -> Envelope:
        """Wrap the one event of a request."""
        return envelope(
            incoming,
            request,
            self._rules,
            source=SOURCE_MEDIA,
            session_id=session.id,
            event_id=event_id,
            denied=request.denied,
            reads_texts=self._rules.pseudonymizer.has_to_read(request.body),
        )

    def _note_start(self, start: Envelope, request: Request) -> None:
        """Note by what this start would be known again."""
        start.requesthashes = ",".join(request_hashes(self._rules.pseudonym_key, request))

    async def add_event(self, request: Request) -> Reply:
        """POST /api/v1/sessions/{session_id}/events: one event of any type but sessionStart."""
        now_ms = _milliseconds(request)
        session = verify_media_session(self._rules.mac_keys, request.parameter or "")
        if session is None:
            raise UnknownSession(why_unknown(request.parameter or ""))
        incoming = read(request.body, strict=self._rules.strict, takes="any other event", now_ms=now_ms)
        self._check_open(session, incoming, now_ms)
        event_id = self._event_id(request, session, now_ms)
        await self._accept.append(session.partition, self._wrap(incoming, request, session, event_id))
        if incoming.event_type.ends:
            now_s = self._monotonic_s()
            self._ended.remember(session.id, ts_ms=incoming.ts_ms, received_ms=now_ms, now_s=now_s)
        return NO_CONTENT

    def _check_open(self, session: MediaSession, incoming: Incoming, now_ms: int) -> None:
        """Raise SessionOver for what a session takes no more. A repeated sessionEnd is always welcome."""
        if incoming.event_type.ends:
            return
        if session.started_ms is not None and now_ms - session.started_ms > self._rules.session_length_s * 1000:
            raise SessionOver("The session is older than 24 hours; start a new session")
        if self._ended.is_over(session.id, ts_ms=incoming.ts_ms, now_s=self._monotonic_s()):
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
        events, fault = cut_as_meant(request.body)
        self._intake.charge(request, max(0, len(events) - 1))
        if fault is not None:
            bad = await self._turns.take(self._bad_ones(events, fault, request, source))
            raise fault.and_also([_first_bad_ones(filter(None, bad))] if any(bad) else [])
        pseudonymizer = self._rules.pseudonymizer
        checks = self._check_each(events, request, source)
        denials = await self._turns.take(pseudonymizer.denies(incoming.event) for incoming in checks)
        digest = hashlib.sha256(request.body).digest()
        session = self._derive_session(b"offline\0" + digest)
        denied = request.denied or any(denials)
        reads_texts = pseudonymizer.has_to_read(request.body)

        def wrap(index: int, incoming: Incoming) -> Envelope:
            index_and_denial = index.to_bytes(4), *_denial(request)
            wrapped = envelope(
                incoming,
                request,
                self._rules,
                source=source,
                session_id=session.id,
                event_id=derive_event_id(b"offline", session.id.encode(), digest, *index_and_denial),
                denied=denied,
                reads_texts=reads_texts,
            )
            if index == 0:  # it may have come alone before, and its reply was lost
                self._note_start(wrapped, msgspec.structs.replace(request, body=bytes(events[0])))
            return wrapped

        envelopes = (wrap(*each) for each in enumerate(self._check_each(events, request, source)))
        await self._accept.append_all(session.partition, self._turns.groups(envelopes, TOGETHER_MAX))
        return created(session.id)

    def _check_each(self, events: Sequence[msgspec.Raw], request: Request, source: str) -> Iterator[Incoming]:
        """Check one event after the other. Raises NotJson or InvalidEvent, naming the first bad ones by index."""
        now_ms = _milliseconds(request)
        refused: list[Refusal] = []
        for index, event in enumerate(events):
            takes = _takes(index, source)
            try:
                incoming = read(bytes(event), strict=self._rules.strict, takes=takes, now_ms=now_ms)
            except (NotJson, InvalidEvent) as fault:
                refused.append(type(fault)(f"event {index}: {fault}"))
                if len(refused) > REFUSED_NAMED_MAX:
                    break
            else:
                yield incoming
        if refused:
            raise type(refused[0])(_first_bad_ones(map(str, refused)))

    def _bad_ones(
        self, events: Sequence[msgspec.Raw], fault: NotJson, request: Request, source: str
    ) -> Iterator[str]:
        """Say of one event after the other what is wrong beyond the flaws of the bytes: nothing, if it is good."""
        now_ms, found = _milliseconds(request), 0
        for index, event in enumerate(events):
            flaws, takes = flaws_of(fault.flaws, index), _takes(index, source)
            try:
                value = read_json(bytes(event))
            except NotJson as another:
                words = str(another)
            else:
                words = rest_in_words(value, flaws, takes, strict=self._rules.strict, now_ms=now_ms)
            yield f"event {index}: {words}" if words else ""
            found += bool(words)
            if found > REFUSED_NAMED_MAX:
                break


def _takes(index: int, source: str) -> Takes:
    """Return what the place of an event in an array takes."""
    if index:
        return "any other event"
    return "an offline sessionStart" if source == SOURCE_MEDIA else "a sessionStart"


def _first_bad_ones(said: Iterable[str]) -> str:
    return joined(said, at_most=REFUSED_NAMED_MAX, more="and more events")


def _denial(request: Request) -> list[bytes]:
    """Return what a denial adds to derived ids: repeated with one, a request must not pass for what is stored."""
    return [b"denied"] if request.denied else []


def _milliseconds(request: Request) -> int:
    return int(request.received.timestamp() * 1000)
