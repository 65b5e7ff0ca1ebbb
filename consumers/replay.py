"""Replays quarantined records: what can be decoded now is appended to the log once more, and the rest stays.

The old row stays where it is, since it accounts for its offset, and a decision links it to the new offset. A
record is appended before its decision is stored. If the process is killed in between, the next replay may append
its event again; its id then makes it a duplicate. So each event counts once, and each offset is accounted once.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import duckdb
import msgspec
from msgspec.structs import replace

from consumers.decisions import other_logs, with_remedy
from consumers.decode import decode
from eventlog import Receipt, Record, Writer
from eventlog.adapters import open_writer
from lake.catalog import Location, location
from lake.quarantine import (
    REPLAYED,
    Choice,
    Decision,
    Entry,
    Position,
    decide,
    open_pages,
    open_positions,
    read_stored,
)
from lake.schema import open_to_write, partitions_of
from lake.transaction import read_ledgers
from schemas.faults import NotReady
from schemas.records import encode
from schemas.settings import Settings
from sessions.event import Bad, Event, Tracking

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Replayed(msgspec.Struct):
    """What a replay did: records appended, those whose event was stored already, and by reason those still bad."""

    appended: int = 0
    stored: int = 0
    bad: dict[str, int] = {}

    @property
    def dealt_with(self) -> int:
        """How many records are no longer open."""
        return self.appended + self.stored


class Good(NamedTuple):
    """A quarantined record that can be decoded now."""

    entry: Entry
    event: Event | Tracking


def read_again(entry: Entry) -> Event | Tracking | Bad:
    """Decode a quarantined record as a worker of this release would have done when it arrived."""
    appended_ms = round(entry.received_at.timestamp() * 1000)
    return decode(Record(entry.partition, entry.offset, b"", entry.value, appended_ms))


def value_of(entry: Entry) -> bytes:
    """Return the value of the record that replays this one: the same, with its position and its first append."""
    fields = _fields(entry.value)
    fields["replayof"] = msgspec.Raw(encode(str(entry.position)))
    fields["appendedtime"] = msgspec.Raw(encode(entry.received_at))
    return encode(fields)


async def replay(
    settings: Settings,
    choice: Choice,
    *,
    limit: int | None,
    is_dry: bool,
    note: Callable[[Replayed], None] = lambda _: None,
) -> Replayed:
    """Append what can be decoded now of the chosen records, `limit` of them at most, and link old and new offsets.

    `is_dry`: only count. `note` is told of each page. Raises NotReady for refused bodies, or if the log is not the
    one that the lake has read; LogUnavailable or duckdb.Error, after which the next replay continues.
    """
    if choice.source == "ingest":
        raise NotReady(
            "bodies that the ingest refused were never promised to be stored, and their senders know that; "
            "only records with the source worker can be replayed"
        )
    place = location(settings)
    done = Replayed()
    with contextlib.closing(await asyncio.to_thread(open_to_write, place)) as connection:
        if choice.at and (refused := open_positions(connection, replace(choice, source="ingest"))):
            raise NotReady(f"{refused[0]} is a body that the ingest refused: only source worker can be replayed")
        bases = await _bases(settings, connection)
        pages = open_pages(connection, replace(choice, source="worker"))
        async with _writing(settings, is_dry=is_dry) as writer:
            while (page := await asyncio.to_thread(next, pages, None)) is not None:
                left = None if limit is None else limit - done.dealt_with
                if left == 0:
                    break
                good = _good(page, done)[:left]
                stored = await asyncio.to_thread(_stored, connection, good)
                fresh = [each for each in good if each.event.event_id not in stored]
                note(done)
                done.stored += len(good) - len(fresh)
                if writer is None:
                    done.appended += len(fresh)
                    continue
                await _link(connection, place, good, stored)
                done.appended += await _append(writer, connection, place, fresh, bases)
    return done


async def _bases(settings: Settings, connection: duckdb.DuckDBPyConnection) -> dict[int, int]:
    """Return what the lake adds to the log's own offsets, by partition. Raises NotReady if the log is another."""
    ledgers = await asyncio.to_thread(lambda: read_ledgers(connection, partitions_of(connection)))
    for fault in (await other_logs(settings, ledgers)).values():
        raise NotReady(with_remedy(fault)) from fault
    return {ledger.log_partition: ledger.log_base for ledger in ledgers}


@contextlib.asynccontextmanager
async def _writing(settings: Settings, *, is_dry: bool) -> AsyncIterator[Writer | None]:
    """Open the log for appending, unless nothing is to be appended."""
    if is_dry:
        yield None
        return
    writer = await open_writer(settings)
    try:
        yield writer
    finally:
        await writer.close()


def _good(page: Sequence[Entry], done: Replayed) -> list[Good]:
    """Return the records of a page that can be decoded now; count the others."""
    good = []
    for entry in page:
        event = read_again(entry)
        if isinstance(event, Bad):
            done.bad[event.reason] = done.bad.get(event.reason, 0) + 1
        else:
            good.append(Good(entry, event))
    return good


def _stored(connection: duckdb.DuckDBPyConnection, good: Sequence[Good]) -> dict[str, Position]:
    """Return where the events of these records are that the lake has already, by their id."""
    events = [each.event for each in good]
    return read_stored(
        connection,
        events=[(event.session_id, event.event_id) for event in events if isinstance(event, Event)],
        tracking=[event.event_id for event in events if isinstance(event, Tracking)],
    )


async def _append(
    writer: Writer,
    connection: duckdb.DuckDBPyConnection,
    place: Location,
    fresh: Sequence[Good],
    bases: Mapping[int, int],
) -> int:
    """Append records, and link those that are in the log; return how many. Raises what the log raised."""
    for each in fresh:
        if each.entry.partition >= writer.partitions:
            raise NotReady(f"the log has {writer.partitions} partitions, and {each.entry.position} was in another")
    appends = [
        writer.append(each.entry.partition, key=_key(each.event), value=value_of(each.entry)) for each in fresh
    ]
    outcomes = await asyncio.gather(*appends, return_exceptions=True)
    links = [
        Decision(
            each.entry.position,
            REPLAYED,
            Position(each.entry.partition, receipt.offset + bases[each.entry.partition]),
            "appended once more",
        )
        for each, receipt in zip(fresh, outcomes, strict=True)
        if isinstance(receipt, Receipt)
    ]
    await asyncio.to_thread(decide, connection, links, now=datetime.now(UTC), place=place)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
    return len(links)


async def _link(
    connection: duckdb.DuckDBPyConnection, place: Location, good: Sequence[Good], stored: Mapping[str, Position]
) -> None:
    """Link records whose events the lake has already."""
    links = [
        Decision(each.entry.position, REPLAYED, stored[each.event.event_id], "its event was stored already")
        for each in good
        if each.event.event_id in stored
    ]
    await asyncio.to_thread(decide, connection, links, now=datetime.now(UTC), place=place)


def _key(event: Event | Tracking) -> bytes:
    """Return the key of a record: the id of its session, as the ingest writes it."""
    return (event.session_id if isinstance(event, Event) else event.tracking_session_id).encode()
