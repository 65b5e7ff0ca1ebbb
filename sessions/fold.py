"""The fold of one media session: a state machine that takes its events in order and knows its numbers at any time.

It is pure (no clock, no I/O), takes constant time an event, and is driven by the vocabulary: an event type does
what its row in `schemas/vocabulary.py` says, and no event type is named here. Here are the rules for which events
count, in which order, and from when to when. The rules of each number are at the head of the file that implements
them: `player.py`, `playhead.py`, `bitrate.py`, `ads.py`, `chapters.py`, `states.py`, `oddities.py`.

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

The session's `flags` name those of the three that happened, and what made no sense in it (`oddities.py`).

Clock offset: arrival - timestamp is the offset plus a delay that is never negative, so the smallest of all events
is the best estimate. Where events of 10 s and more arrived within less than half of their own time, they were
uploaded afterwards: that says nothing of the clock, and the offset is 0, as it is for downloaded content.

Source: the Media Collection API's documentation of its metrics, and what its real clients send.
"""

from collections.abc import Callable, Iterable
from typing import Any

from schemas.vocabulary import EVENT_TYPES, EventType
from sessions.ads import (
    close_ad,
    close_break,
    end_overdue_ad,
    facts_of_ads,
    finish_break,
    play_ad,
    play_outside,
    start_ad,
    start_break,
)
from sessions.bitrate import change_bitrate, facts_of_quality, measure
from sessions.chapters import close_chapter, facts_of_chapters, start_chapter
from sessions.event import Event, read_object
from sessions.evidence import observe_from_here, see_it_move
from sessions.facts import SessionFacts
from sessions.flags import flags_of
from sessions.oddities import note_place
from sessions.params import QUALITY, Start, quality_in, read_start
from sessions.pings import facts_of_pings, note_ping
from sessions.played import facts_of_played
from sessions.player import complete, facts_of_player, fail, move
from sessions.playhead import facts_of_playhead, jump_waiting, play_content, take_head
from sessions.silence import WAITING_MS, limit_ms
from sessions.spans import count, end_span, facts_of_spans
from sessions.speed import NAMES_RATE, begin_speed, facts_of_speed, name_rate
from sessions.state import (
    AD,
    BUFFER,
    CONTENT,
    FAR_FUTURE,
    FAR_PAST,
    GAP,
    INFINITE,
    JOIN,
    OUTSIDE,
    PAUSE,
    State,
)
from sessions.states import change_state, end_states, facts_of_states, update_states
from sessions.unsaid import play_resumed, play_unsaid

# A day of pings every 10 s is 8,640 events. To fold this many again takes a worker a third of a second.
EVENTS_MAX = 20_000
END_TOLERANCE_MS = 300_000  # posts overtake each other by seconds, and clocks are set by less while a player runs
REPEAT, OVER_LIMIT, END_IGNORED = "repeat", "over_limit", "end_ignored"
DENIED = "denied"  # consent of an event; one such event makes it the consent of its session, whenever it came
UPLOAD_MS_MIN = 10_000
RESUMED_MS = 5_000
PLAYHEAD_S_END = 1e13

_MOVES = {"playing": CONTENT, "paused": PAUSE, "buffering": BUFFER}
_NO_START = Start()
_QUALITY = f'"{QUALITY}'.encode()


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


