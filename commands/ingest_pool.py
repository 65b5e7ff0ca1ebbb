"""`playhead ingest --workers N`: several ingest processes that share a port; one that dies is replaced.

Their metrics are one aggregate at the address where one ingest has its own. The processes serve theirs to this one
only, at ports of the loopback.
"""

import asyncio
import contextlib
import socket
import time
from typing import Final

import httpx
import structlog
import typer

from commands.children import die_with_parent, start_child, status_text, stopped_by_signals
from commands.ending import REFUSED
from commands.ingest import why_not_bound
from ingest.serve import bind
from observability.aggregate import Aggregate
from observability.port import Health, serving
from schemas.settings import Settings

AGAIN_S_MIN: Final = 0.5
AGAIN_S_MAX: Final = 10.0
LIVED_S: Final = 30.0  # a process that ends after this is replaced without a longer wait
END_S_MAX: Final = 5.0  # beyond drain and shutdown timeout
ANSWER_S_MAX: Final = 5.0  # of a process that is asked for its metrics or health
HERE: Final = "127.0.0.1"

logger = structlog.get_logger(__name__)


def run_ingests(settings: Settings, processes: int) -> None:
    """Serve with several processes until stopped; one that dies is replaced.

    Raises NotReady if a port is in use, typer.Exit with the status of a process that must not go on.
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
        self._ports: dict[int, int] = {}  # of the metrics of each process that runs
        self._metrics = Aggregate()

    async def run(self) -> None:
        """Keep all of them running until stopped. Raises typer.Exit if one must not go on when it first starts."""
        health = Health(ready=self._why_none_is_ready, flow=self._why_not_all_are_ready, refresh=self._look)
        with serving(self._settings, "ingest", self._metrics, health) as log_address:
            log_address()
            await self._keep_all()

    async def _keep_all(self) -> None:
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
        own: dict[str, object] = {}
        if self._settings.serves_metrics:
            self._ports[number] = _free_port()
            own = {"metrics_host": HERE, "metrics_port": self._ports[number]}
        try:
            return await self._run_with(own, stopping)
        finally:
            self._ports.pop(number, None)
            self._metrics.ended(number)

    async def _run_with(self, own: dict[str, object], stopping: "asyncio.Task[bool]") -> int | None:
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

    async def _look(self) -> list[str]:
        """Ask each process for its metrics; of one that does not answer, those of before count."""
        asked = dict(self._ports)
        texts = await asyncio.gather(*(_get(port, "/metrics") for port in asked.values()))
        for (number, port), (status, text) in zip(asked.items(), texts, strict=True):
            if status == httpx.codes.OK and self._ports.get(number) == port:
                self._metrics.saw(number, text)
        return []

    async def _why_not_all_are_ready(self) -> list[str]:
        replies = await asyncio.gather(*(self._ask_ready(number) for number in range(self._processes)))
        return [reply for reply in replies if reply]

    async def _why_none_is_ready(self) -> list[str]:
        wrong = await self._why_not_all_are_ready()
        return wrong if len(wrong) == self._processes else []

    async def _ask_ready(self, number: int) -> str | None:
        if (port := self._ports.get(number)) is None:
            return f"process {number} does not run"
        status, text = await _get(port, "/health/ready")
        return None if status == httpx.codes.OK else f"process {number}: {text}"


async def _get(port: int, path: str) -> tuple[int | None, str]:
    """Return status and body of a reply; no status, and why, if there is none."""
    async with httpx.AsyncClient(timeout=ANSWER_S_MAX, trust_env=False) as client:
        try:
            reply = await client.get(f"http://{HERE}:{port}{path}")
        except httpx.HTTPError as error:
            return None, str(error) or type(error).__name__
        return reply.status_code, reply.text


def _free_port() -> int:
    """Return a port of the loopback that is free now; a process that cannot have it is replaced, with another."""
    with contextlib.closing(socket.create_server((HERE, 0))) as listener:
        return int(listener.getsockname()[1])
