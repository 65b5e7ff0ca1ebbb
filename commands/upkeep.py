"""`playhead upkeep`: rounds of maintenance of the lake, each in its own process."""

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
from lake.upkeep import Ages, maintain
from schemas.settings import Settings

logger = structlog.get_logger(__name__)


def do_round(settings: Settings, *, when_told: bool) -> None:
    """Do one round in this process; with `when_told`, after a line on standard input."""

    def now() -> datetime:
        if when_told:
            wait_until_told()
        return datetime.now(UTC)

    done = maintain(location(settings), Ages.of(settings), orphans=settings.orphans, now=now)
    logger.info(
        "upkeep done",
        merged=done.merged_tables,
        snapshots_expired=done.snapshots_expired,
        files_deleted=done.files_deleted,
        orphans_set_aside=done.orphans.aside,
        orphans_deleted=done.orphans.deleted,
        days_rolled_up=done.days_rolled_up,
    )


async def start_upkeep(settings: Settings) -> Callable[[], Awaitable[None]]:
    """Start a process of upkeep; return the function that begins its round. Its start delays no commit."""
    child = await start_child(settings, "upkeep", "--when-told", stdin=PIPE, stdout=PIPE)
    assert child.stdout is not None
    await child.stdout.readline()

    async def begin() -> None:
        try:
            await child.communicate(b"begin\n")
        finally:
            if child.returncode is None:  # the worker is stopping: end the child first
                child.terminate()
                await child.wait()

    return begin


def stopped_by_signals() -> asyncio.Event:
    """Return an event that SIGTERM and SIGINT set."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


def wait_until_told() -> None:
    """Wait for a line on standard input. Raises typer.Exit if it ends: the parent is gone."""
    print("ready", flush=True)  # noqa: T201
    if not sys.stdin.readline():
        raise typer.Exit


async def repeat_upkeep(settings: Settings, interval_s: float) -> None:
    """Do rounds until stopped, each in its own process, because DuckLake's maintenance calls leak memory."""
    stopping = asyncio.create_task(stopped_by_signals().wait())
    while not stopping.done():
        child = await start_child(settings, "upkeep")
        await asyncio.wait({stopping, ending := asyncio.create_task(child.wait())}, return_when="FIRST_COMPLETED")
        if not ending.done():
            child.terminate()
        if await ending != 0 and not stopping.done():
            logger.warning("upkeep failed", status=child.returncode, again_after_s=interval_s)
        await asyncio.wait({stopping}, timeout=interval_s)