class Fold(State, gc=False):
    """One session as its events make it. Make it with `Fold()`, or with other limits."""

    def step(self, event: Event) -> None:
        """Take the next event. Events must come in `order()`."""
        now, received, head = event.order_ms, event.received_ms, event.playhead_s
        if event.flags and _takes_no_effect(self, event.flags):
            if event.consent == DENIED:
                self.consent = DENIED
            return
        begins = self.start is None and _await_start(self, event)
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
            _pass_over(self, row, now)
            return
        if not 0.0 <= head < PLAYHEAD_S_END:
            head = -1.0
        if head != self.head and received > self.last_moved_received_ms:
            self.last_moved_received_ms = received

        if self.resumed_ms < FAR_FUTURE:
            _judge_resumed(self, row, now)
        _pass_time(self, now, head, begins=begins)
        if event.params is not None and _QUALITY in event.params:
            self.qoe = None
            measure(self, quality_in(read_object(event.params)))
        if event.qoe is not None and event.qoe != self.qoe:  # players often send the same values with every event
            self.qoe = event.qoe
            measure(self, read_object(event.qoe))
        effects = EFFECTS.get(row.name)
        for effect in effects_of(row) if effects is None else effects:
            effect(self, event)
        if self.doing == OUTSIDE and self.main == CONTENT:
            end_overdue_ad(self)
        if row.state or _names_rate(event):
            name_rate(self, event)
        tracking = event.tracking_session_id
        if tracking is not None and (
            tracking != self.tracking_session_id
            or event.tracking_verified is not self.tracking_verified
            or received < self.tracking_received_ms
        ):
            _name_tracking(self, event, tracking)

    def facts(self) -> SessionFacts:
        """Return what is known if nothing more comes; what is open is closed at the last event's time."""
        start = self.start if self.start is not None else _NO_START
        last_ms = max(self.now_ms, self.last_ms)
        offset_ms = 0 if start.is_downloaded else _clock_offset_ms(self, last_ms)
        return SessionFacts(
            session_id=self.session_id,
            started_ms=self.start_ms + offset_ms,
            ended_ms=self.now_ms + offset_ms,
            events=self.events,
            has_start=self.start is not None,
            consent=self.consent,
            is_capped=self.is_capped,
            clock_offset_ms=offset_ms,
            clock_spread_ms=max(0, self.delay_max_ms - self.delay_min_ms),
            repeats=self.repeats,
            events_after_end=self.events_after_end,
            events_ignored=self.events_ignored,
            events_over_limit=self.events_over_limit,
            flags=flags_of(self),
            start_ms=self.start_ms,
            end_ms=self.end_ms,
            last_event_ms=last_ms,
            first_received_ms=self.first_received_ms,
            last_received_ms=self.last_received_ms,
            last_moved_received_ms=self.last_moved_received_ms,
            **_facts_of_start(self, start),
            **facts_of_player(self, offset_ms),
            **facts_of_speed(self),
            **facts_of_playhead(self),
            **facts_of_played(self),
            **facts_of_quality(self),
            **facts_of_ads(self, offset_ms),
            **facts_of_chapters(self, offset_ms),
            **facts_of_states(self),
            **facts_of_pings(self),
            **facts_of_spans(self, offset_ms),
        )


def fold_all(events: Iterable[Event]) -> SessionFacts:
    """Fold the events of one session, in any order; at least one."""
    fold = Fold()
    for event in sorted(without_false_ends(events), key=Event.order):
        fold.step(event)
    return fold.facts()


# ---- the session itself


def _takes_no_effect(state: State, flags: tuple[str, ...]) -> bool:
    """Count an event that is over the limit, or an end that takes no effect; return whether it is one."""
    if OVER_LIMIT in flags:
        state.events_over_limit += 1
        return True
    if END_IGNORED in flags:
        state.events_ignored += 1
        return True
    return False


def _judge_resumed(state: State, row: EventType, now: int) -> None:
    """Decide whether a play after the ads of a break was one of main content."""
    if row.ad or row.ad_break:
        state.resumed_ms = FAR_FUTURE
    elif now >= state.resumed_ms + RESUMED_MS or row.chapter or row.is_error or row.starts:
        play_resumed(state)
    elif state.bitrate is not None:
        state.resumed_weight_ms += now - state.now_ms
        state.resumed_weighted += state.bitrate * (now - state.now_ms)


def _pass_time(state: State, now: int, head: float, *, begins: bool) -> None:
    """Count the time up to this event, and take its playhead; see whether it contradicts what was claimed."""
    doing, is_silent = state.doing, False
    if doing == CONTENT:
        play_content(state, now, head)
    else:
        is_silent = now - state.now_ms > WAITING_MS and now - state.now_ms > limit_ms(state)
        _play_other(state, now, head, is_silent=is_silent)
    state.now_ms = now
    state.head = head
    state.events += 1
    if head != state.head_last:
        take_head(state, head)
    if begins or is_silent:
        observe_from_here(state)
        begin_speed(state, now, head)
    elif doing != CONTENT and (doing != OUTSIDE or state.main == JOIN):
        run = see_it_move(state)
        if run is not None:
            play_unsaid(state, run)


def _play_other(state: State, now: int, head: float, *, is_silent: bool) -> None:
    """Count the time up to this event, with the player in something else than main content."""
    doing = state.doing
    if is_silent:
        count(state, GAP, now - state.now_ms)
        if not state.is_started and doing in (JOIN, BUFFER):
            state.is_startup_unknown = True
        return
    if doing == AD:
        play_ad(state, now)
    elif doing == OUTSIDE:
        play_outside(state, now, head)
    else:
        count(state, doing, now - state.now_ms)
        if head != state.head and doing in (PAUSE, BUFFER) and state.is_started:
            jump_waiting(state, now, head)


def _names_rate(event: Event) -> bool:
    params, metadata = event.params, event.custom_metadata
    return (params is not None and NAMES_RATE in params) or (metadata is not None and NAMES_RATE in metadata)


