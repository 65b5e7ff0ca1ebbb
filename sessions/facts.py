"""What is known of one media session: one row of `sessions`, and the lists inside it.

Times (`*_ms`) are milliseconds since 1970, UTC. `started_ms`, `ended_ms` and the times inside the lists are
corrected by the session's clock offset; `start_ms`, `end_ms` and `last_event_ms` are by the player's own clock (by
the first, if it was set), as the events are ordered. Durations (`*_s`) are seconds by the player's clock. None
means: not known.
"""

from operator import itemgetter
from typing import Any, Literal, TypeVar

import msgspec
from msgspec.structs import replace

# Moments are numbers here and timestamps in the lake, whose names for them are these.
COLUMNS = {
    "started_ms": "started_at",
    "ended_ms": "ended_at",
    "start_ms": "start_ts",
    "end_ms": "end_ts",
    "last_event_ms": "last_event_ts",
    "first_received_ms": "first_received_at",
    "last_received_ms": "last_received_at",
    "last_moved_received_ms": "last_moved_at",
    "at_ms": "at",
    "since_ms": "since_at",
    "until_ms": "until_at",
}

Outcome = Literal["completed", "skipped", "aborted", "open"]
Doing = Literal[
    "joining",
    "playing",
    "ad",
    "paused",
    "buffering",
    "idle",
    "stalled",
    "unknown",
    "ad_paused",
    "ad_buffering",
    "ad_outside",
]


class Ad(msgspec.Struct, frozen=True, gc=False, rename=COLUMNS):
    """One ad, inside an ad break or outside. `time_s` is the time it played, without pauses and buffering in it.

    `aborted`: something else ended it (the break's end, another ad, sessionEnd); `open`: nothing has yet.
    """

    ad_id: str | None
    name: str | None
    advertiser: str | None
    campaign_id: str | None
    creative_id: str | None
    player_name: str | None
    length_s: float | None
    break_index: int | None
    position: int | None
    started_ms: int
    ended_ms: int
    time_s: float
    outcome: Outcome


class AdBreak(msgspec.Struct, frozen=True, gc=False, rename=COLUMNS):
    """One ad break; `time_s` is its whole length by the clock, `ads` how many ads started in it."""

    index: int | None
    name: str | None
    offset_s: float | None
    ads: int
    started_ms: int
    ended_ms: int
    time_s: float
    outcome: Outcome


class Chapter(msgspec.Struct, frozen=True, gc=False, rename=COLUMNS):
    """One chapter; `time_s` is the time main content played while it was open."""

    index: int | None
    name: str | None
    offset_s: float | None
    length_s: float | None
    started_ms: int
    ended_ms: int
    time_s: float
    outcome: Outcome


class PlayerState(msgspec.Struct, frozen=True, gc=False, rename=COLUMNS):
    """One player state, such as fullscreen: how often it began, how long it was on, whether it still is."""

    name: str
    starts: int
    time_s: float
    is_on: bool


class Span(msgspec.Struct, frozen=True, gc=False, rename=COLUMNS):
    """What a session did from one moment to another (`spans.py`), and the playheads then; None: unknown."""

    doing: Doing
    started_ms: int
    ended_ms: int
    head_from_s: float | None
    head_to_s: float | None


class PlayedInterval(msgspec.Struct, frozen=True, gc=False, rename=COLUMNS):
    """A range of the content, in seconds of playhead, and how often it was played.

    A session's intervals do not overlap; together they are the union of all that it played.
    """

    start_s: float
    end_s: float
    passes: int


class PlaybackError(msgspec.Struct, frozen=True, gc=False, rename=COLUMNS):
    """One error event. `is_before_start`: main content had not played yet."""

    at_ms: int
    playhead_s: float | None
    error_id: str | None
    source: str | None
    is_before_start: bool


class ClockSegment(msgspec.Struct, frozen=True, gc=False, rename=COLUMNS):
    """The time in which one clock dated the events, which is `offset_ms` behind ours (`clock_steps.py`).

    None: since the beginning, until the end.
    """

    since_ms: int | None
    until_ms: int | None
    offset_ms: int


