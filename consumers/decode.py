"""Decode one record of the log: a media event, a tracking event, or a bad record. Never raises.

Every record is checked again, whoever wrote it: other producers may write to the topic, and an older or newer
Playhead may have. What is not understood keeps its bytes and gets a reason, and the next record is read.
"""

from datetime import UTC, datetime
from functools import lru_cache
from sys import intern
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from eventlog import Record
from schemas.client import UNKNOWN_CLIENT
from schemas.faults import Fault
from schemas.media import AHEAD_MS_MAX, PlainEvent, PlayerTime, Scalar, check_event, check_plain_event
from schemas.paths import TOP_KEYS
from schemas.records import (
    MEDIA,
    REJECTED,
    TRACKING_CREATED,
    TRACKING_DELETED,
    Envelope,
    Rejected,
    TrackingCreated,
    TrackingDeleted,
    client_in,
)
from schemas.vocabulary import EVENT_TYPES, EventType
from sessions.event import Bad, Event, Tracking

ID_CHARACTERS_MAX = 256
RECEIVED_MS_MAX = int(datetime(2100, 1, 1, tzinfo=UTC).timestamp()) * 1000
RECEIVED_MS_MIN = int(datetime(2000, 1, 1, tzinfo=UTC).timestamp()) * 1000
NO_OFFSET = "receivedtime is no time with an offset"
# A record reaches the log within the deadline of its append, seconds after its arrival. An ingest whose stamp is
# further from the log's own clock has a wrong clock. Less than half of the shortest usual idle time (10 minutes).
CLOCK_MS_MAX = 120_000
SHARED_MAX, SHARED_BYTES_MAX = 10_000, 256  # texts of qoeData that are checked once, and how long they may be
INGEST_CLOCK, FUTURE_TS = "ingest_clock", "future_ts"
Text = TypeVar("Text", str, str | None)
RECORD_TYPES = {name: MEDIA + name for name in EVENT_TYPES}


_Id = Annotated[str, msgspec.Meta(min_length=1, max_length=ID_CHARACTERS_MAX)]


class PlainEnvelope(Envelope, gc=False):
    """A record of a media event of the usual shape, which one call decodes and checks."""

    specversion: Literal["1.0"]
    id: _Id
    subject: _Id
    receivedtime: Annotated[datetime, msgspec.Meta(tz=True)]
    data: PlainEvent


_envelope = msgspec.json.Decoder(Envelope)
_plain = msgspec.json.Decoder(PlainEnvelope)
_json = msgspec.json.Decoder()
_quality = msgspec.json.Decoder(dict[str, Scalar] | None)
_encode = msgspec.json.Encoder().encode


def decode(record: Record) -> Event | Tracking | Bad:
    """Decode a record. Reasons of Bad: those of the fault tree, and `unknown_type`, `future_version`."""
    value = record.value
    try:
        plain = _plain.decode(value)
        event_type = check_plain_event(plain.data)
        qoe = _quality_of(bytes(plain.data.qoeData))
    except (msgspec.MsgspecError, Fault, UnicodeDecodeError, RecursionError, ValueError):
        return _decode_other(record)
    if (
        plain.type != RECORD_TYPES[event_type.name]
        or plain.appendedtime is not None
        or (b"\\" in value and b"\\u0000" in value)  # one byte is found in a tenth of the time
    ):
        return _decode_other(record)
    received_ms, is_clock_wrong = arrival(
        int(plain.receivedtime.timestamp() * 1000), appended_ms=record.appended_ms
    )
    return _event(record, plain, plain.data, event_type, received_ms, qoe=qoe, is_clock_wrong=is_clock_wrong)


def _decode_other(record: Record) -> Event | Tracking | Bad:
    """Decode a record that is not a media event of the usual shape."""
    try:
        envelope = _envelope.decode(record.value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
        return _bad(record, "invalid_event" if _is_json(record.value) else "not_json", str(error))
    if envelope.receivedtime.tzinfo is None:
        return _bad(record, "invalid_event", NO_OFFSET)
    if not _is_id(envelope.id) or (envelope.subject and not _is_id(envelope.subject)):
        return _bad(record, "invalid_event", f"id and subject need 1 to {ID_CHARACTERS_MAX} characters, no NUL")
    return _classify(record, _without_nul(envelope))


def _is_json(value: bytes) -> bool:
    """Return whether a record is JSON at all; a decoder that knows the shape may stop before the error."""
    try:
        _json.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError):
        return False
    return True