def _await_start(state: State, event: Event) -> bool:
    """Begin with the first event, and again with the sessionStart if another came before it; return whether."""
    now = event.order_ms
    is_first = state.first_received_ms == FAR_FUTURE
    if is_first:
        state.is_recorded = not state.only_claims
        state.session_id = event.session_id
        state.first_ms = now
        state.last_moved_received_ms = event.received_ms
    if event.type.starts and REPEAT not in event.flags:
        state.start = read_start(read_object(event.params), source=event.source)
        state.is_recorded = not (state.only_claims or state.start.is_live)
        state.end_s = INFINITE if state.start.end_s is None else state.start.end_s
    if not is_first and (state.start is None or state.end_ms is not None):
        return False
    if state.resumed_ms < FAR_FUTURE:
        _judge_resumed(state, event.type, now)
    if not state.is_recorded:
        state.reset_head = -1.0
    state.run = state.short = None
    begin_speed(state, now, -1.0)
    end_span(state, state.now_ms, state.head)
    state.start_ms = state.now_ms = now
    state.until_ms = now + state.length_ms
    return True


def _name_tracking(state: State, event: Event, tracking: str) -> None:
    """Keep the tracking session that was named first by arrival, one that Playhead issued before any other."""
    is_other = state.tracking_session_id is not None and tracking != state.tracking_session_id
    state.has_tracking_changed = state.has_tracking_changed or is_other
    is_better = event.tracking_verified > state.tracking_verified or (
        event.tracking_verified == state.tracking_verified and event.received_ms < state.tracking_received_ms
    )
    if state.tracking_session_id is None or is_better:
        state.tracking_session_id, state.tracking_verified = tracking, event.tracking_verified
        state.tracking_received_ms = event.received_ms


def _pass_over(state: State, row: EventType, now: int) -> None:
    """Note an event after the session's end."""
    state.events_after_end += 1
    state.last_ms = now
    if row.ends and state.end_ms is None:
        state.end_ms = now


def _end_session(state: State, event: Event) -> None:
    state.end_ms = event.order_ms
    state.until_ms = FAR_PAST
    close_ad(state, "aborted")
    close_break(state, "aborted")
    close_chapter(state, "aborted")
    end_states(state)


# ---- what is known of it


def _facts_of_start(state: State, start: Start) -> dict[str, Any]:
    """Return what the sessionStart says; whose session it is, only where consent was not denied."""
    is_denied = state.consent == DENIED
    return {
        "content_id": start.content_id,
        "content_name": start.content_name,
        "content_type": start.content_type,
        "stream_type": start.stream_type,
        "length_s": start.length_s,
        "player_name": start.player_name,
        "channel": start.channel,
        "app_version": start.app_version,
        "is_resumed": start.is_resumed,
        "is_downloaded": start.is_downloaded,
        "is_live": start.is_live,
        "user_id": None if is_denied else start.user_id,
        "user_id_source": None if is_denied else start.user_id_source,
        "user_id_auth_state": None if is_denied else start.user_id_auth_state,
        "device_id": None if is_denied else start.device_id,
        "device_id_source": None if is_denied else start.device_id_source,
        "tracking_session_id": None if is_denied else state.tracking_session_id,
        "tracking_verified": state.tracking_verified and not is_denied,
    }


def _clock_offset_ms(state: State, last_ms: int) -> int:
    span_ms = last_ms - state.first_ms
    if span_ms >= UPLOAD_MS_MIN and 2 * (state.last_received_ms - state.first_received_ms) < span_ms:
        return 0
    return state.delay_min_ms


# ---- the vocabulary, compiled

Effect = Callable[[State, Event], None]


def effects_of(row: EventType) -> tuple[Effect, ...]:
    """Return what an event of this type does, as its row in the vocabulary says."""
    effects: list[Effect | None] = [
        note_place if row.ad or row.ad_break or row.chapter or row.state == "end" or row.completes else None,
        {
            "": None,
            "start": start_break,
            "complete": lambda state, _: finish_break(state, "completed"),
            "skip": lambda state, _: finish_break(state, "skipped"),
        }[row.ad_break],
        {
            "": None,
            "start": start_ad,
            "complete": lambda state, _: close_ad(state, "completed"),
            "skip": lambda state, _: close_ad(state, "skipped"),
        }[row.ad],
        {
            "": None,
            "start": start_chapter,
            "complete": lambda state, _: close_chapter(state, "completed"),
            "skip": lambda state, _: close_chapter(state, "skipped"),
        }[row.chapter],
        {"": None, "update": update_states}.get(row.state, change_state),
        (lambda state, _: move(state, _MOVES[row.player])) if row.player else None,
        fail if row.is_error else None,
        change_bitrate if row.changes_bitrate else None,
        note_ping if row.only_reports else None,
        complete if row.completes else None,
        _end_session if row.ends else None,
    ]
    return tuple(effect for effect in effects if effect is not None)


EFFECTS = {name: effects_of(row) for name, row in EVENT_TYPES.items()}
