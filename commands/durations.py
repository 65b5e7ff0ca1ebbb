"""A duration as a person types it: 30s, 5m, 1h, 7d."""

import contextlib
import math

import typer


def parse_duration_s(text: str) -> float:
    """Return the seconds. Raises typer.BadParameter if the text is not a duration."""
    units = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
    with contextlib.suppress(ValueError):
        seconds = float(text[:-1]) * units[text[-1]] if text[-1:] in units else float(text)
        if 0 < seconds < math.inf:
            return seconds
    raise typer.BadParameter(f"{text!r} is not a duration; write 30s, 5m, 1h or 7d")
