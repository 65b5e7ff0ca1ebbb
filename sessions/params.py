"""Read the params of events, which are as the player sent them: any key may be missing, or be of another type."""

from sys import intern
from typing import Any

import msgspec

from schemas.client import UNKNOWN_CLIENT, Client
from schemas.records import SOURCE_DOWNLOADED
from schemas.vocabulary import LIVE_CONTENT_TYPES, STATE_NAMES
from sessions.dimensions import ANY_KEYS, NO_DIMENSIONS, DimensionKeys, Dimensions, read_dimensions, read_own

TEXT_MAX = 1024
NUMBER_END = 1 << 53
QUALITY = "media.qoe."
# In lower case: the documentation has each of them in one place or another. Bare names count in qoeData alone.
ERROR_IDS = ("media.qoe.errorid", "media.errorid", "errorid")
ERROR_SOURCES = ("media.qoe.errorsource", "media.errorsource", "media.qoe.media.errorsource", "errorsource")
_STATES = {name.lower(): name for name in STATE_NAMES}


class Start(msgspec.Struct, frozen=True, gc=False):
    """What the sessionStart says of the session."""

    content_id: str | None = None
    content_name: str | None = None
    content_type: str | None = None
    stream_type: str | None = None
    length_s: float | None = None
    player_name: str | None = None
    channel: str | None = None
    app_version: str | None = None
    user_id: str | None = None
    user_id_source: str | None = None
    user_id_auth_state: int | None = None
    device_id: str | None = None
    device_id_source: str | None = None
    is_resumed: bool = False
    is_downloaded: bool = False
    is_live: bool = False
    dimensions: Dimensions = NO_DIMENSIONS
    own: tuple[str, ...] = ()  # custom metadata: key, value, key, value, ...
    client: Client = UNKNOWN_CLIENT

    @property
    def end_s(self) -> float | None:
        """The last playhead of recorded content, where its length is known."""
        return None if self.is_live else self.length_s


def read_start(
    params: dict[str, Any],
    metadata: dict[str, Any],
    *,
    source: str,
    keys: DimensionKeys = ANY_KEYS,
    client: Client = UNKNOWN_CLIENT,
) -> Start:
    """Read what a sessionStart says. `source` is its route. Identities are pseudonyms already."""
    content_type = in_lower_case(params.get("media.contentType"))
    user_id, user_id_source, auth_state = read_user(params)
    device_id, device_id_source = read_device(params)
    return Start(
        content_id=identifier(params.get("media.id")),
        content_name=common(params.get("media.name")),
        content_type=content_type,
        stream_type=common(params.get("media.streamType")),
        length_s=number(params.get("media.length")) or None,
        player_name=common(params.get("media.playerName")),
        channel=common(params.get("media.channel")),
        app_version=common(params.get("media.sdkVersion")),
        user_id=user_id,
        user_id_source=user_id_source,
        user_id_auth_state=auth_state,
        device_id=device_id,
        device_id_source=device_id_source,
        is_resumed=params.get("media.resume") is True,
        is_downloaded=params.get("media.downloaded") is True or source == SOURCE_DOWNLOADED,
        is_live=content_type in LIVE_CONTENT_TYPES,
        dimensions=read_dimensions(params, metadata, keys),
        own=read_own(metadata, keys) if metadata else (),
        client=client,
    )


_SURENESS: dict[int | None, int] = {1: 0, None: 2, 0: 2, 2: 3}  # of an authState; a visitorId has 1


def read_user(params: dict[str, Any]) -> tuple[str | None, str | None, int | None]:
    """Return the best user identity, its source and its authState.

    An authenticated customer id is best, then analytics.visitorId, then a customer id of unknown state, then one
    that is logged out; among equals the first by name.
    """
    found: list[tuple[int, str, str, int | None]] = []
    visitor_id = text(params.get("analytics.visitorId"))
    if visitor_id:
        found.append((1, "analytics.visitorId", visitor_id, None))
    customer_ids = params.get("visitor.customerIDs")
    for name, entry in customer_ids.items() if isinstance(customer_ids, dict) else ():
        customer_id = text(entry.get("id")) if isinstance(entry, dict) else None
        if customer_id:
            state = entry.get("authState")
            state = state if type(state) is int and 0 <= state <= 2 else None
            source = f"visitor.customerIDs.{name}"[:TEXT_MAX]
            found.append((_SURENESS[state], source, customer_id, state))
    if not found:
        return None, None, None
    _, source, identity, auth_state = min(found, key=lambda entry: entry[:3])
    return identity, source, auth_state


def read_device(params: dict[str, Any]) -> tuple[str | None, str | None]:
    """Return the best device identity and its source."""
    for source in ("visitor.marketingCloudUserId", "analytics.aid", "appInstallationId"):
        device_id = text(params.get(source))
        if device_id:
            return device_id, source
    return None, None


def text(value: Any) -> str | None:
    """Return a text of bounded length. NULs become U+FFFD: DuckLake cannot compare a text that has one."""
    if type(value) is not str:
        return None
    if len(value) <= TEXT_MAX and "\0" not in value:
        return value
    return value[:TEXT_MAX].replace("\0", "\ufffd")


def common(value: Any) -> str | None:
    """Return a text that many sessions say, and keep it once for all of them: 100,000 may be open."""
    found = None if value is None else text(value)
    return None if found is None else intern(found)


def number(value: Any) -> float | None:
    """Return a number that is not negative and not absurd."""
    if (type(value) is int or type(value) is float) and 0 <= value < NUMBER_END:
        return float(value)
    return None


def integer(value: Any) -> int | None:
    return value if type(value) is int and -NUMBER_END < value < NUMBER_END else None


def identifier(value: Any) -> str | None:
    """Return an id, kept once for all; an integer, as some players have it, as its digits."""
    return common(str(value) if type(value) is int else value)


def in_lower_case(value: Any) -> str | None:
    """Return a text that players write in any case, such as VOD, in lower case."""
    found = text(value)
    return None if found is None else intern(found.lower())


def state_name(value: Any) -> str | None:
    """Return the name of a player state as the documentation spells it; of one that it has not, in lower case."""
    found = in_lower_case(value)
    return None if found is None else _STATES.get(found, found)


def names(entries: Any) -> list[str]:
    """Return the names of the player states in a list of them."""
    if not isinstance(entries, list):
        return []
    found = [state_name(entry.get("media.state.name")) for entry in entries if isinstance(entry, dict)]
    return [name for name in found if name is not None]


def quality_in(params: dict[str, Any]) -> dict[str, Any]:
    """Return what of `params` belongs into qoeData: examples of the documentation have it there."""
    return {key: value for key, value in params.items() if key.startswith(QUALITY)}


def read_error(params: dict[str, Any], qoe: dict[str, Any]) -> tuple[str | None, str | None]:
    """Return the id and the source of an error: in qoeData or in `params`, under any of their names."""
    inside = {key.lower(): value for key, value in qoe.items()}
    beside = {key.lower(): value for key, value in params.items() if "." in key}
    return _named(ERROR_IDS, inside, beside), _named(ERROR_SOURCES, inside, beside)


def _named(keys: tuple[str, ...], *parts: dict[str, Any]) -> str | None:
    for part in parts:
        for key in keys:
            found = identifier(part.get(key))
            if found is not None:
                return found
    return None
