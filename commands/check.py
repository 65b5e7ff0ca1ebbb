"""`playhead check`: what an ingest would say of the events in a file, and what they would do to their session."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from commands.as_json import print_json
from consumers.decode import decode
from eventlog import Record
from ingest.bodies import BodyLimits, limits_of_events
from ingest.incoming import Incoming
from ingest.posts import posts_of
from ingest.verdicts import Judge, Remark, Verdict
from lake.one_session import Timeline, describe, timeline_of
from schemas.faults import NotReady
from schemas.records import SOURCE_MEDIA, encode, media_event
from schemas.settings import Settings
from schemas.terminal import printable, quantity
from sessions.event import Event

SESSION_ID: Final = "check"


class Checkup(msgspec.Struct, frozen=True):
    """The verdict on the events of a file, and the session of those that are accepted; None if there are none."""

    verdict: Verdict
    session: Timeline | None


def print_check(settings: Settings, path: Path, *, as_json: bool) -> bool:
    """Print what is to be said of a file; return whether all of it would be accepted. Raises NotReady."""
    try:
        body = Path("/dev/stdin").read_bytes() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        raise NotReady(f"{path} cannot be read: {error.strerror}") from None
    now_ms = int(datetime.now(UTC).timestamp() * 1000)
    checkup = check_events(
        body,
        limits=limits_of_events(settings),
        strict=settings.strict,
        now_ms=now_ms,
        length_ms=int(settings.session_length_s * 1000),
    )
    if as_json:
        print_json(checkup)
    else:
        print("\n".join(map(printable, _described(checkup))))  # noqa: T201
    return checkup.verdict.accepted


def check_events(body: bytes, *, limits: BodyLimits, strict: bool, now_ms: int, length_ms: int) -> Checkup:
    """Check one event, an array of events, or events in lines of their own. The time now is an argument."""
    judge = Judge(posts_of(body, limits), strict=strict, now_ms=now_ms)
    events = []
    for index, incoming in enumerate(judge.each()):
        event = None if incoming is None else _as_read(index, incoming)
        if event is not None:
            events.append(event)
    return Checkup(judge.verdict(), timeline_of(events, 0, length_ms=length_ms) if events else None)


def _as_read(index: int, incoming: Incoming) -> Event | None:
    """Return an event as a worker reads it that has arrived when it happened, be that in the future."""
    received_ms = incoming.ts_ms
    envelope = media_event(
        incoming.event,
        event_id=f"{SESSION_ID}-{index}",
        session_id=SESSION_ID,
        source=SOURCE_MEDIA,
        received=datetime.fromtimestamp(received_ms / 1000, UTC),
        flags=incoming.flags,
    )
    entry = decode(Record(0, index, SESSION_ID.encode(), encode(envelope), received_ms))
    return entry if isinstance(entry, Event) else None


def _described(checkup: Checkup) -> Iterator[str]:
    verdict = checkup.verdict
    yield _summary(verdict)
    for remark in verdict.remarks:
        yield _line(remark)
    if verdict.left_off:
        yield f"and {quantity(verdict.left_off, 'more remark')}"
    if checkup.session is not None:
        yield ""
        yield "As a session, if each had arrived when it happened (offset: the place in the file, from 0):"
        yield from describe(checkup.session)


def _summary(verdict: Verdict) -> str:
    count = len(verdict.events)
    if not count:
        return "The file would be refused as a whole"
    how = {
        "one event": "",
        "a live session": " of a live session, each posted by itself",
        "an offline session": " of an offline session, posted as one array",
    }[verdict.form]
    refused = sum(not event.accepted for event in verdict.events)
    return f"{quantity(count, 'event')}{how}: {refused or 'none'} would be refused"


def _line(remark: Remark) -> str:
    level = {"error": "ERROR", "flag": "flag ", "note": "note "}[remark.level]
    whose = "all" if remark.event is None else f"#{remark.event}"
    return f"{level} {whose} {remark.pointer or '/'}  {remark.code}: {remark.message}"
