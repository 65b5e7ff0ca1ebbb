"""The event types of the Media Collection API, one row each.

Validation, `GET /api/v1/schemas/{eventType}`, the order of events with equal timestamps, the fold of a session,
the table `event_types` and the simulated viewers all read this table, so a new event type is one row.

The documentation calls many keys required that its own examples and vendors' connectors leave out. `required` is
what it says; `vital` is what an event is refused without, because it means nothing then: a change of state needs
the name of the state, a sessionStart needs `params` (the sessions request makes them mandatory, but none of
their keys). One refused adBreakStart turns 15 s of advertising into content, and one refused sessionStart loses
a viewer. `ingest/README.md` has the decision key by key.

Source: the Media Collection API's documentation, and what its real clients send.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

Kind = Literal["string", "integer", "number", "boolean", "customer ids", "states"]
Phase = Literal["", "start", "complete", "skip"]
PlayerMove = Literal["", "playing", "paused", "buffering"]
StateChange = Literal["", "start", "end", "update"]

LIVE_CONTENT_TYPES = frozenset(("live", "linear"))  # lower case; their playhead is the second of the day
STATE_NAMES = (
    "fullscreen",
    "mute",
    "closedCaptioning",
    "pictureInPicture",
    "inFocus",
)  # those with a documented name


class Param(msgspec.Struct, frozen=True):
    """One key of `params` or `qoeData`: its name on the wire and its kind.

    `required`: the documentation wants it. `vital`: the event means nothing without it, and is refused.
    """

    key: str
    kind: Kind = "string"
    required: bool = False
    vital: bool = False


class EventType(msgspec.Struct, frozen=True, kw_only=True):
    """What one event type requires and what it does.

    `rank` orders events of equal client timestamp. `player`, `ad_break`, `ad`, `chapter` and `state` are its
    effects on each of these state machines ("" = none); `starts`, `completes` and `ends` those on the session.
    """

    name: str
    rank: int
    params: tuple[Param, ...] = ()
    player: PlayerMove = ""
    ad_break: Phase = ""
    ad: Phase = ""
    chapter: Phase = ""
    state: StateChange = ""
    starts: bool = False
    completes: bool = False
    ends: bool = False
    is_error: bool = False
    changes_bitrate: bool = False

    @property
    def required(self) -> tuple[Param, ...]:
        return tuple(param for param in self.params if param.required)

    @property
    def vital(self) -> tuple[Param, ...]:
        return tuple(param for param in self.params if param.vital)

    @property
    def needs_params(self) -> bool:
        """Whether the event is refused without `params`."""
        return self.starts or bool(self.vital)

    @property
    def only_reports(self) -> bool:
        """Whether it is a ping: it does nothing to player, ads, chapters, states or session."""
        machines = (self.player, self.ad_break, self.ad, self.chapter, self.state)
        changes = (self.starts, self.completes, self.ends, self.is_error, self.changes_bitrate)
        return not any(machines) and not any(changes)


def _strings(prefix: str, names: str) -> tuple[Param, ...]:
    return tuple(Param(prefix + name) for name in names.split())


SESSION_PARAMS = (
    Param("analytics.trackingServer", required=True),
    Param("analytics.reportSuite", required=True),
    Param("visitor.marketingCloudOrgId", required=True),
    Param("media.id", required=True),
    Param("media.length", "number", required=True),
    Param("media.contentType", required=True),
    Param("media.playerName", required=True),
    Param("media.channel", required=True),
    Param("analytics.enableSSL", "boolean"),
    Param("analytics.visitorId"),
    Param("analytics.aid"),
    Param("analytics.optOutServerSideForwarding", "boolean"),
    Param("analytics.optOutShare", "boolean"),
    Param("visitor.marketingCloudUserId"),
    Param("visitor.aamLocationHint", "integer"),
    Param("visitor.customerIDs", "customer ids"),
    Param("appInstallationId"),
    Param("media.resume", "boolean"),
    Param("media.downloaded", "boolean"),
    *_strings("media.", "name streamType sdkVersion libraryVersion publisher streamFormat show season episode"),
    *_strings("media.", "assetId genre firstAirDate firstDigitalDate rating originator network showType adLoad"),
    *_strings("media.", "pass.mvpd pass.auth dayPart feed artist album label author station"),
)
# The keys of a sessionStart that are columns of sessions, by which these are compared. `media.cdn` is ours: the
# protocol has no key for the CDN.
DIMENSION_KEYS: Mapping[str, str] = {
    "site": "analytics.reportSuite",
    "library_version": "media.libraryVersion",
    "cdn": "media.cdn",
    "show": "media.show",
    "season": "media.season",
    "episode": "media.episode",
    "genre": "media.genre",
    "network": "media.network",
    "publisher": "media.publisher",
    "originator": "media.originator",
    "asset_id": "media.assetId",
    "rating": "media.rating",
    "show_type": "media.showType",
    "stream_format": "media.streamFormat",
    "first_air_date": "media.firstAirDate",
    "first_digital_date": "media.firstDigitalDate",
    "ad_load": "media.adLoad",
    "mvpd": "media.pass.mvpd",
    "mvpd_auth": "media.pass.auth",
    "day_part": "media.dayPart",
    "feed": "media.feed",
    "artist": "media.artist",
    "album": "media.album",
    "label": "media.label",
    "author": "media.author",
    "station": "media.station",
}
AD_BREAK_PARAMS = (
    Param("media.ad.podIndex", "integer", required=True),
    Param("media.ad.podSecond", "number", required=True),
    Param("media.ad.podFriendlyName"),
)
AD_PARAMS = (
    Param("media.ad.id", required=True),
    Param("media.ad.length", "number", required=True),
    Param("media.ad.podPosition", "integer", required=True),
    Param("media.ad.playerName", required=True),
    *_strings("media.ad.", "name advertiser campaignId creativeId siteId creativeURL placementId"),
)
CHAPTER_PARAMS = (
    Param("media.chapter.index", "integer", required=True),
    Param("media.chapter.offset", "number", required=True),
    Param("media.chapter.length", "number", required=True),
    Param("media.chapter.friendlyName"),
)
STATE_PARAMS = (Param("media.state.name", required=True, vital=True),)
STATES_PARAMS = (Param("statesStart", "states"), Param("statesEnd", "states"))
ERROR_PARAMS = (
    Param("media.errorId"),
    Param("media.errorSource"),
)  # the 2026 form; the usual one is in qoeData

QOE = (
    Param("media.qoe.bitrate", "integer"),
    Param("media.qoe.droppedFrames", "integer"),
    Param("media.qoe.framesPerSecond", "number"),  # "integer" by the schema, 23.5 by Android players
    Param("media.qoe.timeToStart", "integer"),  # milliseconds
    Param("media.qoe.errorID"),
    Param("media.qoe.errorSource"),
)

EVENT_TYPES: dict[str, EventType] = {
    row.name: row
    for row in (
        EventType(name="sessionStart", rank=0, params=SESSION_PARAMS, starts=True),
        EventType(name="adComplete", rank=1, ad="complete"),
        EventType(name="adSkip", rank=1, ad="skip"),
        EventType(name="adBreakComplete", rank=2, ad_break="complete"),
        EventType(name="chapterComplete", rank=3, chapter="complete"),
        EventType(name="chapterSkip", rank=3, chapter="skip"),
        EventType(name="stateEnd", rank=4, params=STATE_PARAMS, state="end"),
        EventType(name="adBreakStart", rank=5, params=AD_BREAK_PARAMS, ad_break="start"),
        EventType(name="adStart", rank=6, params=AD_PARAMS, ad="start"),
        EventType(name="chapterStart", rank=7, params=CHAPTER_PARAMS, chapter="start"),
        EventType(name="stateStart", rank=8, params=STATE_PARAMS, state="start"),
        EventType(name="statesUpdate", rank=8, params=STATES_PARAMS, state="update"),
        EventType(name="play", rank=9, player="playing"),
        EventType(name="pauseStart", rank=9, player="paused"),
        EventType(name="bufferStart", rank=9, player="buffering"),
        EventType(name="bitrateChange", rank=10, changes_bitrate=True),
        EventType(name="error", rank=10, params=ERROR_PARAMS, is_error=True),
        EventType(name="ping", rank=10),
        EventType(name="sessionComplete", rank=11, completes=True),
        EventType(name="sessionEnd", rank=12, ends=True),
    )
}
