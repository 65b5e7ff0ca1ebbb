"""`playhead up`: ingest, worker, pages and viewers as child processes, and a judgement at the end.

The children are the same commands that run separately on many machines. Viewers stop first. Then the lake reads
the log to its end and is compared with what the viewers did, and the other children stop. A lake that does not
catch up in time is not judged. The children write to `logs/` in the data folder; the console shows warnings.
"""

import asyncio
import contextlib
import signal
import time
from pathlib import Path

import duckdb
import httpx
import msgspec
from rich.console import Console
from rich.live import Live
from rich.table import Column, Table
from rich.text import Text

from commands import listening
from commands.backup import LOOK_S, needs_backup
from commands.children import Failed, Stage, status_text
from commands.extras import has_notebooks
from commands.init import make_log_and_lake
from commands.judge import Baseline, IngestCounts, ask, judge, look_before
from commands.listening import listen, port_of
from commands.own_secrets import with_own_secrets
from eventlog.adapters import read_ends
from lake.behind import behind
from lake.catalog import connect, location
from lake.pulse import Pulse, feel
from lake.verify import verify
from players.truth import Truth, read_truth
from schemas.faults import Fault, NotReady
from schemas.settings import Settings
from schemas.terminal import printable, quantity

READY_S_MAX = 20.0
VIEWERS_END_S_MAX = 3.0
JUDGE_S_MAX = 20.0
STALL_S_MAX = 20.0  # plus a commit interval: a lake that reads nothing for this long will not catch up
AFTER_SIGNAL_S_MAX = 4.0  # for each of catching up and judging, after a signal
LOOK_AGAIN_S = 0.2
OPEN_SESSIONS_INTERVAL_S = 1.0  # a person is watching, and there are few sessions
REQUESTS_END_S_MAX = 1.0  # less than CHILD_END_S_MAX, so that the ingest exits by itself
LINE_EVERY_S = 5.0


class Plan(msgspec.Struct, frozen=True):
    """What to run: how many viewers, for how long (None: until stopped), with which seed."""

    viewers: int
    for_s: float | None
    seed: int


class NotCaughtUp(Failed):
    """Records still wait in the log: nothing is wrong, but not everything was verified."""

    style = "yellow"


def run_all(given: Settings, plan: Plan) -> bool:
    """Create missing secrets, log and lake, and run the plan; return whether all went well."""
    settings = with_own_secrets(given)
    asyncio.run(make_log_and_lake(settings))
    console = Console()
    if given.api_keys is None:
        key = settings.data_dir / "secrets" / "api_keys"
        console.print(f"The API key of the tracking API is in {key}", highlight=False, soft_wrap=True)
    return asyncio.run(run(settings, plan, console))


async def run(settings: Settings, plan: Plan, console: Console) -> bool:
    """Run the plan until it is over or a signal arrives; return whether all went well."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    settings = settings.model_copy(
        update={
            "http_port": _free_port(settings),
            "http_validate": settings.http_validate or "http_validate" not in settings.model_fields_set,
            # The counts of the ingest are compared with the lake.
            "metrics_host": settings.metrics_host if settings.serves_metrics else "127.0.0.1",
            "notebooks_port": _any_port(settings.notebooks_host, settings.notebooks_port),
            "http_drain_s": 0.0,  # nobody else takes the events
            "http_shutdown_timeout_s": min(settings.http_shutdown_timeout_s, REQUESTS_END_S_MAX),
            "worker_open_sessions_interval_s": min(
                settings.worker_open_sessions_interval_s, OPEN_SESSIONS_INTERVAL_S
            ),
        }
    )
    stage = Stage(settings, console)
    failure: Failed | None = None
    try:
        await _play(settings, plan, console, stage, stop)
    except Failed as error:
        failure = error
    finally:
        await stage.close()
    if failure is not None:
        stage.say(f"playhead: {failure}", style=failure.style)
    return failure is None


def _free_port(settings: Settings) -> int:
    """Return the port to listen on; for 0, any free one. Raises NotReady if the port is in use.

    Without this check, another Playhead on that port would be mistaken for the one being started.
    """
    with listen(settings.http_host, settings.http_port, remedy="choose another with --port") as listener:
        return port_of(listener)


def _metrics_port(settings: Settings, verb: str) -> int:
    """Return the port of a child's metrics. Where the setting names one, the worker has the next."""
    wanted = settings.metrics_ports(verb)
    if settings.metrics_port and verb == "worker":
        wanted = [settings.metrics_port + 1]
    for port in wanted:
        try:
            with listen(settings.metrics_host, port, remedy="choose another PLAYHEAD_METRICS_PORT") as listener:
                return port_of(listener)
        except NotReady as fault:
            refused = fault
    raise refused


def _any_port(host: str, port: int) -> int:
    """Return the port of the pages, or any free one if it is in use: their address is printed."""
    for wanted in (port, 0):
        with contextlib.suppress(NotReady), listen(host, wanted, remedy="") as listener:
            return port_of(listener)
    return port


