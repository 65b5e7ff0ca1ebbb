"""Which events of a session take effect.

Anybody who knows a session's id may send events to it. What takes no effect is counted, and tells nothing but a
denial of consent (`identity.py`):

* `over_limit`: of a session's stored events the first 20,000 by offset are folded, repeats among them, and its
  first sessionEnd wherever it is. The others carry the flag `over_limit`.
* `end_ignored`: a sessionEnd takes no effect where an event that had arrived by then (`received_at`) says a time
  more than 5 minutes after it. Repeats, events over the limit and other ends do not judge.

The session's flags name those that happened.
"""

from collections.abc import Iterable

from sessions.clock_steps import Clocks, clocks_of, dated
from sessions.event import Event
from sessions.state import FAR_PAST, State

# A day of pings every 10 s is 8,640 events. To fold this many again takes a worker a third of a second.
EVENTS_MAX = 20_000
END_TOLERANCE_MS = 300_000  # posts overtake each other by seconds, and clocks are set by less while a player runs
REPEAT, OVER_LIMIT, END_IGNORED = "repeat", "over_limit", "end_ignored"


def is_over_limit(event: Event, *, stored: int, has_end: bool, events_max: int = EVENTS_MAX) -> bool:
    """Return whether an event is stored and not folded, with `stored` of its session before, an end among them."""
    return stored >= events_max and (has_end or not event.type.ends)


def admitted(events: Iterable[Event]) -> tuple[Clocks, list[Event]]:
    """Return what all events of a session, at least one, show of its clocks, and the events as they are folded.

    Each has the time that orders it; ends that take no effect are flagged. They are in the order given.
    """
    every = list(events)
    clocks = clocks_of((event.received_ms, event.client_ms) for event in every if not event.is_flagged(OVER_LIMIT))
    return clocks, without_false_ends(dated(event, clocks) for event in every)


def without_false_ends(events: Iterable[Event]) -> list[Event]:
    """Return the events of a session with those ends flagged that take no effect; in the order given."""
    every = list(events)
    ends = [event for event in every if event.type.ends and not event.is_flagged(REPEAT, OVER_LIMIT)]
    if not ends:
        return every
    said = sorted(
        (event.received_ms, event.order_ms)
        for event in every
        if not event.type.ends and not event.is_flagged(REPEAT, OVER_LIMIT)
    )
    false: set[int] = set()
    latest_ms, place = FAR_PAST, 0
    for end in sorted(ends, key=lambda end: end.received_ms):
        while place < len(said) and said[place][0] <= end.received_ms:
            latest_ms = max(latest_ms, said[place][1])
            place += 1
        if latest_ms > end.order_ms + END_TOLERANCE_MS:
            false.add(end.offset)
    if not false:
        return every
    return [event.flagged(END_IGNORED) if event.offset in false else event for event in every]


def takes_no_effect(state: State, flags: tuple[str, ...]) -> bool:
    """Count an event that is over the limit, or an end that takes no effect; return whether it is one."""
    if OVER_LIMIT in flags:
        state.events_over_limit += 1
        return True
    if END_IGNORED in flags:
        state.events_ignored += 1
        return True
    return False
