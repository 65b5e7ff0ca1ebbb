"""What an event of each type does, as its row in `schemas/vocabulary.py` says; no event type is named here."""

from collections.abc import Callable

from schemas.vocabulary import EVENT_TYPES, EventType
from sessions.ads import close_ad, finish_break, start_ad, start_break
from sessions.bitrate import change_bitrate
from sessions.chapters import close_chapter, start_chapter
from sessions.event import Event
from sessions.lifecycle import end_session
from sessions.oddities import note_place
from sessions.pings import note_ping
from sessions.player import complete, fail, move
from sessions.state import BUFFER, CONTENT, PAUSE, State
from sessions.states import change_state, update_states

_MOVES = {"playing": CONTENT, "paused": PAUSE, "buffering": BUFFER}

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
        end_session if row.ends else None,
    ]
    return tuple(effect for effect in effects if effect is not None)


EFFECTS = {name: effects_of(row) for name, row in EVENT_TYPES.items()}
