"""The state of one session: every field that its fold keeps from event to event.

The functions that change it are in one file a subject, each of which begins with the rules that it implements. It
is one Struct and not one a subject, because 100,000 sessions may be open: a nested Struct takes more memory, and
each event more time.
"""

from collections.abc import Mapping
from copy import copy
from types import MappingProxyType
from typing import Self, TypeVar

import msgspec

from sessions.dimensions import ANY_KEYS, DimensionKeys
from sessions.facts import Ad, AdBreak, Chapter, PlaybackError
from sessions.params import Start
from sessions.ranges import Range

LENGTH_MS = 86_400_000
LIST_MAX = 200
FAR_PAST, FAR_FUTURE = -(1 << 60), 1 << 60
INFINITE = float("inf")
PLAYHEAD_S_END = 1e13  # a playhead from here on is not a position

# What the player does; the index of its duration in `State.times`. The first nine it claims. Of the others, GAP,
# AD_OVER and UNBORNE are unknown, AT_END, AFTER_ERROR and AT_ZERO idle; NEVER_MOVED is unknown or a stall, and
# STILL content or a stall.
JOIN, CONTENT, AD, PAUSE, BUFFER, IDLE, AD_PAUSE, AD_BUFFER, OUTSIDE = range(9)
STALL, GAP, AD_OVER, UNBORNE, NEVER_MOVED, STILL, AT_END, AFTER_ERROR, AT_ZERO = range(9, 18)
WHATS = 18
Entry = TypeVar("Entry")
Kind = TypeVar("Kind", bound=type[msgspec.Struct])


def stored_directly(struct: Kind) -> Kind:
    """Let the fields of a Struct with `gc=False` be stored as an ordinary object stores them.

    That takes a fifth of the time: msgspec's own setter checks whether the garbage collector must track the
    Struct.
    """
    for name in ("__setattr__", "__delattr__"):
        type.__setattr__(struct, name, getattr(object, name))
    return struct


class OpenState(msgspec.Struct, frozen=True, gc=False):
    """A player state so far; `since_ms` is None while it is off."""

    starts: int = 0
    time_ms: int = 0
    since_ms: int | None = None


class Base(msgspec.Struct, frozen=True, gc=False):
    """The event from which it is observed whether the playhead moves on, and what was so when it came."""

    ms: int = 0
    head: float = -1.0
    spilled_ms: int = 0
    seeks: int = 0
    head_max: float = -1.0
    sought_ms: int = FAR_PAST
    is_buffer_sought: bool = False


NO_BASE = Base()


class Run(msgspec.Struct, frozen=True, gc=False):
    """A run of observations in which the playhead contradicts the claim (`evidence.py`).

    It began at `since_ms` (of an unsaid play: content began then), at the playhead `head`; `base_ms` is its last
    observation. Of its time, `weight_ms` is content with a known bitrate, `weighted` that time by its bitrate, and
    `unborne_ms` unknown so far. Once decided, `counts_as` is what its time counts as. `began` is the state at
    its first base.
    """

    first_ms: int
    since_ms: int
    head: float
    base_ms: int
    observations: int = 0
    weight_ms: int = 0
    weighted: float = 0.0
    unborne_ms: int = 0
    counts_as: int = -1
    began: Base = NO_BASE


class Short(msgspec.Struct, frozen=True, gc=False):
    """What the playhead did not bear out of the interval that ended with an event: the end of it."""

    events: int
    ms: int
    is_unborne: bool
    bitrate: float | None


class Odd(msgspec.Struct, frozen=True, gc=False):
    """What the rate in force does not explain of an interval: a jump, and time that was not borne out."""

    jump: tuple[float, float] | None = None
    unborne_ms: int = 0


NOTHING_ODD = Odd()


class SpeedObservation(msgspec.Struct, frozen=True, gc=False):
    """An observation of the speed that does not fit the rate in force (`speed.py`)."""

    since_ms: int
    head: float
    ms: int
    moved_s: float
    bitrate: float | None
    odd: Odd = NOTHING_ODD


class Segment(msgspec.Struct, frozen=True, gc=False):
    """A part of a session whose events one clock dated, which is `offset_ms` behind ours (`clock_steps.py`).

    `since_ms` is the last arrival with the clock before, `first_ms` the first that showed this one.
    """

    offset_ms: int
    since_ms: int = FAR_PAST
    first_ms: int = FAR_PAST


_NO_STATES: Mapping[str, OpenState] = MappingProxyType({})


