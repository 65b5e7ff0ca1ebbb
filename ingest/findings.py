"""Everything that is wrong with one event at once, for the person who sent it.

`schemas.media.check_event` decides what is refused, and stops at the first thing. After it has refused an event,
the same types and the same vocabulary are gone through key by key here. Nothing of this is computed for a good
event.
"""

import itertools
from collections.abc import Generator, Iterable, Iterator
from typing import Any, Final, Literal

import msgspec

from ingest.nearest import KnownNames, key_meant
from schemas.media import (
    EXACT_MAX,
    TS_MS_MAX,
    TS_MS_USUAL,
    TYPE_OF_KIND,
    PlayerTime,
    fits,
    json_word,
    kind_word,
    misshapen,
)
from schemas.paths import TOP_KEYS, Path, at, quote
from schemas.vocabulary import EVENT_TYPES, EventType, Kind, Param

NAMED_MAX: Final = 8  # so many things are named in one refusal

OPTIONAL_PARTS: Final = ("params", "qoeData", "customMetadata")

Level = Literal["error", "flag", "note"]
# What a place takes. /sessions: a live sessionStart, or an array that begins with an offline one; /downloaded: an
# array that begins with any; /events, and an array after its first event: what is no sessionStart.
Takes = Literal["a live sessionStart", "an offline sessionStart", "a sessionStart", "any other event"]

WORDS_OF_KIND: Final[dict[Kind, str]] = {
    "string": "a string",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "customer ids": "an object of objects, each with an `id`",
    "states": "an array of objects, each with a `media.state.name`",
}
# What players, browsers and other protocols call it (squashed).
EVENT_TYPE_NAMES: Final = KnownNames(
    EVENT_TYPES,
    {
        **dict.fromkeys(("start", "init", "sessioninit", "loadstart", "sessionbegin"), "sessionStart"),
        **dict.fromkeys(("playing", "resume", "unpause", "bufferend", "buffercomplete", "seekcomplete"), "play"),
        **dict.fromkeys(("pause", "paused", "stop", "seek", "seeking", "seekstart"), "pauseStart"),
        **dict.fromkeys(("buffer", "buffering", "waiting", "stalled", "rebuffer"), "bufferStart"),
        **dict.fromkeys(("heartbeat", "timeupdate", "progress", "beat"), "ping"),
        **dict.fromkeys(("ended", "complete", "completed", "finish", "finished"), "sessionComplete"),
        **dict.fromkeys(("end", "close", "unload", "destroy"), "sessionEnd"),
        **dict.fromkeys(("qualitychange", "levelswitch", "bitrate"), "bitrateChange"),
        **dict.fromkeys(("adend", "adfinish"), "adComplete"),
        **dict.fromkeys(("adbreakend", "adpodend"), "adBreakComplete"),
        **dict.fromkeys(("adpodstart",), "adBreakStart"),
        "chapterend": "chapterComplete",
    },
)
_TS_TYPE: Final = PlayerTime.__annotations__["ts"]
_ALIASES: Final = {
    "eventType": ("type", "event", "name", "eventname"),
    "playerTime": ("time", "playertimes"),
    "playhead": ("position", "currenttime", "time"),
    "ts": ("timestamp", "time", "timems"),
    "media.state.name": ("name", "state", "statename"),
}


class Finding(msgspec.Struct, frozen=True):
    """One thing that is wrong or odd with an event, and its place.

    `level`: an `error` refuses the event, a `flag` marks it, a `note` does neither. `code` is the name of the
    flag, or the kind of the mistake.
    """

    level: Level
    code: str
    path: Path
    message: str


def in_words(found: Iterable[Finding], *, at_most: int = NAMED_MAX) -> str:
    """Return the first things that were found, each with its place, and whether there are more."""
    return joined((at(finding.message, finding.path) for finding in found), at_most=at_most, more="and more")


def joined(said: Iterable[str], *, at_most: int, more: str) -> str:
    """Return the first of several messages as one, with `more` at its end if there are more."""
    first = list(itertools.islice(said, at_most + 1))
    return "; ".join([*first[:at_most], *([more] if len(first) > at_most else [])])


