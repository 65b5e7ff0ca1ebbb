"""A Media Collection event: which JSON is accepted as one, and which flags it gets.

Refused: a body that is not JSON; a missing or mistyped `playerTime` or `eventType`; an event without a parameter
that it means nothing without (`vital` in `schemas/vocabulary.py`); nesting where the protocol has none. Anything
else that real players get wrong (a key that is missing or of another type, a playhead of -1, seconds for
milliseconds) is accepted and flagged, and unknown keys are kept. Nothing is converted.
Source: the protocol's documentation, and the bodies that its clients send.
"""

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args

import msgspec

from schemas.faults import InvalidEvent, NotJson
from schemas.not_json import DEPTH_MAX, no_json
from schemas.paths import TOP_KEYS, Path, at, quote
from schemas.vocabulary import EVENT_TYPES, LIVE_CONTENT_TYPES, QOE, STATES_PARAMS, EventType, Kind, Param

TS_MS_MAX = 4_102_444_800_000  # the year 2100: a later timestamp is a mistake, not a late event
TS_MS_USUAL = 1_104_537_600_000  # the year 2005, before there was such a player: probably seconds
AHEAD_MS_MAX = 86_400_000
DAY_S = 86_400
EXACT_MAX = 1 << 53  # above this, one floating-point number represents several integers
KEYS_MAX = 256
NUMBER_SHOWN_MAX = 1e16
SCALAR_WORDS = "a string, number, boolean or null"
Scalar = str | int | float | bool | None
_SCALARS = frozenset(get_args(Scalar))
PARTS = frozenset(TOP_KEYS) - {"eventType"}
NESTED_KEYS = frozenset(("visitor.customerIDs", "statesStart", "statesEnd"))


class PlayerTime(msgspec.Struct, frozen=True):
    """The playhead (seconds of content; live: second of the day), and the time by the player's clock."""

    playhead: Annotated[float, msgspec.Meta(description="seconds")]
    ts: Annotated[int, msgspec.Meta(ge=0, le=TS_MS_MAX, description="milliseconds since 1970, UTC")]


class CustomerId(msgspec.Struct, frozen=True):
    """One entry of `visitor.customerIDs`: authState 0 unknown, 1 authenticated, 2 logged out."""

    id: str
    authState: Literal[0, 1, 2] | None = None  # noqa: N815  (the wire's name)


class StateName(msgspec.Struct, frozen=True):
    """One entry of `statesStart` or `statesEnd`."""

    name: str = msgspec.field(name="media.state.name")


TYPE_OF_KIND: dict[Kind, Any] = {
    "string": str,
    "integer": int,
    "number": float,
    "boolean": bool,
    "customer ids": dict[str, CustomerId],
    "states": list[StateName],
}


class PlainEvent(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """An event of the usual shape: no unknown top-level key, nothing nested. Most events are like this.

    Its `qoeData` is not decoded: players send the same with many events, so it need not be checked each time.
    """

    playerTime: PlayerTime  # noqa: N815
    eventType: str  # noqa: N815
    params: dict[str, Scalar] | None = None
    qoeData: msgspec.Raw = msgspec.Raw()  # noqa: N815
    customMetadata: dict[str, Scalar] | None = None  # noqa: N815


def _fields(params: tuple[Param, ...]) -> list[Any]:
    fields: list[Any] = []
    for index, param in enumerate(sorted(params, key=lambda param: not param.required)):
        wanted = TYPE_OF_KIND[param.kind]
        if param.required:
            fields.append((f"p{index}", wanted, msgspec.field(name=param.key)))
        else:
            fields.append((f"p{index}", wanted | None, msgspec.field(name=param.key, default=None)))
    return fields


QOE_DATA = msgspec.defstruct("QoeData", _fields(QOE))


def _struct(
    event_type: EventType, params: tuple[Param, ...], *, needs_params: bool, qoe: Any, metadata: Any
) -> type[msgspec.Struct]:
    """Make the Struct of one event type."""
    title = event_type.name[0].upper() + event_type.name[1:]
    wanted = msgspec.defstruct(f"{title}Params", _fields(params))
    fields: list[Any] = [
        ("playerTime", PlayerTime),
        ("eventType", Literal[event_type.name]),
        ("params", wanted) if needs_params else ("params", wanted | None, None),
        ("qoeData", qoe | None, None),
        ("customMetadata", metadata | None, None),
    ]
    return msgspec.defstruct(title, fields)


def _as_documented(row: EventType) -> type[msgspec.Struct]:
    needs_params = bool(row.required)
    return _struct(row, row.params, needs_params=needs_params, qoe=QOE_DATA, metadata=dict[str, str])


def _at_least(row: EventType) -> type[msgspec.Struct]:
    """Make the Struct of what every event of a type must have."""
    anything: Any = dict[str, Any]
    return _struct(row, row.vital, needs_params=row.needs_params, qoe=anything, metadata=anything)


DOCUMENTED = {name: _as_documented(row) for name, row in EVENT_TYPES.items()}
ACCEPTED = {name: _at_least(row) for name, row in EVENT_TYPES.items()}


def json_schema(event_type: str) -> dict[str, Any]:
    """Return the JSON Schema of one event type, made from its Struct. Raises KeyError for an unknown one."""
    (schema,), components = msgspec.json.schema_components([DOCUMENTED[event_type]], ref_template="#/$defs/{name}")
    name = schema["$ref"].rsplit("/", 1)[1]
    top = components.pop(name)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **top, "$defs": components}


