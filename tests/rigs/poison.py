"""Records that other producers, older and newer Playheads and broken disks may leave in a log."""

import copy
from typing import Any

import msgspec

from eventlog import Record
from schemas.records import TRACKING_CREATED, TRACKING_DELETED

NOW_MS = 1_748_736_000_000
_SECOND = "2025-06-01T00:00:00Z"  # NOW_MS, in the past of any clock

PING: dict[str, Any] = {
    "specversion": "1.0",
    "id": "01a0c450-6c00-7000-8000-000000000001",
    "source": "/api/v1/sessions",
    "type": "playhead.media.ping",
    "subject": "ab" * 32,
    "time": _SECOND,
    "receivedtime": _SECOND,
    "data": {"playerTime": {"playhead": 1.5, "ts": NOW_MS}, "eventType": "ping"},
}
START_PARAMS = {
    "analytics.trackingServer": "t",
    "analytics.reportSuite": "r",
    "visitor.marketingCloudOrgId": "o",
    "media.id": "movie",
    "media.length": 60,
    "media.contentType": "vod",
    "media.playerName": "p",
    "media.channel": "c",
}
CREATED: dict[str, Any] = {
    **PING,
    "type": TRACKING_CREATED,
    "subject": "tracking",
    "data": {"session_id": "tracking", "start_time": _SECOND, "source": "s"},
}
DELETED = {**CREATED, "type": TRACKING_DELETED, "data": {"session_id": "tracking"}}
REJECTED: dict[str, Any] = {
    **PING,
    "type": "playhead.rejected",
    "data": {"reason": "not_json", "detail": "d", "size_bytes": 1, "hmac_sha256": "", "route": "/"},
}


def record(value: bytes | dict[str, Any], *, offset: int = 0, appended_ms: int = NOW_MS) -> Record:
    """Make the record of a value."""
    data = value if isinstance(value, bytes) else msgspec.json.encode(value)
    return Record(0, offset, b"key", data, appended_ms)


def ping(path: str = "", value: Any = None, **top: Any) -> dict[str, Any]:
    """Return a good record's value with one thing changed: at a path such as `data/playerTime/ts`, or on top."""
    event = copy.deepcopy(PING)
    event.update(top)
    if path:
        *parents, last = path.split("/")
        place: Any = event
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return event


def start(**params: Any) -> dict[str, Any]:
    """Return a good sessionStart with some params changed."""
    data = {**PING["data"], "eventType": "sessionStart", "params": {**START_PARAMS, **params}}
    return {**PING, "type": "playhead.media.sessionStart", "data": data}


def raw(path: str, text: str) -> bytes:
    """Return a good record's bytes with raw text in one place, which no JSON encoder would write."""
    return msgspec.json.encode(ping(path, "@@")).replace(b'"@@"', text.encode("utf-8", "surrogatepass"))