def misplaced(event: dict[str, Any], row: EventType, takes: Takes) -> Finding | None:
    """Return why an event of this type is refused where this is taken; None if it is not."""
    if takes == "any other event":
        if row.starts:
            message = "Expected any event but sessionStart here: post that to /api/v1/sessions"
            return _error("path", ("eventType",), message)
        return None
    if not row.starts:
        message = f"Expected sessionStart here, got {row.name}: post it to /events of its session"
        return _error("path", ("eventType",), message)
    path: Path = ("params", "media.downloaded")
    is_offline = is_downloaded(event)
    if takes == "a live sessionStart" and is_offline:
        message = "Expected an array of events, as `media.downloaded` is true: the session is offline"
        return _error("form", path, message)
    if takes == "an offline sessionStart" and not is_offline:
        message = (
            "Expected `media.downloaded` to be true: an array is an offline session, and a live session is one "
            "event in each POST"
        )
        return _error("form", path, message)
    return None


def is_downloaded(event: Any) -> bool:
    """Return whether an event says that its session was played offline."""
    return type(event) is dict and part_of(event, "params").get("media.downloaded") is True


def part_of(event: dict[str, Any], name: str) -> dict[str, Any]:
    """Return one of an event's parts; an empty one if it is missing, or no object."""
    part = event.get(name)
    return part if type(part) is dict else {}


def errors(event: Any, takes: Takes | None = None) -> Iterator[Finding]:
    """Yield what an event is refused for, the most important first."""
    if type(event) is not dict:
        yield _error("type", (), _no_object(event, takes))
        return
    if (other := _other_form(event)) is not None:
        yield _error("form", (), other)
    row = yield from _event_type(event)
    if row is not None and takes is not None and (wrong := misplaced(event, row, takes)) is not None:
        yield wrong
    yield from _player_time(event)
    yield from _parts(event, row)
    for path, message in misshapen(event):
        if len(path) == 1 and path[0] in TOP_KEYS:  # named already
            continue
        hint = ": write the names with a dot between them, as one key" if len(path) == 2 else ""
        yield _error("nested", path, message + hint)


def _error(code: str, path: Path, message: str) -> Finding:
    return Finding("error", code, path, message)


def _no_object(value: Any, takes: Takes | None) -> str:
    message = f"Expected one event, a JSON object, got {kind_word(value)}"
    if type(value) is list and takes is not None:
        return f"{message}: a live session is one event in each POST, and only an offline session is an array"
    if type(value) is str and value.lstrip().startswith(("{", "[")):
        return f"{message} with JSON in it: it was encoded twice"
    return message


def _other_form(event: dict[str, Any]) -> str | None:
    """Return what to say of an event in the form of another API, or wrapped in an object."""
    if "eventType" in event or "playerTime" in event:
        return None
    for key in ("xdm", "events", "event", "data", "body", "payload"):
        inner = event.get(key)
        first = inner[0] if type(inner) is list and inner else inner
        if type(first) is dict and (key == "xdm" or "xdm" in first):
            return "Expected an event of the Media Collection API, got one of the Media Edge API (`xdm`)"
        if type(first) is dict and ("eventType" in first or "playerTime" in first):
            return f"Expected the event itself, got it inside of the key {quote(key)}"
    return None


def _event_type(event: dict[str, Any]) -> Generator[Finding, None, EventType | None]:
    name = event.get("eventType")
    path: Path = ("eventType",)
    if name is None:
        sent = ", got null" if "eventType" in event else but_sent("eventType", event)
        yield _error("missing", path, f"Expected `eventType`, a string{sent}")
        return None
    if type(name) is not str:
        yield _error("type", path, f"Expected a string, got {json_word(name)}")
        return None
    row = EVENT_TYPES.get(name)
    if row is None:
        near = EVENT_TYPE_NAMES.nearest(name)
        meant = f": did you mean `{near}`?" if near else "."
        known = ", ".join(sorted(EVENT_TYPES, key=lambda known: known != near))
        yield _error("unknown_event_type", path, f"Unknown `eventType` {quote(name)}{meant} Known are {known}")
    return row