def _classify(record: Record, envelope: Envelope) -> Event | Tracking | Bad:
    if envelope.specversion != "1.0":
        return _bad(record, "future_version", f"CloudEvents {envelope.specversion[:16]} is not understood")
    stamped_ms = int(envelope.receivedtime.timestamp() * 1000)
    if envelope.appendedtime is not None:
        return _replayed(record, envelope, stamped_ms, envelope.appendedtime)
    received_ms, is_clock_wrong = arrival(stamped_ms, appended_ms=record.appended_ms)
    return _content(record, envelope, received_ms, is_clock_wrong=is_clock_wrong)


def _replayed(record: Record, envelope: Envelope, stamped_ms: int, appended: datetime) -> Event | Tracking | Bad:
    """Decode a record that was appended once more: its arrival is judged by when it was appended first."""
    appended_ms = min(int(appended.timestamp() * 1000), record.appended_ms)
    received_ms, is_clock_wrong = arrival(stamped_ms, appended_ms=appended_ms)
    entry = _content(record, envelope, received_ms, is_clock_wrong=is_clock_wrong)
    return msgspec.structs.replace(entry, is_replay=True)


def _content(
    record: Record, envelope: Envelope, received_ms: int, *, is_clock_wrong: bool
) -> Event | Tracking | Bad:
    try:
        if envelope.type.startswith(MEDIA):
            return _media(record, envelope, received_ms, is_clock_wrong=is_clock_wrong)
        if envelope.type == REJECTED:
            rejected = msgspec.convert(envelope.data, Rejected)
            reason, detail = _printable(rejected.reason), _printable(rejected.detail)
            return Bad(
                record.offset,
                received_ms,
                "ingest",
                reason,
                detail,
                record.value,
                key_name=_printable(rejected.key_name),
                player_name=_printable(rejected.player_name),
                app_version=_printable(rejected.app_version),
                session_id=_printable(rejected.session_id),
            )
        if envelope.type in (TRACKING_CREATED, TRACKING_DELETED):
            return _tracking(record, envelope, received_ms)
    except Fault as fault:
        return _bad(record, fault.code, str(fault), received_ms)
    except (msgspec.MsgspecError, RecursionError, ValueError, OverflowError) as error:
        return _bad(record, "invalid_event", str(error), received_ms)
    return _bad(record, "unknown_type", f"type {envelope.type[:64]!r} is not understood", received_ms)


def arrival(stamped_ms: int, *, appended_ms: int) -> tuple[int, bool]:
    """Return when a record arrived, and whether the clock was wrong by which its ingest stamped it.

    A stamp within two minutes of the log's own time is believed, as far as nothing arrives after the log has it.
    """
    took_ms = appended_ms - stamped_ms  # compared without calls: this is done for each record
    if -CLOCK_MS_MAX <= took_ms <= CLOCK_MS_MAX and RECEIVED_MS_MIN <= stamped_ms <= RECEIVED_MS_MAX:
        return (stamped_ms if took_ms >= 0 else appended_ms), False
    # A log whose time is that of other producers may say anything.
    return min(max(appended_ms, 0), RECEIVED_MS_MAX), True


def _is_moment(time: datetime) -> bool:
    """Return whether the lake can store and compare a time."""
    return time.tzinfo is not None and RECEIVED_MS_MIN <= int(time.timestamp() * 1000) <= RECEIVED_MS_MAX


def _is_id(text: str) -> bool:
    """Return whether a text can be an id."""
    return 0 < len(text) <= ID_CHARACTERS_MAX and "\0" not in text


def _quality_of(text: bytes) -> bytes | None:
    """Return qoeData as JSON of our own; None for none. Raises ValidationError unless all values are plain."""
    return _shared_quality(text) if len(text) <= SHARED_BYTES_MAX else _check_quality(text)


def _check_quality(text: bytes) -> bytes | None:
    values = _quality.decode(text) if text else None
    return None if values is None else _encode(values)


_shared_quality = lru_cache(maxsize=SHARED_MAX)(_check_quality)


def _printable(text: Text) -> Text:
    """Return a text with U+FFFD for NUL: DuckLake cannot compare a text that has one, and a join would fail."""
    return text if text is None else text.replace("\0", "\ufffd")


def _without_nul(envelope: Envelope) -> Envelope:
    return msgspec.structs.replace(
        envelope,
        source=_printable(envelope.source),
        trackingsession=_printable(envelope.trackingsession),
        consent=_printable(envelope.consent),
        flags=_printable(envelope.flags),
        requesthashes=_printable(envelope.requesthashes),
        devicetype=_printable(envelope.devicetype),
        os=_printable(envelope.os),
        browser=_printable(envelope.browser),
        country=_printable(envelope.country),
        region=_printable(envelope.region),
        keyname=_printable(envelope.keyname),
    )


