"""Bodies that are no event, each in its own way."""

import json

from hypothesis import strategies as st

from rigs.ingest import session_start
from schemas.not_json import DEPTH_MAX

START = json.dumps(session_start()).encode()

STATE = b"""{
    "playerTime": {"playhead": 0, "ts": 1}, "eventType": "stateStart", "params": {"media.state.name": "mute"}
}"""

TS = b"1700000000000"

DEEP = DEPTH_MAX + 1

keys = st.sampled_from(
    ["playhead", "ts", "media.id", "media.length", "visitor.customerIDs", "id", "consent"]
) | st.text(max_size=5)


def instead(old: bytes, new: bytes) -> bytes:
    """Return a good sessionStart with one part replaced."""
    assert old in START
    return START.replace(old, new)


CORPUS = {
    "empty": b"",
    "white space": b" \n",
    "null": b"null",
    "array": b"[]",
    "array of arrays": b"[[]]",
    "string": b'"sessionStart"',
    "number": b"1",
    "NaN": instead(b"60.5", b"NaN"),
    "Infinity": instead(b"60.5", b"Infinity"),
    "-Infinity": instead(b"60.5", b"-Infinity"),
    "byte order mark": b"\xef\xbb\xbf" + START,
    "UTF-16": START.decode().encode("utf-16"),
    "trailing text": START + b"x",
    "two documents": START + START,
    "lone surrogate": instead(b"film-1", b"\\ud800"),
    "reversed surrogates": instead(b"film-1", b"\\udc00\\ud800"),
    "invalid UTF-8 in a string": instead(b"film-1", b"\xff\xfe"),
    "overlong UTF-8": instead(b"film-1", b"\xc0\xaf"),
    "UTF-8 of a surrogate": instead(b"film-1", b"\xed\xa0\x80"),
    "raw control character": instead(b"film-1", b"a\x01b"),
    "deep array": b"[" * DEEP + b"]" * DEEP,
    "very deep array": b"[" * 30_000,
    "very deep object": b'{"a":' * 10_000,
    "deep in an unknown key": instead(b'{"playerTime"', b'{"x": ' + b"[" * 2000 + b"]" * 2000 + b', "playerTime"'),
    "deep in params": instead(b'"film-1"', b"[" * DEEP + b"]" * DEEP),
    "brackets in an unended string": b"[]" * 20 + b'"' + b'\\"' * 30_000,
    "1e999": instead(b"60.5", b"1e999"),
    "-1e999": instead(b"60.5", b"-1e999"),
    "5000-digit integer": instead(b"60.5", b"9" * 5000),
    "40-digit ts": instead(TS, b"9" * 40),
    "negative ts": instead(TS, b"-1"),
    "ts of the year 3000": instead(TS, b"32503680000000"),
    "ts as text": instead(TS, b'"1"'),
    "ts as a fraction": instead(TS, b"1.5"),
    "ts as a boolean": instead(TS, b"true"),
    "ts null": instead(TS, b"null"),
    "playhead as text": instead(b'"playhead": 0', b'"playhead": "0"'),
    "playhead as a boolean": instead(b'"playhead": 0', b'"playhead": false'),
    "playhead missing": instead(b'"playhead": 0, ', b""),
    "playerTime an array": b'{"playerTime": [], "eventType": "play"}',
    "playerTime missing": b'{"eventType": "play"}',
    "eventType missing": b'{"playerTime": {"playhead": 0, "ts": 1}}',
    "eventType null": b'{"playerTime": {"playhead": 0, "ts": 1}, "eventType": null}',
    "eventType an object": b'{"playerTime": {"playhead": 0, "ts": 1}, "eventType": {}}',
    "eventType unknown": instead(b'"sessionStart"', b'"sessionBegin"'),
    "params an array": b'{"playerTime": {"playhead": 0, "ts": 1}, "eventType": "sessionStart", "params": []}',
    "params missing": b'{"playerTime": {"playhead": 0, "ts": 1}, "eventType": "sessionStart"}',
    "params null": b'{"playerTime": {"playhead": 0, "ts": 1}, "eventType": "sessionStart", "params": null}',
    "params as text": b'{"playerTime": {"playhead": 0, "ts": 1}, "eventType": "sessionStart", "params": "x"}',
    "state without a name": b'{"playerTime": {"playhead": 0, "ts": 1}, "eventType": "stateStart", "params": {}}',
    "state named by a number": STATE.replace(b'"mute"', b"1"),
    "state named null": STATE.replace(b'"mute"', b"null"),
    "nested value": instead(b'"film-1"', b'"film-1", "x": {"y": 1}'),
    "nested in custom metadata": START[:-1] + b', "customMetadata": {"a": {"b": "c"}}}',
    "unknown object": START[:-1] + b', "unknown": {}}',
    "too many keys": START[:-1] + b', "customMetadata": {%s}}' % b",".join(b'"k%d": ""' % n for n in range(300)),
    "form": b"playerTime=1&eventType=sessionStart",
    "multipart": b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n--b--',
    "HTML": b"<html></html>",
    "binary": bytes(range(256)),
}