async def _play(settings: Settings, plan: Plan, console: Console, stage: Stage, stop: asyncio.Event) -> None:
    url = listening.url(settings.http_host, settings.http_port)
    metrics = {verb: _metrics_port(settings, verb) for verb in ("ingest", "worker")}
    counts_url = listening.url(settings.metrics_host, metrics["ingest"])
    baseline = await asyncio.to_thread(look_before, location(settings))
    for verb, port in metrics.items():
        await stage.start(verb, verb, metrics_port=port)
    await _ready(url, stage, stop)
    report = settings.data_dir / "truth.json"
    if plan.viewers and not stop.is_set():
        for_s = plan.for_s if plan.for_s is not None else 10 * 365 * 86_400.0
        options = ["--url", url, "--viewers", str(plan.viewers), "--for", f"{for_s}s", "--seed", str(plan.seed)]
        report.unlink(missing_ok=True)
        await stage.start("viewers", "simulate", *options, "--report", str(report))
    if not stop.is_set():
        stage.say(f"Playhead listens on {url}; Ctrl-C stops everything.")
        places = [f"{verb} {listening.url(settings.metrics_host, port)}" for verb, port in metrics.items()]
        stage.say(f"Metrics and health: {', '.join(places)}")
        if settings.up_notebooks and has_notebooks():
            await stage.start("notebooks", "notebooks", notebooks_ingest_url=url)
        elif settings.up_notebooks:
            stage.say("No pages: pip install 'playhead[lake,notebooks]'")
    backing_up = asyncio.create_task(_keep_backed_up(settings, stage))
    try:
        await _watch(settings, plan, console, stage, stop)
    finally:
        backing_up.cancel()
        await asyncio.gather(backing_up, return_exceptions=True)
    await stage.end("backup")
    await stage.end("notebooks")
    is_judged = await _end_viewers(stage, stop, report)
    counted = await _count(counts_url) if is_judged else None
    waiting = await _catch_up(settings, stage, stop)
    if counted is not None and not waiting:
        limit_s = AFTER_SIGNAL_S_MAX if stop.is_set() else JUDGE_S_MAX
        await _judge(settings, read_truth(report), baseline, counted, url=counts_url, stage=stage, limit_s=limit_s)
    await _end(stage, "ingest")
    is_judged = is_judged and not waiting
    waiting = waiting or await _catch_up(settings, stage, stop)
    await _end(stage, "worker", may_be_killed=waiting > 0)
    verdict = await asyncio.to_thread(verify, location(settings))
    for finding in verdict.findings:
        stage.say(f"{finding.code}: {finding.detail}", style="red")
    if verdict.findings:
        raise Failed("the lake is inconsistent; see `playhead verify`")
    if waiting:
        rest = "everything before them is right" if is_judged else "nothing was judged"
        raise NotCaughtUp(f"not caught up: {quantity(waiting, 'record', 'wait')}; {rest}")
    stage.say("All is well: every event of the log is in the lake exactly once.", style="green")


async def _count(url: str) -> IngestCounts:
    """Return what the ingest has counted. Raises Failed if it does not answer."""
    try:
        return await asyncio.to_thread(ask, url)
    except httpx.HTTPError as error:
        raise Failed(f"the ingest does not report its counts: {error}") from None


async def _catch_up(settings: Settings, stage: Stage, stop: asyncio.Event) -> int:
    """Wait until the lake has read what the log now holds; return how many records still wait.

    This waits as long as the lake makes progress, but only a few seconds after a signal. Raises Failed if the
    worker has ended or the end of the log is unknown.
    """
    try:
        ends = await read_ends(settings)
    except Fault as fault:
        raise Failed(f"the end of the log is unknown: {fault}") from None
    stall_s = STALL_S_MAX + settings.worker_commit_interval_s
    with contextlib.closing(await asyncio.to_thread(connect, location(settings), read_only=True)) as lake:
        waiting, moved_at, signal_at = sum(ends.values()), time.monotonic(), None
        while True:
            left = waiting
            with contextlib.suppress(duckdb.Error):  # the next attempt may work
                left = sum((await asyncio.to_thread(behind, lake, ends)).values())
            now = time.monotonic()
            if not left:
                return 0
            if left != waiting:
                waiting, moved_at = left, now
            if "worker" in stage.ended():
                stage.check("ingest", "viewers", "backup", "notebooks")
            if stop.is_set():
                signal_at = now if signal_at is None else signal_at
                if now - signal_at > AFTER_SIGNAL_S_MAX:
                    return waiting
            elif now - moved_at > stall_s:
                return waiting
            await asyncio.sleep(LOOK_AGAIN_S)


