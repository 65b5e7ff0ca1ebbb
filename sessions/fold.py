"""The fold of one media session: a state machine that takes its events in order and knows its numbers at any time.

It is pure (no clock, no I/O), takes constant time an event, and is driven by the vocabulary: an event type does
what its row in `schemas/vocabulary.py` says (`effects.py`), and no event type is named here. The rules of each
number are at the head of the file that implements them: `player.py`, `playhead.py`, `bitrate.py`, `ads.py`,
`chapters.py`, `states.py`, `oddities.py`.

Order. Events are taken in the order of (client timestamp, rank, offset in the log); where the clock was set while
the session ran, or a timestamp is not believed, the time that `clock_steps.py` gives replaces it. So the facts do
not depend on the order in the log.

What counts. All events that take effect (`admission.py`), but for those flagged `repeat`, and those after the
session's end (`lifecycle.py`). Counted or not, all that take effect tell about clocks (`clock.py`) and arrivals.

Source: the Media Collection API's documentation of its metrics, and what its real clients send.
"""

from collections.abc import Iterable

from sessions.admission import REPEAT, admitted, takes_no_effect
from sessions.ads import end_overdue_ad, facts_of_ads, play_ad, play_outside
from sessions.bitrate import facts_of_quality, take_quality
from sessions.chapters import facts_of_chapters
from sessions.clock import clock_offset_ms
from sessions.clock_steps import facts_of_clocks
from sessions.effects import EFFECTS, effects_of
from sessions.event import Event
from sessions.evidence import observe_from_here, see_it_move
from sessions.facts import SessionFacts, session_facts
from sessions.flags import flags_of
from sessions.identity import DENIED, facts_of_identity, name_tracking
from sessions.lifecycle import await_start, facts_of_start, pass_over
from sessions.params import Start
from sessions.pings import facts_of_pings
from sessions.played import facts_of_played
from sessions.player import facts_of_player
from sessions.playhead import facts_of_playhead, jump_waiting, play_content, take_head
from sessions.playing_on import PING, may_play_on, plays_on
from sessions.silence import WAITING_MS, limit_ms
from sessions.spans import count, facts_of_spans
from sessions.speed import NAMES_RATE, begin_speed, facts_of_speed, name_rate
from sessions.state import (
    AD,
    BUFFER,
    CONTENT,
    FAR_FUTURE,
    GAP,
    JOIN,
    LENGTH_MS,
    OUTSIDE,
    PAUSE,
    PLAYHEAD_S_END,
    State,
    stored_directly,
)
from sessions.states import facts_of_states
from sessions.unsaid import judge_resumed, play_unsaid

_NO_START = Start()


@stored_directly
class Fold(State, gc=False):
    """One session as its events make it. Make it with `Fold()`, or with other limits."""

    def step(self, event: Event) -> None:
        """Take the next event. Events must come in `order()`."""
        if self.is_playing_on and plays_on(self, event):
            return
        self.is_playing_on = False
        now, received, head = event.order_ms, event.received_ms, event.playhead_s
        if event.flags and takes_no_effect(self, event.flags):
            if event.consent == DENIED:
                self.consent = DENIED
            return
        begins = self.start is None and await_start(self, event)
        if received > self.last_received_ms:
            self.last_received_ms = received
        if received < self.first_received_ms:
            self.first_received_ms = received
        delay = received - now
        if delay < self.delay_min_ms:
            self.delay_min_ms = delay
        if delay > self.delay_max_ms:
            self.delay_max_ms = delay
        if event.consent is not None and self.consent != DENIED:  # a denial counts wherever it comes
            self.consent = event.consent
        if event.flags and REPEAT in event.flags:
            self.repeats += 1
            return
        row = event.type
        if now > self.until_ms:
            pass_over(self, row, now)
            return
        if not 0.0 <= head < PLAYHEAD_S_END:
            head = -1.0
        if head != self.head and received > self.last_moved_received_ms:
            self.last_moved_received_ms = received
        _take(self, event, head, begins=begins)

    def facts(self) -> SessionFacts:
        """Return what is known if nothing more comes; what is open is closed at the last event's time."""
        start = self.start if self.start is not None else _NO_START
        last_ms = max(self.now_ms, self.last_ms)
        offset_ms = clock_offset_ms(self, last_ms, is_downloaded=start.is_downloaded)
        found = {
            "session_id": self.session_id,
            "started_ms": self.start_ms + offset_ms,
            "ended_ms": self.now_ms + offset_ms,
            "events": self.events,
            "has_start": self.start is not None,
            "consent": self.consent,
            "is_capped": self.is_capped,
            "clock_offset_ms": offset_ms,
            "clock_spread_ms": max(0, self.delay_max_ms - self.delay_min_ms),
            "repeats": self.repeats,
            "events_after_end": self.events_after_end,
            "events_ignored": self.events_ignored,
            "events_over_limit": self.events_over_limit,
            "flags": flags_of(self),
            "start_ms": self.start_ms,
            "end_ms": self.end_ms,
            "last_event_ms": last_ms,
            "first_received_ms": self.first_received_ms,
            "last_received_ms": self.last_received_ms,
            "last_moved_received_ms": self.last_moved_received_ms,
            **facts_of_start(start),
            **facts_of_identity(self, start),
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
            **facts_of_clocks(self),
        }
        return session_facts(found)


