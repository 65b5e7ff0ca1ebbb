"""What is odd about an event: why it gets each of its flags if it is accepted.

`schemas.media.check_event` decides the flags; here the same types are gone through key by key, for the person who
sent it. Of an event that is refused, what can be judged is.
"""

from collections.abc import Iterator
from typing import Any, Final

from ingest.findings import WORDS_OF_KIND, Finding, but_sent, part_of
from schemas.media import (
    AHEAD_MS_MAX,
    DAY_S,
    TS_MS_USUAL,
    TYPE_OF_KIND,
    fits,
    is_live,
    is_past_end,
    kind_word,
    names_a_state,
)
from schemas.paths import Path
from schemas.vocabulary import QOE, EventType, Param

STRICT_FLAGS: Final = frozenset(("off_schema", "playhead_range"))


def oddities(event: dict[str, Any], row: EventType | None, *, now_ms: int) -> Iterator[Finding]:
    """Yield a finding for each reason why an event gets a flag; without a row its type is not known."""
    yield from _off_schema(event, row)
    yield from _times(event, row, now_ms)
    if row is not None and row.state == "update" and not names_a_state(event.get("params")):
        message = "Expected a state in `statesStart` or `statesEnd`; this update changes nothing"
        yield Finding("flag", "no_state", ("params",), message)


def _off_schema(event: dict[str, Any], row: EventType | None) -> Iterator[Finding]:
    params = event.get("params")
    if row is not None and (type(params) is dict or (params is None and row.required)):
        yield from _documented(row.params, params or {}, "params")
    yield from _documented(QOE, part_of(event, "qoeData"), "qoeData")
    for key, value in part_of(event, "customMetadata").items():
        if type(value) is not str:
            message = f"Expected a string, got {kind_word(value)}: metadata are strings by the documentation"
            yield _off(("customMetadata", key), message)


def _documented(known: tuple[Param, ...], part: dict[str, Any], name: str) -> Iterator[Finding]:
    for param in known:
        value = part.get(param.key)
        wanted = WORDS_OF_KIND[param.kind]
        if value is None and not param.required:
            continue
        if param.key not in part:
            message = f"Expected `{param.key}`, {wanted}, by the documentation"
            yield _off((name, param.key), message + but_sent(param.key, part))
        elif not fits(value, TYPE_OF_KIND[param.kind]):
            yield _off((name, param.key), f"Expected {wanted}, got {kind_word(value)}")


def _off(path: Path, message: str) -> Finding:
    return Finding("flag", "off_schema", path, message)


def _times(event: dict[str, Any], row: EventType | None, now_ms: int) -> Iterator[Finding]:
    time, params = part_of(event, "playerTime"), part_of(event, "params")
    if isinstance(playhead := time.get("playhead"), int | float):
        yield from _playhead(playhead, params, row)
    if isinstance(ts_ms := time.get("ts"), int | float):
        yield from _timestamp(ts_ms, now_ms)


def _playhead(playhead: float, params: dict[str, Any], row: EventType | None) -> Iterator[Finding]:
    path: Path = ("playerTime", "playhead")
    if playhead < 0:
        yield Finding("flag", "playhead_range", path, "Expected a playhead of at least 0")
    elif row is not None and row.starts and is_past_end(playhead, params):
        if is_live(params):
            message = f"Expected the second of the day, at most {DAY_S}, as the content is live"
        else:
            message = "Expected a playhead within `media.length`; both are in seconds"
        yield Finding("flag", "playhead_range", path, message)


def _timestamp(ts_ms: float, now_ms: int) -> Iterator[Finding]:
    path: Path = ("playerTime", "ts")
    if ts_ms > now_ms + AHEAD_MS_MAX:
        yield Finding("flag", "future_ts", path, "Expected no more than a day ahead of the clock of this server")
    elif ts_ms < TS_MS_USUAL:
        is_seconds = ts_ms * 1000 >= TS_MS_USUAL
        hint = ": these are seconds" if is_seconds else ": performance.now() is not the time of day"
        yield Finding("flag", "past_ts", path, f"Expected milliseconds since 1970, after 2005{hint}")