_GOOD = msgspec.json.encode(PING)
# Each with its expected reason in quarantine.
BAD: dict[str, tuple[bytes | dict[str, Any], str]] = {
    "nothing": (b"", "not_json"),
    "one space": (b" ", "not_json"),
    "null": (b"null", "invalid_event"),
    "an array": (b"[]", "invalid_event"),
    "an array of good events": (b"[" + _GOOD + b"]", "invalid_event"),
    "a number": (b"1", "invalid_event"),
    "an empty object": (b"{}", "invalid_event"),
    "NaN": (raw("data/playerTime/playhead", "NaN"), "not_json"),
    "Infinity": (raw("data/playerTime/playhead", "Infinity"), "not_json"),
    "1e999": (raw("data/playerTime/playhead", "1e999"), "not_json"),
    "a playhead of 400 digits": (raw("data/playerTime/playhead", "1" * 400), "invalid_event"),
    "a number of 5000 digits": (raw("data/params", '{"x":' + "1" * 5000 + "}"), "not_json"),
    "a byte order mark": (b"\xef\xbb\xbf" + _GOOD, "not_json"),
    "UTF-16": (_GOOD.decode().encode("utf-16"), "not_json"),
    "text after the end": (_GOOD + b"x", "not_json"),
    "two documents": (_GOOD + _GOOD, "not_json"),
    "a torn record": (_GOOD[: len(_GOOD) // 2], "not_json"),
    "a lone surrogate, escaped": (raw("data/params", '{"x":"\\ud800"}'), "not_json"),
    "reversed surrogates": (raw("data/params", '{"x":"\\udc00\\ud800"}'), "not_json"),
    "a lone surrogate, encoded": (raw("data/params", '{"x":"\ud800"}'), "not_json"),
    "no UTF-8": (_GOOD.replace(b"ping", b"p\xffng"), "not_json"),
    "nested 100,000 deep": (b"[" * 100_000, "not_json"),
    "nested 100,000 deep in an unknown key": (raw("data/x", "[" * 100_000 + "]" * 100_000), "not_json"),
    "nested 20 deep in an unknown key": (raw("data/x", "[" * 20 + "]" * 20), "invalid_event"),
    "a megabyte of zeros": (bytes(1_000_000), "not_json"),
    "a megabyte of brackets": (b"{[" * 500_000, "not_json"),
    "a megabyte of quotes": (b"\"'" * 500_000, "not_json"),
    "an unknown type": (ping(type="playhead.media.rewind"), "invalid_event"),
    "a type of somebody else": (ping(type="com.example.thing"), "unknown_type"),
    "a type that does not fit its data": (ping(type="playhead.media.play"), "invalid_event"),
    "an event type that is no text": (ping("data/eventType", 7), "invalid_event"),
    "CloudEvents 0.3": (ping(specversion="0.3"), "future_version"),
    "CloudEvents 2.0": (ping(specversion="2.0"), "future_version"),
    "no id": ({key: value for key, value in PING.items() if key != "id"}, "invalid_event"),
    "an empty id": (ping(id=""), "invalid_event"),
    "an id of 10,000 characters": (ping(id="x" * 10_000), "invalid_event"),
    "an id with a NUL": (ping(id="a\0b"), "invalid_event"),
    "a subject of 10,000 characters": (ping(subject="x" * 10_000), "invalid_event"),
    "a subject with a NUL": (ping(subject="a\0b"), "invalid_event"),
    "no subject": (ping(subject=""), "invalid_event"),
    "no time of arrival": (ping(receivedtime=None), "invalid_event"),
    "an arrival without an offset from UTC": (ping(receivedtime="2025-06-01T00:00:00"), "invalid_event"),
    "no data": ({key: value for key, value in PING.items() if key != "data"}, "invalid_event"),
    "data that is null": (ping(data=None), "invalid_event"),
    "data that is text": (ping(data="{}"), "invalid_event"),
    "a ts of 40 digits": (raw("data/playerTime/ts", "1" * 40), "invalid_event"),
    "a ts that is text": (ping("data/playerTime/ts", "1"), "invalid_event"),
    "a ts that is true": (ping("data/playerTime/ts", True), "invalid_event"),
    "a negative ts": (ping("data/playerTime/ts", -1), "invalid_event"),
    "a playhead that is text": (ping("data/playerTime/playhead", "1"), "invalid_event"),
    "no playerTime": (ping("data/playerTime", None), "invalid_event"),
    "params that are an array": (ping("data/params", []), "invalid_event"),
    "100,000 keys": (ping("data/x", {str(n): 1 for n in range(100_000)}), "invalid_event"),
    "a sessionStart without its params": (
        ping(type="playhead.media.sessionStart") | {"data": {**PING["data"], "eventType": "sessionStart"}},
        "invalid_event",
    ),
    "a tracking session without its id": (CREATED | {"data": {}}, "invalid_event"),
    "a tracking session that starts in the year 1": (
        CREATED | {"data": {"session_id": "x", "start_time": "0001-01-01T00:00:00+14:00", "source": "s"}},
        "invalid_event",
    ),
    "a tracking session that starts at no certain time": (
        CREATED | {"data": {"session_id": "x", "start_time": "2025-06-01T00:00:00", "source": "s"}},
        "invalid_event",
    ),
    "a tracking session whose id has a NUL": (
        CREATED | {"data": {"session_id": "\0", "start_time": _SECOND, "source": "s"}},
        "invalid_event",
    ),
    "a rejected body without its reason": (REJECTED | {"data": {}}, "invalid_event"),
    "a rejected body": (REJECTED, "not_json"),
}
# Odd, but events: each becomes a row of `events`, or of `tracking_events`.
ODD: dict[str, bytes | dict[str, Any]] = {
    "a good event": PING,
    "an arrival a minute after the log took it": ping(receivedtime="2025-06-01T00:01:00Z"),
    "an arrival long after the log took it": ping(receivedtime="2025-06-01T01:00:01Z"),
    "an arrival long before the log took it": ping(receivedtime="2025-05-31T20:00:00Z"),
    "an arrival in the year 1": ping(receivedtime="0001-01-01T00:00:00+14:00"),
    "an arrival in 1970": ping(receivedtime="1970-01-01T00:00:07Z"),
    "an arrival in 9999": ping(receivedtime="9999-12-31T23:59:59-14:00"),
    "a tracking session from an ingest in 1970": CREATED
    | {
        "receivedtime": "1970-01-01T00:00:07Z",
        "data": {"session_id": "tracking", "start_time": "1970-01-01T00:00:07Z", "source": "s"},
    },
    "an unknown extension": ping(traceparent="00-1-1-00"),
    "an unknown key": ping("data/sequence", 7),
    "a playhead of 1e308": ping("data/playerTime/playhead", 1e308),
    "a playhead of -1e308": ping("data/playerTime/playhead", -1e308),
    "a ts of 1970": ping("data/playerTime/ts", 0),
    "a ts of the year 2100": ping("data/playerTime/ts", 4_102_444_800_000, flags="future_ts"),
    "numbers of 41 digits": raw(
        "data/qoeData", '{"media.qoe.bitrate":1%s,"media.qoe.droppedFrames":1%s}' % (("0" * 40,) * 2)
    ),
    "the smallest number": raw("data/qoeData", '{"media.qoe.framesPerSecond":5e-324,"x":-0.0}'),
    "duplicate keys": raw("data/params", '{"x":1,"x":2}'),
    "NULs in texts": ping("data/params", {"\0": "\0", "x": "a\0b"}),
    "NULs in the content": start(**{"media.id": "a\0b", "media.name": "\0", "media.channel": "\0"}),
    "NULs in the envelope": ping(source="\0", consent="\0", flags="\0,,odd", trackingsession="a\0b"),
    "quotes in the content": start(**{"media.id": "a'b\"; DROP TABLE events; --", "media.name": "''"}),
    "quotes in ids": ping(id="i'd\"; --", subject="s'u\"b; --"),
    "a foreign session id": ping(subject="viewer 7 on channel 4"),
    "a session id of the year 10889": ping(subject="f" * 64),
    "a session id that is no text of ours": ping(subject="\uffff\U0010ffff"),
    "the longest ids": ping(id="i" * 256, subject="s" * 256),
    "a thousand flags": ping(flags=",".join(f"flag{n}" for n in range(1000))),
    "a tracking session of 10,000 characters": ping(trackingsession="t" * 10_000),
    "a content name of a megabyte": start(**{"media.name": "x" * 1_000_000}),
    "a length of 1e308": start(**{"media.length": 1e308}),
    "a negative length": start(**{"media.length": -1}),
    "a tracking session": CREATED,
    "a tracking session that was deleted": DELETED,
    "NULs in a tracking session": CREATED
    | {"data": {"session_id": "t", "start_time": _SECOND, "source": "\0", "user_id": "\0", "playout_id": "a\0"}},
}
