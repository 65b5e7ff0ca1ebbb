"""The fold of one media session: a state machine that takes its events in order and knows its numbers at any time.

It is pure (no clock, no I/O), takes constant time an event, and is driven by the vocabulary: an event type does
what its row in `schemas/vocabulary.py` says, and no event type is named here.

Order. Events are taken in the order of (client timestamp, rank, offset in the log); an event whose timestamp is
flagged `future_ts` is ordered by its arrival. So the facts do not depend on the order of arrival.

What counts. All events, except: those flagged `repeat`; those after the session's end, which is the earliest
sessionEnd that takes effect or `length_ms` after the start, whichever is earlier. The start is the sessionStart,
or the first event where there is none. Counted or not, all these events tell about clocks and arrivals.

What takes no effect, as anybody may send it who knows a session's id. Such events are counted, and tell nothing
but a denial of consent:

* `over_limit`: of a session's stored events the first 20,000 by offset are folded, repeats among them, and its
  first sessionEnd wherever it is. The others carry the flag `over_limit`.
* `end_ignored`: a sessionEnd takes no effect where an event that had arrived by then (`received_at`) says a time
  more than 5 minutes after it. Repeats, events over the limit and other ends do not judge.
* `tracking_changed`: of the tracking sessions that its counted events name, a session has the one that was named
  first by arrival, one that Playhead issued before any other; the others take no effect.

The session's `flags` name those of the three that happened.

Time. The time between two neighbouring events belongs to what the player did in between, so these durations
are disjoint, and what follows the last event is not counted:

    join     before main content first played, outside of ad breaks, neither paused nor buffering
    content  main content playing
    ad       an ad of an ad break playing: from its start, with or without a play event
    pause    paused, in main content or in an ad break
    buffer   from the start of buffering to the next play or pause, in main content or in an ad break
    stall    main content playing, but over at least 3 events in a row the playhead stood (see below)
    gap      unknown: main content or an ad was playing, and no event came for longer than `gap_ms`
    idle     nothing that counts: an ad break between its ads, and what follows completion without a play

    join + content + ad + pause + buffer + stall + gap + idle = last event - start

(Events before sessionStart belong to the session, and to the sum; the time that leads from them up to
sessionStart does not.) media time = content + ad. Startup is join + main buffering until the first play of main
content; ads, pauses, and the time between ads are no startup. Rebuffering is main buffering after that.

* A break keeps the main player's state and gives it back at its end; play, pause and buffering inside a break
  concern the ads, but for a pause in the very millisecond that the break starts: players so pause main content
  for it, and by rank it comes after the break's start. An ad outside of a break is not an ad: its time is what
  the main player does.
* Pauses, buffers and state starts are counted when the state begins; a second pause in a pause adds nothing.
* Gap: playing main content, a longer silence is no gap where the playhead moved on as the clock did (within 2 s
  or a twentieth); of live content, whose playhead is the clock, it always is. An ad may be silent for its own
  length more.
* Stall: 3 observations of one playhead in a row while main content plays; events less than 500 ms after an
  observation are none. The stall begins with the first of them, and ends when the playhead moves or the player's
  state changes. A chapter's border makes the observation begin anew. Standing at or past the end of recorded
  content is idle.
* Played intervals: neighbouring events while main content plays, whose playhead moved forward and by no more than
  the clock, within 2 s. Other moves are seeks: those, and moves of more than 2 s in a pause or while buffering,
  once main content has played: before that, players send 0 until they know where they begin.
  A single playhead that is unknown, or fits neither neighbour, is a slip: what was played goes on over it, it is
  not two seeks, and no progress. Nor is a move at the last event a seek.
  Playing faster than the clock cannot be told from seeking.
* Playheads below 0 are unknown positions; those past the end of recorded content are taken for the end. Live
  playheads are seconds of the day, and wrap at midnight.
* Progress (10, 25, 50, 75, 95 % of the length): the farthest playhead while main content played or began to;
  None for live content and where the length is unknown.
* Bitrate: the mean over content time with a known bitrate, as reported (documented as bits per second).

Clock offset: arrival - timestamp is the offset plus a delay that is never negative, so the smallest of all events
is the best estimate. Where events of 10 s and more arrived within less than half of their own time, they were
uploaded afterwards: that says nothing of the clock, and the offset is 0, as it is for downloaded content.

Source: the Media Collection API's documentation of its metrics, and what its real clients send.
"""

from collections.abc import Callable, Iterable, Mapping
from copy import copy
from types import MappingProxyType
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from schemas.vocabulary import EVENT_TYPES, EventType
from sessions.event import Event, read_object
from sessions.facts import Ad, AdBreak, Chapter, Outcome, PlaybackError, PlayedInterval, PlayerState, SessionFacts
from sessions.params import Start, common, integer, names, number, read_start, text
from sessions.ranges import Range, clip, count_passes

