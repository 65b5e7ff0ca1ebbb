"""`playhead session show`: prints one session, once or as it grows."""

import time
from collections.abc import Callable
from typing import Final

from rich.console import Console
from rich.live import Live
from rich.text import Text

from commands.as_json import print_json
from lake.catalog import location
from lake.one_session import Timeline, describe, show
from schemas.settings import Settings

LOOK_AGAIN_S: Final = 2.0


def print_session(settings: Settings, prefix: str, *, as_json: bool) -> None:
    """Print the session whose id begins with `prefix`. Raises NoSuchSession unless exactly one does."""
    _print(_read(settings, prefix), as_json=as_json)


def follow_session(
    settings: Settings, prefix: str, *, as_json: bool, wait: Callable[[float], None] = time.sleep
) -> None:
    """Print a session whenever it has changed, until it is over. Raises NoSuchSession.

    A terminal shows the newest alone.
    """
    console = Console(soft_wrap=True)
    on_screen = console.is_terminal and not as_json
    timeline = _read(settings, prefix)
    with Live(console=console, auto_refresh=False, screen=on_screen) as live:
        shown = None
        while True:
            if timeline != shown:
                shown = timeline
                if on_screen:
                    live.update(Text("\n".join(describe(timeline))), refresh=True)
                else:
                    _print(timeline, as_json=as_json)
            if _is_over(timeline):
                break
            wait(LOOK_AGAIN_S)
            timeline = _read(settings, timeline.session_id)
    if on_screen:
        _print(timeline, as_json=False)


def _print(timeline: Timeline, *, as_json: bool) -> None:
    if as_json:
        print_json(timeline)
    else:
        print("\n".join(describe(timeline)), flush=True)  # noqa: T201


def _read(settings: Settings, prefix: str) -> Timeline:
    return show(location(settings), prefix, length_ms=int(settings.session_length_s * 1000))


def _is_over(timeline: Timeline) -> bool:
    return bool(timeline.versions) and timeline.versions[-1].state == "final"
