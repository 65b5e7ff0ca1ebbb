"""The bodies that a script sends: with timestamps, and spoiled as by buggy players. Pure."""

from collections.abc import Callable
from typing import Any

import msgspec

from players.tape import Step


def body_of(step: Step, *, start_ms: int, metadata: dict[str, str] | None = None) -> dict[str, Any]:
    """Complete the body of a step whose script began at `start_ms` (since 1970, by the player's clock)."""
    body = dict(step.body)
    body["playerTime"] = {**body["playerTime"], "ts": start_ms + step.at_ms}
    if metadata and "customMetadata" in body:
        body["customMetadata"] = {**body["customMetadata"], **metadata}
    return body


def bytes_of(body: dict[str, Any], fault: str = "") -> bytes:
    """Encode a body as it goes over the wire, spoiled if the script demands it."""
    return FAULTS[fault](body) if fault else msgspec.json.encode(body)


def _without_ts(body: dict[str, Any]) -> bytes:
    return msgspec.json.encode({**body, "playerTime": {"playhead": 0}})


def _ts_as_text(body: dict[str, Any]) -> bytes:
    return msgspec.json.encode({**body, "playerTime": {"playhead": 0, "ts": str(body["playerTime"]["ts"])}})


def _cut_off(body: dict[str, Any]) -> bytes:
    return msgspec.json.encode(body)[:-9]


def _unknown_type(body: dict[str, Any]) -> bytes:
    return msgspec.json.encode({**body, "eventType": "resume"})


def _not_a_number(body: dict[str, Any]) -> bytes:
    return msgspec.json.encode(body).replace(b'"playhead":', b'"playhead":NaN,"was":', 1)


FAULTS: dict[str, Callable[[dict[str, Any]], bytes]] = {
    "without ts": _without_ts,
    "ts as text": _ts_as_text,
    "cut off": _cut_off,
    "unknown type": _unknown_type,
    "not a number": _not_a_number,
}