def but_sent(wanted: str, part: dict[str, Any]) -> str:
    """Return a hint at the key that was sent instead of the wanted one."""
    meant = key_meant(wanted, part, aliases=_ALIASES.get(wanted, ()))
    return f", got {quote(meant)}: did you mean `{wanted}`?" if meant else ""


def _player_time(event: dict[str, Any]) -> Iterator[Finding]:
    part = event.get("playerTime")
    if part is None:
        message = "Expected `playerTime`, an object of `playhead` (seconds) and `ts` (milliseconds since 1970)"
        outside = [key for key in ("playhead", "ts") if key in event]
        if outside:
            message += f": put {' and '.join(f'`{key}`' for key in outside)} into it"
        elif "playerTime" in event:
            message += ", got null"
        elif sent := but_sent("playerTime", event):
            message += sent
        yield _error("missing", ("playerTime",), message)
    elif type(part) is not dict:
        yield _error("type", ("playerTime",), f"Expected an object of `playhead` and `ts`, got {kind_word(part)}")
    else:
        yield from _playhead(part)
        yield from _timestamp(part)


def _playhead(part: dict[str, Any]) -> Iterator[Finding]:
    path: Path = ("playerTime", "playhead")
    value = part.get("playhead")
    if "playhead" not in part:
        sent = but_sent("playhead", part)
        yield _error("missing", path, f"Expected `playhead`, a number of seconds{sent}")
    elif value is None:
        yield _error("type", path, "Expected a number of seconds, got null, which JSON.stringify makes of NaN")
    elif not fits(value, float):
        yield _error("type", path, f"Expected a number of seconds, got {json_word(value)}{_unquote(value)}")


def _timestamp(part: dict[str, Any]) -> Iterator[Finding]:
    path: Path = ("playerTime", "ts")
    wanted = "an integer, milliseconds since 1970"
    if "ts" not in part:
        yield _error("missing", path, f"Expected `ts`, {wanted}{but_sent('ts', part)}")
        return
    value = part["ts"]
    if type(value) is float and value.is_integer() and abs(value) <= EXACT_MAX:
        value = int(value)
    if type(value) is int:
        if not fits(value, _TS_TYPE):
            units = [name for name, scale in (("micro", 1e3), ("nano", 1e6)) if 0 < value / scale <= TS_MS_MAX]
            hint = f": are these {units[0]}seconds?" if units else ""
            message = f"Expected {wanted}, from 0 to {TS_MS_MAX}, got {json_word(value)}{hint}"
            yield _error("range", path, message)
    else:
        hint = ": round it" if type(value) is float and TS_MS_USUAL < value < TS_MS_MAX else _unquote(value)
        yield _error("type", path, f"Expected {wanted}, got {json_word(value)}{hint}")


def _unquote(value: Any) -> str:
    """Return a hint if a number was sent as a string."""
    if type(value) is not str:
        return ""
    try:
        float(value)
    except ValueError:
        return ": write `Date.now()`, not a date" if value[:4].isdigit() and "-" in value else ""
    return ": leave out the quotation marks"


def _parts(event: dict[str, Any], row: EventType | None) -> Iterator[Finding]:
    for name in OPTIONAL_PARTS:
        part = event.get(name)
        needed = name == "params" and row is not None and row.needs_params
        if part is None and needed:
            got = ", got null" if name in event else but_sent(name, event)
            yield _error("missing", (name,), f"Expected `params`, an object{got}")
        elif part is not None and type(part) is not dict:
            twice = type(part) is str and part.lstrip().startswith("{")
            hint = " with JSON in it: it was encoded twice" if twice else ""
            yield _error("type", (name,), f"Expected an object, got {kind_word(part)}{hint}")
    params = event.get("params")
    if row is not None and type(params) is dict:
        for param in row.vital:
            yield from _vital(param, params)


def _vital(param: Param, params: dict[str, Any]) -> Iterator[Finding]:
    path: Path = ("params", param.key)
    wanted = WORDS_OF_KIND[param.kind]
    if param.key not in params:
        sent = but_sent(param.key, params)
        yield _error("missing", path, f"Expected `{param.key}`, {wanted}{sent}")
    elif not fits(params[param.key], TYPE_OF_KIND[param.kind]):
        yield _error("type", path, f"Expected {wanted}, got {kind_word(params[param.key])}")
