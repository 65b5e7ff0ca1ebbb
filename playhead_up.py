"""`playhead up`: ingest, worker and viewers as child processes, and a comparison with the truth at the end.

The children are the same commands that run alone on many machines. Viewers end first; then the lake gets time to
catch up, is compared with what the viewers know to be true, and the rest is stopped.
"""

import asyncio
import contextlib
import os
import signal
import sys
import time
from pathlib import Path

import duckdb
import httpx
import msgspec
from rich.console import Console
from rich.live import Live
from rich.table import Table

from lake.catalog import connect, location
from lake.pulse import Pulse, feel
from lake.verify import verify
from players.truth import METRICS, Finding, Found, Truth, compare, read_truth
from schemas.settings import Settings, environment_of

READY_S_MAX = 20.0
VIEWERS_END_S_MAX = 3.0
CATCH_UP_S_MAX = 20.0
CATCH_UP_AFTER_SIGNAL_S_MAX = 3.0
CHILD_END_S_MAX = 3.0
LINE_EVERY_S = 5.0


class Plan(msgspec.Struct, frozen=True):
    """What to run: how many viewers, for how long (None: until stopped), with which seed."""

    viewers: int
    for_s: float | None
    seed: int


class Failed(Exception):  # noqa: N818  (a result of the run, said in one line)
    """Something ended that must not, or the lake is not as it should be."""


class Stage:
    """The children of one run, and the console they share."""

    def __init__(self, settings: Settings, console: Console) -> None:
        self._environment = environment_of(settings)
        self._console = console
        self._children: dict[str, asyncio.subprocess.Process] = {}
        self._relays: list[asyncio.Task[None]] = []

    async def start(self, name: str, *arguments: str) -> None:
        """Start `playhead <arguments>`; its lines appear under its name."""
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "playhead",
            *arguments,
            env={**os.environ, **self._environment},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,  # a Ctrl-C concerns this process alone: it ends the children in order
        )
        self._children[name] = child
        self._relays.append(asyncio.create_task(self._relay(name, child)))

    async def _relay(self, name: str, child: asyncio.subprocess.Process) -> None:
        assert child.stdout is not None
        async for line in child.stdout:
            self._console.print(
                f"{name:8} {line.decode(errors='replace').rstrip()}", markup=False, highlight=False
            )

    def ended(self) -> list[str]:
        """Return the children that are no longer running."""
        return [name for name, child in self._children.items() if child.returncode is not None]

    async def wait(self, name: str, timeout_s: float | None) -> int | None:
        """Return a child's exit status, or None if it still runs after the time."""
        with contextlib.suppress(TimeoutError):
            return await asyncio.wait_for(self._children[name].wait(), timeout_s)
        return None

    async def end(self, name: str) -> int | None:
        """Tell a child to end, wait, and kill it if it does not; return its exit status."""
        child = self._children.get(name)
        if child is None:
            return 0
        if child.returncode is None:
            child.terminate()
            if await self.wait(name, CHILD_END_S_MAX) is None:
                child.kill()
                await child.wait()
        return child.returncode

    async def close(self) -> None:
        """End whatever still runs."""
        for name in reversed(list(self._children)):
            await self.end(name)
        await asyncio.gather(*self._relays)


