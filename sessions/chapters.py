"""Chapters: which started, how long main content played in each, how it ended.

* A chapter ends with its own end, or is aborted: by the next one, or by the end of the session.
* Its border is a border of evidence (`evidence.py`, `speed.py`), so what was counted on one side of it stays.
"""

from typing import Any

from msgspec.structs import replace

from sessions.event import Event, read_object
from sessions.evidence import mark_chapter
from sessions.facts import Chapter, Outcome, shifted
from sessions.params import common, integer, number
from sessions.state import CONTENT, STILL, State, with_entry


def start_chapter(state: State, event: Event) -> None:
    """Start a chapter; the chapter before is aborted."""
    close_chapter(state, "aborted")
    params = read_object(event.params)
    mark_chapter(state)
    state.chapters_started += 1
    state.chapter_base_ms, state.chapter_base_still_ms = state.times[CONTENT], state.times[STILL]
    state.chapter = Chapter(
        index=integer(params.get("media.chapter.index")),
        name=common(params.get("media.chapter.friendlyName")),
        offset_s=number(params.get("media.chapter.offset")),
        length_s=number(params.get("media.chapter.length")),
        started_ms=event.order_ms,
        ended_ms=event.order_ms,
        time_s=0.0,
        outcome="open",
    )


def close_chapter(state: State, outcome: Outcome) -> None:
    """Put the chapter that is open, if any, into the list."""
    if state.chapter is not None:
        mark_chapter(state)
        state.chapters_completed += outcome == "completed"
        state.chapters = with_entry(state, state.chapters, _chapter_so_far(state, outcome))
        state.chapter = None


def _chapter_so_far(state: State, outcome: Outcome) -> Chapter:
    assert state.chapter is not None
    played_ms = state.times[CONTENT] - state.chapter_base_ms
    if not state.has_moved:
        played_ms += state.times[STILL] - state.chapter_base_still_ms
    return replace(state.chapter, ended_ms=state.now_ms, time_s=played_ms / 1000, outcome=outcome)


def facts_of_chapters(state: State, offset_ms: int) -> dict[str, Any]:
    """Return what is known of chapters, by the names of `SessionFacts`; moments are corrected by `offset_ms`."""
    chapters = state.chapters if state.chapter is None else (*state.chapters, _chapter_so_far(state, "open"))
    return {
        "chapters_started": state.chapters_started,
        "chapters_completed": state.chapters_completed,
        "chapters": [shifted(chapter, offset_ms) for chapter in chapters],
    }
