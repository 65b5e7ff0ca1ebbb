"""When a session starts and ends, and what its sessionStart says of it.

The start is the sessionStart or, without one, the first event that counts. The end is the earliest sessionEnd that
takes effect (`admission.py`), or `length_ms` after the start, whichever is earlier. What comes after it does not
count.
"""

from typing import Any

from schemas.vocabulary import EventType
from sessions.admission import REPEAT
from sessions.ads import close_ad, close_break
from sessions.chapters import close_chapter
from sessions.client import read_client
from sessions.dimensions import facts_of_dimensions
from sessions.event import Event, read_object
from sessions.params import Start, read_start
from sessions.spans import end_span
from sessions.speed import begin_speed
from sessions.state import FAR_FUTURE, FAR_PAST, INFINITE, State
from sessions.states import end_states
from sessions.unsaid import judge_resumed


def await_start(state: State, event: Event) -> bool:
    """Begin with the first event, and again with the sessionStart if another came before it; return whether."""
    now = event.order_ms
    is_first = state.first_received_ms == FAR_FUTURE
    if is_first:
        state.is_recorded = not state.only_claims
        state.session_id = event.session_id
        state.first_ms = now
        state.last_moved_received_ms = event.received_ms
    if event.type.starts and REPEAT not in event.flags:
        params, metadata = read_object(event.params), read_object(event.custom_metadata)
        client = read_client(event.client)
        state.start = read_start(params, metadata, source=event.source, keys=state.keys, client=client)
        state.is_recorded = not (state.only_claims or state.start.is_live)
        state.end_s = INFINITE if state.start.end_s is None else state.start.end_s
    begins = state.start is not None and state.end_ms is None
    if not (is_first or begins or not state.events):
        return False
    if state.resumed_ms < FAR_FUTURE:
        judge_resumed(state, event.type, now, -1.0)
    if not state.is_recorded:
        state.reset_head = -1.0
    state.run = state.short = None
    begin_speed(state, now, -1.0)
    end_span(state, state.now_ms, state.head)
    state.start_ms = state.now_ms = now
    state.until_ms = now + state.length_ms
    return True


def pass_over(state: State, row: EventType, now: int) -> None:
    """Note an event after the session's end."""
    state.events_after_end += 1
    state.last_ms = now
    if row.ends and state.end_ms is None:
        state.end_ms = now


def end_session(state: State, event: Event) -> None:
    """End the session, and with it all that is open."""
    state.end_ms = event.order_ms
    state.until_ms = FAR_PAST
    close_ad(state, "aborted")
    close_break(state, "aborted")
    close_chapter(state, "aborted")
    end_states(state)


def facts_of_start(start: Start) -> dict[str, Any]:
    """Return what the sessionStart says of content and player, by the names of `SessionFacts`."""
    return {
        "content_id": start.content_id,
        "content_name": start.content_name,
        "content_type": start.content_type,
        "stream_type": start.stream_type,
        "length_s": start.length_s,
        "player_name": start.player_name,
        "channel": start.channel,
        "app_version": start.app_version,
        **facts_of_dimensions(start.dimensions, start.own),
        "site": start.dimensions.site or start.client.key_name,
        "is_resumed": start.is_resumed,
        "is_downloaded": start.is_downloaded,
        "is_live": start.is_live,
    }
