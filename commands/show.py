"""`playhead session show`: prints one session, once or as it grows."""

import time
from collections.abc import Callable
from typing import Final

import msgspec
from rich.console import Console
from rich.live import Live
from rich.text import Text

from lake.catalog import location
from lake.one_session import Timeline, describe, show
from schemas.settings import Settings

LOOK_AGAIN_S: Final = 2.0


def print_session(settings: Settings, prefix: str, *, as_json: bool) -> None:
    """Print the session whose id begins with `prefix`. Raises NoSuchSession unless exactly one does."""
    timeline = _read(settings, prefix)
    print(_as_json(timeline) if as_json else "\n".join(describe(timeline)))  # noqa: T201


def follow_session(
    settings: Settings, prefix: str, *, as_json: bool, wait: Callable[[float], None] = time.sleep
) -> None:
    """Print a session whenever it has changed, until it is over. Raises NoSuchSession.

    A terminal shows the newest alone.
    """
    console = Console(soft_wrap=True)
    timeline = _read(settings, prefix)
    with Live(console=console, auto_refresh=False, screen=console.is_terminal and not as_json) as live:
        shown = None
        while True:
            if timeline != shown:
                shown = timeline
                if as_json or not console.is_terminal:
                    print(_as_json(timeline) if as_json else "\n".join(describe(timeline)), flush=True)  # noqa: T201
                else:
                    live.update(Text("\n".join(describe(timeline))), refresh=True)
            if _is_over(timeline):
                break
            wait(LOOK_AGAIN_S)
            timeline = _read(settings, timeline.session_id)
    if console.is_terminal and not as_json:
        print("\n".join(describe(timeline)))  # noqa: T201


def _read(settings: Settings, prefix: str) -> Timeline:
    return show(location(settings), prefix, length_ms=int(settings.session_length_s * 1000))


def _is_over(timeline: Timeline) -> bool:
    return bool(timeline.versions) and timeline.versions[-1].state == "final"


def _as_json(timeline: Timeline) -> str:
    return msgspec.json.encode(timeline).decode()
