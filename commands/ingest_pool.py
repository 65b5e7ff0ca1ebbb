"""`playhead ingest --workers N`: several ingest processes that share a port; one that dies is replaced."""

import asyncio
import time
from typing import Final

import structlog
import typer

from commands.children import die_with_parent, start_child, status_text, stopped_by_signals
from commands.ending import REFUSED
from commands.ingest import why_not_bound
from ingest.serve import bind
from schemas.settings import Settings

AGAIN_S_MIN: Final = 0.5
AGAIN_S_MAX: Final = 10.0
LIVED_S: Final = 30.0  # a process that ends after this is replaced without a longer wait
END_S_MAX: Final = 5.0  # beyond drain and shutdown timeout

logger = structlog.get_logger(__name__)


def run_ingests(settings: Settings, processes: int) -> None:
    """Serve with several processes until stopped; one that dies is replaced.

    Each has a port of its own for metrics: PLAYHEAD_METRICS_PORT and those that follow, if that is set. Raises
    NotReady if the port is in use, typer.Exit with the status of a process that must not go on.
    """
    try:
        bind(settings).close()  # another program on it would get a part of the requests
        held = bind(settings.model_copy(update={"http_port_shared": True}))  # for port 0, all have this one
    except OSError as error:
        raise why_not_bound(error, settings) from None
    with held:
        shared = {"http_port": held.getsockname()[1], "http_port_shared": True}
        asyncio.run(Ingests(settings.model_copy(update=shared), processes).run())


class Ingests:
    """Processes that share a port."""

    def __init__(self, settings: Settings, processes: int) -> None:
        self._settings, self._processes = settings, processes

    async def run(self) -> None:
        """Keep all of them running until stopped. Raises typer.Exit if one must not go on when it first starts."""
        stopping = asyncio.create_task(stopped_by_signals().wait())
        kept = [asyncio.create_task(self._keep(number, stopping)) for number in range(self._processes)]
        try:
            await asyncio.wait(kept, return_when=asyncio.FIRST_EXCEPTION)
            failed = [task for task in kept if task.done() and task.exception() is not None]
            if failed:
                stopping.cancel()
            await asyncio.gather(*kept, return_exceptions=True)
            for task in failed:
                task.result()
        finally:
            stopping.cancel()

    async def _keep(self, number: int, stopping: "asyncio.Task[bool]") -> None:
        is_first, again_s = True, AGAIN_S_MIN
        while not stopping.done():
            began_s = time.monotonic()
            status = await self._run_one(number, stopping)
            if stopping.done():
                return
            if is_first and status == REFUSED:
                raise typer.Exit(REFUSED)
            again_s = AGAIN_S_MIN if time.monotonic() - began_s > LIVED_S else min(2 * again_s, AGAIN_S_MAX)
            is_first = False
            logger.error("ingest process ended", number=number, how=status_text(status), again_after_s=again_s)
            await asyncio.wait({stopping}, timeout=again_s)

    async def _run_one(self, number: int, stopping: "asyncio.Task[bool]") -> int | None:
        """Run a process until it ends, or until `stopping` is done, and return its status."""
        port = self._settings.metrics_port
        own = {"metrics_port": port + number} if port else {}
        child = await start_child(
            self._settings.model_copy(update=own),
            "ingest",
            stdin=asyncio.subprocess.DEVNULL,
            preexec_fn=die_with_parent,
            start_new_session=True,  # Ctrl-C reaches only this process, which asks the children once
        )
        ending = asyncio.create_task(child.wait())
        await asyncio.wait({stopping, ending}, return_when=asyncio.FIRST_COMPLETED)
        if not ending.done():
            child.terminate()
            within_s = self._settings.http_drain_s + self._settings.http_shutdown_timeout_s + END_S_MAX
            await asyncio.wait({ending}, timeout=within_s)
        if not ending.done():
            child.kill()
        return await ending
