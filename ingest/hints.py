"""What was probably not meant, though it is neither refused nor flagged: unknown keys, odd units, an odd order."""

from collections.abc import Iterator
from typing import Any, Final

from ingest.findings import Finding, part_of
from ingest.nearest import KnownNames
from schemas.paths import TOP_KEYS, Path, quote
from schemas.vocabulary import DIMENSION_KEYS, EVENT_TYPES, QOE, EventType, Phase

INFINITE: Final = float("inf")
# Part and key, between which values it is probably another unit, and the documented unit.
UNITS: Final = (
    ("playerTime", "playhead", 100_000, INFINITE, "seconds"),
    ("params", "media.length", 100_000, INFINITE, "seconds"),
    ("params", "media.ad.length", 3_600, INFINITE, "seconds"),
    ("params", "media.chapter.length", 100_000, INFINITE, "seconds"),
    ("qoeData", "media.qoe.timeToStart", 0, 20, "milliseconds"),
    ("qoeData", "media.qoe.framesPerSecond", 300, INFINITE, "frames per second"),
    ("qoeData", "media.qoe.bitrate", 0, 20_000, "bits per second"),
)

_OF_TYPES: Final = {param.key: row.name for row in EVENT_TYPES.values() for param in row.params}
_PARAMS: Final = {
    name: KnownNames((*(param.key for param in row.params), *(DIMENSION_KEYS.values() if row.starts else ())))
    for name, row in EVENT_TYPES.items()
}
_QOE: Final = KnownNames(param.key for param in QOE)
_TOP: Final = KnownNames(TOP_KEYS)
_TIME: Final = KnownNames(("playhead", "ts"))


def unknown_keys(event: dict[str, Any], row: EventType | None) -> Iterator[Finding]:
    """Yield each key that the protocol does not know; it is stored, and read by nothing here.

    Without a row it is not known which `params` the event may have.
    """
    yield from _unknown((), event, _TOP)
    yield from _unknown(("playerTime",), part_of(event, "playerTime"), _TIME)
    yield from _unknown(("qoeData",), part_of(event, "qoeData"), _QOE)
    if row is not None:
        yield from _unknown(("params",), part_of(event, "params"), _PARAMS[row.name])


def _unknown(path: Path, part: dict[str, Any], known: KnownNames) -> Iterator[Finding]:
    names = set(known.names)
    for key in part:
        if key in names:
            continue
        message = f"Unknown key {quote(key)}, stored and not read"
        if path == ("params",) and key in _OF_TYPES:
            message = f"`{key}` belongs to {_OF_TYPES[key]}; stored and not read here"
        elif near := known.nearest(key):
            message += f": did you mean `{near}`?"
        yield Finding("note", "unknown_key", (*path, key), message)


def units(event: dict[str, Any]) -> Iterator[Finding]:
    """Yield each number that is probably in another unit than the documented one."""
    for part, key, above, below, unit in UNITS:
        value = part_of(event, part).get(key)
        if isinstance(value, int | float) and above < value < below:
            yield Finding(
                "note", "unit", (part, key), f"Expected {unit}, {value:.10g} is an unlikely number of them"
            )


def phases(row: EventType) -> Iterator[tuple[str, Phase]]:
    """Yield what an event of this type begins or ends, in words, and which of the two."""
    for name, phase in (("ad break", row.ad_break), ("ad", row.ad), ("chapter", row.chapter)):
        if phase:
            yield name, phase


class Order:
    """Follows the events of one session as they come, and notes what does not follow."""

    def __init__(self) -> None:
        self._ts_ms: int | None = None
        self._count = 0
        self._ended = False
        self._open: dict[str, bool] = {"ad break": False, "ad": False, "chapter": False}

    def after(self, event: dict[str, Any], row: EventType) -> Iterator[Finding]:
        """Yield what is odd about the place of the next event."""
        if type(ts_ms := part_of(event, "playerTime").get("ts")) is int:
            yield from self._times(ts_ms)
        if self._count == 0 and not row.starts:
            yield _order(("eventType",), "Expected a sessionStart first")
        if self._ended:
            yield _order(("eventType",), "It follows the sessionEnd: a session takes nothing from after its end")
        self._count += 1
        self._ended = self._ended or row.ends
        for name, phase in phases(row):
            if phase == "start" and self._open[name]:
                yield _order(("eventType",), f"The {name} before it did not end")
            elif phase != "start" and not self._open[name]:
                yield _order(("eventType",), f"No {name} had begun")
            self._open[name] = phase == "start"
        if row.ad == "start" and not self._open["ad break"]:
            yield _order(("eventType",), "Expected an adBreakStart before an ad")

    def at_the_end(self) -> Iterator[Finding]:
        """Yield what the last event left open."""
        for name, is_open in self._open.items():
            if is_open:
                yield _order((), f"An {name} did not end" if name != "chapter" else "A chapter did not end")
        if not self._ended:
            yield _order((), "No sessionEnd: the session is closed when nothing more comes for some minutes")

    def _times(self, ts_ms: int) -> Iterator[Finding]:
        if self._ts_ms is not None and ts_ms <= self._ts_ms:
            is_same = ts_ms == self._ts_ms
            message = "the same as that of the event before it" if is_same else "before that of an earlier event"
            yield _order(("playerTime", "ts"), f"Expected increasing times; this one is {message}")
        self._ts_ms = max(ts_ms, self._ts_ms or 0)


def _order(path: Path, message: str) -> Finding:
    return Finding("note", "order", path, message)