_VITAL_PARAMS = {
    name: msgspec.defstruct(f"{name}Vital", _fields(row.vital))
    for name, row in EVENT_TYPES.items()
    if row.needs_params
}


def check_plain_event(event: PlainEvent) -> EventType:
    """Return the type of a plain event. Raises InvalidEvent; accepts what `check_event` accepts, faster.

    It looks at everything but `qoeData`.
    """
    name = event.eventType
    event_type = EVENT_TYPES.get(name)
    if event_type is None:
        raise InvalidEvent(f"Expected a known `eventType`; got {quote(name)}")
    if name in _VITAL_PARAMS:
        try:
            msgspec.convert(event.params, _VITAL_PARAMS[name])
        except msgspec.ValidationError as error:
            raise InvalidEvent(str(error)) from None
    if event.params is not None and (integers := _INTEGERS[name]):
        _make_integers(event.params, integers)
    return event_type


def fits(value: Any, wanted: Any) -> bool:
    """Return whether a JSON value is of a type."""
    try:
        msgspec.convert(value, wanted)
    except msgspec.ValidationError:
        return False
    return True


def _make_integers(part: Any, keys: frozenset[str]) -> bool:
    """Convert whole numbers written as `1.0` or `1e3` to integers in place; return whether there were any.

    JSON has one kind of number, and JSON Schema accepts `1.0` as an integer.
    """
    if type(part) is not dict:
        return False
    found = {
        key: int(value)
        for key, value in part.items()
        if key in keys and type(value) is float and value.is_integer() and abs(value) <= EXACT_MAX
    }
    part.update(found)
    return bool(found)


def _make_all_integers(event: dict[str, Any], event_type: EventType) -> bool:
    params = event.get("params")
    ids = params.get("visitor.customerIDs") if type(params) is dict else None
    entries = ids.values() if type(ids) is dict else ()
    made = [
        _make_integers(event.get("playerTime"), _TIME_INTEGERS),
        _make_integers(event.get("qoeData"), _QOE_INTEGERS),
        _make_integers(params, _INTEGERS[event_type.name]),
        *[_make_integers(entry, _CUSTOMER_INTEGERS) for entry in entries],
    ]
    return any(made)


def _integers(params: tuple[Param, ...]) -> frozenset[str]:
    return frozenset(param.key for param in params if param.kind == "integer")


_INTEGERS = {name: _integers(row.params) for name, row in EVENT_TYPES.items()}
_QOE_INTEGERS = _integers(QOE)
_TIME_INTEGERS = frozenset(("ts",))
_CUSTOMER_INTEGERS = frozenset(("authState",))

_decode = msgspec.json.Decoder().decode
# Possessive, and an unterminated string runs to the end: linear in any body.
_text = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_not_brackets = bytes(byte for byte in range(256) if byte not in b"[]{}")


def read_json(body: bytes) -> Any:
    """Decode one JSON document strictly, in time linear in the body. Raises NotJson."""
    if body.count(b"[") + body.count(b"{") > DEPTH_MAX:
        _check_depth(body)
    try:
        return _decode(body)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise no_json(body, error) from None


def _check_depth(body: bytes) -> None:
    depth = 0
    for byte in _text.sub(b"", body).translate(None, _not_brackets):
        depth += 1 if byte in b"[{" else -1
        if depth > DEPTH_MAX:
            raise NotJson(f"the body is nested deeper than {DEPTH_MAX} levels")