def fold_all(events: Iterable[Event]) -> SessionFacts:
    """Fold the events of one session, in any order; at least one."""
    fold, ordered = begun(events)
    for event in ordered:
        fold.step(event)
    return fold.facts()


def begun(
    events: Iterable[Event], *, length_ms: int = LENGTH_MS, events_over_limit: int = 0
) -> tuple[Fold, list[Event]]:
    """Return a fold that knows the clocks of a session by all its events, and these as it takes them, in order."""
    clocks, taken = admitted(events)
    fold = Fold(
        length_ms=length_ms,
        events_over_limit=events_over_limit,
        segments=clocks.believed,
        clock_flag=clocks.flag,
    )
    return fold, sorted(taken, key=Event.order)


def _take(state: State, event: Event, head: float, *, begins: bool) -> None:
    """Take an event that counts: the time up to it, and what it does."""
    now, row = event.order_ms, event.type
    if state.resumed_ms < FAR_FUTURE:
        judge_resumed(state, row, now, head)
    doing = state.doing
    if doing == CONTENT:
        play_content(state, now, head)
        is_silent = False
    else:
        is_silent = _pass_other_time(state, now, head)
    state.now_ms, state.head = now, head
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
    params, metadata = event.params, event.custom_metadata
    if params is not None or event.qoe is not None:
        take_quality(state, event)
    effects = EFFECTS.get(row.name)
    for effect in effects_of(row) if effects is None else effects:
        effect(state, event)
    if state.doing == OUTSIDE and state.main == CONTENT:
        end_overdue_ad(state)
    if (
        row.state
        or (params is not None and NAMES_RATE in params)
        or (metadata is not None and NAMES_RATE in metadata)
    ):
        name_rate(state, event)
    tracking = event.tracking_session_id
    if tracking is not None and (
        tracking != state.tracking_session_id
        or event.tracking_verified is not state.tracking_verified
        or event.received_ms < state.tracking_received_ms
    ):
        name_tracking(state, event, tracking)
    if row is PING:
        state.is_playing_on = may_play_on(state)


def _pass_other_time(state: State, now: int, head: float) -> bool:
    """Count the time up to this event, with the player in something else than main content.

    Return whether it said nothing for longer than it may.
    """
    doing, ms = state.doing, now - state.now_ms
    if ms > WAITING_MS and ms > limit_ms(state):
        count(state, GAP, ms)
        if not state.is_started and doing in (JOIN, BUFFER):
            state.is_startup_unknown = True
        return True
    if doing == AD:
        play_ad(state, now)
    elif doing == OUTSIDE:
        play_outside(state, now, head)
    else:
        count(state, doing, ms)
        if head != state.head and doing in (PAUSE, BUFFER) and state.is_started:
            jump_waiting(state, now, head)
    return False
