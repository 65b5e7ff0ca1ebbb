"""`playhead tail`: prints events and refused bodies as they come into the lake."""

import contextlib
import sys
import time
from collections.abc import Callable
from typing import Final

from commands.as_json import print_json
from lake.arrivals import BACK_RECORDS_MAX, Arrival, Arrivals, Wanted
from lake.catalog import connect, location
from lake.schema import check_schema
from schemas.settings import Settings
from schemas.terminal import printable

LOOK_AGAIN_S: Final = 1.0
ID_CHARACTERS: Final = 24  # ids begin with a time, or with zeros and their partition


def follow(
    settings: Settings,
    wanted: Wanted,
    *,
    lines: int,
    as_json: bool,
    rounds: int | None = None,
    wait: Callable[[float], None] = time.sleep,
) -> None:
    """Print the newest `lines` that are wanted, and then what comes, until stopped or for so many more rounds."""
    place = location(settings)
    with contextlib.closing(connect(place, read_only=True, threads=1)) as connection:
        check_schema(connection, place)
        arrivals = Arrivals(connection, wanted)
        newest = arrivals.newest(lines)
        found = newest.found
        if len(found) < lines and not newest.is_all:
            print(  # noqa: T201
                f"{len(found)} of the newest {BACK_RECORDS_MAX:,} records match; older ones were not looked at",
                file=sys.stderr,
            )
        while True:
            for arrival in found:
                if as_json:
                    print_json(arrival)
                else:
                    print(_line(arrival), flush=True)  # noqa: T201
            if rounds == 0:
                return
            rounds = None if rounds is None else rounds - 1
            wait(LOOK_AGAIN_S)
            found = arrivals.read()


def _line(arrival: Arrival) -> str:
    session = (arrival.session_id or "-")[:ID_CHARACTERS]
    head = f"{arrival.received_at:%H:%M:%S.%f}"[:-3] + f"  {session:<{ID_CHARACTERS}}  "
    if arrival.reason is not None:
        return printable(f"{head}REFUSED {arrival.reason}: {arrival.detail}")
    playhead = "" if arrival.playhead_s is None else f"{arrival.playhead_s:.3f}"
    content = f"  {arrival.content_id}" if arrival.content_id else ""
    flags = f"  ! {', '.join(arrival.flags)}" if arrival.flags else ""
    return printable(f"{head}{arrival.event_type:<16} {playhead:>10}{content}{flags}")
