"""Records of the log that are not in the lake yet: how many in each partition, and whether that is a fault."""

import asyncio
import contextlib
import time
from collections.abc import Mapping

import duckdb
import msgspec

from eventlog.adapters import read_ends
from lake.behind import Standing, read_standings
from lake.catalog import connect, location
from lake.errors import cause
from lake.verify import Finding
from schemas.faults import LogUnavailable, NotReady
from schemas.settings import Settings
from schemas.terminal import quantity

LOOK_AGAIN_S = 0.2
FAILURES_MAX = 5


class Waiting(msgspec.Struct, frozen=True):
    """The end of a partition when it was looked at, and how many records before it wait."""

    partition: int
    end_offset: int
    records: int


async def look(settings: Settings, *, within_s: float) -> tuple[list[Waiting], list[Finding]]:
    """Wait until the records now in the log are in the lake, or `within_s` are over; return what then waits.

    Raises NotReady if there is no lake. A log that cannot be reached, or a ledger that cannot be read, is a
    finding.
    """
    try:
        ends = await read_ends(settings)
    except (LogUnavailable, NotReady) as fault:
        return [], [Finding("log_unreachable", None, str(fault))]
    until = time.monotonic() + within_s
    with contextlib.closing(await asyncio.to_thread(connect, location(settings), read_only=True)) as lake:
        failures = 0
        while True:
            try:
                standings = await asyncio.to_thread(read_standings, lake)
            except duckdb.Error as error:  # a busy catalogue answers the next time
                failures += 1
                if failures == FAILURES_MAX:
                    return [], [Finding("ledger_unreadable", None, cause(error))]
                await asyncio.sleep(LOOK_AGAIN_S)
                continue
            failures = 0
            if time.monotonic() >= until or not any(is_to_come(standings.get(p), end) for p, end in ends.items()):
                break
            await asyncio.sleep(LOOK_AGAIN_S)
    # The lake reads on meanwhile, so where the log ends now counts, asked for after the ledger.
    now_ends = ends
    if any(standing.next_offset > ends.get(partition, 0) for partition, standing in standings.items()):
        try:
            now_ends = await read_ends(settings)
        except (LogUnavailable, NotReady) as fault:
            return [], [Finding("log_unreachable", None, str(fault))]
    waiting = [
        Waiting(partition, end, max(0, end - (standings[partition].next_offset if partition in standings else 0)))
        for partition, end in sorted(ends.items())
    ]
    return waiting, _findings(waiting, standings, now_ends, within_s=within_s)


def is_to_come(standing: Standing | None, end_offset: int) -> bool:
    """Return whether records wait that a worker may be about to read."""
    if standing is None:
        return end_offset > 0
    return not standing.is_halted and standing.next_offset < end_offset


def _findings(
    waiting: list[Waiting], standings: Mapping[int, Standing], now_ends: Mapping[int, int], *, within_s: float
) -> list[Finding]:
    """Return findings. If reading is halted, the ledger has the reason."""
    findings = []
    for one in waiting:
        standing = standings.get(one.partition)
        they_wait = quantity(one.records, "record", "wait")
        if standing is None and one.records:
            detail = f"{they_wait}, and the lake has no tables for the partition: `playhead init`"
            findings.append(Finding("behind", one.partition, detail))
        elif standing is not None and not standing.is_halted and standing.next_offset > now_ends[one.partition]:
            end_offset = now_ends[one.partition]
            detail = f"the log ends at {end_offset}, but the lake has read up to {standing.next_offset}"
            findings.append(Finding("log_truncated", one.partition, detail))
        elif is_to_come(standing, one.end_offset):
            detail = f"{they_wait}, after {within_s:g} s: is a worker running, and keeping up?"
            findings.append(Finding("behind", one.partition, detail))
    return findings
