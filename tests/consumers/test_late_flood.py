"""Late events to long sessions, again and again, and a real worker that has others to serve."""

import asyncio
import contextlib
import functools
import time
from collections.abc import Iterable
from pathlib import Path

from rigs.lake import Lake, playhead, record_value
from rigs.logs import writing
from rigs.session_model import session_id
from rigs.waiting import until_async

from eventlog import Writer
from eventlog.adapters import create_log
from lake.verify import verify

EVENTS = 5_000  # of each long session, which is folded again for a late one
TOGETHER = 500
PAUSE_S = 0.01
SEEN_WITHIN_S = 10.0
ROUNDS = 6
BEGAN_MS = time.time_ns() // 1_000_000 - 7_200_000
LONG = [session_id(number, BEGAN_MS) for number in range(4)]
OTHER = session_id(9, BEGAN_MS)


async def append(writer: Writer, said: Iterable[tuple[str, str, int]]) -> None:
    """Append pings: of a session, with an id, at a time."""
    records = [
        (id, record_value(event_id, id, ts=ts, received_ms=time.time_ns() // 1_000_000, playhead=ts / 1000))
        for id, event_id, ts in said
    ]
    for first in range(0, len(records), TOGETHER):
        together = records[first : first + TOGETHER]
        await asyncio.gather(*(writer.append(0, key=id.encode(), value=value) for id, value in together))


async def flood(writer: Writer, stopped: asyncio.Event) -> int:
    """Send each long session events that belong before all others, again and again; return how many each got."""
    sent = 0
    while not stopped.is_set():
        await append(writer, [(id, f"{id[-4:]}-late-{sent}", BEGAN_MS - 1 - sent) for id in LONG])
        sent += 1
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopped.wait(), PAUSE_S)
    return sent


async def test_late_events_to_long_sessions_delay_nobody_elses(tmp_path: Path) -> None:
    """While they come, each event of another session is in the lake within seconds; then all numbers are right."""
    lake = Lake(tmp_path, worker_commit_interval_s=0.2, worker_open_sessions_interval_s=0.2)
    await create_log(lake.settings)

    def has(session: str, events: int) -> bool:
        return lake.ask(f"SELECT events FROM sessions WHERE session_id = '{session}'") == [(events,)]

    async with writing(lake.settings) as writer:
        with playhead(lake.settings, "worker"):
            said = ((id, n) for id in LONG for n in range(EVENTS))
            await append(writer, [(id, f"{id[-4:]}-{n}", BEGAN_MS + 1_000 * n) for id, n in said])
            await until_async(lambda: lake.ask("SELECT count(*) FROM events") == [(EVENTS * len(LONG),)])
            stopped = asyncio.Event()
            flooding = asyncio.create_task(flood(writer, stopped))
            for posted in range(1, ROUNDS + 1):
                await append(writer, [(OTHER, f"other-{posted}", BEGAN_MS + 1_000 * posted)])
                await until_async(functools.partial(has, OTHER, posted), within_s=SEEN_WITHIN_S)
            stopped.set()
            late = await flooding
            assert late > ROUNDS
            await until_async(lambda: all(has(id, EVENTS + late) for id in LONG))
            await until_async(lambda: verify(lake.place).findings == [])
