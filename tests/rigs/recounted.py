"""Sessions counted twice: what the fold and the recount disagree about."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from lake.audit import LISTS
from sessions.admission import OVER_LIMIT, REPEAT
from sessions.event import Event, read_object
from sessions.facts import SessionFacts
from sessions.fold import begun
from sessions.recount import DURATIONS, Recount, Report, joined
from sessions.state import LENGTH_MS


def differences(events: Sequence[Event], *, length_ms: int = LENGTH_MS) -> dict[str, tuple[Any, Any]]:
    """Fold a session, and recount it; return the numbers that differ: (folded, recounted)."""
    fold, ordered = begun(events, length_ms=length_ms)
    for event in ordered:
        fold.step(event)
    facts = fold.facts()
    folded, recounted = _comparable(facts), Recount(reports_of(events), length_ms=length_ms).numbers()
    return {
        name: (folded[name], value)
        for name, value in recounted.items()
        if not (facts.is_capped and name in LISTS) and not _is_equal(folded[name], value)
    }


def reports_of(events: Iterable[Event]) -> list[Report]:
    """Return the events of one session as the recount takes them."""
    return [
        Report(
            event.type.name,
            event.client_ms,
            event.received_ms,
            event.offset,
            event.playhead_s,
            read_object(event.params),
            read_object(event.qoe),
            is_repeat=event.is_flagged(REPEAT),
            is_over_limit=event.is_flagged(OVER_LIMIT),
            metadata=read_object(event.custom_metadata),
        )
        for event in events
    ]


def _comparable(facts: SessionFacts) -> dict[str, Any]:
    """Return the facts in the terms of the recount: durations in whole milliseconds, lists as plain tuples."""
    values = {
        name: round(value * 1000) if name in DURATIONS and value is not None else value
        for name, value in msgspec.structs.asdict(facts).items()
    }
    for name in ("ads", "breaks", "chapters"):
        values[name] = [(round(entry.time_s * 1000), entry.outcome) for entry in values[name]]
    values["player_states"] = {s.name: (s.starts, round(s.time_s * 1000)) for s in facts.player_states}
    values["played_intervals"] = [(p.start_s, p.end_s, p.passes) for p in facts.played_intervals]
    values["spans"] = joined((span.doing, span.started_ms, span.ended_ms) for span in facts.spans)
    return values


def _is_equal(found: Any, expected: Any) -> bool:
    """Return whether two values are equal; sums of fractions may differ by their rounding."""
    if isinstance(found, list | tuple) and isinstance(expected, list | tuple):
        return len(found) == len(expected) and all(map(_is_equal, found, expected))
    if isinstance(found, float) and isinstance(expected, int | float):
        return abs(found - expected) <= 1e-9 * max(1, abs(expected))
    return bool(found == expected)
