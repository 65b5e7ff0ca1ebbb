"""Arrivals drawn at random: any events in any batches, with restarts between them, read into a partition."""

import dataclasses
from collections.abc import Sequence

import msgspec
from hypothesis import strategies as st

from consumers.closing import Limits
from consumers.decode import arrival as arrival_of
from consumers.decode import reflagged
from rigs.session_model import (
    ALL_THE_TIME,
    LIMITS,
    NOON_MS,
    Entry,
    ModelLake,
    make_bad,
    make_event,
    make_tracking,
    no_time,
    session_id,
)
from sessions.event import Event

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
TYPES = ("sessionStart", "play", "pauseStart", "ping", "ping", "bufferStart", "sessionComplete", "sessionEnd")


@dataclasses.dataclass(frozen=True)
class Arrival:
    """One record: its session, what it says, how it lies in time against the last; or an earlier one again.

    `set_ms`: the clock of the session's player is set by so much before it. `row`: so many follow one another.
    """

    session: int
    type_name: str
    pause_ms: int
    ts_ms: int
    skew_ms: int
    log_step_ms: int
    playhead_s: float
    consent: str | None
    again: int
    how: str
    set_ms: int = 0
    row: int = 1


@dataclasses.dataclass(frozen=True)
class Cut:
    """Where a batch ends, and what happens then."""

    records: int
    then: str
    is_busy: bool = False  # no time is left for folding again


ARRIVALS = st.lists(
    st.builds(
        Arrival,
        session=st.integers(0, 5),
        type_name=st.sampled_from(TYPES),
        pause_ms=st.sampled_from((0, 0, 200, 1_000, 10_000, 11 * MINUTE_MS, 31 * MINUTE_MS)),
        ts_ms=st.sampled_from((0, 0, 0, -200, -3_000, -20 * MINUTE_MS, 1_000, 2 * DAY_MS)),
        skew_ms=st.sampled_from(
            (0, 0, 0, -3_000, 3_000, -15 * MINUTE_MS, -2 * HOUR_MS, 2 * HOUR_MS, 3 * DAY_MS, -20_000 * DAY_MS)
        ),
        log_step_ms=st.sampled_from((0,) * 9 + (DAY_MS, -DAY_MS, -20 * MINUTE_MS)),
        playhead_s=st.sampled_from((0.0, 0.0, 1.0, 10.0)),
        consent=st.sampled_from((None, None, None, None, "given", "denied")),
        again=st.integers(1, 12),
        how=st.sampled_from(("new",) * 8 + ("record twice", "said twice", "said twice later", "bad", "tracking")),
        set_ms=st.sampled_from((0,) * 9 + (-HOUR_MS, 6 * MINUTE_MS, 2 * DAY_MS)),
        row=st.sampled_from((1,) * 9 + (3, 4)),
    ),
    max_size=50,
)
CUTS = st.lists(
    st.builds(
        Cut,
        records=st.sampled_from((0, 1, 1, 2, 3, 8, 20)),
        then=st.sampled_from(("commit", "commit", "renew", "crash", "restart", "idle", "restart idle")),
        is_busy=st.booleans(),
    ),
    max_size=30,
)


