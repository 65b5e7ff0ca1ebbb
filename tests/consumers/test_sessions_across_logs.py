"""Sessions that began in a log that was lost, and go on in the one that was made in its place."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from rigs.lake import Lake, playhead, record_value
from rigs.logs import writing
from rigs.session_model import session_id
from rigs.waiting import until

from consumers.decisions import accept_new_logs
from consumers.worker import Worker
from eventlog.adapters import create_log
from lake.verify import verify

BEGAN_MS = time.time_ns() // 1_000_000 - 300_000
OPEN, CLOSED = session_id(1, BEGAN_MS), session_id(2, BEGAN_MS)
Said = tuple[str, str, int]  # session, event type, seconds after the beginning
BEFORE: Sequence[Said] = (
    *((id, type_name, at_s) for id in (OPEN, CLOSED) for type_name, at_s in (("sessionStart", 0), ("play", 0))),
    *((id, "ping", at_s) for id in (OPEN, CLOSED) for at_s in (10, 20)),
    (CLOSED, "sessionEnd", 40),
)
AFTER: Sequence[Said] = (
    (OPEN, "ping", 30),
    (CLOSED, "pauseStart", 25),
    (CLOSED, "play", 35),
    (OPEN, "sessionEnd", 50),
)
# An event of each session once more, as a player sends it that got no reply; and one of the new log twice.
RESENT: Sequence[Said] = (BEFORE[0], BEFORE[-1], AFTER[0])


ARRIVALS = {"first_received_at", "last_received_at", "last_moved_at", "clock_spread_ms"}


def event_id(session: str, type_name: str, at_s: int) -> str:
    """Return the id of an event."""
    return f"{session[-8:]}-{type_name}-{at_s}"


def record(session: str, type_name: str, at_s: int) -> bytes:
    """Return the record of an event that arrives now."""
    ts = BEGAN_MS + at_s * 1_000
    now_ms = time.time_ns() // 1_000_000
    return record_value(
        event_id(session, type_name, at_s), session, type_name, ts=ts, received_ms=now_ms, playhead=float(at_s)
    )


async def append(lake: Lake, said: Sequence[Said]) -> None:
    """Append events to the log."""
    async with writing(lake.settings) as writer:
        for each in said:
            await writer.append(0, key=each[0].encode(), value=record(*each))


def work_off(lake: Lake) -> None:
    """Let a worker take all that is in the log."""
    asyncio.run(asyncio.wait_for(Worker(lake.settings).run(asyncio.Event(), until_read=True), 100))


def facts(lake: Lake) -> dict[str, dict[str, Any]]:
    """Return what the lake says of each session, but for when its events arrived."""
    return {
        id: {name: value for name, value in row.items() if name not in ARRIVALS}
        for id, row in lake.sessions().items()
    }


def stored_alike(tmp_path: Path) -> Lake:
    """Return a lake that has read the same records, in the same two parts, from one log."""
    lake = Lake(tmp_path / "one log")
    asyncio.run(create_log(lake.settings))
    for said in (BEFORE, [*AFTER, *RESENT]):
        asyncio.run(append(lake, said))
        work_off(lake)
    return lake


def replace_log(lake: Lake) -> None:
    """Remove the log, make another, and let the player's posts go on into that."""
    (lake.settings.data_dir / "log.sqlite").unlink()
    asyncio.run(create_log(lake.settings))
    asyncio.run(append(lake, [*AFTER, *RESENT]))


@pytest.mark.parametrize("is_running", [True, False], ids=["while a worker runs", "while none runs"])
def test_sessions_go_on_across_a_log_that_was_lost(tmp_path: Path, is_running: bool) -> None:
    """An open one, and a closed one with late events: as from one log, and what was sent again is a duplicate."""
    lake = Lake(tmp_path / "two logs")
    asyncio.run(create_log(lake.settings))
    asyncio.run(append(lake, BEFORE))
    read = len(BEFORE) + len(AFTER) + len(RESENT)
    if is_running:
        with playhead(lake.settings, "worker"):
            until(lambda: lake.ask("SELECT next_offset FROM ledger") == [(len(BEFORE),)])
            replace_log(lake)
            until(lambda: lake.ask("SELECT halted_reason IS NOT NULL FROM ledger") == [(True,)])
            assert lake.ask("SELECT count(*) FROM events") == [(len(BEFORE),)]
            asyncio.run(accept_new_logs(lake.settings, [0]))
            until(lambda: lake.ask("SELECT next_offset FROM ledger") == [(read,)])
    else:
        work_off(lake)
        replace_log(lake)
        asyncio.run(accept_new_logs(lake.settings, [0]))
        work_off(lake)
    assert verify(lake.place).findings == []
    versions = (
        "SELECT version, late_events, state, content_time_s, pauses, events FROM sessions ORDER BY session_id"
    )
    assert lake.ask(versions) == [(1, 0, "final", 50.0, 0, 6), (2, 2, "final", 30.0, 1, 7)]
    duplicates = "SELECT log_offset, event_id FROM duplicates ORDER BY log_offset"
    assert lake.ask(duplicates) == [(read - len(RESENT) + n, event_id(*said)) for n, said in enumerate(RESENT)]
    assert lake.ask("SELECT log_number, log_base, inserted, duplicates FROM ledger") == [
        (2, len(BEFORE), len(BEFORE) + len(AFTER), len(RESENT))
    ]
    assert facts(lake) == facts(stored_alike(tmp_path))