class SessionFacts(msgspec.Struct, frozen=True, rename=COLUMNS):
    """One session, as far as its events tell. Each number is defined at the head of the file that counts it.

    `fast_forward_s` is a part of `content_time_s`, `seek_buffer_time_s` of `rebuffer_time_s`, `seek_buffers` of
    `rebuffers`; `media_time_s` is content_time_s + ad_time_s + ad_time_outside_breaks_s. `playback_rate` is
    None where nothing says at what speed content played, `startup_s` where it did not start or nothing says how
    long that took.
    """

    session_id: str
    started_ms: int
    ended_ms: int
    events: int

    content_id: str | None
    content_name: str | None
    content_type: str | None
    stream_type: str | None
    length_s: float | None
    player_name: str | None
    channel: str | None
    app_version: str | None
    site: str | None
    library_version: str | None
    cdn: str | None
    show: str | None
    season: str | None
    episode: str | None
    genre: str | None
    network: str | None
    publisher: str | None
    originator: str | None
    asset_id: str | None
    rating: str | None
    show_type: str | None
    stream_format: str | None
    first_air_date: str | None
    first_digital_date: str | None
    ad_load: str | None
    mvpd: str | None
    mvpd_auth: str | None
    day_part: str | None
    feed: str | None
    artist: str | None
    album: str | None
    label: str | None
    author: str | None
    station: str | None
    dims: dict[str, str] | None
    device_type: str | None
    os: str | None
    browser: str | None
    is_bot: bool | None
    country: str | None
    region: str | None
    user_id: str | None
    user_id_source: str | None
    user_id_auth_state: int | None
    device_id: str | None
    device_id_source: str | None
    tracking_session_id: str | None
    tracking_verified: bool
    consent: str | None

    has_start: bool
    is_started: bool
    is_completed: bool
    is_resumed: bool
    is_downloaded: bool
    is_live: bool
    is_failed: bool
    is_capped: bool

    startup_s: float | None
    time_to_start_ms: int | None
    join_s: float
    content_time_s: float
    ad_time_s: float
    ad_time_outside_breaks_s: float
    media_time_s: float
    pause_time_s: float
    buffer_time_s: float
    rebuffer_time_s: float
    seek_buffer_time_s: float
    stall_time_s: float
    gap_s: float
    idle_s: float
    fast_forward_s: float
    playback_rate: float | None

    pauses: int
    buffers: int
    rebuffers: int
    seek_buffers: int
    stalls: int
    seeks: int
    loops: int
    errors: int
    errors_before_start: int
    bitrate_changes: int
    average_bitrate_bps: float | None
    dropped_frames: int | None

    ads_started: int
    ads_completed: int
    ads_skipped: int
    ads_aborted: int
    ads_outside_break: int
    ad_breaks: int
    ad_breaks_completed: int
    chapters_started: int
    chapters_completed: int
    states: int
    concurrent_states_max: int

    progress_pct: int | None
    first_playhead_s: float | None
    last_playhead_s: float | None
    unique_played_s: float
    played_error_s: float

    clock_offset_ms: int
    clock_spread_ms: int
    repeats: int
    events_after_end: int
    events_ignored: int
    events_over_limit: int
    flags: list[str]

    start_ms: int
    end_ms: int | None
    last_event_ms: int
    first_received_ms: int
    last_received_ms: int
    last_moved_received_ms: int
    last_doing: str
    ping_interval_s: float | None
    open_ad_length_s: float | None

    ads: list[Ad]
    breaks: list[AdBreak]
    chapters: list[Chapter]
    player_states: list[PlayerState]
    played_intervals: list[PlayedInterval]
    playback_errors: list[PlaybackError]
    spans: list[Span]
    clocks: list[ClockSegment]


_in_order = itemgetter(*SessionFacts.__struct_fields__)


def session_facts(found: dict[str, Any]) -> SessionFacts:
    """Return the facts by their names. Passing so many fields to a Struct by keyword takes three times as long."""
    return SessionFacts(*_in_order(found))


Dated = TypeVar("Dated", Ad, AdBreak, Chapter)


def shifted(entry: Dated, offset_ms: int) -> Dated:
    """Return an entry of a list with its moments corrected by the clock offset."""
    if not offset_ms:
        return entry
    return replace(entry, started_ms=entry.started_ms + offset_ms, ended_ms=entry.ended_ms + offset_ms)