async def run(settings: Settings, plan: Plan, console: Console) -> bool:
    """Run the plan until it is over or a signal comes; return whether all went well."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    stage = Stage(settings, console)
    try:
        await _play(settings, plan, console, stage, stop)
    except Failed as failure:
        console.print(f"playhead: {failure}", style="red", highlight=False)
        return False
    finally:
        await stage.close()
    return True


async def _play(settings: Settings, plan: Plan, console: Console, stage: Stage, stop: asyncio.Event) -> None:
    url = f"http://{settings.http_host}:{settings.http_port}"
    await stage.start("ingest", "ingest")
    await _ready(url, stage)
    await stage.start("worker", "worker")
    report = settings.data_dir / "truth.json"
    if plan.viewers:
        for_s = plan.for_s if plan.for_s is not None else 10 * 365 * 86_400.0
        options = ["--url", url, "--viewers", str(plan.viewers), "--for", f"{for_s}s", "--seed", str(plan.seed)]
        report.unlink(missing_ok=True)
        await stage.start("viewers", "simulate", *options, "--report", str(report))
    console.print(f"Playhead listens on {url}; Ctrl-C ends all of it.", highlight=False)
    await _watch(settings, plan, console, stage, stop)
    if plan.viewers:
        await _end_viewers(stage, stop, report)
        limit_s = CATCH_UP_AFTER_SIGNAL_S_MAX if stop.is_set() else CATCH_UP_S_MAX
        await asyncio.to_thread(_judge, settings, read_truth(report), console, limit_s)
    for name in ("ingest", "worker"):
        status = await stage.end(name)
        if status != 0:
            raise Failed(f"{name} ended with exit status {status}")
    verdict = await asyncio.to_thread(verify, location(settings))
    for finding in verdict.findings:
        console.print(f"{finding.code}: {finding.detail}", style="red", highlight=False)
    if verdict.findings:
        raise Failed("the lake is not as promised; see `playhead verify`")


async def _ready(url: str, stage: Stage) -> None:
    until = time.monotonic() + READY_S_MAX
    async with httpx.AsyncClient(timeout=2.0) as client:
        while time.monotonic() < until:
            if stage.ended():
                raise Failed("the ingest did not start; its last lines say why")
            with contextlib.suppress(httpx.HTTPError):
                if (await client.get(f"{url}/health/ready")).status_code == 200:
                    return
            await asyncio.sleep(0.05)
    raise Failed(f"the ingest was not ready within {READY_S_MAX:.0f} s")


async def _watch(settings: Settings, plan: Plan, console: Console, stage: Stage, stop: asyncio.Event) -> None:
    """Show what happens until the viewers end, the time is over, a signal comes, or a child breaks."""
    until = time.monotonic() + plan.for_s if plan.for_s is not None and not plan.viewers else None
    before, shown_at = 0, -LINE_EVERY_S
    screen = Live(console=console, refresh_per_second=2) if console.is_terminal else contextlib.nullcontext()
    with screen as live, contextlib.closing(connect(location(settings), read_only=True)) as lake:
        while not stop.is_set() and (until is None or time.monotonic() < until):
            ended = stage.ended()
            if "viewers" in ended:
                return
            if ended:
                raise Failed(f"{ended[0]} ended by itself; its last lines say why")
            with contextlib.suppress(duckdb.Error):  # a reading that fails is no reason to stop; the next may work
                pulse = await asyncio.to_thread(feel, lake)
                now = time.monotonic()
                if live is not None:
                    live.update(_table(pulse))
                elif now - shown_at >= LINE_EVERY_S:
                    per_s = (pulse.events - before) / (now - shown_at) if before else 0.0
                    console.print(_line(pulse, per_s), highlight=False, soft_wrap=True)
                    before, shown_at = pulse.events, now
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), 1.0)


def _table(pulse: Pulse) -> Table:
    table = Table("now", "sessions", title="Playhead", caption=_line(pulse, None))
    for content, watching in pulse.contents:
        table.add_row(content, str(watching))
    return table


def _line(pulse: Pulse, per_s: float | None) -> str:
    rate = "" if per_s is None else f" ({per_s:.0f}/s)"
    age = "" if pulse.behind_s is None else f", newest event {max(pulse.behind_s, 0):.1f} s old"
    return (
        f"{pulse.events} events{rate} in {pulse.sessions} sessions, {pulse.watching} open, "
        f"{pulse.quarantined} quarantined, {pulse.duplicates} duplicates{age}"
    )


async def _end_viewers(stage: Stage, stop: asyncio.Event, report: Path) -> None:
    if stop.is_set():
        await stage.end("viewers")
    status = await stage.wait("viewers", VIEWERS_END_S_MAX)
    if status != 0 or not report.exists():
        raise Failed(f"the viewers ended with exit status {status} and left no report")


def _judge(settings: Settings, truth: Truth, console: Console, limit_s: float) -> None:
    """Wait until the lake has caught up, and compare it with the truth. Raises Failed at a difference."""
    until = time.monotonic() + limit_s
    with contextlib.closing(connect(location(settings), read_only=True, threads=2)) as lake:
        while True:
            findings = _differences(lake, truth)
            if not findings or time.monotonic() > until:
                break
            time.sleep(0.2)
    console.print(
        f"truth: {truth.accepted} events accepted in {len(truth.sessions)} sessions, {truth.refused} refused, "
        f"{truth.unknown} unknown; {len(findings)} differences in the lake",
        highlight=False,
    )
    for finding in findings[:20]:
        console.print(str(finding), style="red", highlight=False)
    if findings:
        raise Failed("the lake and the truth differ")
    if truth.unknown:
        raise Failed(f"{truth.unknown} events were not answered: the ingest did not keep up, or broke")


def _differences(lake: duckdb.DuckDBPyConnection, truth: Truth) -> list[Finding]:
    columns = ", ".join(f"s.{name}" for name in METRICS)
    rows = lake.execute(
        f"""
        WITH counted AS (
            SELECT session_id, count(*) AS stored FROM events
            WHERE received_at >= make_timestamptz(?) GROUP BY session_id
        )
        SELECT session_id, stored, s.user_id IS NOT NULL, {columns}
        FROM counted LEFT JOIN sessions AS s USING (session_id)
        """,
        [truth.began_ms * 1000],
    ).fetchall()
    refused = lake.execute(
        "SELECT count(*) FROM quarantine WHERE source = 'ingest' AND received_at >= make_timestamptz(?)",
        [truth.began_ms * 1000],
    ).fetchone()
    found = [Found(row[0], row[1], row[2], dict(zip(METRICS, row[3:], strict=True))) for row in rows]
    return compare(truth, found, refused=refused[0] if refused else 0)
