"""Sessions written as rows of (seconds, type, playhead, what else), folded and recounted."""

from collections.abc import Iterable
from typing import Any

from rigs.drawn_sessions import T0
from rigs.recounted import differences
from rigs.session_model import as_json
from schemas.vocabulary import EVENT_TYPES
from sessions.event import Event
from sessions.facts import SessionFacts
from sessions.fold import fold_all

Row = tuple[Any, ...]

DELAY_MS = 40
START = {"media.id": "film", "media.length": 600.0, "media.contentType": "vod"}
AD = {"media.ad.id": "ad", "media.ad.length": 15.0, "media.ad.podPosition": 1, "media.ad.playerName": "p"}


def made(row: Row, offset: int, *, session: str = "s", delay_ms: int = DELAY_MS) -> Event:
    """Make an event of a row."""
    at_s, name, playhead_s, more = (*row, {})[:4]
    params: dict[str, Any] | None = {"sessionStart": START, "adStart": AD}.get(name)
    ms = T0 + round(at_s * 1000)
    fields = {"params": params, "received_ms": ms + delay_ms, "order_ms": ms, "type": EVENT_TYPES.get(name)} | more
    fields |= {key: as_json(fields.get(key)) for key in ("params", "qoe", "custom_metadata")}
    return Event(
        event_id=f"{session}-{offset}",
        session_id=session,
        client_ms=ms,
        offset=offset,
        playhead_s=float(playhead_s),
        **fields,
    )


def watched(*rows: Row) -> SessionFacts:
    """Fold the events of these rows. The recount must agree."""
    assert differences([made(row, offset) for offset, row in enumerate(rows)]) == {}
    return folded(*rows)


def folded(*rows: Row) -> SessionFacts:
    """Fold the events of these rows, including events that the recount does not know or has no room for."""
    return fold_all(made(row, offset) for offset, row in enumerate(rows))


def started(*, length_s: float = 1800.0, **params: Any) -> Row:
    """Write the sessionStart of content; keys of params are written with `_` for `.`."""
    more = {f"media.{key}": value for key, value in params.items()}
    return (0, "sessionStart", 0, {"params": START | {"media.length": length_s} | more})


def pings(
    since_s: float,
    until_s: float,
    *,
    head: float,
    every_s: float = 10.0,
    rate: float = 1.0,
    to: float | None = None,
) -> list[Row]:
    """Write pings after `since_s`, at whose time the playhead is `head`, up to `until_s`; it moves at a rate."""
    count = int((until_s - since_s) / every_s + 1e-9)
    passed = [every_s * n for n in range(1, count + 1)]
    return [(since_s + s, "ping", head + rate * s if to is None else (head + rate * s) % to) for s in passed]


def played(facts: SessionFacts) -> list[tuple[float, float, int]]:
    """Return what was played, as plain tuples."""
    return [(each.start_s, each.end_s, each.passes) for each in facts.played_intervals]


def doings(facts: SessionFacts) -> list[tuple[str, float, float]]:
    """Return what happened: what, from and to which second of the session."""
    return [
        (span.doing, (span.started_ms - facts.started_ms) / 1000, (span.ended_ms - facts.started_ms) / 1000)
        for span in facts.spans
    ]


def sum_s(facts: SessionFacts) -> float:
    """Add up the disjoint durations."""
    parts = (facts.join_s, facts.media_time_s, facts.pause_time_s, facts.buffer_time_s)
    return round(sum(parts) + facts.stall_time_s + facts.gap_s + facts.idle_s, 3)


def span_sums_s(facts: SessionFacts) -> dict[str, float]:
    """Add up the spans, by the names of the durations that they make up."""
    names: Iterable[tuple[str, tuple[str, ...]]] = (
        ("join_s", ("joining",)),
        ("content_time_s", ("playing",)),
        ("ad_time_s", ("ad",)),
        ("ad_time_outside_breaks_s", ("ad_outside",)),
        ("pause_time_s", ("paused", "ad_paused")),
        ("buffer_time_s", ("buffering", "ad_buffering")),
        ("stall_time_s", ("stalled",)),
        ("gap_s", ("unknown",)),
        ("idle_s", ("idle",)),
    )
    return {
        name: sum(span.ended_ms - span.started_ms for span in facts.spans if span.doing in doing) / 1000
        for name, doing in names
    }
