"""The place of something in a JSON document: keys and indexes, written as `$.params` or as a JSON pointer.

What was sent is quoted in single quotation marks, and nothing else is: so whoever stores a message can take out
what its sender wrote.
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
    short = text if len(text) <= QUOTED_CHARACTERS_MAX else text[: QUOTED_CHARACTERS_MAX - 3] + "..."
    return "'" + short.replace("'", "\u2019") + "'"


def dollar(path: Path) -> str:
    """Write a place as messages have it: `$.params.media.id`, and a key that nobody knows as `$.params['x']`."""
    return "$" + "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}" if part in DOCUMENTED_KEYS else f"[{quote(part)}]"
        for part in path
    )


def pointer(path: Path) -> str:
    """Write a place as a JSON pointer (RFC 6901): `/params/media.id`."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)
