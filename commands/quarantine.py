"""`playhead quarantine`: prints what is in quarantine, and what was done with it."""

import base64
import contextlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from rich.console import Console
from rich.text import Text

from commands.as_json import print_json
from commands.durations import parse_moment
from commands.progress import Counted
from commands.tables import print_table
from consumers.replay import Replayed, read_again, replay
from lake.catalog import connect, location
from lake.quarantine import (
    DISCARDED,
    Choice,
    Decision,
    Entry,
    Position,
    decide,
    open_positions,
    read_entry,
    read_reasons,
)
from lake.schema import check_schema, open_to_write
from schemas.faults import NotReady
from schemas.settings import Settings
from schemas.terminal import escaped, printable
from sessions.event import Bad, Event, Tracking

BYTES_SHOWN = 10_000
DETAIL_CHARACTERS = 80
DECIDED_AT_ONCE = 10_000


def choose(
    *,
    reason: str | None,
    source: Literal["worker", "ingest"] | None,
    partition: int | None,
    since: str | None,
    at: Sequence[str],
) -> Choice:
    """Return which records the options of a verb choose. Raises NotReady or typer.BadParameter."""
    moment = None if since is None else parse_moment(since, now=datetime.now(UTC))
    return Choice(reason, source, partition, moment, tuple(map(Position.parse, at)))


def print_reasons(settings: Settings, choice: Choice, *, limit: int, as_json: bool) -> None:
    """Print the chosen records by reason."""
    place = location(settings)
    with contextlib.closing(connect(place, read_only=True)) as lake:
        check_schema(lake, place)
        found = read_reasons(lake, choice, limit=limit)
    if as_json:
        print_json(found)
        return
    if not found:
        print("nothing is in quarantine" if choice.is_everything else "no such record is in quarantine")  # noqa: T201
        return
    columns = ["source", "reason", "open", "replayed", "discarded", "first", "newest", "example", "its detail"]
    rows = [
        [
            *(each.source, each.reason, f"{each.open:,}", f"{each.replayed:,}", f"{each.discarded:,}"),
            *(_shown(each.first_at), _shown(each.newest_at), each.example, _short(each.detail)),
        ]
        for each in found
    ]
    print_table(columns, rows)


def print_entry(settings: Settings, text: str, *, as_json: bool) -> None:
    """Print one record. Raises NoSuchRecord."""
    place = location(settings)
    with contextlib.closing(connect(place, read_only=True)) as lake:
        check_schema(lake, place)
        entry = read_entry(lake, Position.parse(text))
    now = _now(entry)
    if as_json:
        fields: dict[str, Any] = msgspec.structs.asdict(entry)
        fields |= {"value": base64.b64encode(entry.value).decode(), "now": now}
        print_json(fields)
        return
    console = Console(soft_wrap=True)
    lines: dict[str, str | None] = {
        "record": f"{entry.position}, {len(entry.value):,} bytes, arrived {_shown(entry.received_at)} UTC",
        "reason": f"{entry.reason} (source {entry.source}): {entry.detail}",
        "sender": _sender(entry),
        "now": now,
        "decision": _decision(entry),
    }
    for name, line in lines.items():
        if line is None:
            continue
        console.print(Text.assemble((f"{name}: ", "bold"), printable(line)))
    console.print(Text(escaped(entry.value[:BYTES_SHOWN])))
    if len(entry.value) > BYTES_SHOWN:
        console.print(f"... {len(entry.value) - BYTES_SHOWN:,} bytes more; --json has all of them, in base64")


async def print_replay(
    settings: Settings, choice: Choice, *, limit: int | None, is_dry: bool, as_json: bool
) -> None:
    """Replay the chosen records, and print what became of them."""
    with Counted("replay") as counted:

        def note(done: Replayed) -> None:
            counted.show(appended=done.appended, stored_already=done.stored, not_decoded=sum(done.bad.values()))

        done = await replay(settings, choice, limit=limit, is_dry=is_dry, note=note)
    if as_json:
        print_json({**msgspec.structs.asdict(done), "dry_run": is_dry})
        return
    bad = ", ".join(f"{reason} {count:,}" for reason, count in sorted(done.bad.items()))
    parts = [f"{_records(done.appended, is_dry=is_dry)} appended to the log"]
    if done.stored:
        parts.append(f"{done.stored:,} in the lake already")
    if bad:
        parts.append(f"{sum(done.bad.values()):,} still cannot be decoded ({bad})")
    print("; ".join(parts))  # noqa: T201


def print_discard(
    settings: Settings, choice: Choice, why: str, *, limit: int | None, is_dry: bool, as_json: bool
) -> None:
    """Mark the chosen records as dealt with, and print how many. Raises NotReady if nothing is chosen."""
    if choice.is_everything:
        raise NotReady(
            "name what to discard: records (partition:offset), --reason, --source, --partition or --since; "
            "`playhead quarantine list` shows what there is"
        )
    if not why.strip():
        raise NotReady(
            "--why is empty: write for the next operator why nothing more is to be done with these records"
        )
    place = location(settings)
    with contextlib.closing(open_to_write(place)) as lake:
        chosen = open_positions(lake, choice)[:limit]
        for first in range(0, 0 if is_dry else len(chosen), DECIDED_AT_ONCE):
            page = chosen[first : first + DECIDED_AT_ONCE]
            decisions = (Decision(position, DISCARDED, None, why) for position in page)
            decide(lake, decisions, now=datetime.now(UTC), place=place)
    if as_json:
        print_json({"discarded": len(chosen), "dry_run": is_dry})
    else:
        print(f"{_records(len(chosen), is_dry=is_dry)} discarded")  # noqa: T201


def _records(count: int, *, is_dry: bool) -> str:
    """Return the beginning of a sentence about what happened, or would happen, to so many records."""
    verb = "would be" if is_dry else "was" if count == 1 else "were"
    return f"{count:,} record{'' if count == 1 else 's'} {verb}"


def _now(entry: Entry) -> str:
    """Return what a record is to this release."""
    if entry.source == "ingest":
        return "a refused body, which cannot be replayed"
    read: Event | Tracking | Bad = read_again(entry)
    if isinstance(read, Bad):
        return f"it cannot be decoded: {read.reason}: {read.detail}"
    if isinstance(read, Event):
        return f"it can be decoded: {read.type.name} {read.event_id} of session {read.session_id}"
    return f"it can be decoded: {read.change} {read.event_id} of tracking session {read.tracking_session_id}"


def _sender(entry: Entry) -> str | None:
    """Return what is known of the sender of a refused body; None if that is nothing."""
    known = {
        "API key": entry.key_name,
        "player": entry.player_name,
        "app version": entry.app_version,
        "session": entry.session_id,
    }
    return ", ".join(f"{name} {value}" for name, value in known.items() if value is not None) or None


def _decision(entry: Entry) -> str:
    if entry.decision is None or entry.decided_at is None:
        return "none"
    where = "" if entry.new_position is None else f" at {entry.new_position}"
    return f"{entry.decision}{where}, {_shown(entry.decided_at)} UTC: {entry.why}"


def _shown(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"


def _short(text: str) -> str:
    return text if len(text) <= DETAIL_CHARACTERS else text[: DETAIL_CHARACTERS - 1] + "…"
