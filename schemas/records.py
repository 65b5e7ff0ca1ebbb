"""The records of the log: each is one CloudEvents 1.0 event in structured JSON, with our extensions.

    type                        subject and key      data
    playhead.media.<eventType>  media session id     the validated event, identities replaced by pseudonyms
    playhead.tracking.created   tracking session id  TrackingCreated
    playhead.tracking.deleted   tracking session id  TrackingDeleted
    playhead.rejected           (none)               Rejected

CloudEvents extensions have lower-case names without separators and scalar values, so `flags` is one text,
separated by commas. `time` is the player's own time of the event, `receivedtime` that of its arrival at ingest.
"""

from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec

from schemas.client import Client

SPEC_VERSION = "1.0"
MEDIA = "playhead.media."
TRACKING_CREATED = "playhead.tracking.created"
TRACKING_DELETED = "playhead.tracking.deleted"
REJECTED = "playhead.rejected"

SOURCE_MEDIA = "/api/v1/sessions"
SOURCE_DOWNLOADED = "/api/v1/downloaded"
SOURCE_TRACKING = "/v1/playouts/tracking/session"


class Envelope(msgspec.Struct, omit_defaults=True, kw_only=True):
    """One CloudEvents event, the value of a record.

    `trackingsession` is the tracking session that a media call named; it is absent if consent was denied.
    `trackingverified` says whether we issued it: always true, except in records from before 0.2.
    `consent` is `given` (a user identity and no denial), `denied` (a signal that is not a grant), or absent.
    `requesthashes` of a sessionStart are keyed hashes of its request, joined by commas (`ingest/retries.py`).
    `devicetype`, `os`, `browser`, `isbot`, `country`, `region` and `keyname` of a sessionStart describe its sender
    (`schemas/client.py`); what is not known is absent, and under a denial `os`, `browser`, `isbot` and `region`.
    `replayof` is the position (`partition:offset`) of an earlier record of this event, which a worker could not
    decode, and `appendedtime` when the log took it; `playhead quarantine replay` appended this one.
    """

    specversion: str
    id: str
    source: str
    type: str
    subject: str = ""
    time: datetime
    datacontenttype: str = "application/json"
    receivedtime: datetime
    trackingsession: str | None = None
    trackingverified: bool = False
    consent: str | None = None
    flags: str = ""
    requesthashes: str = ""
    devicetype: str | None = None
    os: str | None = None
    browser: str | None = None
    isbot: bool | None = None
    country: str | None = None
    region: str | None = None
    keyname: str | None = None
    replayof: str | None = None
    appendedtime: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    data: Any


class TrackingCreated(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A new tracking session. `user_id` is a pseudonym; under a denial it and `playout_id` are absent."""

    session_id: str
    start_time: datetime
    source: str
    playout_id: str | None = None
    user_id: str | None = None


class TrackingDeleted(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A deleted tracking session. `verified`: whether we had issued its id; if not, the id is a pseudonym."""

    session_id: str
    playout_id: str | None = None
    verified: bool = False


class Rejected(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A refused body: the reason, its size and keyed hash, and, if it is JSON, itself with identities replaced.

    `key_name` is the name of the request's API key, never the key (`unknown`: a wrong one), `player_name` and
    `app_version` are what the body says of its player, `session_id` is the session of ours that the path names;
    each is absent if there is none.
    """

    reason: str
    detail: str
    size_bytes: int
    hmac_sha256: str
    route: str
    key_name: str | None = None
    player_name: str | None = None
    app_version: str | None = None
    session_id: str | None = None
    body: Any = None


encode = msgspec.json.Encoder().encode


def media_event(
    event: dict[str, Any],
    *,
    event_id: str,
    session_id: str,
    source: str,
    received: datetime,
    tracking_session_id: str | None = None,
    tracking_verified: bool = False,
    consent: str | None = None,
    flags: tuple[str, ...] | list[str] = (),
) -> Envelope:
    """Wrap a checked event. Its `time` is the player's own timestamp, as given."""
    return Envelope(
        specversion=SPEC_VERSION,
        id=event_id,
        source=source,
        type=MEDIA + event["eventType"],
        subject=session_id,
        time=datetime.fromtimestamp(event["playerTime"]["ts"] / 1000, UTC),
        receivedtime=received,
        trackingsession=tracking_session_id,
        trackingverified=tracking_verified,
        consent=consent,
        flags=",".join(flags),
        data=event,
    )


def describe_client(envelope: Envelope, client: Client) -> None:
    """Add to the record of a sessionStart what is known of its sender."""
    envelope.devicetype, envelope.os, envelope.browser = client.device_type, client.os, client.browser
    envelope.isbot, envelope.country, envelope.region = client.is_bot, client.country, client.region
    envelope.keyname = client.key_name


def client_in(envelope: Envelope) -> Client:
    """Return what a record says of its sender."""
    return Client(
        envelope.devicetype,
        envelope.os,
        envelope.browser,
        envelope.isbot,
        envelope.country,
        envelope.region,
        envelope.keyname,
    )