__all__ = ["Event", "Fold", "SessionFacts", "fold_all"]

# A day of pings every 10 s is 8,640 events. To fold this many again takes a worker a third of a second.
EVENTS_MAX = 20_000
END_TOLERANCE_MS = 300_000  # posts overtake each other by seconds, and clocks are set by less while a player runs
REPEAT, OVER_LIMIT, END_IGNORED, TRACKING_CHANGED = "repeat", "over_limit", "end_ignored", "tracking_changed"
GAP_MS = 60_000
LENGTH_MS = 86_400_000
TOLERANCE_S = 2.0
OBSERVATION_MS = 500
OBSERVATIONS_OF_STALL = 3
UPLOAD_MS_MIN = 10_000
DAY_S = 86_400.0
PLAYHEAD_S_END = 1e13
STATES_MAX = 10
LIST_MAX = 200
RANGES_MAX = 128
MARKERS_PCT = (95, 75, 50, 25, 10)

# What the player does; the index of its duration in `Fold.times`.
JOIN, CONTENT, AD, PAUSE, BUFFER, IDLE, STALL, GAP, AD_PAUSE, AD_BUFFER = range(10)
_MOVES = {"playing": CONTENT, "paused": PAUSE, "buffering": BUFFER}
Entry = TypeVar("Entry")
Dated = TypeVar("Dated", Ad, AdBreak, Chapter)
_FAR_PAST, _FAR_FUTURE = -(1 << 60), 1 << 60


def is_over_limit(event: Event, *, stored: int, has_end: bool, events_max: int = EVENTS_MAX) -> bool:
    """Return whether an event is stored and not folded, with `stored` of its session before, an end among them."""
    return stored >= events_max and (has_end or not event.type.ends)


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
    latest_ms, place = _FAR_PAST, 0
    for end in sorted(ends, key=lambda end: end.received_ms):
        while place < len(said) and said[place][0] <= end.received_ms:
            latest_ms = max(latest_ms, said[place][1])
            place += 1
        if latest_ms > end.order_ms + END_TOLERANCE_MS:
            false.add(end.offset)
    if not false:
        return every
    return [event.flagged(END_IGNORED) if event.offset in false else event for event in every]


_NO_START = Start()
DENIED = "denied"  # consent of an event; one such event makes it the consent of its session, whenever it came


class OpenState(msgspec.Struct, frozen=True, gc=False):
    """A player state so far; `since_ms` is None while it is off."""

    starts: int = 0
    time_ms: int = 0
    since_ms: int | None = None


_NO_STATES: Mapping[str, OpenState] = MappingProxyType({})