def _bad(record: Record, reason: str, detail: str, received_ms: int | None = None) -> Bad:
    at = min(max(record.appended_ms, 0), RECEIVED_MS_MAX) if received_ms is None else received_ms
    return Bad(record.offset, at, "worker", reason, detail[:500], record.value)


def _media(record: Record, envelope: Envelope, received_ms: int, *, is_clock_wrong: bool) -> Event | Bad:
    data = envelope.data
    check_event(data, now_ms=received_ms)
    other = {key: value for key, value in data.items() if key not in TOP_KEYS} or None
    known = {key: value for key, value in data.items() if key in TOP_KEYS}
    qoe = known.pop("qoeData", None)
    plain = PlainEvent(**{**known, "playerTime": msgspec.convert(data["playerTime"], PlayerTime)})
    event_type = check_plain_event(plain)
    if not envelope.subject or envelope.type != RECORD_TYPES[event_type.name]:
        return _bad(record, "invalid_event", "subject or type does not fit the data", received_ms)
    return _event(
        record,
        envelope,
        plain,
        event_type,
        received_ms,
        qoe=None if qoe is None else _encode(qoe),
        is_clock_wrong=is_clock_wrong,
        other=other,
    )


def _event(
    record: Record,
    envelope: Envelope,
    data: PlainEvent,
    event_type: EventType,
    received_ms: int,
    *,
    qoe: bytes | None,
    is_clock_wrong: bool,
    other: dict[str, Any] | None = None,
) -> Event:
    """Return the event of a record that was checked, with its qoeData as JSON.

    `other` are the keys that the protocol does not know.
    """
    flags = tuple(envelope.flags.split(",")) if envelope.flags else ()
    time, tracking, consent = data.playerTime, envelope.trackingsession, envelope.consent
    if is_clock_wrong:
        flags = reflagged(flags, ahead_ms=time.ts - received_ms)
    params, metadata = data.params, data.customMetadata
    # By place: by name it would take five times as long. Texts that many events say are kept once.
    return Event(
        envelope.id,
        intern(envelope.subject),
        event_type,
        time.ts,
        received_ms,
        time.ts,
        record.offset,
        time.playhead,
        None if params is None else _encode(params),
        qoe,
        None if metadata is None else _encode(metadata),
        None if other is None else _encode(other),
        flags,
        None if tracking is None else intern(tracking),
        envelope.trackingverified,
        None if consent is None else intern(consent),
        intern(envelope.source),
        envelope.requesthashes,
        _client(envelope) if event_type.starts else None,
    )


def _client(envelope: Envelope) -> bytes | None:
    """Return what a record says of the sender, as JSON; None if that is nothing."""
    client = client_in(envelope)
    return None if client == UNKNOWN_CLIENT else _encode(client)


def reflagged(flags: tuple[str, ...], *, ahead_ms: int) -> tuple[str, ...]:
    """Return the flags of an event whose ingest had a wrong clock: what it said of the player's clock is void."""
    kept = tuple(flag for flag in flags if flag not in (FUTURE_TS, INGEST_CLOCK))
    return (*kept, *((FUTURE_TS,) if ahead_ms > AHEAD_MS_MAX else ()), INGEST_CLOCK)


def _tracking(record: Record, envelope: Envelope, received_ms: int) -> Tracking:
    if envelope.type == TRACKING_CREATED:
        created = msgspec.convert(envelope.data, TrackingCreated)
        playout, user = _printable(created.playout_id), _printable(created.user_id)
        source = _printable(created.source)
        change, session, started, verified = "created", created.session_id, created.start_time, True
    else:
        deleted = msgspec.convert(envelope.data, TrackingDeleted)
        playout, user, source = _printable(deleted.playout_id), None, None
        change, session, started, verified = "deleted", deleted.session_id, None, deleted.verified
    if started is not None and not _is_moment(started):
        if started.tzinfo is None or _is_moment(envelope.receivedtime):
            raise ValueError("start_time is no time with an offset between 2000 and 2100")
        started = None  # by an ingest that did not know the year either
    if not _is_id(session):
        raise ValueError("session_id is no id")
    return Tracking(
        event_id=envelope.id,
        change=change,
        tracking_session_id=session,
        playout_id=playout,
        user_id=user,
        source=source,
        started_at=started,
        verified=verified,
        consent=envelope.consent,
        received_ms=received_ms,
        offset=record.offset,
    )
