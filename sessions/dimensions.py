"""What sessions are compared by: documented keys of the sessionStart, and custom metadata of the operator's own.

Codes and names of categories (`CODES`) are in lower case, because players write them in any case; titles, names of
people, versions and dates are as they were sent. `-`, `null`, `undefined` and blank texts are no value. The raw
values are in the events.

No dimension tells who the viewer is. Ingest has replaced identities by pseudonyms, and a session may still be
denied consent after its start. So custom metadata that looks like an id (32 hexadecimal digits or more, or a UUID)
is no dimension, and neither is what it says of consent.
"""

import re
from functools import lru_cache
from sys import intern
from typing import Any

import msgspec
from msgspec.structs import asdict

from schemas.settings import listed
from schemas.vocabulary import DIMENSION_KEYS

DIMS_MAX = 16
KEY_CHARACTERS_MAX = 64
VALUE_CHARACTERS_MAX = 256
SHARED_MAX = 10_000
REMOVED = "(removed)"  # by ingest: a text that had an identity in it
_NO_VALUE = frozenset(("", "-", "null", "undefined", REMOVED))
_is_id = re.compile(r"(?:[0-9a-f]{32,}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})", re.IGNORECASE).fullmatch


class Dimensions(msgspec.Struct, frozen=True):
    """The dimensions of a session that have columns of their own; None: not said."""

    site: str | None = None
    library_version: str | None = None
    cdn: str | None = None
    show: str | None = None
    season: str | None = None
    episode: str | None = None
    genre: str | None = None
    network: str | None = None
    publisher: str | None = None
    originator: str | None = None
    asset_id: str | None = None
    rating: str | None = None
    show_type: str | None = None
    stream_format: str | None = None
    first_air_date: str | None = None
    first_digital_date: str | None = None
    ad_load: str | None = None
    mvpd: str | None = None
    mvpd_auth: str | None = None
    day_part: str | None = None
    feed: str | None = None
    artist: str | None = None
    album: str | None = None
    label: str | None = None
    author: str | None = None
    station: str | None = None


CODES = frozenset(("site", "cdn", "genre", "network", "rating", "show_type", "stream_format")) | frozenset(
    ("ad_load", "mvpd", "mvpd_auth", "day_part", "feed")
)
NO_DIMENSIONS = Dimensions()
_COLUMNS = {key: column for column, key in DIMENSION_KEYS.items()}


class DimensionKeys(msgspec.Struct, frozen=True):
    """Which keys of the operator's own are dimensions.

    `columns` has pairs of a column of `Dimensions` and a key that fills it, of custom metadata or of `params`: the
    first that has a value counts, before the documented key. `own` are the only keys of custom metadata that
    `dims` keeps; None: any.
    """

    columns: tuple[tuple[str, str], ...] = (("cdn", "cdn"),)
    own: frozenset[str] | None = None

    @classmethod
    def parse(cls, columns: str, own: str) -> "DimensionKeys":
        """Read the settings `dimension_columns` and `dimension_keys`, which are checked already."""
        pairs = (entry.partition("=") for entry in listed(columns))
        return cls(
            tuple((column.strip(), key.strip()) for column, _, key in pairs), frozenset(listed(own)) or None
        )


ANY_KEYS = DimensionKeys()


def read_dimensions(params: dict[str, Any], metadata: dict[str, Any], keys: DimensionKeys) -> Dimensions:
    """Return what a sessionStart says by its documented keys, and by those of the operator."""
    found: dict[str, str] = {}
    for column, key in keys.columns:
        if (key in metadata or key in params) and column not in found:
            value = _own_value(metadata.get(key, params.get(key)))
            if value is not None:
                found[column] = _in_one_case(column, value)
    for key in _COLUMNS.keys() & params.keys():
        column, said = _COLUMNS[key], params[key]
        if column not in found:
            is_short = type(said) is str and len(said) <= VALUE_CHARACTERS_MAX
            value = _short_value(column, said) if is_short else _value(column, said)
            if value is not None:
                found[column] = value
    return _kept_once(tuple(found.items())) if found else NO_DIMENSIONS


def read_own(metadata: dict[str, Any], keys: DimensionKeys) -> tuple[str, ...]:
    """Return custom metadata as key, value, key, value, ...: at most `DIMS_MAX` keys, the first by name.

    Long keys and long values are left out. A tuple, because 100,000 sessions may be open.
    """
    own: list[str] = []
    for key in sorted(metadata if keys.own is None else keys.own.intersection(metadata)):
        if len(key) > KEY_CHARACTERS_MAX or "\0" in key or "consent" in key.lower():
            continue
        value = _own_value(metadata[key])
        if value is not None:
            own += (intern(key), value)
            if len(own) == 2 * DIMS_MAX:
                break
    return tuple(own)


def facts_of_dimensions(dimensions: Dimensions, own: tuple[str, ...]) -> dict[str, Any]:
    """Return both by the names of `SessionFacts`."""
    return {**asdict(dimensions), "dims": dict(zip(own[::2], own[1::2], strict=True)) or None}


def as_text(value: Any) -> str | None:
    """Return a scalar as a text of bounded length, kept once for all sessions; None if it is no value."""
    if type(value) is bool:
        return "true" if value else "false"
    if type(value) is int or type(value) is float:
        value = str(value)
    if type(value) is not str:
        return None
    text = value.strip().replace("\0", "\ufffd")
    return None if len(text) > VALUE_CHARACTERS_MAX or text in _NO_VALUE else intern(text)


def _own_value(value: Any) -> str | None:
    text = as_text(value)
    return None if text is None or _is_id(text) else text


def _in_one_case(column: str, text: str) -> str:
    return intern(text.lower()) if column in CODES else text


def _value(column: str, said: Any) -> str | None:
    text = as_text(said)
    return None if text is None else _in_one_case(column, text)


# What many sessions of one content and one player say alike is read once, and kept once.
_short_value = lru_cache(maxsize=SHARED_MAX)(_value)


@lru_cache(maxsize=SHARED_MAX)
def _kept_once(found: tuple[tuple[str, str], ...]) -> Dimensions:
    return Dimensions(**dict(found))