async def _end(stage: Stage, name: str, *, may_be_killed: bool = False) -> None:
    """Stop a child. Raises Failed if it does not exit well."""
    status = await stage.end(name)
    well = (0, -signal.SIGTERM)  # -SIGTERM: stopped before it had installed its handler
    if status not in well and not (may_be_killed and status == -signal.SIGKILL):
        raise Failed(f"{name} ended {status_text(status)}")


async def _ready(url: str, stage: Stage, stop: asyncio.Event) -> None:
    until = time.monotonic() + READY_S_MAX
    async with httpx.AsyncClient(timeout=2.0) as client:
        while not stop.is_set():
            stage.check()
            with contextlib.suppress(httpx.HTTPError):
                if (await client.get(f"{url}/health/ready")).status_code == 200:
                    return
            if time.monotonic() > until:
                raise Failed(f"the ingest did not answer within {READY_S_MAX:.0f} s")
            await asyncio.sleep(0.1)


async def _keep_backed_up(settings: Settings, stage: Stage) -> None:
    """Back up the lake, in a child process, whenever the newest backup is older than the interval."""
    while interval_s := settings.lake_backup_interval_s:
        await asyncio.sleep(min(LOOK_S, interval_s))
        try:
            if not await asyncio.to_thread(needs_backup, settings, interval_s=interval_s):
                continue
            await stage.start("backup", "backup")
            if (status := await stage.wait("backup", None)) != 0:
                stage.say(f"the backup ended {status_text(status)}", style="red")
        except (Fault, duckdb.Error, OSError) as error:
            stage.say(f"no backup: {error}", style="red")


async def _watch(settings: Settings, plan: Plan, console: Console, stage: Stage, stop: asyncio.Event) -> None:
    """Show what happens until the viewers end, time is over or a signal arrives. Raises Failed if a child ends."""
    until = time.monotonic() + plan.for_s if plan.for_s is not None and not plan.viewers else None
    before, shown_at = None, -LINE_EVERY_S
    screen = Live(console=console, refresh_per_second=2) if console.is_terminal else contextlib.nullcontext()
    with screen as live, contextlib.closing(connect(location(settings), read_only=True)) as lake:
        while not stop.is_set() and (until is None or time.monotonic() < until):
            stage.check("viewers", "backup", "notebooks")
            if "viewers" in stage.ended():
                return
            now = time.monotonic()
            if live is not None or now - shown_at >= LINE_EVERY_S:
                with contextlib.suppress(duckdb.Error):  # the next attempt may work
                    pulse = await asyncio.to_thread(feel, lake)
                    line = _line(pulse, None if before is None else (pulse.events - before) / (now - shown_at))
                    if live is not None:
                        live.update(_table(pulse, line))
                    else:
                        stage.say(line)
                    before, shown_at = pulse.events, now
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), 1.0)


def _table(pulse: Pulse, line: str) -> Table:
    table = Table(
        "being watched", Column("sessions", justify="right"), title="Playhead", caption=line, min_width=60
    )
    for content, watching in pulse.contents:
        table.add_row(Text(printable(content)), str(watching))
    return table


def _line(pulse: Pulse, per_s: float | None) -> str:
    rate = "" if per_s is None else f" ({per_s:.0f}/s)"
    age = "" if pulse.behind_s is None else f", newest event {max(pulse.behind_s, 0):.1f} s old"
    return (
        f"{quantity(pulse.events, 'event')}{rate} in {quantity(pulse.sessions, 'session')}, "
        f"{pulse.watching:,} being watched, "
        f"{pulse.quarantined:,} quarantined, {quantity(pulse.duplicates, 'duplicate')}{age}"
    )


async def _end_viewers(stage: Stage, stop: asyncio.Event, report: Path) -> bool:
    """Wait for the viewers, if any; return whether there is a report. Raises Failed if viewers left none."""
    if "viewers" not in stage:
        return False
    if stop.is_set():
        await stage.end("viewers")
    status = await stage.wait("viewers", VIEWERS_END_S_MAX)
    if status != 0 or not report.exists():
        raise Failed(f"the viewers ended {status_text(status)} and left no report")
    return True


async def _judge(
    settings: Settings,
    truth: Truth,
    baseline: Baseline,
    counted: IngestCounts,
    *,
    url: str,
    stage: Stage,
    limit_s: float,
) -> None:
    """Compare the lake with the truth and print the result. Raises Failed at a difference."""
    try:
        judgement = await asyncio.to_thread(
            judge,
            location(settings),
            truth,
            url=url,
            baseline=baseline,
            counted=counted,
            session_length_s=settings.session_length_s,
            limit_s=limit_s,
        )
    except httpx.HTTPError as error:
        raise Failed(f"the ingest does not report its counts: {error}") from None
    for line in judgement.lines:
        stage.say(line)
    for finding in judgement.findings[:20]:
        stage.say(str(finding), style="red")
    if judgement.findings:
        raise Failed("the lake and the truth differ")