class State(msgspec.Struct, gc=False):
    """The state of one session after the events taken so far.

    All in it but `times` is replaced and never changed: what a session has nothing of takes no memory, and a copy
    costs little.
    """

    length_ms: int = LENGTH_MS
    only_claims: bool = False  # what the player says is believed, whatever playheads and silences say
    keys: DimensionKeys = ANY_KEYS

    # The session: what counts, its start and end, arrivals.
    session_id: str = ""
    start: Start | None = None
    is_recorded: bool = True
    end_s: float = INFINITE
    first_ms: int = 0
    start_ms: int = 0
    now_ms: int = 0
    last_ms: int = FAR_PAST
    until_ms: int = FAR_FUTURE
    end_ms: int | None = None
    first_received_ms: int = FAR_FUTURE
    last_received_ms: int = FAR_PAST
    last_moved_received_ms: int = FAR_PAST
    delay_min_ms: int = FAR_FUTURE
    delay_max_ms: int = FAR_PAST
    segments: tuple[Segment, ...] = ()  # where timestamps alone do not order the events
    clock_flag: str = ""

    events: int = 0
    repeats: int = 0
    events_after_end: int = 0
    events_ignored: int = 0
    events_over_limit: int = 0
    is_capped: bool = False
    tracking_session_id: str | None = None
    tracking_verified: bool = False
    tracking_received_ms: int = 0
    has_tracking_changed: bool = False
    consent: str | None = None

    # The player: what it does now, what main content does, what it does in the ad break.
    doing: int = JOIN
    main: int = JOIN
    in_break: bool = False
    resumed_ms: int = FAR_FUTURE
    resumed_head: float = -1.0
    resumed_spilled_ms: int = 0
    resumed_weight_ms: int = 0
    resumed_weighted: float = 0.0
    break_player: int = CONTENT
    times: list[int] = msgspec.field(default_factory=lambda: [0] * WHATS)
    is_started: bool = False
    is_completed: bool = False
    startup_ms: int = 0
    startup_buffer_ms: int = 0
    is_startup_unknown: bool = False
    plays: int = 0
    pauses: int = 0
    buffers: int = 0
    rebuffers: int = 0
    rebuffer_base_ms: int = -1
    is_buffer_sought: bool = False
    seek_buffers: int = 0
    seek_buffer_ms: int = 0

    # One account of what happened: spans, and the one that is open (-1: none).
    spans: bytes = b""
    span_is: int = -1
    span_ms: int = 0
    span_head: float = -1.0

    # Evidence: the event that an observation begins with, and the run of those that contradict the claim.
    base: Base = NO_BASE
    base_bitrates: tuple[tuple[int, float | None], ...] = ()  # until when, of events that were passed over since
    short: Short | None = None
    run: Run | None = None
    plays_unsaid: int = 0
    breaks_unclosed: int = 0

    # Speed: the rate in force, who named it, the observation and those before that do not fit it.
    rate: float = 1.0
    is_rate_named: bool = False
    named_rate: float | None = None  # the last one
    rate_state: str | None = None
    rate_ms: int = 0
    rate_head: float = -1.0
    rate_window: tuple[SpeedObservation, ...] = ()
    has_steady_rate: bool = False
    forward_rate: float = 0.0
    fast_forward_ms: int = 0
    steady_ms: int = 0
    steady_s: float = 0.0

    # The playhead (-1: unknown), the range being played, the move that may be a slip, the reset that may be final.
    head: float = -1.0
    head_first: float = -1.0
    head_last: float = -1.0
    head_max: float = -1.0
    range_from: float = -1.0
    range_to: float = -1.0
    ranges: tuple[Range, ...] = ()
    filled_s: float = 0.0
    joined: int = 0
    has_moved: bool = False
    loops: int = 0
    loop_events: int = -1
    seeks: int = 0
    sought_ms: int = FAR_PAST
    slip_head: float = 0.0
    slip_head_max: float = -1.0
    slip_due_s: float = 0.0
    slip_events: int = -1
    reset_head: float = -1.0
    reset_events: int = -1
    is_reset_sought: bool = False
    is_reset_loop: bool = False
    stalls: int = 0
    freezes_never_moved: int = 0
    still_weight_ms: int = 0
    still_weighted: float = 0.0

    # Quality.
    qoe: bytes | None = None
    bitrate: float | None = None
    bitrate_max: float = 0.0
    weight_ms: int = 0
    weighted: float = 0.0
    bitrate_changes: int = 0
    dropped_frames: int | None = None
    time_to_start_ms: int | None = None

    # Pings: when the last was, and the last two intervals between them.
    ping_at_ms: int = FAR_PAST
    ping_ms: int = 0
    ping_before_ms: int = 0

    # Whether the next ping may be taken in one step (`playing_on.py`).
    is_playing_on: bool = False

    # Ad breaks and ads.
    ad: Ad | None = None
    is_ad_outside: bool = False
    ad_base_ms: int = 0
    ads: tuple[Ad, ...] = ()
    ads_started: int = 0
    ads_completed: int = 0
    ads_skipped: int = 0
    ads_aborted: int = 0
    ads_outside_break: int = 0
    ad_break: AdBreak | None = None
    break_base_ads: int = 0
    breaks: tuple[AdBreak, ...] = ()
    ad_breaks: int = 0
    ad_breaks_completed: int = 0

    # Chapters.
    chapter: Chapter | None = None
    chapter_base_ms: int = 0
    chapter_base_still_ms: int = 0
    chapters: tuple[Chapter, ...] = ()
    chapters_started: int = 0
    chapters_completed: int = 0

    # Player states.
    states: Mapping[str, OpenState] = _NO_STATES
    concurrent_states_max: int = 0

    # Errors.
    errors: int = 0
    errors_before_start: int = 0
    error_plays: int = -1
    error_head: float = -1.0
    error_events: int = -1
    playback_errors: tuple[PlaybackError, ...] = ()

    # What made no sense where it came.
    is_out_of_place: bool = False

    def copy(self) -> Self:
        """Return a state that goes its own way from here."""
        other = copy(self)
        other.times = self.times.copy()
        return other


def with_entry(state: State, known: tuple[Entry, ...], entry: Entry) -> tuple[Entry, ...]:
    """Return a list with one entry more, unless it has its longest length."""
    if len(known) < LIST_MAX:
        return (*known, entry)
    state.is_capped = True
    return known
