"""`playhead upkeep`: rounds of maintenance of the lake, each in its own process."""

import asyncio
import sys
from asyncio.subprocess import PIPE
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import structlog
import typer

from commands.as_json import print_json
from commands.children import run_child, start_child, stopped_by_signals
from commands.logs import log_settings
from commands.rounds import Rounds
from lake.catalog import location
from lake.schema import check_lake
from lake.upkeep import Ages, maintain
from observability.meter import Meter
from observability.port import Health, serving
from schemas.settings import Settings

logger = structlog.get_logger(__name__)


def do_round(settings: Settings, *, when_told: bool) -> None:
    """Do one round in this process, and print what it did as JSON; with `when_told`, after a line on stdin."""

    def now() -> datetime:
        if when_told:
            wait_until_told()
        return datetime.now(UTC)

    done = maintain(location(settings), Ages.of(settings), orphans=settings.orphans, now=now)
    print_json(done)  # whoever started this counts it
    logger.info(
        "upkeep done",
        merged=done.merged_tables,
        snapshots_expired=done.snapshots_expired,
        files_deleted=done.files_deleted,
        orphans_set_aside=done.orphans.aside,
        orphans_deleted=done.orphans.deleted,
        periods_rolled_up=done.periods_rolled_up,
    )


async def start_upkeep(settings: Settings, rounds: Rounds) -> Callable[[], Awaitable[None]]:
    """Start a process of upkeep; return the function that begins its round, and counts it.

    The start of a process delays no commit.
    """
    child = await start_child(settings, "upkeep", "--when-told", stdin=PIPE, stdout=PIPE)
    assert child.stdout is not None
    await child.stdout.readline()

    async def begin() -> None:
        try:
            output, _ = await child.communicate(b"begin\n")
            rounds.ended(output)
        finally:
            if child.returncode is None:  # the worker is stopping: end the child first
                child.terminate()
                await child.wait()

    return begin


def wait_until_told() -> None:
    """Wait for a line on standard input. Raises typer.Exit if it ends: the parent is gone."""
    print("ready", flush=True)  # noqa: T201
    if not sys.stdin.readline():
        raise typer.Exit


async def repeat_upkeep(settings: Settings, interval_s: float) -> None:
    """Do rounds until stopped, each in its own process, because DuckLake's maintenance calls leak memory.

    Raises NotReady if there is no lake to work on at first. One that does not answer is tried again.
    """
    log_settings(settings, every_s=interval_s)
    await asyncio.to_thread(check_lake, location(settings))
    meter = Meter("upkeep")
    rounds = Rounds(settings, meter)
    stopping = asyncio.create_task(stopped_by_signals().wait())
    with serving(settings, "upkeep", meter, Health(flow=rounds.flow)) as log_address:
        log_address()
        while not stopping.done():
            status, output = await run_child(settings, "upkeep", stopping=stopping)
            if not stopping.done():
                rounds.ended(output)
                if status != 0:
                    logger.warning("upkeep failed", status=status, again_after_s=interval_s)
            await asyncio.wait({stopping}, timeout=interval_s)
