"""The state of one session: every field that its fold keeps from event to event.

The functions that change it are in one file a subject: `fold.py`, `player.py`, `playhead.py`, `bitrate.py`,
`ads.py`, `chapters.py`, `states.py`, `oddities.py`. Each begins with the rules that it implements. It is one
Struct and not one a subject, because 100,000 sessions may be open: a nested Struct takes more memory, and each
event more time.
"""

from collections.abc import Mapping
from copy import copy
from types import MappingProxyType
from typing import Self, TypeVar

import msgspec

from sessions.facts import Ad, AdBreak, Chapter, PlaybackError
from sessions.params import Start
from sessions.ranges import Range

GAP_MS = 60_000
LENGTH_MS = 86_400_000
LIST_MAX = 200
FAR_PAST, FAR_FUTURE = -(1 << 60), 1 << 60

# What the player does; the index of its duration in `State.times`.
JOIN, CONTENT, AD, PAUSE, BUFFER, IDLE, STALL, GAP, AD_PAUSE, AD_BUFFER = range(10)
Entry = TypeVar("Entry")


class OpenState(msgspec.Struct, frozen=True, gc=False):
    """A player state so far; `since_ms` is None while it is off."""

    starts: int = 0
    time_ms: int = 0
    since_ms: int | None = None


_NO_STATES: Mapping[str, OpenState] = MappingProxyType({})


class State(msgspec.Struct, gc=False):
    """The state of one session after the events taken so far.

    All in it but `times` is replaced and never changed: what a session has nothing of takes no memory, and a copy
    costs little.
    """

    gap_ms: int = GAP_MS
    length_ms: int = LENGTH_MS

    # The session: what counts, its start and end, arrivals.
    session_id: str = ""
    start: Start | None = None
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
    break_player: int = CONTENT
    times: list[int] = msgspec.field(default_factory=lambda: [0] * 10)
    is_started: bool = False
    is_completed: bool = False
    startup_ms: int = 0
    startup_buffer_ms: int = 0
    plays: int = 0
    pauses: int = 0
    buffers: int = 0
    rebuffers: int = 0

    # The playhead (-1: unknown), the range being played, the move that may be a slip, the run in which it stands.
    head: float = -1.0
    head_first: float = -1.0
    head_last: float = -1.0
    head_max: float = -1.0
    range_from: float = -1.0
    range_to: float = -1.0
    ranges: tuple[Range, ...] = ()
    are_ranges_full: bool = False
    seeks: int = 0
    slip_head: float = 0.0
    slip_head_max: float = -1.0
    slip_advance_s: float = 0.0
    slip_events: int = -1
    observations: int = 0
    observed_ms: int = 0
    standing_ms: int = 0
    stalls: int = 0

    # Quality. What was weighed while the playhead stood may turn out to be a stall.
    qoe: bytes | None = None
    bitrate: float | None = None
    bitrate_max: float = 0.0
    bitrate_base_ms: int = 0
    bitrate_standing_ms: int = 0
    weight_ms: int = 0
    weighted: float = 0.0
    standing_weight_ms: int = 0
    standing_weighted: float = 0.0
    bitrate_changes: int = 0
    dropped_frames: int | None = None
    time_to_start_ms: int | None = None

    # Pings: when the last was, and the last two intervals between them.
    ping_at_ms: int = FAR_PAST
    ping_ms: int = 0
    ping_before_ms: int = 0

    # Ad breaks and ads.
    ad: Ad | None = None
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
