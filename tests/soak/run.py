"""One soak: load and faults, a log that is replaced, the drain, the verdict."""

import asyncio
import contextlib
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient
from rigs.waiting import until_async

from soak.load import Journal, Load, be_client
from soak.processes import Neighbour, Process, Running, running
from soak.verdict import Verdict, check_apart, count_apart

STALLED_S_MAX = 120.0  # a lake that gets no event for so long will not
TOLD_EVERY_S = 30.0
NOTICED_TIMEOUT_S = 60.0
KILLS_BESIDE_NEW_LOG = 4  # half of them before it is accepted
TOGETHER = 3  # processes that are told to end at the same moment


@dataclass(frozen=True)
class Plan:
    """What a soak is to do.

    `gently`: processes are told to end by SIGTERM instead of being killed. `clocks`: processes are started with
    clocks that are right, two hours fast or two hours slow. `events_after_new_log`: at the end the log is replaced
    by another one, and this many more events must come through; the last kills come then, half of them before the
    new log is accepted. 0: the log stays.
    """

    events: int
    kills: int
    seed: int
    clients: int = 32
    ingests: int = 1
    workers: int = 1
    kafka: bool = False
    gently: bool = False
    clocks: bool = False
    events_after_new_log: int = 0

    @property
    def kills_beside_new_log(self) -> int:
        """How many of the kills come after the log is replaced."""
        return min(KILLS_BESIDE_NEW_LOG, self.kills // 2) if self.events_after_new_log else 0


@dataclass(frozen=True)
class Report:
    """What a soak did, and its verdict. `faults`: what else was not as promised, such as processes that died.

    `spent_s`: the seconds that each part of it took, in order.
    """

    verdict: Verdict
    kills: int
    wrong_clocks: int
    new_logs: int
    spent_s: dict[str, float]
    faults: tuple[str, ...] = ()

    @property
    def is_clean(self) -> bool:
        return self.verdict.is_clean and not self.faults

    def __str__(self) -> str:
        verdict = self.verdict
        parts = ", ".join(f"{part} {spent_s:.0f}" for part, spent_s in self.spent_s.items())
        lines = [
            f"acknowledged {verdict.acknowledged}, kills {self.kills}, starts with a wrong clock "
            f"{self.wrong_clocks}, new logs {self.new_logs}, lost {verdict.lost}, doubled {verdict.doubled}, "
            f"invented {verdict.invented}, {sum(self.spent_s.values()):.0f} seconds ({parts})"
        ]
        return "\n".join([*lines, *verdict.examples, *self.faults])


class Spent:
    """How long each part of a soak takes."""

    def __init__(self) -> None:
        self.spent_s: dict[str, float] = {}

    @contextlib.contextmanager
    def on(self, part: str) -> Iterator[None]:
        """Count the time in the block as spent on a part."""
        began_s = time.monotonic()
        try:
            yield
        finally:
            self.spent_s[part] = self.spent_s.get(part, 0.0) + time.monotonic() - began_s


async def soak(plan: Plan, data: Path, *, servers: dict[str, str] | None = None) -> Report:
    """Run a plan in an empty folder. `servers`: the settings that reach a broker and a database that stay."""
    data.mkdir(parents=True, exist_ok=True)
    spent = Spent()
    journal_path = data / "journal.tsv"
    faults: list[str] = []
    with running(
        data,
        ingests=plan.ingests,
        workers=plan.workers,
        kafka=plan.kafka,
        servers=servers,
        clocks=random.Random(plan.seed) if plan.clocks else None,
    ) as what:
        load = Load(Journal(journal_path), what.ports)
        try:
            with spent.on("load"):
                await _play(load, replace(plan, kills=plan.kills - plan.kills_beside_new_log), what)
            with spent.on("drain"):
                faults += await _drain(load, data, what)
            if plan.events_after_new_log and not faults:
                with spent.on("another log"):
                    faults += await _play_on_another_log(load, plan, what)
                with spent.on("drain"):
                    faults += await _drain(load, data, what)
        finally:
            load.journal.close()
        with spent.on("verdict"):
            verified = await asyncio.to_thread(what.playhead, "verify", timeout_s=1800)
            if verified.returncode:
                faults.append(f"playhead verify: {verified.stdout[-2000:]}{verified.stderr[-500:]}")
            for process in what.processes:
                await asyncio.to_thread(process.stop)
            verdict = await asyncio.to_thread(check_apart, journal_path, data, what.catalog)
    faults += [*(death for process in what.processes for death in process.deaths), *load.refusals[:5]]
    return Report(
        verdict,
        kills=plan.kills,
        wrong_clocks=sum(process.wrong_clocks for process in what.processes),
        new_logs=int(plan.events_after_new_log > 0),
        spent_s=spent.spent_s,
        faults=tuple(faults),
    )


async def _play(load: Load, plan: Plan, what: Running) -> None:
    """Let clients play until so many more events are acknowledged, while processes are killed or ended."""
    load.begin()
    clients = [asyncio.create_task(be_client(load, number, plan.seed)) for number in range(plan.clients)]
    strike = _end_at_random if plan.gently else _kill_at_random
    try:
        await strike(load, what, plan, already=load.acknowledged)
    finally:
        load.stopped.set()
        await asyncio.gather(*clients)


async def _kill_at_random(load: Load, what: Running, plan: Plan, *, already: int) -> None:
    """Spread the kills over the load: each waits for its share of events, then for a random age of its victim."""
    rng = random.Random(plan.seed)
    for threshold in sorted(rng.randrange(plan.events) for _ in range(plan.kills)):
        await _wait_for(load, already + threshold, what.processes)
        victims: list[Process | Neighbour] = [*what.processes, *what.neighbours]
        victim = rng.choice(victims)
        age_s = rng.uniform(0.0, 1.5 if victim.verb == "ingest" else 3.0)
        await asyncio.sleep(max(0.0, victim.started_s + age_s - time.monotonic()))
        await asyncio.to_thread(victim.kill, whole_group=rng.random() < 0.5)
        await asyncio.sleep(rng.choice((0.0, 0.0, 0.3)))
        await asyncio.to_thread(victim.start)
    await _wait_for(load, already + plan.events, what.processes)


async def _end_at_random(load: Load, what: Running, plan: Plan, *, already: int) -> None:
    """Spread the ends by SIGTERM over the load, some processes at a time: starting them is what takes long."""
    rng = random.Random(plan.seed)
    ended = 0
    while ended < plan.kills:
        await _wait_for(load, already + plan.events * ended // plan.kills, what.processes)
        victims = rng.sample(what.processes, min(TOGETHER, len(what.processes), plan.kills - ended))
        youngest_s = max(victim.started_s for victim in victims)
        await asyncio.sleep(max(0.0, youngest_s + rng.uniform(1.0, 3.0) - time.monotonic()))
        await asyncio.gather(*(asyncio.to_thread(victim.stop, may_be_starting=True) for victim in victims))
        for victim in victims:
            victim.start()
        ended += len(victims)
    await _wait_for(load, already + plan.events, what.processes)


async def _wait_for(load: Load, acknowledged: int, processes: list[Process]) -> None:
    stalled_s, last = time.monotonic(), -1
    while load.acknowledged < acknowledged:
        if load.acknowledged != last:
            stalled_s, last = time.monotonic(), load.acknowledged
        if time.monotonic() - stalled_s > 60:
            raise TimeoutError(f"nothing was acknowledged for 60 s, after {last} events")
        if time.monotonic() - load.told_s > TOLD_EVERY_S:
            load.told_s = time.monotonic()
            print(f"{load.acknowledged:,} events are acknowledged", file=sys.stderr, flush=True)
        for process in processes:
            process.note_death()
        await asyncio.sleep(0.02)


async def _drain(load: Load, data: Path, what: Running) -> list[str]:
    """Wait until the lake has as many events as were acknowledged, as long as it gets more; say if it does not."""
    rows, risen_s = -1, time.monotonic()
    while True:
        for process in what.processes:
            process.note_death()
        try:
            found = await asyncio.to_thread(count_apart, data, what.catalog)
        except subprocess.CalledProcessError as error:
            if b"locked" not in error.stderr:
                raise
        else:
            if found == rows >= load.acknowledged:
                return []
            if found > rows:
                rows, risen_s = found, time.monotonic()
        if time.monotonic() - risen_s > STALLED_S_MAX:
            return [f"the lake has {rows} events of {load.acknowledged} acknowledged, and gets no more"]
        await asyncio.sleep(1)


async def _play_on_another_log(load: Load, plan: Plan, what: Running) -> list[str]:
    """Replace the log, and go on with load and kills, both before the new log is accepted and after."""
    faults = await _replace_log(what)
    events, kills = plan.events_after_new_log // 2, plan.kills_beside_new_log // 2
    await _play(load, replace(plan, events=events, kills=kills, seed=plan.seed + 1), what)
    faults += await _notice_new_log(what)
    if not faults:
        kills = plan.kills_beside_new_log - kills
        await _play(load, replace(plan, events=events, kills=kills, seed=plan.seed + 2), what)
    return faults


async def _replace_log(what: Running) -> list[str]:
    """Stop everything, take the log away, make another one, start everything; return what went wrong."""
    for process in what.processes:
        await asyncio.to_thread(process.stop)
    await _remove_log(what.environment)
    made = await asyncio.to_thread(what.playhead, "init")
    for process in what.processes:
        process.start()
    return [f"playhead init: {made.stdout}{made.stderr}"] if made.returncode else []


async def _remove_log(environment: dict[str, str]) -> None:
    if environment.get("PLAYHEAD_LOG") != "kafka":
        for path in Path(environment["PLAYHEAD_DATA_DIR"]).glob("log.sqlite*"):
            path.unlink()
        return
    client = AIOKafkaAdminClient(bootstrap_servers=environment["PLAYHEAD_KAFKA_BOOTSTRAP_SERVERS"])
    await client.start()
    try:
        topic = environment.get("PLAYHEAD_KAFKA_TOPIC", "playhead.events")
        await client.delete_topics([topic])

        async def is_away() -> bool:
            return topic not in await client.list_topics()

        await until_async(is_away, "the topic is still listed", within_s=NOTICED_TIMEOUT_S)
    finally:
        await client.close()


async def _notice_new_log(what: Running) -> list[str]:
    """Wait until `verify` says that the log is another one; accept the new log, as an operator does.

    Returns once the lake reads it. A worker killed before that would be started again without `--new-log`.
    """
    verified = None

    def is_named() -> bool:
        nonlocal verified
        verified = what.playhead("verify")
        return verified.returncode == 1 and "playhead worker --new-log" in verified.stdout

    try:
        await until_async(is_named, lambda: verified, within_s=NOTICED_TIMEOUT_S)
    except AssertionError as error:
        return [f"verify does not name the new log: {error}"]
    workers = [process for process in what.processes if process.verb == "worker"]
    for worker in workers:
        await asyncio.to_thread(worker.stop)
    workers[0].start("--new-log", "all")
    for worker in workers[1:]:
        worker.start()
    try:
        await until_async(lambda: not is_named(), lambda: verified, within_s=NOTICED_TIMEOUT_S)
    except AssertionError as error:
        return [f"the new log is not read: {error}"]
    return []
