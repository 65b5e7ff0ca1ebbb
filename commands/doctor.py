"""`playhead doctor`: checks everything that a start needs, and prints each check, green or with what to do."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from rich.console import Console
from rich.text import Text

from commands.as_json import print_json
from commands.checks import Check, Checkup
from schemas.faults import NotReady
from schemas.settings import Settings
from schemas.terminal import printable

STYLES = {"ok": "green", "wrong": "bold red", "skipped": "yellow"}


def print_checkup(settings: Settings | NotReady, *, as_json: bool) -> bool:
    """Check what these settings name, print it, and return whether nothing is wrong.

    Settings that cannot be read are the first thing that is wrong.
    """
    checks = asyncio.run(Checkup(settings, clock=lambda: datetime.now(UTC)).run())
    is_well = all(check.state != "wrong" for check in checks)
    if as_json:
        print_json({"is_well": is_well, "checks": checks})
    else:
        _print(checks)
    return is_well


def _print(checks: Sequence[Check]) -> None:
    console = Console(soft_wrap=True, highlight=False)
    for check in checks:
        for line in check.detail.splitlines():
            text = f" {check.name}: {printable(line)}"
            console.print(Text.assemble((check.state, STYLES[check.state]), text))