def log_of(arrivals: Sequence[Arrival]) -> list[Entry]:
    """Lay the arrivals into a log. Session ids: three with a time (of skewed clocks), one derived, two foreign."""
    log: list[Entry] = []
    now, log_ahead_ms = NOON_MS, 0
    ids = {3: session_id(3, 0), 4: "some other producer's", 5: "f" * 64}
    ahead_ms = dict.fromkeys(range(6), 0)
    rows = [(arrival, number) for arrival in arrivals for number in range(arrival.row)]
    for offset, (arrival, number) in enumerate(rows):
        ahead_ms[arrival.session] += arrival.set_ms if number == 0 else 0
        now += arrival.pause_ms
        log_ahead_ms += arrival.log_step_ms
        stamped = now + arrival.skew_ms
        received, is_clock_wrong = arrival_of(stamped, appended_ms=now + log_ahead_ms)
        earlier = log[-min(arrival.again, len(log))] if log else None
        if arrival.how == "bad":
            log.append(make_bad(offset=offset, received_ms=received))
        elif arrival.how == "record twice" and earlier is not None:
            log.append(msgspec.structs.replace(earlier, offset=offset))
        elif arrival.how.startswith("said twice") and isinstance(earlier, Event):
            is_later = arrival.how == "said twice later"
            received = received if is_later else earlier.received_ms
            log.append(
                msgspec.structs.replace(
                    earlier,
                    offset=offset,
                    event_id=f"event-{offset}",
                    received_ms=received,
                )
            )
        elif arrival.how == "tracking":
            log.append(make_tracking(offset=offset, received_ms=received))
        else:
            # The ingest that made the id may have another clock than the one that stamps this arrival.
            born = ids.setdefault(arrival.session, session_id(arrival.session, max(stamped, 0)))
            ts = max(0, now + arrival.ts_ms + ahead_ms[arrival.session])
            flags: tuple[str, ...] = ("future_ts",) if ts - stamped > DAY_MS else ()
            if is_clock_wrong:
                flags = reflagged(flags, ahead_ms=ts - received)
            log.append(
                make_event(
                    arrival.type_name,
                    session_id=born,
                    ts=ts,
                    offset=offset,
                    received_ms=received,
                    playhead_s=arrival.playhead_s,
                    consent=arrival.consent,
                    flags=flags,
                )
            )
    return log


def play(log: Sequence[Entry], cuts: Sequence[Cut], limits: Limits = LIMITS) -> ModelLake:
    """Let a worker read the log in these batches, with these mishaps, to the end and until all sessions closed."""
    lake = ModelLake()
    sessions = lake.start(limits)
    for cut in [*cuts, Cut(len(log), "commit"), Cut(len(log), "commit")]:
        batch = log[sessions.next_offset : sessions.next_offset + cut.records]
        is_at_end = sessions.next_offset + len(batch) == len(log)
        idle_until_ms = sessions.watermark_ms + 20 * MINUTE_MS if "idle" in cut.then and is_at_end else None
        share = no_time() if cut.is_busy else ALL_THE_TIME
        renew_open = cut.then == "renew"
        changes = lake.take(sessions, batch, renew_open=renew_open, idle_until_ms=idle_until_ms, share=share)
        if cut.then != "crash":
            lake.commit(changes)
        if cut.then in ("crash", "restart", "restart idle"):
            sessions = lake.start(limits)
    lake.commit(lake.take(sessions, [], idle_until_ms=sessions.watermark_ms + 10 * DAY_MS, renew_open=True))
    assert not sessions.open
    return lake


def lacking(lake: ModelLake) -> list[Event]:
    """Return the events that are not in the row of their session, although they may change it."""
    newest = lake.newest()
    return [
        event
        for event in lake.events
        if event.offset >= newest[event.session_id].as_of_offset and "after_close" not in event.flags
    ]


def simple(type_name: str = "ping", **fields: object) -> Arrival:
    """Make an arrival in session 0, a second after the one before."""
    usual = {
        "pause_ms": 1_000,
        "ts_ms": 0,
        "skew_ms": 0,
        "log_step_ms": 0,
        "playhead_s": 1.0,
        "consent": None,
        "again": 1,
        "how": "new",
    }
    return Arrival(**{"session": 0, "type_name": type_name, **usual, **fields})  # type: ignore[arg-type]


FAR_AHEAD = simple("ping", ts_ms=2 * DAY_MS)
ONE_BY_ONE = [Cut(1, "commit")] * 20
RESTART = Cut(2, "restart")
EVENTS_MAX = st.sampled_from((1, 3, 7, 99))


def folding(events_max: int) -> Limits:
    """Return the limits with another number of events that a session folds."""
    return msgspec.structs.replace(LIMITS, events_max=events_max)