class Fold(msgspec.Struct, gc=False):
    """The state of one session after the events taken so far. Make it with `Fold()`, or with other limits.

    All in it but `times` is replaced and never changed: what a session has nothing of takes no memory, and a copy
    costs little.
    """

    gap_ms: int = GAP_MS
    length_ms: int = LENGTH_MS

    session_id: str = ""
    start: Start | None = None
    first_ms: int = 0
    start_ms: int = 0
    now_ms: int = 0
    last_ms: int = _FAR_PAST
    until_ms: int = _FAR_FUTURE
    end_ms: int | None = None
    first_received_ms: int = _FAR_FUTURE
    last_received_ms: int = _FAR_PAST
    last_moved_received_ms: int = _FAR_PAST
    delay_min_ms: int = _FAR_FUTURE
    delay_max_ms: int = _FAR_PAST

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

    qoe: bytes | None = None
    bitrate: float | None = None
    bitrate_base_ms: int = 0
    bitrate_standing_ms: int = 0
    weight_ms: int = 0
    weighted: float = 0.0
    standing_weight_ms: int = 0
    standing_weighted: float = 0.0
    bitrate_changes: int = 0
    dropped_frames: int | None = None
    time_to_start_ms: int | None = None

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
    chapter: Chapter | None = None
    chapter_base_ms: int = 0
    chapters: tuple[Chapter, ...] = ()
    chapters_started: int = 0
    chapters_completed: int = 0
    states: Mapping[str, OpenState] = _NO_STATES
    concurrent_states_max: int = 0
    errors: int = 0
    errors_before_start: int = 0
    error_plays: int = -1
    error_head: float = -1.0
    playback_errors: tuple[PlaybackError, ...] = ()

    def copy(self) -> "Fold":
        """Return a fold that goes its own way from here."""
        other = copy(self)
        other.times = self.times.copy()
        return other

    def step(self, event: Event) -> None:
        """Take the next event. Events must come in `order()`."""
        now, received, head = event.order_ms, event.received_ms, event.playhead_s
        if event.flags and self._takes_no_effect(event.flags):
            if event.consent == DENIED:
                self.consent = DENIED
            return
        if self.start is None:
            self._await_start(event)
        if received > self.last_received_ms:
            self.last_received_ms = received
        if received < self.first_received_ms:
            self.first_received_ms = received
        delay = received - now
        if delay < self.delay_min_ms:
            self.delay_min_ms = delay
        if delay > self.delay_max_ms:
            self.delay_max_ms = delay
        if event.consent is not None and self.consent != DENIED:  # a denial counts wherever it stands
            self.consent = event.consent
        if event.flags and REPEAT in event.flags:
            self.repeats += 1
            return
        row = event.type
        if now > self.until_ms:
            self._pass_over(row, now)
            return
        if not 0.0 <= head < PLAYHEAD_S_END:
            head = -1.0
        if head != self.head and received > self.last_moved_received_ms:
            self.last_moved_received_ms = received

        doing = self.doing
        if doing == CONTENT:
            self._play_content(now, head)
        elif doing == AD:
            silent = now - self.now_ms
            self.times[AD if silent <= self.gap_ms or self._is_within_ad(silent) else GAP] += silent
        else:
            if head != self.head and doing in (PAUSE, BUFFER) and self.is_started:
                self._jump(now, head, 0.0)
            self.times[doing] += now - self.now_ms

        self.now_ms = now
        self.head = head
        self.events += 1
        if head >= 0.0:
            self.head_last = head
        if event.qoe is not None and event.qoe != self.qoe:  # players often send the same values with every event
            self.qoe = event.qoe
            self._measure(read_object(event.qoe))
        effects = EFFECTS.get(row.name)
        for effect in effects_of(row) if effects is None else effects:
            effect(self, event)
        tracking = event.tracking_session_id
        if tracking is not None and (
            tracking != self.tracking_session_id
            or event.tracking_verified is not self.tracking_verified
            or received < self.tracking_received_ms
        ):
            self._name_tracking(event, tracking)

    # ---- the session itself

    def _takes_no_effect(self, flags: tuple[str, ...]) -> bool:
        """Count an event that is over the limit, or an end that takes no effect; return whether it is one."""
        if OVER_LIMIT in flags:
            self.events_over_limit += 1
            return True
        if END_IGNORED in flags:
            self.events_ignored += 1
            return True
        return False

    def _name_tracking(self, event: Event, tracking: str) -> None:
        """Keep the tracking session that was named first by arrival, one that Playhead issued before any other."""
        is_other = self.tracking_session_id is not None and tracking != self.tracking_session_id
        self.has_tracking_changed = self.has_tracking_changed or is_other
        is_better = event.tracking_verified > self.tracking_verified or (
            event.tracking_verified == self.tracking_verified and event.received_ms < self.tracking_received_ms
        )
        if self.tracking_session_id is None or is_better:
            self.tracking_session_id, self.tracking_verified = tracking, event.tracking_verified
            self.tracking_received_ms = event.received_ms

    def _await_start(self, event: Event) -> None:
        """Begin with the first event, and once more with the sessionStart, if another came before it."""
        now = event.order_ms
        is_first = self.first_received_ms == _FAR_FUTURE
        if is_first:
            self.session_id = event.session_id
            self.first_ms = now
            self.last_moved_received_ms = event.received_ms
        if event.type.starts and REPEAT not in event.flags:
            self.start = read_start(read_object(event.params), source=event.source)
        if is_first or (self.start is not None and self.end_ms is None):
            self.start_ms = self.now_ms = now
            self.until_ms = now + self.length_ms
            self._forget_standing()

    def _pass_over(self, row: EventType, now: int) -> None:
        """Note an event after the session's end."""
        self.events_after_end += 1
        self.last_ms = now
        if row.ends and self.end_ms is None:
            self.end_ms = now

    def _complete(self, event: Event) -> None:
        self.is_completed = True
        self.main = IDLE
        self._settle()

    def _end(self, event: Event) -> None:
        self.end_ms = event.order_ms
        self.until_ms = _FAR_PAST
        self._close_ad("aborted")
        self._close_break("aborted")
        self._close_chapter("aborted")
        for name in self.states:
            self._end_state(name)

    # ---- the player

    def _move(self, to: int) -> None:
        of_ads = self._concerns_ads(to)
        if of_ads:
            was, self.break_player = self.break_player, to
        else:
            was, self.main = self.main, to
        if to == CONTENT:
            self.plays += 1
            if not of_ads:
                self._play_main()
        elif to != was:
            if to == PAUSE:
                self.pauses += 1
            else:
                self.buffers += 1
                self.rebuffers += self.is_started and not of_ads
        self._settle()

    def _concerns_ads(self, to: int) -> bool:
        """Tell whether a move is one of the break's player."""
        if self.ad_break is None:
            return False
        return to != PAUSE or self.now_ms != self.ad_break.started_ms

    def _play_main(self) -> None:
        if not self.is_started:
            self.is_started = True
            self.startup_buffer_ms = self.times[BUFFER]
            self.startup_ms = self.times[JOIN] + self.times[BUFFER]
        if self.head_first < 0.0:
            self.head_first = self.head
        if self.head > self.head_max:
            self.head_max = self.head

    def _settle(self) -> None:
        """Work out what the player does now, from main content, the break and the ad."""
        doing = self.main
        if self.in_break:
            if self.break_player == CONTENT:
                doing = IDLE if self.ad is None else AD
            else:
                doing = AD_PAUSE if self.break_player == PAUSE else AD_BUFFER
        if doing != self.doing:
            self.doing = doing
            self._forget_standing()

    # ---- the playhead while main content plays

    def _play_content(self, now: int, head: float) -> None:
        """Count the time up to this event, with the player in main content, and see what the playhead did."""
        silent = now - self.now_ms
        was = self.head
        if silent > self.gap_ms and not self._is_borne_out(silent, head):
            self.times[GAP] += silent
            self._forget_standing()
        elif head == was:
            if head >= 0.0:
                self._stand(now, silent)
            else:
                self.times[CONTENT] += silent
        else:
            self.times[CONTENT] += silent
            if self.observations:
                self._forget_standing()
            if 0.0 <= was < head <= was + silent / 1000 + TOLERANCE_S:
                if was == self.range_to:
                    self.range_to = head
                else:
                    self._begin_range(was, head)
            else:
                self._jump(now, head, silent / 1000)
        if head > self.head_max:
            if self.head_first < 0.0:
                self.head_first = head
            self.head_max = head

    def _is_borne_out(self, silent_ms: int, head: float) -> bool:
        """Tell whether the playhead shows that content played through a long silence."""
        if head < 0.0 or self.head < 0.0 or (self.start is not None and self.start.is_live):
            return False
        ahead_s = head - self.head - silent_ms / 1000
        return -max(TOLERANCE_S, silent_ms / 20_000) <= ahead_s <= TOLERANCE_S

    def _is_within_ad(self, silent_ms: int) -> bool:
        length_s = self.ad.length_s if self.ad is not None else None
        return length_s is not None and silent_ms <= self.gap_ms + length_s * 1000

    def _stand(self, now: int, silent: int) -> None:
        """The playhead stood still: content, until enough events say that it is a stall."""
        if self.observations >= OBSERVATIONS_OF_STALL:
            self.times[self._standing_is()] += silent
            return
        if not self.observations:
            self.observations, self.observed_ms = 1, self.now_ms
        self.times[CONTENT] += silent
        self.standing_ms += silent
        if now - self.observed_ms >= OBSERVATION_MS:
            self.observations += 1
            self.observed_ms = now
            if self.observations == OBSERVATIONS_OF_STALL:
                self._find_stall()

    def _standing_is(self) -> int:
        end_s = self.start.end_s if self.start is not None else None
        return STALL if end_s is None or self.head < end_s else IDLE

    def _find_stall(self) -> None:
        kind = self._standing_is()
        self.stalls += kind == STALL
        self.times[CONTENT] -= self.standing_ms
        self.times[kind] += self.standing_ms
        self.bitrate_base_ms -= self.bitrate_standing_ms
        self.weight_ms -= self.standing_weight_ms
        self.weighted -= self.standing_weighted
        self._forget_run()

    def _forget_standing(self) -> None:
        self.observations = 0
        self._forget_run()

    def _forget_run(self) -> None:
        self.standing_ms = self.bitrate_standing_ms = self.standing_weight_ms = 0
        self.standing_weighted = 0.0

    def _jump(self, now: int, head: float, advance_s: float) -> None:
        """The playhead moved otherwise than by playing for `advance_s`: over midnight, by a seek, by a slip."""
        was = self.head
        if head < 0.0 or was < 0.0:
            if head >= 0.0:
                self._bridge(head, advance_s)
            elif was >= 0.0:
                self._note_slip(advance_s)
            return
        moved, allowed_s = head - was, advance_s
        if self.start is not None and self.start.is_live:
            allowed_s = (now - self.now_ms) / 1000
            if moved < -DAY_S / 2:
                moved += DAY_S
                if self.doing == CONTENT and 0.0 < moved <= allowed_s + TOLERANCE_S:
                    self._begin_range(was, DAY_S)
                    self._begin_range(0.0, head)
        if -TOLERANCE_S <= moved <= allowed_s + TOLERANCE_S:
            return
        if self._bridge(head, advance_s):
            self.seeks -= 1
            return
        self.seeks += 1
        self._note_slip(advance_s)

    def _note_slip(self, advance_s: float) -> None:
        """This event's playhead may be a slip, or is unknown: keep what the next one may go on from."""
        self.slip_head, self.slip_advance_s, self.slip_events = self.head, advance_s, self.events + 1
        self.slip_head_max = self.head_max

    def _bridge(self, head: float, advance_s: float) -> bool:
        """Go on from before the last event, if that fits; then its playhead was a slip, and is no progress."""
        due_s = self.slip_advance_s + advance_s
        if self.slip_events != self.events or abs(head - self.slip_head - due_s) > TOLERANCE_S:
            return False
        self.head_max = self.slip_head_max
        if due_s and head > self.slip_head:
            self._begin_range(self.slip_head, head)
        return True

    def _begin_range(self, low: float, high: float) -> None:
        if low == self.range_to:
            self.range_to = high
            return
        if self.range_from < self.range_to:
            if len(self.ranges) >= RANGES_MAX and not self.are_ranges_full:
                self.ranges = tuple(count_passes(self.ranges))
                self.are_ranges_full = len(self.ranges) >= RANGES_MAX
            if self.are_ranges_full:
                self.is_capped = True
            else:
                self.ranges = (*self.ranges, (self.range_from, self.range_to, 1))
        self.range_from, self.range_to = low, high

    # ---- quality

    def _measure(self, qoe: dict[str, Any]) -> None:
        """Take what is new in qoeData."""
        bitrate = qoe.get("media.qoe.bitrate")
        if bitrate is not None and bitrate != self.bitrate and (bitrate := number(bitrate)):
            self._weigh_bitrate()
            self.bitrate = bitrate
        dropped = qoe.get("media.qoe.droppedFrames")
        if dropped is not None and dropped != self.dropped_frames and (dropped := number(dropped)) is not None:
            self.dropped_frames = int(dropped)
        delay_ms = qoe.get("media.qoe.timeToStart")
        if (
            delay_ms is not None
            and delay_ms != self.time_to_start_ms
            and (delay_ms := number(delay_ms)) is not None
        ):
            self.time_to_start_ms = int(delay_ms)

    def _weigh_bitrate(self) -> None:
        """Close the time of the bitrate so far; remember what of it may still turn out to be a stall."""
        content, standing = self.times[CONTENT], self.standing_ms
        if self.bitrate is not None:
            self.weight_ms += content - self.bitrate_base_ms
            self.weighted += self.bitrate * (content - self.bitrate_base_ms)
            self.standing_weight_ms += standing - self.bitrate_standing_ms
            self.standing_weighted += self.bitrate * (standing - self.bitrate_standing_ms)
        self.bitrate_base_ms, self.bitrate_standing_ms = content, standing

    def _change_bitrate(self, event: Event) -> None:
        self.bitrate_changes += 1

    def _fail(self, event: Event) -> None:
        params, qoe = read_object(event.params), read_object(event.qoe)
        self.errors += 1
        self.errors_before_start += not self.is_started
        self.error_plays, self.error_head = self.plays, self.head
        error_id = text(qoe.get("media.qoe.errorID"))
        source = text(qoe.get("media.qoe.errorSource"))
        found = PlaybackError(
            at_ms=event.order_ms,
            playhead_s=None if self.head < 0.0 else self.head,
            error_id=error_id if error_id is not None else text(params.get("media.errorId")),
            source=source if source is not None else text(params.get("media.errorSource")),
            is_before_start=not self.is_started,
        )
        self.playback_errors = self._with(self.playback_errors, found)

    # ---- ad breaks and ads

    def _start_break(self, event: Event) -> None:
        self._close_ad("aborted")
        self._close_break("aborted")
        params = read_object(event.params)
        self.ad_breaks += 1
        self.break_base_ads = self.ads_started
        self.ad_break = AdBreak(
            index=integer(params.get("media.ad.podIndex")),
            name=common(params.get("media.ad.podFriendlyName")),
            offset_s=number(params.get("media.ad.podSecond")),
            ads=0,
            started_ms=event.order_ms,
            ended_ms=event.order_ms,
            time_s=0.0,
            outcome="open",
        )
        self.in_break = True
        self.break_player = CONTENT
        self._settle()

    def _finish_break(self, outcome: Outcome) -> None:
        self._close_ad("aborted")
        self._close_break(outcome)
        self.in_break = False
        self._settle()

    def _close_break(self, outcome: Outcome) -> None:
        if self.ad_break is not None:
            self.ad_breaks_completed += outcome == "completed"
            self.breaks = self._with(self.breaks, self._break_so_far(outcome))
            self.ad_break = None

    def _break_so_far(self, outcome: Outcome) -> AdBreak:
        assert self.ad_break is not None
        return replace(
            self.ad_break,
            ads=self.ads_started - self.break_base_ads,
            ended_ms=self.now_ms,
            time_s=(self.now_ms - self.ad_break.started_ms) / 1000,
            outcome=outcome,
        )

    def _start_ad(self, event: Event) -> None:
        if not self.in_break:
            self.ads_outside_break += 1
            return
        self._close_ad("aborted")
        params = read_object(event.params)
        self.ads_started += 1
        self.ad_base_ms = self.times[AD]
        self.ad = Ad(
            ad_id=common(params.get("media.ad.id")),
            name=common(params.get("media.ad.name")),
            advertiser=common(params.get("media.ad.advertiser")),
            campaign_id=common(params.get("media.ad.campaignId")),
            creative_id=common(params.get("media.ad.creativeId")),
            player_name=common(params.get("media.ad.playerName")),
            length_s=number(params.get("media.ad.length")),
            break_index=self.ad_break.index if self.ad_break is not None else None,
            position=integer(params.get("media.ad.podPosition")),
            started_ms=event.order_ms,
            ended_ms=event.order_ms,
            time_s=0.0,
            outcome="open",
        )
        self.break_player = CONTENT
        self._settle()

    def _close_ad(self, outcome: Outcome) -> None:
        if self.ad is not None:
            self.ads_completed += outcome == "completed"
            self.ads_skipped += outcome == "skipped"
            self.ads_aborted += outcome == "aborted"
            self.ads = self._with(self.ads, self._ad_so_far(outcome))
            self.ad = None
            self._settle()

    def _ad_so_far(self, outcome: Outcome) -> Ad:
        assert self.ad is not None
        time_s = (self.times[AD] - self.ad_base_ms) / 1000
        return replace(self.ad, ended_ms=self.now_ms, time_s=time_s, outcome=outcome)

    # ---- chapters

    def _start_chapter(self, event: Event) -> None:
        self._close_chapter("aborted")
        params = read_object(event.params)
        self._mark_border()
        self.chapters_started += 1
        self.chapter_base_ms = self.times[CONTENT]
        self.chapter = Chapter(
            index=integer(params.get("media.chapter.index")),
            name=common(params.get("media.chapter.friendlyName")),
            offset_s=number(params.get("media.chapter.offset")),
            length_s=number(params.get("media.chapter.length")),
            started_ms=event.order_ms,
            ended_ms=event.order_ms,
            time_s=0.0,
            outcome="open",
        )

    def _close_chapter(self, outcome: Outcome) -> None:
        if self.chapter is not None:
            self._mark_border()
            self.chapters_completed += outcome == "completed"
            self.chapters = self._with(self.chapters, self._chapter_so_far(outcome))
            self.chapter = None

    def _mark_border(self) -> None:
        """Leave what was content on this side of a chapter's border content, whatever follows."""
        if self.observations < OBSERVATIONS_OF_STALL:
            self._forget_standing()

    def _chapter_so_far(self, outcome: Outcome) -> Chapter:
        assert self.chapter is not None
        time_s = (self.times[CONTENT] - self.chapter_base_ms) / 1000
        return replace(self.chapter, ended_ms=self.now_ms, time_s=time_s, outcome=outcome)

    # ---- player states

    def _start_state(self, name: str | None) -> None:
        state = self._state(name)
        if name is not None and state is not None and state.since_ms is None:
            self._set_state(name, OpenState(state.starts + 1, state.time_ms, self.now_ms))
            at_once = sum(other.since_ms is not None for other in self.states.values())
            self.concurrent_states_max = max(self.concurrent_states_max, at_once)

    def _end_state(self, name: str | None) -> None:
        state = self._state(name)
        if name is not None and state is not None and state.since_ms is not None:
            self._set_state(name, OpenState(state.starts, state.time_ms + self.now_ms - state.since_ms))

    def _state(self, name: str | None) -> OpenState | None:
        """Return a state so far; None where it is one too many."""
        if name is None:
            return None
        if name not in self.states:
            if len(self.states) >= STATES_MAX:
                self.is_capped = True
                return None
            self._set_state(name, OpenState())
        return self.states[name]

    def _set_state(self, name: str, state: OpenState) -> None:
        self.states = {**self.states, name: state}

    def _change_state(self, event: Event) -> None:
        name = common(read_object(event.params).get("media.state.name"))
        if event.type.state == "start":
            self._start_state(name)
        else:
            self._end_state(name)

    def _update_states(self, event: Event) -> None:
        params = read_object(event.params)
        for name in names(params.get("statesEnd")):
            self._end_state(name)
        for name in names(params.get("statesStart")):
            self._start_state(name)

    def _with(self, known: tuple[Entry, ...], entry: Entry) -> tuple[Entry, ...]:
        """Return a list with one entry more, unless it has its longest length."""
        if len(known) < LIST_MAX:
            return (*known, entry)
        self.is_capped = True
        return known

    # ---- what is known

    def facts(self) -> SessionFacts:
        """Return what is known if nothing more comes; what is open is closed at the last event's time."""
        start = self.start if self.start is not None else _NO_START
        is_denied = self.consent == DENIED
        end_s = start.end_s
        last_ms = max(self.now_ms, self.last_ms)
        offset_ms = 0 if start.is_downloaded else self._clock_offset_ms(last_ms)
        times = [duration / 1000 for duration in self.times]
        played = self.ranges
        if self.range_from < self.range_to:
            played = (*played, (self.range_from, self.range_to, 1))
        ranges = clip(count_passes(played), end_s)
        ads = self.ads if self.ad is None else (*self.ads, self._ad_so_far("open"))
        breaks = self.breaks if self.ad_break is None else (*self.breaks, self._break_so_far("open"))
        chapters = self.chapters if self.chapter is None else (*self.chapters, self._chapter_so_far("open"))
        return SessionFacts(
            session_id=self.session_id,
            started_ms=self.start_ms + offset_ms,
            ended_ms=self.now_ms + offset_ms,
            events=self.events,
            content_id=start.content_id,
            content_name=start.content_name,
            content_type=start.content_type,
            stream_type=start.stream_type,
            length_s=start.length_s,
            player_name=start.player_name,
            channel=start.channel,
            app_version=start.app_version,
            user_id=None if is_denied else start.user_id,
            user_id_source=None if is_denied else start.user_id_source,
            user_id_auth_state=None if is_denied else start.user_id_auth_state,
            device_id=None if is_denied else start.device_id,
            device_id_source=None if is_denied else start.device_id_source,
            tracking_session_id=None if is_denied else self.tracking_session_id,
            tracking_verified=self.tracking_verified and not is_denied,
            consent=self.consent,
            has_start=self.start is not None,
            is_started=self.is_started,
            is_completed=self.is_completed,
            is_resumed=start.is_resumed,
            is_downloaded=start.is_downloaded,
            is_live=start.is_live,
            is_failed=self._is_failed(),
            is_capped=self.is_capped,
            startup_s=self.startup_ms / 1000 if self.is_started else None,
            time_to_start_ms=self.time_to_start_ms,
            join_s=times[JOIN],
            content_time_s=times[CONTENT],
            ad_time_s=times[AD],
            media_time_s=(self.times[CONTENT] + self.times[AD]) / 1000,
            pause_time_s=(self.times[PAUSE] + self.times[AD_PAUSE]) / 1000,
            buffer_time_s=(self.times[BUFFER] + self.times[AD_BUFFER]) / 1000,
            rebuffer_time_s=(self.times[BUFFER] - self.startup_buffer_ms) / 1000 if self.is_started else 0.0,
            stall_time_s=times[STALL],
            gap_s=times[GAP],
            idle_s=times[IDLE],
            pauses=self.pauses,
            buffers=self.buffers,
            rebuffers=self.rebuffers,
            stalls=self.stalls,
            seeks=self.seeks - (self.slip_events == self.events and self.head >= 0.0),
            errors=self.errors,
            errors_before_start=self.errors_before_start,
            bitrate_changes=self.bitrate_changes,
            average_bitrate_bps=self._average_bitrate(),
            dropped_frames=self.dropped_frames,
            ads_started=self.ads_started,
            ads_completed=self.ads_completed,
            ads_skipped=self.ads_skipped,
            ads_aborted=self.ads_aborted,
            ads_outside_break=self.ads_outside_break,
            ad_breaks=self.ad_breaks,
            ad_breaks_completed=self.ad_breaks_completed,
            chapters_started=self.chapters_started,
            chapters_completed=self.chapters_completed,
            states=len(self.states),
            concurrent_states_max=self.concurrent_states_max,
            progress_pct=self._progress_pct(end_s),
            first_playhead_s=_within(self.head_first, end_s),
            last_playhead_s=_within(self.head_last, end_s),
            unique_played_s=sum(high - low for low, high, _ in ranges),
            clock_offset_ms=offset_ms,
            clock_spread_ms=max(0, self.delay_max_ms - self.delay_min_ms),
            repeats=self.repeats,
            events_after_end=self.events_after_end,
            events_ignored=self.events_ignored,
            events_over_limit=self.events_over_limit,
            flags=self._flags(),
            start_ms=self.start_ms,
            end_ms=self.end_ms,
            last_event_ms=last_ms,
            first_received_ms=self.first_received_ms,
            last_received_ms=self.last_received_ms,
            last_moved_received_ms=self.last_moved_received_ms,
            ads=[_shift(ad, offset_ms) for ad in ads],
            breaks=[_shift(ad_break, offset_ms) for ad_break in breaks],
            chapters=[_shift(chapter, offset_ms) for chapter in chapters],
            player_states=[self._player_state(name, state) for name, state in self.states.items()],
            played_intervals=[PlayedInterval(*counted) for counted in ranges],
            playback_errors=[replace(error, at_ms=error.at_ms + offset_ms) for error in self.playback_errors],
        )

    def _flags(self) -> list[str]:
        happened = (
            (END_IGNORED, self.events_ignored > 0),
            (OVER_LIMIT, self.events_over_limit > 0),
            (TRACKING_CHANGED, self.has_tracking_changed),
        )
        return [flag for flag, has_happened in happened if has_happened]

    def _clock_offset_ms(self, last_ms: int) -> int:
        span_ms = last_ms - self.first_ms
        if span_ms >= UPLOAD_MS_MIN and 2 * (self.last_received_ms - self.first_received_ms) < span_ms:
            return 0
        return self.delay_min_ms

    def _is_failed(self) -> bool:
        """Tell whether an error was the last thing that happened: no play since, no move, no completion."""
        return self.error_plays == self.plays and self.error_head == self.head and not self.is_completed

    def _average_bitrate(self) -> float | None:
        if self.bitrate is None:
            return None
        open_ms = self.times[CONTENT] - self.bitrate_base_ms
        weight_ms = self.weight_ms + open_ms
        return (self.weighted + self.bitrate * open_ms) / weight_ms if weight_ms else None

    def _progress_pct(self, end_s: float | None) -> int | None:
        if end_s is None:
            return None
        return next((marker for marker in MARKERS_PCT if self.head_max * 100 >= marker * end_s), 0)

    def _player_state(self, name: str, state: OpenState) -> PlayerState:
        open_ms = 0 if state.since_ms is None else self.now_ms - state.since_ms
        return PlayerState(name, state.starts, (state.time_ms + open_ms) / 1000, state.since_ms is not None)