def check_event(event: Any, *, now_ms: int) -> tuple[EventType, list[str]]:
    """Return the type of a decoded event, and its flags.

    Integers written as `1.0` or `1e3` are converted in `event` itself.

    Flags: `off_schema` (a key is missing, or of another type than documented), `playhead_range` (negative, or
    past the end that a recorded sessionStart names), `future_ts` (more than 24 h ahead of its arrival), `past_ts`
    (before 2005: probably not milliseconds), `no_state` (an update of states that names none).
    Raises InvalidEvent; the message names the field and what was expected.
    """
    if not isinstance(event, dict):
        raise InvalidEvent(f"Expected one event, a JSON object, got {json_word(event)}")
    name = event.get("eventType")
    event_type = EVENT_TYPES.get(name) if isinstance(name, str) else None
    if event_type is None:
        raise InvalidEvent(f"Expected a known `eventType`; got {json_word(name)}")
    flags = []
    try:
        msgspec.convert(event, DOCUMENTED[event_type.name])
    except msgspec.ValidationError:
        if not (_make_all_integers(event, event_type) and fits(event, DOCUMENTED[event_type.name])):
            try:
                msgspec.convert(event, ACCEPTED[event_type.name])
            except msgspec.ValidationError as error:
                raise InvalidEvent(str(error)) from None
            flags.append("off_schema")
    _check_shape(event)
    time = event["playerTime"]
    if time["playhead"] < 0 or (event_type.starts and is_past_end(time["playhead"], event["params"])):
        flags.append("playhead_range")
    if time["ts"] > now_ms + AHEAD_MS_MAX:
        flags.append("future_ts")
    elif time["ts"] < TS_MS_USUAL:
        flags.append("past_ts")
    if event_type.state == "update" and not names_a_state(event.get("params")):
        flags.append("no_state")
    return event_type, flags


def names_a_state(params: Any) -> bool:
    """Return whether an update of states names any."""
    return type(params) is dict and any(params.get(param.key) for param in STATES_PARAMS)


def _check_shape(event: dict[str, Any]) -> None:
    """Refuse too many keys, and nesting where the protocol has none."""
    keys = len(event)
    is_odd = False
    for name, value in event.items():
        if type(value) is dict:
            keys += len(value)
            is_odd = is_odd or name not in PARTS or not is_flat(value)
        elif type(value) is list:
            is_odd = True
    if is_odd or keys > KEYS_MAX:
        for path, message in misshapen(event):
            raise InvalidEvent(at(message, path))


def is_flat(part: dict[str, Any]) -> bool:
    """Return whether a JSON object holds no other object, and no array."""
    return _SCALARS.issuperset(map(type, part.values()))


def misshapen(event: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    """Yield each place with too many keys, or with nesting where the protocol has none, and what is expected."""
    keys = len(event)
    for name, value in event.items():
        if type(value) is list or (type(value) is dict and name not in PARTS):
            yield (name,), f"Expected {SCALAR_WORDS}, got {json_word(value)}"
        elif type(value) is dict:
            keys += len(value)
            for key, inner in value.items():
                if type(inner) in (dict, list):
                    if name == "params" and key in NESTED_KEYS:
                        yield from _misshapen_entries((name, key), inner)
                    else:
                        yield (name, key), f"Expected {SCALAR_WORDS}, got {json_word(inner)}"
    if keys > KEYS_MAX:
        yield (), f"Expected at most {KEYS_MAX} keys in an event, got {keys}"


def _misshapen_entries(path: Path, value: Any) -> Iterator[tuple[Path, str]]:
    entries = list(value.values() if isinstance(value, dict) else value)
    if len(entries) > KEYS_MAX:
        yield path, f"Expected at most {KEYS_MAX} entries, got {len(entries)}"
    for entry in entries:
        if isinstance(entry, dict) and any(type(inner) in (dict, list) for inner in entry.values()):
            yield path, "Expected objects without objects or arrays in them"
        elif isinstance(entry, list) or (isinstance(entry, dict) and len(entry) > KEYS_MAX):
            yield path, f"Expected objects of at most {KEYS_MAX} keys"


def is_live(params: dict[str, Any]) -> bool:
    """Return whether a sessionStart is one of live content."""
    return str(params.get("media.contentType")).lower() in LIVE_CONTENT_TYPES


def is_past_end(playhead: float, params: dict[str, Any]) -> bool:
    """Return whether a playhead is after the end that a sessionStart names."""
    if is_live(params):
        return playhead > DAY_S  # live playheads are seconds of the day
    length = params.get("media.length")
    return isinstance(length, int | float) and 0 < length < playhead


def json_word(value: Any) -> str:
    """Return what a JSON value is, in JSON's words; what is short is quoted."""
    if isinstance(value, str):
        return f"the string {quote(value)}"
    if isinstance(value, bool) or value is None:
        return msgspec.json.encode(value).decode()
    if isinstance(value, int | float):
        return f"the number {value}" if abs(value) < NUMBER_SHOWN_MAX else "a very large number"
    return kind_word(value)


def kind_word(value: Any) -> str:
    """Return which kind of JSON value it is."""
    if value is None:
        return "null"
    kinds: dict[type, str] = {str: "a string", bool: "a boolean", dict: "an object", list: "an array"}
    return kinds.get(type(value), "a number")
