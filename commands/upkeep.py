"""Rounds of the lake's upkeep, each in a process of its own."""

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import structlog
import typer

from commands.children import start_child
from lake.catalog import location
from lake.upkeep import Ages, tidy
from schemas.settings import Settings


def do_round(settings: Settings, *, when_told: bool) -> None:
    """Do one round in this process; with `when_told`, only after a line on standard input."""

    def now() -> datetime:
        if when_told:
            wait_until_told()
        return datetime.now(UTC)

    tidied = tidy(location(settings), Ages.of(settings), orphans=settings.orphans, now=now)
    structlog.get_logger().info(
        "upkeep",
        merged=tidied.merged_tables,
        snapshots_expired=tidied.snapshots_expired,
        files_deleted=tidied.files_deleted,
        orphans_set_aside=tidied.orphans.aside,
        orphans_deleted=tidied.orphans.deleted,
    )


async def start_upkeep(settings: Settings) -> Callable[[], Awaitable[None]]:
    """Start a round of upkeep that begins when it is told: until then it holds up no commit."""
    child = await start_child(settings, "upkeep", "--when-told", stdin=PIPE, stdout=PIPE)
    assert child.stdout is not None
    await child.stdout.readline()

    async def begin() -> None:
        try:
            await child.communicate(b"begin\n")
        finally:
            if child.returncode is None:  # the worker ends meanwhile: its child goes first
                child.terminate()
                await child.wait()

    return begin


def stopped_by_signals() -> asyncio.Event:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


def wait_until_told() -> None:
    """Wait for a line; without one, whoever was to write it is gone."""
    print("ready", flush=True)  # noqa: T201
    if not sys.stdin.readline():
        raise typer.Exit


async def repeat_upkeep(settings: Settings, interval_s: float) -> None:
    """Do round after round until told to stop, each in a process of its own: DuckLake's calls leak memory."""
    stopping = asyncio.create_task(stopped_by_signals().wait())
    while not stopping.done():
        child = await start_child(settings, "upkeep")
        await asyncio.wait({stopping, ending := asyncio.create_task(child.wait())}, return_when="FIRST_COMPLETED")
        if not ending.done():
            child.terminate()
        if await ending != 0 and not stopping.done():
            structlog.get_logger().warning("upkeep failed", status=child.returncode, again_after_s=interval_s)
        await asyncio.wait({stopping}, timeout=interval_s)