def fold_all(events: Iterable[Event]) -> SessionFacts:
    """Fold the events of one session, in any order; at least one."""
    fold = Fold()
    for event in sorted(without_false_ends(events), key=Event.order):
        fold.step(event)
    return fold.facts()


# ---- the vocabulary, compiled

Effect = Callable[[Fold, Event], None]


def effects_of(row: EventType) -> tuple[Effect, ...]:
    """Return what an event of this type does, as its row in the vocabulary says."""
    effects: list[Effect | None] = [
        {
            "": None,
            "start": Fold._start_break,
            "complete": lambda fold, _: fold._finish_break("completed"),
            "skip": lambda fold, _: fold._finish_break("skipped"),
        }[row.ad_break],
        {
            "": None,
            "start": Fold._start_ad,
            "complete": lambda fold, _: fold._close_ad("completed"),
            "skip": lambda fold, _: fold._close_ad("skipped"),
        }[row.ad],
        {
            "": None,
            "start": Fold._start_chapter,
            "complete": lambda fold, _: fold._close_chapter("completed"),
            "skip": lambda fold, _: fold._close_chapter("skipped"),
        }[row.chapter],
        {"": None, "update": Fold._update_states}.get(row.state, Fold._change_state),
        (lambda fold, _: fold._move(_MOVES[row.player])) if row.player else None,
        Fold._fail if row.is_error else None,
        Fold._change_bitrate if row.changes_bitrate else None,
        Fold._complete if row.completes else None,
        Fold._end if row.ends else None,
    ]
    return tuple(effect for effect in effects if effect is not None)


EFFECTS = {name: effects_of(row) for name, row in EVENT_TYPES.items()}


def _within(playhead_s: float, end_s: float | None) -> float | None:
    if playhead_s < 0.0:
        return None
    return playhead_s if end_s is None else min(playhead_s, end_s)


def _shift(entry: Dated, offset_ms: int) -> Dated:
    if not offset_ms:
        return entry
    return replace(entry, started_ms=entry.started_ms + offset_ms, ended_ms=entry.ended_ms + offset_ms)
