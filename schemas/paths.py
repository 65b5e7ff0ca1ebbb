"""The place of something in a JSON document: keys and indexes, written as a JSON pointer.

Keys have dots in them here, so a spelling that puts dots between keys could be misread. What was sent is quoted in
single quotation marks, and nothing else is: so whoever stores a message can take out what its sender wrote.
"""

from typing import Final

from schemas.vocabulary import EVENT_TYPES, QOE

Path = tuple[str | int, ...]

QUOTED_CHARACTERS_MAX: Final = 64
TOP_KEYS: Final = ("playerTime", "eventType", "params", "qoeData", "customMetadata")
DOCUMENTED_KEYS: Final = {
    *TOP_KEYS,
    *("playhead", "ts"),
    *(param.key for row in EVENT_TYPES.values() for param in row.params),
    *(param.key for param in QOE),
}


def quote(text: str) -> str:
    """Return a text that was sent as it is written in a message."""
    return "'" + _short(text).replace("'", "\u2019") + "'"


def _short(text: str) -> str:
    return text if len(text) <= QUOTED_CHARACTERS_MAX else text[: QUOTED_CHARACTERS_MAX - 3] + "..."


def pointer(path: Path) -> str:
    """Write a place as a JSON pointer (RFC 6901): `/params/media.id`."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def at(message: str, path: Path) -> str:
    """Return a message with its place, if that is known and not the whole document.

    A pointer with a key that nobody knows is quoted as something that was sent.
    """
    if not path:
        return message
    written = pointer(tuple(part if isinstance(part, int) else _short(part) for part in path))
    if all(isinstance(part, int) or part in DOCUMENTED_KEYS for part in path):
        return f"{message} - at `{written}`"
    return f"{message} - at '" + written.replace("'", "\u2019") + "'"
