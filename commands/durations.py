"""Durations and moments as a person types them (30s, 7d; 2026-11-28, 2026-11-28T12:00+01:00), and reads them."""

import contextlib
import math
from datetime import UTC, datetime, timedelta

import typer


def parse_duration_s(text: str) -> float:
    """Return the seconds. Raises typer.BadParameter if the text is not a duration."""
    units = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
    with contextlib.suppress(ValueError):
        seconds = float(text[:-1]) * units[text[-1]] if text[-1:] in units else float(text)
        if 0 < seconds < math.inf:
            return seconds
    raise typer.BadParameter(f"{text!r} is not a duration; write 30s, 5m, 1h or 7d")


def parse_moment(text: str, *, now: datetime) -> datetime:
    """Return a time, in UTC if it names no other zone; or the one a duration ago. Raises typer.BadParameter."""
    with contextlib.suppress(ValueError):
        moment = datetime.fromisoformat(text)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    with contextlib.suppress(typer.BadParameter, OverflowError):
        return now - timedelta(seconds=parse_duration_s(text))
    raise typer.BadParameter(f"{text!r} is not a time; write 2026-11-28, 2026-11-28T12:00, or 7d for a week ago")


def shown_s(seconds: float) -> str:
    """Return a duration in its largest fitting unit, such as `20 s`, `3 min`, `5 h`, `4 d`."""
    for unit, length_s in (("d", 86_400), ("h", 3600), ("min", 60)):
        if abs(seconds) >= 2 * length_s:
            return f"{seconds / length_s:.0f} {unit}"
    return f"{seconds:.0f} s"
