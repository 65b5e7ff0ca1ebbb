"""How the events of a body would be posted: one alone, a live session one by one, an offline session whole."""

import json
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from ingest.arrays import cut_as_meant
from ingest.bodies import BodyLimits, check_size
from ingest.findings import Takes, is_downloaded
from ingest.incoming import DOWNLOADED, EVENTS, SESSIONS
from schemas.faults import Flaw, InvalidEvent, NotJson, Refusal, TooLarge
from schemas.media import read_json

Form = Literal["one event", "a live session", "an offline session"]


class Posts(msgspec.Struct, frozen=True):
    """The events of a body, each as it was sent, and how they would be posted.

    `event_bytes_max` is how large each may be. `flaws` make the body no JSON, though its events are told apart all
    the same; `fault` is why there are none.
    """

    bodies: Sequence[bytes | msgspec.Raw]
    form: Form
    event_bytes_max: int
    flaws: Sequence[Flaw] = ()
    fault: Refusal | None = None

    def takes(self, index: int, event: Any) -> Takes:
        """Return what the place takes to which this event is posted."""
        if index == 0 and self.form == "an offline session":
            return "an offline sessionStart"
        starts = type(event) is dict and event.get("eventType") == "sessionStart"
        return "a live sessionStart" if index == 0 and starts else "any other event"

    def path(self, takes: Takes) -> str:
        """Return the path to which an event is posted."""
        if self.form == "an offline session":
            return DOWNLOADED
        return EVENTS if takes == "any other event" else SESSIONS


def posts_of(body: bytes, limits: BodyLimits) -> Posts:
    """Return the events of a body: one event, an array, or events in lines of their own.

    An array is an offline session if its first event says so, as it is for the routes. Otherwise it is what
    somebody has noted of a live one. `limits` are those of the routes.
    """
    one_max = limits.event_bytes_max
    if body.lstrip()[:1] != b"[":
        lines = _lines(body)
        if lines is None:
            return Posts([body], "one event", one_max)
        return Posts(lines, "a live session", one_max)
    try:
        events, fault = cut_as_meant(body)
        flaws = fault.flaws if fault else ()
        if not _is_offline(events[0]):
            return Posts(events, "a live session", one_max, flaws)
        check_size(len(body), limits.largest)
    except (NotJson, InvalidEvent, TooLarge) as refusal:
        return Posts([], "a live session", one_max, fault=refusal)
    return Posts(events, "an offline session", limits.largest, flaws)


def _is_offline(event: msgspec.Raw) -> bool:
    try:
        return is_downloaded(read_json(bytes(event)))
    except NotJson:
        return False


def _lines(body: bytes) -> Sequence[bytes] | None:
    """Return events that have a line each; None if it is one document, which may be written over many lines."""
    lines = [line for line in body.splitlines() if line.strip()]
    if len(lines) < 2 or not all(line.lstrip().startswith(b"{") for line in lines):
        return None
    try:
        json.loads(body)
    except ValueError:
        return lines
    return None
